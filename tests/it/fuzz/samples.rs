//! Real values, of every type that is stored.

use homelab_dr::base::clock::Time;
use homelab_dr::base::id::{BlobId, ObjectId, RepositoryId, SessionId};
use homelab_dr::base::secret::Secret;
use homelab_dr::format::entry::{Content, Entry, FileTime, Identity, Kind, Piece, TreePath, Xattr};
use homelab_dr::format::kind;
use homelab_dr::format::live::{How, Live, Trace};
use homelab_dr::format::pack::{BlobRecord, IndexSegment, IndexedPack, PackTable};
use homelab_dr::format::record::{Link, ProblemRecord, SnapshotRecord, Statistics, TreeRoot};

pub(super) const REPOSITORY: RepositoryId = RepositoryId::new([5; 16]);

pub(super) fn path(text: &str) -> TreePath {
    TreePath::new(text).expect(text)
}

pub(super) fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

pub(super) fn objects(count: u8) -> Vec<ObjectId> {
    (0..count).map(|n| ObjectId::new([n; 32])).collect()
}

pub(super) fn pieces() -> Vec<Piece> {
    vec![
        Piece::Data { blob: BlobId::new([7; 32]), skip: 1, length: 4 },
        Piece::Hole { length: 6 },
        Piece::Data { blob: BlobId::new([8; 32]), skip: 0, length: 1 << 20 },
    ]
}

/// One of every kind, in order.
pub(super) fn entries() -> Vec<Entry> {
    let size = pieces().iter().map(Piece::length).sum();
    let kinds = [
        Kind::Directory,
        Kind::File { size, content: Content::Inline(pieces()) },
        Kind::File { size: 1 << 40, content: Content::Lists(vec![BlobId::new([1; 32]), BlobId::new([2; 32])]) },
        Kind::HardLink { target: path("a/1") },
        Kind::Symlink { target: b"../\xff".to_vec().into() },
        Kind::CharDevice { major: 1, minor: 3 },
        Kind::BlockDevice { major: 7, minor: 200 },
        Kind::Fifo,
    ];
    let mut entries: Vec<Entry> = kinds
        .into_iter()
        .enumerate()
        .map(|(at, kind)| Entry {
            path: path(&format!("a/{at}")),
            kind,
            mode: 0o4755,
            uid: 0,
            gid: 1000,
            mtime: FileTime { seconds: -5, nanos: 999_999_999 },
            xattrs: if at == 1 {
                vec![Xattr { name: b"user.x".to_vec().into(), value: b"\0\xff".to_vec().into() }]
            } else {
                Vec::new()
            },
            identity: (at == 1).then_some(Identity { inode: 42, ctime: FileTime::default(), racy: true }),
            live: (at == 1).then(|| {
                let wal = Trace { size: 32, mtime: FileTime::default(), inode: 43 };
                Box::new(Live {
                    size: Some(4096),
                    wal: Some(wal),
                    dump: Some("pg/app".into()),
                    ..Live::new(How::BACKUP)
                })
            }),
        })
        .collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
}

fn record(session: u16, offset: u32, kind: kind::Kind) -> BlobRecord {
    let id = BlobId::new([u8::try_from(offset % 251).expect("small"); 32]);
    BlobRecord { id, kind, session, offset, length: 100, plain_length: 300, sealed_hash: [2; 32] }
}

/// Of a content pack, of a metadata pack, and of an empty one.
pub(super) fn tables() -> Vec<PackTable> {
    let sessions = vec![SessionId::new([9; 32]), SessionId::new([10; 32])];
    let content: Vec<_> = (0..20).map(|n| record(n % 2, 300 + u32::from(n) * 100, kind::Kind::Data)).collect();
    let metadata = [kind::Kind::Leaf, kind::Kind::Node, kind::Kind::List];
    let metadata: Vec<_> = (4_u32..).step_by(100).zip(metadata).map(|(at, kind)| record(0, at, kind)).collect();
    vec![PackTable::new(sessions, &content), PackTable::new(vec![], &metadata), PackTable::new(vec![], &[])]
}

pub(super) fn segment() -> IndexSegment {
    let pack = |(n, table)| IndexedPack { id: ObjectId::new([n; 32]), size: 1 << 24, table };
    IndexSegment { packs: (1..).zip(tables()).map(pack).collect() }
}

pub(super) fn snapshot() -> SnapshotRecord {
    SnapshotRecord {
        link: Link { sequence: 7, parents: objects(2) },
        source: "photos".to_owned(),
        started: Time(1_790_000_000_000),
        finished: Time(1_790_000_100_000),
        paths: vec![b"/srv/\xff".to_vec().into(), b"/home".to_vec().into()],
        root: TreeRoot { blob: BlobId::new([3; 32]), level: 2 },
        statistics: Statistics { files: 10, bytes: 1 << 33, problems: 1, ..Statistics::default() },
        problems: vec![ProblemRecord { path: b"a/b".to_vec().into(), message: "no such file".to_owned() }],
        tags: [("namespace".to_owned(), "media".to_owned()), (String::new(), "é".to_owned())].into(),
        program: "0.1.0".to_owned(),
        host: "nas".to_owned(),
        based_on: Some(ObjectId::new([4; 32])),
        device: Some(true),
        run: Some("5f0c1d2e".to_owned()),
        blocks: Some(1 << 20),
    }
}
