//! Object locks: extended while an object is needed, and read back.

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::base::clock::Time;
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::store::Key;

/// Objects looked at once.
const AT_ONCE: usize = 16;

/// What became of the locks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Extended {
    /// Objects looked at.
    pub looked_at: u64,
    /// Locks that were extended.
    pub extended: u64,
}

/// Extends the lock of every object of which less than half a lock period is left, and reads it back. Without a lock period nothing is done; an
/// object that is gone is skipped: its absence is another's to report.
pub async fn extend(repository: &Repository, keys: Vec<Key>, now: Time) -> Result<Extended, RepoError> {
    let lock = repository.lock_period();
    if lock.is_zero() {
        return Ok(Extended::default());
    }
    let looked_at = keys.len() as u64;
    let enough = now.after(lock / 2);
    let until = now.after(lock);
    let extended = stream::iter(keys)
        .map(|key| async move { extend_one(repository, &key, enough, until).await })
        .buffer_unordered(AT_ONCE)
        .try_fold(0, |sum, done| async move { Ok(sum + u64::from(done)) })
        .await?;
    Ok(Extended { looked_at, extended })
}

async fn extend_one(repository: &Repository, key: &Key, enough: Time, until: Time) -> Result<bool, RepoError> {
    let store = &*repository.store;
    let held = match store.retention(key).await {
        Err(error) if error.is_not_found() => return Ok(false),
        other => other?,
    };
    if held.is_some_and(|held| held >= enough) {
        return Ok(false);
    }
    store.extend_retention(key, until).await?;
    if store.retention(key).await?.is_some_and(|held| held >= enough) {
        Ok(true)
    } else {
        Err(RepoError::NotLocked { key: key.clone() })
    }
}
