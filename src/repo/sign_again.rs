//! The record of the current epoch, signed once more: where it is damaged no key opens the repository, and whoever holds an identity has the root key that signs it.
//!
//! What it said is taken from what proves itself: the keys in the access record, and the record of the epoch before. Where that leaves a doubt nothing is signed: a lock
//! that is left out leaves objects unlocked, and an epoch too many that is accepted lets a stolen key speak again.

use bytes::Bytes;

use crate::crypto::content::epoch_public;
use crate::format::record::{AccessRecord, EpochKeys, EpochRecord};
use crate::repo::create::{epoch_bytes, recipients_hash};
use crate::repo::epochs::{metadata_commitment, proven_epoch};
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::repo::open::writer_key_of;
use crate::store::{Key, Store, StoreError};

/// The record of the epoch that is current by its name, made anew if the one that lies there does not prove itself. An error where not everything that it said is known.
pub(crate) async fn sign_again(store: &dyn Store, access: &AccessRecord) -> Result<Option<(Key, Bytes)>, RepoError> {
    let mut epochs: Vec<&EpochKeys> = access.epochs.iter().collect();
    epochs.sort_by_key(|epoch| epoch.number);
    // One that was prepared and never began has no name below epochs/, as for whoever opens.
    let mut at = epochs.len().saturating_sub(1);
    while let Some(epoch) = epochs.get(at).filter(|_| at > 0)
        && store.stat(&layout::epoch(epoch.number)).await?.is_none()
    {
        at -= 1;
    }
    let Some(current) = epochs.get(at).copied() else { return Ok(None) };
    match proven_epoch(store, &writer_key_of(access, current), current.number).await {
        Ok(_) => return Ok(None),
        Err(RepoError::Store(error)) if !error.is_not_found() => return Err(error.into()),
        Err(_) => {}
    }
    let (lock_seconds, accepted_from) = match at.checked_sub(1).and_then(|before| epochs.get(before)) {
        Some(before) => after(store, access, &epochs, current, before).await?,
        None => (unlocked(store, current.number).await?, None),
    };
    let record = EpochRecord {
        number: current.number,
        public: epoch_public(&current.private),
        metadata_commitment: metadata_commitment(&current.metadata_key),
        recipients_hash: recipients_hash(&access.recipients),
        created: access.created,
        lock_seconds,
        accepted_from,
    };
    Ok(Some((layout::epoch(current.number), epoch_bytes(access, &record)?)))
}

fn unsure(store: &dyn Store, epoch: u32, reason: &str) -> RepoError {
    RepoError::Epoch { store: store.address(), epoch, reason: format!("it is damaged, and {reason}") }
}

/// The lock, and which epochs are accepted, by the record of the epoch before.
async fn after(
    store: &dyn Store,
    access: &AccessRecord,
    epochs: &[&EpochKeys],
    current: &EpochKeys,
    before: &EpochKeys,
) -> Result<(u64, Option<u32>), RepoError> {
    let alike = |one: &EpochKeys, other: &EpochKeys| one.metadata_key.expose() == other.metadata_key.expose();
    let record = match proven_epoch(store, &writer_key_of(access, before), before.number).await {
        Ok(record) => record,
        Err(RepoError::Store(error)) if !error.is_not_found() => return Err(error.into()),
        Err(_) => return Err(unsure(store, current.number, "so is the record of the epoch before")),
    };
    let first_of_its_key = epochs.iter().all(|epoch| epoch.number >= before.number || !alike(epoch, before));
    if alike(current, before) && first_of_its_key && before.number > 1 {
        let reason = "nobody here knows whether it ended a rotation of the writer key, or took access away while one was not finished";
        return Err(unsure(store, current.number, reason));
    }
    Ok((record.lock_seconds, record.accepted_from))
}

/// No lock, if that is certain: of the first epoch nothing but its own record says how long the lock is.
async fn unlocked(store: &dyn Store, epoch: u32) -> Result<u64, RepoError> {
    let lists = store.list(layout::ACCESS).await?;
    for entry in lists.iter().filter(|entry| layout::object_id(&entry.key).is_some()) {
        match store.retention(&entry.key).await {
            Err(StoreError::Unsupported { .. } | StoreError::NotFound { .. }) => {}
            // None on what shows now says little: somebody may have laid it over the one that is locked.
            Ok(_) => {
                return Err(unsure(store, epoch, "nobody here knows whether it has objects locked, and for how long"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(0)
}
