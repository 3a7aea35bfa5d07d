//! A chain that lost a record: prune refuses until its owner says that it is gone, and goes on then.

use std::sync::Arc;

use homelab_dr::base::id::ObjectId;
use homelab_dr::forget::acknowledge_lost;
use homelab_dr::keys;
use homelab_dr::prune::{PruneError, Settings, plan_prune};
use homelab_dr::repo::layout;
use homelab_dr::repo::snapshots::Chain;
use homelab_dr::repo::witness;
use homelab_dr::store::Operation;
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::verified;

use super::gate::Gate;
use super::world::{DAY, GRACE, HOUR, World};

async fn refused(world: &World) -> PruneError {
    world.try_prune(&world.open().await, Settings::default()).await.expect_err("a refusal")
}

async fn give_up(world: &World, id: ObjectId) -> Vec<ObjectId> {
    acknowledge_lost(&world.open().await, &[id], "test", &world.clock).await.expect("a tombstone").removed
}

/// A world with three snapshots; returns the second, whose data nobody else needs.
async fn three() -> (World, ObjectId) {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let second = world.backup(&["a", "b"]).await;
    world.backup(&["keep", "c"]).await;
    (world, second)
}

/// The prune goes on, and what only the lost snapshot needed goes in time.
async fn goes_on(world: &World) {
    let before = world.count("packs/").await;
    world.pass(GRACE);
    assert!(world.prune().await.doomed > 0);
    world.pass(GRACE);
    world.prune().await;
    assert!(world.count("packs/").await < before);
    assert_eq!(world.read_all().await.len(), 2);
    // It is settled for good, also when later tombstones take the place of this one.
    let last = world.backup(&["d"]).await;
    world.forget(&[last]).await;
    world.backup(&["e"]).await;
    world.prune().await;
}

#[tokio::test]
async fn a_gap_that_is_given_up_closes() {
    let (world, lost) = three().await;
    world.store.delete(&layout::named(layout::SNAPSHOTS, &lost)).await.expect("a thief");
    assert!(matches!(refused(&world).await, PruneError::Gaps { first, .. } if first == lost));
    assert_eq!(give_up(&world, ObjectId::new([7; 32])).await, [], "an id that is no gap is passed over");
    refused(&world).await;
    give_up(&world, lost).await;
    goes_on(&world).await;
}

#[tokio::test]
async fn a_record_that_does_not_read_is_given_up_and_removed() {
    let (world, lost) = three().await;
    let key = layout::named(layout::SNAPSHOTS, &lost);
    world.store.delete(&key).await.expect("a disk");
    world.store.put_new(&key, "rotten".into(), None).await.expect("a disk");
    assert!(matches!(refused(&world).await, PruneError::Unreadable { first, .. } if first == lost));
    assert_eq!(give_up(&world, lost).await, [lost]);
    assert!(world.store.stat(&key).await.expect("an answer").is_none());
    goes_on(&world).await;
}

#[tokio::test]
async fn a_snapshot_that_reads_is_not_given_up_by_mistake() {
    let (world, second) = three().await;
    assert_eq!(give_up(&world, second).await, []);
    let chain = Chain::load(&*world.open().await).await.expect("a chain");
    assert_eq!((chain.snapshots.len(), chain.tombstones.len()), (3, 0));
}

/// Who saw the chain before it was cut off.
#[derive(Clone, Copy, Debug)]
enum Witness {
    Drill,
    Verification,
    Nobody,
}

async fn see(world: &World, witness: Witness, ids: &[ObjectId]) {
    let repository = world.open_to_read().await;
    match witness {
        Witness::Drill => drop(keys::drill(&repository, "test", &*world.clock).await.expect("a drill")),
        Witness::Verification => {
            verified::record(&repository, ids, &[], "test", &*world.clock).await.expect("a record");
        }
        Witness::Nobody => {}
    }
}

/// All records are removed, tombstones too, and the next backup begins a new chain, as it would at night. What was saved can still be brought back.
#[tokio::test]
async fn a_thief_who_removes_all_records_is_not_helped() {
    for witness in [Witness::Drill, Witness::Verification, Witness::Nobody] {
        let (world, second) = three().await;
        world.forget(&[second]).await;
        let ids: Vec<ObjectId> = world.read_all().await.into_keys().collect();
        see(&world, witness, &ids).await;
        let taken = world.names("snapshots/").await;
        world.pass(GRACE + DAY);
        for name in &taken {
            world.store.delete(&homelab_dr::store::Key::new(name.as_str()).expect("listed")).await.expect("a thief");
        }
        let packs = world.names("packs/").await;
        world.backup(&["new"]).await;
        for _ in 0..3 {
            let error = refused(&world).await;
            match witness {
                Witness::Nobody => assert!(matches!(error, PruneError::OlderThanChain { .. }), "{error}"),
                _ => assert!(matches!(error, PruneError::Gaps { .. }), "{witness:?}: {error}"),
            }
            world.pass(GRACE + DAY);
        }
        let left = world.names("packs/").await;
        assert!(packs.iter().all(|pack| left.contains(pack)), "nothing was removed");
        // Its owner knows what happened, and gives it all up.
        let repository = world.open().await;
        let gone = witness::gaps(&repository, &Chain::load(&repository).await.expect("a chain")).await.expect("gaps");
        acknowledge_lost(&repository, &gone, "test", &world.clock).await.expect("a tombstone");
        assert!(matches!(refused(&world).await, PruneError::OlderThanChain { .. }));
        let settings = Settings { allow_older: true, ..Settings::default() };
        let outcome = world.try_prune(&repository, settings).await.expect("a prune");
        assert!(outcome.doomed > 0, "{outcome:?}");
    }
}

