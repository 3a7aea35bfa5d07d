//! What a run came to.

use serde::Serialize;

use super::Name;
use super::note::Kept;

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Paused, and still paused when it was looked at after a moment.
    Paused,
    /// We had paused it before.
    AlreadyPaused,
    /// Somebody else has paused it.
    PausedByOthers,
    /// It has what it had before.
    Resumed,
    /// The same, but for what somebody else has set meanwhile.
    ResumedExcept {
        /// What stays as it is.
        kept: Vec<Kept>,
    },
    /// We had not paused it.
    NotOurs,
    /// It does not exist any more.
    Gone,
    /// It is not as it should be.
    NotDone {
        /// Why.
        why: String,
    },
    /// The run ended before.
    NotReached,
}

impl Outcome {
    /// Whether the object is as it should be.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        !matches!(self, Self::NotDone { .. } | Self::NotReached | Self::ResumedExcept { .. })
    }
}

/// One object and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which.
    pub object: Name,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// See the module.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Every object of the plan, in its order; then those that came to be meanwhile.
    pub rows: Vec<Row>,
    /// Why the run ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Ended early because somebody asked for it.
    pub interrupted: bool,
}

impl Report {
    /// Objects with this kind of outcome.
    pub fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| is(&row.outcome)).count()
    }

    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.stopped.is_none() && !self.interrupted && self.rows.iter().all(|row| row.outcome.is_well())
    }

    pub(super) fn set(&mut self, object: &Name, outcome: Outcome) {
        match self.rows.iter_mut().find(|row| row.object == *object) {
            Some(row) => row.outcome = outcome,
            None => self.rows.push(Row { object: object.clone(), outcome }),
        }
    }
}
