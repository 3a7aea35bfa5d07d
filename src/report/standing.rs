//! What a run came to, or where it is, by the last that its journal says.

use serde::Serialize;

use super::document::DocumentError;
use super::history::time;
use crate::base::clock::Time;
use crate::runs::event::{Event, Outcome, Question, Record};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Over: every step was done and what it promises was seen.
    Recovered,
    /// Over: steps have failed that were allowed to.
    WithFailures,
    /// Over, until it is taken up: a step has failed, and nothing more was begun.
    Failed,
    /// It was stopped.
    Paused,
    /// A person has to answer, and none was there.
    Waiting,
    /// A person did not want it to go on.
    Declined,
    /// The process ended without a word.
    CutOff,
    /// A process carries it out.
    UnderWay,
}

impl Standing {
    /// Whether it came to an end of its own.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Recovered | Self::WithFailures | Self::Failed)
    }
}

/// A standing, and what explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stand {
    /// It.
    pub standing: Standing,
    /// Why it was stopped; empty if it was not.
    pub why: String,
    /// What a person has to answer.
    pub waits_for: Option<WaitsFor>,
}

/// A question without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitsFor {
    /// About which step.
    pub step: String,
    /// What.
    pub question: Question,
    /// Since when.
    pub since: Time,
}

impl Stand {
    /// By everything that has happened. `is_carried_out`: a process has the journal right now; asked only where the journal does not say how it went on.
    pub fn of(records: &[Record], is_carried_out: impl FnOnce() -> bool) -> Result<Self, DocumentError> {
        let (mut standing, mut why, mut open, mut declined) = (None, String::new(), None, false);
        for Record { at, event } in records {
            match event {
                Event::TakenUp { .. } => (standing, why, open, declined) = (None, String::new(), None, false),
                Event::Asked { step, question } => {
                    open = Some(WaitsFor { step: step.clone(), question: *question, since: time(at)? });
                }
                Event::Agreed { .. } => open = None,
                Event::Declined { .. } => (open, declined) = (None, true),
                Event::Paused { why: said } => {
                    why.clone_from(said);
                    standing = Some(match (&open, declined) {
                        (Some(_), _) => Standing::Waiting,
                        (None, true) => Standing::Declined,
                        (None, false) => Standing::Paused,
                    });
                }
                Event::Ended { outcome } => {
                    standing = Some(match outcome {
                        Outcome::Recovered => Standing::Recovered,
                        Outcome::WithFailures => Standing::WithFailures,
                        Outcome::Failed => Standing::Failed,
                    });
                }
                // A drill whose target was refused never began.
                Event::Refused { why: said, .. } => {
                    why.clone_from(said);
                    standing = Some(Standing::Failed);
                }
                Event::Opened { .. }
                | Event::Checked { .. }
                | Event::Prepared { .. }
                | Event::Cleared { .. }
                | Event::Begun { .. }
                | Event::Acted { .. }
                | Event::Done { .. }
                | Event::Failed { .. }
                | Event::LettingGo { .. }
                | Event::LetGo { .. }
                | Event::CutOff { .. }
                | Event::Skipped { .. } => {}
            }
        }
        let standing = standing.unwrap_or_else(|| if is_carried_out() { Standing::UnderWay } else { Standing::CutOff });
        let is_asked = matches!(standing, Standing::Waiting | Standing::UnderWay);
        Ok(Self { standing, why, waits_for: open.filter(|_| is_asked) })
    }
}
