//! Backing up the volumes of a cluster: a mover for each claim, beside its application or at a copy of one moment, started, fed, listened to and taken away from here.
//!
//! ```text
//! sweep ─ look (claims) ─┬─ left out, refused ───────────────────────────────────────────────────────────┐
//!                        └─ N at a time: copy (CSI), policy, pod ─ wait ─┬─ talk (attach: job, heartbeats) ─┐      ├─ rows
//!                                                                       └─ listen (log: progress, result) ─┴ take away, release the copy ┘
//! ```
//! No data passes through here: movers write to the store. What is held of a volume is its numbers and its problems, of which there is a bound.

pub mod claims;
mod listen;
mod one;
mod start;
pub mod sweep;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Time};
use crate::base::progress::Progress;
use crate::base::units;
use crate::cluster::error::told;
use crate::cluster::streams::Streams;
use crate::cluster::{Cluster, ClusterError};
use crate::config::VolumesSource;
use crate::crypto::secret::{NoRandomness, random};
use crate::volumes::choose::Choice;
use crate::volumes::policy::Reach;
use crate::volumes::protocol::{ProtocolError, SecretText};
use crate::volumes::said::{Failed, ProblemLine, Summary};
use crate::volumes::{self as ways, RunId};

use claims::{Claim, Fate};

pub(crate) use one::pod_of;

/// What movers need of the repository.
pub struct Handed {
    /// The store's address, with everything that our environment says of it.
    pub address: String,
    /// Its credentials, by name.
    pub credentials: Vec<(String, SecretText)>,
    /// Where it is, for network policies.
    pub reach: Reach,
    /// The line of the writer key.
    pub writer_key: SecretText,
    /// Bytes a second to it, of each mover.
    pub limit_upload: Option<u64>,
    /// Bytes a second from it.
    pub limit_download: Option<u64>,
}

/// How every snapshot of a run is made.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Tags of the snapshots.
    pub tags: BTreeMap<String, String>,
    /// The machine's name, where no node is known.
    pub host: String,
    /// Read every file.
    pub reread: bool,
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Between two looks at a pod.
    pub poll: Duration,
    /// Between two heartbeats; also keeps connections from being taken for idle.
    pub heartbeat: Duration,
    /// For the receipt of a job, before it is sent anew.
    pub receipt: Duration,
    /// For a line of the log, before the connection is taken for broken: a mover says something every five seconds.
    pub log_silence: Duration,
    /// For an API server that is away.
    pub away: Duration,
    /// What movers wait for a heartbeat, before they end themselves.
    pub silence: Duration,
    /// After which what we made is nobody's, if we do not say again that it is ours.
    pub expiry: Duration,
    /// Between two times that we say so.
    pub renew: Duration,
    /// For a pod that was deleted to be gone: it stores what it has read, and its policy lets it until then.
    pub gone: Duration,
    /// For snapshots and clones.
    pub ways: ways::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            heartbeat: Duration::from_secs(20),
            receipt: Duration::from_secs(15),
            log_silence: Duration::from_mins(1),
            away: Duration::from_mins(30),
            silence: Duration::from_mins(10),
            expiry: Duration::from_hours(1),
            renew: Duration::from_mins(5),
            gone: Duration::from_secs(75),
            ways: ways::Limits::default(),
        }
    }
}

