//! What a mover is to look at in its volume: one check of a runbook. Content keys follow, as for a restore, where it is compared with a snapshot.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::job::receipt;
use super::restore::RestoreJob;

/// What the answer of a database has to be.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Expected {
    /// There is one.
    #[n(0)]
    Any,
    /// At least this number.
    #[n(1)]
    AtLeast(#[n(0)] u64),
    /// This.
    #[n(2)]
    Equals(#[n(0)] String),
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Question {
    /// What is there is what the snapshot has; percent of the content that is read.
    #[n(0)]
    Files(#[n(0)] u8),
    /// At least so many files.
    #[n(1)]
    NoEmpty(#[n(0)] u64),
    /// A SQLite database is whole, and answers.
    #[n(2)]
    Sqlite {
        /// Below the volume's top.
        #[n(0)]
        file: String,
        /// What is asked, beside whether it is whole.
        #[n(1)]
        query: Option<String>,
        /// What is answered.
        #[n(2)]
        answer: Expected,
    },
}

/// See the module.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct VerifyJob {
    /// Tells one sending from another, as [`super::Job::salt`] does.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub salt: [u8; 16],
    /// The run.
    #[n(1)]
    pub run: String,
    /// What is looked at.
    #[n(2)]
    pub question: Question,
    /// How often it is tried again; none as often as the deadline allows.
    #[n(3)]
    pub retries: Option<u64>,
    /// For how many milliseconds it is tried again.
    #[n(4)]
    pub deadline: Option<u64>,
    /// Milliseconds between two tries.
    #[n(5)]
    pub every: u64,
    /// The snapshot that it is compared with, and what opens that; none where nothing of the repository is needed. Its own salt and run mean nothing.
    #[n(6)]
    pub against: Option<RestoreJob>,
}

/// A time as a job has it.
#[must_use]
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl VerifyJob {
    /// What the mover answers when it has this job and all of its keys.
    #[must_use]
    pub fn receipt(&self) -> String {
        receipt(&self.salt)
    }

    /// How many messages with keys follow.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.against.as_ref().map_or(0, |job| job.parts)
    }
}
