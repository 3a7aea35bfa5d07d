//! A pack: many sealed blobs in one object, with a sealed table of what lies where. docs/format.md §6.
//!
//! ```text
//! pack    = header ‖ blobs ‖ table ‖ trailer
//! header  = version u8 = 1 ‖ class u8 (1 content, 2 metadata) ‖ count u16le ‖ count × (epoch u32le ‖ wrap [112])
//! table   = sealed record (kind 16): blob records and sessions, padded so that the whole pack has a padded size
//! trailer = sealed record (kind 17) of: table offset u32le ‖ table length u32le ‖ the table's number [32]     (85 bytes)
//! record  = id [32] ‖ kind u8 ‖ session u16le ‖ offset u32le ‖ length u32le ‖ plain length u32le ‖ BLAKE3 of the sealed bytes [32]   (79 bytes)
//! ```
//! This module knows the layout of the plain parts; sealing is `crypto`'s, putting them together `repo`'s.

use minicbor::{Decode, Encode};

use crate::base::id::{BlobId, ObjectId, SessionId};
use crate::format::kind::Kind;

/// Largest pack that is written or read, in bytes; bounds what a reader allocates.
pub const PACK_BYTES_MAX: usize = 64 << 20;
/// Longest plaintext of a blob, in bytes.
pub const BLOB_BYTES_MAX: usize = 8 << 20;
/// Bytes of one blob record.
pub const RECORD_BYTES: usize = 79;
/// Version of the layout.
const VERSION: u8 = 1;
/// Bytes of a header without wraps.
pub const HEADER_BYTES_MIN: usize = 4;
/// Bytes of one wrapped session in the header.
pub const HEADER_WRAP_BYTES: usize = 4 + 112;

/// What a pack holds; content and metadata are apart, so that metadata can be read without fetching content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PackClass {
    /// Data blobs, with the wrapped keys of their sessions.
    Content,
    /// Leaves, nodes and lists.
    Metadata,
}

/// Where a blob lies in its pack, as the pack's table and the index have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobRecord {
    /// Its id.
    pub id: BlobId,
    /// What it is.
    pub kind: Kind,
    /// Which of the pack's sessions sealed it; 0 for metadata.
    pub session: u16,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How many there are.
    pub length: u32,
    /// Length of its plaintext.
    pub plain_length: u32,
    /// BLAKE3 of its sealed bytes, so that anyone with the index can check and move it.
    pub sealed_hash: [u8; 32],
}

/// An epoch and a content key wrapped to it.
pub type Wrap = (u32, [u8; 112]);

/// The sessions and blobs of a pack.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct PackTable {
    /// The sessions that sealed its content, in the order of the header's wraps.
    #[n(0)]
    pub sessions: Vec<SessionId>,
    /// The blobs in the order of their offsets, [`RECORD_BYTES`] each.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    records: Vec<u8>,
}

/// A pack or table that breaks the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Cut off.
    #[error("the pack is cut short")]
    Short,
    /// Of a later format.
    #[error("the pack has version {0}, which this program does not know")]
    Version(u8),
    /// Neither content nor metadata.
    #[error("the pack has class {0}, which this program does not know")]
    Class(u8),
    /// A table whose records are not whole, not in order, or lie outside.
    #[error("the pack's table is not well-formed")]
    Table,
}

impl BlobRecord {
    /// Where its sealed bytes end.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.id.as_bytes());
        out.push(self.kind.number());
        out.extend_from_slice(&self.session.to_le_bytes());
        for number in [self.offset, self.length, self.plain_length] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.sealed_hash);
    }

    fn read(raw: &[u8; RECORD_BYTES]) -> Option<Self> {
        let (id, rest) = raw.split_first_chunk::<32>()?;
        let (kind, rest) = rest.split_first()?;
        let (session, rest) = rest.split_first_chunk::<2>()?;
        let (offset, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (plain, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            id: BlobId::new(*id),
            kind: Kind::from_number(*kind)?,
            session: u16::from_le_bytes(*session),
            offset: u32::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            plain_length: u32::from_le_bytes(*plain),
            sealed_hash: rest.try_into().ok()?,
        })
    }
}

