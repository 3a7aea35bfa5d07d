//! A thief of the writer key stores wrong bytes under the id of a chunk that somebody will back up, with a seal that is in order.

use std::sync::Arc;

use bytes::Bytes;
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::pool::Pool;
use homelab_dr::base::progress::Progress;
use homelab_dr::check::{Problem, Severity};
use homelab_dr::compress::Packing;
use homelab_dr::crypto::content::{CONTENT_HEAD, ContentSealer};
use homelab_dr::crypto::hash::BlobHasher;
use homelab_dr::crypto::meta::MetaKeys;
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::format::entry::{Content, Entry, FileTime, Kind as EntryKind, Piece, TreePath};
use homelab_dr::format::kind::{Kind, RecordKind};
use homelab_dr::format::pack::{IndexSegment, PackClass};
use homelab_dr::format::record::{EpochRecord, Link, SessionRecord, SignedEpoch, SnapshotRecord, Statistics};
use homelab_dr::prune::{Settings, plan_prune, run_prune};
use homelab_dr::repair::{Outcome, Sources, run_repair};
use homelab_dr::replicate::{Options, replicate};
use homelab_dr::repo::packer::PackBuilder;
use homelab_dr::repo::tree_write::TreeBuilder;
use homelab_dr::repo::write::Writer;
use homelab_dr::repo::{commit, layout, sealed};
use homelab_dr::store::Store;
use homelab_dr::store::memory::MemoryStore;

use super::run;
use crate::support::repository::TestRepository;

/// Stores `rubbish` as the chunk of `promised`, with nothing but the writer key and the library.
async fn poison(store: &dyn Store, key: &WriterKey, promised: &[u8], rubbish: &[u8]) {
    let meta = MetaKeys::new(key.repository, key.epoch, key.metadata_key.duplicate());
    let signed: SignedEpoch =
        sealed::read_at(store, &meta, RecordKind::Epoch, &layout::epoch(key.epoch)).await.expect("the epoch");
    let epoch: EpochRecord = minicbor::decode(&signed.body).expect("its body");
    let (sealer, wrap) = ContentSealer::new(key.repository, key.epoch, &epoch.public).expect("random");
    let session = SessionRecord { epoch: key.epoch, wrap: wrap.to_vec(), created: SystemClock.now() };
    let stored = sealed::seal(&meta, RecordKind::Session, &session).expect("random");
    store.put_new(&layout::session(&sealer.id()), stored, None).await.expect("stored");

    let id = BlobHasher::new(&key.chunk_id_key).blob_id(Kind::Data, promised);
    let mut buffer = vec![0; CONTENT_HEAD];
    Packing::new(3).expect("setup").append(rubbish, &mut buffer);
    sealer.seal(&id, &mut buffer).expect("short");
    let mut builder = PackBuilder::new(PackClass::Content, &Pool::new(1));
    let length = u32::try_from(promised.len()).unwrap();
    builder.add(Kind::Data, id, &buffer, length, Some((sealer.id(), (key.epoch, wrap))));
    let pack = builder.finish(&meta).expect("random");
    store.put_new(&layout::pack(&pack.indexed.id), Bytes::clone(&pack.bytes), None).await.expect("stored");
    let segment = IndexSegment { packs: vec![pack.indexed] };
    sealed::put(store, &meta, RecordKind::Index, layout::INDEX, &segment, None).await.expect("stored");
}

