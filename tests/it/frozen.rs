//! Frozen repositories: what some version of the program wrote, every later one restores.
//!
//! A directory in `fixtures/format` holds `repository/`, the keys to it (made for it, protecting nothing) and
//! `expected.json`, what the file system said of the source before it was backed up. Fixtures are never made anew; a
//! change of the format adds one. [`make_fixture`] made `v1-basic`, and `v1-verified` when `verified/` was added; [`make_live_fixture`] made `v1-live`
//! when entries began to say how databases in use were taken.
//! `tests/reader` reads the same repositories by another program.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use homelab_dr::base::clock::{Clock, SystemClock, Time};
use homelab_dr::base::id::ObjectId;
use homelab_dr::crypto::meta::MetaKeys;
use homelab_dr::crypto::recipients::{IdentitySource, generate_identity};
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::drill::record;
use homelab_dr::format::kind::RecordKind;
use homelab_dr::format::record::{
    ChainRecord, Checkpoint, DoomMark, FORMAT_VERSION, RehearsalRecord, RehearsalTarget, Rehearsed, RehearsedBook,
    RehearsedSource, Tombstone,
};
use homelab_dr::repo::create::create;
use homelab_dr::repo::snapshots::{Chain, Snapshot};
use homelab_dr::repo::{layout, sealed, snapshots};
use homelab_dr::store::Store;
use homelab_dr::store::file::FileStore;
use rustix::fs::{CWD, FileType, Mode, SeekFrom, XattrFlags, lgetxattr, llistxattr, makedev, mknodat, seek, setxattr};
use serde::{Deserialize, Serialize};

use crate::support::every_kind::time;
use crate::support::repository::TestRepository;

/// Empty files, so many that the tree has a node above its leaves.
const EMPTY_FILES: u32 = 600;

/// `expected.json`.
#[derive(Serialize, Deserialize)]
struct Expected {
    format: u32,
    fingerprint: String,
    snapshots: Vec<ExpectedSnapshot>,
    forgotten: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct ExpectedSnapshot {
    id: String,
    source: String,
    entries: Vec<Seen>,
}

/// What the file system says of an entry. Bytes that need not be text are percent-encoded; the values of attributes are hex.
#[derive(Serialize, Deserialize, PartialEq, Eq, Clone, Debug)]
struct Seen {
    path: String,
    kind: String,
    #[serde(flatten)]
    attributes: Option<Attributes>,
    #[serde(flatten)]
    file: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<(u32, u32)>,
}

/// What every entry has but a second name of a file.
#[derive(Serialize, Deserialize, PartialEq, Eq, Clone, Debug)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, i64),
    xattrs: BTreeMap<String, String>,
}

/// The content of a file.
#[derive(Serialize, Deserialize, PartialEq, Eq, Clone, Debug)]
struct Bytes {
    size: u64,
    blake3: String,
    /// Offset and length.
    holes: Vec<(u64, u64)>,
}

fn percent(raw: &[u8]) -> String {
    raw.iter().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' | b'/' => {
            text + &char::from(*byte).to_string()
        }
        _ => text + &format!("%{byte:02X}"),
    })
}

/// Everything below a directory, itself first, in the order of the format. Asks the file system and not the library.
fn capture(root: &Path) -> Vec<Seen> {
    fn paths(dir: &Path, found: &mut Vec<PathBuf>) {
        let mut below: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).collect();
        // The names of one directory sort by bytes; what is below each follows it at once.
        below.sort_by_key(fs::DirEntry::file_name);
        for entry in below {
            found.push(entry.path());
            if entry.file_type().unwrap().is_dir() {
                paths(&entry.path(), found);
            }
        }
    }
    let mut found = vec![root.to_owned()];
    paths(root, &mut found);
    let mut names = BTreeMap::new();
    let relative = |path: &Path| percent(path.strip_prefix(root).unwrap().as_os_str().as_bytes());
    found.iter().map(|path| see(path, relative(path), &mut names)).collect()
}

