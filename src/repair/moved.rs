//! Packs whose bytes lie under the name of another: a disk's repair, or a hand, has moved them. What lies there may be the only copy, so nothing takes its place before it is
//! safe under its own name.

use bytes::Bytes;

use crate::base::id::ObjectId;
use crate::crypto::hash::object_id;
use crate::format::pack::PACK_BYTES_MAX;
use crate::repair::named::put_right;
use crate::repair::{Healed, How, Outcome, RepairError, Work};
use crate::repo::RepoError;
use crate::repo::layout;
use crate::repo::packer::table_in;
use crate::repo::sealed::get_within;
use crate::store::Key;

/// What lies under the name of a pack.
enum Lies {
    /// Nothing, or nothing that reads.
    Nothing,
    /// What belongs there.
    Own,
    /// Another pack, whole.
    Other(ObjectId, Bytes),
    /// Something that is no whole pack.
    Rot,
}

impl Work<'_> {
    /// Every blob of a whole pack is what the pack's own sealed table says: then its hash was its name.
    fn is_whole_pack(&self, id: &ObjectId, bytes: &[u8]) -> bool {
        let Ok(table) = table_in(&self.repository.meta, id, bytes) else { return false };
        table.check().is_ok()
            && table.records().all(|record| {
                let end = usize::try_from(record.end()).unwrap_or(usize::MAX);
                let sealed = bytes.get(record.offset as usize..end);
                sealed.is_some_and(|sealed| *blake3::hash(sealed).as_bytes() == record.sealed_hash)
            })
    }

    async fn lies(&self, name: &ObjectId) -> Result<Lies, RepairError> {
        let bytes = match get_within(&*self.repository.store, &layout::pack(name), PACK_BYTES_MAX as u64).await {
            Ok(bytes) => bytes,
            Err(RepoError::Store(error)) if error.is_not_found() => return Ok(Lies::Nothing),
            // A bad sector, or far too long.
            Err(_) => return Ok(Lies::Nothing),
        };
        let hashed = bytes.clone();
        let joined = tokio::task::spawn_blocking(move || object_id(&hashed)).await;
        let found = joined.map_err(|_| RepoError::Worker { what: "the hashing" })?;
        Ok(match found {
            found if found == *name => Lies::Own,
            found if self.is_whole_pack(&found, &bytes) => Lies::Other(found, bytes),
            _ => Lies::Rot,
        })
    }
}

/// Saves what lies whole under the name of another pack, `name`, to its own name. Tells whether the place under `name` may be written over: not while a third pack lies in the
/// way, of which nobody knows another copy.
pub(super) async fn save(work: &Work<'_>, name: &ObjectId, outcome: &mut Outcome) -> Result<bool, RepairError> {
    let Lies::Other(own, bytes) = work.lies(name).await? else { return Ok(true) };
    match work.lies(&own).await? {
        Lies::Own => return Ok(true),
        // Who asks has the bytes that belong under `name` in hand.
        Lies::Other(there, _) if there != *name => return Ok(false),
        Lies::Nothing | Lies::Other(..) | Lies::Rot => {}
    }
    let key = layout::pack(&own);
    put_right(&*work.repository.store, &key, &bytes, work.retain()).await?;
    outcome.healed.push(Healed::here(&key, How::PutBack));
    Ok(true)
}

/// Whether another pack lies whole under the name, and in its own place it does not: it must not be marked for `prune`.
pub(super) async fn holds_another(work: &Work<'_>, name: &ObjectId) -> Result<bool, RepairError> {
    match work.lies(name).await? {
        Lies::Other(own, _) => Ok(!matches!(work.lies(&own).await?, Lies::Own)),
        _ => Ok(false),
    }
}

/// Brings a pack back that lies whole under another name, if its own place holds nothing that anybody needs.
pub(super) async fn bring_back(work: &Work<'_>, listed: &[Key], outcome: &mut Outcome) -> Result<(), RepairError> {
    for name in listed.iter().filter_map(layout::pack_id) {
        let Lies::Other(own, bytes) = work.lies(&name).await? else { continue };
        if matches!(work.lies(&own).await?, Lies::Nothing | Lies::Rot) {
            let key = layout::pack(&own);
            put_right(&*work.repository.store, &key, &bytes, work.retain()).await?;
            outcome.healed.push(Healed::here(&key, How::PutBack));
        }
    }
    Ok(())
}
