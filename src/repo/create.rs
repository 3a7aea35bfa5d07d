//! `init`: a new repository in an empty place.
//!
//! Order: access (so that somebody can open whatever follows) → epoch → `format.json` last, which is what makes it a repository.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::clock::{Clock, Time};
use crate::base::id::RepositoryId;
use crate::base::secret::{Secret, random};
use crate::crypto::content::epoch_key_pair;
use crate::crypto::hash::object_id;
use crate::crypto::meta::MetaKeys;
use crate::crypto::recipients::{Recipient, wrap};
use crate::crypto::sign;
use crate::crypto::writer_key::WriterKey;
use crate::format::kind::RecordKind;
use crate::format::record::{self, AccessRecord, EpochKeys, EpochRecord, FORMAT_VERSION, FormatFile, SignedEpoch};
use crate::repo::epochs::metadata_commitment;
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::repo::open::{Repository, writer_key_of};
use crate::repo::sealed;
use crate::store::{Key, Store, StoreError};

/// BLAKE3 of the recipients, sorted and joined by line feeds.
pub(super) fn recipients_hash(recipients: &[String]) -> [u8; 32] {
    let mut sorted = recipients.to_vec();
    sorted.sort();
    *blake3::hash(sorted.join("\n").as_bytes()).as_bytes()
}

/// A repository that is decided and not yet stored, so that its writer key can be brought to safety first.
pub struct NewRepository {
    access: AccessRecord,
    recipients: Vec<Recipient>,
    epoch: EpochRecord,
    keys: WriterKey,
    retain: Option<Time>,
}

impl NewRepository {
    /// Draws the keys of a repository for `recipients`. Refuses a place that holds anything; puts nothing into it.
    pub async fn draw(
        store: &dyn Store,
        recipients: &[Recipient],
        lock: Duration,
        clock: &dyn Clock,
    ) -> Result<Self, RepoError> {
        if let Some(found) = store.list("").await?.into_iter().next() {
            return Err(RepoError::NotEmpty { store: store.address(), example: found.key });
        }
        let created = clock.now();
        let (private, public) = epoch_key_pair()?;
        let access = AccessRecord {
            repository: RepositoryId::new(random()?),
            root: Secret::random()?,
            chunk_id_key: Secret::random()?,
            chunker_key: Secret::random()?,
            epochs: vec![EpochKeys { number: 1, metadata_key: Secret::random()?, private }],
            recipients: recipients.iter().map(ToString::to_string).collect(),
            generation: 1,
            created,
        };
        let current = access.epochs.iter().max_by_key(|epoch| epoch.number);
        let keys = current.map(|epoch| writer_key_of(&access, epoch)).ok_or(RepoError::Worker { what: "init" })?;
        let epoch = EpochRecord {
            number: 1,
            public,
            metadata_commitment: metadata_commitment(&keys.metadata_key),
            recipients_hash: recipients_hash(&access.recipients),
            created,
            lock_seconds: lock.as_secs(),
            accepted_from: None,
        };
        let retain = (!lock.is_zero()).then(|| created.after(lock));
        Ok(Self { access, recipients: recipients.to_vec(), epoch, keys, retain })
    }

    /// Its writer key.
    #[must_use]
    pub const fn writer_key(&self) -> &WriterKey {
        &self.keys
    }

    /// Stores it and gives out the writer key.
    pub async fn store(self, store: &dyn Store) -> Result<WriterKey, RepoError> {
        put_access(store, &self.access, &self.recipients, self.retain).await?;
        put_epoch(store, &self.access, &self.epoch, self.retain).await?;
        let id = self.access.repository;
        store.put_new(&layout::format(), format_bytes(id), self.retain).await?;
        Ok(self.keys)
    }
}

/// `format.json` of a repository.
pub(crate) fn format_bytes(id: RepositoryId) -> Bytes {
    let format = FormatFile { magic: "homelab-dr".to_owned(), version: FORMAT_VERSION, repository: id.hex() };
    let mut text = serde_json::to_vec_pretty(&format).unwrap_or_default();
    text.push(b'\n');
    Bytes::from(text)
}

/// Creates a repository for `recipients` and returns its writer key. Refuses a place that holds anything.
pub async fn create(
    store: &Arc<dyn Store>,
    recipients: &[Recipient],
    lock: Duration,
    clock: &dyn Clock,
) -> Result<WriterKey, RepoError> {
    NewRepository::draw(&**store, recipients, lock, clock).await?.store(&**store).await
}

/// Seals an access record to `recipients` and puts it; returns its name.
async fn put_access(
    store: &dyn Store,
    access: &AccessRecord,
    recipients: &[Recipient],
    retain: Option<Time>,
) -> Result<Key, RepoError> {
    let plain = zeroize::Zeroizing::new(record::encode(access, 0));
    let stored = wrap(&plain, recipients)?;
    let key = layout::access(&object_id(&stored));
    store.put_new(&key, Bytes::from(stored), retain).await?;
    Ok(key)
}

