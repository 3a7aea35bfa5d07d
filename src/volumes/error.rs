//! What goes wrong with volumes.

use std::time::Duration;

use super::Left;
use crate::cluster::ClusterError;

/// Why a volume was not looked at, made ready or cleared up.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// A request failed.
    #[error("cannot {operation} {object}")]
    Cluster {
        /// What was tried.
        operation: &'static str,
        /// With what: kind, namespace and name.
        object: String,
        /// Why it did not work.
        #[source]
        source: ClusterError,
    },
    /// The storage, or the controller before it, said no.
    #[error("{object} failed: {message}")]
    Failed {
        /// What was to be made.
        object: String,
        /// The controller's own words.
        message: String,
    },
    /// Something did not become so in time.
    #[error("{object} is not {state} after {} s: {last}", limit.as_secs())]
    Late {
        /// What was waited for.
        object: String,
        /// What it should be.
        state: &'static str,
        /// How long was waited.
        limit: Duration,
        /// The last that was heard of it: an error in its status, an event, or that there is nothing.
        last: String,
    },
    /// An object has our name, or takes the place of ours, and is not ours. It is left alone.
    #[error("{object} is not ours: {why}")]
    Foreign {
        /// Which.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// An object is not as the API says it has to be.
    #[error("{object} has no {what}")]
    Incomplete {
        /// Which.
        object: String,
        /// What is missing.
        what: &'static str,
    },
    /// The stop was asked for.
    #[error("stopped")]
    Cancelled,
    /// It failed, and so did clearing up: something is left until the next sweep.
    #[error("{} is left until a later run clears it up ({})", left.what, left.why)]
    NotCleared {
        /// What may be left.
        left: Box<Left>,
        /// Why it was to be cleared up.
        #[source]
        why: Box<VolumesError>,
    },
    /// The choice asks for another way.
    #[error("{object} is not to be captured by a {way}")]
    Way {
        /// The claim.
        object: String,
        /// The way that was tried.
        way: &'static str,
    },
}

impl VolumesError {
    pub(super) fn cluster(operation: &'static str, object: impl Into<String>, source: ClusterError) -> Self {
        Self::Cluster { operation, object: object.into(), source }
    }
}
