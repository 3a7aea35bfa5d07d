//! What a rotation is told, what it says, and why it stopped. Plain data.

use std::time::Duration;

use serde::Serialize;

use crate::base::id::ObjectId;
use crate::crypto::recipients::RecipientError;
use crate::repo::RepoError;
use crate::store::StoreError;

/// Why a rotation did not begin, or stopped. After it began, another run goes on.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The repository or its store failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A recipient of the repository is none that this program knows.
    #[error("a recipient of the repository cannot be sealed to")]
    Recipient(#[from] RecipientError),
    /// What cannot be read now cannot be sealed anew.
    #[error("{what} cannot be read: {why}")]
    Damaged {
        /// A record, or a tree blob with the path that it is at.
        what: String,
        /// Why not.
        why: String,
    },
    /// Records that others name are neither there nor forgotten on purpose.
    #[error(
        "the chain of snapshots has {count} gap(s), the first at {first}: records were lost or removed by somebody"
    )]
    Gaps {
        /// How many.
        count: usize,
        /// One of them.
        first: ObjectId,
    },
    /// What was sealed anew does not read with the new key alone. A bug, or somebody deletes; nothing was marked or removed.
    #[error("what was sealed anew does not read with the new key alone: {why}")]
    NotProven {
        /// What does not read.
        why: String,
    },
}

impl From<StoreError> for RotateError {
    fn from(error: StoreError) -> Self {
        Self::Repo(error.into())
    }
}

/// How to rotate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The machine, for the record.
    pub host: String,
    /// How long to wait, once the new epoch has begun, for writers to whom the store shows an older list of epochs: what they commit meanwhile is carried over.
    /// Network file systems show a folder as it was up to a minute ago.
    pub settle: Duration,
}

/// What a rotation will do. Bytes are stored bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RotationPlan {
    /// Where.
    pub store: String,
    /// The first epoch of the new key.
    pub epoch: u32,
    /// It was begun before and is finished now, with the key that was made then.
    pub begun: bool,
    /// Snapshots that are sealed anew; each gets a new id.
    pub snapshots: usize,
    /// Tree blobs that are sealed anew.
    pub blobs: usize,
    /// About what is uploaded: tree blobs, index and records.
    pub bytes: u64,
    /// Content packs that stay as they are.
    pub content_packs: usize,
    /// Their bytes.
    pub content_bytes: u64,
}

/// A snapshot and what it is called from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Renamed {
    /// Its id until now.
    pub from: ObjectId,
    /// Its id from now on.
    pub to: ObjectId,
    /// The store took it after the new epoch had begun: somebody wrote it with the old key, at the very end or after the theft was known.
    pub late: bool,
}

/// What a rotation did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Rotated {
    /// The first epoch whose records are accepted.
    pub epoch: u32,
    /// The snapshots that this run sealed anew.
    pub snapshots: Vec<Renamed>,
    /// Snapshots that came with the old key in every round, and after the last: they were not sealed anew, and are refused from now on.
    pub not_carried: Vec<ObjectId>,
    /// Tree blobs sealed anew.
    pub blobs: usize,
    /// Bytes of the packs and index segments of tree blobs.
    pub bytes_stored: u64,
    /// Old index segments and metadata packs that were marked; `prune` removes them after its grace.
    pub doomed: usize,
    /// Old records that were removed.
    pub removed: usize,
    /// Old records that a lock keeps; they count for nothing.
    pub locked: usize,
}
