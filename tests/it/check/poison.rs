//! A thief of the writer key stores wrong bytes under the id of a chunk that somebody will back up, with a seal that is in order.

use std::sync::Arc;

use bytes::Bytes;
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::pool::Pool;
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
use homelab_dr::repo::packer::PackBuilder;
use homelab_dr::repo::tree_write::TreeBuilder;
use homelab_dr::repo::write::Writer;
use homelab_dr::repo::{commit, layout, sealed};
use homelab_dr::store::Store;

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

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_under_a_proper_seal_is_found_with_an_identity_and_named_with_its_file() {
    let test = TestRepository::in_memory().await;
    let promised = super::noise(7, 5000);
    poison(&*test.store, &test.key, &promised, &super::noise(8, 5000)).await;
    let poisoned = super::names(&*test.store).await.into_iter().find(|name| name.starts_with("packs/")).unwrap();

    // The victim backs up a file whose chunk seems to be there.
    let repository = test.writer().await;
    let index = commit::prepare(&repository).await.unwrap();
    let writer = Writer::begin(repository, index, test.clock.clone(), None).await.unwrap();
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
        assert!(writer.new_bytes() < 5000, "the chunk was deduplicated to the poisoned one");
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
        };
        (writer, record)
    })
    .await
    .unwrap();
    let clock: Arc<dyn Clock> = test.clock.clone();
    commit::commit(writer, record, &clock).await.unwrap();

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
