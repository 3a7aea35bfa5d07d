//! What is believed of a replica, and what is not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::base::progress::Progress;
use homelab_dr::crypto::recipients::{Recipient, generate_identity};
use homelab_dr::repair::{How, RepairError, Sources, repair_names};
use homelab_dr::repo::create::change_recipients;
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::{Key, Store, StoreError};

use super::{Damage, Held, Scene, is_whole, repair};
use crate::prune::world::{DAY, GRACE, World};

#[tokio::test]
async fn a_replica_of_another_repository_or_of_nothing_is_refused() {
    let scene = Scene::new().await;
    let world = scene.world.fork().await;
    scene.damage(&world, 0, "content pack", Damage::Flip).await;
    let before = world.names("").await;
    let other = World::new().await;
    let refused = repair(&world, Held::Writer, &[&other]).await.expect_err("another");
    assert!(matches!(refused, RepairError::OtherRepository { .. }), "{refused}");
    let empty = World { store: Arc::new(MemoryStore::new(Arc::new(SystemClock))), ..other };
    let refused = repair(&world, Held::Writer, &[&empty]).await.expect_err("nothing");
    assert!(matches!(refused, RepairError::NoReplica { .. }), "{refused}");
    assert_eq!(world.names("").await, before, "nothing was done");
}

/// One replica is rotten where the repository is, another elsewhere: together they heal it, and nothing rotten comes along.
#[tokio::test]
async fn damaged_replicas_are_passed_over_object_by_object() {
    let scene = Scene::new().await;
    let world = scene.world.fork().await;
    scene.damage(&world, 0, "content pack", Damage::Flip).await;
    scene.damage(&world, 1, "content pack", Damage::Delete).await;
    scene.damage(&world, 2, "snapshots", Damage::Truncate).await;
    let first = scene.world.fork().await;
    scene.damage(&first, 0, "content pack", Damage::Truncate).await;
    scene.damage(&first, 0, "format", Damage::Flip).await;
    scene.damage(&first, 2, "snapshots", Damage::Flip).await;
    let second = scene.world.fork().await;
    scene.damage(&second, 1, "content pack", Damage::Flip).await;
    scene.damage(&second, 0, "index", Damage::Delete).await;
    let outcome = repair(&world, Held::Owner, &[&first, &second]).await.expect("a repair");
    assert!(!outcome.report.expect("a report").is_damaged());
    assert!(outcome.passed_over.iter().any(|line| line.starts_with("packs/")), "{:?}", outcome.passed_over);
    assert_eq!(world.read_all().await, scene.files);
    is_whole(&world, Held::Owner, "both").await;
}

/// The same bytes rot in the same pack everywhere, each in another blob: blob by blob it is whole.
#[tokio::test]
async fn packs_that_are_rotten_everywhere_are_put_together_from_their_good_blobs() {
    let scene = Scene::new().await;
    let pack = scene.object(0, "content pack").await;
    let rot = async |at: usize| {
        let world = scene.world.fork().await;
        let mut bytes = world.store.get(&pack).await.unwrap().to_vec();
        bytes[at] ^= 1;
        world.store.put_over(&pack, bytes.into(), None).await.unwrap();
        world
    };
    for held in [Held::Writer, Held::Owner] {
        let (world, replica) = (rot(200).await, rot(9000).await);
        let outcome = repair(&world, held, &[&replica]).await.expect("a repair");
        assert_eq!((outcome.blobs_brought, outcome.blobs_moved), (1, 5), "{held:?}");
        assert_eq!(outcome.marked, [pack.to_string()]);
        assert!(!outcome.report.expect("a report").is_damaged());
        assert_eq!(world.read_all().await, scene.files, "{held:?}");
        world.prune().await;
        world.pass(GRACE);
        world.prune().await;
        assert!(world.store.stat(&pack).await.unwrap().is_none(), "the rotten pack is gone");
        assert_eq!(world.read_all().await, scene.files, "{held:?}");
    }
}

/// The store shows an older state: what a replica knows beyond its end comes back, and what was forgotten does not.
#[tokio::test]
async fn a_rolled_back_repository_is_brought_forward_and_what_was_forgotten_stays_away() {
    let scene = Scene::new().await;
    let replica = scene.world.fork().await;
    let world = scene.world.fork().await;
    let [first, second, third] = scene.snapshots[..] else { panic!("three") };
    for kind in ["snapshots", "content pack", "metadata pack", "index", "sessions"] {
        scene.damage(&world, 2, kind, Damage::Delete).await;
    }
    assert_eq!(world.read_all().await.len(), 2, "nothing shows that it is an older state");
    let outcome = repair(&world, Held::Owner, &[&replica]).await.expect("a repair");
    assert!(outcome.healed.iter().any(|healed| healed.object == format!("snapshots/{third}")), "{outcome:?}");
    assert_eq!(world.read_all().await, scene.files);

    let world = scene.world.fork().await;
    world.forget(&[first, second]).await;
    world.prune().await;
    world.pass(GRACE);
    world.prune().await;
    let outcome = repair(&world, Held::Owner, &[&replica]).await.expect("a repair");
    assert!(!outcome.changed(), "{outcome:?}");
    assert_eq!(world.read_all().await.len(), 1);
}