impl PackTable {
    /// A table of `records`, in the order of their offsets.
    #[must_use]
    pub fn new(sessions: Vec<SessionId>, records: &[BlobRecord]) -> Self {
        let mut raw = Vec::with_capacity(records.len() * RECORD_BYTES);
        for record in records {
            record.write(&mut raw);
        }
        Self { sessions, records: raw }
    }

    /// How many blobs it names.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len() / RECORD_BYTES
    }

    /// Whether it names none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Checks it as a foreign value: whole records, known kinds, in order, not overlapping, plausible lengths, sessions that are there.
    pub fn check(&self) -> Result<(), PackError> {
        let (whole, rest) = self.records.as_chunks::<RECORD_BYTES>();
        if !rest.is_empty() {
            return Err(PackError::Table);
        }
        let mut end = (HEADER_BYTES_MIN + self.sessions.len() * HEADER_WRAP_BYTES) as u64;
        for raw in whole {
            let record = BlobRecord::read(raw).ok_or(PackError::Table)?;
            // Content has sessions and metadata has none; the two are never in one pack.
            let session_known = if record.kind.is_metadata() {
                record.session == 0 && self.sessions.is_empty()
            } else {
                usize::from(record.session) < self.sessions.len()
            };
            let plausible = record.plain_length as usize <= BLOB_BYTES_MAX && record.length > 0;
            if u64::from(record.offset) < end || !session_known || !plausible || record.end() > PACK_BYTES_MAX as u64 {
                return Err(PackError::Table);
            }
            end = record.end();
        }
        Ok(())
    }

    /// The blobs; what [`PackTable::check`] would refuse is left out.
    pub fn records(&self) -> impl Iterator<Item = BlobRecord> + '_ {
        self.records.as_chunks::<RECORD_BYTES>().0.iter().filter_map(BlobRecord::read)
    }
}

/// The header of a pack with the wrapped keys of `sessions` (epoch and wrap).
#[must_use]
pub fn header(class: PackClass, sessions: &[Wrap]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES_MIN + sessions.len() * HEADER_WRAP_BYTES);
    out.push(VERSION);
    out.push(match class {
        PackClass::Content => 1,
        PackClass::Metadata => 2,
    });
    out.extend_from_slice(&u16::try_from(sessions.len()).unwrap_or(u16::MAX).to_le_bytes());
    for (epoch, wrap) in sessions {
        out.extend_from_slice(&epoch.to_le_bytes());
        out.extend_from_slice(wrap);
    }
    out
}

/// What [`header`] wrote at the start of `pack`: its class and wrapped sessions.
pub fn parse_header(pack: &[u8]) -> Result<(PackClass, Vec<Wrap>), PackError> {
    let (head, rest) = pack.split_first_chunk::<HEADER_BYTES_MIN>().ok_or(PackError::Short)?;
    let [version, class, low, high] = *head;
    if version != VERSION {
        return Err(PackError::Version(version));
    }
    let class = match class {
        1 => PackClass::Content,
        2 => PackClass::Metadata,
        other => return Err(PackError::Class(other)),
    };
    let count = usize::from(u16::from_le_bytes([low, high]));
    let wraps = rest.get(..count * HEADER_WRAP_BYTES).ok_or(PackError::Short)?;
    let sessions = wraps
        .as_chunks::<HEADER_WRAP_BYTES>()
        .0
        .iter()
        .filter_map(|raw| {
            let (epoch, wrap) = raw.split_first_chunk::<4>()?;
            Some((u32::from_le_bytes(*epoch), wrap.try_into().ok()?))
        })
        .collect();
    Ok((class, sessions))
}

/// A pack as the index has it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct IndexedPack {
    /// The pack's id.
    #[n(0)]
    pub id: ObjectId,
    /// Its stored size in bytes.
    #[n(1)]
    pub size: u64,
    /// Its table.
    #[n(2)]
    pub table: PackTable,
}

