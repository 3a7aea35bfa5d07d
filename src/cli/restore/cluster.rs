//! `restore --cluster`: the objects of a cluster, into a cluster or a folder: a plan, a question, a run, and what it came to.

mod by_kind;
pub(in crate::cli) mod plan_args;
pub(super) mod show;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::plan_args::PlanArgs;
use super::Args;
use crate::backup::volumes::Handed;
use crate::base::units::parse_duration;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard::InUse;
use crate::cli::open::{self, Access};
use crate::cli::prompt::confirm;
use crate::cli::{movers, progress, recover, select};
use crate::cluster::Cluster;
use crate::cluster::api::Api;
use crate::cluster::folder::{Folder, MANIFESTS, VOLUMES};
use crate::format::entry::TreePath;
use crate::recover::cluster::data::{Data, choose};
use crate::recover::cluster::plan::{ClusterPlan, plan};
use crate::recover::cluster::ready::{self, Waited};
use crate::recover::cluster::report::Report;
use crate::recover::cluster::run::{Running, Waits, run as run_plan};
use crate::recover::cluster::select::Selection;
use crate::recover::cluster::unpack::IntoFolder;
use crate::recover::cluster::volumes::{Filled, Outcome as VolumeOutcome, Volumes as Volume};
use crate::recover::cluster::{Existing, Options, RecoverError, manifests};
use crate::repo::Repository;
use crate::repo::fetch::Reader;
use crate::repo::snapshots::{Chain, Snapshot};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Restoring a cluster")]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(super) struct ClusterArgs {
    /// Restore the objects of a cluster into a cluster, not files into a directory. Shows the plan and asks before it writes.
    /// --include and --exclude then take kinds as kubectl names them (secrets, deployments.apps, '*.cert-manager.io') or
    /// NAMESPACE/KIND/NAME (media/*/*, _cluster/clusterroles.rbac.authorization.k8s.io/acme*), all as in the snapshot
    #[arg(long, conflicts_with_all = ["all", "target", "delete", "sparse", "no_owner", "overwrite", "exclude_file", "exclude_caches"])]
    pub(super) cluster: bool,
    #[command(flatten)]
    pub(super) plan: PlanArgs,
    /// Wait until what was restored is ready, at most so long [without a time: 10m]; what is not is told with what its pods and
    /// events say, and the exit code is 3
    #[arg(long, value_name = "TIME", requires = "cluster", num_args = 0..=1, require_equals = true, default_missing_value = "10m", value_parser = parse_duration, conflicts_with = "into_folder")]
    wait: Option<Duration>,
    /// Create claims although there is no data for their volumes: they will be empty
    #[arg(long, requires = "cluster")]
    empty_volumes: bool,
    /// How many volumes are filled at once [default: the configuration's, or 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) movers: Option<u8>,
    /// Restore one volume into a new claim, beside what is there, such as media/jellyfin-restored
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = super::claim::place, conflicts_with_all = ["cluster", "all", "target", "delete", "include", "exclude", "sparse", "no_owner", "overwrite", "exclude_file", "exclude_caches"])]
    pub(super) into_claim: Option<(String, String)>,
    /// Restore into the claim of --into-claim that is there, with data in it: what uses it is scaled to zero, what is in it is
    /// backed up, what differs is written and what the snapshot does not have is removed, and what used it comes back
    #[arg(long, requires = "into_claim", conflicts_with_all = ["storage_class", "size"])]
    pub(super) in_place: bool,
    /// With --in-place: do not back up what is in the volume before it is replaced
    #[arg(long, requires = "in_place")]
    pub(super) no_safety_copy: bool,
    /// At least this size for the claim of --into-claim [default: that of the claim that the snapshot is of, or what its data needs]
    #[arg(long, value_name = "SIZE", requires = "into_claim", value_parser = crate::base::units::parse_size)]
    pub(super) size: Option<u64>,
    /// Write into a folder and not into a cluster: manifests into DIR/manifests, the data of volumes into DIR/volumes/NAMESPACE/CLAIM;
    /// --existing update writes over what differs
    #[arg(long, value_name = "DIR", requires = "cluster", conflicts_with_all = ["kubeconfig", "context"])]
    into_folder: Option<PathBuf>,
}

