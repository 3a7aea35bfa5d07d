//! What carries steps out for real: one file for each kind, all with the same world around them.

mod checks;
pub(super) mod datadir;
mod datastore;
pub mod drill;
mod files;
mod gitops;
pub mod outlived;
mod program;
mod quiesce;
mod resources;
mod scale;
mod still;
mod volume;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::board::Board;
use super::drive::{Hands, Undone};
use super::event::Event;
use super::folders::Folders;
use super::plan::{Chosen, RunPlan};
use super::prepare::origin;
use crate::backup::Context;
use crate::backup::volumes::Handed;
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::base::clock::Clock;
use crate::base::id::{ObjectId, short_hex};
use crate::cluster::Cluster;
use crate::cluster::api::Api;
use crate::cluster::folder::Folder;
use crate::recover::cluster::movers::Running;
use crate::recover::{RestoreError, RestoreReport};
use crate::repo::fetch::Reader;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::{RepoError, Repository};
use crate::runbook::{Action, Check, Step};

pub(crate) use files::restore_plan;
pub use program::OnThisMachine;
pub use quiesce::Holding;
pub use resources::{Before, fates_of, look, read};

/// Where a run recovers into.
#[derive(Clone)]
pub enum Target {
    /// This machine only.
    Machine,
    /// A cluster.
    Api(Arc<Api>),
    /// A folder that stands for one.
    Folder(Arc<Folder>, PathBuf),
}

impl Target {
    /// The cluster, if there is one.
    #[must_use]
    pub fn cluster(&self) -> Option<&dyn Cluster> {
        match self {
            Self::Machine => None,
            Self::Api(api) => Some(&**api),
            Self::Folder(folder, _) => Some(&**folder),
        }
    }
}

/// A repository that is open for reading.
pub struct Source {
    /// It.
    pub repository: Arc<Repository>,
    /// Reads it with an identity.
    pub reader: Arc<Reader>,
    /// Its snapshots.
    pub chain: Chain,
}

/// What movers need, and how they run.
pub struct Movers {
    /// What they need of the repository.
    pub handed: Handed,
    /// How they run.
    pub running: Running,
}

/// Everything around a step.
pub struct World<'a> {
    /// What is carried out.
    pub plan: &'a RunPlan,
    /// The repository, if a step needs one.
    pub source: Option<Source>,
    /// Where to.
    pub target: Target,
    /// What movers need, if a step needs any.
    pub movers: Option<Movers>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How far each step is.
    pub board: Arc<Board>,
    /// Where journals of holds are kept; without it in the namespace of what is held.
    pub journals: Option<String>,
    /// What this machine keeps of the run: the folder of its journal.
    pub folder: PathBuf,
    /// The name of this machine.
    pub host: String,
    /// Steps that an earlier process has begun: what is there may be theirs.
    pub begun_before: BTreeSet<String>,
    /// What holds still now, by the step that holds it.
    pub held: Holding,
    /// What was seen of checks that the journal does not have yet, by step and place.
    pub looked: RefCell<BTreeMap<(String, usize), Event>>,
    /// What no link may lead a restore or a check out of: the folder of a drill. A recovery goes where the machine's own links lead.
    pub confined: Option<PathBuf>,
    /// Folders of this machine that the run has to itself.
    pub folders: Folders,
    /// What a restore into a directory neither writes over nor removes: the repository and the keys of this run.
    pub spared: Vec<PathBuf>,
}

/// A failure.
pub(super) fn failed(why: impl Into<String>, help: impl Into<String>) -> Undone {
    Undone::Failed { why: why.into(), help: help.into(), end_unseen: false }
}

