//! A store that takes nothing more: what was marked before goes all the same, and nothing that is needed does.

use std::sync::Arc;

use homelab_dr::prune::{PruneError, Settings, Waiting, WhyWait};
use homelab_dr::repo::doomed::mark;
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::store::{Key, Operation, StoreError};

use super::world::{GRACE, HOUR, World};

/// The repository on a disk that is full.
async fn full(world: &World) -> Arc<Repository> {
    let full = Fault::only(world.store.clone(), &[Operation::PutNew]);
    full.fail_from(0, When::Before, Failure::Full);
    world.open_on(Arc::new(full)).await
}

/// Two forgotten snapshots, of which the first is marked and due. Not even an object of no bytes can be stored, so that the age of the marks counts from the
/// latest of them: a later one is there.
async fn one_due() -> World {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let (first, second) = (world.backup(&["a", "b"]).await, world.backup(&["c"]).await);
    world.forget(&[first]).await;
    world.pass(GRACE);
    assert!(world.prune().await.doomed > 0);
    world.pass(GRACE + HOUR);
    mark(&*world.open().await, Vec::new(), world.clock.now()).await.expect("a later mark");
    world.forget(&[second]).await;
    world
}

#[tokio::test]
async fn what_is_due_goes_though_nothing_can_be_marked() {
    let world = one_due().await;
    let before = world.names("").await;
    let outcome = world.try_prune(&full(&world).await, Settings::default()).await.expect("the deletions");
    assert!(outcome.full.as_ref().is_some_and(|full| full.contains("is full")), "{outcome:?}");
    assert!(outcome.doomed == 0 && outcome.wait.is_empty(), "{outcome:?}");
    assert!(outcome.deleted.iter().filter(|name| name.starts_with("packs/")).count() >= 2, "{outcome:?}");
    let after = world.names("").await;
    assert!(after.iter().all(|name| before.contains(name)), "nothing was stored");
    assert_eq!(before.len() - after.len(), outcome.deleted.len());
    assert_eq!(world.read_all().await.len(), 1);
    let next = world.prune().await;
    assert!(next.full.is_none() && next.doomed > 0, "{next:?}");
    world.pass(GRACE);
    world.prune().await;
    assert_eq!(world.read_all().await.len(), 1);
}

#[tokio::test]
async fn a_full_store_with_nothing_due_is_told_as_full() {
    let world = one_due().await;
    world.prune().await;
    world.backup(&["d", "e"]).await;
    let last = world.backup(&["f"]).await;
    world.forget(&[last]).await;
    world.pass(GRACE);
    // Not past the grace of the marks, by the time that the latest of them shows.
    let error = world.try_prune(&full(&world).await, Settings::default()).await.expect_err("nothing could be done");
    assert!(matches!(error, PruneError::Repo(RepoError::Store(StoreError::Full { .. }))), "{error:?}");
}

#[tokio::test]
async fn what_would_have_to_be_copied_first_stays() {
    let world = one_due().await;
    let kept = world.backup(&["x", "y"]).await;
    // As `check --mark-damaged` does: all packs, also those that are needed and have no other copy.
    let packs = world.names("packs/").await;
    let keys = packs.iter().map(|name| Key::new(name.as_str()).expect("listed")).collect();
    mark(&*world.open().await, keys, world.clock.now()).await.expect("a mark");
    world.pass(GRACE + HOUR);
    mark(&*world.open().await, Vec::new(), world.clock.now()).await.expect("a later mark");
    let outcome = world.try_prune(&full(&world).await, Settings::default()).await.expect("the deletions");
    assert!(outcome.full.is_some() && !outcome.deleted.is_empty(), "{outcome:?}");
    let no_space = |waiting: &&Waiting| waiting.why == WhyWait::NoSpace;
    assert!(outcome.wait.iter().filter(no_space).count() >= 4, "content and metadata of two snapshots: {outcome:?}");
    assert!(world.read_all().await.contains_key(&kept));
    // With space they are copied, and go.
    let next = world.prune().await;
    assert!(next.full.is_none() && next.packs_written > 0 && next.bytes_written > 0, "{next:?}");
    assert!(world.names("packs/").await.iter().all(|name| !packs.contains(name)));
    assert!(world.read_all().await.contains_key(&kept));
}

#[tokio::test]
async fn a_segment_that_alone_names_a_pack_stays_and_one_that_does_not_goes() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let twice = Key::new(world.names("index/").await[0].as_str()).expect("listed");
    let bytes = world.store.get(&twice).await.expect("a segment");
    world.store.delete(&twice).await.expect("a delete");
    world.prune().await;
    let named_anew = world.names("index/").await;
    world.store.put_new(&twice, bytes, None).await.expect("a put");
    world.backup(&["x"]).await;
    let new = |name: &&String| **name != twice.to_string() && !named_anew.contains(name);
    let alone = world.names("index/").await.iter().find(new).expect("of the second backup").clone();
    let both = vec![twice.clone(), Key::new(alone.as_str()).expect("listed")];
    mark(&*world.open().await, both, world.clock.now()).await.expect("a mark");
    world.pass(GRACE + HOUR);
    mark(&*world.open().await, Vec::new(), world.clock.now()).await.expect("a later mark");
    let outcome = world.try_prune(&full(&world).await, Settings::default()).await.expect("the deletions");
    assert_eq!(outcome.deleted, [twice.to_string()]);
    assert!(outcome.wait.contains(&Waiting { object: alone, why: WhyWait::NoSpace }), "{outcome:?}");
    assert_eq!(world.read_all().await.len(), 2);
}