impl ClusterArgs {
    /// Refuses what has a meaning for a cluster only. `requires` alone does not: clap drops it as soon as an option is given that `--cluster` excludes,
    /// such as `--target`, without which nothing else can be restored.
    pub(super) fn refuse_without_cluster(&self) -> Result<(), Failure> {
        let given = [
            ("--kubeconfig", self.plan.kubeconfig.is_some() && self.into_claim.is_none()),
            ("--context", self.plan.context.is_some() && self.into_claim.is_none()),
            ("--storage-class", !self.plan.storage_class.is_empty() && self.into_claim.is_none()),
            ("--movers", self.movers.is_some() && self.into_claim.is_none()),
            ("--mover-image", self.plan.mover_image.is_some() && self.into_claim.is_none()),
            ("--volumes-at", self.plan.volumes_at.is_some()),
            ("--namespace", !self.plan.namespace.is_empty()),
            ("--node", !self.plan.node.is_empty()),
            ("--wait", self.wait.is_some()),
            ("--existing", self.plan.existing.is_some()),
            ("--empty-volumes", self.empty_volumes),
            ("--into-folder", self.into_folder.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given && !self.cluster) {
            Some((option, _)) => Err(Failure::usage(
                format!("{option} was given without --cluster"),
                "nothing was done; add --cluster to restore objects of a cluster, or leave the option out to restore files",
            )),
            None => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    dry_run: bool,
    plan: &'a ClusterPlan,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<&'a Waited>,
}

pub(super) async fn run(args: &Args, context: &mut Context) -> Result<Exit, Failure> {
    let selection = Selection::new(&args.include, args.exclude.globs())?;
    let (mut options, at) = args.cluster.plan.options(selection, context)?;
    let repository = open::with_identity(context, Access::Read).await?;
    if let Some(folder) = &args.cluster.into_folder {
        let in_use = InUse::of(context)?;
        in_use.refuse_manifests(&folder.join(MANIFESTS))?;
        in_use.refuse_manifests(&folder.join(VOLUMES))?;
    }
    let chain = open::chain(context, &repository).await?;
    let snapshot = objects_of(args, &chain, context)?;
    options.data = choose(&chain, &snapshot.record, at);
    let target = Target::open(&args.cluster).await?;
    let cluster = target.cluster();
    let reader = open::reader(context, &repository).await?;
    let plan = look(&options, snapshot, cluster, (&repository, &reader), context).await?;
    refuse_nothing(&plan, snapshot)?;
    show::warn_of(&plan, context);
    let document =
        |dry_run, report, ready| Document { snapshot: snapshot.id.hex(), dry_run, plan: &plan, report, ready };
    if args.dry_run {
        if context.out.json {
            context.out.document(&document(true, None, None))?;
        } else {
            show::plan(&plan, snapshot, context)?;
        }
        return Ok(exit_of_plan(&plan));
    }
    if !plan.empty_volumes.is_empty() && !args.cluster.empty_volumes {
        return Err(RecoverError::EmptyVolumes { claims: plan.empty_volumes.clone() }.into());
    }
    // Before anything is asked or written: what movers lack.
    let fills = plan.fills().next().is_some();
    let needs = match &target {
        Target::Api(_) if fills => Some((
            movers::handed(context, &repository.writer_key(), WITHOUT_A_BUCKET).await?,
            movers::running(context, args.cluster.plan.mover_image.as_deref(), args.cluster.movers)?,
        )),
        _ => None,
    };
    let writes_over = options.existing.writes() && args.cluster.into_folder.is_some() && fills;
    if (writes_over || plan.steps.iter().any(|step| step.fate.acts())) && !args.yes {
        context.out.flush()?;
        show::summary_of(&plan, snapshot, context);
        confirm(false, "Restore them?")?;
    }
    show::deletions(&plan, context);
    let manner = Manner { existing: options.existing, empty_volumes: args.cluster.empty_volumes };
    let work = carry_out(&plan, &target, needs.as_ref(), (&repository, reader), manner, context);
    let report = if fills || plan.steps.iter().any(|step| step.fate.acts()) {
        let _held = args.cluster.into_folder.as_ref().map(|root| recover::folder(root, context)).transpose()?;
        let what = format!("restore of snapshot {}", snapshot.id.short());
        recover::keeping((target.cluster(), &what), context, work).await??
    } else {
        work.await?
    };
    let waited = match args.cluster.wait.filter(|_| report.stopped.is_none() && !report.interrupted) {
        Some(limit) => Some(wait(target.cluster(), &plan, &report, limit, context).await?),
        None => None,
    };
    if context.out.json {
        context.out.document(&document(false, Some(&report), waited.as_ref()))?;
    } else {
        show::report(&plan, &report, context)?;
        if let Some(waited) = &waited {
            show::waited(waited, context)?;
        }
    }
    Ok(exit_of(&plan, &report).graver(exit_of_wait(waited.as_ref())))
}

/// The snapshot that the objects are in.
fn objects_of<'a>(args: &Args, chain: &'a Chain, context: &Context) -> Result<&'a Snapshot, Failure> {
    let Some(given) = &args.snapshot else {
        return Err(Failure::usage("no snapshot was given", "such as latest:cluster"));
    };
    let (snapshot, within) = select::snapshot_path(context, chain, given)?;
    if within.as_bytes().is_empty() {
        return Ok(snapshot);
    }
    let help = "leave out the path; --include takes namespace/kind/name";
    Err(Failure::usage("--cluster restores objects, and a path in the snapshot was given", help))
}

/// Nothing chosen is a pattern that means nothing.
fn refuse_nothing(plan: &ClusterPlan, snapshot: &Snapshot) -> Result<(), Failure> {
    if !(plan.steps.is_empty() && plan.skipped.is_empty() && plan.unreadable.is_empty()) {
        return Ok(());
    }
    let what = format!("nothing in snapshot {} was chosen by --include and --exclude", snapshot.id.short());
    let help = "patterns are kinds (secrets, deployments.apps) or NAMESPACE/KIND/NAME; quote them from the shell";
    Err(Failure::usage(what, help))
}

/// Waits until what was restored is ready. That the cluster goes away meanwhile takes nothing from what was written.
async fn wait(
    cluster: &dyn Cluster,
    plan: &ClusterPlan,
    report: &Report,
    limit: Duration,
    context: &Context,
) -> Result<Waited, Failure> {
    context.progress.begin("waiting until all is ready", "object");
    let display = progress::show(context);
    let waited = ready::wait(cluster, (plan, report), limit, &context.progress, &context.cancel).await;
    display.finish();
    waited.map_err(|error| {
        let help = "everything was written; see `kubectl get pods --all-namespaces` when the cluster answers again";
        Failure::because(Exit::Error, "the cluster went away while it was waited for", error, help)
    })
}

/// What a run is told besides its plan.
#[derive(Clone, Copy, Default)]
struct Manner {
    existing: Existing,
    empty_volumes: bool,
}

/// Does what the plan says, volumes too. `needs` is what movers need, if any are needed.
async fn carry_out(
    plan: &ClusterPlan,
    target: &Target,
    needs: Option<&(Handed, movers::Running)>,
    (repository, reader): (&Arc<Repository>, Arc<Reader>),
    manner: Manner,
    context: &Context,
) -> Result<Report, Failure> {
    let (clock, progress_of, cancel) = (context.clock.clone(), context.progress.clone(), context.cancel.clone());
    let operation = context.operation(repository.clone());
    let volumes: Option<Box<dyn Volume + '_>> = match (target, needs) {
        (Target::Folder(_, root), _) => {
            let (root, existing) = (root.clone(), manner.existing);
            Some(Box::new(IntoFolder { root, reader, context: &operation, existing }))
        }
        (Target::Api(api), Some((handed, running))) => {
            movers::sweep(api, context).await;
            let crew = movers::crew_of(api, &*clock, &progress_of, &cancel, running);
            Some(Box::new(movers::filling(&crew, handed, running, reader, TreePath::root())?))
        }
        _ => None,
    };
    let running = Running {
        cluster: target.cluster(),
        empty_volumes: manner.empty_volumes,
        volumes: volumes.as_deref(),
        waits: Waits::default(),
        progress: &progress_of,
        cancel: &cancel,
    };
    context.progress.begin("restoring", "object");
    context.progress.expect(plan.steps.len() as u64, 0, false);
    let display = progress::show(context);
    let report = run_plan(plan, &running).await;
    display.finish();
    Ok(report?)
}