/// A failure with its causes.
pub(super) fn because(error: &(dyn std::error::Error + 'static), help: impl Into<String>) -> Undone {
    failed(in_one_line(error), help)
}

/// What a restore on this machine came to: its report, unless it was stopped or could not go on.
pub(super) fn reported(done: Result<RestoreReport, RestoreError>, cancel: &Cancel) -> Result<RestoreReport, Undone> {
    match done {
        Err(RestoreError::Repository(RepoError::Cancelled)) => Err(Undone::Stopped),
        Err(error) => Err(because(&error, "mend what it says; what is there already is not written again")),
        Ok(_) if cancel.is_cancelled() => Err(Undone::Stopped),
        Ok(report) => Ok(report),
    }
}

impl World<'_> {
    /// The recipient whose identity opened the repository, if one was opened.
    #[must_use]
    pub fn opened_by(&self) -> Option<String> {
        self.source.as_ref()?.repository.opened_by.clone()
    }

    fn cluster(&self) -> Result<&dyn Cluster, Undone> {
        self.target.cluster().ok_or_else(|| failed("it needs a cluster, and none was given", "give --kubeconfig FILE"))
    }

    /// A cluster in which something runs.
    fn api(&self) -> Result<&Api, Undone> {
        match &self.target {
            Target::Api(api) => Ok(api),
            Target::Folder(..) => Err(failed(
                "in a folder nothing runs, so it cannot be done there",
                "recover into a cluster, or leave the step out with --skip",
            )),
            Target::Machine => Err(failed("it needs a cluster, and none was given", "give --kubeconfig FILE")),
        }
    }

    /// Has a folder to itself from here on; it is made if it is not there yet.
    fn have(&self, folder: &Path) -> Result<(), Undone> {
        let help = "nothing was written; wait for the other one or end it, and take this run up again";
        self.folders.make(folder).map(drop).map_err(|error| because(&error, help))
    }

    fn source(&self) -> Result<&Source, Undone> {
        self.source.as_ref().ok_or_else(|| failed("it needs a repository, and none was opened", "give --repo URL"))
    }

    /// The snapshot that the plan has for a step.
    fn snapshot(&self, step: &Step) -> Result<(&Chosen, &Snapshot), Undone> {
        let chosen = self.plan.chosen.get(&step.id);
        let chosen = chosen.ok_or_else(|| failed("the plan has no snapshot for it", "make the plan anew"))?;
        let gone = || {
            failed(
                format!(
                    "snapshot {} of {} is not in the repository any more",
                    short_hex(&chosen.snapshot),
                    chosen.source
                ),
                "it was forgotten since the plan was made; make the plan anew",
            )
        };
        let id = chosen.snapshot.parse::<ObjectId>().map_err(|_| gone())?;
        let found = self.source()?.chain.snapshots.iter().find(|snapshot| snapshot.id == id);
        let found = found.ok_or_else(gone)?;
        let wanted = origin(&step.action).map(|origin| &origin.source);
        if wanted != Some(&found.record.source) || chosen.source != found.record.source {
            let why = format!(
                "snapshot {} is of {}, and the step is about another source",
                short_hex(&chosen.snapshot),
                found.record.source
            );
            return Err(failed(why, "the plan was altered: make it anew"));
        }
        Ok((chosen, found))
    }

    fn operation(&self, step: &Step, cancel: &Arc<Cancel>) -> Result<Context, Undone> {
        Ok(Context {
            repository: self.source()?.repository.clone(),
            clock: self.clock.clone(),
            progress: self.board.of(&step.id),
            cancel: cancel.clone(),
        })
    }

    /// All checks, one after another; the first that does not hold is the failure. `first`: the place of the first among all of the step.
    async fn hold(
        &self,
        step: &Step,
        (first, checks): (usize, &[Check]),
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let mut said = Vec::new();
        for (place, check) in checks.iter().enumerate() {
            let begun = self.clock.now();
            let seen = self.check(step, check, cancel).await;
            self.note((step, first + place), &seen, self.clock.now().since(begun));
            said.push(seen?);
        }
        Ok(said)
    }

    /// For the journal: what was seen of a check. One that was stopped was not seen.
    fn note(&self, (step, check): (&Step, usize), seen: &Result<String, Undone>, took: Duration) {
        let (held, said) = match seen {
            Ok(said) => (true, said.clone()),
            Err(Undone::Failed { why, .. }) => (false, why.clone()),
            Err(Undone::Stopped) => return,
        };
        let (seen, took) = (self.clock.now().to_string(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let event = Event::Checked { step: step.id.clone(), check, held, said, seen, took };
        self.looked.borrow_mut().insert((step.id.clone(), check), event);
    }

    async fn carry_out(&self, step: &Step, cancel: &Arc<Cancel>) -> Result<Vec<String>, Undone> {
        self.board.of(&step.id).begin(phase(&step.action), "");
        match &step.action {
            Action::RestoreFiles(files) => self.restore_files(step, files, cancel).await,
            Action::RestoreResources(resources) => self.restore_resources(step, resources, cancel).await,
            Action::RestoreVolume(volume) => self.restore_volume(step, volume, cancel).await,
            Action::RestoreDatastore { data_dir, .. } => self.restore_datastore(step, data_dir, cancel).await,
            Action::Gitops { pause, namespaces, names } => self.gitops(step, *pause, (namespaces, names), cancel).await,
            Action::Scale { object, replicas } => self.scale(object, *replicas, cancel).await,
            Action::Quiesce { claims, how, .. } => self.quiesce(step, claims, how, cancel).await,
            Action::Pause(time) => tokio::select! {
                () = tokio::time::sleep(*time) => Ok(Vec::new()),
                () = cancel.cancelled() => Err(Undone::Stopped),
            },
            Action::WaitUntil { checks, every } => self.wait_until(step, checks, *every, cancel).await,
            Action::Check(checks) => self.hold(step, (0, checks), cancel).await,
            Action::Exec(what) => self.exec(step, what, cancel).await,
            Action::Run(argv) => program::run(argv, (&self.folder, step), cancel).await,
            Action::Notify(message) => Ok(vec![message.clone()]),
            // The person did it, and said so before it was begun.
            Action::Manual(_) => Ok(Vec::new()),
        }
    }

    /// Whether looking again at checks sees what was seen before: in a folder no object changes by itself.
    fn stays_so(&self, checks: &[Check]) -> bool {
        matches!(self.target, Target::Folder(..)) && checks.iter().all(|check| check.probe.is_of_cluster())
    }

    /// Looks until all hold; the step's own time is the limit.
    async fn wait_until(
        &self,
        step: &Step,
        checks: &[Check],
        every: Duration,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        loop {
            match self.hold(step, (0, checks), cancel).await {
                Err(Undone::Failed { .. }) if !self.stays_so(checks) => {}
                over => return over,
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = cancel.cancelled() => return Err(Undone::Stopped),
            }
        }
    }
}

/// What is shown of a step that says nothing more about itself.
const fn phase(action: &Action) -> &'static str {
    match action {
        Action::RestoreFiles(_)
        | Action::RestoreResources(_)
        | Action::RestoreVolume(_)
        | Action::RestoreDatastore { .. } => "restoring",
        Action::Gitops { pause: true, .. } => "pausing Flux and ArgoCD",
        Action::Gitops { pause: false, .. } => "letting Flux and ArgoCD go on",
        Action::Scale { .. } => "scaling",
        Action::Quiesce { .. } => "making applications hold still",
        Action::Pause(_) | Action::WaitUntil { .. } => "waiting",
        Action::Check(_) => "looking",
        Action::Exec(_) | Action::Run(_) => "running a program",
        Action::Notify(_) | Action::Manual(_) => "",
    }
}

/// Work that shares its wish to stop with threads, as long as `cancel` does not ask for it.
pub(crate) async fn stoppable<T>(cancel: &Cancel, own: &Cancel, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        () = cancel.cancelled() => own.cancel(),
    }
    work.await
}

#[async_trait(?Send)]
impl Hands for World<'_> {
    async fn act(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        let own = Arc::new(Cancel::default());
        Box::pin(stoppable(cancel, &own, self.carry_out(step, &own))).await
    }

    async fn verify(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        let own = Arc::new(Cancel::default());
        if !step.verify.is_empty() {
            self.board.of(&step.id).begin("verifying", "");
        }
        let first = match &step.action {
            Action::Check(checks) | Action::WaitUntil { checks, .. } => checks.len(),
            _ => 0,
        };
        Box::pin(stoppable(cancel, &own, self.hold(step, (first, &step.verify), &own))).await
    }

    fn seen(&self, step: &Step) -> Option<String> {
        self.board.of(&step.id).seen().map(|seen| seen.what)
    }

    fn checked(&self, step: &Step) -> Vec<Event> {
        let mut looked = self.looked.borrow_mut();
        let of_step: Vec<(String, usize)> = looked.keys().filter(|(id, _)| *id == step.id).cloned().collect();
        of_step.iter().filter_map(|key| looked.remove(key)).collect()
    }

    async fn let_go(&self, step: &Step) -> (Vec<String>, bool) {
        self.release(step).await
    }
}
