//! Opening: what a key proves of a repository before anything else is believed.
//!
//! With a writer key: the id must match, the epoch record must be signed by the root key that the writer key pins, and no later epoch may exist. With an
//! identity: the access object names the id and holds the root key's seed; its fingerprint is compared with the pinned one, or the caller must say
//! that there was none ([`Repository::verified`]).

use std::cmp::Ordering;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use futures::join;
use futures::stream::{self, Stream, StreamExt};

use crate::base::clock::Time;
use crate::base::id::RepositoryId;
use crate::base::secret::Secret;
use crate::chunker::Chunker;
use crate::crypto::content::{ContentKey, epoch_public};
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::hash::BlobHasher;
use crate::crypto::meta::{MetaError, MetaKeys};
use crate::crypto::recipients::{AGE_BYTES_MAX, IdentitySource, Opened, Prompt, unwrap};
use crate::crypto::sign::RootPublic;
use crate::crypto::writer_key::WriterKey;
use crate::format::record::{self, AccessRecord, EpochKeys, EpochRecord, FORMAT_VERSION, FormatFile};
use crate::repo::epochs::{later_epochs, latest_epoch, latest_of, proven_epoch, read_epoch};
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::repo::sealed;
use crate::store::cache::Cache;
use crate::store::{Listed, Store, StoreError};

/// Access objects fetched at once; a repository has a few.
const ACCESS_AT_ONCE: usize = 4;

/// An opened repository: a store and the keys that are held.
pub struct Repository {
    /// Where it lies.
    pub store: Arc<dyn Store>,
    /// Its id.
    pub id: RepositoryId,
    /// Whether its fingerprint was compared with a pinned one.
    pub verified: bool,
    pub(crate) meta: MetaKeys,
    pub(crate) hasher: BlobHasher,
    chunker: Chunker,
    pub(crate) epoch: EpochRecord,
    pub(crate) secrets: Option<AccessRecord>,
    /// The public half of the identity that opened it; `None` for a writer key.
    pub opened_by: Option<String>,
    /// The first epoch whose keys the identity does not hold, and when it began: its recipient was removed.
    removed: Option<(u32, Time)>,
    root: RootPublic,
    writer_keys: (Secret, Secret, Secret),
    /// Copies near at hand; only where [`Repository::near`] was called.
    pub(super) cache: Option<Cache>,
}

/// An epoch that has begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Begun {
    /// Its number.
    pub number: u32,
    /// When it began; `None` if its record does not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// Its writer key is not the one that is in use.
    pub retired: bool,
}

/// Reads and checks `format.json`.
pub(crate) async fn read_format(store: &dyn Store) -> Result<RepositoryId, RepoError> {
    let address = store.address();
    let raw = match sealed::get_within(store, &layout::format(), sealed::FORMAT_BYTES_MAX).await {
        Ok(raw) => raw,
        Err(RepoError::Store(StoreError::NotFound { .. })) => return Err(RepoError::NoRepository { store: address }),
        Err(error) => return Err(error),
    };
    let fail = |reason: String| RepoError::Format { store: address.clone(), reason };
    let file: FormatFile = serde_json::from_slice(&raw).map_err(|error| fail(error.to_string()))?;
    if file.magic != "homelab-dr" {
        return Err(fail(format!("its magic is {:?}", file.magic)));
    }
    if file.version != FORMAT_VERSION {
        let reason = format!("it has version {}, this program knows version {FORMAT_VERSION}", file.version);
        return Err(RepoError::Version { store: address, reason });
    }
    file.repository.parse().map_err(|error: crate::base::id::IdError| fail(error.to_string()))
}

/// An access object as it was listed and what came of fetching it; `None` if it is too long.
type Fetched = (Listed, Option<Result<Bytes, StoreError>>);

/// Access objects in the order in which they are listed, fetched a few at once: whoever is asked to touch a key waits for nothing else.
fn fetch_access(store: &dyn Store, listed: Vec<Listed>) -> impl Stream<Item = Fetched> {
    let fetch = move |listed: Listed| async move {
        let fits = listed.size <= AGE_BYTES_MAX as u64;
        let raw = if fits { Some(store.get(&listed.key).await) } else { None };
        (listed, raw)
    };
    stream::iter(listed).map(fetch).buffered(ACCESS_AT_ONCE)
}

