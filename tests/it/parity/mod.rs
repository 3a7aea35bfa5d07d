//! Parity: what a group promises may be lost and comes back, byte for byte; more is told; cut off anywhere, beside others, and among objects that lie.

mod cuts;
mod lies;
mod losses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use homelab_dr::base::id::ObjectId;
use homelab_dr::base::progress::Progress;
use homelab_dr::base::random::{STEP, mix};
use homelab_dr::parity::{Outcome, ParityPlan, Settings, plan_parity, run_parity};
use homelab_dr::repo::layout;
use homelab_dr::repo::parity::{Found, WithParity, load};
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::store::record::Record;
use homelab_dr::store::{Key, Operation, Store};

use crate::prune::world::World;

/// Short stripes: the packs of these tests have a few each.
pub const STRIPE: u32 = 4096;

pub const TENTH: Settings =
    Settings { share: 10, read_data: false, group_packs: 20, stripe: STRIPE, pass_bytes: 32 << 20 };

/// A seeded choice.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(STEP);
        usize::try_from(mix(self.0) % end as u64).unwrap()
    }

    /// Takes so many out of a list.
    pub fn take<T>(&mut self, list: &mut Vec<T>, number: usize) -> Vec<T> {
        (0..number).map(|_| list.swap_remove(self.below(list.len()))).collect()
    }
}

/// Ten snapshots that share nothing: twenty packs.
pub async fn twenty_packs() -> (World, BTreeMap<ObjectId, Vec<String>>) {
    let world = World::new().await;
    for n in 0..10 {
        world.backup(&[&format!("a{n}"), &format!("b{n}")]).await;
    }
    assert_eq!(world.count("packs/").await, 20);
    let files = world.read_all().await;
    (world, files)
}

pub async fn plan_on(repository: &Arc<Repository>, world: &World, settings: Settings) -> Result<ParityPlan, RepoError> {
    Ok(plan_parity(repository, settings, world.clock.now(), &Progress::default()).await?.plan)
}

pub async fn plan(world: &World, settings: Settings) -> ParityPlan {
    plan_on(&world.open().await, world, settings).await.expect("a plan")
}

pub async fn run_on(repository: &Arc<Repository>, world: &World, settings: Settings) -> Result<Outcome, RepoError> {
    let planned = plan_parity(repository, settings, world.clock.now(), &Progress::default()).await?;
    run_parity(repository, planned, &world.clock, &Progress::default()).await
}

pub async fn run(world: &World, settings: Settings) -> Outcome {
    run_on(&world.open().await, world, settings).await.expect("a run")
}

pub async fn groups(world: &World) -> Vec<Found> {
    let listed = world.store.list(layout::PARITY).await.unwrap();
    let mut found = load(&*world.store, listed, true).await.expect("headers").found;
    found.retain(|found| found.group.repository == world.key.repository);
    found
}

/// The packs of this repository that are in a group which has all its parity.
pub async fn covered(world: &World) -> BTreeSet<ObjectId> {
    let whole = |found: &Found| found.objects.len() == usize::from(found.group.parity);
    let groups = groups(world).await;
    groups
        .iter()
        .filter(|found| whole(found))
        .flat_map(|found| &found.group.members)
        .map(|member| member.pack)
        .collect()
}

/// Everything is covered as it should be, and nothing is left to do.
pub async fn is_settled(world: &World, settings: Settings, what: &str) {
    let plan = plan(world, settings).await;
    assert!(plan.is_idle() && plan.lost.is_empty(), "{what}: {plan:?}");
    assert_eq!(plan.covered, plan.packs, "{what}");
    assert_eq!(covered(world).await.len() as u64, plan.packs, "{what}");
}

/// A pack of file content; which ids packs have is another matter in every run.
pub async fn content_pack(world: &World) -> Key {
    for name in world.names("packs/").await {
        let key = Key::new(name.as_str()).unwrap();
        if world.store.get(&key).await.unwrap()[1] == 1 {
            return key;
        }
    }
    panic!("no content pack");
}

/// Marks and deletes what no snapshot needs, and joins no small packs, which all of these are.
pub async fn prune(world: &World) -> homelab_dr::prune::Outcome {
    let settings = homelab_dr::prune::Settings { repack_bytes_max: 0, ..Default::default() };
    world.try_prune(&world.open().await, settings).await.expect("a prune")
}

pub async fn flip(world: &World, key: &Key, at: usize) {
    let mut bytes = world.store.get(key).await.unwrap().to_vec();
    bytes[at] ^= 0x40;
    world.store.put_over(key, bytes.into(), None).await.unwrap();
}

#[tokio::test]
async fn a_second_run_does_nothing_and_another_share_makes_all_anew() {
    let (world, _) = twenty_packs().await;
    let before = world.names("").await;
    let planned = plan(&world, TENTH).await;
    assert_eq!(world.names("").await, before, "a plan changes nothing");
    let done = run(&world, TENTH).await;
    assert_eq!((done.made, done.groups, done.covered, done.objects_written), (1, 1, 20, 2));
    assert_eq!((done.packs_read, done.bytes_read), (20, planned.bytes));
    assert_eq!(done.bytes_written, planned.make[0].parity_bytes);
    is_settled(&world, TENTH, "after the first").await;
    let again = run(&world, TENTH).await;
    assert_eq!((again.made, again.packs_read, again.removed.len()), (0, 0, 0));
    assert_eq!(again.parity_bytes, done.bytes_written);

    let fifth = Settings { share: 20, ..TENTH };
    let more = run(&world, fifth).await;
    assert_eq!((more.objects_written, more.removed.len()), (4, 2));
    is_settled(&world, fifth, "a fifth").await;
    let none = run(&world, Settings { share: 0, ..TENTH }).await;
    assert_eq!((none.removed.len(), none.covered), (4, 0));
    assert_eq!(world.names("").await, before);
}

