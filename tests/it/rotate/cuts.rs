//! Cut off at every call, and with others at work at every call: whoever holds the identity reads everything all the time, and the next run finishes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::progress::Progress;
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::format::entry::{Kind, Piece, TreePath};
use homelab_dr::format::record::ChainRecord;
use homelab_dr::keys::rotate::{RotateError, Settings, plan_rotation, run_rotation};
use homelab_dr::prune::{PruneError, Settings as PruneSettings};
use homelab_dr::repo::rebuild::rebuild_index;
use homelab_dr::repo::snapshots::{self, Chain};
use homelab_dr::repo::tree_read::{TreeReader, pieces};
use homelab_dr::repo::{RepoError, layout, salvage};
use homelab_dr::store::Operation;
use homelab_dr::store::fault::{Failure, Fault, When};

use super::{are_carried, chain, files, is_sound, rotate, rotate_on, scene, witnessed};
use crate::prune::gate::Gate;
use crate::prune::world::{GRACE, HOUR, World};

/// What changes the store: a cut before any other call is one before the next of these.
const WRITES: [Operation; 2] = [Operation::PutNew, Operation::Delete];

/// The snapshots, each once: half way some are there under both keys.
async fn each(world: &World) -> Vec<Vec<String>> {
    let mut all = files(world).await;
    all.dedup();
    all
}

#[tokio::test]
async fn a_rotation_that_is_cut_off_anywhere_is_finished_by_the_next_with_the_same_key() {
    let origin = witnessed().await;
    let before = each(&origin).await;
    for when in [When::Before, When::After] {
        for call in 0.. {
            let mut world = origin.fork().await;
            let fault = Arc::new(Fault::only(world.store.clone(), &WRITES));
            fault.fail(call, when, Failure::Permanent);
            let (first, done) = rotate_on(&world, fault.clone()).await;
            assert_eq!(each(&world).await, before, "{call} {when:?}");
            let old = world.key.clone();
            let begun = world.count("epochs/").await;
            let over = fault.failed() == 0;
            if over {
                done.expect("nothing failed");
                assert!(call > 15, "only {call} calls");
                world.key = Arc::new(first.expect("a key"));
            } else if begun == 1 {
                // Nothing has happened: the old key goes on.
                world.backup(&["a", "b"]).await;
                rotate(&mut world).await;
            } else {
                assert!(homelab_dr::repo::Repository::open_with_writer(world.store.clone(), &old).await.is_err());
                let complete = begun > 2;
                rotate(&mut world).await;
                let first = first.expect("a key");
                assert!(
                    complete || first.to_text() == world.key.to_text(),
                    "{call} {when:?}: another key than the first run made"
                );
            }
            let mut last = files(&world).await;
            last.dedup();
            assert_eq!(last, before, "{call} {when:?}");
            is_sound(&world, &format!("{call} {when:?}")).await;
            are_carried(&world, &format!("{call} {when:?}")).await;
            if over {
                break;
            }
        }
    }
}

/// Somebody stores snapshots with the old key while the rotation is at work, each time that it lists them: a later round carries them over, and what comes after the last
/// is named.
#[tokio::test]
async fn what_comes_in_every_round_is_named_and_what_comes_in_one_is_carried_over() {
    let origin = witnessed().await;
    // Three lists a round, and three rounds: what comes after the first list of the third is late for good.
    for (most, rounds_late) in [(1, 0), (2, 0), (usize::MAX, 2)] {
        let mut world = origin.fork().await;
        let thief = world.open().await;
        let record = chain(&world).await.snapshots[0].record.clone();
        let planted = Arc::new(Mutex::new(Vec::new()));
        let (keep, manual) = (planted.clone(), world.manual.clone());
        let plant = move || {
            let (thief, keep, manual, mut record) = (thief.clone(), keep.clone(), manual.clone(), record.clone());
            async move {
                let nth = keep.lock().unwrap().len();
                let begun = thief.store.stat(&layout::epoch(2)).await.unwrap().is_some();
                if !begun || nth >= most {
                    return;
                }
                manual.advance(Duration::from_secs(1));
                record.source = format!("late{nth}");
                let record = ChainRecord::Snapshot(Box::new(record));
                let (id, _) = snapshots::put(&thief, &record, None).await.expect("a put");
                keep.lock().unwrap().push(id);
            }
        };
        let lists = |_, operation, object: &str| operation == Operation::List && object == layout::SNAPSHOTS;
        let gate = Gate::each(&world.store, lists, plant);
        let (key, done) = rotate_on(&world, gate).await;
        let done = done.expect("a rotation");
        world.key = Arc::new(key.expect("a key"));
        let mut planted = planted.lock().unwrap().clone();
        planted.sort();
        assert_eq!(planted.len(), most.min(9));
        assert_eq!(done.not_carried.len(), rounds_late, "{most}: {done:?}");
        let late = done.snapshots.iter().filter(|renamed| renamed.late).map(|renamed| renamed.from);
        let mut told: Vec<_> = late.chain(done.not_carried.iter().copied()).collect();
        told.sort();
        assert_eq!(told, planted, "{most}");
        assert_eq!(files(&world).await.len(), 2 + planted.len() - rounds_late, "{most}");
        is_sound(&world, &format!("{most}")).await;
        are_carried(&world, &format!("{most}")).await;
    }
}

