//! A repository as large as wanted, of chunks that nobody has: its metadata is real, and its content packs are holes in files, named and sized as the index says.
//!
//! For measuring what grows with a repository (docs/scale.md): everything but content is read as ever. Content cannot be restored, and `check --read-data` would say so.

use std::fs::{File, create_dir_all};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Timespec, Timestamps, futimens};

use crate::base::clock::{Clock, SystemClock, Time};
use crate::base::id::{BlobId, ObjectId, SessionId};
use crate::base::random::{STEP, mix};
use crate::format::entry::{Entry, FileTime, Kind, Piece, TreePath};
use crate::format::kind;
use crate::format::pack::{BlobRecord, IndexedPack, PackTable};
use crate::format::padding::padded;
use crate::format::record::{Link, SnapshotRecord, Statistics, TreeRoot};
use crate::repo::commit::commit;
use crate::repo::index::IndexBuilder;
use crate::repo::packer::PACK_BYTES;
use crate::repo::presence::put_segments;
use crate::repo::tree_write::TreeBuilder;
use crate::repo::upload::SEGMENT_BLOBS;
use crate::repo::write::{Lane, Session, Writer};
use crate::repo::{RepoError, Repository, layout};
use crate::store::url::StoreUrl;

/// A household's mean of photos and films (1 MiB and more) and everything else (256 KiB).
const CHUNK_BYTES: u32 = 512 << 10;
/// A file of 4 MiB: a photo.
const FILE_CHUNKS: u64 = 8;
/// Files of one directory.
const DIRECTORY_FILES: u64 = 500;
/// So many of a hundred packs hold nothing that the snapshot needs.
const UNNEEDED_PERCENT: u64 = 5;
/// How old the packs are: a pruner dooms none that may belong to a backup that is still running.
const AGE: Duration = Duration::from_hours(24 * 30);

fn hash(what: u64, number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (word, at) in bytes.chunks_exact_mut(8).zip(0..) {
        word.copy_from_slice(&mix(mix(what ^ number.wrapping_mul(STEP)).wrapping_add(at)).to_be_bytes());
    }
    bytes
}

fn chunk(number: u64) -> BlobId {
    BlobId::new(hash(1, number))
}

/// A pack of the chunks from `first` on.
fn pack(number: u64, first: u64, session: SessionId) -> IndexedPack {
    let chunks = PACK_BYTES as u64 / u64::from(CHUNK_BYTES);
    let header = 120;
    let record = |at: u64| BlobRecord {
        id: chunk(first + at),
        kind: kind::Kind::Data,
        session: 0,
        offset: header + u32::try_from(at).expect("few") * CHUNK_BYTES,
        length: CHUNK_BYTES,
        plain_length: CHUNK_BYTES + 100,
        sealed_hash: hash(3, first + at),
    };
    let records: Vec<BlobRecord> = (0..chunks).map(record).collect();
    let size = padded(PACK_BYTES + 4096) as u64;
    IndexedPack { id: ObjectId::new(hash(2, number)), size, table: PackTable::new(vec![session], &records) }
}

/// A hole as long as the pack, stored long ago.
fn put_hole(root: &Path, pack: &IndexedPack, then: Time) {
    let path = root.join(layout::pack(&pack.id).as_str());
    create_dir_all(path.parent().expect("a folder")).expect("a disk with room");
    let file = File::create(path).expect("a disk with room");
    file.set_len(pack.size).expect("a file system with holes");
    let then = Timespec { tv_sec: then.0.div_euclid(1000), tv_nsec: 0 };
    futimens(&file, &Timestamps { last_access: then, last_modification: then }).expect("ours");
}

fn entry(path: String, kind: Kind) -> Entry {
    Entry {
        path: TreePath::new(path).expect("plain"),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: FileTime { seconds: 1_700_000_000, nanos: 0 },
        xattrs: Vec::new(),
        identity: None,
        live: None,
    }
}

