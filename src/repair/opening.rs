//! What opening needs: `format.json`, the records of the epochs, an access object. Without them no key gets in, so they are put right before anything is opened.
//!
//! `format.json` says nothing but the id, which the key holds: it is made anew, once something in the place was proven to be the key's. An epoch's record is signed
//! by the root key, which only owners hold: it comes from a replica, or an identity signs that of the current epoch anew, where all that it said is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::clock::{Clock, Time};
use crate::base::id::RepositoryId;
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::hash::object_id;
use crate::crypto::meta::{MetaKeys, Subject};
use crate::crypto::recipients::{AGE_BYTES_MAX, IdentitySource, Prompt};
use crate::crypto::writer_key::WriterKey;
use crate::format::kind::RecordKind;
use crate::repair::named::put_right;
use crate::repair::{Healed, How, RepairError, Sources, Work};
use crate::repo::create::format_bytes;
use crate::repo::epochs::{epochs_above, proven_epoch};
use crate::repo::open::{keys_of, newest_access, read_format};
use crate::repo::sealed::{FORMAT_BYTES_MAX, RECORD_BYTES_MAX, get_within};
use crate::repo::sign_again::sign_again;
use crate::repo::upload::retain_until;
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Store, StoreError};

/// Objects of a kind that are tried for a proof that the place is the key's.
const PROOFS_MAX: usize = 16;

/// The key that is at hand while the repository does not open.
pub enum Opening<'a> {
    /// The writer key.
    Writer(&'a WriterKey),
    /// Identities, and the fingerprint to insist on.
    Identity {
        /// The identities.
        identities: &'a [IdentitySource],
        /// Who is asked for passphrases.
        prompt: &'a Arc<dyn Prompt>,
        /// The pinned fingerprint.
        pinned: Option<Fingerprint>,
    },
}

/// Puts right what keeps a repository from opening. The caller opens it again, and is told there what is still wrong.
pub async fn open_again(
    store: &Arc<dyn Store>,
    sources: &Sources,
    opening: &Opening<'_>,
) -> Result<Vec<Healed>, RepairError> {
    match opening {
        Opening::Writer(key) => {
            sources.insist_on(key.repository).await?;
            let mut healed = heal(store, sources, std::slice::from_ref(*key), None).await?;
            // An identity may be what it is to be opened with.
            healed.extend(bring_access(&**store, sources, std::slice::from_ref(*key), None).await?);
            Ok(healed)
        }
        Opening::Identity { identities, prompt, pinned } => {
            let mut stores: Vec<&Arc<dyn Store>> = vec![store];
            stores.extend(sources.list.iter().map(|source| &source.store));
            let mut ids: BTreeSet<RepositoryId> = BTreeSet::new();
            match read_format(&**store).await {
                // Where the place says whose it is, nobody else's word counts.
                Ok(id) => _ = ids.insert(id),
                Err(RepoError::NoRepository { .. } | RepoError::Format { .. } | RepoError::TooLarge { .. }) => {
                    for other in &stores {
                        ids.extend(read_format(&***other).await.ok());
                    }
                }
                Err(error) => return Err(error.into()),
            }
            let mut failure = RepoError::NoAccess { store: store.address() };
            for id in ids {
                for from in &stores {
                    match newest_access(&***from, id, identities, prompt, *pinned).await {
                        Ok(access) => {
                            let keys = keys_of(&access);
                            let Some(key) = keys.first() else { continue };
                            sources.insist_on(key.repository).await?;
                            let mut healed = heal(store, sources, &keys, None).await?;
                            healed.extend(bring_access(&**store, sources, &keys, None).await?);
                            // What no source has.
                            if let Some((name, bytes)) = sign_again(&**store, &access).await? {
                                put_right(&**store, &name, &bytes, None).await?;
                                healed.push(Healed::here(&name, How::Made));
                            }
                            return Ok(healed);
                        }
                        Err(error) => failure = error,
                    }
                }
            }
            Err(failure.into())
        }
    }
}

