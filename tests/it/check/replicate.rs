//! Replication without a key: complete, cut off anywhere and resumed, and honest about damage.

use std::sync::Arc;
use std::time::Duration;

use homelab_dr::base::clock::{Clock, SystemClock, Time};
use homelab_dr::base::progress::Progress;
use homelab_dr::check::Severity;
use homelab_dr::crypto::recipients::{NoPrompt, Prompt};
use homelab_dr::replicate::{Fault as Wrong, Options, ReplicateError, Report, plan, replicate};
use homelab_dr::repo::{Repository, layout};
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::{Key, Store};

use super::{Fixture, expected, names, read_all, run};
use crate::prune::world::World;
use crate::support::repository::TestRepository;
use crate::support::s3::{Rules, S3Server};

fn empty() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Arc::new(SystemClock)).named("target"))
}

async fn copy(source: &dyn Store, target: &dyn Store) -> Result<Report, ReplicateError> {
    replicate(source, target, &Options::default(), &Progress::default()).await
}

async fn open(fixture: &Fixture, store: &Arc<dyn Store>) -> Result<Arc<Repository>, homelab_dr::repo::RepoError> {
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let pin = Some(fixture.repository.key.fingerprint());
    Repository::open_with_identity(store.clone(), &fixture.repository.identity, &prompt, pin).await.map(Arc::new)
}