/// A tree of photos that needs the first `chunks`.
fn tree(writer: &Writer, lane: &mut Lane, chunks: u64) -> Result<(TreeRoot, Statistics), RepoError> {
    let mut tree = TreeBuilder::default();
    let mut statistics = Statistics::default();
    for file in 0..chunks / FILE_CHUNKS {
        let folder = format!("album {:06}", file / DIRECTORY_FILES);
        if file.is_multiple_of(DIRECTORY_FILES) {
            tree.add(writer, lane, &entry(folder.clone(), Kind::Directory))?;
        }
        let piece = |at| Piece::Data { blob: chunk(file * FILE_CHUNKS + at), skip: 0, length: CHUNK_BYTES };
        let content = TreeBuilder::content(writer, lane, (0..FILE_CHUNKS).map(piece).collect())?;
        let size = FILE_CHUNKS * u64::from(CHUNK_BYTES);
        tree.add(writer, lane, &entry(format!("{folder}/photo {file:09}.jpg"), Kind::File { size, content }))?;
        statistics.files += 1;
        statistics.bytes += size;
    }
    Ok((tree.finish(writer, lane)?, statistics))
}

async fn make(root: PathBuf, bytes: u64) {
    let key = std::fs::read_to_string(setting("KEY_FILE")).expect("a writer key");
    let key = crate::crypto::writer_key::WriterKey::parse(key.trim()).expect("a writer key");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = StoreUrl::from_os(root.as_os_str()).expect("a folder").open().await.expect("there");
    let repository = Arc::new(Repository::open_with_writer(store, &key).await.expect("ours"));
    let session = Session::begin(repository.clone(), clock.clone()).await.expect("stored");
    let listed = repository.store.list(layout::SESSIONS).await.expect("listed");
    let id = layout::session_id(&listed.first().expect("just stored").key).expect("its name");
    let then = clock.now().before(AGE);
    let chunks_a_pack = PACK_BYTES as u64 / u64::from(CHUNK_BYTES);
    let packs = bytes.div_ceil(PACK_BYTES as u64);
    let mut segment = Vec::new();
    for number in 0..packs {
        let pack = pack(number, number * chunks_a_pack, id);
        put_hole(&root, &pack, then);
        segment.push(pack);
        if segment.len() as u64 * chunks_a_pack >= SEGMENT_BLOBS as u64 || number + 1 == packs {
            put_segments(&repository, std::mem::take(&mut segment), clock.now()).await.expect("stored");
        }
    }
    let index = Arc::new(IndexBuilder::default().finish(Vec::new()));
    let writer = Arc::new(Writer::within(session, index, None));
    let needed = packs * chunks_a_pack * (100 - UNNEEDED_PERCENT) / 100;
    let building = writer.clone();
    let built = tokio::task::spawn_blocking(move || {
        let mut lane = building.lane()?;
        tree(&building, &mut lane, needed)
    });
    let (tree, statistics) = built.await.expect("it ends").expect("stored");
    let now = clock.now();
    let record = SnapshotRecord {
        link: Link::default(),
        source: "photos".to_owned(),
        started: now,
        finished: now,
        paths: Vec::new(),
        root: tree,
        statistics,
        problems: Vec::new(),
        tags: std::collections::BTreeMap::new(),
        program: "scale".to_owned(),
        host: "scale".to_owned(),
        based_on: None,
        device: None,
        run: None,
        blocks: None,
    };
    let writer = Arc::into_inner(writer).expect("nobody else writes");
    commit(writer, record, &clock).await.expect("stored");
    println!("{packs} packs, {} chunks, {} files", packs * chunks_a_pack, statistics.files);
}

fn setting(name: &str) -> String {
    let name = format!("HOMELAB_DR_SCALE_{name}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set: tests/bench/scale sets it"))
}

#[test]
#[ignore = "makes a large repository for tests/bench/scale"]
fn a_repository_of_synthetic_chunks() {
    let bytes = setting("BYTES").parse().expect("a number of bytes");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(make(setting("REPO").into(), bytes));
}

/// What is measured is a repository: the snapshot needs what its tree names, all of that is there, and the rest is not needed.
#[test]
fn synthetic_chunks_are_told_apart_and_found_where_the_index_says() {
    let session = SessionId::new([7; 32]);
    let (one, two) = (pack(0, 0, session), pack(1, 24, session));
    assert_eq!((one.table.len(), one.id == two.id), (24, false));
    let records: Vec<BlobRecord> = one.table.records().chain(two.table.records()).collect();
    for (number, record) in (0..).zip(&records) {
        assert_eq!(record.id, chunk(number));
        assert!(record.end() <= one.size);
    }
    let ids: std::collections::HashSet<BlobId> = records.iter().map(|record| record.id).collect();
    assert_eq!(ids.len(), records.len());
    one.table.check().expect("well-formed");
}