/// Why a volume has no new snapshot.
#[derive(Debug, thiserror::Error)]
pub enum MoverError {
    /// The cluster does not take what a mover is made of.
    #[error("the {what} of the mover was not created")]
    Create {
        /// `pod` or `network policy`.
        what: &'static str,
        /// What the API server said.
        #[source]
        source: ClusterError,
    },
    /// There is nothing that it could read.
    #[error("the {way} of the claim was not made")]
    Prepare {
        /// `VolumeSnapshot` or `clone`.
        way: &'static str,
        /// Why not.
        #[source]
        source: ways::VolumesError,
    },
    /// The API server cannot be asked about it any more, or refuses to be.
    #[error("the mover cannot be reached")]
    Unreachable(#[source] ClusterError),
    /// Its pod is not running in time.
    #[error("the mover's pod did not start within {}: {why}", units::duration(*limit))]
    NeverStarted {
        /// How long it was waited for.
        limit: Duration,
        /// The pod's conditions, what its container waits for, and its last events.
        why: String,
    },
    /// Somebody deleted it.
    #[error("the mover's pod was deleted by somebody else")]
    Vanished,
    /// It ended and said nothing of a result.
    #[error("the mover ended without a result: {why}")]
    Ended {
        /// What the cluster says of it, and its last words.
        why: String,
    },
    /// It takes longer than it may.
    #[error("the mover was not done after {}", units::duration(*limit))]
    TimedOut {
        /// How long it had.
        limit: Duration,
    },
    /// What it says is wrong.
    #[error("the mover says: {}", .0.told())]
    Failed(Failed),
    /// A job that does not fit into a message.
    #[error("the job of the mover cannot be sent")]
    Job(#[from] ProtocolError),
    /// Nothing can be named without.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Stopped as asked.
    #[error("stopped as asked")]
    Cancelled,
}

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// The cluster cannot be read.
    #[error(transparent)]
    Look(#[from] ways::VolumesError),
    /// Nothing can be named without.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// What became of a claim.
#[derive(Debug)]
pub enum Outcome {
    /// It has a new snapshot.
    Captured {
        /// Its numbers.
        summary: Summary,
        /// What is wrong with single files, up to a bound.
        problems: Vec<ProblemLine>,
    },
    /// It was left out on purpose.
    Excluded {
        /// By whom.
        by: String,
    },
    /// Nobody tried: it cannot be read, or no source takes it.
    Refused {
        /// Why.
        why: String,
        /// What to do about it.
        mend: String,
    },
    /// It was tried in vain.
    Failed(MoverError),
}

impl Outcome {
    /// Whether the claim is neither in a new snapshot nor left out on purpose.
    #[must_use]
    pub const fn is_uncovered(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Failed(_))
    }
}

/// A claim and what became of it.
#[derive(Debug)]
pub struct Row {
    /// The name of its snapshots.
    pub source: String,
    /// How it was to be captured; `None` if nobody tried.
    pub choice: Option<Choice>,
    /// What became of it.
    pub outcome: Outcome,
    /// How long that took.
    pub took: Duration,
    /// What should have been taken away and could not be.
    pub left: Vec<String>,
}

/// Everything that a run is given.
pub struct Movers<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// What runs in it.
    pub streams: &'a dyn Streams,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is shown: the sum of all movers.
    pub progress: Arc<Progress>,
    /// Whether to go on.
    pub cancel: Arc<Cancel>,
    /// Which claims, and how.
    pub source: &'a VolumesSource,
    /// Other sources of the same cluster: what they take or leave out is no concern of this one.
    pub others: &'a [VolumesSource],
    /// What movers need of the repository.
    pub handed: &'a Handed,
    /// How snapshots are made.
    pub wanted: Wanted,
    /// How long things are waited for.
    pub limits: Limits,
}

/// A run's name: enough to tell runs apart.
fn new_run() -> Result<RunId, NoRandomness> {
    Ok(RunId::new(random()?))
}

/// From when on something made now is nobody's.
fn expires(now: Time, after: Duration) -> String {
    now.after(after).to_string()
}

/// Looks what there is, without changing anything; also says of each claim whether any source takes it.
pub async fn plan(
    cluster: &dyn Cluster,
    source: &VolumesSource,
    others: &[VolumesSource],
) -> Result<Vec<Claim>, VolumesError> {
    let mut found = claims::look(cluster, source).await?;
    for other in others {
        let theirs = claims::look(cluster, other).await?;
        // Both are in the same order, but claims come and go.
        found.retain(|claim| {
            let taken = |their: &Claim| {
                (&their.namespace, &their.name) == (&claim.namespace, &claim.name) && their.fate != Fate::Unselected
            };
            claim.fate != Fate::Unselected || !theirs.iter().any(taken)
        });
    }
    for claim in &mut found {
        if claim.fate == Fate::Unselected {
            let why = "no source of the configuration takes it".to_owned();
            let mend = "take it in, or leave it out on purpose: under exclude, or with the annotation homelab-dr.io/backup: \"false\"";
            claim.fate = Fate::Refused { why, mend: mend.to_owned() };
        }
    }
    Ok(found)
}

/// Backs up every claim that the source takes, and says what became of all. `warn` is told at once what has to be known.
pub async fn run(movers: &Movers<'_>, warn: &(dyn Fn(&str) + Sync)) -> Result<Vec<Row>, VolumesError> {
    let run = new_run()?;
    movers.progress.begin("asking the cluster", "");
    match sweep::sweep(movers.cluster, movers.clock.now()).await {
        Ok(swept) => swept.tell(warn),
        Err(error) => warn(&format!("what earlier runs left could not be looked for: {error}")),
    }
    // After the pods: what they mount stays until they are gone.
    if let Some(namespace) = &movers.source.namespace {
        let (now, limits) = (movers.clock.now(), &movers.limits.ways);
        match ways::sweep::sweep(movers.cluster, namespace, &BTreeSet::new(), now, limits).await {
            Ok(swept) => sweep::Swept::from(swept).tell(warn),
            Err(error) => {
                warn(&format!("what earlier runs left of snapshots could not be looked for: {}", told(&error)));
            }
        }
    }
    let claims = plan(movers.cluster, movers.source, movers.others).await?;
    movers.progress.begin("backing up volumes", "file");
    let rows = claims.into_iter().enumerate().map(|(number, claim)| {
        let run = &run;
        async move { (number, row(movers, run, number, claim).await) }
    });
    // Whichever is done makes room for the next; told in the order of the claims.
    let mut rows: Vec<(usize, Row)> = stream::iter(rows).buffer_unordered(movers.source.movers.max(1)).collect().await;
    rows.sort_by_key(|(number, _)| *number);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Whether the store is reached from a namespace by a pod like the mover of this claim; in any case nothing stays of it but what is named.
pub async fn probe(
    movers: &Movers<'_>,
    claim: &Claim,
    read: &claims::Read,
    namespace: &str,
) -> (Result<(), MoverError>, Vec<String>) {
    match new_run() {
        Ok(run) => one::reach(movers, &run, 0, (claim, read), namespace).await,
        Err(error) => (Err(error.into()), Vec::new()),
    }
}

async fn row(movers: &Movers<'_>, run: &RunId, number: usize, claim: Claim) -> Row {
    let begun = movers.clock.now();
    let source = claim.source();
    let (outcome, left) = match &claim.fate {
        Fate::Excluded { by } => (Outcome::Excluded { by: by.clone() }, Vec::new()),
        Fate::Refused { why, mend } => (Outcome::Refused { why: why.clone(), mend: mend.clone() }, Vec::new()),
        Fate::Unselected => {
            let why = "no source of the configuration takes it".to_owned();
            (Outcome::Refused { why, mend: "take it in, or leave it out on purpose".to_owned() }, Vec::new())
        }
        Fate::Read(_) if movers.cancel.is_cancelled() => (Outcome::Failed(MoverError::Cancelled), Vec::new()),
        Fate::Read(read) => {
            let (result, left) = one::capture(movers, run, number, &claim, read).await;
            let outcome = match result {
                Ok((summary, problems)) => Outcome::Captured { summary, problems },
                Err(error) => Outcome::Failed(error),
            };
            (outcome, left)
        }
    };
    let choice = match claim.fate {
        Fate::Read(read) => Some(read.choice),
        _ => None,
    };
    Row { source, choice, outcome, took: movers.clock.now().since(begun), left }
}

/// The part of one mover in what is shown.
#[derive(Default)]
struct Share {
    files: u64,
    bytes: u64,
    stored: u64,
}

impl Share {
    fn show(&mut self, progress: &Progress, files: u64, bytes: u64, stored: u64) {
        for (counter, before, now) in [
            (&progress.files_done, &mut self.files, files),
            (&progress.bytes_done, &mut self.bytes, bytes),
            (&progress.bytes_stored, &mut self.stored, stored),
        ] {
            counter.fetch_add(now.saturating_sub(*before), Ordering::Relaxed);
            *before = now.max(*before);
        }
    }
}
