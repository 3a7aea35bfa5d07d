//! Records as bytes, as docs/format.md has them.

use super::*;

#[test]
fn records_are_padded_and_go_both_ways() {
    let mark = DoomMark { objects: vec!["packs/aa/bb".into()], created: Time(5) };
    let raw = encode(&mark, 45);
    assert_eq!((raw.len() + 45) % 4096, 0);
    assert_eq!(decode::<DoomMark>(&raw).expect("what was written"), mark);
    assert!(matches!(decode::<DoomMark>(&[9, 0, 0, 0, 1]), Err(RecordError::Short)));
    assert!(matches!(decode::<DoomMark>(&[1, 0, 0, 0, 1]), Err(RecordError::Cbor(_))));
}

/// The example of docs/format.md §8.7.
#[test]
fn a_verified_record_has_the_documented_bytes() {
    let record = VerifiedRecord {
        at: Time(0x0000_0193_2a4e_5c00),
        snapshots: vec![ObjectId::new([0xbb; 32])],
        host: "nas".to_owned(),
        damaged: None,
        chain: None,
    };
    let raw = encode(&record, 45);
    assert_eq!(raw.len() + 45, 4096);
    let mut expected = b"\xa3\x00\x1b\x00\x00\x01\x93\x2a\x4e\x5c\x00\x01\x81\x58\x20".to_vec();
    expected.extend_from_slice(&[0xbb; 32]);
    expected.extend_from_slice(b"\x02\x63nas");
    assert_eq!(
        raw.first_chunk(),
        u32::try_from(expected.len()).ok().map(u32::to_le_bytes).as_ref(),
        "no zeros counted"
    );
    assert_eq!(raw.get(4..4 + expected.len()), Some(&expected[..]));
    assert_eq!(decode::<VerifiedRecord>(&raw).expect("what was written"), record);
}

/// The example of docs/format.md §8.8.
#[test]
fn a_rehearsal_has_the_documented_bytes() {
    let source = RehearsedSource {
        source: "photos".to_owned(),
        snapshot: ObjectId::new([0xbb; 32]),
        started: Time(0x0000_0193_2a4e_5c00),
        age: 3600,
        bytes: 5,
        took: Some(7),
        part: None,
    };
    let record = RehearsalRecord {
        run: "5f0c1d2e".to_owned(),
        begun: Time(0x0000_0193_2a4e_5c00),
        ended: Time(0x0000_0193_2a4e_5c00),
        outcome: Rehearsed::Missed,
        runbook: None,
        sources: vec![source],
        target: RehearsalTarget::Folder,
        took: Some(9),
        rto: Some(60),
        rpo: None,
        checks: 2,
        held: 2,
        left_out: 0,
        remarks: Vec::new(),
        why: String::new(),
        recipient: "age1x".to_owned(),
        host: "nas".to_owned(),
        program: "0.1.0".to_owned(),
        left_behind: Vec::new(),
    };
    let raw = encode(&record, 45);
    assert_eq!(raw.len() + 45, 4096);
    let mut expected = b"\xb1\x00\x685f0c1d2e\x01\x1b\x00\x00\x01\x93\x2a\x4e\x5c\x00".to_vec();
    expected.extend_from_slice(b"\x02\x1b\x00\x00\x01\x93\x2a\x4e\x5c\x00\x03\x82\x01\x80");
    expected.extend_from_slice(b"\x05\x81\xa6\x00\x66photos\x01\x58\x20");
    expected.extend_from_slice(&[0xbb; 32]);
    expected.extend_from_slice(b"\x02\x1b\x00\x00\x01\x93\x2a\x4e\x5c\x00\x03\x19\x0e\x10\x04\x05\x05\x07");
    expected.extend_from_slice(b"\x06\x82\x00\x80\x07\x09\x08\x18\x3c\x0a\x02\x0b\x02\x0c\x00\x0d\x80\x0e\x60");
    expected.extend_from_slice(b"\x0f\x65age1x\x10\x63nas\x11\x650.1.0\x12\x80");
    assert_eq!(raw.get(4..4 + expected.len()), Some(&expected[..]));
    assert_eq!(decode::<RehearsalRecord>(&raw).expect("what was written"), record);
}

#[test]
fn all_epochs_are_accepted_unless_one_was_retired() {
    let (public, metadata_commitment, recipients_hash) = ([1; 32], [2; 32], [3; 32]);
    let record = |accepted_from| EpochRecord {
        number: 5,
        public,
        metadata_commitment,
        recipients_hash,
        created: Time(5),
        lock_seconds: 0,
        accepted_from,
    };
    assert_eq!([None, Some(4)].map(|from| record(from).accepted_from()), [1, 4]);
}
