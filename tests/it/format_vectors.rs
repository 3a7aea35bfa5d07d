//! The vectors of docs/format.md §13: made with the primitives alone, following the page, and read here by the program.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use homelab_dr::base::clock::{SystemClock, Time};
use homelab_dr::base::id::{BlobId, RepositoryId, SessionId};
use homelab_dr::base::secret::Secret;
use homelab_dr::compress::Unpacking;
use homelab_dr::crypto::content::{ContentKey, epoch_public};
use homelab_dr::crypto::hash::BlobHasher;
use homelab_dr::crypto::meta::{MetaKeys, Subject};
use homelab_dr::crypto::sign::{self, RootPublic};
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::format::entry::{Content, Entry, FileTime, Identity, Kind as EntryKind, Piece, TreePath, Xattr};
use homelab_dr::format::kind::{Kind, RecordKind};
use homelab_dr::format::padding::padded;
use homelab_dr::format::record::{EpochRecord, SignedEpoch};
use homelab_dr::repo::{Repository, layout, sealed};
use homelab_dr::store::Store;
use homelab_dr::store::memory::MemoryStore;
use serde_json::Value;

/// The file, and shorthand for what is in it.
struct Vectors(Value);

impl Vectors {
    fn read() -> Self {
        Self(serde_json::from_str(include_str!("../../fixtures/format/vectors.json")).unwrap())
    }

    fn key(&self, name: &str) -> Secret {
        Secret::new(fixed(&self.0["keys"][name]))
    }

    fn epoch(&self) -> u32 {
        u32::try_from(self.0["keys"]["epoch"].as_u64().unwrap()).unwrap()
    }

    fn repository(&self) -> RepositoryId {
        RepositoryId::new(fixed(&self.0["keys"]["repository"]))
    }

    fn meta(&self) -> MetaKeys {
        MetaKeys::new(self.repository(), self.epoch(), self.key("metadata_key"))
    }

    fn writer_key(&self) -> WriterKey {
        WriterKey {
            repository: self.repository(),
            root: RootPublic::of(&self.key("root_seed")),
            epoch: self.epoch(),
            metadata_key: self.key("metadata_key"),
            chunk_id_key: self.key("chunk_id_key"),
            chunker_key: self.key("chunker_key"),
        }
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0[name].as_array().unwrap()
    }
}

fn raw(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    raw(value).try_into().unwrap()
}

/// Every way to change one bit or to cut the bytes short.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let flipped = (0..bytes.len() * 8).map(|bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    flipped.chain((0..bytes.len()).map(|length| bytes[..length].to_vec()))
}

#[test]
fn public_keys_fingerprint_and_writer_key() {
    let vectors = Vectors::read();
    let (keys, writer) = (&vectors.0["keys"], vectors.writer_key());
    assert_eq!(*writer.root.as_bytes(), fixed(&keys["root_public"]));
    assert_eq!(epoch_public(&vectors.key("epoch_private")), fixed(&keys["epoch_public"]));
    assert_eq!(writer.fingerprint().to_string(), vectors.0["fingerprint"].as_str().unwrap());
    let text = vectors.0["writer_key"].as_str().unwrap();
    assert_eq!(*writer.to_text(), text);
    let parsed = WriterKey::parse(text).unwrap();
    assert_eq!((parsed.epoch, parsed.chunker_key.expose()), (258, writer.chunker_key.expose()));
}

#[test]
fn blob_ids() {
    let vectors = Vectors::read();
    let hasher = BlobHasher::new(&vectors.key("chunk_id_key"));
    for (vector, kind) in vectors.list("blob_ids").iter().zip([Kind::Data, Kind::Leaf, Kind::Node, Kind::List]) {
        assert_eq!(*hasher.blob_id(kind, &raw(&vector["plaintext"])).as_bytes(), fixed(&vector["id"]), "{kind:?}");
    }
}

#[test]
fn metadata_seals_open_and_damaged_ones_do_not() {
    let vectors = Vectors::read();
    let meta = vectors.meta();
    for vector in vectors.list("metadata_seals") {
        let (sealed, id) = (raw(&vector["sealed"]), BlobId::new(fixed(&vector["id"])));
        let subject = match vector["kind"].as_u64().unwrap() {
            3 => Subject::Blob(Kind::Node, &id),
            16 => Subject::Hidden(RecordKind::PackTable, id.as_bytes()),
            17 => Subject::Record(RecordKind::PackTrailer),
            other => panic!("no vector has kind {other}"),
        };
        assert_eq!(meta.open(subject, &sealed).unwrap(), raw(&vector["plaintext"]));
        assert!(damaged(&sealed).all(|bytes| meta.open(subject, &bytes).is_err()));
        assert!(meta.open(Subject::Record(RecordKind::Index), &sealed).is_err(), "a seal stands for another kind");
    }
}