/// The access objects that `identities` open and that are this repository's, the highest generation first; at least one. Objects that somebody planted (of another repository, of
/// another root key than the pinned one, that do not decode) are passed over as long as a right one is found.
async fn read_access(
    store: &dyn Store,
    mut fetched: Pin<&mut impl Stream<Item = Fetched>>,
    id: RepositoryId,
    identities: &[IdentitySource],
    prompt: &Arc<dyn Prompt>,
    pinned: Option<Fingerprint>,
) -> Result<Vec<(AccessRecord, Opened)>, RepoError> {
    let mut candidates: Vec<(AccessRecord, Opened)> = Vec::new();
    let mut failure: Option<RepoError> = None;
    let mut worse = |error: RepoError| {
        // A mix-up or forgery says more than that an object could not be fetched, and that more than that some other object does not open.
        let weight = |error: &RepoError| match error {
            RepoError::Forged { .. } | RepoError::OtherRepository { .. } => 2,
            RepoError::Store(error) if !error.is_not_found() => 1,
            _ => 0,
        };
        if failure.as_ref().is_none_or(|held| weight(held) <= weight(&error)) {
            failure = Some(error);
        }
    };
    while let Some((listed, raw)) = fetched.next().await {
        let raw = match raw {
            Some(Ok(raw)) => raw,
            Some(Err(error @ StoreError::Gone { .. })) => return Err(error.into()),
            // Another one may well be read, and opens the repository as well.
            Some(Err(error)) => {
                worse(error.into());
                continue;
            }
            None => {
                worse(RepoError::TooLarge { key: listed.key, bytes: listed.size, limit: AGE_BYTES_MAX as u64 });
                continue;
            }
        };
        if layout::object_id(&listed.key) != Some(crate::crypto::hash::object_id(&raw)) {
            worse(RepoError::Damaged { key: listed.key });
            continue;
        }
        let opened = match unwrap(&raw, identities, prompt) {
            Ok(opened) => opened,
            Err(source) => {
                worse(RepoError::NoIdentity { store: store.address(), source });
                continue;
            }
        };
        let access: AccessRecord = match record::decode(&opened.plaintext) {
            Ok(access) => access,
            Err(source) => {
                worse(RepoError::Record { key: listed.key, source });
                continue;
            }
        };
        let found = Fingerprint::of(&id, &RootPublic::of(&access.root));
        if access.repository != id {
            worse(RepoError::other_repository(store.address(), &access.repository, &id));
        } else if let Some(expected) = pinned.filter(|expected| *expected != found) {
            worse(RepoError::Forged { store: store.address(), expected, found });
        } else {
            candidates.push((access, opened));
        }
    }
    candidates.sort_by_key(|(access, _)| std::cmp::Reverse(access.generation));
    match failure {
        _ if !candidates.is_empty() => Ok(candidates),
        Some(error) => Err(error),
        None => Err(RepoError::NoAccess { store: store.address() }),
    }
}

impl Repository {
    /// Opens with the writer key: everything but content.
    pub async fn open_with_writer(store: Arc<dyn Store>, key: &WriterKey) -> Result<Self, RepoError> {
        // Beside each other, and judged in this order: nothing is believed before what comes before it has proven right.
        let (id, latest, held) =
            join!(read_format(&*store), latest_epoch(&*store), proven_epoch(&*store, key, key.epoch));
        let id = id?;
        if id != key.repository {
            return Err(RepoError::other_repository(store.address(), &key.repository, &id));
        }
        let latest = latest?.unwrap_or(key.epoch).max(key.epoch);
        // An epoch that began because a recipient was removed keeps the metadata key: the writer goes on with the new public key.
        let mut meta = MetaKeys::new(id, latest, key.metadata_key.duplicate());
        meta.held_from(key.epoch);
        let epoch = if latest == key.epoch { held } else { proven_epoch(&*store, key, latest).await };
        let epoch = match epoch {
            Err(RepoError::Sealed { .. } | RepoError::Epoch { .. }) if latest > key.epoch => {
                return Err(RepoError::Retired { store: store.address(), held: key.epoch, found: latest });
            }
            other => other?,
        };
        // Only a number that the root key signed is counted up to: anybody can plant a name below epochs/.
        for earlier in epoch.accepted_from()..latest {
            meta.add(earlier, key.metadata_key.duplicate());
        }
        meta.accept_from(epoch.accepted_from());
        let writer_keys = (key.metadata_key.duplicate(), key.chunk_id_key.duplicate(), key.chunker_key.duplicate());
        Ok(Self::assemble(store, id, true, meta, epoch, None, key.root, writer_keys))
    }

