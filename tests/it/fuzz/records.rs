//! Packs and records: what is inside the seals.

use homelab_dr::base::clock::Time;
use homelab_dr::base::id::{ObjectId, RepositoryId};
use homelab_dr::format::pack::{self, IndexSegment, PACK_BYTES_MAX, PackClass, PackTable};
use homelab_dr::format::parity::{self, Group, Header, Member};
use homelab_dr::format::record::{
    self, AccessRecord, ChainRecord, Checkpoint, DoomMark, EpochKeys, EpochRecord, FormatFile, KeyDrill,
    RehearsalRecord, RehearsalTarget, Rehearsed, RehearsedBook, RehearsedSource, SessionRecord, SignedEpoch, Tombstone,
    VerifiedRecord,
};
use homelab_dr::repo::index::IndexBuilder;
use homelab_dr::repo::snapshots::{Chain, Snapshot};
use minicbor::{Decode, Encode};

use crate::fuzz::mutate::Shape;
use crate::fuzz::{IN_PROPORTION, Memory, fuzz, samples};

/// Decodes, and if that gives a value: what is written of it is read as the same value.
pub(super) fn cbor<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    let value = minicbor::decode::<T>(bytes).ok()?;
    let once = minicbor::to_vec(&value).expect("memory");
    let again = minicbor::decode::<T>(&once).expect("what was written");
    assert_eq!(minicbor::to_vec(&again).expect("memory"), once, "written again it is something else");
    Some(value)
}

/// The same for a record with its padding.
fn padded<T: Encode<()> + for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Option<T> {
    let value = record::decode::<T>(bytes).ok()?;
    let once = record::encode(&value, 45);
    let again = record::decode::<T>(&once).expect("what was written");
    assert_eq!(record::encode(&again, 45), once, "written again it is something else");
    Some(value)
}

/// `sample` decodes to itself, byte for byte; then mutations of it. The records of a stored object are padded to 4 KiB at least.
fn record_type<T: Encode<()> + for<'b> Decode<'b, ()>>(name: &str, samples: &[T], check: impl Fn(T)) {
    let corpus: Vec<Vec<u8>> = samples.iter().map(|sample| record::encode(sample, 45)).collect();
    for sample in &corpus {
        let value = record::decode::<T>(sample).expect("what was written");
        assert!(record::encode(&value, 45) == *sample, "{name}: not what was written");
    }
    fuzz(name, Shape::Record, &corpus, IN_PROPORTION, |bytes| padded(bytes).map(&check).is_some());
}

#[test]
fn pack_header() {
    let corpus = [
        pack::header(PackClass::Content, &[(1, [7; 112]), (2, [8; 112])]),
        pack::header(PackClass::Metadata, &[]),
        [pack::header(PackClass::Content, &[(u32::MAX, [0; 112])]), vec![1; 5000]].concat(),
    ];
    fuzz("pack_header", Shape::Raw, &corpus, IN_PROPORTION, |bytes| {
        let Ok((class, wraps)) = pack::parse_header(bytes) else { return false };
        let again = pack::header(class, &wraps);
        assert!(bytes.starts_with(&again), "the header is not what it was read from");
        true
    });
}

/// What `check` lets pass can be used without a look: whole, in order, within any pack, of sessions that are there.
fn is_sound(table: &PackTable) {
    let records: Vec<_> = table.records().collect();
    assert_eq!(records.len(), table.len());
    assert!(records.iter().all(|record| record.end() <= PACK_BYTES_MAX as u64 && record.length > 0));
    assert!(records.is_sorted_by(|a, b| a.end() <= u64::from(b.offset)));
    assert!(records.iter().all(|record| if record.kind.is_metadata() {
        record.session == 0
    } else {
        usize::from(record.session) < table.sessions.len()
    }));
}

#[test]
fn pack_table() {
    let corpus: Vec<_> = samples::tables().iter().map(|table| minicbor::to_vec(table).expect("memory")).collect();
    fuzz("pack_table", Shape::Cbor, &corpus, IN_PROPORTION, |bytes| {
        let Some(table) = cbor::<PackTable>(bytes).filter(|table| table.check().is_ok()) else { return false };
        is_sound(&table);
        true
    });
}

