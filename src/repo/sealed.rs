//! Records as objects: encode, pad, seal, name by hash, put; and back, with every check on the way.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::crypto::aead::SealError;
use crate::crypto::hash::object_id;
use crate::crypto::meta::{META_OVERHEAD, MetaKeys, Subject};
use crate::format::kind::RecordKind;
use crate::format::record;
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::store::{Key, Store};

/// Longest `format.json`: three short members, and what a later version adds.
pub const FORMAT_BYTES_MAX: u64 = 64 << 10;

/// Longest record of any kind.
pub const RECORD_BYTES_MAX: u64 = bytes_max(RecordKind::Index);

/// Longest stored record of a kind. Whoever can write to the store can plant an object of any size; one beyond this is not read.
const fn bytes_max(kind: RecordKind) -> u64 {
    match kind {
        // A signature, a wrapped key, a few names.
        RecordKind::Epoch | RecordKind::Session | RecordKind::PackTrailer => 1 << 20,
        // A hundred thousand heads or snapshots at 32 bytes; of a record with its problems (1000 at most) each path may have 64 KiB.
        RecordKind::KeyDrill | RecordKind::Verified | RecordKind::Rehearsal | RecordKind::Doomed => 16 << 20,
        // A million packs; a table has at most what a pack has.
        RecordKind::Snapshot | RecordKind::Checkpoint | RecordKind::PackTable => 128 << 20,
        // About 4 MiB as they are written now; one is as long as what its longest pack adds.
        RecordKind::Index => 256 << 20,
    }
}

/// The whole object if it is not longer than `limit`; else no more than `limit` is asked for, and the error is [`RepoError::TooLarge`].
pub async fn get_within(store: &dyn Store, key: &Key, limit: u64) -> Result<Bytes, RepoError> {
    let bytes = store.get_range(key, 0..limit + 1).await?;
    let length = bytes.len() as u64;
    if length > limit { Err(RepoError::TooLarge { key: key.clone(), bytes: length, limit }) } else { Ok(bytes) }
}

/// The stored bytes of a record.
pub fn seal<T: Encode<()>>(meta: &MetaKeys, kind: RecordKind, value: &T) -> Result<Bytes, SealError> {
    let plain = record::encode(value, META_OVERHEAD);
    meta.seal(Subject::Record(kind), &plain).map(Bytes::from)
}

/// The record in stored bytes that were read from `key`.
pub fn open<T: for<'b> Decode<'b, ()>>(
    meta: &MetaKeys,
    kind: RecordKind,
    key: &Key,
    stored: &[u8],
) -> Result<T, RepoError> {
    let plain =
        meta.open(Subject::Record(kind), stored).map_err(|source| RepoError::Sealed { key: key.clone(), source })?;
    record::decode(&plain).map_err(|source| RepoError::Record { key: key.clone(), source })
}

/// Puts a record under `<prefix><hash of its bytes>`; returns the id and the stored size.
pub async fn put<T: Encode<()>>(
    store: &dyn Store,
    meta: &MetaKeys,
    kind: RecordKind,
    prefix: &str,
    value: &T,
    retain_until: Option<Time>,
) -> Result<(ObjectId, u64), RepoError> {
    let stored = seal(meta, kind, value)?;
    let id = object_id(&stored);
    let size = stored.len() as u64;
    store.put_new(&layout::named(prefix, &id), stored, retain_until).await?;
    Ok((id, size))
}

/// Reads a record whose name is fixed.
pub async fn read_at<T: for<'b> Decode<'b, ()>>(
    store: &dyn Store,
    meta: &MetaKeys,
    kind: RecordKind,
    key: &Key,
) -> Result<T, RepoError> {
    open(meta, kind, key, &get_of(store, kind, key).await?)
}

/// The stored bytes of a record, no more than its kind may have.
pub async fn get_of(store: &dyn Store, kind: RecordKind, key: &Key) -> Result<Bytes, RepoError> {
    get_within(store, key, bytes_max(kind)).await
}

/// Reads a record named by its hash and checks the name.
pub async fn read<T: for<'b> Decode<'b, ()>>(
    store: &dyn Store,
    meta: &MetaKeys,
    kind: RecordKind,
    key: &Key,
) -> Result<T, RepoError> {
    open_named(meta, kind, key, &get_of(store, kind, key).await?)
}

/// The record in the stored bytes of an object that is named by their hash.
pub fn open_named<T: for<'b> Decode<'b, ()>>(
    meta: &MetaKeys,
    kind: RecordKind,
    key: &Key,
    stored: &[u8],
) -> Result<T, RepoError> {
    if layout::object_id(key) != Some(object_id(stored)) {
        return Err(RepoError::Damaged { key: key.clone() });
    }
    open(meta, kind, key, stored)
}
