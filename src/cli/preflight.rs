//! `preflight`: what would keep a backup or a restore of a cluster from working, with what to do about each thing.

use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use super::backup::configured::volumes::{handed, others};
use super::restore::cluster::plan_args::PlanArgs;
use super::restore::cluster::{WITHOUT_A_BUCKET, look};
use crate::backup::volumes::Handed;
use crate::base::causes::in_one_line;
use crate::cli::again::Again;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::{configuration, movers, progress, select};
use crate::cluster::api::Api;
use crate::config::{ClusterPlace, Source, SourceKind, VolumesSource};
use crate::format::entry::escape;
use crate::preflight::backup::{self, Planned, Wanted};
use crate::preflight::{Check, Finding, Findings, PreflightError, Severity, probe, restore};
use crate::recover::cluster::data::choose;
use crate::recover::cluster::select::Selection;
use crate::store::url::HandOver;
use crate::volumes::pod::PodPlan;
use crate::volumes::policy::Reach;

/// The longest that a probe's pod may take to start, and to be done: nobody waits for a day.
const PROBE_TIME: std::time::Duration = std::time::Duration::from_mins(3);

/// What to do where the repository of a backup is a folder.
const TO_A_BUCKET: &str = "volumes go into a bucket (s3:// or b2://), which may be in the cluster or on your NAS";

const BACKUP_EXAMPLES: &str = "\
Examples:
  homelab-dr preflight backup
  homelab-dr preflight backup --probe            also starts a pod in each namespace
  homelab-dr preflight backup --probe=media
  homelab-dr preflight backup --json | jq '.findings[] | select(.severity != \"fine\")'

Looked at: rights, the way of each claim, CSI snapshots, webhooks and APIs that do not answer, what
the server says to the movers' pods (Pod Security, quota, limits, Kyverno), Cilium's denials, nodes.
Exit code 0: nothing blocks; 7: something does; 1: the cluster could not be looked at.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  homelab-dr preflight restore latest:cluster --cluster --kubeconfig ~/.kube/new
  homelab-dr preflight restore latest:cluster --cluster --include 'media/*/*'
  homelab-dr preflight restore latest:cluster --cluster --mover-image IMAGE --probe=media

Looked at: rights, conflicts of the plan (storage classes that claims want among them), what the
server or the manifests of namespaces say to the movers' pods, quotas that come along, Cilium's
denials, room for volumes where somebody says how much there is, webhooks and APIs that do not
answer, nodes.
Exit code 0: nothing blocks; 7: something does; 1: the cluster could not be looked at.";

/// There is no `--into-claim` here.
const CLASS_HELP: &str = "Take volumes of this storage class in the place of those of another; may be repeated";

/// Say what would keep a backup or a restore of a cluster from working, and what to do about it
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Backup(BackupArgs),
    Restore(Box<RestoreArgs>),
}

/// Before a backup of what the configuration says of clusters; changes nothing
#[derive(Debug, clap::Args)]
#[command(after_help = BACKUP_EXAMPLES)]
pub(crate) struct BackupArgs {
    /// Only this source of the configuration; may be repeated
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
    /// Also start a pod, in each namespace that movers would run in or in this one, which proves that the image is pulled and
    /// the repository reached. It writes nothing, and is removed
    #[arg(long, value_name = "NAMESPACE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    probe: Option<String>,
}

/// Before a restore of a cluster's objects; changes nothing (needs an identity)
#[derive(Debug, clap::Args)]
#[command(after_help = RESTORE_EXAMPLES)]
#[command(mut_arg("storage_class", |arg| arg.help(CLASS_HELP)))]
pub(crate) struct RestoreArgs {
    #[arg(value_name = "SNAPSHOT", help = select::SNAPSHOT_HELP)]
    snapshot: OsString,
    /// Objects into a cluster, as for `restore`
    #[arg(long, required = true)]
    cluster: bool,
    /// Only what matches this pattern, as for `restore --cluster`; may be repeated
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Leave out what matches this pattern; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    #[command(flatten)]
    plan: PlanArgs,
    /// Also start a pod, in each namespace that is there and where volumes would be filled or in this one, which proves that the
    /// image is pulled and the repository reached. It writes nothing, and is removed
    #[arg(long, value_name = "NAMESPACE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    probe: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    findings: &'a Findings,
    blocks: usize,
    doubtful: usize,
    fine: usize,
}

pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    let mut findings = Findings::default();
    match command {
        Command::Backup(args) => of_backup(&args, context, &mut findings).await?,
        Command::Restore(args) => of_restore(&args, context, &mut findings).await?,
    }
    complete(&mut findings, 0, context.talk.again());
    let [blocks, doubtful, fine] = [Severity::Blocks, Severity::Doubtful, Severity::Fine].map(|it| findings.count(it));
    if context.out.json {
        context.out.document(&Document { findings: &findings, blocks, doubtful, fine })?;
    } else {
        show(&findings, context)?;
        let text = format!("{blocks} block, {doubtful} doubtful, {fine} fine");
        context.summary(findings.blocks(), &text)?;
    }
    if context.cancel.is_cancelled() {
        return Err(Failure::Interrupted);
    }
    Ok(if findings.blocks() { Exit::Refused } else { Exit::Done })
}

/// Completes the commands in what to do about findings, from a number on.
fn complete(findings: &mut Findings, from: usize, at: &Again) {
    for finding in findings.findings.iter_mut().skip(from) {
        finding.mend = at.told(&finding.mend);
    }
}

/// Lines of a text, each safe for a terminal.
fn lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| escape(line.as_bytes()))
}

fn show(findings: &Findings, context: &mut Context) -> Result<(), Failure> {
    let mut sorted: Vec<&Finding> = findings.findings.iter().collect();
    sorted.sort_by_key(|finding| finding.severity);
    for Finding { severity, on, what, why, mend, .. } in sorted {
        let word = match severity {
            Severity::Blocks => "BLOCKS  ",
            Severity::Doubtful => "doubtful",
            Severity::Fine => "fine    ",
        };
        context.out.line(&format!("{word}  {}: {}", escape(on.as_bytes()), escape(what.as_bytes())))?;
        if *severity == Severity::Fine {
            continue;
        }
        for (name, text) in [("why:  ", why), ("mend: ", mend)] {
            for (number, line) in lines(text).enumerate() {
                let name = if number == 0 { name } else { "      " };
                context.out.line(&format!("          {name}{line}"))?;
            }
        }
    }
    Ok(())
}

/// The sources of one cluster.
struct OfCluster<'a> {
    kubeconfig: Option<&'a Path>,
    context: Option<&'a str>,
    sources: Vec<&'a Source>,
}

fn by_cluster<'a>(sources: &'a [Source], chosen: &[String]) -> Vec<OfCluster<'a>> {
    let mut found: Vec<OfCluster<'a>> = Vec::new();
    for source in sources.iter().filter(|source| chosen.is_empty() || chosen.contains(&source.name)) {
        let (kubeconfig, context) = match &source.kind {
            SourceKind::Volumes(volumes) => (volumes.kubeconfig.as_deref(), volumes.context.as_deref()),
            SourceKind::Resources(resources) => match &resources.of {
                ClusterPlace::Api { kubeconfig, context } => (kubeconfig.as_deref(), context.as_deref()),
                ClusterPlace::Folder(_) => continue,
            },
            SourceKind::Command(command) => match &command.place {
                Some(place) => (place.kubeconfig.as_deref(), place.context.as_deref()),
                None => continue,
            },
            SourceKind::Path(_) | SourceKind::Datastore(_) | SourceKind::FolderVolumes(_) => continue,
        };
        match found.iter_mut().find(|known| (known.kubeconfig, known.context) == (kubeconfig, context)) {
            Some(known) => known.sources.push(source),
            None => found.push(OfCluster { kubeconfig, context, sources: vec![source] }),
        }
    }
    found
}