/// Every snapshot that the store shows can be read whole; returns how many there are.
async fn reads_whole(repository: &Arc<Repository>) -> usize {
    let chain = homelab_dr::repo::snapshots::Chain::load(repository).await.expect("a chain");
    for snapshot in &chain.snapshots {
        let read = read_all(repository, snapshot).await;
        assert!(read.expect("whole") == expected(&snapshot.record.source), "{}", snapshot.record.source);
    }
    chain.snapshots.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_whole_and_the_plan_said_so_and_nothing_is_copied_twice() {
    let fixture = Fixture::in_folder().await;
    let source = &*fixture.repository.store;
    let target = empty();
    for stray in ["doomed/00", "checkpoints/00", "verified/00", "rehearsals/00", "leases/prune/00", "notes.txt"] {
        let stray = Key::new(stray).unwrap();
        source.put_new(&stray, "x".into(), None).await.unwrap();
    }
    let owner = fixture.repository.owner().await;
    let whole = run(&owner).await.verified;
    homelab_dr::verified::record(&owner, &whole, &[], "test", &SystemClock).await.unwrap().expect("three snapshots");
    let planned = plan(source, &*target).await.unwrap();
    assert!(planned.first && planned.copy[0].key == "format.json");
    assert!(planned.copy.last().unwrap().key.starts_with("snapshots/"));
    assert_eq!(names(&*target).await, [""; 0], "a plan changes nothing");

    let report = copy(source, &*target).await.unwrap();
    let mut keys: Vec<String> = planned.copy.iter().map(|planned| planned.key.clone()).collect();
    keys.sort();
    assert_eq!(names(&*target).await, keys);
    assert_eq!((report.copied, report.copied_bytes), (keys.len() as u64, planned.bytes));
    assert_eq!((report.snapshots, report.vanished, report.damaged.len()), (3, 0, 0));
    let opened = open(&fixture, &target).await.expect("the replica");
    assert!(homelab_dr::verified::load(&opened).await.unwrap().at.is_empty(), "the copy was read by nobody");
    assert_eq!(reads_whole(&opened).await, 3);
    assert!(!run(&opened).await.is_damaged());

    let again = copy(source, &*target).await.unwrap();
    assert_eq!((again.copied, again.present), (0, report.copied - 1), "format.json is not counted as present");
    assert!(plan(source, &*target).await.unwrap().copy.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_at_any_call_a_replica_shows_only_whole_snapshots_and_the_next_run_ends_it() {
    let fixture = Fixture::in_memory().await;
    let source = fixture.repository.store.clone();
    for (at_target, when) in [(true, When::Before), (true, When::After), (false, When::Before)] {
        let mut cuts = 0;
        for call in 0.. {
            assert!(call < 1000, "it never ends");
            let target = empty();
            let faulty = Fault::new(if at_target { target.clone() } else { source.clone() });
            faulty.fail_from(call, when, Failure::Gone);
            let cut = if at_target { copy(&*source, &faulty).await } else { copy(&faulty, &*target).await };
            if cut.is_ok() {
                assert_eq!(faulty.failed(), 0);
                break;
            }
            cuts += 1;
            if let Ok(half) = open(&fixture, &target).await {
                reads_whole(&half).await;
            }
            let resumed = copy(&*source, &*target).await.unwrap_or_else(|error| panic!("call {call}: {error}"));
            assert_eq!(resumed.damaged, [], "call {call}");
            assert!(open(&fixture, &target).await.is_ok(), "call {call}");
            assert_eq!(names(&*target).await, names(&*source).await, "call {call}");
        }
        assert!(cuts > 20, "{cuts} cuts");
    }
    // Complete by name and size means complete: one last look at what such a target holds.
    let target = empty();
    let faulty = Fault::new(target.clone());
    faulty.fail_from(12, When::After, Failure::Transient);
    copy(&*source, &faulty).await.expect_err("cut");
    copy(&*source, &*target).await.unwrap();
    let opened = open(&fixture, &target).await.unwrap();
    assert_eq!(reads_whole(&opened).await, 3);
    assert_eq!(run(&opened).await.findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_at_the_source_does_not_spread_and_is_reported() {
    let fixture = Fixture::in_memory().await;
    let source = fixture.repository.store.clone();
    let flipped = fixture.object(0, "content pack");
    let mut bytes = fixture.place.read(&flipped);
    bytes[300] ^= 1;
    fixture.place.write(&flipped, &bytes);
    let gone = fixture.object(1, "metadata pack");
    fixture.place.remove(&gone);

    let target = empty();
    let report = copy(&*source, &*target).await.unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!((report.damaged[0].object.as_str(), report.damaged[0].fault), (flipped.as_str(), Wrong::SourceDamaged));
    assert!(!names(&*target).await.contains(&flipped));
    // What is lacking is found by the check of the target; the third snapshot is whole.
    let opened = open(&fixture, &target).await.unwrap();
    let check = run(&opened).await;
    for object in [&flipped, &gone] {
        let found = check.findings.iter().find(|finding| finding.object == *object).expect("named");
        assert_eq!(found.severity, Severity::Damage);
        assert_eq!(found.affected.snapshots_total, 1);
    }
    let third = &fixture.repository.snapshots().await[2];
    assert!(read_all(&opened, third).await.unwrap() == expected("three"));

    // Mended at the source, the next run brings it over.
    bytes[300] ^= 1;
    fixture.place.write(&flipped, &bytes);
    assert_eq!(copy(&*source, &*target).await.unwrap().copied, 1);
}

/// A later epoch may say that earlier records count no more, so it waits for all of them; what it sealed does not open before, which has to be told.
#[tokio::test]
async fn a_damaged_snapshot_keeps_later_epochs_off_the_copy_and_that_is_told() {
    let source = World::new().await;
    source.backup(&["a"]).await;
    let target = source.fork().await;
    source.begin_epoch().await;
    let id = source.backup(&["a", "b"]).await;
    source.backup(&["a", "b", "c"]).await;
    let record = layout::named(layout::SNAPSHOTS, &id);
    let whole = source.store.get(&record).await.unwrap();
    let mut rotten = whole.to_vec();
    rotten[40] ^= 1;
    source.store.put_over(&record, rotten.into(), None).await.unwrap();

    let report = copy(&*source.store, &*target.store).await.unwrap();
    assert_eq!((report.damaged.len(), report.epochs_withheld), (1, 1), "{report:?}");
    let epoch = layout::epoch(2);
    assert!(target.store.get(&epoch).await.is_err());
    source.store.put_over(&record, whole, None).await.unwrap();
    let report = copy(&*source.store, &*target.store).await.unwrap();
    assert_eq!((report.copied, report.damaged.len(), report.epochs_withheld), (2, 0, 0), "{report:?}");
    assert_eq!(target.read_all().await, source.read_all().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_named_by_its_hash_is_compared_with_it_before_it_is_copied() {
    let fixture = Fixture::in_memory().await;
    homelab_dr::keys::drill(&fixture.repository.owner().await, "laptop", &SystemClock).await.unwrap();
    let source = fixture.repository.store.clone();
    for prefix in ["access/", "packs/", "index/", "snapshots/", "drills/"] {
        let object = names(&*source).await.into_iter().find(|name| name.starts_with(prefix)).expect(prefix);
        let whole = fixture.place.read(&object);
        let mut bytes = whole.clone();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fixture.place.write(&object, &bytes);
        let target = empty();
        let report = copy(&*source, &*target).await.unwrap();
        let damaged: Vec<_> = report.damaged.iter().map(|damaged| (damaged.object.as_str(), damaged.fault)).collect();
        assert_eq!(damaged, [(object.as_str(), Wrong::SourceDamaged)]);
        assert!(!names(&*target).await.contains(&object));
        fixture.place.write(&object, &whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rot_of_a_copy_is_not_seen_by_the_next_copy_and_is_by_its_check() {
    let fixture = Fixture::in_memory().await;
    let source = fixture.repository.store.clone();
    let target = Arc::new(MemoryStore::new(Arc::new(SystemClock)).named("target"));
    copy(&*source, &*target).await.unwrap();
    let pack = fixture.object(0, "content pack");
    let mut bytes = fixture.place.read(&pack);
    bytes[300] ^= 1;
    target.plant(&Key::new(pack.clone()).unwrap(), bytes.into());
    let report = copy(&*source, &*target).await.unwrap();
    assert_eq!((report.copied, report.damaged.len()), (0, 0), "as the help says: by name and size");
    let target: Arc<dyn Store> = target;
    let check = run(&open(&fixture, &target).await.unwrap()).await;
    assert_eq!(check.findings.iter().map(|finding| finding.object.as_str()).collect::<Vec<_>>(), [pack.as_str()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_sector_at_the_source_does_not_keep_the_rest_from_being_saved() {
    let fixture = Fixture::in_memory().await;
    let target = empty();
    let faulty = Fault::only(fixture.repository.store.clone(), &[homelab_dr::store::Operation::Get]);
    // The third object that is read: format.json is read twice.
    faulty.fail(4, When::Before, Failure::Permanent);
    let report = copy(&faulty, &*target).await.unwrap();
    assert_eq!(report.damaged.len(), 1);
    assert_eq!(report.damaged[0].fault, Wrong::SourceUnreadable);
    assert_eq!(names(&*target).await.len() + 1, names(&*fixture.repository.store).await.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_places_are_refused_and_other_bytes_are_left_alone() {
    let fixture = Fixture::in_memory().await;
    let source = fixture.repository.store.clone();
    let other = TestRepository::in_memory().await;
    assert!(matches!(copy(&*source, &*other.store).await, Err(ReplicateError::OtherRepository { .. })));
    let heap = empty();
    heap.put_new(&Key::new("holiday.jpg").unwrap(), "x".into(), None).await.unwrap();
    assert!(matches!(copy(&*source, &*heap).await, Err(ReplicateError::NotEmpty { .. })));
    assert!(matches!(copy(&*empty(), &*heap).await, Err(ReplicateError::Source(_))));

    let target = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    copy(&*source, &*target).await.unwrap();
    let object = fixture.object(1, "index");
    let key = Key::new(object.clone()).unwrap();
    target.plant(&key, "cut short".into());
    assert_eq!(plan(&*source, &*target).await.unwrap().different, std::slice::from_ref(&object));
    let report = copy(&*source, &*target).await.unwrap();
    assert_eq!((report.damaged[0].object.as_str(), report.damaged[0].fault), (object.as_str(), Wrong::TargetDiffers));
    assert_eq!(target.get(&key).await.unwrap(), "cut short");
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_what_is_there_are_extended_by_every_copy_that_locks() {
    let fixture = Fixture::in_memory().await;
    let source = fixture.repository.store.clone();
    let server = S3Server::start(Rules::LOCKING).await;
    let target = server.url("copy").open().await.expect("opened");
    let days = |days: u64| Duration::from_hours(24 * days);
    let now = SystemClock.now();
    let lock = |at: Time| Options {
        retain_until: Some(at.after(days(30))),
        enough_until: Some(at.after(days(15))),
        ..Options::default()
    };
    let run = async |at: Time| replicate(&*source, &*target, &lock(at), &Progress::default()).await.expect("a copy");
    let stray = Key::new("notes.txt").unwrap();
    assert_eq!(run(now).await.locks_extended, 0);
    target.put_new(&stray, "not ours".into(), None).await.unwrap();
    assert_eq!(run(now.after(days(10))).await.locks_extended, 0, "more than half is left");

    let later = now.after(days(20));
    // Also what a thief removed at the source: its copy must not run out.
    source.delete(&Key::new(fixture.object(0, "snapshots")).unwrap()).await.unwrap();
    let objects = target.list("").await.unwrap();
    // Neither the stray nor the epoch record, which every run puts again, with the lock.
    assert_eq!(run(later).await.locks_extended, objects.len() as u64 - 2);
    for entry in objects {
        let held = target.retention(&entry.key).await.unwrap();
        if entry.key == stray {
            assert_eq!(held, None);
        } else {
            assert!(held.expect("locked") >= later.after(days(29)), "{}: {held:?}", entry.key);
        }
    }
}
