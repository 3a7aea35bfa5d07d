//! What drills came to, kept in the repository beside the data: `rehearsals/<id>`, docs/format.md §8.8.
//!
//! A drill speaks of the store that it read, on its day; records are never changed and never withdrawn. One that failed is recorded like one that passed.

use futures::stream::{self, StreamExt};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::format::kind::RecordKind;
use crate::format::record::RehearsalRecord;
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
pub struct Rehearsals {
    /// Each with its id, the one that was begun last first.
    pub all: Vec<(ObjectId, RehearsalRecord)>,
    /// Records that do not read, and why.
    pub unreadable: Vec<(Key, RepoError)>,
}

/// Stores what a drill came to.
pub async fn store(repository: &Repository, record: &RehearsalRecord, now: Time) -> Result<ObjectId, RepoError> {
    let (store, retain) = (&*repository.store, retain_until(repository, now));
    let kind = RecordKind::Rehearsal;
    let (id, _) = sealed::put(store, &repository.meta, kind, layout::REHEARSALS, record, retain).await?;
    Ok(id)
}

/// Reads all records. The writer key suffices.
pub async fn load(repository: &Repository) -> Result<Rehearsals, RepoError> {
    let listed = repository.store.list(layout::REHEARSALS).await?;
    let mut reads = stream::iter(listed)
        .map(|entry| async move {
            let store = &*repository.store;
            let read = sealed::read(store, &repository.meta, RecordKind::Rehearsal, &entry.key).await;
            (entry.key, read)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let mut found = Rehearsals::default();
    let blame = Blame::default();
    while let Some((key, read)) = reads.next().await {
        match (layout::object_id(&key), read) {
            (None, _) => {} // a foreign object
            (Some(id), Ok(record)) => found.all.push((id, record)),
            (_, Err(RepoError::Store(error))) if !blame.is_the_objects(&*repository.store, &error).await => {
                return Err(error.into());
            }
            (_, Err(RepoError::Store(error))) if error.is_not_found() => {}
            (_, Err(error)) if error.is_retired() => {}
            (_, Err(error)) => found.unreadable.push((key, error)),
        }
    }
    found.all.sort_by_key(|(id, record)| std::cmp::Reverse((record.begun, record.ended, *id)));
    found.unreadable.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}
