//! Packs whose bytes lie under the name of another: a disk's repair, or a hand, has moved them. What lies there may be the only copy, so nothing takes its place before it is
//! safe under its own name.
//!
//! What does not read may be such a pack as well, so a place of which the store has not said that it is empty is written over only once no pack is lacking that could lie there.

use std::collections::HashSet;

use bytes::Bytes;

use crate::base::causes::in_one_line;
use crate::base::id::ObjectId;
use crate::crypto::hash::object_id;
use crate::format::kind::RecordKind;
use crate::format::record::ChainRecord;
use crate::repair::named::put;
use crate::repair::{Healed, How, Outcome, RepairError, Work};
use crate::repo::lies::{Lies, lies};
use crate::repo::rescue::Rescue;
use crate::repo::sealed::{RECORD_BYTES_MAX, get_within};
use crate::repo::{RepoError, layout, sealed};
use crate::store::Key;

/// Packs of a ring: longer ones are left, and told.
const RING_MAX: usize = 64;

impl Work<'_> {
    async fn lies(&self, name: &ObjectId) -> Result<Lies, RepairError> {
        Ok(lies(self.repository, &self.known, name).await?)
    }
}

/// Makes sure of the record of a snapshot that lies under the name of another, which is about to be written over: if it was the newest, nothing else knows of it. Tells
/// whether it may be.
pub(super) async fn save_record(work: &Work<'_>, key: &Key, outcome: &mut Outcome) -> Result<bool, RepairError> {
    let store = &*work.repository.store;
    let bytes = match get_within(store, key, RECORD_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(RepoError::TooLarge { .. }) => return Ok(true),
        Err(RepoError::Store(error)) if error.is_not_found() => return Ok(true),
        Err(error) if work.blame_is_its_own(&error).await => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let own = layout::named(layout::SNAPSHOTS, &object_id(&bytes));
    let is_one = || sealed::open::<ChainRecord>(&work.repository.meta, RecordKind::Snapshot, &own, &bytes).is_ok();
    if own == *key || store.stat(&own).await.map_err(RepoError::from)?.is_some() || !is_one() {
        return Ok(true);
    }
    if !put(work, &own, &bytes, work.retain(), outcome).await? {
        return Ok(false);
    }
    outcome.healed.push(Healed::here(&own, How::PutBack));
    Ok(true)
}

/// Saves what lies whole under the name of another pack, `name`, to its own name. Tells whether the place under `name` may be written over: not while a third pack lies in the
/// way, of which nobody knows another copy, nor while nobody can tell what lies there.
pub(super) async fn save(work: &Work<'_>, name: &ObjectId, outcome: &mut Outcome) -> Result<bool, RepairError> {
    let place = layout::pack(name);
    let (own, bytes) = match work.lies(name).await? {
        Lies::Nothing | Lies::Own | Lies::Rot => return Ok(true),
        Lies::Unread(error) => {
            if work.unread_may_go && work.blame_is_its_own(&error).await {
                return Ok(true);
            }
            outcome.keep(
                &place,
                format!("it does not read, and nothing takes its place meanwhile: {}", in_one_line(&error)),
            );
            return Ok(false);
        }
        Lies::Other(own, bytes) => (own, bytes),
    };
    let key = layout::pack(&own);
    let in_the_way = match work.lies(&own).await? {
        Lies::Own => return Ok(true),
        Lies::Nothing | Lies::Rot => None,
        // Who asks has the bytes that belong under `name` in hand.
        Lies::Other(there, _) if there == *name => None,
        Lies::Other(..) => Some("a third one lies in its place".to_owned()),
        Lies::Unread(error) => Some(format!("what lies in its place does not read: {}", in_one_line(&error))),
    };
    if let Some(why) = in_the_way {
        outcome.keep(&place, format!("{key} lies here, whole, and {why}"));
        return Ok(false);
    }
    if !put(work, &key, &bytes, work.retain(), outcome).await? {
        return Ok(false);
    }
    outcome.healed.push(Healed::here(&key, How::PutBack));
    Ok(true)
}

/// Brings packs back that lie whole under other names, if their own places hold nothing that anybody needs. One that is back leaves its place to the next, so as long as any
/// comes back. Packs that lie in a ring, each in the place of the next, are parted by copying the blobs of one of them.
pub(super) async fn bring_back(work: &Work<'_>, listed: &[Key], outcome: &mut Outcome) -> Result<(), RepairError> {
    let mut left: Vec<ObjectId> = listed.iter().filter_map(layout::pack_id).collect();
    let mut copied: Option<(ObjectId, ObjectId, Bytes)> = None;
    let mut parted = HashSet::new();
    loop {
        let before = left.len();
        let mut still = Vec::new();
        for name in left {
            let Lies::Other(own, bytes) = work.lies(&name).await? else { continue };
            let free = match work.lies(&own).await? {
                Lies::Own => continue,
                Lies::Nothing | Lies::Rot => true,
                // What lies there may be whole in its own place by now, or its blobs elsewhere.
                Lies::Other(third, _) => {
                    copied.as_ref().is_some_and(|(place, ..)| *place == own)
                        || matches!(work.lies(&third).await?, Lies::Own)
                }
                Lies::Unread(_) => false,
            };
            if free {
                put_back(work, &own, &bytes, outcome).await?;
            } else {
                still.push(name);
            }
        }
        left = still;
        if left.len() < before {
            continue;
        }
        if let Some((_, own, bytes)) = copied.take() {
            // The others of the ring are back by now, if all went well, and this one has its place again.
            let free = match work.lies(&own).await? {
                Lies::Other(there, _) => matches!(work.lies(&there).await?, Lies::Own),
                Lies::Nothing | Lies::Rot => true,
                Lies::Own | Lies::Unread(_) => false,
            };
            if free {
                put_back(work, &own, &bytes, outcome).await?;
            }
        }
        let Some(next) = left.iter().copied().find(|name| !parted.contains(name)) else { return Ok(()) };
        parted.insert(next);
        copied = part(work, next, outcome).await?;
    }
}

async fn put_back(work: &Work<'_>, own: &ObjectId, bytes: &Bytes, outcome: &mut Outcome) -> Result<(), RepairError> {
    let key = layout::pack(own);
    if put(work, &key, bytes, work.retain(), outcome).await? {
        outcome.healed.push(Healed::here(&key, How::PutBack));
    }
    Ok(())
}

/// Copies the blobs of the pack that lies in the place of `name` into a new one: then they are safe, and the place is free. Nothing is copied where the ring is broken already,
/// or where something in it does not read.
async fn part(
    work: &Work<'_>,
    name: ObjectId,
    outcome: &mut Outcome,
) -> Result<Option<(ObjectId, ObjectId, Bytes)>, RepairError> {
    let Lies::Other(own, bytes) = work.lies(&name).await? else { return Ok(None) };
    let mut at = own;
    // Follows the ring without remembering it: a pack has one place, so whoever does not come back is in none.
    for _ in 0..RING_MAX {
        match work.lies(&at).await? {
            Lies::Other(next, _) if next == name => {
                let mut rescue = Rescue::start(work.repository.clone(), work.clock.clone());
                match rescue.copy_all(&own, bytes.clone()).await {
                    Ok(()) => {}
                    Err(error @ (RepoError::Store(_) | RepoError::Worker { .. })) => {
                        return Err(rescue.why_failed(error).await.into());
                    }
                    // Neither it nor the index says what is in it to this key.
                    Err(_) => return Ok(None),
                }
                outcome.packs_written.extend(rescue.finish().await?.packs);
                return Ok(Some((name, own, bytes)));
            }
            Lies::Other(next, _) => at = next,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Those of `packs` that must not be marked, since another pack lies whole in their places or nobody can tell what does: what a mark names goes with the next prunes.
pub(super) async fn hold_others(
    work: &Work<'_>,
    packs: impl Iterator<Item = &ObjectId>,
    outcome: &mut Outcome,
) -> Result<HashSet<ObjectId>, RepairError> {
    let mut hold = HashSet::new();
    for name in packs {
        let why = match work.lies(name).await? {
            // Where it belongs it lies whole, too, so here it is one too many.
            Lies::Other(own, _) if matches!(work.lies(&own).await?, Lies::Own) => continue,
            Lies::Other(own, _) => format!("{} lies here, whole, and another one in its place", layout::pack(&own)),
            Lies::Unread(error) => format!("it does not read any more: {}", in_one_line(&error)),
            Lies::Nothing | Lies::Own | Lies::Rot => continue,
        };
        outcome.keep(&layout::pack(name), why);
        hold.insert(*name);
    }
    Ok(hold)
}
