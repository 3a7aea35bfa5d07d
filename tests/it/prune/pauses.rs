//! A process sleeps before its n-th call, for every n, for longer than any grace, while everybody else goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use homelab_dr::prune::Settings;
use homelab_dr::repo::RepoError;

use super::gate::Gate;
use super::world::{GRACE, HOUR, World};

/// Garbage, something partly used, something doomed for long enough, and something kept.
async fn make() -> World {
    let world = World::new().await;
    world.backup(&["keep", "shared"]).await;
    let doomed = world.backup(&["a", "b"]).await;
    world.forget(&[doomed]).await;
    world.pass(GRACE);
    world.prune().await;
    let old = world.backup(&["c", "shared"]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);
    world
}

/// What the others do meanwhile: a writer that builds upon anything that is left, pruners, and time.
async fn others(world: World) {
    let begun = world.begin(&world.open().await, &["a", "c", "shared"]).await.expect("a begin");
    world.prune().await;
    let id = world.commit(begun).await.expect("a commit").id;
    world.pass(GRACE);
    world.prune().await;
    let quick = world.backup(&["b", "c"]).await;
    world.pass(GRACE + HOUR);
    world.prune().await;
    let all = world.read_all().await;
    assert!(all.contains_key(&id) && all.contains_key(&quick));
}

#[tokio::test]
async fn a_pruner_that_sleeps_anywhere_harms_nothing() {
    let origin = make().await;
    for call in 0.. {
        let world = origin.fork().await;
        let gate = Gate::new(&world.store, move |at, _, _| at == call, others(world.clone()));
        let repository = world.open_on(gate.clone()).await;
        // It may fail loudly, having met what it did not expect; what counts is what is left.
        let _ = world.try_prune(&repository, Settings::default()).await;
        let all = world.read_all().await;
        world.pass(GRACE);
        world.prune().await;
        world.pass(GRACE);
        world.prune().await;
        assert_eq!(world.read_all().await, all, "call {call}");
        if !gate.opened() {
            assert!(call > 20, "only {call} calls");
            break;
        }
        assert_eq!(all.len(), 3, "call {call}");
    }
}

#[tokio::test]
async fn a_writer_that_sleeps_anywhere_fails_or_its_snapshot_reads() {
    let (fine, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let origin = make().await;
    for call in 0.. {
        let world = origin.fork().await;
        let gate = Gate::new(&world.store, move |at, _, _| at == call, others(world.clone()));
        let repository = world.open_on(gate.clone()).await;
        let done = world.try_backup(&repository, &["a", "c", "new"]).await;
        let all = world.read_all().await;
        match done {
            Ok(done) => {
                assert_eq!(all[&done.id], ["a", "c", "new"], "call {call}");
                fine.store(true, Ordering::Relaxed);
            }
            // Gone while it slept: a pack that it builds upon, or its session before anything was sealed with it.
            Err(error) => {
                let gone = match &error {
                    RepoError::Vanished { .. } => true,
                    RepoError::Store(error) => error.is_not_found(),
                    _ => false,
                };
                assert!(gone, "call {call}: {error}");
                failed.store(true, Ordering::Relaxed);
            }
        }
        for _ in 0..2 {
            world.pass(GRACE);
            world.prune().await;
        }
        assert_eq!(world.read_all().await, all, "call {call}");
        if !gate.opened() {
            assert!(call > 20, "only {call} calls");
            break;
        }
    }
    assert!(fine.load(Ordering::Relaxed) && failed.load(Ordering::Relaxed), "both happen");
}

#[tokio::test]
async fn a_forget_that_sleeps_anywhere_leaves_no_gap() {
    let origin = make().await;
    let old = origin.backup(&["old"]).await;
    for call in 0.. {
        let world = origin.fork().await;
        let gate = Gate::new(&world.store, move |at, _, _| at == call, others(world.clone()));
        let repository = world.open_on(gate.clone()).await;
        world.try_forget(&repository, &[old]).await.expect("a forget");
        assert!(!world.read_all().await.contains_key(&old));
        world.prune().await;
        if !gate.opened() {
            assert!(call > 4, "only {call} calls");
            break;
        }
    }
}
