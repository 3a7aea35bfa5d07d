//! Layer 5: which snapshots were read back, all of them, and found good. `forget` never removes the last one of a source.
//!
//! Only whoever read every content blob of a snapshot with an identity may say so: a full `check`, or a restore that left nothing out. A record speaks of the
//! store that was read, on the day it was read; damage that comes later is for `check` to find. Records are never changed and never withdrawn.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use crate::base::clock::{Clock, Time};
use crate::base::id::ObjectId;
use crate::format::kind::RecordKind;
use crate::format::record::VerifiedRecord;
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::upload::retain_until;
use crate::repo::{layout, sealed};
use crate::store::Key;

/// Records fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// What the records say.
#[derive(Debug, Default)]
pub struct Verified {
    /// When each snapshot was read back last.
    pub at: BTreeMap<ObjectId, Time>,
    /// Records that do not read, and why; what they said is not known.
    pub unreadable: Vec<(Key, RepoError)>,
}

/// Stores that all content of these snapshots was read, decrypted and compared with its ids. Without any it stores nothing.
pub async fn record(
    repository: &Repository,
    snapshots: &[ObjectId],
    host: &str,
    clock: &dyn Clock,
) -> Result<Option<ObjectId>, RepoError> {
    if snapshots.is_empty() {
        return Ok(None);
    }
    if !repository.has_identity() {
        return Err(RepoError::IdentityNeeded);
    }
    let at = clock.now();
    let mut record = VerifiedRecord { at, snapshots: snapshots.to_vec(), host: host.to_owned() };
    record.snapshots.sort_unstable();
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
                for snapshot in record.snapshots {
                    let at = verified.at.entry(snapshot).or_insert(record.at);
                    *at = record.at.max(*at);
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
    verified.unreadable.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(verified)
}