/// The record of an epoch that one of the keys proves; the error is what the last one says.
async fn proven(store: &dyn Store, keys: &[WriterKey], number: u32) -> Result<(), RepoError> {
    let mut last = RepoError::Worker { what: "the search for a key" };
    for key in keys.iter().filter(|key| key.epoch <= number).rev() {
        match proven_epoch(store, key, number).await {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether anything in the place was made with one of the keys.
async fn is_the_keys(store: &dyn Store, keys: &[WriterKey]) -> Result<bool, RepoError> {
    for key in keys {
        if is_of_key(store, key).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn is_of_key(store: &dyn Store, key: &WriterKey) -> Result<bool, RepoError> {
    for number in [key.epoch].into_iter().chain(epochs_above(store, 0).await?).take(PROOFS_MAX) {
        if proven_epoch(store, key, number).await.is_ok() {
            return Ok(true);
        }
    }
    for (prefix, kind) in [
        (layout::SNAPSHOTS, RecordKind::Snapshot),
        (layout::INDEX, RecordKind::Index),
        (layout::SESSIONS, RecordKind::Session),
    ] {
        for entry in store.list(prefix).await?.iter().take(PROOFS_MAX) {
            let Ok(bytes) = get_within(store, &entry.key, RECORD_BYTES_MAX).await else { continue };
            // The epoch stands in clear at the head of the seal, and is proven by its opening.
            let head = bytes.get(1..5).and_then(|head| <[u8; 4]>::try_from(head).ok());
            let Some(epoch) = head.map(u32::from_le_bytes) else { continue };
            let meta = MetaKeys::new(key.repository, epoch, key.metadata_key.duplicate());
            if meta.open(Subject::Record(kind), &bytes).is_ok() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// `format.json` and the epochs, as far as one of the keys proves them: of one repository, the earliest first.
pub(super) async fn heal(
    store: &Arc<dyn Store>,
    sources: &Sources,
    keys: &[WriterKey],
    retain: Option<Time>,
) -> Result<Vec<Healed>, RepairError> {
    let store = &**store;
    let [key, ..] = keys else { return Ok(Vec::new()) };
    let mut healed = Vec::new();
    match read_format(store).await {
        Ok(id) if id == key.repository => {}
        Ok(id) => return Err(RepoError::other_repository(store.address(), &key.repository, &id).into()),
        Err(RepoError::NoRepository { .. } | RepoError::Format { .. } | RepoError::TooLarge { .. }) => {
            let mut proven = is_the_keys(store, keys).await?;
            // What the place held before says whose it is, too.
            for source in sources.list.iter().filter(|source| source.own) {
                proven = proven || is_the_keys(&*source.store, keys).await?;
            }
            if !proven {
                return Err(RepairError::NotProven { store: store.address() });
            }
            let name = layout::format();
            let mut found: Option<(Bytes, &str)> = None;
            for source in &sources.list {
                if read_format(&*source.store).await.is_ok_and(|id| id == key.repository) {
                    let bytes = get_within(&*source.store, &name, FORMAT_BYTES_MAX).await?;
                    found = found.or(Some((bytes, &source.name)));
                }
            }
            let (bytes, told) = match found {
                Some((bytes, from)) => (bytes, Healed::copied(&name, from)),
                None => (format_bytes(key.repository), Healed::here(&name, How::Made)),
            };
            put_right(store, &name, &bytes, retain).await?;
            healed.push(told);
        }
        Err(error) => return Err(error.into()),
    }
    // Those before are of another key.
    let mut numbers: BTreeSet<u32> = keys.iter().map(|key| key.epoch).collect();
    for source in &sources.list {
        match epochs_above(&*source.store, key.epoch).await {
            Ok(above) => numbers.extend(above),
            Err(RepoError::Store(error)) => sources.trouble(source, &layout::epoch(key.epoch), &error),
            Err(error) => return Err(error.into()),
        }
    }
    for number in numbers {
        let name = layout::epoch(number);
        match proven(store, keys, number).await {
            Ok(()) => continue,
            Err(RepoError::Store(error @ (StoreError::Gone { .. } | StoreError::Denied { .. }))) => {
                return Err(error.into());
            }
            Err(_) => {}
        }
        for source in &sources.list {
            match proven(&*source.store, keys, number).await {
                Ok(()) => {
                    let bytes = get_within(&*source.store, &name, RECORD_BYTES_MAX).await?;
                    put_right(store, &name, &bytes, retain).await?;
                    // What was put is what was proven.
                    proven(store, keys, number).await?;
                    healed.push(Healed::copied(&name, &source.name));
                    break;
                }
                Err(RepoError::Store(error)) if error.is_not_found() => {}
                Err(error) => sources.trouble(source, &name, &error),
            }
        }
    }
    Ok(healed)
}

/// Why a source is not asked for access.
#[derive(Debug, thiserror::Error)]
#[error("it is not there: who may read has changed since this copy was made, so its access objects are not taken")]
struct Outdated;

/// Whether an access object is there whose bytes its name proves.
async fn has_access(store: &dyn Store) -> Result<bool, RepoError> {
    for entry in store.list(layout::ACCESS).await? {
        let Some(id) = layout::object_id(&entry.key) else { continue };
        match get_within(store, &entry.key, AGE_BYTES_MAX as u64).await {
            Ok(bytes) if object_id(&bytes) == id => return Ok(true),
            Ok(_) | Err(RepoError::TooLarge { .. }) => {}
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The highest epoch of which the record proves itself.
async fn newest_epoch(store: &dyn Store, keys: &[WriterKey]) -> Result<u32, RepoError> {
    let mut newest = 0;
    for number in epochs_above(store, 0).await? {
        if number > newest && proven(store, keys, number).await.is_ok() {
            newest = number;
        }
    }
    Ok(newest)
}

/// The access objects of the first source that has any, if none is here. Where one is here, what a replica has besides may be of somebody who was removed; and those of a
/// replica that does not know the current epoch are of before somebody was, and open nothing that was stored since.
async fn bring_access(
    store: &dyn Store,
    sources: &Sources,
    keys: &[WriterKey],
    retain: Option<Time>,
) -> Result<Vec<Healed>, RepairError> {
    let mut healed = Vec::new();
    if has_access(store).await? {
        return Ok(healed);
    }
    let newest = newest_epoch(store, keys).await?;
    for source in &sources.list {
        match newest_epoch(&*source.store, keys).await {
            Ok(theirs) if theirs >= newest => {}
            Ok(_) => {
                sources.trouble(source, &layout::epoch(newest), &Outdated);
                continue;
            }
            Err(error) => {
                sources.trouble(source, &layout::epoch(newest), &error);
                continue;
            }
        }
        let listed = match source.store.list(layout::ACCESS).await {
            Ok(listed) => listed,
            Err(error) => {
                sources.trouble(source, &layout::format(), &error);
                continue;
            }
        };
        for entry in listed.into_iter().filter(|entry| layout::object_id(&entry.key).is_some()) {
            if let Some((bytes, from)) = sources.whole(&entry.key).await {
                put_right(store, &entry.key, &bytes, retain).await?;
                healed.push(Healed::copied(&entry.key, from));
            }
        }
        if !healed.is_empty() {
            break;
        }
    }
    Ok(healed)
}

/// What opening needs, for a repository that is open: if anything comes back the caller opens it again, since a record that was gone may be of a later epoch than this one.
pub async fn heal_opening(
    repository: &Repository,
    sources: &Sources,
    clock: &dyn Clock,
) -> Result<Vec<Healed>, RepairError> {
    sources.insist_on(repository.id).await?;
    heal(&repository.store, sources, &repository.keys_of_epochs(), retain_until(repository, clock.now())).await
}

/// The same for a repository that is open.
pub(super) async fn access(work: &Work<'_>) -> Result<Vec<Healed>, RepairError> {
    bring_access(&*work.repository.store, work.sources, &work.repository.keys_of_epochs(), work.retain()).await
}
