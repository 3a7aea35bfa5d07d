//! Why an operation on a repository failed.

use crate::base::clock::Time;
use crate::base::id::{BlobId, ObjectId, RepositoryId};
use crate::base::secret::NoRandomness;
use crate::crypto::aead::SealError;
use crate::crypto::content::ContentError;
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::meta::MetaError;
use crate::crypto::recipients::{UnwrapError, WrapError};
use crate::format::record::RecordError;
use crate::store::{Key, StoreError};

/// See the module. Statements only; what to do about them is the command line's to say.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No `format.json`.
    #[error("{store} holds no repository")]
    NoRepository {
        /// The store's address.
        store: String,
    },
    /// `init` found something.
    #[error("{store} is not empty: it holds {example}")]
    NotEmpty {
        /// The store's address.
        store: String,
        /// One of the objects found.
        example: Key,
    },
    /// `format.json` is of another version.
    #[error("format.json in {store} is not that of a repository this program knows: {reason}")]
    Version {
        /// The store's address.
        store: String,
        /// Which it has and which is known.
        reason: String,
    },
    /// `format.json` is damaged, or never was ours.
    #[error("format.json in {store} is damaged: {reason}")]
    Format {
        /// The store's address.
        store: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer key or the pinned fingerprint is of another repository: a mix-up or a forgery.
    #[error("{store} holds repository {found}, not the expected {expected}")]
    OtherRepository {
        /// The store's address.
        store: String,
        /// The id or fingerprint that was expected.
        expected: String,
        /// The one found.
        found: String,
    },
    /// The repository's root key does not give the pinned fingerprint.
    #[error("{store} has fingerprint {found}, not the pinned {expected}: this is not your repository")]
    Forged {
        /// The store's address.
        store: String,
        /// What was pinned.
        expected: Fingerprint,
        /// What was found.
        found: Fingerprint,
    },
    /// The epoch record is missing, damaged or not signed by the root key.
    #[error("epoch {epoch} of {store} is not signed by the repository's root key: {reason}")]
    Epoch {
        /// The store's address.
        store: String,
        /// Its number.
        epoch: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// A later epoch began: this writer key was retired.
    #[error("the writer key is of epoch {held}, and {store} has epoch {found}")]
    Retired {
        /// The store's address.
        store: String,
        /// Epoch of the key.
        held: u32,
        /// The latest epoch found.
        found: u32,
    },
    /// A rotation of the writer key was cut off before everything was sealed anew.
    #[error("the rotation of the writer key that began epoch {epoch} of {store} was not finished")]
    Unfinished {
        /// The store's address.
        store: String,
        /// The first epoch of the new key.
        epoch: u32,
    },
    /// No identity given opens any access object.
    #[error("no given identity opens {store}")]
    NoIdentity {
        /// The store's address.
        store: String,
        /// What the last one failed with.
        #[source]
        source: UnwrapError,
    },
    /// Wrapping to recipients failed.
    #[error("the repository's keys could not be wrapped to the recipients")]
    Wrap(#[from] WrapError),
    /// There is no access object at all.
    #[error("{store} holds no access object: nobody can open it")]
    NoAccess {
        /// The store's address.
        store: String,
    },
    /// The identity opens keys of an earlier epoch only: its recipient was removed, and this place still holds the old access object, as copies do.
    #[error("this identity was removed from the repository (epoch {epoch}, {}): {store} does not open to it what was stored since", .at.utc().format("%Y-%m-%d"))]
    Removed {
        /// The store's address.
        store: String,
        /// The first epoch that is closed to it.
        epoch: u32,
        /// When that began.
        at: Time,
    },
    /// An identity is needed and none was given.
    #[error("reading content needs a recovery identity: the writer key cannot open what it wrote")]
    IdentityNeeded,
    /// A stored object is not what its name says.
    #[error("{key} is damaged: its bytes do not match its name")]
    Damaged {
        /// The object.
        key: Key,
    },
    /// A stored object is larger than any of its kind can be; it was not read.
    #[error("{key} has {bytes} bytes or more, and no such object has more than {limit}")]
    TooLarge {
        /// The object.
        key: Key,
        /// Its size, or as much of it as was asked for.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A part of the index cannot be read. Whoever writes would take what it names for absent.
    #[error("the index segment {key} cannot be read")]
    Index {
        /// The segment.
        key: Key,
        /// Why.
        #[source]
        source: Box<RepoError>,
    },
    /// A sealed record does not open.
    #[error("{key} does not open")]
    Sealed {
        /// The object.
        key: Key,
        /// Why.
        #[source]
        source: MetaError,
    },
    /// A sealed record opens and makes no sense.
    #[error("{key} is not well-formed")]
    Record {
        /// The object.
        key: Key,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// A pack whose layout is broken.
    #[error("{key} is not well-formed")]
    Pack {
        /// The object.
        key: Key,
        /// Why.
        #[source]
        source: crate::format::pack::PackError,
    },
    /// A parity object whose header makes no sense.
    #[error("{key} is not well-formed")]
    Parity {
        /// The object.
        key: Key,
        /// Why.
        #[source]
        source: crate::format::parity::ParityError,
    },
    /// A blob that nothing holds.
    #[error("blob {blob} is in no pack of the index")]
    Missing {
        /// The blob.
        blob: BlobId,
    },
    /// A blob that does not open to its id.
    #[error("blob {blob} in pack {pack} is damaged: {reason}")]
    Blob {
        /// The blob.
        blob: BlobId,
        /// The pack.
        pack: ObjectId,
        /// What is wrong with it.
        reason: String,
    },
    /// A session whose key does not open.
    #[error("the session of pack {pack} does not open")]
    Session {
        /// The pack.
        pack: ObjectId,
        /// Why.
        #[source]
        source: ContentError,
    },
    /// A session whose key is not among those that were handed over.
    #[error("the content key of pack {pack} was not handed over")]
    NotHanded {
        /// The pack.
        pack: ObjectId,
    },
    /// A tree that breaks its own rules.
    #[error("the tree is not well-formed at {at}: {reason}")]
    Tree {
        /// A blob or path.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Data that this run relies on vanished while it ran.
    #[error("pack {pack} vanished while this run relied on it")]
    Vanished {
        /// The pack.
        pack: ObjectId,
    },
    /// A snapshot is durable, and the second look at what it rests on failed: it is perhaps good, and was not reported as good.
    #[error("snapshot {snapshot} is stored, and it could not be made sure that everything it rests on stays")]
    Unconfirmed {
        /// The snapshot.
        snapshot: ObjectId,
        /// What failed.
        #[source]
        source: Box<RepoError>,
    },
    /// A snapshot turned out to rest on what is gone, and could not be taken back.
    #[error(
        "pack {pack} vanished while this run relied on it, and snapshot {snapshot}, which lacks it, could not be taken back"
    )]
    NotRetracted {
        /// The pack.
        pack: ObjectId,
        /// The snapshot.
        snapshot: ObjectId,
        /// Why it could not.
        #[source]
        source: Box<RepoError>,
    },
    /// A lock was extended and the store does not show it.
    #[error("{key} is not locked although its lock was extended")]
    NotLocked {
        /// The object.
        key: Key,
    },
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// Nothing could be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// zstd could not be set up.
    #[error("compression could not be set up")]
    Compression(#[source] crate::compress::CompressError),
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A worker ended without saying why; a bug.
    #[error("{what} ended unexpectedly")]
    Worker {
        /// Which worker.
        what: &'static str,
    },
}

impl RepoError {
    /// Whether it was a record of an epoch whose writer key was retired: there is no such record for anybody.
    #[must_use]
    pub const fn is_retired(&self) -> bool {
        matches!(self, Self::Sealed { source: MetaError::Retired(_), .. })
    }

    pub(crate) fn other_repository(store: String, expected: &RepositoryId, found: &RepositoryId) -> Self {
        Self::OtherRepository { store, expected: expected.hex(), found: found.hex() }
    }
}