/// What to do where the repository is a folder.
pub(in crate::cli) const WITHOUT_A_BUCKET: &str = "copy the repository into a bucket that the cluster reaches (`homelab-dr replicate --to s3://…`) and restore from there; or unpack \
     everything with --into-folder";

/// Where it is restored to.
enum Target {
    Api(Box<Api>),
    Folder(Folder, PathBuf),
}

impl Target {
    async fn open(args: &ClusterArgs) -> Result<Self, Failure> {
        if let Some(folder) = &args.into_folder {
            return Ok(Self::Folder(Folder::open(folder).map_err(RecoverError::from)?, folder.clone()));
        }
        Ok(Self::Api(Box::new(args.plan.target().await?)))
    }

    fn cluster(&self) -> &dyn Cluster {
        match self {
            Self::Api(api) => &**api,
            Self::Folder(folder, _) => folder,
        }
    }
}

/// The exit code that goes with what became of a volume.
pub(super) fn exit_of_volume(volume: &Filled) -> Exit {
    match &volume.outcome {
        VolumeOutcome::Unknown { damaged: true, .. } => Exit::Damaged,
        VolumeOutcome::Unknown { exit, .. } => {
            let said = exit.and_then(|code| Exit::ALL.into_iter().find(|exit| exit.code() == code));
            // Of these a mover says what concerns the whole of it; anything else is this volume's.
            said.filter(|exit| matches!(exit, Exit::Damaged | Exit::Unreachable | Exit::Key)).unwrap_or(Exit::Problems)
        }
        VolumeOutcome::Kept { .. } => Exit::Problems,
        _ if volume.restored.problems > 0 || volume.data.is_doubtful() => Exit::Problems,
        _ => Exit::Done,
    }
}

