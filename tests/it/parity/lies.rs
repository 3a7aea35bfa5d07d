//! Whoever can write to the store can plant parity objects: they are named, nothing is written because of them, and what they say of packs is not believed.

use bytes::Bytes;
use homelab_dr::base::id::{ObjectId, RepositoryId};
use homelab_dr::base::progress::Progress;
use homelab_dr::check::{Options, Problem, Severity, check, check_stored};
use homelab_dr::crypto::hash::object_id;
use homelab_dr::format::parity::{Group, Header, Member, stripe_hashes};
use homelab_dr::repo::layout;
use homelab_dr::store::Key;

use super::{STRIPE, TENTH, content_pack, groups, is_settled, run, twenty_packs};
use crate::prune::world::World;
use crate::repair::{Held, repair};

async fn plant(world: &World, bytes: Vec<u8>) -> Key {
    let key = layout::named(layout::PARITY, &object_id(&bytes));
    world.store.put_new(&key, Bytes::from(bytes), None).await.unwrap();
    key
}

/// An object whose stripe hashes are those of zeros.
fn object(group: Group, number: u8) -> Vec<u8> {
    let hashes = |length: u32| stripe_hashes(&vec![0; length as usize], group.stripe);
    let members = group.members.iter().map(|member| hashes(member.length)).collect();
    let shard = group.shard_bytes();
    let own = hashes(shard);
    let mut bytes = Header { group, number, members, own }.encode();
    bytes.resize(bytes.len() + shard as usize, 0);
    bytes
}

fn group(repository: RepositoryId, packs: &[(ObjectId, u32)]) -> Group {
    let mut members: Vec<Member> = packs.iter().map(|(pack, length)| Member { pack: *pack, length: *length }).collect();
    members.sort();
    Group { repository, stripe: STRIPE, parity: 1, members }
}

