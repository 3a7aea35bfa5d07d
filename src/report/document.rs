//! What a report says. Its JSON is published: docs/report.schema.json.
//!
//! Times are RFC 3339 in UTC, to the second.

use std::collections::BTreeMap;

use serde::Serialize;

use super::standing::Stand;
use crate::base::clock::Time;
use crate::runs::event::Question;

/// The form of reports that this program writes.
pub const FORM: u32 = 1;

/// Why a journal gives no report.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A time that is none.
    #[error("{text:?} in the journal is no time")]
    Time {
        /// What stands there.
        text: String,
    },
    /// With the values of secret parameters hidden, a record is none any more.
    #[error("the record of {at} in the journal cannot be shown without the secret values of the plan")]
    Hidden {
        /// The time of the record, as the journal has it.
        at: String,
        /// What the parser says.
        source: serde_json::Error,
    },
}

/// The report of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The form of this document.
    pub homelab_dr_report: u32,
    /// The version of the program that made the report.
    pub version: String,
    /// The public key that it is signed with.
    pub key: String,
    /// The id of the run.
    pub run: String,
    /// What was carried out.
    pub runbook: Book,
    /// The values of its parameters that were given.
    pub values: BTreeMap<String, String>,
    /// When the plan was made.
    pub planned: Time,
    /// Where to.
    pub target: Target,
    /// The fingerprint of the repository, if a step needed one.
    pub repository: Option<String>,
    /// What the run came to, or where it is.
    #[serde(flatten)]
    pub stand: Stand,
    /// Each time that a process took it up.
    pub taken_up: Vec<TakenUp>,
    /// How long it took.
    pub time: Timing,
    /// When nothing was done, and why.
    pub idle: Vec<Idle>,
    /// What was to be reached, and whether it was.
    pub objectives: Objectives,
    /// Sums.
    pub totals: Totals,
    /// The snapshots that the plan took, one for each step that takes one.
    pub snapshots: Vec<Snapshot>,
    /// The volumes that are filled beside objects.
    pub volumes: Vec<Volume>,
    /// The steps, in the order of the runbook; of a drill those that were rehearsed.
    pub steps: Vec<Step>,
    /// What makes it a drill, if it was one.
    pub drill: Option<Drill>,
    /// The options that commands need to find its journal, with a space before them; for people, and no part of the JSON.
    #[serde(skip)]
    pub place: String,
}

/// A recovery into a throw-away target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drill {
    /// What was made before the first step, and seen of it: that it was shut off from production.
    pub prepared: Vec<String>,
    /// What was not rehearsed.
    pub left_out: Vec<LeftOut>,
    /// What could not be verified.
    pub not_verified: Vec<String>,
    /// What became of what was made; none if nobody came to that.
    pub cleared: Option<Cleared>,
}

/// Something that was not rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// At which step.
    pub step: String,
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What became of what a drill made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// What was taken away, or kept.
    pub said: Vec<String>,
    /// What could not be taken away.
    pub left: Vec<String>,
    /// Whether it was kept on purpose.
    pub kept: bool,
}

/// The runbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Book {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// BLAKE3 of its text, in hex.
    pub digest: String,
}

/// Where a run recovers into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Target {
    /// This machine only.
    Machine,
    /// A cluster, or a folder that stands for one.
    Cluster {
        /// The uid of its namespace `kube-system`; empty in a folder.
        uid: String,
        /// Where it was found.
        shown: String,
        /// The version of Kubernetes that it said when the plan was made; none in a folder.
        version: Option<String>,
    },
}

/// A process that carried the run out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenUp {
    /// Since when.
    pub at: Time,
    /// The last that is known of it.
    pub until: Time,
    /// The machine.
    pub host: String,
    /// Who, as the system calls the account.
    pub by: String,
    /// The version of the program.
    pub version: String,
    /// The recipient whose identity opened the repository for it, if it opened one and the journal says so.
    pub recipient: Option<String>,
}

/// Lengths of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// When the run was first taken up.
    pub begun: Option<Time>,
    /// The last that is known of it.
    pub last: Option<Time>,
    /// From one to the other.
    pub gross_seconds: u64,
    /// Of that, waited until a person answered.
    pub waited_seconds: u64,
    /// Of that, nobody carried it out: it was stopped, had failed, or its process had died.
    pub away_seconds: u64,
    /// Without the waits for a person.
    pub net_seconds: u64,
}

/// A time in which nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Idle {
    /// From.
    pub from: Time,
    /// To.
    pub to: Time,
    /// Why.
    pub why: Because,
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// A person had to answer.
    Person,
    /// Nobody carried the run out.
    Away,
}

/// Whether an objective is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Yes.
    Met,
    /// No.
    Missed,
    /// It was not recovered, so there is nothing to measure.
    NotReached,
    /// The run is not over.
    Open,
    /// Nothing says so.
    NotKnown,
}

/// The objectives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Objectives {
    /// How long it might take.
    pub rto: Option<Rto>,
    /// How old the data might be.
    pub rpo: Option<Rpo>,
}

