//! Packs that lie under the names of others, and answers that say nothing of what lies there: nothing is written over or marked that may be the only copy.

use homelab_dr::base::progress::Progress;
use homelab_dr::check::{Options, check, mark_damaged};
use homelab_dr::repair::{How, Outcome, Sources, repair_names};
use homelab_dr::repo::doomed::Marks;
use homelab_dr::repo::layout;
use homelab_dr::store::Key;

use super::{Damage, Held, Scene, is_whole, repair, repair_on};
use crate::prune::world::{GRACE, World};
use crate::rescue::Sectors;
use crate::rotate;

/// The content packs of the three backups.
async fn packs(scene: &Scene) -> [Key; 3] {
    let pack = async |n| scene.object(n, "content pack").await;
    [pack(0).await, pack(1).await, pack(2).await]
}

/// Puts the bytes of one pack under the name of another.
async fn lay(from: &World, world: &World, pack: &Key, over: &Key) {
    let bytes = from.store.get(pack).await.unwrap();
    world.store.put_over(over, bytes, None).await.unwrap();
}

async fn prune_twice(world: &World) {
    world.prune().await;
    world.pass(GRACE);
    world.prune().await;
}

fn put_back(outcome: &Outcome) -> usize {
    outcome.healed.iter().filter(|healed| healed.how == How::PutBack).count()
}

