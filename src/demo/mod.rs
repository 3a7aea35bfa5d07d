//! Layer 5: the homelab that `homelab-dr demo` loses and recovers, and the record that proves it came back.
//!
//! It is a folder that stands for a cluster ([`crate::cluster::folder`]). Nothing here knows of repositories: backing up and recovering is done by the same
//! functions that the real commands call.

mod files;
mod homelab;
mod record;

pub use homelab::{Change, Homelab, HomelabError, PLANTED_SECRET, Size};
pub use record::{Difference, Record, RecordError};
