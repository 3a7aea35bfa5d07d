//! One call fails, before or after it took effect: whatever is kept reads, and the next run finishes what this one began.

use std::sync::Arc;

use homelab_dr::prune::Settings;
use homelab_dr::store::fault::{Failure, Fault, When};

use super::world::{GRACE, World};

/// Runs `act` with call n failing, for every n until there is none; then everything must read and a prune must do its work.
async fn every_call<F, W, A>(make: F, act: A)
where
    F: AsyncFn() -> (World, W),
    W: Clone,
    A: AsyncFn(&World, W, Arc<Fault>) -> bool,
{
    let (origin, state) = make().await;
    let kept = origin.read_all().await;
    for when in [When::Before, When::After] {
        let mut calls = 0;
        for call in 0.. {
            let (world, state) = (origin.fork().await, state.clone());
            let fault = Arc::new(Fault::new(world.store.clone()));
            fault.fail(call, when, Failure::Permanent);
            let fine = act(&world, state, fault.clone()).await;
            let after = world.read_all().await;
            for (id, files) in &after {
                assert!(kept.get(id).is_none_or(|before| before == files));
            }
            world.prune().await;
            world.pass(GRACE);
            world.prune().await;
            assert_eq!(world.read_all().await, after, "call {call} {when:?}");
            if fault.failed() == 0 {
                assert!(fine, "without a failure it works");
                calls = call;
                break;
            }
        }
        assert!(calls > 5, "only {calls} calls");
    }
}

#[tokio::test]
async fn a_commit_that_fails_anywhere_harms_nothing() {
    every_call(
        async || {
            let world = World::new().await;
            world.backup(&["keep"]).await;
            let old = world.backup(&["a", "b"]).await;
            world.forget(&[old]).await;
            world.pass(GRACE);
            (world, ())
        },
        async |world, (), fault| {
            let repository = world.open_on(fault).await;
            let Ok(begun) = world.begin(&repository, &["a", "c"]).await else { return false };
            // Doomed in the middle, so that the commit has to rescue.
            world.prune().await;
            let done = world.commit(begun).await;
            if let Ok(done) = &done {
                assert_eq!(world.read_all().await[&done.id], ["a", "c"]);
            }
            done.is_ok()
        },
    )
    .await;
}

#[tokio::test]
async fn a_forget_that_fails_anywhere_is_finished_by_the_next() {
    every_call(
        async || {
            let world = World::new().await;
            let mut ids = Vec::new();
            for name in ["a", "b", "c"] {
                ids.push(world.backup(&[name]).await);
            }
            world.forget(&ids[..1]).await;
            (world, ids)
        },
        async |world, ids, fault| {
            let repository = world.open_on(fault).await;
            let done = world.try_forget(&repository, &ids[1..2]).await.is_ok();
            let there = world.read_all().await;
            assert!(there.contains_key(&ids[2]));
            world.forget(&ids[1..2]).await;
            assert_eq!(world.read_all().await.keys().collect::<Vec<_>>(), [&ids[2]]);
            assert_eq!(world.count("snapshots/").await, 2, "one snapshot and one tombstone");
            done
        },
    )
    .await;
}

/// Phase one (copy, mark) and phase two (delete) in one prune.
#[tokio::test]
async fn a_prune_that_fails_anywhere_harms_nothing() {
    every_call(
        async || {
            let world = World::new().await;
            let mut ids = Vec::new();
            for n in 0..10 {
                ids.push(world.backup(&["shared", &format!("file-{n:02}")]).await);
            }
            world.forget(&ids[..3]).await;
            world.pass(GRACE);
            world.prune().await;
            world.forget(&ids[3..5]).await;
            world.pass(GRACE);
            (world, ())
        },
        async |world, (), fault| {
            let repository = world.open_on(fault).await;
            world.try_prune(&repository, Settings::default()).await.is_ok()
        },
    )
    .await;
}