#[test]
fn the_wrap_opens_content_and_damaged_ones_do_not() {
    let vectors = Vectors::read();
    let (private, wrap) = (vectors.key("epoch_private"), raw(&vectors.0["wrap"]["wrap"]));
    let open = |wrap: &[u8]| ContentKey::unwrap(vectors.repository(), vectors.epoch(), &private, wrap);
    let key = open(&wrap).unwrap();
    assert_eq!(key.id(), SessionId::new(fixed(&vectors.0["wrap"]["session_id"])));
    // X25519 ignores the highest bit of a public key; the key of the wrap does not.
    assert!(damaged(&wrap).all(|bytes| open(&bytes).is_err()));
    assert!(ContentKey::unwrap(vectors.repository(), vectors.epoch() + 1, &private, &wrap).is_err());

    let hasher = BlobHasher::new(&vectors.key("chunk_id_key"));
    for vector in vectors.list("content_seals") {
        let (id, sealed) = (BlobId::new(fixed(&vector["id"])), raw(&vector["sealed"]));
        let mut stored = Vec::new();
        key.open(&id, &sealed, &mut stored).unwrap();
        assert_eq!(stored, raw(&vector["stored"]));
        let mut unpacking = Unpacking::new().unwrap();
        let plain = unpacking.open(&stored, 1000).unwrap();
        assert_eq!(plain, raw(&vector["plaintext"]));
        assert_eq!(hasher.blob_id(Kind::Data, plain), id);
        assert!(damaged(&sealed).all(|bytes| key.open(&id, &bytes, &mut Vec::new()).is_err()));
        assert!(key.open(&BlobId::new([0; 32]), &sealed, &mut Vec::new()).is_err(), "a blob stands for another");
    }
}

/// The program accepts the record as that of its epoch: signature, number and commitment are as the page says.
#[tokio::test]
async fn the_epoch_record_opens_a_repository() {
    let vectors = Vectors::read();
    let (writer, vector) = (vectors.writer_key(), &vectors.0["epoch_record"]);
    let body = raw(&vector["body"]);
    let epoch: EpochRecord = minicbor::decode(&body).unwrap();
    assert_eq!(epoch.public, fixed(&vectors.0["keys"]["epoch_public"]));
    assert_eq!(epoch.metadata_commitment, fixed(&vector["metadata_key_commitment"]));
    assert_eq!(epoch.recipients_hash, fixed(&vector["recipients_hash"]));
    assert_eq!(epoch.created, Time(vector["created"].as_i64().unwrap()));
    assert_eq!(minicbor::to_vec(&epoch).unwrap(), body);
    let signature: [u8; 64] = fixed(&vector["signature"]);
    writer.root.verify(sign::EPOCH, &vectors.repository(), &body, &signature).unwrap();
    assert!(
        damaged(&body).all(|body| writer.root.verify(sign::EPOCH, &vectors.repository(), &body, &signature).is_err())
    );

    let store = MemoryStore::new(Arc::new(SystemClock));
    let format = format!("{{\"magic\": \"homelab-dr\", \"version\": 1, \"repository\": \"{}\"}}", vectors.repository());
    store.put_new(&layout::format(), Bytes::from(format), None).await.unwrap();
    let signed = SignedEpoch { body, signature: signature.to_vec() };
    let stored = sealed::seal(&vectors.meta(), RecordKind::Epoch, &signed).unwrap();
    assert_eq!(stored.len(), 4096);
    store.put_new(&layout::epoch(vectors.epoch()), stored, None).await.unwrap();
    let opened = Repository::open_with_writer(Arc::new(store), &writer).await.unwrap();
    assert_eq!(opened.fingerprint().to_string(), vectors.0["fingerprint"].as_str().unwrap());
}

#[test]
fn padded_sizes() {
    for pair in Vectors::read().list("padding") {
        let number = |at: usize| usize::try_from(pair[at].as_u64().unwrap()).unwrap();
        assert_eq!(padded(number(0)), number(1));
    }
}

#[test]
fn entries_of_every_kind_go_both_ways() {
    let blob = BlobId::new([0xbb; 32]);
    let file = |size, content| EntryKind::File { size, content };
    let path = |text: &str| TreePath::new(text).unwrap();
    let pieces = vec![Piece::Data { blob, skip: 1, length: 4 }, Piece::Hole { length: 6 }];
    let kinds = [
        ("directory", EntryKind::Directory),
        ("file of two pieces with an attribute and an identity", file(10, Content::Inline(pieces))),
        ("file in one list", file(10, Content::Lists(vec![blob]))),
        ("empty file", file(0, Content::Inline(Vec::new()))),
        ("hard link", EntryKind::HardLink { target: path("a") }),
        ("symbolic link", EntryKind::Symlink { target: b"t".to_vec().into() }),
        ("character device", EntryKind::CharDevice { major: 1, minor: 3 }),
        ("block device", EntryKind::BlockDevice { major: 8, minor: 300 }),
        ("named pipe", EntryKind::Fifo),
    ];
    let vectors = Vectors::read();
    assert_eq!(vectors.list("entries").len(), kinds.len());
    for (vector, (name, kind)) in vectors.list("entries").iter().zip(kinds) {
        assert_eq!(vector["name"], name);
        let full = name.contains("attribute");
        let attribute = Xattr { name: b"user.x".to_vec().into(), value: b"v".to_vec().into() };
        let identity = Identity { inode: 9, ctime: FileTime { seconds: 1, nanos: 2 }, racy: false };
        let entry = Entry {
            path: path("a/b"),
            kind,
            mode: 0o755,
            uid: 1000,
            gid: 100,
            mtime: FileTime { seconds: -5, nanos: 7 },
            xattrs: if full { vec![attribute] } else { Vec::new() },
            identity: full.then_some(identity),
            live: None,
        };
        let cbor = raw(&vector["cbor"]);
        assert_eq!(minicbor::to_vec(&entry).unwrap(), cbor, "{name}");
        assert_eq!(minicbor::decode::<Entry>(&cbor).unwrap(), entry, "{name}");
    }
}
