//! Backing up the volumes of a cluster: a mover for each claim, beside its application or at a copy of one moment, started, fed, listened to and taken away from here.
//!
//! ```text
//! sweep ─ look (claims) ─┬─ left out, refused ───────────────────────────────────────────────────────────┐
//!                        └─ N at a time: copy (CSI), policy, pod ─ wait ─┬─ talk (attach: job, heartbeats) ─┐      ├─ rows
//!                                                                       └─ listen (log: progress, result) ─┴ take away, release the copy ┘
//! ```
//! Claims whose application holds still ([`hold`]) go through this together, and it goes on as soon as none of them needs it.
//! In a folder that stands for a cluster nothing runs: there [`folder`] reads each claim by itself, and gives the same rows.
//! No data passes through here: movers write to the store. What is held of a volume is its numbers and its problems, of which there is a bound.

pub mod claims;
mod earlier;
pub mod folder;
pub mod hold;
pub mod hooks;
pub(crate) mod keepers;
mod one;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};

use crate::backup::BackupError;
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::base::clock::Clock;
use crate::base::progress::Progress;
use crate::base::secret::{NoRandomness, random};
use crate::chunker::BlockSize;
use crate::cluster::Cluster;
use crate::cluster::exec::Exec;
use crate::cluster::streams::Streams;
use crate::config::VolumesSource;
use crate::hooks::HookError;
use crate::volumes::choose::Choice;
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::mover::{Crew, sweep};
use crate::volumes::pod::PodPlan;
use crate::volumes::policy::Reach;
use crate::volumes::protocol::{Credential, Job, SecretText};
use crate::volumes::said::{ProblemLine, Summary};
use crate::volumes::{self as ways, Left, RunId};

use claims::{Claim, Fate};
use earlier::Earlier;
use hold::HeldFor;
use unit::Slots;

pub use crate::volumes::mover::{Limits, MoverError};

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

impl Handed {
    /// A job that names the repository, and of the rest nothing.
    pub(crate) fn job(&self, name: &str) -> Result<Job, NoRandomness> {
        let credential =
            |(name, value): &(String, SecretText)| Credential { name: name.clone(), value: value.duplicate() };
        Ok(Job {
            salt: random()?,
            run: name.to_owned(),
            address: self.address.clone(),
            credentials: self.credentials.iter().map(credential).collect(),
            writer_key: self.writer_key.duplicate(),
            source: String::new(),
            host: String::new(),
            tags: BTreeMap::new(),
            exclude: Vec::new(),
            reread: false,
            limit_upload: self.limit_upload,
            limit_download: self.limit_download,
            still: false,
            held: false,
            dumped: None,
            apart: false,
            together: None,
            blocks: None,
        })
    }
}