/// Without any record left nothing but the replica knows what there was.
#[tokio::test]
async fn a_chain_that_was_removed_whole_comes_back_from_a_replica() {
    let scene = Scene::new().await;
    let (world, replica) = (scene.world.fork().await, scene.world.fork().await);
    for backup in 0..3 {
        scene.damage(&world, backup, "snapshots", Damage::Delete).await;
    }
    repair(&world, Held::Writer, &[&replica]).await.expect("a repair");
    assert_eq!(world.read_all().await, scene.files);
}

/// A bucket that keeps versions is its own replica: whatever a thief hides or lays over it.
#[tokio::test]
async fn older_versions_heal_what_was_hidden_or_covered() {
    let scene = Scene::new().await;
    for held in [Held::Writer, Held::Owner] {
        let memory = Arc::new(MemoryStore::new(scene.world.clock.clone()).versioned());
        for listed in scene.world.store.list("").await.unwrap() {
            let bytes = scene.world.store.get(&listed.key).await.unwrap();
            memory.put_new(&listed.key, bytes, None).await.unwrap();
        }
        for (n, listed) in memory.list("").await.unwrap().into_iter().enumerate() {
            match n % 3 {
                0 => memory.hide(&listed.key),
                1 => memory.plant(&listed.key, Bytes::from_static(b"covered")),
                _ => {}
            }
        }
        let world = World { store: memory, ..scene.world.clone() };
        let outcome = repair(&world, held, &[]).await.unwrap_or_else(|error| panic!("{held:?}: {error}"));
        assert!(!outcome.report.as_ref().expect("a report").is_damaged(), "{held:?}: {outcome:#?}");
        assert_eq!(world.read_all().await, scene.files, "{held:?}");
        is_whole(&world, held, "from versions").await;
    }
}

#[tokio::test]
async fn without_a_key_what_names_prove_is_replaced() {
    let scene = Scene::new().await;
    let replica = scene.world.fork().await;
    for kind in ["access", "content pack", "metadata pack", "index", "snapshots"] {
        let world = scene.world.fork().await;
        scene.damage(&world, 0, kind, Damage::Flip).await;
        let now = world.clock.now();
        let alone = Sources::new(&world.store, Vec::new()).await.unwrap();
        let outcome = repair_names(&world.store, &alone, now, &Progress::default()).await.expect("a look");
        assert!(outcome.report.expect("a report").is_damaged() && outcome.healed.is_empty(), "{kind}");
        let sources = Sources::new(&world.store, vec![replica.store.clone()]).await.unwrap();
        let outcome = repair_names(&world.store, &sources, now, &Progress::default()).await.expect("a repair");
        assert_eq!(outcome.healed.len(), 1, "{kind}: {outcome:?}");
        assert_eq!(outcome.healed[0].how, How::Copied);
        assert!(!outcome.report.expect("a report").is_damaged(), "{kind}");
        assert_eq!(world.read_all().await, scene.files, "{kind}");
    }
}

/// Nobody knows what a mark that does not read dooms: writers stop until no prune can be at work that has read it.
#[tokio::test]
async fn a_mark_that_nobody_can_read_goes_when_no_prune_can_know_it() {
    let scene = Scene::new().await;
    let world = scene.world.fork().await;
    world.forget(&scene.snapshots[..1]).await;
    world.pass(GRACE);
    world.prune().await;
    let mark = world.names("doomed/").await.pop().expect("a mark");
    let mark = Key::new(mark).unwrap();
    world.store.put_over(&mark, Bytes::from_static(b"rot"), None).await.unwrap();
    let writer = world.open().await;
    world.try_backup(&writer, &["a"]).await.expect_err("nobody knows what it dooms");
    let early = repair(&world, Held::Writer, &[]).await.expect_err("a prune may be at work");
    assert!(matches!(&early, RepairError::Mark { key, .. } if *key == mark), "{early}");
    world.pass(GRACE * 2 + Duration::from_secs(1));
    let outcome = repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert_eq!(outcome.healed[0].how, How::Removed);
    world.backup(&["a"]).await;
    assert_eq!(world.read_all().await.len(), 3);
}

/// A thief with the store's credentials cannot delete what is locked. He hides and covers it, and it shows again.
#[tokio::test]
async fn what_a_lock_holds_can_only_be_hidden_and_is_brought_back() {
    let origin = World::locked(DAY * 30).await;
    origin.backup(&["a", "b"]).await;
    let files = origin.read_all().await;
    let memory = Arc::new(MemoryStore::new(origin.clock.clone()).locking());
    let until = origin.clock.now().after(DAY * 30);
    for listed in origin.store.list("").await.unwrap() {
        let bytes = origin.store.get(&listed.key).await.unwrap();
        memory.put_new(&listed.key, bytes, Some(until)).await.unwrap();
    }
    for (n, listed) in memory.list("").await.unwrap().into_iter().enumerate() {
        let refused = memory.delete(&listed.key).await.expect_err("it is locked");
        assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
        if n % 2 == 0 {
            memory.hide(&listed.key);
        } else {
            memory.plant(&listed.key, Bytes::from_static(b"covered"));
        }
    }
    let world = World { store: memory.clone(), ..origin };
    world.pass(DAY);
    repair(&world, Held::Owner, &[]).await.expect("a repair");
    assert_eq!(world.read_all().await, files);
    for listed in memory.list("").await.unwrap() {
        let held = memory.retention(&listed.key).await.unwrap();
        let passing = listed.key.as_str().starts_with("doomed/");
        // What opening needs is locked by the first prune, since nobody knows the period before.
        let opens = ["format.json", "access/", "epochs/"].iter().any(|prefix| listed.key.as_str().starts_with(prefix));
        assert!(passing || opens || held.is_some_and(|held| held >= until), "{}: {held:?}", listed.key);
    }
}

