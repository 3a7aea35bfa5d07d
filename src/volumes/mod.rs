//! The data of a cluster's volumes: what there is, which way each is captured, the CSI ways (a snapshot or a clone that can be mounted beside nobody), and the
//! pod that reads a claim (the *mover*) with what it and whoever started it say to each other.
//!
//! ```text
//! facts (what the cluster says) ─ choose (pure) ─ snapshot or clone: a claim with one moment of the volume ─ … read by a mover … ─ release
//!                                                  └─ journal first, labels on everything ─ sweep finds what a dead run left
//! ```
//! It promises that nothing which was made stays: every failure clears up, and what was killed between two requests is found by its journal, labels and
//! names. It deletes only what it made: by uid, with the label of a run, never a claim or volume of an application. It reads no data and knows no
//! repository: what a mover is told, and what it does, is `backup`'s and `recover`'s. `VolumeSnapshot` is always Kubernetes'; *snapshot* alone, in the rest of this program, is ours.

pub mod choose;
pub mod cilium;
mod clear;
pub mod clone;
pub mod error;
pub mod facts;
pub mod filling;
pub mod journal;
pub(crate) mod kinds;
pub mod labels;
pub mod left;
pub mod mover;
pub mod placement;
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
pub use left::Left;
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
    /// Told when the storage has its moment of the volume.
    pub cut: &'a Cut,
}

/// The moment from which on what is captured does not change with its application any more: whoever holds it still may let it go. Reached once.
#[derive(Debug, Default)]
pub struct Cut(Cancel);

impl Cut {
    /// It is reached.
    pub fn reach(&self) {
        self.0.cancel();
    }

    /// Returns when it is; at once if it was already.
    pub async fn reached(&self) {
        self.0.cancelled().await;
    }
}
