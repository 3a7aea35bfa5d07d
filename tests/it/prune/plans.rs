//! What a plan says, object by object.

use bytes::Bytes;
use homelab_dr::crypto::hash::object_id;
use homelab_dr::prune::{Doom, PrunePlan, Settings, Why, WhyWait, plan_prune};
use homelab_dr::repo::checkpoint::Checkpointer;
use homelab_dr::repo::doomed::mark;
use homelab_dr::store::Key;

use super::world::{GRACE, HOUR, World};

async fn plan(world: &World) -> PrunePlan {
    let plan = plan_prune(&world.open().await, Settings::default(), &world.clock).await.expect("a plan").plan;
    if plan.delete.is_empty() {
        // Marks and sessions are not counted among the bytes.
        let counted = |doom: &&Doom| doom.object.starts_with("packs/") || doom.object.starts_with("index/");
        let gone: u64 = plan.doom.iter().filter(counted).map(|doom| doom.bytes).sum();
        let copied: u64 = plan.doom.iter().map(|doom| doom.bytes_needed).sum();
        assert_eq!(plan.bytes_after, plan.bytes_before + copied - gone, "{plan:?}");
    }
    plan
}

/// What is doomed below a prefix, and why.
fn doomed(plan: &PrunePlan, prefix: &str) -> Vec<(String, Why)> {
    plan.doom.iter().filter(|d| d.object.starts_with(prefix)).map(|d| (d.object.clone(), d.why)).collect()
}

fn waits(plan: &PrunePlan, object: &str) -> Vec<WhyWait> {
    plan.wait.iter().filter(|waiting| waiting.object == object).map(|waiting| waiting.why.clone()).collect()
}

async fn only(world: &World, prefix: &str) -> String {
    let names = world.names(prefix).await;
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].clone()
}

#[tokio::test]
async fn it_counts_what_is_needed_and_what_would_be_left() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let old = world.backup(&["a", "b"]).await;
    let mut stored = 0;
    for prefix in ["packs/", "index/"] {
        stored += world.store.list(prefix).await.expect("a list").iter().map(|entry| entry.size).sum::<u64>();
    }
    let all = plan(&world).await;
    assert_eq!((all.snapshots, all.packs, all.blobs_needed), (2, 4, 3 + 1 + 6 + 1), "chunks and leaves");
    assert!((27_000..stored).contains(&all.bytes_needed), "{all:?}");
    assert_eq!((all.bytes_before, all.bytes_after), (stored, stored), "nothing goes");

    world.forget(&[old]).await;
    world.pass(GRACE);
    let less = plan(&world).await;
    assert_eq!((less.snapshots, less.packs, less.blobs_needed), (1, 4, 3 + 1));
    assert!((9_000..18_000).contains(&less.bytes_needed), "{less:?}");
    let gone: u64 = less.doom.iter().map(|doom| doom.bytes).sum();
    assert!(gone > 18_000 && less.doom.iter().all(|doom| doom.bytes_needed == 0), "{less:?}");
    assert_eq!(less.bytes_after, stored - gone);
    world.prune().await;
    world.pass(GRACE);
    let due = plan(&world).await;
    assert_eq!((due.delete.len(), due.bytes_after), (2, less.bytes_after), "{due:?}");
}

#[tokio::test]
async fn what_is_unneeded_waits_for_one_grace_before_its_mark_and_one_after() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let needed = world.names("packs/").await;
    world.pass(HOUR);
    let old = world.backup(&["a"]).await;
    let old_since = world.clock.now();
    world.forget(&[old]).await;
    let unneeded: Vec<_> = world.names("packs/").await.into_iter().filter(|name| !needed.contains(name)).collect();
    assert_eq!(unneeded.len(), 2);
    world.pass(GRACE.saturating_sub(HOUR));
    let young = plan(&world).await;
    for name in &unneeded {
        assert_eq!(waits(&young, name), [WhyWait::Young { until: old_since.after(GRACE) }]);
    }
    assert!(young.doom.is_empty() && young.wait.len() == 2, "what is needed waits for nothing: {young:?}");
    world.pass(HOUR);
    assert_eq!(world.prune().await.doomed, 2);
    let marked = plan(&world).await;
    for name in &unneeded {
        assert_eq!(waits(&marked, name), [WhyWait::Grace { until: world.clock.now().after(GRACE) }]);
    }
    assert!(marked.doom.is_empty() && marked.delete.is_empty() && marked.wait.len() == 2, "{marked:?}");
}

#[tokio::test]
async fn what_a_running_backup_relies_on_waits_for_it() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let needed = world.names("packs/").await;
    let old = world.backup(&["a"]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);
    let begun = world.begin(&world.open().await, &["a"]).await.expect("a begin");
    Checkpointer::new(&begun.writer, world.clock.clone()).publish().await.expect("a checkpoint");
    let held = plan(&world).await;
    let waiting: Vec<_> = held.wait.iter().filter(|waiting| waiting.why == WhyWait::Checkpoint).collect();
    assert_eq!(waiting.len(), 1, "its content: {held:?}");
    assert!(!needed.contains(&waiting[0].object));
    assert_eq!(doomed(&held, &waiting[0].object), []);
}