/// How long it might take, against [`Timing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rto {
    /// The objective.
    pub objective_seconds: u64,
    /// With waits for people: this counts.
    pub verdict: Verdict,
    /// Without them.
    pub net_verdict: Verdict,
}

/// How old the data might be; each source's verdict stands with its snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rpo {
    /// The objective.
    pub objective_seconds: u64,
    /// Of all sources.
    pub verdict: Verdict,
}

/// Sums.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Bytes that the plan brings back.
    pub bytes_planned: u64,
    /// Of those, by steps that are done.
    pub bytes_done: u64,
    /// Steps, but for those that are there only for a failure and were not needed.
    pub steps: u64,
    /// Steps that are done.
    pub done: u64,
    /// Steps that have failed.
    pub failed: u64,
    /// Steps that were left out, as asked.
    pub left_out: u64,
    /// Checks of all steps that were not left out.
    pub checks: u64,
    /// Checks that hold.
    pub checks_held: u64,
}

/// A snapshot that a step takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The step.
    pub step: String,
    /// Its id, in hex.
    pub id: String,
    /// Its source.
    pub source: String,
    /// When it was begun.
    pub started: Time,
    /// How old it was when the plan was made.
    pub age_seconds: u64,
    /// Regular files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether it is young enough; `None` without an objective.
    pub rpo: Option<Verdict>,
}

/// A volume that a step fills beside objects. Plans of before do not say how old its snapshot was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// The step.
    pub step: String,
    /// `NAMESPACE/CLAIM`.
    pub claim: String,
    /// The snapshot, in hex.
    pub snapshot: String,
    /// Bytes in it.
    pub bytes: u64,
    /// When it was begun, if the plan says it.
    pub started: Option<Time>,
    /// How old it was when the plan was made.
    pub age_seconds: Option<u64>,
    /// Whether it is young enough; `None` without an objective.
    pub rpo: Option<Verdict>,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Done, and what it promises was seen.
    Done,
    /// Failed.
    Failed,
    /// Stopped before its end, as the run was to stop.
    Stopped,
    /// Its process ended, and nobody knows how far it came.
    CutOff,
    /// Under way.
    UnderWay,
    /// A person has to answer before it is begun.
    Waits,
    /// Left out, as asked.
    LeftOut,
    /// Not begun.
    NotBegun,
    /// There only for the failure of another, and not begun.
    NotNeeded,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its id.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// Its kind, such as `restore.volume`.
    pub kind: String,
    /// What it does, as it is written.
    pub does: String,
    /// The steps that it needs.
    pub needs: Vec<String>,
    /// Whether something that is there may be lost by it.
    pub is_destructive: bool,
    /// Whether it is there only for the failure of another.
    pub is_compensation: bool,
    /// Where it is.
    pub state: State,
    /// Each time it was begun.
    pub tries: Vec<Try>,
    /// What had to hold afterwards.
    pub checks: Vec<Check>,
    /// What people answered.
    pub answers: Vec<Answer>,
    /// What became of what it held still.
    pub let_go: Vec<LetGo>,
    /// What the plan makes of objects, if it restores any.
    pub objects: Option<Objects>,
}

/// One time that a step was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Try {
    /// When.
    pub begun: Time,
    /// When it ended, if that was written down.
    pub ended: Option<Time>,
    /// How: done, failed, stopped, cut off, or under way.
    pub state: State,
    /// How long it took.
    pub took_ms: Option<u64>,
    /// What was done, line by line.
    pub said: Vec<String>,
    /// Why it failed; empty if it did not.
    pub why: String,
    /// What to do about that.
    pub help: String,
}

/// A check of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// As it is written.
    pub asked: String,
    /// Whether it was seen to hold; `false` also where nobody came to look.
    pub held: bool,
    /// The same, with what else there is to know.
    pub outcome: Looked,
    /// What was seen.
    pub seen: Option<String>,
    /// When it was looked at, the last time; none where the journal does not have it.
    pub at: Option<Time>,
    /// How long it was looked for.
    pub took_ms: Option<u64>,
}

/// What came of a check in the last try of its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looked {
    /// It held.
    Held,
    /// It did not.
    NotHeld,
    /// Nobody came to look: something before it had failed.
    NotLookedAt,
    /// The journal does not say it: one of before, or its process has died.
    NotKnown,
}

/// What a person answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// When.
    pub at: Time,
    /// To what.
    pub question: Option<Question>,
    /// Whether they agreed.
    pub agreed: bool,
    /// What they typed, or the option that said it for them.
    pub said: String,
    /// Who, as the system calls the account.
    pub by: String,
}

/// What became of what was held still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LetGo {
    /// When.
    pub at: Time,
    /// What became of each.
    pub said: Vec<String>,
    /// Whether nothing is held any more.
    pub is_well: bool,
}

/// What the plan makes of objects: how many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Objects {
    /// They were not there.
    pub create: u64,
    /// They were there, differed, and are replaced.
    pub replace: u64,
    /// They were there, differed, and stay.
    pub keep: u64,
    /// They were there and equal.
    pub same: u64,
    /// They could not be restored.
    pub conflict: u64,
    /// Not restored, as its kind never is, or belongs to another.
    pub skipped: u64,
}
