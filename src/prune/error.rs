//! Why a prune did not begin, or stopped.

use crate::base::clock::Time;
use crate::base::id::{BlobId, ObjectId};
use crate::repo::RepoError;
use crate::store::StoreError;

/// See the module. All but [`PruneError::Repo`] are refusals: nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The repository or its store failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// Records that others name are neither there nor forgotten on purpose: somebody removed them, or this is an old state of the store.
    #[error(
        "the chain of snapshots has {count} gap(s), the first at {first}: records were lost or removed by somebody"
    )]
    Gaps {
        /// How many.
        count: usize,
        /// One of them.
        first: ObjectId,
    },
    /// A snapshot that does not open may need anything.
    #[error("{count} snapshot record(s) cannot be read, the first is {first}: {reason}")]
    Unreadable {
        /// How many.
        count: usize,
        /// One of them.
        first: ObjectId,
        /// Why not.
        reason: String,
    },
    /// A tree that cannot be read whole may need anything.
    #[error("the tree of snapshot {snapshot} cannot be read whole")]
    Tree {
        /// The snapshot.
        snapshot: ObjectId,
        /// What failed.
        #[source]
        source: RepoError,
    },
    /// Chunks of kept snapshots are in no pack that is there: the repository is damaged, or only a part of it can be seen.
    #[error("{count} chunk(s) that snapshots need are in no pack that is there, the first is {first}")]
    MissingData {
        /// How many.
        count: u64,
        /// One of them.
        first: BlobId,
    },
    /// Packs that no snapshot needs are older than the first record of the chain: as if all records had been removed and a new chain begun.
    #[error(
        "{packs} pack(s) ({bytes} bytes) are older than the first snapshot record of this repository, {begun}: as if its records had been removed"
    )]
    OlderThanChain {
        /// How many.
        packs: usize,
        /// Their size.
        bytes: u64,
        /// When the chain began.
        begun: Time,
    },
    /// No snapshot at all, and packs: everything would go.
    #[error("there is no snapshot, and {packs} pack(s): everything would be removed")]
    NoSnapshots {
        /// How many packs there are.
        packs: usize,
    },
}

impl PruneError {
    /// Whether the store had no space for what was to be written.
    pub(crate) const fn is_full(&self) -> bool {
        matches!(self, Self::Repo(RepoError::Store(StoreError::Full { .. })))
    }
}

impl From<StoreError> for PruneError {
    fn from(error: StoreError) -> Self {
        Self::Repo(error.into())
    }
}
