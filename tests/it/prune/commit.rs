//! What a writer does about what vanishes or is doomed under it.

use std::sync::Arc;

use homelab_dr::base::id::ObjectId;
use homelab_dr::repo::RepoError;
use homelab_dr::repo::doomed::{Marks, mark};
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::store::{Key, Operation};

use super::gate::Gate;
use super::world::{DAY, GRACE, World};

/// A world in which the packs of `a` and `b` are there and no snapshot needs them.
async fn with_garbage() -> World {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let old = world.backup(&["a", "b"]).await;
    world.forget(&[old]).await;
    world.pass(GRACE + DAY);
    world
}

/// However often it is pruned afterwards, the snapshot of `a` reads.
async fn outlives_prunes(world: &World, id: ObjectId) {
    for _ in 0..3 {
        world.pass(GRACE);
        world.prune().await;
    }
    assert_eq!(world.read_all().await[&id], ["a"]);
}

#[tokio::test]
async fn what_is_doomed_between_prepare_and_commit_is_rescued() {
    let world = with_garbage().await;
    let begun = world.begin(&world.open().await, &["a"]).await.expect("a begin");
    assert!(world.prune().await.doomed > 0);
    let id = world.commit(begun).await.expect("a commit").id;
    outlives_prunes(&world, id).await;
}

#[tokio::test]
async fn what_is_doomed_between_the_check_and_the_snapshot_is_rescued_after_it() {
    let world = with_garbage().await;
    let other = world.clone();
    let gate = Gate::new(
        &world.store,
        |_, operation, object| operation == Operation::PutNew && object.starts_with("snapshots/"),
        async move {
            assert!(other.prune().await.doomed > 0);
        },
    );
    let repository = world.open_on(gate.clone()).await;
    let id = world.try_backup(&repository, &["a"]).await.expect("a backup").id;
    assert!(gate.opened());
    outlives_prunes(&world, id).await;
}

#[tokio::test]
async fn a_writer_that_slept_through_the_grace_fails_and_leaves_no_broken_snapshot() {
    let world = with_garbage().await;
    let other = world.clone();
    let gate = Gate::new(
        &world.store,
        |_, operation, object| operation == Operation::PutNew && object.starts_with("snapshots/"),
        async move {
            other.prune().await;
            other.pass(GRACE);
            assert!(!other.prune().await.deleted.is_empty());
        },
    );
    let repository = world.open_on(gate.clone()).await;
    let error = world.try_backup(&repository, &["a"]).await.expect_err("its data is gone");
    assert!(matches!(error, RepoError::Vanished { .. }), "{error}");
    assert_eq!(world.read_all().await.len(), 1);
    world.prune().await;
    assert_eq!(world.read_all().await.len(), 1, "and prune does not refuse");
}

#[tokio::test]
async fn a_pack_that_vanishes_fails_the_run_before_its_snapshot() {
    let world = with_garbage().await;
    let begun = world.begin(&world.open().await, &["a"]).await.expect("a begin");
    let used = begun.writer.index.used_packs();
    assert!(!used.is_empty());
    for pack in used {
        let id = begun.writer.index.pack(pack).expect("its own").id;
        world.store.delete(&homelab_dr::repo::layout::pack(&id)).await.expect("a delete");
    }
    let before = world.count("snapshots/").await;
    let error = world.commit(begun).await.expect_err("it is gone");
    assert!(matches!(error, RepoError::Vanished { .. }), "{error}");
    assert_eq!(world.count("snapshots/").await, before);
}

#[tokio::test]
async fn the_packs_of_a_killed_run_are_found_and_built_upon() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let fault = Arc::new(Fault::only(world.store.clone(), &[Operation::PutNew]));
    let repository = world.open_on(fault.clone()).await;
    let begun = world.begin(&repository, &["a", "b"]).await.expect("a begin");
    // Two packs are put, then the index segment: there the run dies.
    fault.fail_from(fault.calls() + 2, When::Before, Failure::Gone);
    world.commit(begun).await.expect_err("the store died");
    let packs = world.count("packs/").await;
    let again = world.try_backup(&world.open().await, &["a", "b"]).await.expect("a backup");
    assert_eq!(again.written.packs.len(), 1, "the content was there; metadata that nobody opened is stored again");
    assert_eq!(world.count("packs/").await, packs + 1);
    assert_eq!(world.read_all().await[&again.id], ["a", "b"]);
}

#[tokio::test]
async fn nothing_is_built_upon_a_pack_whose_session_is_gone() {
    let world = World::new().await;
    world.backup(&["a"]).await;
    for name in world.names("sessions/").await {
        world.store.delete(&Key::new(name).expect("a key")).await.expect("a delete");
    }
    let again = world.try_backup(&world.open().await, &["a"]).await.expect("a backup");
    assert_eq!(again.written.packs.len(), 2, "the content is stored again, and metadata that nobody opened");
    assert_eq!(world.read_all().await[&again.id], ["a"]);
}

#[tokio::test]
async fn a_session_that_vanished_is_there_again_after_the_commit() {
    let world = World::new().await;
    let begun = world.begin(&world.open().await, &["a"]).await.expect("a begin");
    let sessions = world.names("sessions/").await;
    for name in &sessions {
        world.store.delete(&Key::new(name.as_str()).expect("a key")).await.expect("a delete");
    }
    world.commit(begun).await.expect("a commit");
    assert_eq!(world.names("sessions/").await, sessions);
}

#[tokio::test]
async fn a_mark_cannot_take_a_snapshot_or_a_key_away() {
    let world = World::new().await;
    let id: ObjectId = world.backup(&["a"]).await;
    let repository = world.open().await;
    let names = ["format.json".to_owned(), "epochs/1".to_owned(), format!("snapshots/{id}")];
    let keys = names.map(|name| Key::new(name).expect("a key")).to_vec();
    mark(&repository, keys, world.clock.now()).await.expect("a mark");
    let marks = Marks::load(&repository).await.expect("marks");
    assert!(marks.marks.iter().all(|mark| mark.objects.is_empty()));
    world.pass(GRACE);
    world.prune().await;
    assert_eq!(world.read_all().await[&id], ["a"]);
}

#[tokio::test]
async fn a_snapshot_whose_second_look_fails_is_named() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let mut named = 0;
    for call in 0.. {
        let world = world.fork().await;
        let fault = Arc::new(Fault::new(world.store.clone()));
        let repository = world.open_on(fault.clone()).await;
        fault.fail(call, When::Before, Failure::Permanent);
        let outcome = world.try_backup(&repository, &["keep", "a"]).await;
        if fault.failed() == 0 {
            outcome.expect("a backup");
            break;
        }
        let there = world.names("snapshots/").await;
        match outcome {
            Err(RepoError::Unconfirmed { snapshot, .. }) => {
                named += 1;
                assert!(there.contains(&format!("snapshots/{snapshot}")), "call {call}");
            }
            Err(error) => assert_eq!(there.len(), 1, "call {call}: a snapshot lies about without a word: {error}"),
            Ok(_) => assert_eq!(there.len(), 2, "call {call}"),
        }
    }
    assert!(named >= 3, "marks, packs and sessions are listed again: {named}");
}
