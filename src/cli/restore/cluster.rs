//! `restore --cluster`: the objects of a cluster, into a cluster or a folder: a plan, a question, a run, and what it came to.

mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::Args;
use crate::base::units::parse_duration;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard::InUse;
use crate::cli::open::{self, Access};
use crate::cli::prompt::confirm;
use crate::cli::{progress, select};
use crate::cluster::Cluster;
use crate::cluster::api::Api;
use crate::cluster::folder::{Folder, MANIFESTS};
use crate::cluster::rewrite::namespaces::Namespaces;
use crate::cluster::rewrite::nodes::Nodes;
use crate::recover::cluster::plan::{ClusterPlan, plan};
use crate::recover::cluster::ready::{self, Waited};
use crate::recover::cluster::report::Report;
use crate::recover::cluster::run::{Running, Waits, run as run_plan};
use crate::recover::cluster::select::Selection;
use crate::recover::cluster::{Existing, Options, RecoverError, manifests};
use crate::repo::snapshots::Snapshot;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Restoring a cluster")]
pub(super) struct ClusterArgs {
    /// Restore the objects of a cluster into a cluster, not files into a directory. Shows the plan and asks before it writes.
    /// --include and --exclude then take kinds as kubectl names them (secrets, deployments.apps, '*.cert-manager.io') or
    /// NAMESPACE/KIND/NAME (media/*/*, _cluster/clusterroles.rbac.authorization.k8s.io/acme*), all as in the snapshot
    #[arg(long, conflicts_with_all = ["all", "target", "delete", "sparse", "no_owner", "overwrite", "exclude_file", "exclude_caches"])]
    pub(super) cluster: bool,
    /// The kubeconfig of the cluster to restore into [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE", requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME", requires = "cluster")]
    context: Option<String>,
    /// Restore into a namespace of another name; may be repeated
    #[arg(long, value_name = "FROM=TO", requires = "cluster", value_parser = mapping)]
    namespace: Vec<(String, String)>,
    /// A node of another name: local volumes and workloads that are tied to FROM by its name are tied to TO; may be repeated
    #[arg(long, value_name = "FROM=TO", requires = "cluster", value_parser = node)]
    node: Vec<(String, String)>,
    /// Wait until what was restored is ready, at most so long [without a time: 10m]; what is not is told with what its pods and
    /// events say, and the exit code is 3
    #[arg(long, value_name = "TIME", requires = "cluster", num_args = 0..=1, require_equals = true, default_missing_value = "10m", value_parser = parse_duration, conflicts_with = "into_folder")]
    wait: Option<Duration>,
    /// What to do with objects that are there and differ [default: skip]
    #[arg(long, value_enum, value_name = "WHAT", requires = "cluster")]
    existing: Option<WhatIsThere>,
    /// Create claims although there is no data for their volumes: they will be empty
    #[arg(long, requires = "cluster")]
    empty_volumes: bool,
    /// Also restore secrets that External Secrets, 1Password or Bitwarden would fetch again: for when their store is lost too
    #[arg(long, requires = "cluster")]
    with_derived_secrets: bool,
    /// Write manifests into a folder, DIR/manifests, and not into a cluster
    #[arg(long, value_name = "DIR", requires = "cluster", conflicts_with_all = ["kubeconfig", "context"])]
    into_folder: Option<PathBuf>,
}

