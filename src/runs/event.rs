//! What happens in a run, as the journal has it. The journal's events alone say where a run is.

use serde::{Deserialize, Serialize};

/// What a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// To do what the prose of a `manual` step says, and to say so.
    Manual,
    /// Whether something that is there may be lost.
    Destructive,
    /// Whether data is taken of which it is known that it is perhaps not all that was there.
    Doubtful,
    /// Whether something is done again, of which nobody knows whether it came to its end: the run was cut off, it took too long, or the connection broke.
    Again,
    /// Whether the others go on although the step has failed.
    GoOn,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step was done and what it promises was seen.
    Recovered,
    /// All steps are over, and some have failed that were allowed to.
    WithFailures,
    /// A step has failed, and nothing more was begun.
    Failed,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A process took the run up: first, or again.
    TakenUp {
        /// The machine.
        host: String,
        /// Who, as the system calls the account.
        by: String,
        /// The version of the program.
        version: String,
    },
    /// That process has opened the repository.
    Opened {
        /// The recipient whose identity opened it. The identity itself is nowhere.
        recipient: String,
    },
    /// A step is about to be carried out.
    Begun {
        /// Which.
        step: String,
    },
    /// A person is about to be asked.
    Asked {
        /// About which step.
        step: String,
        /// What.
        question: Question,
    },
    /// The person agreed.
    Agreed {
        /// To which step.
        step: String,
        /// What they agreed to.
        question: Question,
        /// What they typed, or the option that said it for them.
        said: String,
        /// Who, as the system calls the account.
        by: String,
    },
    /// The person wants nothing more to be begun.
    Declined {
        /// After which step.
        step: String,
        /// What they typed.
        said: String,
        /// Who.
        by: String,
    },
    /// What a step does is done; what it promises is looked at next.
    Acted {
        /// Which.
        step: String,
        /// What was done, line by line.
        said: Vec<String>,
    },
    /// One check of a step was looked at, for the last time in this try.
    Checked {
        /// Which step.
        step: String,
        /// Which of its checks, from 0: its own if looking is what it does, then those of `verify`.
        check: usize,
        /// Whether it held.
        held: bool,
        /// What was seen.
        said: String,
        /// When that was seen, RFC 3339 in UTC.
        seen: String,
        /// How long it was looked for, in milliseconds, with all its retries.
        took: u64,
    },
    /// A step is done, and what it promises was seen.
    Done {
        /// Which.
        step: String,
        /// What was seen, line by line.
        said: Vec<String>,
        /// How long it took, in milliseconds.
        took: u64,
    },
    /// A step has failed.
    Failed {
        /// Which.
        step: String,
        /// Why.
        why: String,
        /// What to do about it.
        help: String,
        /// How long it took, in milliseconds.
        took: u64,
        /// It was begun, and nobody saw its end: something of it may go on. Journals of before do not say it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        end_unseen: bool,
    },
    /// What a `quiesce` step holds is about to go on.
    LettingGo {
        /// The step.
        step: String,
    },
    /// What a `quiesce` step held goes on, as far as this says.
    LetGo {
        /// The step that held it.
        step: String,
        /// What became of each.
        said: Vec<String>,
        /// Whether nothing is held any more.
        is_well: bool,
    },
    /// A step ended early because the run was to stop.
    CutOff {
        /// Which.
        step: String,
    },
    /// A step is left out, as asked.
    Skipped {
        /// Which.
        step: String,
    },
    /// The run stops here, to be taken up again.
    Paused {
        /// Why.
        why: String,
    },
    /// A drill has made its target, before its first step.
    Prepared {
        /// What was made and seen, line by line.
        said: Vec<String>,
    },
    /// A drill could not make its target: nothing was begun.
    Refused {
        /// Why.
        why: String,
        /// What to do about it.
        help: String,
    },
    /// A drill has taken away what it made, or kept it for a person.
    Cleared {
        /// What, line by line.
        said: Vec<String>,
        /// What could not be taken away, and why.
        left: Vec<String>,
        /// It was kept on purpose.
        kept: bool,
    },
    /// The run is over.
    Ended {
        /// What it came to.
        outcome: Outcome,
    },
}

/// An event and when it was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The time, RFC 3339 in UTC.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}