/// How every snapshot of a run is made.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Tags of the snapshots.
    pub tags: BTreeMap<String, String>,
    /// The machine's name, where no node is known.
    pub host: String,
    /// The run that they are of.
    pub run: Option<String>,
    /// Read every file.
    pub reread: bool,
    /// The blocks of databases and images; `None` for those of the newest snapshot.
    pub blocks: Option<BlockSize>,
}

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum VolumesError {
    /// The cluster cannot be read.
    #[error(transparent)]
    Look(#[from] ways::VolumesError),
    /// It cannot be found out what would be held.
    #[error(transparent)]
    Hook(#[from] HookError),
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
    /// A dump of another source stands for it, which succeeded in this run.
    Dumped {
        /// The source.
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
    /// It was read by this process, in vain.
    NotStored(BackupError),
}

impl Outcome {
    /// What becomes of a claim that nobody reads, whatever reads the others; `None` for one that is read. `succeeded`: see [`Movers`].
    fn of<R>(fate: &Fate<R>, succeeded: &BTreeSet<String>) -> Option<Self> {
        Some(match fate {
            Fate::Read(_) => return None,
            Fate::Excluded { by } => Self::Excluded { by: by.clone() },
            Fate::Dumped { by } if succeeded.contains(by) => Self::Dumped { by: by.clone() },
            Fate::Dumped { by } => {
                let why = format!("{by}, whose dump is to stand for it, made no snapshot in this run");
                Self::Refused { why, mend: "run both, and see why the dump failed".to_owned() }
            }
            Fate::Refused { why, mend } => Self::Refused { why: why.clone(), mend: mend.clone() },
            Fate::Unselected => {
                let why = "no source of the configuration takes it".to_owned();
                Self::Refused { why, mend: "take it in, or leave it out on purpose".to_owned() }
            }
        })
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
    /// How its application was held; `None` if it was not.
    pub held: Option<HeldFor>,
    /// What is still held, and why: grave, since something stands still.
    pub still_held: Vec<String>,
    /// What was let go and is not as it was before.
    pub except: Vec<String>,
    /// How long that took.
    pub took: Duration,
    /// What should have been taken away and could not be.
    pub left: Vec<Left>,
    /// Of a mover that came to no result: the end of its log, and the events of its pod.
    pub evidence: Evidence,
}

impl Row {
    /// Of a claim for which nothing was held, and in no time.
    const fn new(source: String, choice: Option<Choice>, outcome: Outcome) -> Self {
        Self {
            source,
            choice,
            outcome,
            held: None,
            still_held: Vec::new(),
            except: Vec::new(),
            took: Duration::ZERO,
            left: Vec::new(),
            evidence: Evidence { log: Vec::new(), events: Vec::new() },
        }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Every claim, by namespace and name.
    pub rows: Vec<Row>,
    /// What earlier runs left, and this one could not remove either.
    pub left: Vec<Left>,
    /// What earlier runs hold, or may hold, when this one is over; told already.
    pub still_held: Vec<String>,
}

/// Who is told at once what has to be known.
pub type Warn<'a> = dyn Fn(&str) + Sync + 'a;

/// A way to back up all claims of a source: by movers in a cluster ([`Movers`]), directly in a folder ([`folder::Reading`]).
#[async_trait(?Send)]
pub trait Capture {
    /// Backs up every claim that the source takes, and says what became of all.
    async fn run(&self, warn: &Warn<'_>) -> Result<Report, VolumesError>;
}

#[async_trait(?Send)]
impl Capture for Movers<'_> {
    async fn run(&self, warn: &Warn<'_>) -> Result<Report, VolumesError> {
        run(self, warn).await
    }
}

/// Everything that a run of movers is given.
pub struct Movers<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// What runs in it.
    pub streams: &'a dyn Streams,
    /// Runs the commands of hooks.
    pub exec: &'a dyn Exec,
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
    /// Sources that succeeded before this one in the same run: their dumps stand for volumes.
    pub succeeded: &'a BTreeSet<String>,
    /// What movers need of the repository.
    pub handed: &'a Handed,
    /// How snapshots are made.
    pub wanted: Wanted,
    /// How long things are waited for.
    pub limits: Limits,
}

impl Movers<'_> {
    pub(crate) fn crew(&self) -> Crew<'_> {
        Crew {
            cluster: self.cluster,
            streams: self.streams,
            clock: &*self.clock,
            progress: &self.progress,
            cancel: &self.cancel,
            limits: self.limits,
            start_timeout: self.source.start_timeout,
            timeout: self.source.timeout,
        }
    }
}

/// A run's name: enough to tell runs apart.
pub(crate) fn new_run() -> Result<RunId, NoRandomness> {
    Ok(RunId::new(random()?))
}

/// Looks what there is, without changing anything; also says of each claim whether any source takes it.
pub async fn plan(
    cluster: &dyn Cluster,
    source: &VolumesSource,
    others: &[VolumesSource],
) -> Result<Vec<Claim>, VolumesError> {
    let mut found = find(cluster, source, others).await?;
    hold::resolve(cluster, &mut found).await?;
    Ok(found)
}

/// The same, and what hooks would hold is not found out yet.
pub(crate) async fn find(
    cluster: &dyn Cluster,
    source: &VolumesSource,
    others: &[VolumesSource],
) -> Result<Vec<Claim>, VolumesError> {
    let mut found = claims::look(cluster, source).await?;
    let mut theirs = Vec::new();
    for other in others {
        theirs.push(claims::look(cluster, other).await?);
    }
    claims::settle_unselected(&mut found, &theirs);
    Ok(found)
}

/// Backs up every claim that the source takes, and says what became of all. `warn` is told at once what has to be known.
pub async fn run(movers: &Movers<'_>, warn: &(dyn Fn(&str) + Sync)) -> Result<Report, VolumesError> {
    let run = new_run()?;
    movers.progress.begin("asking the cluster", "");
    let mut left = Vec::new();
    match sweep::sweep(movers.cluster, movers.clock.now(), &movers.limits).await {
        Ok(swept) => left.extend(swept.tell(warn)),
        Err(error) => warn(&format!("what earlier runs left could not be looked for: {error}")),
    }
    let mut earlier = None;
    if let Some(namespace) = &movers.source.namespace {
        earlier = Some(Earlier::begin(movers, namespace, warn).await);
        // After the pods: what they mount stays until they are gone.
        let (now, limits) = (movers.clock.now(), &movers.limits.ways);
        match ways::sweep::sweep(movers.cluster, namespace, &BTreeSet::new(), now, limits).await {
            Ok(swept) => left.extend(swept.tell(warn)),
            Err(error) => {
                warn(&format!("what earlier runs left of snapshots could not be looked for: {}", in_one_line(&error)));
            }
        }
    }
    let claims = plan(movers.cluster, movers.source, movers.others).await?;
    let hooked = claims.iter().any(|claim| matches!(&claim.fate, Fate::Read(read) if read.hook.is_some()));
    movers.progress.begin("backing up volumes", "file");
    let (slots, turns) = (Slots::new(movers.source.movers), Arc::new(tokio::sync::Mutex::new(())));
    let rows = hold::units(claims).into_iter().map(|unit| unit::rows(movers, &run, (&slots, &turns), unit));
    // Whichever is done makes room for the next; told in the order of the claims.
    let rows: Vec<Vec<(usize, Row)>> = stream::iter(rows).buffer_unordered(movers.source.movers.max(1)).collect().await;
    let mut rows: Vec<(usize, Row)> = rows.into_iter().flatten().collect();
    rows.sort_by_key(|(number, _)| *number);
    let still_held = match earlier {
        Some(earlier) => earlier.end(movers, hooked || !movers.source.hooks.is_empty(), warn).await,
        None => Vec::new(),
    };
    Ok(Report { rows: rows.into_iter().map(|(_, row)| row).collect(), left, still_held })
}

/// Whether the store is reached from a namespace by a pod like this one, with its rights and neighbours; in any case nothing stays of it but what is named.
pub async fn probe(crew: &Crew<'_>, plan: &PodPlan, handed: &Handed) -> (Result<(), MoverError>, Vec<Left>) {
    match new_run() {
        Ok(run) => one::reach(crew, &run, plan, handed).await,
        Err(error) => (Err(error.into()), Vec::new()),
    }
}
