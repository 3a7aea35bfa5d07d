//! Layer 5: which snapshots were read back, all of them, and found good, and which were found damaged. `forget` never removes the last good one of a source, and
//! `status` calls no source well of which a snapshot was found damaged and none was read whole since.
//!
//! Only whoever read every content blob of a snapshot with an identity may call it good: a full `check`, or a restore that left nothing out. Any `check` may call it
//! damaged. A record speaks of the store that was read, on the day it was read; damage that comes later is for `check` to find. Records are never changed and never
//! withdrawn: of two that contradict each other the later one counts, and of the same time the worse.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt};

use crate::base::clock::{Clock, Time};
use crate::base::id::ObjectId;
use crate::format::kind::RecordKind;
use crate::format::record::VerifiedRecord;
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::snapshots::Chain;
use crate::repo::upload::retain_until;
use crate::repo::{layout, sealed, witness};
use crate::store::Key;

/// Records fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// What the records say.
#[derive(Debug, Default)]
pub struct Verified {
    /// When each snapshot was read back last; not those that were found damaged since.
    pub at: BTreeMap<ObjectId, Time>,
    /// When each snapshot was found damaged last; not those that were read back since.
    pub damaged: BTreeMap<ObjectId, Time>,
    /// Records that do not read, and why; what they said is not known.
    pub unreadable: Vec<(Key, RepoError)>,
}

/// Stores that all content of the snapshots `good` was read, decrypted and compared with its ids, which takes an identity, and that those of `damaged` lack
/// something. Without any it stores nothing.
pub async fn record(
    repository: &Repository,
    good: &[ObjectId],
    damaged: &[ObjectId],
    host: &str,
    clock: &dyn Clock,
) -> Result<Option<ObjectId>, RepoError> {
    if good.is_empty() && damaged.is_empty() {
        return Ok(None);
    }
    if !good.is_empty() && !repository.has_identity() {
        return Err(RepoError::IdentityNeeded);
    }
    let at = clock.now();
    let sorted = |ids: &[ObjectId]| ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    let damaged = Some(sorted(damaged)).filter(|damaged| !damaged.is_empty());
    // One of damage alone is no witness.
    let chain = match good {
        [] => None,
        _ => Some(witness::testimony(repository, &Chain::load_to_read(repository).await?).await?),
    };
    let record = VerifiedRecord { at, snapshots: sorted(good), host: host.to_owned(), damaged, chain };
    let (store, retain) = (&*repository.store, retain_until(repository, at));
    let kind = RecordKind::Verified;
    let (id, _) = sealed::put(store, &repository.meta, kind, layout::VERIFIED, &record, retain).await?;
    Ok(Some(id))
}

/// Reads all records. The writer key suffices.
pub async fn load(repository: &Repository) -> Result<Verified, RepoError> {
    let listed = repository.store.list(layout::VERIFIED).await?;
    let mut reads = stream::iter(listed)
        .map(|entry| async move {
            let store = &*repository.store;
            let read = sealed::read(store, &repository.meta, RecordKind::Verified, &entry.key).await;
            (entry.key, read)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let mut verified = Verified::default();
    let blame = Blame::default();
    while let Some((key, read)) = reads.next().await {
        let read: Result<VerifiedRecord, RepoError> = read;
        match read {
            _ if layout::object_id(&key).is_none() => {} // a foreign object
            Ok(record) => {
                let damaged = record.damaged.unwrap_or_default();
                for (said, into) in [(record.snapshots, &mut verified.at), (damaged, &mut verified.damaged)] {
                    for snapshot in said {
                        let at = into.entry(snapshot).or_insert(record.at);
                        *at = record.at.max(*at);
                    }
                }
            }
            Err(RepoError::Store(error)) if !blame.is_the_objects(&*repository.store, &error).await => {
                return Err(error.into());
            }
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            Err(error) if error.is_retired() => {}
            Err(error) => verified.unreadable.push((key, error)),
        }
    }
    let Verified { at, damaged, .. } = &mut verified;
    damaged.retain(|snapshot, found| at.get(snapshot).is_none_or(|good| good <= found));
    at.retain(|snapshot, _| !damaged.contains_key(snapshot));
    verified.unreadable.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(verified)
}
