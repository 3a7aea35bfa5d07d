//! What is lost comes back as long as a group stands it; what does not is told exactly.

use std::sync::Arc;

use homelab_dr::base::id::ObjectId;
use homelab_dr::check::Severity;
use homelab_dr::repo::layout;
use homelab_dr::store::record::Record;
use homelab_dr::store::{Key, Operation};

use super::{Random, STRIPE, Settings, TENTH, content_pack, flip, groups, is_settled, plan, prune, run, twenty_packs};
use crate::prune::world::{DAY, GRACE, World};
use crate::repair::{Held, is_whole, repair, repair_on};
use crate::rescue::Sectors;

/// The objects of the first group, packs and parity.
async fn objects(world: &World) -> Vec<Key> {
    let found = groups(world).await.swap_remove(0);
    let packs = found.group.members.iter().map(|member| layout::pack(&member.pack));
    packs.chain(found.objects.values().map(|entry| entry.key.clone())).collect()
}

async fn lose(world: &World, key: &Key, how: usize) {
    let bytes = world.store.get(key).await.unwrap();
    match how {
        0 => world.store.delete(key).await.unwrap(),
        1 => world.store.put_over(key, bytes.slice(..bytes.len() / 3), None).await.unwrap(),
        2 => flip(world, key, bytes.len() / 2).await,
        // Everything in it, as of a sector that reads as zeros.
        _ => world.store.put_over(key, vec![0; bytes.len()].into(), None).await.unwrap(),
    }
}

