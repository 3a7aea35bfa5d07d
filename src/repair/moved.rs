//! Packs whose bytes lie under the name of another: a disk's repair, or a hand, has moved them. What lies there may be the only copy, so nothing takes its place before it is
//! safe under its own name.

use bytes::Bytes;

use crate::base::id::ObjectId;
use crate::crypto::hash::object_id;
use crate::format::kind::RecordKind;
use crate::format::pack::{PACK_BYTES_MAX, parse_header};
use crate::format::record::SessionRecord;
use crate::repair::named::put_right;
use crate::repair::{Healed, How, Outcome, RepairError, Work};
use crate::repo::packer::table_in;
use crate::repo::sealed::{self, get_within};
use crate::repo::{RepoError, layout};
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
    /// Whether every byte is what was stored, so that the hash was the name: table and trailer are sealed, blobs are what the table says, and the header has the wraps of
    /// the sessions.
    async fn is_whole_pack(&self, id: &ObjectId, bytes: &[u8]) -> bool {
        let Ok(table) = table_in(&self.repository.meta, id, bytes) else { return false };
        let blobs = table.check().is_ok()
            && table.records().all(|record| {
                let end = usize::try_from(record.end()).unwrap_or(usize::MAX);
                let sealed = bytes.get(record.offset as usize..end);
                sealed.is_some_and(|sealed| *blake3::hash(sealed).as_bytes() == record.sealed_hash)
            });
        let Ok((_, wraps)) = parse_header(bytes) else { return false };
        if !blobs || wraps.len() != table.sessions.len() {
            return false;
        }
        for (session, (epoch, wrap)) in table.sessions.iter().zip(&wraps) {
            let (store, meta) = (&*self.repository.store, &self.repository.meta);
            let read = sealed::read_at(store, meta, RecordKind::Session, &layout::session(session)).await;
            let read: Result<SessionRecord, RepoError> = read;
            if !read.is_ok_and(|record| record.epoch == *epoch && record.wrap == *wrap) {
                return false;
            }
        }
        true
    }

    async fn lies(&self, name: &ObjectId) -> Result<Lies, RepairError> {
        let read = get_within(&*self.repository.store, &layout::pack(name), PACK_BYTES_MAX as u64).await;
        // It is not there, on a bad sector, or far too long.
        let Ok(bytes) = read else { return Ok(Lies::Nothing) };
        let hashed = bytes.clone();
        let joined = tokio::task::spawn_blocking(move || object_id(&hashed)).await;
        let found = joined.map_err(|_| RepoError::Worker { what: "the hashing" })?;
        Ok(match found {
            found if found == *name => Lies::Own,
            found if self.is_whole_pack(&found, &bytes).await => Lies::Other(found, bytes),
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