/// The end of the chain is gone, and a witness knew it. The next one, of something else, has to say so as well: only the newest counts.
#[tokio::test]
async fn what_is_missing_is_not_forgotten_with_the_next_witness() {
    for first in [Witness::Drill, Witness::Verification] {
        for next in [Witness::Drill, Witness::Verification] {
            for is_rotten in [false, true] {
                let (world, _) = three().await;
                let ids: Vec<ObjectId> = world.read_all().await.into_keys().collect();
                see(&world, first, &ids).await;
                let tip = world.backup(&["tip"]).await;
                // One who was there while it was seen by its head only, as by a restore of another.
                see(&world, first, &ids[..1]).await;
                let key = layout::named(layout::SNAPSHOTS, &tip);
                world.store.delete(&key).await.expect("a thief");
                if is_rotten {
                    world.store.put_new(&key, "rotten".into(), None).await.expect("a disk");
                    see(&world, next, &ids[..1]).await;
                    world.store.delete(&key).await.expect("a disk");
                }
                for _ in 0..2 {
                    world.pass(HOUR);
                    see(&world, next, &ids[..1]).await;
                    let error = refused(&world).await;
                    assert!(matches!(error, PruneError::Gaps { first, .. } if first == tip), "{first:?}: {error}");
                }
                // Until its owner gives it up: then no witness brings it up again.
                give_up(&world, tip).await;
                see(&world, next, &ids[..1]).await;
                world.pass(GRACE);
                assert!(world.prune().await.doomed > 0, "what it alone had");
                assert_eq!(world.read_all().await.len(), 3);
            }
        }
    }
}

/// A witness that the store does not show while the next one is made may be the only one that knows.
#[tokio::test]
async fn whatever_call_fails_no_witness_is_made_without_what_is_missing() {
    let (origin, _) = three().await;
    let ids: Vec<ObjectId> = origin.read_all().await.into_keys().collect();
    let tip = origin.backup(&["tip"]).await;
    see(&origin, Witness::Verification, &ids).await;
    origin.store.delete(&layout::named(layout::SNAPSHOTS, &tip)).await.expect("a thief");
    for next in [Witness::Drill, Witness::Verification] {
        for call in 0.. {
            let world = origin.fork().await;
            world.pass(HOUR);
            let fault = Arc::new(Fault::new(world.store.clone()));
            fault.fail(call, When::Before, Failure::Permanent);
            let repository = world.open_to_read_on(fault.clone()).await;
            let is_made = match next {
                Witness::Drill => keys::drill(&repository, "test", &*world.clock)
                    .await
                    .is_ok_and(|drill| drill.not_recorded.is_none()),
                _ => verified::record(&repository, &ids, &[], "test", &*world.clock).await.is_ok(),
            };
            let error = refused(&world).await;
            assert!(matches!(error, PruneError::Gaps { first, .. } if first == tip), "{next:?} {call}: {error}");
            if fault.failed() == 0 {
                assert!(is_made && call > 5, "{next:?}: {call} calls");
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_was_seen_once_and_forgotten_since_is_no_gap() {
    for witness in [Witness::Drill, Witness::Verification] {
        let world = World::new().await;
        let mut last = world.backup(&["0"]).await;
        see(&world, witness, &[last]).await;
        for name in ["1", "2", "3", "4"] {
            let next = world.backup(&[name]).await;
            world.forget(&[last]).await;
            last = next;
        }
        let repository = world.open().await;
        let chain = Chain::load(&repository).await.expect("a chain");
        assert_eq!(witness::gaps(&repository, &chain).await.expect("gaps"), [], "{witness:?}");
        assert!(chain.tombstones.len() <= 1, "older ones are taken in");
        world.prune().await;
    }
}

/// Somebody forgets a snapshot after the records were listed and before they are read: the second look sees that it was no theft.
#[tokio::test]
async fn a_forget_while_the_chain_is_read_is_no_gap() {
    for witness in [Witness::Drill, Witness::Verification] {
        let (world, old) = three().await;
        let ids: Vec<ObjectId> = world.read_all().await.into_keys().collect();
        see(&world, witness, &ids).await;
        let forgets = world.clone();
        let gate = Gate::new(
            &world.store,
            |_, operation, object| operation != Operation::List && object.starts_with(layout::SNAPSHOTS),
            async move { drop(forgets.forget(&[old]).await) },
        );
        let repository = world.open_on(gate.clone()).await;
        let planned = plan_prune(&repository, Settings::default(), &world.clock).await;
        assert!(planned.is_ok(), "{:?}", planned.err());
        assert!(gate.opened());
    }
}