/// The victim backs up a file of one chunk; returns how many bytes of it were new.
async fn victim_backs_up(test: &TestRepository, promised: &[u8]) -> u64 {
    let repository = test.writer().await;
    let index = commit::prepare(&repository).await.unwrap();
    let writer = Writer::begin(repository, index, test.clock.clone(), None).await.unwrap();
    let promised = promised.to_vec();
    let (writer, record) = tokio::task::spawn_blocking(move || {
        let mut lane = writer.lane().unwrap();
        let blob = writer.add_data(&mut lane, &promised).unwrap();
        let piece = Piece::Data { blob, skip: 0, length: 5000 };
        let entry = Entry {
            path: TreePath::new("photo").unwrap(),
            kind: EntryKind::File { size: 5000, content: Content::Inline(vec![piece]) },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: FileTime::default(),
            xattrs: vec![],
            identity: None,
            live: None,
        };
        let mut tree = TreeBuilder::default();
        tree.add(&writer, &mut lane, &entry).unwrap();
        let root = tree.finish(&writer, &mut lane).unwrap();
        let now = SystemClock.now();
        let record = SnapshotRecord {
            link: Link::default(),
            source: "victim".to_owned(),
            started: now,
            finished: now,
            paths: vec![],
            root,
            statistics: Statistics::default(),
            problems: vec![],
            tags: std::collections::BTreeMap::new(),
            program: "test".to_owned(),
            host: "test".to_owned(),
            based_on: None,
            device: None,
            run: None,
            blocks: None,
        };
        (writer, record)
    })
    .await
    .unwrap();
    let new = writer.new_bytes();
    let clock: Arc<dyn Clock> = test.clock.clone();
    commit::commit(writer, record, &clock).await.unwrap();
    new
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_under_a_proper_seal_is_found_with_an_identity_and_named_with_its_file() {
    let test = TestRepository::in_memory().await;
    let promised = super::noise(7, 5000);
    poison(&*test.store, &test.key, &promised, &super::noise(8, 5000)).await;
    let poisoned = super::names(&*test.store).await.into_iter().find(|name| name.starts_with("packs/")).unwrap();
    assert!(victim_backs_up(&test, &promised).await < 5000, "the chunk was deduplicated to the poisoned one");

    let blind = run(&test.writer().await).await;
    assert!(!blind.is_damaged() && !blind.depth.decrypted, "the writer key cannot see it: {:?}", blind.findings);
    let report = run(&test.owner().await).await;
    assert_eq!(report.verified, [], "every stored byte is what was stored, and what was promised is not there");
    let found = report.findings.iter().find(|finding| finding.object == poisoned).expect("named");
    assert_eq!((found.severity, found.problem), (Severity::Damage, Problem::Blobs));
    assert!(found.what.contains("does not match its id"), "{}", found.what);
    assert_eq!(found.affected.snapshots[0].source, "victim");
    assert_eq!(found.affected.snapshots[0].examples, ["photo"]);
}

async fn repaired(test: &TestRepository, replicas: Vec<Arc<dyn Store>>) -> Outcome {
    let sources = Sources::new(&test.store, replicas).await.unwrap();
    run_repair(&test.owner().await, &sources, &test.clock, &Progress::default()).await.expect("a repair")
}

/// The bytes of the file in every snapshot.
async fn photos(test: &TestRepository) -> Vec<Result<Vec<u8>, String>> {
    let owner = test.owner().await;
    let mut photos = Vec::new();
    for snapshot in test.snapshots().await {
        let read = super::read_all(&owner, &snapshot).await;
        photos.push(read.map(|mut files| files.remove("photo").unwrap()).map_err(|error| error.to_string()));
    }
    photos
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_chunk_is_put_out_of_use_and_the_next_backup_stores_it_anew() {
    let test = TestRepository::in_memory().await;
    let promised = super::noise(7, 5000);
    poison(&*test.store, &test.key, &promised, &super::noise(8, 5000)).await;
    let poisoned = super::names(&*test.store).await.into_iter().find(|name| name.starts_with("packs/")).unwrap();
    victim_backs_up(&test, &promised).await;
    assert!(photos(&test).await[0].is_err(), "rubbish is never given out for the photo");

    let outcome = repaired(&test, Vec::new()).await;
    assert_eq!(outcome.marked, std::slice::from_ref(&poisoned));
    assert_eq!(outcome.losses.len(), 1);
    assert_eq!(outcome.losses[0].files, ["photo"]);
    assert!(victim_backs_up(&test, &promised).await >= 5000, "it is not built upon any more");
    assert!(photos(&test).await.iter().all(|photo| photo.as_ref().is_ok_and(|bytes| *bytes == promised)), "both heal");
    let healed = repaired(&test, Vec::new()).await;
    assert!(!healed.changed() && !healed.report.expect("a report").is_damaged());

    // The prune lets the poisoned copy go and keeps the good one.
    let settings = Settings { grace: std::time::Duration::ZERO, ..Settings::default() };
    let writer = test.writer().await;
    let planned = plan_prune(&writer, settings, &test.clock).await.expect("a plan");
    run_prune(&writer, planned, &test.clock).await.expect("a prune");
    assert!(!super::names(&*test.store).await.contains(&poisoned));
    let clean = run(&test.owner().await).await;
    assert!(!clean.is_damaged() && clean.verified.len() == 2, "{:?}", clean.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_copy_in_a_replica_heals_a_poisoned_chunk_and_a_poisoned_replica_does_not() {
    let test = TestRepository::in_memory().await;
    let promised = super::noise(7, 5000);
    let empty = || -> Arc<dyn Store> { Arc::new(MemoryStore::new(Arc::new(SystemClock))) };
    let copy = async |to: &Arc<dyn Store>| {
        replicate(&*test.store, &**to, &Options::default(), &Progress::default()).await.expect("a copy");
    };
    let (good, poisoned) = (empty(), empty());
    copy(&good).await;
    poison(&*test.store, &test.key, &promised, &super::noise(8, 5000)).await;
    victim_backs_up(&test, &promised).await;
    copy(&poisoned).await;
    // The good replica is written to by itself, as one that took the place of the store for a while.
    let other = TestRepository {
        store: good.clone(),
        key: WriterKey::parse(&test.key.to_text()).unwrap(),
        identity: Vec::new(),
        clock: test.clock.clone(),
    };
    assert!(victim_backs_up(&other, &promised).await >= 5000);

    let outcome = repaired(&test, vec![poisoned.clone()]).await;
    assert_eq!((outcome.blobs_brought, outcome.losses.len()), (0, 1), "what does not open is not brought");
    let outcome = repaired(&test, vec![poisoned, good]).await;
    assert!(outcome.losses.is_empty() && !outcome.report.expect("a report").is_damaged());
    assert!(photos(&test).await.iter().all(|photo| photo.as_ref().is_ok_and(|bytes| *bytes == promised)));
}
