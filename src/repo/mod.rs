//! Layer 3: a repository on a store. Only this layer knows the order of writes (session → packs → index → snapshot) and of deletions (the reverse).
//!
//! It knows nothing of file systems, clusters or people.

pub mod blame;
pub mod checkpoint;
pub mod commit;
pub mod create;
pub mod doomed;
pub(crate) mod epochs;
pub mod error;
pub mod fetch;
pub mod index;
pub mod layout;
pub(crate) mod lies;
pub mod lock;
pub(crate) mod named;
mod near;
pub mod open;
pub mod opener;
pub mod packer;
pub mod parity;
pub mod presence;
pub mod rebuild;
pub mod rescue;
pub mod reseal;
pub mod salvage;
pub mod sealed;
pub(crate) mod sign_again;
pub mod snapshots;
pub mod tombstone;
pub mod tree_diff;
pub mod tree_read;
pub mod tree_write;
pub mod upload;
pub mod whole;
pub mod witness;
pub mod write;

pub use error::RepoError;
pub use open::Repository;