#[tokio::test]
async fn new_packs_get_small_groups_and_later_a_large_one() {
    let (world, _) = twenty_packs().await;
    run(&world, TENTH).await;
    let large = world.names("parity/").await;
    for n in 0..10 {
        world.backup(&[&format!("later{n}")]).await;
        let done = run(&world, TENTH).await;
        let expected = if n < 9 { (1, 2, 0) } else { (1, 20, 9) };
        assert_eq!((done.made, done.packs_read, done.removed.len()), expected, "{n}");
        is_settled(&world, TENTH, "a day").await;
    }
    let names = world.names("parity/").await;
    assert!(names.len() == 4 && large.iter().all(|name| names.contains(name)), "{names:?}");
}

#[tokio::test]
async fn the_same_packs_always_give_the_same_objects() {
    let (world, _) = twenty_packs().await;
    let other = world.fork().await;
    run(&world, TENTH).await;
    run(&other, TENTH).await;
    let names = world.names("parity/").await;
    assert!(names.len() == 2 && names == other.names("parity/").await);
    // One that is gone comes back under its name, and so does one that rotted, once somebody reads it.
    let key = Key::new(names[0].as_str()).unwrap();
    world.store.delete(&key).await.unwrap();
    run(&world, TENTH).await;
    assert_eq!(world.names("parity/").await, names);
    let length = world.store.get(&key).await.unwrap().len();
    for (at, read_data) in [(3, false), (length - 5, true)] {
        flip(&world, &key, at).await;
        let done = run(&world, Settings { read_data, ..TENTH }).await;
        assert_eq!((done.made, done.objects_written, done.removed.len()), (1, 1, 0), "{at}");
        assert!(world.store.get(&key).await.unwrap() == other.store.get(&key).await.unwrap(), "{at}");
    }
}

/// With less memory than a pack has bytes: packs are read once for each parity object, and a pack comes back stripe by stripe; what comes of it is the same.
#[tokio::test]
async fn what_does_not_fit_into_memory_is_done_in_several_passes() {
    let (world, _) = twenty_packs().await;
    let other = world.fork().await;
    let whole = run(&world, TENTH).await;
    let progress = Progress::default();
    let passes = Settings { pass_bytes: 1, ..TENTH };
    let planned = plan_parity(&other.open().await, passes, other.clock.now(), &progress).await.expect("a plan");
    let done = run_parity(&other.open().await, planned, &other.clock, &progress).await.expect("a run");
    assert_eq!((done.packs_read, done.bytes_read), (2 * whole.packs_read, 2 * whole.bytes_read));
    assert_eq!(progress.files_total.load(Ordering::Relaxed), done.packs_read);
    assert_eq!(progress.bytes_total.load(Ordering::Relaxed), done.bytes_read);
    assert_eq!(world.names("parity/").await, other.names("parity/").await);

    let lost = content_pack(&world).await;
    let bytes = world.store.get(&lost).await.unwrap();
    assert!(bytes.len() > 2 * STRIPE as usize);
    world.store.delete(&lost).await.unwrap();
    let record = Arc::new(Record::new(world.store.clone()));
    let mended = WithParity::new(record.clone(), 1).get(&lost).await.expect("mended");
    assert!(mended == bytes);
    let longest = record.log().into_iter().filter(|call| call.operation == Operation::GetRange);
    let longest = longest.filter(|call| call.object.starts_with("packs/")).map(|call| call.bytes).max();
    assert_eq!(longest, Some(u64::from(STRIPE)), "one stripe of each at a time");
}

#[tokio::test]
async fn locks_keep_what_was_replaced_until_they_end() {
    use crate::prune::world::DAY;
    let world = World::locked(DAY * 10).await;
    for n in 0..10 {
        world.backup(&[&format!("a{n}")]).await;
    }
    run(&world, TENTH).await;
    let keys = world.names("parity/").await;
    let until = world.store.retention(&Key::new(keys[0].as_str()).unwrap()).await.unwrap();
    assert_eq!(until, Some(world.clock.now().after(DAY * 10)));
    let fifth = Settings { share: 20, ..TENTH };
    let done = run(&world, fifth).await;
    assert_eq!((done.locked.len(), done.removed.len()), (2, 0));
    // What counts is locked anew, what was replaced is not.
    world.pass(DAY * 6);
    let done = run(&world, fifth).await;
    assert_eq!((done.locked.len(), done.locks.extended), (2, 4));
    world.pass(DAY * 6);
    let done = run(&world, fifth).await;
    assert_eq!((done.removed.len(), done.locks.extended), (2, 4));
    is_settled(&world, fifth, "at the end").await;
}