    /// Opens with recovery identities: everything. `pinned` is the fingerprint to insist on; without it the repository is opened unverified.
    pub async fn open_with_identity(
        store: Arc<dyn Store>,
        identities: &[IdentitySource],
        prompt: &Arc<dyn Prompt>,
        pinned: Option<Fingerprint>,
    ) -> Result<Self, RepoError> {
        let (id, access) = join!(read_format(&*store), store.list(layout::ACCESS));
        let (id, access) = (id?, access?);
        // Of two changes of the recipients at once only one began an epoch: the other's access object, if it is still there, does not match its record.
        // Epochs after access objects: an epoch that one names has begun if it is listed now.
        let mut fetched = pin!(fetch_access(&*store, access).peekable());
        let (_, begun) = join!(fetched.as_mut().peek(), store.list(layout::EPOCHS));
        let begun = begun?;
        let candidates = read_access(&*store, fetched, id, identities, prompt, pinned).await?;
        let latest = latest_of(&begun);
        let mut fallback: Option<Self> = None;
        let mut failure: Option<RepoError> = None;
        for candidate in candidates {
            match Self::open_candidate(&store, id, candidate, &begun, pinned).await {
                Ok(repository) if latest.is_none_or(|latest| repository.epoch.number >= latest) => {
                    return Ok(repository);
                }
                Ok(repository) => fallback = fallback.or(Some(repository)),
                Err(error @ RepoError::Store(_)) => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match (fallback, failure) {
            (Some(repository), _) => Ok(repository),
            (None, Some(error)) => Err(error),
            (None, None) => Err(RepoError::NoAccess { store: store.address() }),
        }
    }

    /// Opens with one access object, whose current epoch must match its record.
    async fn open_candidate(
        store: &Arc<dyn Store>,
        id: RepositoryId,
        (access, opened): (AccessRecord, Opened),
        begun: &[Listed],
        pinned: Option<Fingerprint>,
    ) -> Result<Self, RepoError> {
        let store = store.clone();
        let root = RootPublic::of(&access.root);
        let mut epochs: Vec<_> = access.epochs.iter().collect();
        epochs.sort_by_key(|epoch| std::cmp::Reverse(epoch.number));
        // The access object is written before its epoch's record: a change of recipients that was cut off between the two has not happened yet.
        let has_begun = |number: u32| begun.iter().any(|entry| entry.key == layout::epoch(number));
        while epochs.len() > 1
            && let Some(newest) = epochs.first()
            && !has_begun(newest.number)
            // A list may be old. Who took an epoch that has begun for one that has not would leave its key out of the next access object, and everything stored since would be lost (seed 1630).
            && store.stat(&layout::epoch(newest.number)).await?.is_none()
        {
            epochs.remove(0);
        }
        let current = epochs.first().ok_or_else(|| RepoError::NoAccess { store: store.address() })?;
        let mut meta = MetaKeys::new(id, current.number, current.metadata_key.duplicate());
        for earlier in epochs.iter().skip(1) {
            meta.add(earlier.number, earlier.metadata_key.duplicate());
        }
        let mut removed = None;
        for number in later_epochs(begun, current.number) {
            // The metadata key outlives a removal. A record that it does not open, or that the root key did not sign, says nothing: anybody can plant one.
            let keys = MetaKeys::new(id, number, current.metadata_key.duplicate());
            if let Ok(later) = read_epoch(&*store, &keys, &root, &current.metadata_key).await {
                meta.add(number, current.metadata_key.duplicate());
                removed = removed.or(Some((number, later.created)));
            }
        }
        let epoch = read_epoch(&*store, &meta, &root, &current.metadata_key).await?;
        if epoch.public != epoch_public(&current.private) {
            let reason = "its public key is not that of the private key in access/".to_owned();
            return Err(RepoError::Epoch { store: store.address(), epoch: epoch.number, reason });
        }
        meta.accept_from(epoch.accepted_from());
        let writer_keys =
            (current.metadata_key.duplicate(), access.chunk_id_key.duplicate(), access.chunker_key.duplicate());
        let verified = pinned.is_some();
        let mut opened = Self::assemble(store, id, verified, meta, epoch, Some((access, opened.by)), root, writer_keys);
        opened.removed = removed;
        Ok(opened)
    }

    /// The same repository in the epoch that was just begun, with the access record that was written for it.
    pub(crate) fn advanced(&self, access: AccessRecord, epoch: EpochRecord) -> Result<Self, RepoError> {
        let current = access.epochs.iter().find(|keys| keys.number == epoch.number);
        let current = current.ok_or(RepoError::Worker { what: "the new epoch" })?;
        let mut meta = MetaKeys::new(self.id, current.number, current.metadata_key.duplicate());
        for earlier in access.epochs.iter().filter(|keys| keys.number < epoch.number) {
            meta.add(earlier.number, earlier.metadata_key.duplicate());
        }
        meta.accept_from(epoch.accepted_from());
        let keys = (current.metadata_key.duplicate(), access.chunk_id_key.duplicate(), access.chunker_key.duplicate());
        let secrets = Some((access, self.opened_by.clone().unwrap_or_default()));
        Ok(Self::assemble(self.store.clone(), self.id, self.verified, meta, epoch, secrets, self.root, keys))
    }

    /// The first epoch of the metadata key that is in use, if records of earlier ones are still accepted: a rotation of the writer key that was cut off. Only an
    /// identity can tell.
    #[must_use]
    pub fn unfinished_rotation(&self) -> Option<u32> {
        let secrets = self.secrets.as_ref()?;
        let (metadata_key, ..) = &self.writer_keys;
        let begun = secrets.epochs.iter().filter(|keys| keys.number <= self.epoch.number);
        let another = |keys: &&EpochKeys| keys.metadata_key.expose() != metadata_key.expose();
        let last = begun.filter(another).map(|keys| keys.number).max()?;
        (last >= self.epoch.accepted_from()).then_some(last + 1)
    }

    /// Fails if a rotation of the writer key is to be finished first.
    pub fn refuse_if_unfinished(&self) -> Result<(), RepoError> {
        match self.unfinished_rotation() {
            Some(epoch) => Err(RepoError::Unfinished { store: self.store.address(), epoch }),
            None => Ok(()),
        }
    }

    /// Fails if the recipient of the identity that opened it was removed: what was stored since is closed to it.
    pub fn refuse_if_removed(&self) -> Result<(), RepoError> {
        match self.removed {
            Some((epoch, at)) => Err(RepoError::Removed { store: self.store.address(), epoch, at }),
            None => Ok(()),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "private; the one place where the parts meet")]
    fn assemble(
        store: Arc<dyn Store>,
        id: RepositoryId,
        verified: bool,
        meta: MetaKeys,
        epoch: EpochRecord,
        secrets: Option<(AccessRecord, String)>,
        root: RootPublic,
        writer_keys: (Secret, Secret, Secret),
    ) -> Self {
        let hasher = BlobHasher::new(&writer_keys.1);
        let chunker = Chunker::new(&writer_keys.2);
        let (secrets, opened_by) = secrets.unzip();
        let (removed, cache) = (None, None);
        Self {
            store,
            id,
            verified,
            meta,
            hasher,
            chunker,
            epoch,
            secrets,
            opened_by,
            removed,
            root,
            writer_keys,
            cache,
        }
    }

    /// The same repository seen through another store, such as a wrapper that counts or slows.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self
    }

    /// The same keys for another store: what a replica holds is opened with them, and nothing else of it is believed.
    pub(crate) fn through(&self, store: Arc<dyn Store>) -> Self {
        let secrets = self.secrets.as_ref().map(|held| AccessRecord {
            repository: held.repository,
            root: held.root.duplicate(),
            chunk_id_key: held.chunk_id_key.duplicate(),
            chunker_key: held.chunker_key.duplicate(),
            epochs: held
                .epochs
                .iter()
                .map(|epoch| EpochKeys {
                    number: epoch.number,
                    metadata_key: epoch.metadata_key.duplicate(),
                    private: epoch.private.duplicate(),
                })
                .collect(),
            recipients: held.recipients.clone(),
            generation: held.generation,
            created: held.created,
        });
        let (metadata_key, chunk_id_key, chunker_key) = &self.writer_keys;
        let keys = (metadata_key.duplicate(), chunk_id_key.duplicate(), chunker_key.duplicate());
        let secrets = secrets.zip(self.opened_by.clone());
        let meta = self.meta.duplicate();
        let mut through =
            Self::assemble(store, self.id, self.verified, meta, self.epoch.clone(), secrets, self.root, keys);
        through.removed = self.removed;
        through
    }

    /// Cuts files the way this repository does.
    #[must_use]
    pub const fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// What a person pins.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.id, &self.root)
    }