/// Told to stop while trees are sealed anew, it has ended its upload before it says so, and the next run goes on.
#[tokio::test]
async fn a_rotation_that_is_told_to_stop_does_so_and_goes_on_later() {
    let mut world = witnessed().await;
    let before = each(&world).await;
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let planned = plan_rotation(&world.open_to_read().await, &progress).await.expect("a plan");
    let key = planned.writer_key();
    cancel.cancel();
    let settings = Settings { host: "test".to_owned(), settle: Duration::ZERO };
    let stopped = run_rotation(planned, &settings, &world.clock, &progress, &cancel).await;
    assert!(matches!(stopped, Err(RotateError::Repo(RepoError::Cancelled))), "{stopped:?}");
    assert_eq!((world.count("epochs/").await, each(&world).await), (2, before.clone()));
    rotate(&mut world).await;
    assert!(world.key.to_text() == key.to_text(), "another key than the first run made");
    assert_eq!(each(&world).await, before);
    is_sound(&world, "at the end").await;
    are_carried(&world, "at the end").await;
}

/// Between the cut and the second run the new key is installed already: it reads nothing wrong and removes nothing.
#[tokio::test]
async fn the_new_key_waits_until_all_is_sealed_anew() {
    let origin = scene().await;
    let before = each(&origin).await;
    let mut refused = 0;
    for call in 0.. {
        let mut world = origin.fork().await;
        let fault = Arc::new(Fault::only(world.store.clone(), &WRITES));
        fault.fail_from(call, When::Before, Failure::Gone);
        let (first, _) = rotate_on(&world, fault.clone()).await;
        if fault.failed() == 0 {
            break;
        }
        if world.count("epochs/").await != 2 {
            continue;
        }
        world.key = Arc::new(first.expect("a key"));
        let early = world.open().await;
        let backup = world.try_backup(&early, &["a", "b", "early"]).await;
        world.pass(GRACE + HOUR);
        let pruned = world.try_prune(&early, PruneSettings::default()).await;
        refused += usize::from(backup.is_err() && pruned.is_err());
        for error in [backup.as_ref().err(), pruned.as_ref().err().and_then(of_repo)].into_iter().flatten() {
            assert!(matches!(error, RepoError::Unfinished { .. }), "{call}: {error:?}");
        }
        // Nor is anything set aside or given up that does not open for it yet.
        let rebuilt = rebuild_index(&early, &*world.clock).await;
        match rebuilt {
            Ok(rebuilt) => assert!(rebuilt.set_aside.is_empty(), "{call}: {rebuilt:?}"),
            Err(error) => assert!(matches!(error, RepoError::Unfinished { .. }), "{call}: {error:?}"),
        }
        rotate(&mut world).await;
        let last = each(&world).await;
        let expected = before.iter().all(|files| last.contains(files));
        assert!(expected && last.len() == before.len() + usize::from(backup.is_ok()), "{call}: {last:?}");
    }
    assert!(refused > 5, "{refused}");
}

fn of_repo(error: &PruneError) -> Option<&RepoError> {
    match error {
        PruneError::Repo(error) => Some(error),
        _ => None,
    }
}

/// A store in which the rotation happens at one call, and the new key once it has.
fn rotated_at(world: &World, call: u64) -> (Arc<Gate>, Arc<Mutex<Option<WriterKey>>>) {
    let meanwhile = world.clone();
    let made = Arc::new(Mutex::new(None));
    let keep = made.clone();
    let gate = Gate::new(&world.store, move |at, _, _| at == call, async move {
        let (key, done) = rotate_on(&meanwhile, meanwhile.store.clone()).await;
        done.expect("a rotation");
        *keep.lock().unwrap() = key;
    });
    (gate, made)
}