fn volumes_of<'a>(sources: &[&'a Source]) -> Vec<(&'a Source, &'a VolumesSource)> {
    let of = |source: &&'a Source| match &source.kind {
        SourceKind::Volumes(volumes) => Some((*source, volumes)),
        _ => None,
    };
    sources.iter().filter_map(of).collect()
}

async fn of_backup(args: &BackupArgs, context: &mut Context, findings: &mut Findings) -> Result<(), Failure> {
    let Some(loaded) = context.configuration.clone() else {
        return Err(configuration::needed("preflight looks at the sources of the configuration", "--config FILE"));
    };
    let sources = &loaded.config.sources;
    if let Some(unknown) = args.source.iter().find(|name| !sources.iter().any(|source| source.name == **name)) {
        let what = format!("{} is no source of {}", escape(unknown.as_bytes()), loaded.path.display());
        return Err(Failure::usage(what, "see `homelab-dr config show`"));
    }
    let clusters = by_cluster(sources, &args.source);
    if clusters.is_empty() {
        return Err(Failure::usage(
            "no source of a cluster is there to look at",
            "preflight is for sources that have an API server: resources, volumes, and commands in containers (docs/configuration.md)",
        ));
    }
    let mut probed = false;
    for of_cluster in &clusters {
        let api = Api::open(of_cluster.kubeconfig, of_cluster.context).await.map_err(PreflightError::from)?;
        let (at, before) = (Again::cluster(of_cluster.kubeconfig, of_cluster.context), findings.findings.len());
        let volumes = volumes_of(&of_cluster.sources);
        let reach = if volumes.is_empty() { Reach::Nowhere } else { reach(context, findings, TO_A_BUCKET).await };
        let resources = of_cluster.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Resources(resources) => Some(resources),
            _ => None,
        });
        let commands = of_cluster.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Command(command) => Some((source.name.as_str(), command.place.as_ref()?)),
            _ => None,
        });
        let wanted = Wanted {
            volumes: volumes.iter().map(|(source, of)| (*of, others(source, of, context))).collect(),
            resources: resources.collect(),
            commands: commands.collect(),
            reach: &reach,
            whole: args.source.is_empty(),
        };
        context.progress.begin("looking at the cluster", "");
        let display = progress::show(context);
        // Nothing is written yet: it can be left wherever it is.
        let planned = tokio::select! {
            planned = backup::look(&api, &wanted, findings) => planned,
            () = context.cancel.cancelled() => return Err(Failure::Interrupted),
        };
        display.finish();
        if let Some(only) = &args.probe {
            let only = Some(only.as_str()).filter(|only| !only.is_empty());
            probed |= probe_all(context, &api, &planned?, only, findings).await?;
        } else {
            planned?;
        }
        complete(findings, before, &at);
    }
    match args.probe.as_deref() {
        Some(namespace) if !namespace.is_empty() && !probed => Err(nowhere(namespace)),
        _ => Ok(()),
    }
}

/// Where the store is; that it cannot be told, or is a folder, is a finding, with `otherwise` as what to do about that.
pub(in crate::cli) async fn reach(context: &Context, findings: &mut Findings, otherwise: &str) -> Reach {
    let found = match open::address(context) {
        Ok(address) => address.hand_over().await.map_err(|error| in_one_line(&error)),
        Err(Failure::Told(told)) => Err(in_one_line(&*told.error)),
        Err(_) => Err("it is not known".to_owned()),
    };
    let finding = |what: &str| Finding::new(Severity::Blocks, Check::Network, "the repository", what);
    match found {
        Ok(HandOver { endpoint: Some((host, port)), .. }) => Reach::of(&host, port),
        Ok(HandOver { endpoint: None, .. }) => {
            let finding = finding("is a folder of this machine, which the pods of movers do not have");
            findings.add(finding.mended_by(otherwise));
            Reach::Nowhere
        }
        Err(why) => {
            let mend = "name it in the configuration, or with --repo, and give this machine its credentials";
            findings.add(finding("is not known").because(why).mended_by(mend));
            Reach::Nowhere
        }
    }
}