/// Which number a pack has in the index is chance; what keeps the blob is not.
#[tokio::test]
async fn of_two_copies_the_one_in_the_pack_that_stays_anyway_is_kept() {
    for larger_first in [true, false, true, false] {
        let world = World::new().await;
        let (one, two) = (world.open().await, world.open().await);
        let both = world.begin(&one, &["a", "b"]).await.expect("a begin");
        let single = world.begin(&two, &["a"]).await.expect("a begin");
        for begun in if larger_first { [both, single] } else { [single, both] } {
            world.commit(begun).await.expect("a commit");
        }
        let size = |name: String| {
            let store = world.store.clone();
            async move { store.stat(&Key::new(name).unwrap()).await.unwrap().unwrap().size }
        };
        world.pass(GRACE);
        let gone = doomed(&plan(&world).await, "packs/");
        assert!(matches!(&gone[..], [(_, Why::Unused)]), "{gone:?}");
        let gone = size(gone[0].0.clone()).await;
        for name in world.names("packs/").await {
            // Content packs: 18,000 bytes, and 9,000.
            assert!(gone < 16 << 10 || size(name).await < gone);
        }
    }
}

#[tokio::test]
async fn a_pack_that_nobody_knows_goes_in_two_phases_before_any_session() {
    let world = World::with_forgotten().await;
    world.prune().await;
    world.pass(GRACE);
    let junk = Bytes::from(vec![7; 4096]);
    let id = object_id(&junk).to_string();
    let stranger = format!("packs/{}/{id}", &id[..2]);
    world.store.put_new(&Key::new(stranger.clone()).expect("a key"), junk, None).await.expect("a put");
    assert_eq!(waits(&plan(&world).await, &stranger), [WhyWait::Young { until: world.clock.now().after(GRACE) }]);
    world.prune().await;
    world.pass(GRACE);
    let known = plan(&world).await;
    assert_eq!(doomed(&known, &stranger), [(stranger.clone(), Why::Stranger)]);
    assert_eq!(doomed(&known, "sessions/"), [], "nobody knows which session it is of");
    world.prune().await;
    let marked = plan(&world).await;
    assert_eq!((doomed(&marked, &stranger), waits(&marked, &stranger).len()), (vec![], 1), "it is marked once");
    world.pass(GRACE);
    assert!(world.prune().await.deleted.contains(&stranger));
    assert!(matches!(&doomed(&plan(&world).await, "sessions/")[..], [(_, Why::NoPack)]));
}

#[tokio::test]
async fn of_two_segments_that_say_the_same_one_goes() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    let first = Key::new(only(&world, "index/").await).expect("a key");
    let bytes = world.store.get(&first).await.expect("a segment");
    world.store.delete(&first).await.expect("a delete");
    assert_eq!(plan(&world).await.adopt.len(), 2, "no segment names the packs");
    world.prune().await;
    assert_eq!(only(&world, "index/").await.len(), first.to_string().len());
    assert_eq!(doomed(&plan(&world).await, "index/"), []);
    world.store.put_new(&first, bytes, None).await.expect("a put");
    let twice = plan(&world).await;
    assert!(matches!(&doomed(&twice, "index/")[..], [(_, Why::Superseded)]), "{twice:?}");
    world.prune().await;
    assert_eq!(doomed(&plan(&world).await, "index/"), [], "the other one is the only one now");
    world.pass(GRACE);
    world.prune().await;
    assert_eq!(world.read_all().await.len(), 1);
}

#[tokio::test]
async fn sixteen_small_segments_are_merged_and_fifteen_are_not() {
    let world = World::new().await;
    for n in 0..15 {
        world.backup(&[&format!("file-{n:02}")]).await;
    }
    assert_eq!(doomed(&plan(&world).await, "index/"), []);
    world.backup(&["file-15"]).await;
    let many = doomed(&plan(&world).await, "index/");
    assert_eq!(many.len(), 16);
    assert!(many.iter().all(|(_, why)| *why == Why::Small), "{many:?}");
    world.prune().await;
    world.pass(GRACE);
    world.prune().await;
    assert_eq!(
        world.count("index/").await,
        2,
        "the merged one, and that of the packs that were made of the small ones"
    );
    assert_eq!(world.read_all().await.len(), 16);
}

#[tokio::test]
async fn marks_that_are_done_are_swept_when_they_are_many() {
    let world = World::with_forgotten().await;
    world.prune().await;
    // This one is not done: what it dooms is still there.
    let open = only(&world, "doomed/").await;
    for _ in 0..15 {
        mark(&*world.open().await, vec![], world.clock.now()).await.expect("a mark");
    }
    world.pass(GRACE);
    assert_eq!(doomed(&plan(&world).await, "doomed/"), []);
    mark(&*world.open().await, vec![], world.clock.now()).await.expect("a mark");
    world.pass(GRACE.saturating_sub(HOUR));
    assert_eq!(doomed(&plan(&world).await, "doomed/"), [], "the last stands for one grace too");
    world.pass(HOUR);
    let swept = doomed(&plan(&world).await, "doomed/");
    assert_eq!(swept.len(), 16);
    assert!(swept.iter().all(|(name, why)| *why == Why::Done && *name != open), "{swept:?}");
    world.prune().await;
    let left = doomed(&plan(&world).await, "doomed/");
    assert!(left.iter().all(|name| !swept.contains(name)), "none is marked twice: {left:?}");
}

#[tokio::test]
async fn a_mark_that_is_done_goes_with_the_next_that_is_made_anyway() {
    let world = World::new().await;
    world.backup(&["keep"]).await;
    mark(&*world.open().await, vec![], world.clock.now()).await.expect("a mark");
    let done = only(&world, "doomed/").await;
    world.pass(GRACE);
    assert_eq!(plan(&world).await.doom.len(), 0);
    let old = world.backup(&["a"]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);
    let more = plan(&world).await;
    assert_eq!((doomed(&more, "doomed/"), doomed(&more, "packs/").len()), (vec![(done, Why::Done)], 2));
}