#[tokio::test]
async fn as_many_of_a_group_as_it_promises_may_be_lost() {
    let (origin, files) = twenty_packs().await;
    let mut back = 0;
    for share in [10, 20] {
        let settings = Settings { share, ..TENTH };
        let covered = origin.fork().await;
        run(&covered, settings).await;
        let stands = usize::from(share) / 5;
        for seed in 0..8 {
            let world = covered.fork().await;
            let mut random = Random(seed * 1000 + u64::from(share));
            let mut list = objects(&world).await;
            assert_eq!(list.len(), 20 + stands);
            let lost = random.take(&mut list, stands);
            let what = format!("{share}%, seed {seed}: {lost:?}");
            for key in &lost {
                lose(&world, key, random.below(4)).await;
            }
            let held = if seed % 2 == 0 { Held::Writer } else { Held::Owner };
            let done = repair(&world, held, &[]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(done.losses.is_empty(), "{what}: {done:?}");
            for key in lost.iter().filter(|key| key.as_str().starts_with("packs/")) {
                let healed = done.healed.iter().find(|healed| healed.object == key.as_str());
                // Of a metadata pack that does not read well what is good is copied, and it is marked; any other comes back as it was.
                let Some(healed) = healed else {
                    assert!(done.marked.contains(&key.to_string()), "{what}: {done:?}");
                    continue;
                };
                assert_eq!(healed.from.as_deref(), Some("parity in memory"), "{what}");
                assert!(world.store.get(key).await.unwrap() == origin.store.get(key).await.unwrap(), "{what}");
                back += 1;
            }
            assert_eq!(world.read_all().await, files, "{what}");
            run(&world, Settings { read_data: true, ..settings }).await;
            is_settled(&world, settings, &what).await;
            is_whole(&world, Held::Writer, &what).await;
        }
    }
    assert!(back > 0, "no pack came back as it was");
}

/// Two packs in each stripe, all content packs together, and a parity object with another one.
#[tokio::test]
async fn rot_here_and_there_is_mended_in_more_packs_than_there_is_parity() {
    let (world, files) = twenty_packs().await;
    run(&world, TENTH).await;
    let mut rotten = 0;
    for (at, key) in objects(&world).await.iter().filter(|key| key.as_str().starts_with("packs/")).enumerate() {
        let bytes = world.store.get(key).await.unwrap();
        let stripes = bytes.len() / STRIPE as usize;
        if bytes[1] == 1 && stripes >= 5 && rotten < 10 {
            flip(&world, key, (rotten / 2) * STRIPE as usize + 100 + at).await;
            rotten += 1;
        }
    }
    assert!(rotten > 4, "only {rotten} packs have five stripes");
    let done = repair(&world, Held::Owner, &[]).await.expect("a repair");
    let from = |healed: &&homelab_dr::repair::Healed| healed.from.as_deref() == Some("parity in memory");
    assert_eq!(done.healed.iter().filter(from).count(), rotten, "{done:?}");
    assert_eq!(world.read_all().await, files);
    is_whole(&world, Held::Owner, "mended").await;
}

#[tokio::test]
async fn what_is_more_than_a_group_stands_is_told_and_never_regrouped_away() {
    let (world, files) = twenty_packs().await;
    run(&world, TENTH).await;
    let keys = objects(&world).await;
    let (mut lost, mut kept) = (Vec::new(), Vec::new());
    for key in keys.iter().filter(|key| key.as_str().starts_with("packs/")) {
        let bytes = world.store.get(key).await.unwrap();
        if bytes[1] == 1 && lost.len() < 3 {
            world.store.delete(key).await.unwrap();
            lost.push(key.to_string());
            kept.push((key.clone(), bytes));
        }
    }
    // New packs do not tempt it either, nor another share.
    world.backup(&["later"]).await;
    let parity = world.names("parity/").await;
    for share in [10, 50] {
        let done = run(&world, Settings { share, ..TENTH }).await;
        assert!(done.removed.iter().all(|name| !parity.contains(name)), "{done:?}");
        let told: Vec<String> = plan(&world, TENTH).await.lost.into_iter().map(|trouble| trouble.object).collect();
        assert_eq!(told, {
            let mut lost = lost.clone();
            lost.sort();
            lost
        });
    }
    let done = repair(&world, Held::Writer, &[]).await.expect("a repair");
    let files_lost: usize = done.losses.iter().map(|loss| loss.files.len()).sum();
    assert_eq!((done.losses.len(), files_lost), (3, 6), "{:?}", done.losses);
    assert!(done.report.unwrap().findings.iter().any(|finding| finding.severity == Severity::Damage));
    // With one of them brought back by other means the two others follow.
    let (key, bytes) = kept.swap_remove(1);
    world.store.put_new(&key, bytes, None).await.unwrap();
    let done = repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert!(done.losses.is_empty(), "{:?}", done.losses);
    let all = world.read_all().await;
    assert!(files.iter().all(|(id, files)| all.get(id) == Some(files)));
}

/// Two packs are rotten and a third one does not read for now, which is one more than the group stands: nothing is marked, and parity stays, until it reads again.
#[tokio::test]
async fn what_does_not_read_for_now_is_not_given_up() {
    let (world, files) = twenty_packs().await;
    run(&world, TENTH).await;
    let mut content = Vec::new();
    for key in objects(&world).await.into_iter().filter(|key| key.as_str().starts_with("packs/")) {
        if world.store.get(&key).await.unwrap()[1] == 1 {
            content.push(key);
        }
    }
    for key in &content[..2] {
        lose(&world, key, 3).await;
    }
    let sectors = Sectors::over(world.store.clone());
    sectors.spoil(content[2].clone(), 0..u64::MAX);
    let done = repair_on(&world, Held::Writer, Vec::new(), sectors).await.expect("a repair");
    assert_eq!(done.marked, Vec::<String>::new(), "{done:?}");
    let kept: Vec<&str> = done.kept.iter().map(|kept| kept.object.as_str()).collect();
    assert!(content[..2].iter().all(|key| kept.contains(&key.as_str())), "{kept:?}");
    let parity = world.names("parity/").await;
    run(&world, TENTH).await;
    assert_eq!(world.names("parity/").await, parity);
    let done = repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert!(done.losses.is_empty() && done.kept.is_empty(), "{done:?}");
    assert_eq!(world.read_all().await, files);
}

/// Three packs are gone, which is more than the group stands: that is found out once for each of them, and not for each of their blobs.
#[tokio::test]
async fn what_parity_cannot_bring_back_is_asked_for_once() {
    let (world, _) = twenty_packs().await;
    run(&world, TENTH).await;
    let (mut lost, mut members) = (0, 0);
    for key in objects(&world).await.iter().filter(|key| key.as_str().starts_with("packs/")) {
        members += 1;
        if world.store.get(key).await.unwrap()[1] == 1 && lost < 3 {
            world.store.delete(key).await.unwrap();
            lost += 1;
        }
    }
    for held in [Held::Writer, Held::Owner] {
        let parts = async |world: World| {
            let record = Arc::new(Record::new(world.store.clone()));
            let done = repair_on(&world, held, Vec::new(), record.clone()).await.expect("a repair");
            assert_eq!(done.losses.len(), 3, "{done:?}");
            let parts = record.log().into_iter().filter(|call| call.operation == Operation::GetRange);
            parts.filter(|call| call.object.starts_with("packs/")).count()
        };
        let bare = world.fork().await;
        for key in bare.names("parity/").await {
            bare.store.delete(&Key::new(key).unwrap()).await.unwrap();
        }
        let (with, without) = (parts(world.fork().await).await, parts(bare).await);
        assert!(
            with > without && with <= without + 2 * lost * members,
            "{held:?}: {with} reads of packs, and {without}"
        );
    }
}

/// A pack that is rotten is never taken into a group, and a group that holds it is not given up.
#[tokio::test]
async fn rotten_packs_are_not_covered() {
    let (world, _) = twenty_packs().await;
    let key = content_pack(&world).await;
    let good = world.store.get(&key).await.unwrap();
    flip(&world, &key, 300).await;
    let done = run(&world, TENTH).await;
    assert_eq!((done.made, done.covered, done.damaged.len()), (0, 0, 1), "{done:?}");
    assert_eq!(done.damaged[0].object, key.as_str());
    assert_eq!(world.count("parity/").await, 0);
    world.store.put_over(&key, good.clone(), None).await.unwrap();
    run(&world, TENTH).await;
    let parity = world.names("parity/").await;
    flip(&world, &key, 300).await;
    let done = run(&world, Settings { share: 20, ..TENTH }).await;
    assert_eq!((done.made, done.damaged.len(), done.removed.len()), (0, 1, 0), "{done:?}");
    assert_eq!(world.names("parity/").await, parity);
    repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert!(world.store.get(&key).await.unwrap() == good);
}

/// Members that are not there, and that no mark names any more.
async fn gone_without_a_mark(world: &World) -> usize {
    let there = world.names("packs/").await;
    let marked = super::cuts::marked(world).await;
    let found = groups(world).await;
    let gone = |pack: &ObjectId| !there.contains(&layout::pack(pack).to_string()) && !marked.contains(pack);
    found.iter().flat_map(|found| &found.group.members).filter(|member| gone(&member.pack)).count()
}

#[tokio::test]
async fn what_was_pruned_is_no_loss() {
    let (world, files) = twenty_packs().await;
    run(&world, TENTH).await;
    let forgotten: Vec<_> = files.keys().copied().take(3).collect();
    world.forget(&forgotten).await;
    world.pass(GRACE);
    assert!(prune(&world).await.doomed > 0);
    // Marked: the group is made anew while they are still there.
    let marked = world.fork().await;
    let done = run(&marked, TENTH).await;
    assert_eq!((done.made, done.removed.len()), (1, 2), "{done:?}");
    is_settled(&marked, TENTH, "marked").await;
    // Gone, as the mark says.
    world.pass(GRACE);
    let gone = prune(&world).await;
    assert!(gone.deleted.iter().any(|name| name.starts_with("packs/")), "{gone:?}");
    let known = world.fork().await;
    let done = run(&known, TENTH).await;
    assert_eq!((done.made, done.removed.len()), (1, 2), "{done:?}");
    is_settled(&known, TENTH, "gone").await;
    // Gone, and the mark too.
    for _ in 0..4 {
        world.pass(GRACE + DAY);
        prune(&world).await;
    }
    assert!(gone_without_a_mark(&world).await > 0);
    let old = world.fork().await;
    let done = run(&old, TENTH).await;
    assert_eq!((done.made, done.removed.len()), (1, 2), "{done:?}");
    is_settled(&old, TENTH, "long gone").await;
    // While something else is lost nobody can tell, and the group stays.
    let pack = Key::new(world.names("packs/").await[0].as_str()).unwrap();
    world.store.delete(&pack).await.unwrap();
    let plan = plan(&world, TENTH).await;
    assert!(plan.remove.is_empty() && plan.unclear > 0, "{plan:?}");
    let done = run(&world, Settings { share: 0, ..TENTH }).await;
    assert!(done.removed.is_empty(), "{done:?}");
}
