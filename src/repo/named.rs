//! Objects that are named after their bytes: read whole, and compared.

use super::error::RepoError;
use super::layout;
use super::sealed::{RECORD_BYTES_MAX, get_within};
use crate::crypto::hash::object_id;
use crate::format::pack::PACK_BYTES_MAX;
use crate::format::parity::OBJECT_BYTES_MAX;
use crate::store::{Key, Listed, Store};

/// Whether it is one of the packs.
pub(crate) fn is_pack(key: &Key) -> bool {
    key.as_str().starts_with(layout::PACKS)
}

/// Whether it is one of the parity objects.
pub(crate) fn is_parity(key: &Key) -> bool {
    key.as_str().starts_with(layout::PARITY)
}

/// Reads a listed object whole; returns its length in bytes.
///
/// # Errors
/// [`RepoError::Damaged`] for other bytes than those of its name; [`RepoError::TooLarge`] for one that is longer than any of its kind, and would perhaps not
/// fit into memory; what the store says.
pub(crate) async fn read_as_named(store: &dyn Store, entry: &Listed) -> Result<u64, RepoError> {
    let limit = match &entry.key {
        key if is_pack(key) => PACK_BYTES_MAX as u64,
        key if is_parity(key) => OBJECT_BYTES_MAX,
        _ => RECORD_BYTES_MAX,
    };
    if entry.size > limit {
        return Err(RepoError::TooLarge { key: entry.key.clone(), bytes: entry.size, limit });
    }
    let bytes = get_within(store, &entry.key, limit).await?;
    let length = bytes.len() as u64;
    let found = tokio::task::spawn_blocking(move || object_id(&bytes)).await;
    let found = found.map_err(|_| RepoError::Worker { what: "the check of an object" })?;
    if layout::object_id(&entry.key) == Some(found) {
        Ok(length)
    } else {
        Err(RepoError::Damaged { key: entry.key.clone() })
    }
}
