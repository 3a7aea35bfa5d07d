//! What a prune does when nobody disturbs it, and what it refuses.

use homelab_dr::prune::{PruneError, Settings, Why, plan_prune};
use homelab_dr::repo::doomed::mark;
use homelab_dr::store::Key;

use super::world::{DAY, GRACE, HOUR, World};

fn settings() -> Settings {
    Settings::default()
}

#[tokio::test]
async fn what_nobody_needs_goes_after_the_grace_and_the_marks_one_grace_later() {
    let world = World::new().await;
    let kept = world.backup(&["keep"]).await;
    let old = world.backup(&["a", "b"]).await;
    let packs = world.count("packs/").await;
    world.forget(&[old]).await;
    assert_eq!(world.prune().await.doomed, 0, "the packs are young: a running backup may have written them");
    world.pass(GRACE);
    assert!(world.prune().await.doomed >= 2);
    assert_eq!(world.count("packs/").await, packs);
    world.pass(GRACE.saturating_sub(HOUR));
    assert!(world.prune().await.deleted.is_empty(), "the grace has not passed");
    world.pass(HOUR);
    assert!(world.prune().await.deleted.len() >= 2);
    assert_eq!(world.count("packs/").await, packs - 2);
    for _ in 0..4 {
        world.pass(GRACE);
        world.prune().await;
    }
    assert_eq!(world.count("sessions/").await, 1, "the session of no pack went too");
    assert_eq!(world.count("index/").await, 1, "and the segment that spoke of packs that are gone");
    assert!(world.count("doomed/").await <= 2);
    assert_eq!(world.read_all().await.keys().collect::<Vec<_>>(), [&kept]);
}