#[test]
fn index_segment() {
    record_type("index_segment", &[samples::segment(), IndexSegment::default()], |segment: IndexSegment| {
        if segment.packs.iter().any(|pack| pack.table.check().is_err()) {
            return;
        }
        let mut builder = IndexBuilder::default();
        for pack in &segment.packs {
            builder.add(pack);
        }
        let index = builder.finish(vec![]);
        for indexed in index.iter() {
            let found = index.find(&indexed.id).expect("it was added");
            let pack = index.pack(found.pack).expect("a pack");
            assert!(segment.packs.iter().any(|segment| segment.id == pack.id
                && segment.table.records().any(|r| r.id == indexed.id && r.offset == found.offset)));
        }
    });
}

#[test]
fn chain() {
    let tombstone = Tombstone {
        link: samples::snapshot().link,
        created: Time(-1),
        forgotten: samples::objects(3),
        host: "nas".to_owned(),
    };
    let samples = [ChainRecord::Snapshot(Box::new(samples::snapshot())), ChainRecord::Tombstone(tombstone)];
    record_type("chain", &samples, |record| {
        let id = ObjectId::new([1; 32]);
        let mut chain = Chain::default();
        match record {
            ChainRecord::Snapshot(record) => {
                let _ = format!("{} {}", record.started, record.finished.since(record.started).as_secs());
                chain.snapshots.push(Snapshot { id, record: *record });
            }
            ChainRecord::Tombstone(tombstone) => drop(chain.tombstones.insert(id, tombstone)),
        }
        assert!(chain.next_link().sequence > 0);
        let _ = chain.gaps();
    });
}

#[test]
fn session_record() {
    record_type("session_record", &[SessionRecord { epoch: 1, wrap: vec![7; 112], created: Time(1) }], drop);
}

fn epoch() -> EpochRecord {
    EpochRecord {
        number: 1,
        public: [1; 32],
        metadata_commitment: [2; 32],
        recipients_hash: [3; 32],
        created: Time(0),
        lock_seconds: u64::MAX,
        accepted_from: Some(1),
    }
}

#[test]
fn signed_epoch() {
    let body = minicbor::to_vec(epoch()).expect("memory");
    record_type("signed_epoch", &[SignedEpoch { body, signature: vec![9; 64] }], |signed: SignedEpoch| {
        cbor::<EpochRecord>(&signed.body);
    });
}

#[test]
fn epoch_record() {
    record_type("epoch_record", &[epoch()], drop);
}

#[test]
fn access_record() {
    let keys = |number| EpochKeys { number, metadata_key: samples::secret(1), private: samples::secret(2) };
    let access = AccessRecord {
        repository: samples::REPOSITORY,
        root: samples::secret(3),
        chunk_id_key: samples::secret(4),
        chunker_key: samples::secret(5),
        epochs: vec![keys(1), keys(2)],
        recipients: vec!["age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa".to_owned()],
        generation: u64::MAX,
        created: Time(i64::MIN),
    };
    record_type("access_record", &[access], drop);
}

