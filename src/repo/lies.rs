//! What lies under the name of a pack. A disk's repair, or a hand, moves files: what is not what a name promises may be another pack, whole, and the only copy of it. Nothing
//! takes its place, and no mark names it, before that was looked at.

use std::collections::HashSet;

use bytes::Bytes;

use crate::base::id::ObjectId;
use crate::crypto::hash::object_id;
use crate::format::kind::RecordKind;
use crate::format::pack::{PACK_BYTES_MAX, parse_header};
use crate::format::record::SessionRecord;
use crate::repo::packer::table_in;
use crate::repo::sealed::{self, get_within};
use crate::repo::{RepoError, Repository, layout};

/// See the module.
pub(crate) enum Lies {
    /// Nothing.
    Nothing,
    /// What belongs there.
    Own,
    /// Another pack, whole.
    Other(ObjectId, Bytes),
    /// Something that is no whole pack.
    Rot,
    /// Nobody can tell: the store answered neither with bytes nor that there are none.
    Unread(RepoError),
}

/// Looks at what lies under the name of a pack. `known` are the packs that the index names: bytes with the hash of one of them are that pack, whether its table opens for
/// the key at hand or not (after a rotation those of before do not).
pub(crate) async fn lies(
    repository: &Repository,
    known: &HashSet<ObjectId>,
    name: &ObjectId,
) -> Result<Lies, RepoError> {
    let store = &*repository.store;
    let bytes = match get_within(store, &layout::pack(name), PACK_BYTES_MAX as u64).await {
        Ok(bytes) => bytes,
        // Longer than any pack.
        Err(RepoError::TooLarge { .. }) => return Ok(Lies::Rot),
        Err(RepoError::Store(error)) if error.is_not_found() => return Ok(Lies::Nothing),
        Err(error) => return Ok(Lies::Unread(error)),
    };
    let hashed = bytes.clone();
    let joined = tokio::task::spawn_blocking(move || object_id(&hashed)).await;
    let found = joined.map_err(|_| RepoError::Worker { what: "the hashing" })?;
    Ok(match found {
        found if found == *name => Lies::Own,
        found if known.contains(&found) => Lies::Other(found, bytes),
        found => match is_whole_pack(repository, &found, &bytes).await {
            Ok(true) => Lies::Other(found, bytes),
            Ok(false) => Lies::Rot,
            Err(error) => Lies::Unread(error),
        },
    })
}

/// Whether every byte is what was stored, so that the hash was the name: table and trailer are sealed, blobs are what the table says, and the header has the wraps of
/// the sessions.
async fn is_whole_pack(repository: &Repository, id: &ObjectId, bytes: &[u8]) -> Result<bool, RepoError> {
    let Ok(table) = table_in(&repository.meta, id, bytes) else { return Ok(false) };
    let blobs = table.check().is_ok()
        && table.records().all(|record| {
            let end = usize::try_from(record.end()).unwrap_or(usize::MAX);
            let sealed = bytes.get(record.offset as usize..end);
            sealed.is_some_and(|sealed| *blake3::hash(sealed).as_bytes() == record.sealed_hash)
        });
    let Ok((_, wraps)) = parse_header(bytes) else { return Ok(false) };
    if !blobs || wraps.len() != table.sessions.len() {
        return Ok(false);
    }
    for (session, (epoch, wrap)) in table.sessions.iter().zip(&wraps) {
        let key = layout::session(session);
        let read: Result<SessionRecord, RepoError> =
            sealed::read_at(&*repository.store, &repository.meta, RecordKind::Session, &key).await;
        match read {
            Ok(record) if record.epoch == *epoch && record.wrap == *wrap => {}
            Err(RepoError::Store(error)) if !error.is_not_found() => return Err(error.into()),
            _ => return Ok(false),
        }
    }
    Ok(true)
}
