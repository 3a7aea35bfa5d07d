//! `preflight`: what would keep a backup or a restore of a cluster from working, with what to do about each thing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::backup::configured::volumes::{handed, others};
use super::restore::cluster::{WhatIsThere, look, mapping, mappings, node, nodes, target_of};
use crate::backup::volumes::{Limits, Movers, Wanted as Backup};
use crate::cli::context::{Context, host};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, in_one_line};
use crate::cli::open::{self, Access};
use crate::cli::{configuration, progress, select};
use crate::cluster::api::Api;
use crate::config::{ClusterPlace, Source, SourceKind, VolumesSource};
use crate::format::entry::escape;
use crate::preflight::backup::{self, Planned, Wanted};
use crate::preflight::{Check, Finding, Findings, PreflightError, Severity, probe, restore};
use crate::recover::cluster::Options;
use crate::recover::cluster::data::{At, Volumes, choose};
use crate::recover::cluster::select::Selection;
use crate::store::url::HandOver;
use crate::volumes::policy::Reach;

/// The longest that a probe's pod may take to start, and to be done: nobody waits for a day.
const PROBE_TIME: std::time::Duration = std::time::Duration::from_mins(3);

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

Looked at: rights, conflicts of the plan (storage classes that claims want among them), room for their
volumes where the storage says how much there is, webhooks and APIs that do not answer, nodes.
Exit code 0: nothing blocks; 7: something does; 1: the cluster could not be looked at.";

/// Say what would keep a backup or a restore of a cluster from working, and what to do about it
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Backup(BackupArgs),
    Restore(RestoreArgs),
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
    /// The kubeconfig of the cluster to restore into [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Restore into a namespace of another name; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = mapping)]
    namespace: Vec<(String, String)>,
    /// A node of another name; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = node)]
    node: Vec<(String, String)>,
    /// What would be done with objects that are there and differ [default: skip]
    #[arg(long, value_enum, value_name = "WHAT")]
    existing: Option<WhatIsThere>,
    /// Also secrets that External Secrets, 1Password or Bitwarden would fetch again
    #[arg(long)]
    with_derived_secrets: bool,
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
            SourceKind::Path(_) | SourceKind::Command(_) | SourceKind::Datastore(_) | SourceKind::FolderVolumes(_) => {
                continue;
            }
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
            "preflight is for sources of the kinds resources and volumes that have an API server (docs/configuration.md)",
        ));
    }
    let mut probed = false;
    for of_cluster in &clusters {
        let api = Api::open(of_cluster.kubeconfig, of_cluster.context).await.map_err(PreflightError::from)?;
        let volumes = volumes_of(&of_cluster.sources);
        let reach = if volumes.is_empty() { Reach::Nowhere } else { reach(context, findings).await };
        let resources = of_cluster.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Resources(resources) => Some(resources),
            _ => None,
        });
        let wanted = Wanted {
            volumes: volumes.iter().map(|(source, of)| (*of, others(source, of, context))).collect(),
            resources: resources.collect(),
            reach: &reach,
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
            probed |= probe_all(context, (&api, &volumes), &planned?, only, findings).await?;
        } else {
            planned?;
        }
    }
    match args.probe.as_deref() {
        Some(namespace) if !namespace.is_empty() && !probed => Err(Failure::usage(
            format!("no mover would run in the namespace {}", escape(namespace.as_bytes())),
            "--probe without a namespace tries all of them",
        )),
        _ => Ok(()),
    }
}

/// Where the store is; that it cannot be told, or is a folder, is a finding.
async fn reach(context: &Context, findings: &mut Findings) -> Reach {
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
            findings
                .add(finding.mended_by(
                    "volumes go into a bucket (s3:// or b2://), which may be in the cluster or on your NAS",
                ));
            Reach::Nowhere
        }
        Err(why) => {
            let mend = "name it in the configuration, or with --repo, and give this machine its credentials";
            findings.add(finding("is not known").because(why).mended_by(mend));
            Reach::Nowhere
        }
    }
}

/// Starts the pods; whether there was any namespace to start one in.
async fn probe_all(
    context: &mut Context,
    (api, volumes): (&Api, &[(&Source, &VolumesSource)]),
    planned: &Planned<'_>,
    only: Option<&str>,
    findings: &mut Findings,
) -> Result<bool, Failure> {
    let handed = handed(context).await?;
    context.cancel.begin();
    let mut any = false;
    for (planned, claims) in planned {
        let Some((source, volumes)) = volumes.iter().find(|(_, volumes)| std::ptr::eq(*volumes, *planned)) else {
            continue;
        };
        let others = others(source, volumes, context);
        let mut quick = (*volumes).clone();
        quick.start_timeout = quick.start_timeout.min(PROBE_TIME);
        quick.timeout = quick.timeout.min(PROBE_TIME);
        let movers = Movers {
            cluster: api,
            streams: api,
            exec: api,
            clock: context.clock.clone(),
            progress: context.progress.clone(),
            cancel: context.cancel.clone(),
            source: &quick,
            others: &others,
            succeeded: &BTreeSet::new(),
            handed: &handed,
            wanted: Backup { host: host(), ..Backup::default() },
            limits: Limits::default(),
        };
        context.progress.begin("starting pods", "");
        let display = progress::show(context);
        any |= probe::look(&movers, claims, only, findings).await;
        display.finish();
    }
    Ok(any)
}

async fn of_restore(args: &RestoreArgs, context: &mut Context, findings: &mut Findings) -> Result<(), Failure> {
    debug_assert!(args.cluster, "clap requires it");
    let mut options = Options {
        selection: Selection::new(&args.include, &args.exclude)?,
        namespaces: mappings(&args.namespace)?,
        nodes: nodes(&args.node)?,
        existing: WhatIsThere::meant(args.existing),
        derived_secrets: args.with_derived_secrets,
        data: Volumes::new(),
        storage_classes: BTreeMap::new(),
    };
    let repository = open::with_identity(context, Access::Read).await?;
    let chain = open::chain(context, &repository).await?;
    let (snapshot, within) = select::snapshot_path(context, &chain, &args.snapshot)?;
    if !within.as_bytes().is_empty() {
        return Err(Failure::usage("a path in the snapshot was given", "--include takes namespace/kind/name"));
    }
    options.data = choose(&chain, snapshot.record.started, At::Objects);
    let reader = open::reader(context, &repository).await?;
    let cluster = target_of(args.kubeconfig.as_deref(), args.context.as_deref()).await?;
    let plan = look(&options, snapshot, &*cluster, (&repository, &reader), context).await?;
    let looked = tokio::select! {
        looked = restore::look(&*cluster, &plan, findings) => looked,
        () = context.cancel.cancelled() => return Err(Failure::Interrupted),
    };
    Ok(looked?)
}
