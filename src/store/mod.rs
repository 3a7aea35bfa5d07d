//! Layer 2: where objects lie. One small trait; everything else is behaviour stacked on it in wrappers.
//!
//! Promises, held by one conformance suite for every backend and wrapper: an object is there whole or not at all; `put_new`
//! never replaces other bytes; what `put_new` reported is durable and was seen at its full size; `list` after a put sees
//! it (on stores that are consistent). It knows nothing of repositories, keys or packs.
//!
//! Beside the stores: [`cache`], copies of what was read, which is none.
//!
//! Deliberately absent: rename, append, locks between processes. Nothing above may depend on them. Nothing is overwritten but what is damaged
//! ([`Store::put_over`]).

pub mod cache;
pub mod fault;
pub mod file;
pub mod first;
mod key;
pub mod memory;
mod operation;
pub mod readonly;
pub mod record;
pub mod retry;
#[cfg(not(engine_alone))] // tests/simulation
pub mod s3;
pub mod throttle;
#[cfg(not(engine_alone))]
pub mod url;

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

pub use key::{Key, KeyError};
pub use operation::Operation;

use crate::base::clock::Time;

/// What a store says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: Key,
    /// Its stored size in bytes.
    pub size: u64,
    /// When it was stored, **by the store's own clock**.
    pub modified: Time,
}

/// One version of an object on a store that keeps versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The object's name.
    pub key: Key,
    /// The store's name for this version; opaque.
    pub version: String,
    /// Size in bytes; 0 for a delete marker.
    pub size: u64,
    /// When it was made, by the store's clock.
    pub modified: Time,
    /// Whether a plain `get` answers with this version.
    pub is_latest: bool,
    /// Whether it is a marker that hides older versions.
    pub is_delete_marker: bool,
}

/// What a `put_new` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object was not there and now is.
    Created,
    /// The same bytes were there already (a retry after a lost answer, or somebody's identical object).
    AlreadyThere,
}

/// Why an operation on a store failed. The variant says what the caller may do; the source says what happened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{store} holds no object {key}")]
    NotFound {
        /// The store's address.
        store: String,
        /// The object.
        key: Key,
    },
    /// `put_new` met an object of that name with other bytes; nothing was changed.
    #[error("{store} already holds other bytes under {key}")]
    Conflict {
        /// The store's address.
        store: String,
        /// The object.
        key: Key,
    },
    /// Credentials are missing, wrong or expired, or do not allow this.
    #[error("{store} refused to {operation} {object}: access denied")]
    Denied {
        /// The store's address.
        store: String,
        /// The verb, such as `write`.
        operation: &'static str,
        /// The object or prefix.
        object: String,
        /// What the store answered.
        #[source]
        source: BoxError,
    },
    /// The place itself is not there: no such bucket or directory, an unmounted share.
    #[error("{store} is not there")]
    Gone {
        /// The store's address.
        store: String,
        /// What the store answered.
        #[source]
        source: BoxError,
    },
    /// No space or quota left.
    #[error("{store} is full: could not write {key}")]
    Full {
        /// The store's address.
        store: String,
        /// The object.
        key: Key,
        /// What the store answered.
        #[source]
        source: BoxError,
    },
    /// An object lock protects the object until a time.
    #[error("{store} keeps {key} locked")]
    Locked {
        /// The store's address.
        store: String,
        /// The object.
        key: Key,
        /// Until when, if the store says.
        until: Option<Time>,
    },
    /// The store cannot do this at all (versions on a plain directory, locks on a bucket without them).
    #[error("{store} cannot {operation}")]
    Unsupported {
        /// The store's address.
        store: String,
        /// The verb.
        operation: &'static str,
    },
    /// The store is opened read-only.
    #[error("{store} is opened read-only: refused to {operation} {key}")]
    ReadOnly {
        /// The store's address.
        store: String,
        /// The verb.
        operation: &'static str,
        /// The object.
        key: Key,
    },
    /// A stored object is not as long as what was written: what the store reported cannot be trusted.
    #[error("{store} stored {found} bytes of {key} instead of {expected}")]
    ShortWrite {
        /// The store's address.
        store: String,
        /// The object.
        key: Key,
        /// Bytes that were sent.
        expected: u64,
        /// Bytes that the store says it holds.
        found: u64,
    },
    /// Anything else; `transient` says whether trying again may help (time-outs, 429, 5xx, a broken connection).
    #[error("{store} failed to {operation} {object}")]
    Failed {
        /// The store's address.
        store: String,
        /// The verb.
        operation: &'static str,
        /// The object or prefix.
        object: String,
        /// Whether a later try may succeed.
        transient: bool,
        /// What happened.
        #[source]
        source: BoxError,
    },
}

/// A cause of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// Whether the same call may succeed a little later. Asked only by the retry wrapper.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Failed { transient: true, .. })
    }

    /// Whether this says that the object is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// The part of an object that `get_range` returns; what lies beyond its end is left out.
pub(crate) fn part(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    let (start, end) = (clip(range.start), clip(range.end));
    if start < end { bytes.slice(start..end) } else { Bytes::new() }
}

/// A flat space of immutable objects. See the module for what every implementation promises.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The address for messages, without credentials: `s3://bucket/prefix`, `/mnt/backup`.
    fn address(&self) -> String;

    /// Stores an object that must not exist yet, durably. With `retain_until` it is locked against deletion until then (error
    /// [`StoreError::Unsupported`] where the store cannot; the lock is read back before this returns).
    /// The same bytes under the name already are [`Put::AlreadyThere`]; other bytes are [`StoreError::Conflict`].
    async fn put_new(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<Put, StoreError>;

    /// Puts an object in the place of whatever lies under its name, durably: at any moment a reader finds the one whole or the other. Where versions are kept, what
    /// was there stays as an older one, and a lock on it holds. Only for what is damaged: the caller has proven that these are the bytes that the name stands for.
    async fn put_over(&self, key: &Key, bytes: Bytes, retain_until: Option<Time>) -> Result<(), StoreError>;

    /// The whole object.
    async fn get(&self, key: &Key) -> Result<Bytes, StoreError>;

    /// Bytes `range` of the object; shorter when it ends before, empty when the range begins past its end.
    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Every visible object whose name begins with `prefix` (`""` for all; otherwise it ends in `/`), sorted by name. Foreign names (that
    /// are no [`Key`]) are left out.
    async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError>;

    /// Size and time of one object, or `None` if it is not there.
    async fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError>;

    /// Removes the object, and on stores that keep versions every version of it, so that nothing goes on being billed. An object that
    /// is not there is no error. A locked one is [`StoreError::Locked`] and stays.
    async fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// Every version, newest first within a name, of every object below `prefix`; hidden and deleted ones too.
    /// [`StoreError::Unsupported`] where the store keeps none.
    async fn versions(&self, prefix: &str) -> Result<Vec<Version>, StoreError>;

    /// The bytes of one version.
    async fn get_version(&self, key: &Key, version: &str) -> Result<Bytes, StoreError>;

    /// Until when the object's visible version is locked; `None` if it is not.
    async fn retention(&self, key: &Key) -> Result<Option<Time>, StoreError>;

    /// Extends the lock of the object's visible version to `until` (never shortens) and reads it back.
    async fn extend_retention(&self, key: &Key, until: Time) -> Result<(), StoreError>;
}