fn see(path: &Path, name: String, first_names: &mut BTreeMap<u64, String>) -> Seen {
    let stat = fs::symlink_metadata(path).unwrap();
    let mut seen = Seen { path: name, kind: String::new(), attributes: None, file: None, target: None, device: None };
    if stat.is_file()
        && stat.nlink() > 1
        && let Some(first) = first_names.insert(stat.ino(), seen.path.clone())
    {
        first_names.insert(stat.ino(), first.clone());
        return Seen { kind: "hard link".to_owned(), target: Some(first), ..seen };
    }
    let kind = stat.file_type();
    seen.kind = match () {
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "symlink",
        () if kind.is_fifo() => "fifo",
        () if kind.is_char_device() => "character device",
        () => "block device",
    }
    .to_owned();
    seen.attributes = Some(Attributes {
        mode: stat.mode() & 0o7777,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime: (stat.mtime(), stat.mtime_nsec()),
        xattrs: xattrs(path),
    });
    seen.file = kind.is_file().then(|| bytes(path));
    seen.target = kind.is_symlink().then(|| percent(fs::read_link(path).unwrap().as_os_str().as_bytes()));
    seen.device = (kind.is_char_device() || kind.is_block_device())
        .then(|| (rustix::fs::major(stat.rdev()), rustix::fs::minor(stat.rdev())));
    seen
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn xattrs(path: &Path) -> BTreeMap<String, String> {
    let (mut names, mut value) = (vec![0; 4096], vec![0; 4096]);
    let length = llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    names
        .map(|name| {
            let length = lgetxattr(path, name, &mut value[..]).unwrap();
            (percent(name), hex(&value[..length]))
        })
        .collect()
}

fn bytes(path: &Path) -> Bytes {
    let content = fs::read(path).unwrap();
    let (file, size) = (File::open(path).unwrap(), content.len() as u64);
    let (mut holes, mut at) = (Vec::new(), 0);
    while at < size {
        let hole = seek(&file, SeekFrom::Hole(at)).unwrap();
        at = seek(&file, SeekFrom::Data(hole)).unwrap_or(size);
        if hole < size {
            holes.push((hole, at - hole));
        }
    }
    Bytes { size, blake3: blake3::hash(&content).to_hex().to_string(), holes }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/format")
}

/// Every fixture's directory, with the version in its name: `v<version>-<what>`.
fn all_fixtures() -> Vec<(u32, PathBuf)> {
    let mut found: Vec<_> = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    let version = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix('v')?.split_once('-')?.0.parse().ok()
    };
    found.into_iter().map(|path| (version(&path).expect("v<version>-<what>"), path)).collect()
}

async fn open(fixture: &Path) -> TestRepository {
    let identity = fs::read(fixture.join("TEST-identity.txt")).unwrap();
    TestRepository {
        store: Arc::new(FileStore::open(fixture.join("repository")).await.unwrap()),
        key: WriterKey::parse(&fs::read_to_string(fixture.join("TEST-writer-key.txt")).unwrap()).unwrap(),
        identity: vec![IdentitySource::parse("TEST-identity.txt", &identity).unwrap()],
        clock: Arc::new(SystemClock),
    }
}

fn expected(fixture: &Path) -> Expected {
    serde_json::from_slice(&fs::read(fixture.join("expected.json")).unwrap()).unwrap()
}

/// Restores a snapshot with the identity; returns the paths that could not be restored.
async fn restore(repository: &TestRepository, snapshot: &Snapshot, target: &Path) -> Vec<String> {
    let report = repository.try_restore(snapshot.record.root, target).await.unwrap();
    report.problems.iter().map(ToString::to_string).collect()
}

/// What root alone can restore: all of it.
fn all(seen: Vec<Seen>) -> Vec<Seen> {
    seen
}