    /// The writer key of the current epoch.
    #[must_use]
    pub fn writer_key(&self) -> WriterKey {
        let (metadata_key, chunk_id_key, chunker_key) = &self.writer_keys;
        WriterKey {
            repository: self.id,
            root: self.root,
            epoch: self.epoch.number,
            metadata_key: metadata_key.duplicate(),
            chunk_id_key: chunk_id_key.duplicate(),
            chunker_key: chunker_key.duplicate(),
        }
    }

    /// The epochs that have begun, by what the identity holds; none without one. A record that does not read tells nothing of when.
    pub async fn epochs(&self) -> Vec<Begun> {
        let Some(access) = &self.secrets else { return Vec::new() };
        let (metadata_key, ..) = &self.writer_keys;
        let mut epochs = Vec::new();
        for keys in access.epochs.iter().filter(|keys| keys.number <= self.epoch.number) {
            let proven = proven_epoch(&*self.store, &writer_key_of(access, keys), keys.number).await;
            let retired = keys.metadata_key.expose() != metadata_key.expose();
            epochs.push(Begun { number: keys.number, created: proven.ok().map(|record| record.created), retired });
        }
        epochs.sort_by_key(|epoch| epoch.number);
        epochs
    }

    /// What it means to who holds a writer key alone that a record was sealed with another metadata key: a later one retired this key; an earlier one should be
    /// nowhere any more. `None` if that is not what is wrong.
    pub(crate) fn of_another_key(&self, error: &RepoError) -> Option<RepoError> {
        let RepoError::Sealed { source: MetaError::Epoch(epoch), .. } = error else { return None };
        let store = self.store.address();
        match epoch.cmp(&self.epoch.number) {
            _ if self.has_identity() => None,
            Ordering::Greater => Some(RepoError::Retired { store, held: self.epoch.number, found: *epoch }),
            Ordering::Less => Some(RepoError::Unfinished { store, epoch: self.epoch.number }),
            Ordering::Equal => None,
        }
    }