#[test]
fn checkpoint_doom_mark_drill_and_verified() {
    record_type("checkpoint", &[Checkpoint { packs: samples::objects(5), created: Time(5) }], drop);
    let objects = vec!["packs/aa/bb".to_owned(), "index/cc".to_owned()];
    record_type("doom_mark", &[DoomMark { objects, created: Time(i64::MAX) }], drop);
    let drill = KeyDrill {
        at: Time(1),
        recipient: "age1".to_owned(),
        host: "laptop".to_owned(),
        snapshot: Some(ObjectId::new([1; 32])),
        heads: samples::objects(2),
    };
    record_type("key_drill", &[drill], drop);
    let verified = |count, damaged: Option<u8>| VerifiedRecord {
        at: Time(-7),
        snapshots: samples::objects(count),
        host: "nas".to_owned(),
        damaged: damaged.map(samples::objects),
        chain: damaged.map(|count| samples::objects(count + 1)),
    };
    record_type("verified", &[verified(1, None), verified(200, Some(3)), verified(0, Some(1))], drop);
    let source = |id| RehearsedSource {
        source: "pvc/media/data".to_owned(),
        snapshot: id,
        started: Time(3),
        age: 60,
        bytes: 7,
        took: Some(5),
        part: (id == ObjectId::new([1; 32])).then_some(true),
    };
    let rehearsal = |outcome, count| RehearsalRecord {
        run: "5f0c1d2e".to_owned(),
        begun: Time(-7),
        ended: Time(9),
        outcome,
        runbook: (count > 1).then(|| RehearsedBook { id: "total-loss".to_owned(), digest: "ab".repeat(32) }),
        sources: samples::objects(count).into_iter().map(source).collect(),
        target: if count > 1 { RehearsalTarget::Cluster } else { RehearsalTarget::Folder },
        took: None,
        rto: Some(3600),
        rpo: None,
        checks: 4,
        held: 3,
        left_out: 2,
        remarks: vec!["not verified: PostgreSQL pg".to_owned()],
        why: "step one: it failed".to_owned(),
        recipient: String::new(),
        host: "nas".to_owned(),
        program: "0.1.0".to_owned(),
        left_behind: Vec::new(),
    };
    record_type("rehearsal", &[rehearsal(Rehearsed::Failed, 1), rehearsal(Rehearsed::Stopped, 40)], drop);
}

#[test]
fn parity_header() {
    let member = |n: u8, length| Member { pack: ObjectId::new([n; 32]), length };
    let header = |members: Vec<Member>, parity, number| {
        let group = Group { repository: samples::REPOSITORY, stripe: 4096, parity, members };
        let hashes = |length: u32| vec![[length.to_le_bytes()[0]; 16]; group.stripes(length)];
        let members = group.members.iter().map(|member| hashes(member.length)).collect();
        let own = hashes(group.shard_bytes());
        Header { group, number, members, own }.encode()
    };
    let corpus = [
        header(vec![member(1, 1)], 1, 0),
        header(vec![member(1, 9000), member(2, 5), member(200, 70_000)], 3, 2),
        [header((1..=20).map(|n| member(n, 4096)).collect(), 2, 1), vec![7; 5000]].concat(),
    ];
    // A mutation breaks the checksum: most are made good again, so that what the header says is read.
    let made_good = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if let Ok(length) = parity::header_bytes(&bytes)
            && let Some(hashed) = bytes.get(..length - 32)
        {
            let checksum = *blake3::hash(hashed).as_bytes();
            if let Some(place) = bytes.get_mut(length - 32..length) {
                place.copy_from_slice(&checksum);
            }
        }
        bytes
    };
    fuzz("parity_header", Shape::Raw, &corpus, IN_PROPORTION, |bytes| {
        let bytes = made_good(bytes);
        let Ok(header) = Header::parse(&bytes) else { return false };
        let again = header.encode();
        assert!(bytes.starts_with(&again) && again.len() == header.group.header_bytes(), "not what it was read from");
        assert!(header.number < header.group.parity && header.group.check().is_ok());
        assert!(header.group.members.iter().all(|member| header.group.number(&member.pack).is_some()));
        assert_eq!(Header::parse_object(&bytes, header.group.object_bytes()), Ok(header));
        true
    });
}

#[test]
fn format_file() {
    let file = FormatFile { magic: "homelab-dr".to_owned(), version: 1, repository: samples::REPOSITORY.hex() };
    let corpus = [serde_json::to_vec_pretty(&file).expect("memory"), serde_json::to_vec(&file).expect("memory")];
    let words =
        ["\"version\"", "{", "[", "1e999", "-1", "18446744073709551616", "null", "\\ud800", "\u{fffd}", ":", ","];
    fuzz("format_file", Shape::Text(&words), &corpus, Memory { fixed: 64 << 10, each: 16 }, |bytes| {
        let Ok(file) = serde_json::from_slice::<FormatFile>(bytes) else { return false };
        let once = serde_json::to_vec(&file).expect("memory");
        assert_eq!(serde_json::from_slice::<FormatFile>(&once).expect("what was written"), file);
        if let Ok(id) = file.repository.parse::<RepositoryId>() {
            assert_eq!(id.hex().parse(), Ok(id));
        }
        true
    });
}