/// The rotation happens at every call of a backup with the old key: what it reports is there afterwards.
#[tokio::test]
async fn a_backup_that_runs_meanwhile_is_carried_over_or_says_that_its_key_is_retired() {
    let origin = scene().await;
    let before = each(&origin).await;
    let (mut carried, mut retired) = (0, 0);
    for call in 0.. {
        let mut world = origin.fork().await;
        let (gate, made) = rotated_at(&world, call);
        let writer = world.open_on(gate.clone()).await;
        let done = world.try_backup(&writer, &["a", "new"]).await;
        let Some(key) = made.lock().unwrap().take() else {
            done.expect("nobody was at work");
            assert!(call > 15, "only {call} calls");
            break;
        };
        world.key = Arc::new(key);
        let last = each(&world).await;
        assert!(before.iter().all(|files| last.contains(files)), "{call}");
        match done {
            Ok(_) => {
                carried += 1;
                assert!(last.contains(&vec!["a".to_owned(), "new".to_owned()]), "{call}: it was reported and is gone");
            }
            Err(error) => {
                retired += 1;
                assert!(matches!(error, RepoError::Retired { .. }), "{call}: {error:?}");
            }
        }
    }
    assert!(retired > 10, "{carried} {retired}");
}

/// The same for a pruner that has the old key, and is about to delete what was marked long ago and what it copies first.
#[tokio::test]
async fn a_pruner_that_runs_meanwhile_takes_nothing_away() {
    let origin = scene().await;
    origin.pass(GRACE + HOUR);
    let before = each(&origin).await;
    for call in 0.. {
        let mut world = origin.fork().await;
        let (gate, made) = rotated_at(&world, call);
        let pruner = world.open_on(gate.clone()).await;
        let done = world.try_prune(&pruner, PruneSettings::default()).await;
        let Some(key) = made.lock().unwrap().take() else {
            assert!(!done.expect("nobody was at work").deleted.is_empty());
            assert!(call > 15, "only {call} calls");
            break;
        };
        world.key = Arc::new(key);
        for _ in 0..2 {
            world.pass(GRACE + HOUR);
            world.prune().await;
        }
        assert_eq!(each(&world).await, before, "{call}");
    }
}

/// A copy is made before a rotation and after it; the second one is cut off at every object that it puts.
#[tokio::test]
async fn a_copy_that_is_cut_off_has_every_snapshot() {
    use homelab_dr::replicate::{Options, replicate};
    let mut origin = scene().await;
    let before = each(&origin).await;
    let old = origin.fork().await;
    rotate(&mut origin).await;
    let (options, progress) = (Options { parallel: 1, ..Options::default() }, Progress::default());
    for call in 0.. {
        let mut copy = old.fork().await;
        let fault = Arc::new(Fault::only(copy.store.clone(), &[Operation::PutNew]));
        fault.fail_from(call, When::Before, Failure::Gone);
        let done = replicate(&*origin.store, &*fault, &options, &progress).await;
        let over = fault.failed() == 0;
        assert_eq!(done.is_ok(), over, "{call}: {done:?}");
        // Through whatever index can be put together: a half copy has segments of an epoch that has not begun there.
        assert_eq!(salvaged(&copy).await, before, "{call}");
        if over {
            copy.key = origin.key.clone();
            assert_eq!(each(&copy).await, before, "{call}");
            assert!(call > 5, "only {call} calls");
            break;
        }
    }
}

/// The files of every snapshot that opens, as `restore` finds them.
async fn salvaged(world: &World) -> Vec<Vec<String>> {
    let repository = world.open_to_read().await;
    let chain = Chain::load_to_read(&repository).await.expect("a chain");
    let reader = salvage::reader(&repository, |_| ()).await.expect("a reader");
    let mut all = Vec::new();
    for snapshot in chain.snapshots {
        let mut tree = TreeReader::open(reader.clone(), snapshot.record.root, TreePath::root()).expect("a tree");
        let mut names = Vec::new();
        while let Some(entries) = tree.next().await.expect("leaves") {
            for entry in entries {
                let Kind::File { size, content } = &entry.kind else { continue };
                for piece in pieces(&reader, content, *size).await.expect("pieces") {
                    let Piece::Data { blob, .. } = piece else { continue };
                    reader.data(&blob).await.expect("a chunk");
                }
                names.push(entry.path.display());
            }
        }
        all.push(names);
    }
    all.sort();
    all.dedup();
    all
}
