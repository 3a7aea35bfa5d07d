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
    open(meta, kind, key, &store.get(key).await?)
}

/// Reads a record named by its hash and checks the name.
pub async fn read<T: for<'b> Decode<'b, ()>>(
    store: &dyn Store,
    meta: &MetaKeys,
    kind: RecordKind,
    key: &Key,
) -> Result<T, RepoError> {
    let stored = store.get(key).await?;
    if layout::object_id(key) != Some(object_id(&stored)) {
        return Err(RepoError::Damaged { key: key.clone() });
    }
    open(meta, kind, key, &stored)
}