/// Starts the pods of a backup; whether there was any namespace to start one in.
async fn probe_all(
    context: &mut Context,
    api: &Api,
    planned: &Planned<'_>,
    only: Option<&str>,
    findings: &mut Findings,
) -> Result<bool, Failure> {
    let handed = handed(context).await?;
    let mut any = false;
    for (source, claims) in planned {
        let running = movers::Running {
            image: source.image.clone(),
            start_timeout: source.start_timeout,
            timeout: source.timeout,
            movers: 1,
        };
        any |= probe_with(context, (api, &running, &handed), &probe::of_backup(source, claims), only, findings).await;
    }
    Ok(any)
}

/// Starts these pods, one after another; false if there is none.
async fn probe_with(
    context: &mut Context,
    (api, running, handed): (&Api, &movers::Running, &Handed),
    pods: &[(PodPlan, String)],
    only: Option<&str>,
    findings: &mut Findings,
) -> bool {
    context.cancel.begin();
    let quick = movers::Running {
        image: running.image.clone(),
        start_timeout: running.start_timeout.min(PROBE_TIME),
        timeout: running.timeout.min(PROBE_TIME),
        movers: 1,
    };
    let (clock, progress_of, cancel) = (context.clock.clone(), context.progress.clone(), context.cancel.clone());
    let crew = movers::crew_of(api, &*clock, &progress_of, &cancel, &quick);
    context.progress.begin("starting pods", "");
    let display = progress::show(context);
    let any = probe::look(&crew, handed, pods, only, findings).await;
    display.finish();
    any
}

fn nowhere(namespace: &str) -> Failure {
    Failure::usage(
        format!("no mover would run in the namespace {}, or it is not there yet", escape(namespace.as_bytes())),
        "--probe without a namespace tries all of them",
    )
}

async fn of_restore(args: &RestoreArgs, context: &mut Context, findings: &mut Findings) -> Result<(), Failure> {
    debug_assert!(args.cluster, "clap requires it");
    let (mut options, at) = args.plan.options(Selection::new(&args.include, &args.exclude)?, context)?;
    let repository = open::with_identity(context, Access::Read).await?;
    let chain = open::chain(context, &repository).await?;
    let (snapshot, within) = select::snapshot_path(context, &chain, &args.snapshot)?;
    if !within.as_bytes().is_empty() {
        return Err(Failure::usage("a path in the snapshot was given", "--include takes namespace/kind/name"));
    }
    options.data = choose(&chain, &snapshot.record, at);
    let reader = open::reader(context, &repository).await?;
    let cluster = args.plan.target().await?;
    let plan = look(&options, snapshot, &cluster, (&repository, &reader), context).await?;
    // What no mover is needed for needs no image either.
    let running = movers::running(context, args.plan.mover_image.as_deref(), None).ok();
    let way = match plan.fills().next() {
        Some(_) => Some(reach(context, findings, WITHOUT_A_BUCKET).await),
        None => None,
    };
    let wanted = way
        .as_ref()
        .map(|reach| restore::Movers { image: running.as_ref().map(|running| running.image.as_str()), reach });
    let looked = tokio::select! {
        looked = restore::look(&cluster, &plan, wanted.as_ref(), findings) => looked,
        () = context.cancel.cancelled() => return Err(Failure::Interrupted),
    };
    let pods = looked?;
    let (Some(only), Some(reach)) = (&args.probe, &way) else { return Ok(()) };
    if *reach == Reach::Nowhere {
        // That was told just now.
        return Ok(());
    }
    let only = Some(only.as_str()).filter(|only| !only.is_empty());
    let any = match &running {
        Some(running) if !pods.is_empty() => {
            let handed = movers::handed(context, &repository.writer_key(), WITHOUT_A_BUCKET).await?;
            probe_with(context, (&cluster, running, &handed), &pods, only, findings).await
        }
        _ => false,
    };
    match only {
        Some(namespace) if !any => Err(nowhere(namespace)),
        _ => Ok(()),
    }
}
