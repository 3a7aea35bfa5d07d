//! Packs in memory: filling one, closing it, and reading the table of one.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::id::{BlobId, ObjectId, SessionId};
use crate::base::pool::{Pool, Pooled};
use crate::base::secret::random;
use crate::crypto::aead::SealError;
use crate::crypto::hash::object_id;
use crate::crypto::meta::{META_OVERHEAD, MetaKeys, Subject};
use crate::format::kind::{Kind, RecordKind};
use crate::format::pack::{
    self, BlobRecord, HEADER_BYTES_MIN, HEADER_WRAP_BYTES, IndexedPack, PackClass, PackError, PackTable, Wrap,
};
use crate::format::record;
use crate::repo::error::RepoError;
use crate::repo::layout;

/// A pack is closed when it reaches this many bytes: 86 objects a GiB, and those in flight fit in the memory bound.
pub const PACK_BYTES: usize = 12 << 20;
/// Bytes of the sealed trailer.
pub const TRAILER_BYTES: usize = 4 + 4 + 32 + META_OVERHEAD;

/// A pack that is being filled.
pub struct PackBuilder {
    class: PackClass,
    wraps: Vec<Wrap>,
    sessions: Vec<SessionId>,
    /// Room for the header of one session, and the blobs.
    bytes: Pooled<Vec<u8>>,
    /// Offsets are counted from the end of the header until the pack is closed.
    records: Vec<BlobRecord>,
}

/// Buffers of packs; what is given back is filled again.
pub type PackBuffers = Arc<Pool<Vec<u8>>>;

/// Beyond the blobs: the header, and most tables.
const PACK_ROOM: usize = PACK_BYTES + (256 << 10);

/// A pack ready to be stored.
pub struct FinishedPack {
    /// Its stored bytes.
    pub bytes: Bytes,
    /// Its place in the index.
    pub indexed: IndexedPack,
}

impl PackBuilder {
    /// An empty pack.
    #[must_use]
    pub fn new(class: PackClass, buffers: &PackBuffers) -> Self {
        let bytes = buffers.buffer(0);
        Self { class, wraps: Vec::new(), sessions: Vec::new(), bytes, records: Vec::new() }
    }

    /// The header of a pack of one session, for content, as all are but those that a rescue makes.
    const fn room(&self) -> usize {
        match self.class {
            PackClass::Content => HEADER_BYTES_MIN + HEADER_WRAP_BYTES,
            PackClass::Metadata => HEADER_BYTES_MIN,
        }
    }

    /// Adds a sealed blob. `session` is the one that sealed it, for content.
    pub fn add(
        &mut self,
        kind: Kind,
        id: BlobId,
        sealed: &[u8],
        plain_length: u32,
        session: Option<(SessionId, Wrap)>,
    ) {
        let room = self.room();
        if self.bytes.is_empty() {
            self.bytes.reserve_exact(PACK_ROOM);
            self.bytes.resize(room, 0);
        }
        let session = session.map_or(0, |(session, wrap)| {
            self.sessions.iter().position(|known| *known == session).unwrap_or_else(|| {
                self.sessions.push(session);
                self.wraps.push(wrap);
                self.sessions.len() - 1
            })
        });
        self.records.push(BlobRecord {
            id,
            kind,
            session: u16::try_from(session).unwrap_or(u16::MAX),
            offset: u32::try_from(self.bytes.len() - room).unwrap_or(u32::MAX),
            length: u32::try_from(sealed.len()).unwrap_or(u32::MAX),
            plain_length,
            sealed_hash: *blake3::hash(sealed).as_bytes(),
        });
        self.bytes.extend_from_slice(sealed);
    }

    /// Whether another blob of `length` bytes should go into the next pack.
    #[must_use]
    pub fn is_full_for(&self, length: usize) -> bool {
        !self.records.is_empty()
            && (self.bytes.len() + length > PACK_BYTES || self.sessions.len() >= usize::from(u16::MAX) - 1)
    }

    /// Whether nothing was added.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Closes it: header, blobs, sealed table, sealed trailer; padded.
    pub fn finish(mut self, meta: &MetaKeys) -> Result<FinishedPack, SealError> {
        let header = pack::header(self.class, &self.wraps);
        let shift = u32::try_from(header.len()).unwrap_or(u32::MAX);
        for record in &mut self.records {
            record.offset += shift;
        }
        let room = self.room().min(self.bytes.len());
        let mut bytes = self.bytes;
        // As long as the room in nearly all packs; else the blobs are moved once, within their buffer.
        bytes.splice(0..room, header);
        let table = PackTable::new(self.sessions, &self.records);
        let plain = record::encode(&table, bytes.len() + META_OVERHEAD + TRAILER_BYTES);
        let salt: [u8; 32] = random()?;
        let sealed = meta.seal(Subject::Hidden(RecordKind::PackTable, &salt), &plain)?;
        let offset = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        bytes.reserve_exact(sealed.len() + TRAILER_BYTES);
        bytes.extend_from_slice(&sealed);
        let place = [&offset.to_le_bytes()[..], &length.to_le_bytes(), &salt].concat();
        bytes.extend_from_slice(&meta.seal(Subject::Record(RecordKind::PackTrailer), &place)?);
        let id = object_id(&bytes);
        let size = bytes.len() as u64;
        Ok(FinishedPack { bytes: Bytes::from_owner(bytes), indexed: IndexedPack { id, size, table } })
    }
}