async fn put_epoch(
    store: &dyn Store,
    access: &AccessRecord,
    epoch: &EpochRecord,
    retain: Option<Time>,
) -> Result<(), RepoError> {
    store.put_new(&layout::epoch(epoch.number), epoch_bytes(access, epoch)?, retain).await?;
    Ok(())
}

/// The record of an epoch, signed and sealed.
pub(super) fn epoch_bytes(access: &AccessRecord, epoch: &EpochRecord) -> Result<Bytes, RepoError> {
    #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail")]
    let body = minicbor::to_vec(epoch).expect("writing to memory");
    let signature = sign::sign(&access.root, sign::EPOCH, &access.repository, &body).to_vec();
    let keys = access.epochs.iter().find(|keys| keys.number == epoch.number);
    let keys = keys.ok_or(RepoError::Worker { what: "the new epoch" })?;
    let meta = MetaKeys::new(access.repository, epoch.number, keys.metadata_key.duplicate());
    Ok(sealed::seal(&meta, RecordKind::Epoch, &SignedEpoch { body, signature })?)
}

/// Seals the repository's keys to another set of recipients: a new access object of the next generation; then, if somebody was removed, a new epoch, so that
/// what is written from now on opens with none of the keys that they held; then the earlier access objects go (where nothing locks them).
///
/// Whoever lost access keeps what they already copied, and the metadata key: they can still read names in what follows, not content.
pub async fn change_recipients(
    repository: &Repository,
    recipients: &[Recipient],
    clock: &dyn Clock,
) -> Result<(), RepoError> {
    let held = repository.secrets.as_ref().ok_or(RepoError::IdentityNeeded)?;
    let names: Vec<String> = recipients.iter().map(ToString::to_string).collect();
    let removed = held.recipients.iter().any(|recipient| !names.contains(recipient));
    let next = removed.then(|| Next {
        metadata_key: repository.writer_key().metadata_key,
        accepted_from: repository.epoch.accepted_from,
    });
    advance(repository, recipients, next, clock).await.map(|_| ())
}

/// What the epoch that begins has of its own, besides a new X25519 pair.
pub(crate) struct Next {
    /// Another one than before retires every writer key.
    pub metadata_key: Secret,
    /// See [`EpochRecord::accepted_from`].
    pub accepted_from: Option<u32>,
}

/// Writes an access object of the next generation, then the record of the `next` epoch; then the earlier access objects go. Returns the repository in the epoch
/// that is current then.
pub(crate) async fn advance(
    repository: &Repository,
    recipients: &[Recipient],
    next: Option<Next>,
    clock: &dyn Clock,
) -> Result<Repository, RepoError> {
    let held = repository.secrets.as_ref().ok_or(RepoError::IdentityNeeded)?;
    let store = &*repository.store;
    let earlier = store.list(layout::ACCESS).await?;
    let created = clock.now();
    let lock = repository.lock_period();
    let retain = (!lock.is_zero()).then(|| created.after(lock));
    let names: Vec<String> = recipients.iter().map(ToString::to_string).collect();
    let current = repository.writer_key();
    let mut epochs: Vec<EpochKeys> = held
        .epochs
        .iter()
        .filter(|epoch| epoch.number <= current.epoch) // one that was prepared and never began is dropped
        .map(|epoch| EpochKeys {
            number: epoch.number,
            metadata_key: epoch.metadata_key.duplicate(),
            private: epoch.private.duplicate(),
        })
        .collect();
    let mut begins = None;
    if let Some(Next { metadata_key, accepted_from }) = next {
        let (private, public) = epoch_key_pair()?;
        let number = current.epoch + 1;
        begins = Some(EpochRecord {
            number,
            public,
            metadata_commitment: metadata_commitment(&metadata_key),
            recipients_hash: recipients_hash(&names),
            created,
            lock_seconds: lock.as_secs(),
            accepted_from,
        });
        epochs.push(EpochKeys { number, metadata_key, private });
    }
    let access = AccessRecord {
        repository: held.repository,
        root: held.root.duplicate(),
        chunk_id_key: held.chunk_id_key.duplicate(),
        chunker_key: held.chunker_key.duplicate(),
        epochs,
        recipients: names,
        generation: held.generation.saturating_add(1),
        created,
    };
    let own = put_access(store, &access, recipients, retain).await?;
    let begun = match &begins {
        Some(epoch) => put_epoch(store, &access, epoch, retain).await,
        None => repository.refuse_if_retired().await,
    };
    if let Err(error) = begun {
        // Somebody else changed the recipients meanwhile, and began an epoch that this object knows nothing of. Of other errors nobody knows whether the
        // epoch began all the same: then this object must stay, since it holds the epoch's key.
        if matches!(error, RepoError::Store(StoreError::Conflict { .. }) | RepoError::Retired { .. }) {
            remove(store, &own).await?;
        }
        return Err(error);
    }
    for listed in earlier {
        remove(store, &listed.key).await?;
    }
    let epoch = begins.unwrap_or_else(|| repository.epoch.clone());
    repository.advanced(access, epoch)
}

/// Removes an access object where nothing locks it.
async fn remove(store: &dyn Store, key: &Key) -> Result<(), RepoError> {
    match store.delete(key).await {
        Ok(()) | Err(StoreError::Locked { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
