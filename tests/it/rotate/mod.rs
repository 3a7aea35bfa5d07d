//! A stolen writer key: what the thief can do with it after a rotation (nothing that anybody accepts), and that nothing is lost on the way there.

mod cuts;

use std::sync::Arc;
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::id::ObjectId;
use homelab_dr::base::progress::Progress;
use homelab_dr::check::Severity;
use homelab_dr::crypto::meta::MetaKeys;
use homelab_dr::crypto::recipients::{NoPrompt, Prompt};
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::format::kind::RecordKind;
use homelab_dr::format::pack::IndexSegment;
use homelab_dr::format::record::{ChainRecord, Link};
use homelab_dr::keys::rotate::{RotateError, Rotated, Settings, plan_rotation, run_rotation};
use homelab_dr::keys::{drill, list_key_drills};
use homelab_dr::prune::{PruneError, Settings as PruneSettings};
use homelab_dr::repo::snapshots::{self, Chain};
use homelab_dr::repo::{RepoError, Repository, doomed, layout, sealed};
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::record::Record;
use homelab_dr::store::{Key, Store};
use homelab_dr::verified;

use crate::check::run as check;
use crate::prune::world::{GRACE, HOUR, World};

/// Opened with the identity, its calls through a wrapper.
async fn owner_on(world: &World, through: Arc<dyn Store>) -> Arc<Repository> {
    let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
    let pin = Some(world.key.fingerprint());
    let opened = Repository::open_with_identity(world.store.clone(), &world.identity, &prompt, pin).await;
    Arc::new(opened.expect("its own identity").with_store(through))
}

/// What the command does; the new writer key comes out before anything is done with it.
async fn rotate_on(world: &World, through: Arc<dyn Store>) -> (Option<WriterKey>, Result<Rotated, RotateError>) {
    let owner = owner_on(world, through).await;
    let progress = Progress::default();
    let planned = match plan_rotation(&owner, &progress).await {
        Ok(planned) => planned,
        Err(error) => return (None, Err(error)),
    };
    let key = planned.writer_key();
    let settings = Settings { host: "test".to_owned(), settle: Duration::ZERO };
    let done = run_rotation(planned, &settings, &world.clock, &progress, &Cancel::default()).await;
    (Some(key), done)
}

/// Rotates; the world has the new key then.
pub async fn rotate(world: &mut World) -> Rotated {
    let (key, done) = rotate_on(world, world.store.clone()).await;
    let done = done.expect("a rotation");
    world.key = Arc::new(key.expect("a key"));
    done
}

/// Whether a pack holds trees and not content: the second byte of its header says so.
async fn is_metadata(world: &World, pack: &str) -> bool {
    world.store.get_range(&Key::new(pack).unwrap(), 0..2).await.unwrap()[1] == 2
}

/// The chain for who holds the new key alone.
async fn chain(world: &World) -> Chain {
    Chain::load(&*world.open().await).await.expect("a chain")
}

/// The files of every snapshot, by what is in them: ids change.
pub async fn files(world: &World) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = world.read_all().await.into_values().collect();
    all.sort();
    all
}

/// Nothing is wrong, for who holds the new key alone and for the owner.
async fn is_sound(world: &World, what: &str) {
    for repository in [world.open().await, world.open_to_read().await] {
        let chain = Chain::load(&repository).await.expect("a chain");
        assert!(chain.unreadable.is_empty() && chain.gaps().is_empty(), "{what}: {chain:?}");
        let report = check(&repository).await;
        let worse: Vec<_> = report.findings.iter().filter(|finding| finding.severity != Severity::Note).collect();
        assert!(worse.is_empty(), "{what}: {worse:?}");
    }
}

/// Somebody has proven a key, checked both snapshots and drilled one: a record of each.
async fn witnessed() -> World {
    let world = scene().await;
    let owner = world.open_to_read().await;
    drill(&owner, "test", &*world.clock).await.expect("a drill");
    let ids: Vec<ObjectId> = chain(&world).await.snapshots.iter().map(|snapshot| snapshot.id).collect();
    verified::record(&owner, &ids[..1], &ids[1..], "test", &*world.clock).await.expect("a record");
    let rehearsal = crate::frozen::rehearsal(ids[0], "test", "test");
    homelab_dr::drill::record::store(&owner, &rehearsal, world.clock.now()).await.expect("a record");
    world
}

/// There is still one record of each kind, and they name snapshots that are there.
async fn are_carried(world: &World, what: &str) {
    let mine = world.open().await;
    let ids: Vec<ObjectId> = chain(world).await.snapshots.iter().map(|snapshot| snapshot.id).collect();
    let (drills, unreadable) = list_key_drills(&mine).await.unwrap();
    assert!(unreadable.is_empty() && drills.len() == 1, "{what}: {drills:?}");
    assert!(drills[0].snapshot.is_none_or(|id| ids.contains(&id)), "{what}: {drills:?}");
    let known = verified::load(&mine).await.unwrap();
    assert_eq!((known.at.len(), known.damaged.len()), (1, 1), "{what}: {known:?}");
    assert!(known.at.keys().chain(known.damaged.keys()).all(|id| ids.contains(id)), "{what}: {known:?}");
    let rehearsals = homelab_dr::drill::record::load(&mine).await.unwrap().all;
    assert_eq!(rehearsals.len(), 1, "{what}: {rehearsals:?}");
    assert!(ids.contains(&rehearsals[0].1.sources[0].snapshot), "{what}: {rehearsals:?}");
}