/// An index segment: some packs with their tables.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct IndexSegment {
    /// The packs.
    #[n(0)]
    pub packs: Vec<IndexedPack>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u32, length: u32) -> BlobRecord {
        BlobRecord {
            id: BlobId::new([1; 32]),
            kind: Kind::Data,
            session: 0,
            offset,
            length,
            plain_length: 10,
            sealed_hash: [2; 32],
        }
    }

    #[test]
    fn header_and_table_go_both_ways() {
        let sessions = [(1, [7; 112]), (2, [8; 112])];
        let mut raw = header(PackClass::Content, &sessions);
        raw.extend_from_slice(b"blobs");
        assert_eq!(parse_header(&raw), Ok((PackClass::Content, sessions.to_vec())));
        let records = [record(300, 10), record(310, 20)];
        let table = PackTable::new(vec![SessionId::new([9; 32])], &records);
        assert_eq!(table.check(), Ok(()));
        assert_eq!((table.len(), table.is_empty()), (2, false));
        let none = PackTable::new(vec![], &[]);
        assert_eq!((none.len(), none.is_empty()), (0, true));
        let coded = minicbor::to_vec(&table).expect("memory");
        let back: PackTable = minicbor::decode(&coded).expect("what was written");
        assert!(back.records().eq(records));
    }

    #[test]
    fn tables_that_lie_are_refused() {
        let session = vec![SessionId::new([9; 32])];
        let overlapping = [record(300, 10), record(305, 10)];
        let outside = [record(u32::MAX - 5, 10)];
        let header = [record(0, 10)];
        for records in [&overlapping[..], &outside, &header] {
            assert_eq!(PackTable::new(session.clone(), records).check(), Err(PackError::Table));
        }
        assert_eq!(PackTable::new(vec![], &[record(300, 10)]).check(), Err(PackError::Table), "no such session");
        let ragged = PackTable { sessions: session, records: vec![0; RECORD_BYTES + 1] };
        assert_eq!(ragged.check(), Err(PackError::Table));
    }

    #[test]
    fn foreign_headers_are_errors() {
        assert_eq!(parse_header(&[]), Err(PackError::Short));
        assert_eq!(parse_header(&[2, 1, 0, 0]), Err(PackError::Version(2)));
        assert_eq!(parse_header(&[1, 9, 0, 0]), Err(PackError::Class(9)));
        assert_eq!(parse_header(&[1, 1, 255, 255]), Err(PackError::Short));
    }

    #[test]
    fn a_table_may_go_to_the_limits_and_no_further() {
        let checked = |sessions: u8, change: &dyn Fn(&mut BlobRecord)| {
            let mut changed = record(300, 10);
            change(&mut changed);
            PackTable::new((0..sessions).map(|n| SessionId::new([n; 32])).collect(), &[changed]).check()
        };
        let header =
            |sessions| u32::try_from(header(PackClass::Content, &vec![(1, [7; 112]); sessions]).len()).expect("short");
        let size = u32::try_from(PACK_BYTES_MAX).expect("below 4 GiB");
        let plain = u32::try_from(BLOB_BYTES_MAX).expect("below 4 GiB");
        for (beyond, expected) in [(0, Ok(())), (1, Err(PackError::Table))] {
            assert_eq!(checked(1, &|r| r.offset = header(1) - beyond), expected, "within the header");
            assert_eq!(checked(2, &|r| r.offset = header(2) - beyond), expected, "within the header");
            assert_eq!(checked(1, &|r| r.offset = size - 10 + beyond), expected, "past the end");
            assert_eq!(checked(1, &|r| r.plain_length = plain + beyond), expected, "longer than any blob");
            assert_eq!(checked(1, &|r| r.length = 1 - beyond), expected, "nothing");
            assert_eq!(checked(2, &|r| r.session = 1 + u16::try_from(beyond).expect("one")), expected, "a session");
        }
        let metadata = |sessions, session| checked(sessions, &|r| (r.kind, r.session) = (Kind::Leaf, session));
        assert_eq!(metadata(0, 0), Ok(()));
        assert_eq!([metadata(0, 1), metadata(1, 0), metadata(2, 1)], [Err(PackError::Table); 3]);
    }
}