/// What of the header is changed is told by offset; the checksum is made good again, so that only the meaning is wrong.
fn lying(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

#[tokio::test]
async fn what_makes_no_sense_is_named_and_left_alone() {
    let (world, files) = twenty_packs().await;
    let id = world.key.repository;
    let stranger = |n: u8| (ObjectId::new([n; 32]), 5000_u32);
    let sound = object(group(id, &[stranger(1), stranger(2)]), 0);
    let mut planted = vec![
        plant(&world, b"nothing of the kind".to_vec()).await,
        plant(&world, Vec::new()).await,
        plant(&world, object(group(RepositoryId::new([9; 16]), &[stranger(1)]), 0)).await,
    ];
    // Version, stripe, members, parity objects, a length of 4 GiB, an order, a number, an end.
    for (at, with) in [
        (8, vec![2]),
        (25, 0_u32.to_le_bytes().to_vec()),
        (25, u32::MAX.to_le_bytes().to_vec()),
        (29, vec![0]),
        (29, vec![255]),
        (30, vec![0]),
        (63, u32::MAX.to_le_bytes().to_vec()),
        (31, vec![0xff; 32]),
        (103, vec![1]),
    ] {
        planted.push(plant(&world, lying(sound.clone(), at, &with)).await);
    }
    planted.push(plant(&world, sound[..sound.len() - 1].to_vec()).await);
    planted.push(plant(&world, [&sound[..], b"x"].concat()).await);

    let before = world.names("").await;
    let plan = super::plan(&world, TENTH).await;
    let told: Vec<&str> = plan.left_alone.iter().map(|trouble| trouble.object.as_str()).collect();
    for key in &planted {
        assert!(told.contains(&key.as_str()), "{key}: {told:?}");
    }
    assert_eq!((plan.make.len(), plan.remove.len(), plan.lost.len()), (1, 0, 0), "{plan:?}");
    assert_eq!(world.names("").await, before);
    let options = Options { structure: true, read_percent: 100, now: world.clock.now() };
    let report = check(&world.open().await, &options, &Progress::default()).await.unwrap();
    assert_eq!(report.worst(), Some(Severity::Warning), "{:?}", report.findings);
    let named = |key: &Key| report.findings.iter().filter(|finding| finding.object == key.as_str()).count();
    assert!(planted.iter().all(|key| named(key) == 1), "{:?}", report.findings);
    let done = repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert!(!done.changed() && done.losses.is_empty(), "{done:?}");
    assert_eq!(world.names("").await, before);

    run(&world, TENTH).await;
    is_settled(&world, TENTH, "among strangers").await;
    assert!(world.names("parity/").await.len() == planted.len() + 2);
    assert_eq!(world.read_all().await, files);
}

/// A group of packs that this repository never had has nothing to say about it, and goes.
#[tokio::test]
async fn parity_of_packs_that_never_were_is_removed() {
    let (world, _) = twenty_packs().await;
    let key = plant(&world, object(group(world.key.repository, &[(ObjectId::new([1; 32]), 5000)]), 0)).await;
    let done = run(&world, TENTH).await;
    assert_eq!(done.removed, [key.to_string()]);
    is_settled(&world, TENTH, "gone").await;
}

/// It says that it covers packs, and gives zeros.
#[tokio::test]
async fn what_parity_gives_is_not_believed() {
    let (world, files) = twenty_packs().await;
    let mut packs = Vec::new();
    for name in world.names("packs/").await {
        let key = Key::new(name.as_str()).unwrap();
        packs
            .push((layout::pack_id(&key).unwrap(), u32::try_from(world.store.get(&key).await.unwrap().len()).unwrap()));
    }
    plant(&world, object(group(world.key.repository, &packs), 0)).await;
    let lost = content_pack(&world).await;
    let bytes = world.store.get(&lost).await.unwrap();
    world.store.delete(&lost).await.unwrap();
    let done = repair(&world, Held::Owner, &[]).await.expect("a repair");
    assert_eq!(done.losses.len(), 1, "{done:?}");
    assert!(world.store.stat(&lost).await.unwrap().is_none());
    // Beside true parity it does no harm, before or after it.
    world.store.put_new(&lost, bytes.clone(), None).await.unwrap();
    run(&world, TENTH).await;
    plant(&world, object(group(world.key.repository, &packs), 0)).await;
    world.store.delete(&lost).await.unwrap();
    let done = repair(&world, Held::Owner, &[]).await.expect("a repair");
    assert!(done.losses.is_empty(), "{done:?}");
    assert!(world.store.get(&lost).await.unwrap() == bytes);
    assert_eq!(world.read_all().await, files);
}

/// A header that says of the very same group what is not so: the next one is tried.
#[tokio::test]
async fn a_planted_header_of_a_true_group_spoils_nothing() {
    let (world, files) = twenty_packs().await;
    let twice = super::Settings { share: 20, ..TENTH };
    run(&world, twice).await;
    let found = groups(&world).await.swap_remove(0);
    // In the place of the first object, so that it is asked first.
    let first = found.objects[&0].key.clone();
    world.store.delete(&first).await.unwrap();
    plant(&world, object(found.group.clone(), 0)).await;
    let lost = content_pack(&world).await;
    let bytes = world.store.get(&lost).await.unwrap();
    world.store.delete(&lost).await.unwrap();
    let done = repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert!(done.losses.is_empty(), "{done:?}");
    assert!(world.store.get(&lost).await.unwrap() == bytes);
    assert_eq!(world.read_all().await, files);
}

#[tokio::test]
async fn check_tells_what_is_covered_and_what_is_rotten() {
    let (world, _) = twenty_packs().await;
    run(&world, TENTH).await;
    let options = |read_percent| Options { structure: true, read_percent, now: world.clock.now() };
    let report = async |read| check(&world.open().await, &options(read), &Progress::default()).await.unwrap();
    let cover = report(0).await.cover.expect("there is parity");
    assert_eq!((cover.packs, cover.covered, cover.groups, cover.short, cover.objects), (20, 20, 1, 0, 2));
    let pack = content_pack(&world).await;
    world.backup(&["later"]).await;
    let later = report(0).await;
    assert_eq!(later.cover.expect("there is parity").covered, 20);
    let uncovered = later.findings.iter().find(|finding| finding.problem == Problem::Uncovered).expect("told");
    assert_eq!((uncovered.severity, later.worst()), (Severity::Note, Some(Severity::Note)));

    // Rot within the shard is seen by who reads it, and costs nothing but parity.
    let found = groups(&world).await.swap_remove(0);
    let (first, second) = (found.objects[&0].key.clone(), found.objects[&1].key.clone());
    let length = world.store.get(&first).await.unwrap().len();
    super::flip(&world, &first, length - 9).await;
    assert_eq!(report(0).await.worst(), Some(Severity::Note));
    for report in
        [report(100).await, check_stored(&*world.store, 100, world.clock.now(), &Progress::default()).await.unwrap()]
    {
        let told: Vec<_> = report.findings.iter().filter(|finding| finding.object == first.as_str()).collect();
        assert_eq!((told.len(), told[0].severity, told[0].problem), (1, Severity::Warning, Problem::Name));
        assert!(!report.is_damaged());
    }
    // A group that stands less than it promised; then a pack is gone that the rest still gives.
    world.store.delete(&first).await.unwrap();
    let short = report(0).await;
    assert_eq!((short.cover.expect("there is parity").short, short.worst()), (1, Some(Severity::Warning)));
    world.store.delete(&pack).await.unwrap();
    let gone = report(0).await;
    let told = gone.findings.iter().find(|finding| finding.severity == Severity::Damage).expect("told");
    assert_eq!(told.hint, homelab_dr::check::Hint::Rebuild, "{told:?}");
    world.store.delete(&second).await.unwrap();
    assert!(report(0).await.findings.iter().all(|finding| finding.hint != homelab_dr::check::Hint::Rebuild));
}