impl ClusterArgs {
    /// Refuses what has a meaning for a cluster only. `requires` alone does not: clap drops it as soon as an option is given that `--cluster` excludes,
    /// such as `--target`, without which nothing else can be restored.
    pub(super) fn refuse_without_cluster(&self) -> Result<(), Failure> {
        let given = [
            ("--kubeconfig", self.kubeconfig.is_some()),
            ("--context", self.context.is_some()),
            ("--namespace", !self.namespace.is_empty()),
            ("--node", !self.node.is_empty()),
            ("--wait", self.wait.is_some()),
            ("--existing", self.existing.is_some()),
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

/// What is done with objects that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum WhatIsThere {
    /// Leave them
    Skip,
    /// Replace them, as they are in the snapshot
    Update,
}

impl WhatIsThere {
    pub(in crate::cli) const fn meant(given: Option<Self>) -> Existing {
        match given {
            Some(Self::Update) => Existing::Update,
            _ => Existing::Skip,
        }
    }
}

pub(in crate::cli) fn mapping(text: &str) -> Result<(String, String), String> {
    let fits = |name: &str| {
        !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match text.split_once('=') {
        Some((from, to)) if fits(from) && fits(to) => Ok((from.to_owned(), to.to_owned())),
        _ => Err("two names of namespaces are expected, such as media=media-copy".to_owned()),
    }
}

/// Names of nodes have dots, too.
pub(in crate::cli) fn node(text: &str) -> Result<(String, String), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let fits = |name: &str| !name.is_empty() && name.len() <= 253 && name.chars().all(plain);
    match text.split_once('=') {
        Some((from, to)) if fits(from) && fits(to) => Ok((from.to_owned(), to.to_owned())),
        _ => Err("two names of nodes are expected, such as old-nas=new-nas".to_owned()),
    }
}

/// All of them, each node once.
pub(in crate::cli) fn nodes(given: &[(String, String)]) -> Result<Nodes, Failure> {
    for (number, (from, to)) in given.iter().enumerate() {
        if let Some((_, before)) = given.iter().take(number).find(|(other, before)| other == from && before != to) {
            let what = format!("node {from} is to become {before} and {to}");
            return Err(Failure::usage(what, "nothing was written; give one --node for each"));
        }
    }
    Ok(given.iter().cloned().collect())
}

/// All of them, each namespace once.
pub(in crate::cli) fn mappings(given: &[(String, String)]) -> Result<Namespaces, Failure> {
    for (number, (from, to)) in given.iter().enumerate() {
        let earlier = given.iter().take(number).find(|(other, before)| other == from && before != to);
        if let Some((_, before)) = earlier {
            let what = format!("namespace {from} is to become {before} and {to}");
            return Err(Failure::usage(what, "nothing was written; restore it twice, once under each name"));
        }
    }
    Ok(given.iter().cloned().collect())
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
    let options = Options {
        selection: Selection::new(&args.include, args.exclude.globs())?,
        namespaces: mappings(&args.cluster.namespace)?,
        nodes: nodes(&args.cluster.node)?,
        existing: WhatIsThere::meant(args.cluster.existing),
        derived_secrets: args.cluster.with_derived_secrets,
    };
    let repository = open::with_identity(context, Access::Read).await?;
    if let Some(folder) = &args.cluster.into_folder {
        InUse::of(context)?.refuse_manifests(&folder.join(MANIFESTS))?;
    }
    let chain = open::chain(context, &repository).await?;
    let snapshot = match &args.snapshot {
        Some(given) => select::snapshot_path(context, &chain, given)?,
        None => return Err(Failure::usage("no snapshot was given", "such as latest:cluster")),
    };
    let (snapshot, within) = snapshot;
    if !within.as_bytes().is_empty() {
        let help = "leave out the path; --include takes namespace/kind/name";
        return Err(Failure::usage("--cluster restores objects, and a path in the snapshot was given", help));
    }
    let cluster = target(&args.cluster).await?;
    let plan = look(&options, snapshot, &*cluster, &repository, context).await?;
    if plan.steps.is_empty() && plan.skipped.is_empty() && plan.unreadable.is_empty() {
        let what = format!("nothing in snapshot {} was chosen by --include and --exclude", snapshot.id.short());
        let help = "patterns are kinds (secrets, deployments.apps) or NAMESPACE/KIND/NAME; quote them from the shell";
        return Err(Failure::usage(what, help));
    }
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
    let running = Running {
        cluster: &*cluster,
        empty_volumes: args.cluster.empty_volumes,
        waits: Waits::default(),
        progress: &context.progress.clone(),
        cancel: &context.cancel.clone(),
    };
    if !plan.empty_volumes.is_empty() && !running.empty_volumes {
        return Err(RecoverError::EmptyVolumes { claims: plan.empty_volumes.clone() }.into());
    }
    if plan.steps.iter().any(|step| step.fate.acts()) && !args.yes {
        context.out.flush()?;
        show::summary_of(&plan, snapshot, context);
        confirm(false, "Restore them?")?;
    }
    context.progress.begin("restoring", "object");
    context.progress.expect(plan.steps.len() as u64, 0, false);
    let display = progress::show(context);
    let report = run_plan(&plan, &running).await;
    display.finish();
    let report = report?;
    let waited = match args.cluster.wait.filter(|_| report.stopped.is_none() && !report.interrupted) {
        Some(limit) => Some(wait(&*cluster, &plan, &report, limit, context).await?),
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
    let of_wait = match &waited {
        Some(waited) if waited.interrupted => Exit::Interrupted,
        Some(waited) if !waited.not_ready.is_empty() => Exit::Problems,
        _ => Exit::Done,
    };
    Ok(exit_of(&plan, &report).graver(of_wait))
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

async fn target(args: &ClusterArgs) -> Result<Box<dyn Cluster>, Failure> {
    if let Some(folder) = &args.into_folder {
        return Ok(Box::new(Folder::open(folder).map_err(RecoverError::from)?));
    }
    target_of(args.kubeconfig.as_deref(), args.context.as_deref()).await
}

/// The cluster of a kubeconfig.
pub(in crate::cli) async fn target_of(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Box<dyn Cluster>, Failure> {
    let api = Api::open(kubeconfig, context).await;
    Ok(Box::new(api.map_err(RecoverError::from)?))
}

/// Reads the snapshot and the target, and decides.
pub(in crate::cli) async fn look(
    options: &Options,
    snapshot: &Snapshot,
    cluster: &dyn Cluster,
    repository: &std::sync::Arc<crate::repo::Repository>,
    context: &Context,
) -> Result<ClusterPlan, Failure> {
    let reader = open::reader(context, repository).await?;
    context.progress.begin("reading manifests", "object");
    let display = progress::show(context);
    let operation = context.operation(repository.clone());
    let manifests = manifests::read(&operation, &reader, snapshot.record.root).await;
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
    if plan.unreadable.iter().any(|unreadable| unreadable.damaged) {
        Exit::Damaged
    } else if conflicts || !plan.unreadable.is_empty() {
        Exit::Problems
    } else {
        Exit::Done
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
    exit_of_plan(plan).graver(of_run)
}