/// Three snapshots, one of them forgotten, and a mark that is not due.
async fn scene() -> World {
    let world = World::new().await;
    world.backup(&["a", "b"]).await;
    world.pass(HOUR);
    let gone = world.backup(&["b", "gone"]).await;
    world.pass(HOUR);
    world.backup(&["a", "c"]).await;
    world.forget(&[gone]).await;
    world.pass(GRACE + HOUR);
    world.prune().await;
    world
}

#[tokio::test]
async fn content_stays_where_it_is_and_the_new_key_alone_does_everything() {
    let mut world = World::new().await;
    let many: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    world.backup(&many).await;
    world.backup(&["a", "f1"]).await;
    let owner = world.open_to_read().await;
    let held = drill(&owner, "test", &*world.clock).await.expect("a drill").drill;
    let good = check(&owner).await.verified;
    assert_eq!(good.len(), 2);
    verified::record(&owner, &good, &[], "test", &*world.clock).await.expect("a record");
    let before = files(&world).await;
    let packs = world.store.list(layout::PACKS).await.unwrap();
    let content: u64 = packs.iter().map(|pack| pack.size).sum();
    let mut metadata = Vec::new();
    for pack in &packs {
        if is_metadata(&world, pack.key.as_str()).await {
            metadata.push(pack.key.clone());
        }
    }
    assert_eq!((packs.len(), metadata.len()), (4, 2));
    world.pass(HOUR);

    let planned = plan_rotation(&world.open_to_read().await, &Progress::default()).await.expect("a plan").plan;
    assert_eq!((planned.snapshots, planned.begun, planned.epoch), (2, false, 2));
    let record = Arc::new(Record::new(world.store.clone()));
    let old = world.key.clone();
    let (key, done) = rotate_on(&world, record.clone()).await;
    let done = done.expect("a rotation");
    world.key = Arc::new(key.unwrap());
    let up = record.counts().bytes_up;
    assert!(up < content / 2, "{up} bytes were uploaded, of {content} of content");
    assert_eq!((done.snapshots.len(), done.blobs), (2, planned.blobs));
    assert!(done.snapshots.iter().all(|renamed| !renamed.late && renamed.from != renamed.to));

    let retired = Repository::open_with_writer(world.store.clone(), &old).await.err().expect("a retired key");
    assert!(matches!(retired, RepoError::Retired { held: 1, .. }), "{retired}");
    assert_eq!(files(&world).await, before);
    is_sound(&world, "after the rotation").await;
    let mine = world.open().await;
    let known = verified::load(&mine).await.unwrap();
    assert!(known.unreadable.is_empty() && done.snapshots.iter().all(|renamed| known.at.contains_key(&renamed.to)));
    let (drills, unreadable) = list_key_drills(&mine).await.unwrap();
    assert!(unreadable.is_empty() && drills.len() == 1);
    assert_eq!(drills[0].snapshot, done.snapshots.iter().find(|r| Some(r.from) == held.snapshot).map(|r| r.to));

    // The new key deduplicates to what the old one stored, and prunes what was replaced.
    let names = async |world: &World| world.names(layout::PACKS).await;
    let there = names(&world).await;
    world.backup(&many).await;
    for new in names(&world).await.iter().filter(|name| !there.contains(name)) {
        assert!(is_metadata(&world, new).await, "{new}: its content was there");
    }
    world.pass(GRACE + HOUR);
    world.prune().await;
    world.pass(GRACE + HOUR);
    world.prune().await;
    let left = names(&world).await;
    for pack in &packs {
        let stays = left.contains(&pack.key.to_string());
        assert_eq!(stays, !metadata.contains(&pack.key), "{}", pack.key);
    }
    assert_eq!(files(&world).await.len(), 3);
    is_sound(&world, "after two prunes").await;
    // Once more, with the records of the first rotation long gone.
    let second = rotate(&mut world).await;
    assert_eq!((second.epoch, second.snapshots.len()), (4, 3));
    assert_eq!(files(&world).await.len(), 3);
    is_sound(&world, "after a second rotation").await;
}

