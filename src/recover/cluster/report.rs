//! What a run came to: one outcome for every object of the plan.

use serde::Serialize;

use super::Identity;
use super::volumes::Filled;
use crate::cluster::order::Stage;

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Written, read back, and equal.
    Restored {
        /// Owners that it had and that are not there.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        without_owners: Vec<String>,
    },
    /// A claim: written and equal, and its volume has no data.
    Empty,
    /// A claim: written and equal, and its volume was empty, or never there.
    ProvenEmpty,
    /// It was there and equal.
    Same,
    /// It was there, differs, and was left.
    Kept {
        /// Where it differs.
        differs: Vec<String>,
    },
    /// Written, and what was read back is not what was written.
    Different {
        /// Where it differs.
        differs: Vec<String>,
    },
    /// Written, and could not be read back: nobody knows.
    Unknown {
        /// Why.
        why: String,
    },
    /// The cluster did not take it.
    Refused {
        /// Its words.
        why: String,
    },
    /// The plan said that it cannot be restored.
    Conflict {
        /// Why.
        why: String,
    },
    /// Not created, since it uses a volume of which nobody knows what is in it.
    Held {
        /// Which.
        why: String,
    },
    /// The run ended before.
    NotReached,
}

impl Outcome {
    /// Whether the object is as it should be.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        matches!(self, Self::Restored { .. } | Self::Empty | Self::ProvenEmpty | Self::Same | Self::Kept { .. })
    }
}

/// One object and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which.
    pub object: Identity,
    /// In which stage.
    pub stage: Stage,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Where a run ended early, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stopped {
    /// At which object.
    pub at: Identity,
    /// Why.
    pub why: String,
}

/// See the module.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Every object of the plan, in its order.
    pub rows: Vec<Row>,
    /// Every volume that was to be filled, in the order of the plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Filled>,
    /// Set if it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Stopped because somebody asked for it.
    pub interrupted: bool,
    /// Objects that were written as a run of ours held them when they were captured, since nobody knows what they were before; with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_before: Vec<String>,
    /// What did not come up in time, such as a definition that was not established.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waited_in_vain: Vec<String>,
}

impl Report {
    /// Objects with this kind of outcome.
    pub fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| is(&row.outcome)).count()
    }

    /// Whether everything is as the plan wanted it.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let on_time = self.stopped.is_none() && !self.interrupted && self.waited_in_vain.is_empty();
        let is_filled =
            |volume: &Filled| volume.outcome.is_well() && volume.restored.problems == 0 && !volume.data.is_doubtful();
        let filled = self.volumes.iter().all(is_filled);
        on_time && filled && self.unknown_before.is_empty() && self.rows.iter().all(|row| row.outcome.is_well())
    }
}