/// The files of two packs were exchanged, with or without an index that knows better, and the replica has one of them, both or none: none of their bytes is ever lost.
#[tokio::test]
async fn packs_that_lie_under_each_others_names_are_never_written_over_before_they_are_safe() {
    let scene = Scene::new().await;
    let (one, other) = (scene.object(0, "content pack").await, scene.object(1, "content pack").await);
    for (index, has) in [(true, [true, false]), (false, [true, false]), (true, [true, true]), (false, [false, false])] {
        let which = format!("index {index}, replica {has:?}");
        let (world, replica) = (scene.world.fork().await, scene.world.fork().await);
        let (first, second) = (world.store.get(&one).await.unwrap(), world.store.get(&other).await.unwrap());
        world.store.put_over(&one, second.clone(), None).await.unwrap();
        world.store.put_over(&other, first.clone(), None).await.unwrap();
        if !index {
            for key in world.names("index/").await {
                world.store.delete(&Key::new(key).unwrap()).await.unwrap();
            }
        }
        for (has, key) in has.into_iter().zip([&one, &other]) {
            if !has {
                replica.store.delete(key).await.unwrap();
            }
        }
        let outcome = repair(&world, Held::Owner, &[&replica]).await.expect("a repair");
        assert!(!outcome.report.expect("a report").is_damaged(), "{which}: {:?}", outcome.healed);
        assert_eq!(world.read_all().await, scene.files, "{which}");
        world.prune().await;
        world.pass(GRACE);
        world.prune().await;
        assert_eq!(world.read_all().await, scene.files, "{which}, after prune");
        is_whole(&world, Held::Owner, &which).await;
    }
}

/// One pack was moved over another: it goes back to its own place first, and the other comes from a replica.
#[tokio::test]
async fn a_pack_that_was_moved_over_another_goes_back_to_its_place() {
    let scene = Scene::new().await;
    let (one, other) = (scene.object(0, "content pack").await, scene.object(1, "content pack").await);
    for index in [true, false] {
        let (world, replica) = (scene.world.fork().await, scene.world.fork().await);
        let moved = world.store.get(&other).await.unwrap();
        world.store.put_over(&one, moved, None).await.unwrap();
        for key in [&other].into_iter().cloned().chain(match index {
            true => Vec::new(),
            false => world.names("index/").await.into_iter().map(|key| Key::new(key).unwrap()).collect(),
        }) {
            world.store.delete(&key).await.unwrap();
        }
        replica.store.delete(&other).await.unwrap();
        let outcome = repair(&world, Held::Owner, &[&replica]).await.expect("a repair");
        let back: Vec<&str> =
            outcome.healed.iter().filter(|one| one.how == How::PutBack).map(|one| one.object.as_str()).collect();
        assert_eq!(back, [other.as_str()], "index {index}");
        assert!(!outcome.report.expect("a report").is_damaged());
        assert_eq!(world.read_all().await, scene.files);
        is_whole(&world, Held::Owner, "moved").await;
    }
}

/// A copy from before a recipient was removed brings no access back: it would open nothing that was stored since, and be called success.
#[tokio::test]
async fn access_objects_of_an_outdated_replica_are_not_taken() {
    let scene = Scene::new().await;
    let world = scene.world.fork().await;
    let old = scene.world.fork().await;
    let mine = |owner: &homelab_dr::repo::Repository| -> Vec<Recipient> {
        owner.recipients().unwrap().iter().map(|text| Recipient::parse(text).unwrap()).collect()
    };
    let owner = world.open_to_read().await;
    let (kept, other) = (mine(&owner), generate_identity().recipient);
    change_recipients(&owner, &[&kept[..], &[other]].concat(), &SystemClock).await.unwrap();
    change_recipients(&*world.open_to_read().await, &kept, &SystemClock).await.unwrap();
    let current = world.names("access/").await;
    for key in &current {
        world.store.delete(&Key::new(key.clone()).unwrap()).await.unwrap();
    }
    let outcome = repair(&world, Held::Writer, &[&old]).await.expect("a repair");
    assert!(outcome.report.expect("a report").is_damaged());
    assert!(
        outcome.passed_over.iter().any(|line| line.contains("its access objects are not taken")),
        "{:?}",
        outcome.passed_over
    );
    assert_eq!(world.names("access/").await, Vec::<String>::new());
}