/// Without root, nobody can make devices or give files away, and what was somebody else's is not restored set-uid.
fn all_but_roots(mut seen: Vec<Seen>) -> Vec<Seen> {
    seen.retain(|entry| entry.device.is_none());
    for attributes in seen.iter_mut().filter_map(|entry| entry.attributes.as_mut()) {
        (attributes.uid, attributes.gid) = (0, 0);
        attributes.mode &= !0o6000;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frozen_repository_restores_as_it_was_but_for_what_only_root_may() {
    let of_root = ["making loop200", "making null", "setting the permissions of suid"];
    let may = |problem: &String| problem.starts_with("setting the owner of ") || of_root.contains(&&**problem);
    every_frozen_repository_restores(all_but_roots, may).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to make devices and to give files away: lane root"]
async fn lane_root_every_frozen_repository_restores_as_it_was() {
    every_frozen_repository_restores(all, |_| false).await;
}

/// Compares what `part` leaves of the tree; `may` says which problems there may be.
async fn every_frozen_repository_restores(part: fn(Vec<Seen>) -> Vec<Seen>, may: impl Fn(&String) -> bool) {
    for (_, fixture) in all_fixtures() {
        let (repository, expected) = (open(&fixture).await, expected(&fixture));
        let fixture = fixture.display();
        assert_eq!(repository.key.fingerprint().to_string(), expected.fingerprint, "{fixture}");
        let chain = Chain::load(&*repository.owner().await).await.unwrap();
        assert!(chain.unreadable.is_empty() && chain.gaps().is_empty(), "{fixture}: {chain:?}");
        let forgotten: Vec<String> = chain.tombstones.values().flat_map(|t| &t.forgotten).map(ObjectId::hex).collect();
        assert_eq!(forgotten, expected.forgotten, "{fixture}");
        let ids: Vec<String> = chain.snapshots.iter().map(|snapshot| snapshot.id.hex()).collect();
        assert_eq!(ids, expected.snapshots.iter().map(|snapshot| snapshot.id.clone()).collect::<Vec<_>>(), "{fixture}");
        for (snapshot, expected) in chain.snapshots.iter().zip(expected.snapshots) {
            assert_eq!(snapshot.record.source, expected.source, "{fixture}");
            let target = tempfile::tempdir().unwrap();
            let problems = restore(&repository, snapshot, target.path()).await;
            assert!(problems.iter().all(&may), "{fixture}: {problems:?}");
            let (restored, expected) = (part(capture(target.path())), part(expected.entries));
            for (restored, expected) in restored.iter().zip(&expected) {
                assert_eq!(restored, expected, "{fixture}: snapshot {}", snapshot.id.hex());
            }
            assert_eq!(restored.len(), expected.len(), "{fixture}: snapshot {}", snapshot.id.hex());
        }
    }
}

#[test]
fn every_version_of_the_format_has_a_frozen_repository() {
    let found = all_fixtures();
    for version in 1..=FORMAT_VERSION {
        assert!(found.iter().any(|(of, _)| *of == version), "no fixtures/format/v{version}-…: freeze a repository");
    }
    for (version, fixture) in found {
        assert!(version <= FORMAT_VERSION, "{} is of a version that this program does not know", fixture.display());
        assert_eq!(expected(&fixture).format, version, "{}", fixture.display());
        let format: serde_json::Value =
            serde_json::from_slice(&fs::read(fixture.join("repository/format.json")).unwrap()).unwrap();
        assert_eq!(format["version"], version, "{}", fixture.display());
    }
}

/// What a drill of a source came to.
pub fn rehearsal(snapshot: ObjectId, source: &str, host: &str) -> RehearsalRecord {
    let time = Time(1_732_000_000_000);
    let source = RehearsedSource {
        source: source.to_owned(),
        snapshot,
        started: time,
        age: 3600,
        bytes: 12,
        took: Some(2500),
        part: None,
    };
    RehearsalRecord {
        run: "5f0c1d2e".to_owned(),
        begun: time,
        ended: time.after(Duration::from_secs(3)),
        outcome: Rehearsed::Missed,
        runbook: Some(RehearsedBook { id: "total-loss".to_owned(), digest: "ab".repeat(32) }),
        sources: vec![source],
        target: RehearsalTarget::Cluster,
        took: Some(2500),
        rto: Some(2),
        rpo: None,
        checks: 3,
        held: 3,
        left_out: 1,
        remarks: vec!["not verified: PostgreSQL pg".to_owned()],
        why: String::new(),
        recipient: "age1test".to_owned(),
        host: host.to_owned(),
        program: "0.1.0".to_owned(),
        left_behind: vec!["volume pvc-1".to_owned()],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frozen_rehearsal_says_what_was_recorded() {
    let repository = open(&fixtures().join("v1-rehearsed")).await;
    let writer = repository.writer().await;
    let found = record::load(&writer).await.unwrap();
    assert!(found.unreadable.is_empty(), "{found:?}");
    let snapshot = repository.snapshots().await[0].id;
    let all: Vec<_> = found.all.into_iter().map(|(_, record)| record).collect();
    assert_eq!(all, [rehearsal(snapshot, "small", "test")]);
}

/// A snapshot and a drill of it. Run by hand: `cargo test --test it make_rehearsed_fixture -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a fixture, by hand"]
async fn make_rehearsed_fixture() {
    let fixture = begin("rehearsed").await;
    let repository = open(&fixture).await;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "rehearsed").unwrap();
    let entries = vec![capture(&source)];
    let snapshot = repository.backup(&source, "small").await;
    let owner = repository.owner().await;
    record::store(&owner, &rehearsal(snapshot.snapshot.unwrap(), "small", "test"), repository.clock.now())
        .await
        .unwrap();
    finish(&fixture, &repository, entries, Vec::new()).await;
}

/// Fills an empty directory with at least one of everything. It compresses well, for the repository is kept for ever.
fn build(dir: &Path) {
    let at = |name: &str| dir.join(name);
    let raw = |name: &[u8]| dir.join(std::ffi::OsStr::from_bytes(name));
    for sub in ["a", "small", "many", "z/deep"] {
        fs::create_dir_all(at(sub)).unwrap();
    }
    // 24 blocks of 64 KiB: too many pieces for the entry itself.
    let mut database = b"SQLite format 3\0".to_vec();
    database.extend((0..1_536_u32 * 1024 / 4 - 4).map(|n| n / 64).flat_map(u32::to_le_bytes));
    fs::write(at("database"), &database).unwrap();
    // Cut by content, into a few chunks.
    let text: String = (0..60_000_u32).map(|n| format!("line {}\n", n / 7)).collect();
    fs::write(at("text"), text).unwrap();
    for (n, name) in ["one", "two", "three"].iter().enumerate() {
        fs::write(at("small").join(name), format!("small file {n}\n").repeat(40 * (n + 1))).unwrap();
    }
    for n in 0..EMPTY_FILES {
        fs::write(at(&format!("many/{n:03}")), b"").unwrap();
    }
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&[7; 64 << 10], 1 << 20).unwrap();
    sparse.write_all_at(&[8; 64 << 10], 2 << 20).unwrap();
    sparse.set_len((3 << 20) + 123).unwrap();
    File::create(at("only-a-hole")).unwrap().set_len(1 << 20).unwrap();
    fs::write(at("a/first-name"), b"one file, two names").unwrap();
    fs::hard_link(at("a/first-name"), at("z/deep/second-name")).unwrap();
    for (name, content) in [("a!", "sorts after what is in a"), ("a.b", "so does this"), ("suid", "#!")] {
        fs::write(at(name), content).unwrap();
    }
    fs::set_permissions(at("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(raw(b"not \xff\xfe utf-8 \n"), b"raw name").unwrap();
    symlink("no/such/file", at("dangling")).unwrap();
    symlink(std::ffi::OsStr::from_bytes(b"raw \xff target"), at("raw-link")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).unwrap();
    mknodat(CWD, at("loop200"), FileType::BlockDevice, Mode::from_raw_mode(0o660), makedev(7, 200)).unwrap();
    std::os::unix::fs::chown(at("a.b"), Some(1234), Some(5678)).unwrap();
    setxattr(at("text"), "user.comment", b"\0binary\xff", XattrFlags::empty()).unwrap();
    setxattr(at("a"), "user.empty", b"", XattrFlags::empty()).unwrap();
    for entry in capture(dir).iter().filter(|entry| entry.path.starts_with("many/")) {
        time(&at(&entry.path), 1_500_000_000, 0);
    }
    time(&at("text"), -86_401, 123_456_789);
    time(&at("dangling"), -1, 999_999_999);
    for (nanos, sub) in ["a", "small", "many", "z/deep", "z"].iter().enumerate() {
        time(&at(sub), 1_234_567_890, i64::try_from(nanos).unwrap());
    }
    time(dir, 1_111_111_111, 1);
}

/// What happens to the source before the second snapshot.
fn change(dir: &Path) {
    let database = File::options().write(true).open(dir.join("database")).unwrap();
    database.write_all_at(b"changed in place", 700 << 10).unwrap();
    fs::write(dir.join("small/two"), b"changed\n").unwrap();
    fs::write(dir.join("small/four"), b"new\n").unwrap();
    fs::remove_file(dir.join("z/deep/second-name")).unwrap();
    fs::remove_file(dir.join("many/300")).unwrap();
}

/// Two snapshots, a forgotten one, a mark, a checkpoint, a drill and a verified record. Run by hand, as root, once for each fixture:
/// `cargo test --test it make_fixture -- --ignored`. It refuses to replace one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a fixture, by hand"]
async fn make_fixture() {
    let fixture = begin("verified").await;
    let repository = open(&fixture).await;
    let (clock, key, store) = (repository.clock.clone(), &repository.key, repository.store.clone());

    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    build(&source);
    let mut entries = vec![capture(&source)];
    let first = repository.backup(&source, "basic").await;
    assert!(first.record.root.level > 0, "no node in the tree: try again");
    change(&source);
    entries.push(capture(&source));
    repository.backup(&source, "basic").await;
    repository.backup(&source.join("small"), "forgotten").await;

    let writer = repository.writer().await;
    let chain = Chain::load(&writer).await.unwrap();
    let forgotten = chain.snapshots.last().unwrap().id;
    let host = "test".to_owned();
    let tombstone = Tombstone { link: chain.next_link(), created: clock.now(), forgotten: vec![forgotten], host };
    snapshots::put(&writer, &ChainRecord::Tombstone(tombstone), None).await.unwrap();
    let gone = layout::named(layout::SNAPSHOTS, &forgotten);
    fs::remove_file(fixture.join("repository").join(gone.as_str())).unwrap();
    // Of nothing that is there, so that no later test is told to leave something alone.
    let nothing = layout::pack(&ObjectId::new([0xee; 32]));
    let meta = MetaKeys::new(key.repository, key.epoch, key.metadata_key.duplicate());
    let mark = DoomMark { objects: vec![nothing.as_str().to_owned()], created: clock.now() };
    sealed::put(&*store, &meta, RecordKind::Doomed, layout::DOOMED, &mark, None).await.unwrap();
    let checkpoint = Checkpoint { packs: vec![ObjectId::new([0xee; 32])], created: clock.now() };
    sealed::put(&*store, &meta, RecordKind::Checkpoint, layout::CHECKPOINTS, &checkpoint, None).await.unwrap();
    homelab_dr::keys::drill(&repository.owner().await, "test", &*clock).await.unwrap();
    let ids: Vec<ObjectId> = repository.snapshots().await.iter().map(|snapshot| snapshot.id).collect();
    homelab_dr::verified::record(&*repository.owner().await, &ids, &[], "test", &*clock).await.unwrap();

    finish(&fixture, &repository, entries, vec![forgotten.hex()]).await;
}

/// The directory of a new fixture, with keys and an empty repository.
async fn begin(name: &str) -> PathBuf {
    let fixture = fixtures().join(format!("v{FORMAT_VERSION}-{name}"));
    fs::create_dir(&fixture).expect("no fixture of that name");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store: Arc<dyn Store> = Arc::new(FileStore::create(fixture.join("repository")).await.unwrap());
    let identity = generate_identity();
    let key = create(&store, std::slice::from_ref(&identity.recipient), Duration::ZERO, &*clock).await.unwrap();
    let warning = "# TEST KEY. It is public and protects nothing but this fixture.";
    fs::write(fixture.join("TEST-identity.txt"), format!("{warning}\n{}", identity.file_text(clock.now()).expose()))
        .unwrap();
    fs::write(fixture.join("TEST-writer-key.txt"), format!("{}\n", *key.to_text())).unwrap();
    fixture
}

/// Writes what is expected of the snapshots that are there.
async fn finish(fixture: &Path, repository: &TestRepository, entries: Vec<Vec<Seen>>, forgotten: Vec<String>) {
    let snapshots = repository.snapshots().await.into_iter().zip(entries);
    let snapshots = snapshots.map(|(snapshot, entries)| ExpectedSnapshot {
        id: snapshot.id.hex(),
        source: snapshot.record.source,
        entries,
    });
    let expected = Expected {
        format: FORMAT_VERSION,
        fingerprint: repository.key.fingerprint().to_string(),
        snapshots: snapshots.collect(),
        forgotten,
    };
    // One line an entry.
    let text = serde_json::to_string(&expected).unwrap().replace(r#"{"path""#, "\n{\"path\"");
    fs::write(fixture.join("expected.json"), text + "\n").unwrap();
    fs::remove_dir_all(fixture.join("repository/.tmp")).ok();
}

/// A database in use with a log, one that could not be captured, and the data of a server that was not shut down. What is expected is what a restore gave,
/// for a copy of a database is in no file of the source. Run by hand, as root: `cargo test --test it make_live_fixture -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a fixture, by hand"]
async fn make_live_fixture() {
    let fixture = begin("live").await;
    let repository = open(&fixture).await;
    let (dir, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = dir.path().join("source");
    let at = |name: &str| source.join(name);
    fs::create_dir_all(at("pg/base")).unwrap();
    fs::create_dir(at("pg/global")).unwrap();
    for (name, bytes) in
        [("pg/PG_VERSION", &b"15"[..]), ("pg/global/pg_control", &[0; 512]), ("pg/postmaster.pid", b"1")]
    {
        fs::write(at(name), bytes).unwrap();
    }
    fs::write(at("encrypted"), [7; 4096]).unwrap();
    fs::write(at("encrypted-wal"), b"\x37\x7f\x06\x82").unwrap();
    fs::write(at("plain"), "beside them").unwrap();
    let db = rusqlite::Connection::open(at("app.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE t(x); INSERT INTO t VALUES ('in the log')").unwrap();
    let live = Some(homelab_dr::tree::live::LiveOptions::default());
    let options = homelab_dr::backup::BackupOptions { live, ..crate::support::repository::options(&source, "live") };
    let context = repository.context(repository.writer().await);
    let report = homelab_dr::backup::run_backup(&context, &options).await.unwrap();
    let how: Vec<_> = report.databases.iter().map(|(path, how)| (path.display(), how.name())).collect();
    let expected = [("app.db", "sqlite-backup"), ("encrypted", "sqlite-as-found"), ("pg", "postgres-left-out")];
    assert_eq!(how, expected.map(|(path, how)| (path.to_owned(), how)));
    let problems = restore(&repository, &repository.snapshots().await[0], target.path()).await;
    assert_eq!(problems, Vec::<String>::new());
    let entries = capture(target.path());
    let names: Vec<&str> = entries.iter().map(|seen| seen.path.as_str()).collect();
    assert_eq!(names, ["", "app.db", "encrypted", "encrypted-wal", "pg", "plain"]);
    finish(&fixture, &repository, vec![entries], Vec::new()).await;
    let said =
        rusqlite::Connection::open(target.path().join("app.db"))
            .unwrap()
            .query_row("SELECT x FROM t", (), |row| row.get(0));
    assert_eq!(said, Ok("in the log".to_owned()));
    drop(db);
}