    /// What proves the records of its epochs, as far as it can: a writer key for each metadata key that is held.
    pub(crate) fn keys_of_epochs(&self) -> Vec<WriterKey> {
        match &self.secrets {
            Some(access) => keys_of(access),
            None => vec![WriterKey { epoch: self.epoch.accepted_from(), ..self.writer_key() }],
        }
    }

    /// What proves copies near at hand: whoever holds a key of the repository can derive it.
    pub(super) fn cache_key(&self) -> [u8; 32] {
        *self.writer_keys.0.derive("homelab-dr v1 copies near at hand").expose()
    }

    /// Whether content can be read.
    #[must_use]
    pub const fn has_identity(&self) -> bool {
        self.secrets.is_some()
    }

    /// The recipients, as the access object that was opened names them; `None` without an identity.
    #[must_use]
    pub fn recipients(&self) -> Option<&[String]> {
        self.secrets.as_ref().map(|secrets| secrets.recipients.as_slice())
    }

    /// When the epoch of this session began: the repository was created, a recipient was removed, or the writer key was replaced.
    #[must_use]
    pub const fn epoch_begun(&self) -> Time {
        self.epoch.created
    }

    /// Whether records of an epoch are accepted.
    pub(crate) fn accepts(&self, epoch: u32) -> bool {
        epoch >= self.epoch.accepted_from()
    }

