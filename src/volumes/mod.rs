//! The data of a cluster's volumes: what there is, which way each is captured, the CSI ways (a snapshot or a clone that can be mounted beside nobody), and the
//! pod that reads a claim (the *mover*) with what it and whoever started it say to each other.
//!
//! ```text
//! facts (what the cluster says) ─ choose (pure) ─ snapshot or clone: a claim with one moment of the volume ─ … read by a mover … ─ release
//!                                                  └─ journal first, labels on everything ─ sweep finds what a dead run left
//! ```
//! It promises that nothing which was made stays: every failure clears up, and what was killed between two requests is found by its journal, labels and
//! names. It deletes only what it made: by uid, with the label of a run, never a claim or volume of an application. It reads no data and knows no
//! repository: who starts a mover, and what a mover does, is `backup`. `VolumeSnapshot` is always Kubernetes'; *snapshot* alone, in the rest of this program, is ours.

pub mod choose;
pub mod cilium;
mod clear;
pub mod clone;
pub mod error;
pub mod facts;
pub mod journal;
pub(crate) mod kinds;
pub mod labels;
mod placement;
pub mod pod;
pub mod policy;
pub mod prepared;
pub mod protocol;
pub(crate) mod quantity;
pub mod run;
pub mod said;
pub mod snapshot;
pub mod sweep;
mod wait;

use crate::base::cancel::Cancel;
use crate::cluster::Cluster;

pub use error::VolumesError;
pub use prepared::Prepared;
pub use run::{Run, RunId};
pub use wait::Limits;

/// Who makes something in the cluster, and where.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// Our namespace: the journal is there, and the claims that movers read.
    pub namespace: &'a str,
    /// The run that everything belongs to.
    pub run: &'a Run,
    /// How long is waited.
    pub limits: &'a Limits,
    /// Stops preparing, never clearing up.
    pub cancel: &'a Cancel,
}
