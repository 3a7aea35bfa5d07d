//! Object lock: what is locked waits, what is needed stays locked.

use homelab_dr::prune::WhyWait;
use homelab_dr::store::Key;

use super::world::{DAY, GRACE, World};

const LOCK: std::time::Duration = std::time::Duration::from_hours(30 * 24);

#[tokio::test]
async fn what_is_locked_waits_and_goes_when_the_lock_ends() {
    let world = World::locked(LOCK).await;
    let kept = world.backup(&["keep"]).await;
    let old = world.backup(&["a"]).await;
    let forgotten = world.forget(&[old]).await;
    assert_eq!(forgotten.locked.len(), 1);
    assert!(forgotten.locked[0].until.is_some());
    let chain = homelab_dr::repo::snapshots::Chain::load(&*world.open().await).await.expect("a chain");
    let ids = |list: &[homelab_dr::repo::snapshots::Snapshot]| list.iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(
        (ids(&chain.snapshots), ids(&chain.leaving)),
        (vec![kept], vec![old]),
        "gone for all but prune and forget"
    );
    assert_eq!(chain.newest_of("test").map(|newest| newest.id), Some(kept), "and nothing is based on it");
    world.pass(GRACE);
    world.prune().await;
    assert_eq!(world.count("doomed/").await, 0, "a forgotten snapshot that is there is spared");
    world.pass(LOCK);
    assert_eq!(world.forget(&[]).await.removed, [old], "the next forget finishes it");
    world.backup(&["keep"]).await;
    assert!(world.prune().await.doomed > 0);
    world.pass(GRACE);
    let outcome = world.prune().await;
    assert!(!outcome.deleted.is_empty(), "{outcome:?}");
    assert!(world.read_all().await.contains_key(&kept));
}

#[tokio::test]
async fn a_doomed_object_that_is_locked_waits_and_says_until_when() {
    let world = World::locked(LOCK).await;
    world.backup(&["keep"]).await;
    let old = world.backup(&["a"]).await;
    // Somebody's snapshot record is gone by other means than delete: only the packs are locked now.
    world.forget(&[old]).await;
    world.pass(LOCK);
    for name in world.names("packs/").await {
        let key = Key::new(name).expect("a key");
        world.store.extend_retention(&key, world.clock.now().after(LOCK)).await.expect("an extension");
    }
    world.forget(&[]).await;
    assert!(world.prune().await.doomed > 0);
    world.pass(GRACE);
    let planned = homelab_dr::prune::plan_prune(&world.open().await, Default::default(), &world.clock).await;
    let plan = planned.expect("a plan").plan;
    assert!(plan.wait.iter().any(|wait| matches!(wait.why, WhyWait::Locked { until: Some(_) })), "{plan:?}");
    let packs = world.count("packs/").await;
    world.prune().await;
    assert_eq!(world.count("packs/").await, packs);
}

#[tokio::test]
async fn what_a_prune_dooms_is_not_locked_anew() {
    let world = World::locked(LOCK).await;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"] {
        world.backup(&[name]).await;
    }
    world.pass(DAY * 20);
    let before = world.names("").await;
    let outcome = world.prune().await;
    assert!(outcome.doomed > 16 && outcome.locks.extended > 0, "{outcome:?}");
    let marks = homelab_dr::repo::doomed::Marks::load(&*world.open().await).await.expect("marks");
    for name in before {
        let key = Key::new(name).expect("a key");
        let held = world.store.retention(&key).await.expect("an answer").expect("locked");
        let extended = held >= world.clock.now().after(LOCK / 2);
        let kind = key.as_str().split('/').next().unwrap();
        if kind == "packs" || kind == "index" {
            assert_eq!(extended, !marks.is_doomed(&key), "{key}");
        }
    }
}

#[tokio::test]
async fn what_is_needed_stays_locked_by_prune_and_by_writers() {
    let world = World::locked(LOCK).await;
    world.backup(&["keep"]).await;
    world.pass(DAY * 20);
    let locks = world.prune().await.locks;
    assert!(locks.extended >= 7, "format, access, epoch, session, index, two packs, snapshot: {locks:?}");
    for name in world.names("").await {
        let held = world.store.retention(&Key::new(name.as_str()).expect("a key")).await.expect("an answer");
        assert!(held.is_none_or(|held| held >= world.clock.now().after(LOCK / 2)), "{name}");
    }
    assert_eq!(world.prune().await.locks.extended, 0, "once is enough");
    world.pass(DAY * 20);
    let again = world.backup(&["keep"]).await;
    let mut metadata = Vec::new();
    for name in world.names("packs/").await {
        let key = Key::new(name).expect("a key");
        let held = world.store.retention(&key).await.expect("a lock").expect("locked");
        let is_held = held >= world.clock.now().after(LOCK / 2);
        match world.store.get(&key).await.expect("a pack")[1] {
            1 => assert!(is_held, "content that the writer builds upon"),
            _ => metadata.push(is_held),
        }
    }
    // The writer had not opened the first metadata, and stored its own.
    assert_eq!(metadata.iter().filter(|is_held| **is_held).count(), 1, "{metadata:?}");
    assert!(world.read_all().await.contains_key(&again));
}
