//! What changes between the plan and the run is seen by the run: what was due when it was looked at is perhaps not due any more.

use std::sync::Arc;

use homelab_dr::prune::{Outcome, Planned, PruneError, Settings, Waiting, WhyWait, plan_prune, run_prune};
use homelab_dr::repo::checkpoint::Checkpointer;
use homelab_dr::repo::doomed::mark;
use homelab_dr::repo::{RepoError, layout};
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::store::{Key, Operation};

use super::world::{GRACE, HOUR, World};

async fn plan(world: &World) -> Planned {
    plan_prune(&world.open().await, Settings::default(), &world.clock).await.expect("a plan")
}

fn due(planned: &Planned, prefix: &str) -> Vec<String> {
    let names = planned.plan.delete.iter().map(|due| due.object.clone());
    names.filter(|name| name.starts_with(prefix)).collect()
}

async fn run(world: &World, planned: Planned) -> Outcome {
    run_prune(&world.open().await, planned, &world.clock).await.expect("a run")
}

/// Objects that are there, to be put back later.
async fn copies(world: &World, prefix: &str) -> Vec<(Key, bytes::Bytes)> {
    let mut copies = Vec::new();
    for entry in world.store.list(prefix).await.expect("a list") {
        copies.push((entry.key.clone(), world.store.get(&entry.key).await.expect("an object")));
    }
    copies
}

async fn put_back(world: &World, copies: Vec<(Key, bytes::Bytes)>) {
    for (key, bytes) in copies {
        world.store.put_new(&key, bytes, None).await.expect("a put");
    }
}

/// Everything of the forgotten snapshot is marked, and its packs are due.
async fn marked() -> World {
    let world = World::with_forgotten().await;
    assert!(world.prune().await.doomed > 0);
    world.pass(GRACE + HOUR);
    world
}

#[tokio::test]
async fn a_pack_that_a_running_backup_relies_on_by_now_stays() {
    let world = World::with_forgotten().await;
    let begun = world.begin(&world.open().await, &["a", "new"]).await.expect("a begin");
    assert!(world.prune().await.doomed > 0);
    world.pass(GRACE + HOUR);
    let planned = plan(&world).await;
    let packs = due(&planned, "packs/");
    assert!(!packs.is_empty());
    Checkpointer::new(&begun.writer, world.clock.clone()).publish().await.expect("a checkpoint");
    let outcome = run(&world, planned).await;
    let spared = outcome.wait.iter().filter(|wait| wait.why == WhyWait::Checkpoint);
    let spared: Vec<&String> = spared.map(|wait| &wait.object).collect();
    assert!(!spared.is_empty() && spared.iter().all(|name| packs.contains(*name)), "{outcome:?}");
    let there = world.names("packs/").await;
    assert!(spared.iter().all(|name| there.contains(*name)));
}

/// As by a store whose list was stale: a pack that was taken for gone is there, and opens with its session alone.
#[tokio::test]
async fn a_session_and_a_mark_stay_while_one_of_their_objects_is_there() {
    let world = World::with_forgotten().await;
    let packs = copies(&world, layout::PACKS).await;
    let mut planned = plan(&world).await;
    for _ in 0..6 {
        if !due(&planned, layout::SESSIONS).is_empty() {
            break;
        }
        run(&world, planned).await;
        world.pass(GRACE + HOUR);
        planned = plan(&world).await;
    }
    let sessions = due(&planned, layout::SESSIONS);
    assert!(!sessions.is_empty(), "{:?}", planned.plan);
    put_back(&world, packs).await;
    let outcome = run(&world, planned).await;
    for session in sessions {
        let waits = Waiting { object: session.clone(), why: WhyWait::InUse };
        assert!(outcome.wait.contains(&waits), "{outcome:?}");
        assert!(world.names(layout::SESSIONS).await.contains(&session));
    }
    world.read_all().await;
}

/// A mark goes when all that it dooms is gone: while something is there it says since when.
#[tokio::test]
async fn a_mark_stays_while_an_object_of_it_is_there_again() {
    let world = marked().await;
    let of_packs = world.names(layout::DOOMED).await;
    let packs = copies(&world, layout::PACKS).await;
    world.prune().await;
    // Marks that are done go when they are many.
    for _ in 0..16 {
        mark(&*world.open().await, Vec::new(), world.clock.now()).await.expect("a mark");
    }
    world.pass(GRACE + HOUR);
    world.prune().await;
    world.pass(GRACE + HOUR);
    let planned = plan(&world).await;
    let marks = due(&planned, layout::DOOMED);
    assert!(marks.len() > 16 && of_packs.iter().all(|mark| marks.contains(mark)), "{:?}", planned.plan);
    put_back(&world, packs).await;
    let outcome = run(&world, planned).await;
    let waiting: Vec<&String> = outcome.wait.iter().map(|wait| &wait.object).collect();
    assert!(of_packs.iter().all(|mark| waiting.contains(&mark)), "{outcome:?}");
    assert!(marks.iter().filter(|mark| outcome.deleted.contains(mark)).count() >= 16, "{outcome:?}");
    world.read_all().await;
}

/// Only a store that is full lets what is due go without the marks of this run: whoever may not write is not to be trusted with deleting.
#[tokio::test]
async fn a_store_that_refuses_for_another_reason_is_no_full_one() {
    let world = marked().await;
    let last = world.backup(&["more"]).await;
    world.forget(&[last]).await;
    world.pass(GRACE);
    // Where no mark can be made, time goes by the latest that is there.
    mark(&*world.open().await, Vec::new(), world.clock.now()).await.expect("a later mark");
    let before = world.names("").await;
    let refuses = Fault::only(world.store.clone(), &[Operation::PutNew]);
    let planned = plan(&world).await;
    assert!(!due(&planned, "packs/").is_empty());
    refuses.fail_from(0, When::Before, Failure::Denied);
    let repository = world.open_on(Arc::new(refuses)).await;
    let error = run_prune(&repository, planned, &world.clock).await.expect_err("nothing could be marked");
    assert!(matches!(error, PruneError::Repo(RepoError::Store(_))), "{error:?}");
    assert_eq!(world.names("").await, before, "nothing was deleted");
}