    /// How long every object is locked against deletion; zero for not at all.
    #[must_use]
    pub const fn lock_period(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.epoch.lock_seconds)
    }

    /// Unwraps a session's content key with the identity that is held.
    pub(crate) fn unwrap_session(
        &self,
        epoch: u32,
        wrap: &[u8],
    ) -> Result<Result<ContentKey, crate::crypto::content::ContentError>, RepoError> {
        let secrets = self.secrets.as_ref().ok_or(RepoError::IdentityNeeded)?;
        if self.removed.is_some_and(|(first, _)| first <= epoch) {
            self.refuse_if_removed()?;
        }
        let broken = Err(crate::crypto::content::ContentError::Broken);
        Ok(secrets
            .epochs
            .iter()
            .find(|keys| keys.number == epoch)
            .map_or(broken, |keys| ContentKey::unwrap(self.id, epoch, &keys.private, wrap)))
    }

    /// Reads the current epoch's record anew, with every check of opening.
    pub(crate) async fn reread_epoch(&self) -> Result<EpochRecord, RepoError> {
        let (metadata_key, ..) = &self.writer_keys;
        read_epoch(&*self.store, &self.meta, &self.root, metadata_key).await
    }

    /// Reads the epochs anew and fails if one began that another metadata key belongs to: what this key seals is not accepted any more.
    pub(crate) async fn refuse_if_replaced(&self) -> Result<(), RepoError> {
        match self.refuse_if_retired().await {
            Err(RepoError::Retired { store, held, found }) => {
                match proven_epoch(&*self.store, &self.writer_key(), found).await {
                    Ok(_) => Ok(()),
                    Err(RepoError::Store(error)) => Err(error.into()),
                    Err(_) => Err(RepoError::Retired { store, held, found }),
                }
            }
            other => other,
        }
    }

    /// Reads the epochs anew and fails if a later one began: a writer must not commit under a retired key.
    pub(crate) async fn refuse_if_retired(&self) -> Result<(), RepoError> {
        match latest_epoch(&*self.store).await? {
            Some(found) if found > self.epoch.number => {
                Err(RepoError::Retired { store: self.store.address(), held: self.epoch.number, found })
            }
            _ => Ok(()),
        }
    }
}

/// The newest access object in `store` that these identities open, of the repository `id`.
pub(crate) async fn newest_access(
    store: &dyn Store,
    id: RepositoryId,
    identities: &[IdentitySource],
    prompt: &Arc<dyn Prompt>,
    pinned: Option<Fingerprint>,
) -> Result<AccessRecord, RepoError> {
    let fetched = pin!(fetch_access(store, store.list(layout::ACCESS).await?));
    let found = read_access(store, fetched, id, identities, prompt, pinned).await?;
    let newest = found.into_iter().next().map(|(access, _)| access);
    newest.ok_or_else(|| RepoError::NoAccess { store: store.address() })
}

/// A writer key for each metadata key in an access record, of the first epoch that has it; the earliest first.
pub(crate) fn keys_of(access: &AccessRecord) -> Vec<WriterKey> {
    let mut epochs: Vec<&EpochKeys> = access.epochs.iter().collect();
    epochs.sort_by_key(|epoch| epoch.number);
    epochs.dedup_by(|later, before| later.metadata_key.expose() == before.metadata_key.expose());
    epochs.into_iter().map(|epoch| writer_key_of(access, epoch)).collect()
}

/// The writer key of one of the epochs in an access record.
pub(crate) fn writer_key_of(access: &AccessRecord, epoch: &EpochKeys) -> WriterKey {
    WriterKey {
        repository: access.repository,
        root: RootPublic::of(&access.root),
        epoch: epoch.number,
        metadata_key: epoch.metadata_key.duplicate(),
        chunk_id_key: access.chunk_id_key.duplicate(),
        chunker_key: access.chunker_key.duplicate(),
    }
}