#[tokio::test]
async fn a_partly_used_pack_is_repacked_with_the_writer_key_alone() {
    let world = World::new().await;
    // More than 4 MiB of content in one pack: smaller packs are not repacked for their waste.
    let names: Vec<String> = (0..600).map(|n| format!("file-{n:03}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let old = world.backup(&all).await;
    let before = world.names("packs/").await;
    world.pass(GRACE);
    let planned = plan_prune(&world.open().await, settings(), &world.clock).await.expect("a plan");
    assert!(planned.plan.doom.is_empty() && planned.plan.wait.is_empty(), "all of it is needed: {:?}", planned.plan);
    let kept = world.backup(&all[100..150]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);

    let planned = plan_prune(&world.open().await, settings(), &world.clock).await.expect("a plan");
    let partly: Vec<_> = planned.plan.doom.iter().filter(|doom| doom.why == Why::PartlyUsed).collect();
    assert_eq!(partly.len(), 1, "{:?}", planned.plan.doom);
    let pack = partly[0].object.clone();
    assert!(before.contains(&pack) && partly[0].bytes > 5_000_000, "{partly:?}");
    assert!((450_000..500_000).contains(&partly[0].bytes_needed), "50 files of 9000 bytes and their seals: {partly:?}");
    let bytes_after = planned.plan.bytes_after;
    assert!(bytes_after * 5 < planned.plan.bytes_before);

    let outcome = world.prune().await;
    assert!(outcome.packs_written >= 1 && outcome.deleted.is_empty(), "{outcome:?}");
    let written = 450_000..bytes_after;
    assert!(written.contains(&outcome.bytes_written), "what is needed of it: {outcome:?}");
    assert!(world.names("packs/").await.contains(&pack), "it stays for a grace: a backup may build upon it");
    world.pass(GRACE);
    assert!(world.prune().await.deleted.contains(&pack));
    let after = world.names("packs/").await;
    assert!(!after.contains(&pack));
    let read = world.read_all().await;
    assert_eq!(read.into_iter().collect::<Vec<_>>(), [(kept, names[100..150].to_vec())]);
    let mut stored = 0;
    for entry in world.store.list("packs/").await.expect("a list") {
        stored += entry.size;
    }
    assert!(stored <= bytes_after, "the plan said {bytes_after}, and {stored} are left");
}

#[tokio::test]
async fn many_small_packs_and_segments_become_few() {
    let world = World::new().await;
    let mut snapshots = Vec::new();
    for n in 0..20 {
        snapshots.push(world.backup(&[&format!("file-{n:02}")]).await);
        world.pass(HOUR);
    }
    let packs = world.count("packs/").await;
    assert_eq!(packs, 40);
    world.pass(GRACE);
    let outcome = world.prune().await;
    assert_eq!(outcome.packs_written, 2, "one of each class");
    assert_eq!(world.read_all().await.len(), 20);
    world.pass(GRACE);
    world.prune().await;
    assert_eq!(world.count("packs/").await, 2);
    for _ in 0..3 {
        world.pass(GRACE);
        world.prune().await;
    }
    assert!(world.count("index/").await <= 2, "{:?}", world.names("index/").await);
    assert_eq!(
        world.read_all().await.keys().copied().collect::<std::collections::BTreeSet<_>>(),
        snapshots.into_iter().collect()
    );
    // Every session is still in use by the one content pack.
    assert_eq!(world.count("sessions/").await, 20);
}

#[tokio::test]
async fn the_budget_for_repacking_is_kept() {
    let world = World::new().await;
    for n in 0..20 {
        world.backup(&[&format!("file-{n:02}")]).await;
    }
    world.pass(GRACE);
    let tight = Settings { repack_bytes_max: 20_000, ..settings() };
    let planned = plan_prune(&world.open().await, tight, &world.clock).await.expect("a plan");
    let copied: u64 =
        planned.plan.doom.iter().filter(|doom| doom.object.starts_with("packs/")).map(|doom| doom.bytes_needed).sum();
    assert!(copied > 0 && copied <= 20_000, "{copied}");
}

#[tokio::test]
async fn what_may_be_unused_decides_what_is_copied_and_ends() {
    let world = World::new().await;
    let names: Vec<String> = (0..600).map(|n| format!("file-{n:03}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let old = world.backup(&all).await;
    let kept = world.backup(&all[1..]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);
    let share = |max_unused_percent| Settings { max_unused_percent, ..settings() };
    let copied = async |share| {
        let planned = plan_prune(&world.open().await, share, &world.clock).await.expect("a plan");
        let packs =
            planned.plan.doom.iter().filter(|doom| doom.object.starts_with("packs/") && doom.why != Why::Unused);
        packs.map(|doom| doom.why).collect::<Vec<_>>()
    };
    assert_eq!((copied(share(100)).await, copied(share(20)).await), (vec![], vec![]));
    assert_eq!(copied(share(0)).await, [Why::PartlyUsed], "one file of 600 is unused");
    world.try_prune(&world.open().await, share(0)).await.expect("a prune");
    world.pass(GRACE);
    world.try_prune(&world.open().await, share(0)).await.expect("a prune");
    world.pass(GRACE);
    // Once nothing is unused, nothing is copied: overhead of packs does not count.
    assert_eq!(copied(share(0)).await, []);
    assert_eq!(world.read_all().await.keys().collect::<Vec<_>>(), [&kept]);
}

#[tokio::test]
async fn without_grace_both_phases_happen_at_once() {
    let world = World::new().await;
    let old = world.backup(&["a"]).await;
    let kept = world.backup(&["b"]).await;
    world.forget(&[old]).await;
    let now = Settings { grace: std::time::Duration::ZERO, ..settings() };
    let outcome = world.try_prune(&world.open().await, now).await.expect("a prune");
    assert!(outcome.deleted.len() >= 2, "{outcome:?}");
    assert_eq!(world.count("packs/").await, 2);
    assert_eq!(world.read_all().await.keys().collect::<Vec<_>>(), [&kept]);
}

#[tokio::test]
async fn a_plan_changes_nothing_and_is_data() {
    let world = World::new().await;
    let old = world.backup(&["a"]).await;
    world.backup(&["b"]).await;
    world.forget(&[old]).await;
    world.pass(GRACE);
    let before = world.names("").await;
    let planned = plan_prune(&world.open().await, settings(), &world.clock).await.expect("a plan");
    assert_eq!(world.names("").await, before);
    let json = serde_json::to_value(&planned.plan).expect("data");
    assert_eq!(json["doom"][0]["why"], "unused");
}

#[tokio::test]
async fn two_copies_doomed_by_two_pruners_leave_a_third() {
    let world = World::new().await;
    let (one, two) = (world.open().await, world.open().await);
    let first = world.begin(&one, &["a"]).await.expect("a begin");
    let second = world.begin(&two, &["a"]).await.expect("a begin");
    world.commit(first).await.expect("a commit");
    world.commit(second).await.expect("a commit");
    assert_eq!(world.count("packs/").await, 4, "everything is there twice");
    for name in world.names("packs/").await {
        mark(&one, vec![Key::new(name).expect("a key")], world.clock.now()).await.expect("a mark");
    }
    world.pass(GRACE);
    let outcome = world.prune().await;
    assert!(outcome.packs_written > 0);
    assert_eq!(outcome.deleted.len(), 4);
    assert_eq!(world.read_all().await.len(), 2);
}

#[tokio::test]
async fn gaps_are_refused() {
    let world = World::new().await;
    let first = world.backup(&["a"]).await;
    world.backup(&["b"]).await;
    world.store.delete(&Key::new(format!("snapshots/{first}")).expect("a key")).await.expect("a delete");
    let error = world.try_prune(&world.open().await, settings()).await.expect_err("a gap");
    assert!(matches!(error, PruneError::Gaps { count: 1, first: gap } if gap == first), "{error}");
}

#[tokio::test]
async fn no_snapshot_is_refused_unless_told() {
    let world = World::new().await;
    let only = world.backup(&["a"]).await;
    world.forget(&[only]).await;
    world.pass(GRACE);
    let error = world.try_prune(&world.open().await, settings()).await.expect_err("nothing is left");
    assert!(matches!(error, PruneError::NoSnapshots { packs: 2 }), "{error}");
    let told = Settings { allow_empty: true, ..settings() };
    assert!(world.try_prune(&world.open().await, told).await.expect("told").doomed >= 2);
}

#[tokio::test]
async fn missing_packs_are_refused() {
    for class in [0, 1] {
        let world = World::new().await;
        world.backup(&["a"]).await;
        world.pass(DAY);
        // Which of the two is the metadata pack shows in its header.
        for name in world.names("packs/").await {
            let key = Key::new(name).expect("a key");
            let head = world.store.get_range(&key, 0..2).await.expect("a head");
            if head[1] == class + 1 {
                world.store.delete(&key).await.expect("a delete");
            }
        }
        let error = world.try_prune(&world.open().await, settings()).await.expect_err("damage");
        match class {
            0 => assert!(matches!(error, PruneError::MissingData { count: 3, .. }), "{error}"),
            _ => assert!(matches!(error, PruneError::Tree { .. }), "{error}"),
        }
    }
}

#[tokio::test]
async fn an_unreadable_snapshot_is_refused() {
    let world = World::new().await;
    world.backup(&["a"]).await;
    let forged = bytes::Bytes::from_static(b"no snapshot");
    let id = homelab_dr::crypto::hash::object_id(&forged);
    world.store.put_new(&Key::new(format!("snapshots/{id}")).expect("a key"), forged, None).await.expect("a put");
    let error = world.try_prune(&world.open().await, settings()).await.expect_err("it may need anything");
    assert!(matches!(error, PruneError::Unreadable { count: 1, .. }), "{error}");
}