#[tokio::test]
async fn what_the_stolen_key_writes_afterwards_is_accepted_by_nobody() {
    let mut world = scene().await;
    let before = files(&world).await;
    // The thief has everything open, and a backup half way.
    let thief = world.open().await;
    let stolen = world.key.clone();
    let begun = world.begin(&thief, &["a", "b", "forged"]).await.expect("a backup");
    rotate(&mut world).await;
    assert_eq!(files(&world).await, before);
    let error = world.commit(begun).await.unwrap_err();
    assert!(matches!(error, RepoError::Retired { .. }), "{error}");
    world.pass(GRACE + HOUR);
    let error = world.try_prune(&thief, PruneSettings::default()).await.unwrap_err();
    assert!(matches!(error, PruneError::Repo(RepoError::Retired { .. })), "{error}");
    let mine: Vec<ObjectId> = chain(&world).await.snapshots.iter().map(|s| s.id).collect();
    let error = world.try_forget(&thief, &mine).await.unwrap_err();
    assert!(matches!(error, RepoError::Retired { .. }), "{error}");

    // With a program of his own he is not told to stop.
    let meta = MetaKeys::new(stolen.repository, 1, stolen.metadata_key.duplicate());
    let mut forged = chain(&world).await.snapshots[0].record.clone();
    forged.source = "forged".to_owned();
    forged.link = Link { sequence: 1000, parents: Vec::new() };
    let forged = ChainRecord::Snapshot(Box::new(forged));
    snapshots::put(&thief, &forged, None).await.unwrap();
    let packs: Vec<Key> = world.store.list(layout::PACKS).await.unwrap().into_iter().map(|pack| pack.key).collect();
    doomed::mark(&thief, packs, world.clock.now()).await.unwrap();
    let store = &*world.store;
    sealed::put(store, &meta, RecordKind::Index, layout::INDEX, &IndexSegment::default(), None).await.unwrap();
    assert_eq!(files(&world).await, before);
    for repository in [world.open().await, world.open_to_read().await] {
        let chain = Chain::load(&repository).await.unwrap();
        assert!(chain.snapshots.iter().all(|snapshot| snapshot.record.source != "forged"));
        assert_eq!((chain.retired.len(), chain.unreadable.len()), (1, 0));
    }
    is_sound(&world, "with forgeries").await;
    // Prune heeds none of his marks, and takes what he left away.
    for _ in 0..3 {
        world.pass(GRACE + HOUR);
        world.prune().await;
    }
    assert!(chain(&world).await.retired.is_empty());
    assert_eq!(files(&world).await, before);
    world.backup(&["a", "b"]).await;
    is_sound(&world, "at the end").await;
}

#[tokio::test]
async fn what_a_lock_keeps_counts_for_nothing() {
    let mut world = World::locked(Duration::from_hours(24 * 30)).await;
    world.backup(&["a", "b"]).await;
    world.pass(HOUR);
    world.backup(&["a", "c"]).await;
    let before = files(&world).await;
    let done = rotate(&mut world).await;
    assert_eq!((done.snapshots.len(), done.removed, done.locked), (2, 0, 2));
    assert_eq!(files(&world).await, before);
    is_sound(&world, "locked").await;
    assert_eq!(chain(&world).await.retired.len(), 2);
    world.backup(&["a", "d"]).await;
    world.pass(GRACE + HOUR);
    world.prune().await;
    // Until the locks end.
    world.pass(Duration::from_hours(24 * 40));
    world.prune().await;
    assert!(chain(&world).await.retired.is_empty());
    assert_eq!(files(&world).await.len(), 3);
}

#[tokio::test]
async fn a_copy_follows_and_is_pruned_with_the_new_key() {
    let mut world = scene().await;
    let mut copy = world.clone();
    copy.store = Arc::new(MemoryStore::new(world.clock.clone()).named("copy"));
    let again = async |world: &World, copy: &World| {
        let (options, progress) = (homelab_dr::replicate::Options::default(), Progress::default());
        homelab_dr::replicate::replicate(&*world.store, &*copy.store, &options, &progress).await.expect("a copy")
    };
    again(&world, &copy).await;
    let before = files(&world).await;
    rotate(&mut world).await;
    // The copy is in the old epoch still, and is what it was: the old key opens it, the new one does not.
    assert_eq!(files(&copy).await, before);
    assert!(Repository::open_with_writer(copy.store.clone(), &world.key).await.is_err());
    again(&world, &copy).await;
    let old = std::mem::replace(&mut copy.key, world.key.clone());
    assert!(Repository::open_with_writer(copy.store.clone(), &old).await.is_err());
    assert_eq!(files(&copy).await, before, "each snapshot once");
    for _ in 0..3 {
        copy.pass(GRACE + HOUR);
        copy.prune().await;
    }
    assert_eq!(files(&copy).await, before);
    is_sound(&copy, "the copy").await;
}

/// A snapshot that cannot be read whole is not left behind: the rotation says so, and nothing has happened.
#[tokio::test]
async fn nothing_begins_over_damage() {
    let world = scene().await;
    let objects = world.names("").await;
    for pack in world.names(layout::PACKS).await {
        if is_metadata(&world, &pack).await {
            world.store.delete(&Key::new(pack).unwrap()).await.unwrap();
        }
    }
    let (key, done) = rotate_on(&world, world.store.clone()).await;
    let error = done.unwrap_err();
    assert!(key.is_none() && matches!(error, RotateError::Damaged { .. }), "{error}");
    let left = world.names("").await;
    assert!(left.len() < objects.len() && left.iter().all(|name| objects.contains(name)), "{left:?}");
    world.open().await;
}