/// Reads the snapshot and the target, and decides.
pub(in crate::cli) async fn look(
    options: &Options,
    snapshot: &Snapshot,
    cluster: &dyn Cluster,
    (repository, reader): (&Arc<Repository>, &Arc<Reader>),
    context: &Context,
) -> Result<ClusterPlan, Failure> {
    context.progress.begin("reading manifests", "object");
    let display = progress::show(context);
    let operation = context.operation(repository.clone());
    let manifests = manifests::read(&operation, reader, snapshot.record.root).await;
    display.finish();
    let manifests = manifests.map_err(RecoverError::from)?;
    if !manifests.is_cluster && manifests.unreadable.is_empty() {
        return Err(RecoverError::NoCluster { snapshot: snapshot.id.short() }.into());
    }
    context.progress.begin("looking at the cluster", "");
    let display = progress::show(context);
    // Nothing is written yet: it can be left wherever it is.
    let planned = tokio::select! {
        planned = plan(cluster, manifests, options) => planned,
        () = context.cancel.cancelled() => return Err(Failure::Interrupted),
    };
    display.finish();
    Ok(planned?)
}

fn exit_of_plan(plan: &ClusterPlan) -> Exit {
    let conflicts =
        plan.steps.iter().any(|step| matches!(step.fate, crate::recover::cluster::fate::Fate::Conflict { .. }));
    let is_doubtful = plan.steps.iter().filter_map(|step| step.fill.as_ref()).any(Data::is_doubtful);
    let is_unknown = plan.steps.iter().any(|step| step.doubt().is_some());
    if plan.unreadable.iter().any(|unreadable| unreadable.damaged) {
        Exit::Damaged
    } else if conflicts || is_doubtful || is_unknown || !plan.unreadable.is_empty() {
        Exit::Problems
    } else {
        Exit::Done
    }
}

fn exit_of_wait(waited: Option<&Waited>) -> Exit {
    match waited {
        Some(waited) if waited.interrupted => Exit::Interrupted,
        Some(waited) if !waited.not_ready.is_empty() => Exit::Problems,
        _ => Exit::Done,
    }
}

fn exit_of(plan: &ClusterPlan, report: &Report) -> Exit {
    let of_run = if report.interrupted {
        Exit::Interrupted
    } else if report.stopped.is_some() {
        Exit::Error
    } else if report.is_well() {
        Exit::Done
    } else {
        Exit::Problems
    };
    let of_volumes = report.volumes.iter().fold(Exit::Done, |exit, volume| exit.graver(exit_of_volume(volume)));
    exit_of_plan(plan).graver(of_run).graver(of_volumes)
}
