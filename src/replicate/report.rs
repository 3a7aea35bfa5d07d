//! What a copy is told and what it says: options, errors, the plan, the result. Plain data.

use serde::Serialize;

use crate::base::clock::Time;
use crate::repo::error::RepoError;
use crate::store::{Key, StoreError};

/// Copies at once unless told otherwise; with packs of 12 MiB this takes 48 MiB.
pub const PARALLEL_DEFAULT: usize = 4;

/// How to copy.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Objects copied at once, at least 1.
    pub parallel: usize,
    /// Until when the copies are locked, where the target can; what is there already is locked for as long.
    pub retain_until: Option<Time>,
    /// A lock that holds until then is long enough and is left as it is. `None`: every lock shorter than `retain_until` is extended.
    pub enough_until: Option<Time>,
}

impl Default for Options {
    fn default() -> Self {
        Self { parallel: PARALLEL_DEFAULT, retain_until: None, enough_until: None }
    }
}

/// Why nothing more could be copied. What was copied is kept, and the next run goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source is no repository.
    #[error("the source cannot be copied")]
    Source(#[source] RepoError),
    /// What is at the target does not say which repository it is a copy of.
    #[error("the copy cannot be gone on with")]
    Target(#[source] RepoError),
    /// The target holds something that is no repository.
    #[error("{target} holds no repository and is not empty: it holds {example}")]
    NotEmpty {
        /// The target's address.
        target: String,
        /// One of the objects found.
        example: Key,
    },
    /// The target holds another repository.
    #[error("{target} holds another repository than {source_address}")]
    OtherRepository {
        /// The target's address.
        target: String,
        /// The source's address.
        source_address: String,
    },
    /// The target reported an object stored and does not list it.
    #[error("{target} does not list {key}, which it has taken")]
    NotSeen {
        /// The target's address.
        target: String,
        /// The object.
        key: Key,
    },
    /// Objects vanish from the source faster than they can be copied.
    #[error("{source_address} was pruned again and again while it was copied")]
    Moving {
        /// The source's address.
        source_address: String,
    },
    /// A lock was extended and the target does not show it.
    #[error("{target} does not keep {key} locked although its lock was extended")]
    NotLocked {
        /// The target's address.
        target: String,
        /// The object.
        key: Key,
    },
    /// A worker ended without saying why; a bug.
    #[error("a worker ended unexpectedly")]
    Worker,
}

/// An object to copy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Planned {
    /// Its name.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a copy would do now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Plan {
    /// The source's address.
    pub source: String,
    /// The target's address.
    pub target: String,
    /// Whether the target is empty.
    pub first: bool,
    /// What would be copied, in this order.
    pub copy: Vec<Planned>,
    /// Bytes of it.
    pub bytes: u64,
    /// Objects that the target has.
    pub present: u64,
    /// Objects that the target has with another size: they are left as they are and reported.
    pub different: Vec<String>,
}

/// What was wrong with one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// At the source its bytes do not match its name, or are not as many as were listed.
    SourceDamaged,
    /// The source could not read it.
    SourceUnreadable,
    /// The target holds other bytes under its name.
    TargetDiffers,
}

/// An object that was not copied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Damaged {
    /// Its name.
    pub object: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Objects copied.
    pub copied: u64,
    /// Bytes copied.
    pub copied_bytes: u64,
    /// Objects that the target had.
    pub present: u64,
    /// Objects among them whose locks were extended.
    pub locks_extended: u64,
    /// Snapshot records and tombstones among the copied.
    pub snapshots: u64,
    /// Objects that were pruned or forgotten at the source meanwhile.
    pub vanished: u64,
    /// Objects at the source that are no repository's; not copied.
    pub foreign: u64,
    /// Objects that were not copied although they belong to the repository.
    pub damaged: Vec<Damaged>,
    /// Epochs that the target lacks because some snapshots are damaged: until it has them, snapshots of these epochs do not open there.
    pub epochs_withheld: u64,
}