/// Each lies in the place of the next, and there is no other copy: all come back, and none is given up.
#[tokio::test]
async fn packs_in_a_ring_are_parted_and_put_back() {
    let scene = Scene::new().await;
    let packs = packs(&scene).await;
    for (length, held, index) in
        [(2, Held::Writer, true), (3, Held::Writer, true), (3, Held::Owner, true), (3, Held::Owner, false)]
    {
        let what = format!("{length} {held:?} {index}");
        let world = scene.world.fork().await;
        for n in 0..length {
            lay(&scene.world, &world, &packs[n], &packs[(n + 1) % length]).await;
        }
        if !index {
            for key in world.names("index/").await {
                world.store.delete(&Key::new(key).unwrap()).await.unwrap();
            }
        }
        let outcome = repair(&world, held, &[]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((put_back(&outcome), outcome.marked.len()), (length, 0), "{what}: {outcome:?}");
        assert!(!outcome.report.as_ref().expect("a report").is_damaged(), "{what}");
        assert_eq!(world.read_all().await, scene.files, "{what}");
        is_whole(&world, held, &what).await;
        prune_twice(&world).await;
        assert_eq!(world.read_all().await, scene.files, "{what}");
    }
}

/// The newest record lies under the name of the first, and a replica has the first alone: both are there afterwards.
#[tokio::test]
async fn a_record_that_was_moved_is_saved_before_its_place_is_taken() {
    let scene = Scene::new().await;
    for held in [Held::Writer, Held::Owner] {
        let (world, replica) = (scene.world.fork().await, scene.world.fork().await);
        let [first, .., last] = &world.names("snapshots/").await.into_iter().collect::<Vec<_>>()[..] else {
            panic!("there are three")
        };
        let (first, last) = (Key::new(first.as_str()).unwrap(), Key::new(last.as_str()).unwrap());
        lay(&scene.world, &world, &last, &first).await;
        for world in [&world, &replica] {
            world.store.delete(&last).await.unwrap();
        }
        let outcome = repair(&world, held, &[&replica]).await.unwrap();
        assert_eq!(put_back(&outcome), 1, "{held:?}: {outcome:?}");
        assert_eq!(world.read_all().await, scene.files, "{held:?}");
        is_whole(&world, held, "afterwards").await;
    }
}

/// The tables of packs of before a rotation open for no writer key any more; the index still names their hashes.
#[tokio::test]
async fn a_pack_that_was_moved_is_known_by_the_writer_after_a_rotation() {
    let scene = Scene::new().await;
    let [one, other, _] = packs(&scene).await;
    let mut origin = scene.world.fork().await;
    rotate::rotate(&mut origin).await;
    let files = rotate::files(&origin).await;
    let replica = origin.fork().await;
    replica.store.delete(&other).await.unwrap();
    let world = origin.fork().await;
    lay(&origin, &world, &other, &one).await;
    world.store.delete(&other).await.unwrap();
    let alone = world.fork().await;
    let outcome = repair(&world, Held::Writer, &[&replica]).await.expect("a repair");
    assert_eq!((put_back(&outcome), outcome.marked.len()), (1, 0), "{outcome:?}");
    assert_eq!(rotate::files(&world).await, files);
    is_whole(&world, Held::Writer, "after a rotation").await;
    // Without the replica nothing is lost but what nobody has.
    let outcome = repair(&alone, Held::Writer, &[]).await.expect("a repair");
    assert_eq!((put_back(&outcome), outcome.losses.len()), (1, 1), "{outcome:?}");
    prune_twice(&alone).await;
    assert!(alone.store.get(&other).await.unwrap() == origin.store.get(&other).await.unwrap());
    // Exchanged, and no replica.
    let world = origin.fork().await;
    lay(&origin, &world, &other, &one).await;
    lay(&origin, &world, &one, &other).await;
    let outcome = repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert_eq!((put_back(&outcome), outcome.marked.len()), (2, 0), "{outcome:?}");
    assert_eq!(rotate::files(&world).await, files);
}

/// The third of them is gone, so nothing says where the second belongs: what lies there whole is left, and what is rotten is marked.
#[tokio::test]
async fn marking_what_is_damaged_never_dooms_another_pack() {
    let scene = Scene::new().await;
    let [one, other, rotten] = packs(&scene).await;
    let world = scene.world.fork().await;
    lay(&scene.world, &world, &other, &one).await;
    world.store.delete(&other).await.unwrap();
    scene.damage(&world, 2, "content pack", Damage::Flip).await;
    let repository = world.open().await;
    let options = Options { structure: true, read_percent: 100, now: world.clock.now() };
    let report = check(&repository, &options, &Progress::default()).await.expect("a check");
    let done = mark_damaged(&repository, &report, world.clock.now()).await.expect("marks");
    assert_eq!((done.kept, done.packs), (vec![layout::pack_id(&one).unwrap()], 1), "{report:?}");
    let marks = Marks::load(&repository).await.expect("marks");
    assert_eq!([&one, &rotten].map(|key| marks.is_doomed(key)), [false, true]);
    repair(&world, Held::Writer, &[]).await.expect("a repair");
    assert!(world.store.get(&other).await.unwrap() == scene.world.store.get(&other).await.unwrap());
}

/// Without a key nobody can tell a pack from rot; what may be one is saved first.
#[tokio::test]
async fn without_a_key_no_pack_is_written_over_that_may_be_the_only_one() {
    let scene = Scene::new().await;
    let [one, other, third] = packs(&scene).await;
    let replica = scene.world.fork().await;
    for key in [&other, &third] {
        replica.store.delete(key).await.unwrap();
    }
    let keyless = async |world: &World| {
        let sources = Sources::new(&world.store, vec![replica.store.clone()]).await.unwrap();
        repair_names(&world.store, &sources, world.clock.now(), &Progress::default()).await.expect("a repair")
    };
    for exchanged in [false, true] {
        let world = scene.world.fork().await;
        lay(&scene.world, &world, &other, &one).await;
        if exchanged {
            lay(&scene.world, &world, &one, &other).await;
        } else {
            world.store.delete(&other).await.unwrap();
        }
        let outcome = keyless(&world).await;
        assert_eq!((outcome.healed.len(), put_back(&outcome)), (2, 1), "{outcome:?}");
        assert!(!outcome.report.expect("a report").is_damaged(), "{exchanged}");
        assert_eq!(world.read_all().await, scene.files, "{exchanged}");
    }
    // In the place of the one that would be saved lies a third, which has no other place either.
    let world = scene.world.fork().await;
    lay(&scene.world, &world, &other, &one).await;
    lay(&scene.world, &world, &third, &other).await;
    world.store.delete(&third).await.unwrap();
    let outcome = keyless(&world).await;
    assert_eq!((outcome.healed.len(), outcome.kept.len()), (0, 1), "{outcome:?}");
    assert!(outcome.report.expect("a report").is_damaged());
    let outcome = repair(&world, Held::Writer, &[&replica]).await.expect("a repair");
    assert!(outcome.kept.is_empty() && put_back(&outcome) == 2, "{outcome:?}");
    assert_eq!(world.read_all().await, scene.files);
}

/// A bad sector under a pack that a replica has is written over; not so while a pack is lacking that may lie there.
#[tokio::test]
async fn what_does_not_read_is_written_over_only_where_no_pack_is_lacking() {
    let scene = Scene::new().await;
    let [one, other, _] = packs(&scene).await;
    let replica = scene.world.fork().await;
    replica.store.delete(&other).await.unwrap();
    for lacking in [false, true] {
        let world = scene.world.fork().await;
        if lacking {
            lay(&scene.world, &world, &other, &one).await;
            world.store.delete(&other).await.unwrap();
        }
        let before = world.store.get(&one).await.unwrap();
        let sectors = Sectors::over(world.store.clone());
        sectors.spoil(one.clone(), 0..100);
        let outcome = repair_on(&world, Held::Writer, vec![replica.store.clone()], sectors).await.expect("a repair");
        let kept: Vec<&str> = outcome.kept.iter().map(|kept| kept.object.as_str()).collect();
        if lacking {
            assert_eq!((kept, outcome.marked.len()), (vec![one.as_str()], 0), "{outcome:?}");
            assert!(world.store.get(&one).await.unwrap() == before);
            assert!(outcome.report.expect("a report").is_damaged());
            // It reads again.
            repair(&world, Held::Writer, &[&replica]).await.expect("a repair");
        } else {
            assert!(kept.is_empty() && outcome.healed.len() == 1, "{outcome:?}");
            assert!(!outcome.report.expect("a report").is_damaged());
        }
        assert_eq!(world.read_all().await, scene.files, "{lacking}");
        is_whole(&world, Held::Owner, "after bad sectors").await;
    }
}

/// A replica that is away, or of which the very pack does not read today, may have what is lacking: nothing is marked, since marks are never withdrawn.
#[tokio::test]
async fn nothing_is_marked_while_a_source_gives_no_answer() {
    let scene = Scene::new().await;
    let [one, ..] = packs(&scene).await;
    for away in [true, false] {
        let world = scene.world.fork().await;
        scene.damage(&world, 0, "content pack", Damage::Truncate).await;
        let replica = Sectors::over(scene.world.fork().await.store);
        if away {
            replica.die();
        } else {
            replica.spoil(one.clone(), 0..100_000);
        }
        let outcome = repair_on(&world, Held::Writer, vec![replica], world.store.clone()).await.expect("a repair");
        assert_eq!((outcome.marked.len(), outcome.kept.len()), (0, 1), "{away}: {outcome:?}");
        assert_eq!((outcome.kept[0].object.as_str(), outcome.losses.len()), (one.as_str(), 1), "{away}");
        let again = repair(&world, Held::Writer, &[&scene.world]).await.expect("a repair");
        assert!(again.kept.is_empty() && !again.report.expect("a report").is_damaged(), "{away}");
        assert_eq!(world.read_all().await, scene.files, "{away}");
    }
}