/// Where the table of a pack lies, and the number that it is sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePlace {
    /// Its bytes in the pack.
    pub range: std::ops::Range<u64>,
    salt: [u8; 32],
}

/// Where the table lies, from the last [`TRAILER_BYTES`] of a pack.
pub fn open_trailer(meta: &MetaKeys, pack: &ObjectId, trailer: &[u8]) -> Result<TablePlace, RepoError> {
    let key = layout::pack(pack);
    let plain = meta
        .open(Subject::Record(RecordKind::PackTrailer), trailer)
        .map_err(|source| RepoError::Sealed { key: key.clone(), source })?;
    let short = || RepoError::Pack { key: key.clone(), source: PackError::Short };
    let (offset, rest) = plain.split_first_chunk::<4>().ok_or_else(short)?;
    let (length, salt) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let salt = salt.try_into().map_err(|_| short())?;
    let start = u64::from(u32::from_le_bytes(*offset));
    Ok(TablePlace { range: start..start + u64::from(u32::from_le_bytes(*length)), salt })
}

/// The table of a whole pack in memory.
pub fn table_in(meta: &MetaKeys, pack: &ObjectId, bytes: &[u8]) -> Result<PackTable, RepoError> {
    let trailer = bytes.get(bytes.len().saturating_sub(TRAILER_BYTES)..).unwrap_or_default();
    let place = open_trailer(meta, pack, trailer)?;
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    let sealed = bytes.get(at(place.range.start)..at(place.range.end)).unwrap_or_default();
    open_table(meta, pack, &place, sealed)
}

/// The table in its sealed bytes.
pub fn open_table(meta: &MetaKeys, pack: &ObjectId, place: &TablePlace, sealed: &[u8]) -> Result<PackTable, RepoError> {
    let key = layout::pack(pack);
    let plain = meta
        .open(Subject::Hidden(RecordKind::PackTable, &place.salt), sealed)
        .map_err(|source| RepoError::Sealed { key: key.clone(), source })?;
    let table: PackTable = record::decode(&plain).map_err(|source| RepoError::Record { key: key.clone(), source })?;
    table.check().map_err(|source| RepoError::Pack { key, source })?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::RepositoryId;
    use crate::base::secret::Secret;
    use crate::format::padding::padded;

    #[test]
    fn a_pack_is_padded_and_its_table_finds_every_blob() {
        let meta = MetaKeys::new(RepositoryId::new([1; 16]), 1, Secret::new([2; 32]));
        let mut builder = PackBuilder::new(PackClass::Content, &Pool::new(0));
        let session = SessionId::new([3; 32]);
        for n in 0..20_u8 {
            let wrap = (1, [n / 10; 112]);
            let session = if n < 10 { session } else { SessionId::new([4; 32]) };
            builder.add(Kind::Data, BlobId::new([n; 32]), &[n; 1000], 900, Some((session, wrap)));
        }
        let pack = builder.finish(&meta).expect("random");
        assert_eq!(pack.bytes.len(), padded(pack.bytes.len()));
        let (class, wraps) = pack::parse_header(&pack.bytes).expect("its own header");
        assert_eq!((class, wraps.len()), (PackClass::Content, 2));
        let tail = &pack.bytes[pack.bytes.len() - TRAILER_BYTES..];
        let place = open_trailer(&meta, &pack.indexed.id, tail).expect("its own trailer");
        let range = place.range.clone();
        let sealed = &pack.bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        let table = open_table(&meta, &pack.indexed.id, &place, sealed).expect("its own table");
        assert_eq!(table, pack.indexed.table);
        for (n, record) in table.records().enumerate() {
            let bytes = &pack.bytes[record.offset as usize..usize::try_from(record.end()).unwrap()];
            assert!(bytes.iter().all(|byte| usize::from(*byte) == n));
            assert_eq!(record.sealed_hash, *blake3::hash(bytes).as_bytes());
            assert_eq!(usize::from(record.session), n / 10);
        }
    }
}
