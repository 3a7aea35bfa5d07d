//! Why a repair did not begin, or stopped. What it had put right by then stays so.

use crate::base::clock::Time;
use crate::repo::RepoError;
use crate::store::{Key, StoreError};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The repository or its store failed.
    #[error(transparent)]
    Repo(#[from] RepoError),
    /// A replica holds another repository.
    #[error("{replica} holds another repository than {repository}")]
    OtherRepository {
        /// The replica's address.
        replica: String,
        /// The repository's id.
        repository: String,
    },
    /// A replica holds none.
    #[error("{replica} holds no repository")]
    NoReplica {
        /// Its address.
        replica: String,
    },
    /// Nothing in the store was made with the key.
    #[error("nothing in {store} shows that it is the repository of this key")]
    NotProven {
        /// The store's address.
        store: String,
    },
    /// A mark cannot be read, and what it doomed may be deleted by a prune that has read it before.
    #[error("{key} is damaged: nobody knows what it marks for deletion")]
    Mark {
        /// The mark.
        key: Key,
        /// From when on a repair takes it away.
        until: Time,
    },
}

impl From<StoreError> for RepairError {
    fn from(error: StoreError) -> Self {
        Self::Repo(error.into())
    }
}
