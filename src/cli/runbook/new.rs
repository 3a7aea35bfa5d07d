//! `runbook new`: a runbook proposed from what is in a cluster or a snapshot.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::backup::Context as Operation;
use crate::base::causes::in_one_line;
use crate::cli::configuration::{self, JUDGES};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::{count, quoted};
use crate::cli::{progress, select};
use crate::cluster::api::Api;
use crate::cluster::choice::Choice;
use crate::cluster::list::whole;
use crate::cluster::object::namespace_of;
use crate::cluster::{Cluster, ClusterError};
use crate::config::SourceKind;
use crate::propose::{About, propose};
use crate::recover::cluster::RecoverError;
use crate::recover::cluster::data::{At, choose};
use crate::recover::cluster::manifests::{self, Captured};
use crate::runbook;

/// What the source of objects is called where no configuration has one.
const SOURCE: &str = "cluster";

const EXAMPLES: &str = "\
Examples:
  homelab-dr runbook new --out runbooks/my-cluster.md          from the cluster of the kubeconfig
  homelab-dr runbook new --from latest:cluster --identity ~/homelab-dr.key --out runbooks/my-cluster.md
  homelab-dr runbook new --namespace media --out runbooks/media.md

It is a proposal: an order, a step for each namespace with its claims, and checks of what is there.
Read it, correct it, and try it with `homelab-dr recover FILE --plan`. Nothing is changed anywhere.";

/// Propose a runbook from what is in a cluster, or in a snapshot of one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct NewArgs {
    /// From this snapshot of a cluster's objects, not from a living cluster (needs an identity)
    #[arg(long, value_name = "SNAPSHOT", conflicts_with_all = ["kubeconfig", "context"])]
    from: Option<OsString>,
    /// Only this namespace; may be repeated
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Into this file, which is not there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The kubeconfig of the cluster [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
}

/// What was read, and where.
struct Seen {
    objects: Vec<Captured>,
    /// In words.
    place: String,
    source: String,
    bytes: std::collections::BTreeMap<(String, String), u64>,
}

pub(super) async fn run(args: &NewArgs, context: &mut Context) -> Result<Exit, Failure> {
    if let Some(file) = args.out.as_deref().filter(|file| file.symlink_metadata().is_ok()) {
        return Err(there(file));
    }
    let Seen { objects, place, source, bytes } = match &args.from {
        Some(snapshot) => of_snapshot(snapshot, context).await?,
        None => of_cluster(args, context).await?,
    };
    let missing =
        |namespace: &&String| !objects.iter().any(|one| namespace_of(&one.object) == Some(namespace.as_str()));
    if let Some(namespace) = args.namespace.iter().find(missing) {
        let what = format!("nothing is in the namespace {}", quoted(namespace));
        return Err(Failure::usage(what, "see how it is written; without --namespace all are taken"));
    }
    let namespaces = args.namespace.clone();
    let text = propose(&About { objects: &objects, seen: place, source, namespaces, bytes }).ok_or_else(|| {
        Failure::usage(
            "nothing is there that a runbook could bring back",
            "only what every cluster has by itself was found",
        )
    })?;
    let read = runbook::read(text.as_bytes(), &JUDGES);
    if !read.findings.is_empty() {
        let shown = configuration::Findings(configuration::shown(&read.findings, Path::new("the proposal")));
        let help = "this is a bug in homelab-dr: please report it with what is above";
        return Err(Failure::because(Exit::Error, "the proposal is not right", shown, help));
    }
    let Some(file) = &args.out else {
        for line in text.lines() {
            context.out.line(line)?;
        }
        return Ok(Exit::Done);
    };
    keep(file, &text)?;
    let steps = read.runbook.map_or(0, |runbook| runbook.sampled(&JUDGES).map_or(0, |steps| steps.len()));
    let told = format!(
        "wrote {} with {}; read it, then: homelab-dr recover {0} --plan",
        file.display(),
        count(steps as u64, "step")
    );
    context.summary(false, &told)?;
    Ok(Exit::Done)
}

fn there(file: &Path) -> Failure {
    let what = format!("{} is there already; nothing was written", file.display());
    Failure::new(Exit::Refused, what, "name another file: what somebody has corrected is not written over")
}

fn keep(file: &Path, text: &str) -> Result<(), Failure> {
    let made = std::fs::File::create_new(file)
        .and_then(|mut made| made.write_all(text.as_bytes()).and_then(|()| made.sync_all()));
    made.map_err(|error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return there(file);
        }
        let help = "see that the folder is there and that you may write to it";
        Failure::because(Exit::Error, format!("cannot write {}", file.display()), error, help)
    })
}

async fn of_snapshot(snapshot: &OsString, context: &mut Context) -> Result<Seen, Failure> {
    let repository = open::with_identity(context, Access::Look).await?;
    let chain = open::chain(context, &repository).await?;
    let (snapshot, within) = select::snapshot_path(context, &chain, snapshot)?;
    if !within.as_bytes().is_empty() {
        return Err(Failure::usage(
            "a path in the snapshot was given",
            "--namespace takes the namespaces that are meant",
        ));
    }
    let reader = open::reader(context, &repository).await?;
    context.progress.begin("reading manifests", "object");
    let display = progress::show(context);
    let operation: Operation = context.operation(repository.clone());
    let read = manifests::read(&operation, &reader, snapshot.record.root).await;
    display.finish();
    let read = read.map_err(RecoverError::from)?;
    if !read.is_cluster {
        return Err(RecoverError::NoCluster { snapshot: snapshot.id.short() }.into());
    }
    for unreadable in &read.unreadable {
        context
            .talk
            .warn(&format!("{} cannot be read, and is not in the proposal: {}", unreadable.path, unreadable.why));
    }
    let data = choose(&chain, &snapshot.record, At::Objects);
    let place = format!("snapshot {} of {}, {}", snapshot.id.short(), snapshot.record.source, snapshot.record.started);
    let bytes = data.into_iter().map(|(claim, data)| (claim, data.bytes)).collect();
    Ok(Seen { objects: read.objects, place, source: snapshot.record.source.clone(), bytes })
}

async fn of_cluster(args: &NewArgs, context: &mut Context) -> Result<Seen, Failure> {
    let unseen = |error: ClusterError| {
        let help = "nothing was written; see that `kubectl get namespaces` works with --kubeconfig FILE, or have the proposal made of a snapshot: --from latest:cluster (needs an identity)";
        Failure::because(Exit::Error, "cannot look at the cluster", error, help)
    };
    let api = Api::open(args.kubeconfig.as_deref(), args.context.as_deref()).await.map_err(unseen)?;
    context.progress.begin("looking at the cluster", "");
    let display = progress::show(context);
    let read = tokio::select! {
        read = objects(&api) => read,
        () = context.cancel.cancelled() => return Err(Failure::Interrupted),
    };
    display.finish();
    let (objects, missing) = read.map_err(unseen)?;
    for what in missing {
        context.talk.warn(&format!("it is not in the proposal: {what}"));
    }
    let all = context.configuration.as_ref().map(|loaded| loaded.config.sources.as_slice()).unwrap_or_default();
    let of_objects = all.iter().find(|source| matches!(source.kind, SourceKind::Resources(_)));
    let source = of_objects.map_or_else(|| SOURCE.to_owned(), |source| source.name.clone());
    let now = context.clock.now().to_string();
    let place = format!("the cluster as it was on {}", now.get(..10).unwrap_or(&now));
    Ok(Seen { objects, place, source, bytes: std::collections::BTreeMap::new() })
}

/// Every object that a backup would take, and what could not be read.
async fn objects(cluster: &dyn Cluster) -> Result<(Vec<Captured>, Vec<String>), ClusterError> {
    let (choice, found) = (Choice::default(), cluster.kinds().await?);
    let silent = found
        .silent
        .iter()
        .filter(|(version, _)| choice.takes_group(version.rsplit_once('/').map_or("", |(group, _)| group)));
    let mut missing: Vec<String> = silent.map(|(version, why)| format!("{version} does not answer: {why}")).collect();
    let mut objects = Vec::new();
    for kind in found.kinds.into_iter().filter(|kind| choice.takes(kind)) {
        let taken = |object: serde_json::Value| choice.takes_object(&kind, &object).then_some(object);
        match whole(cluster, &kind, taken).await {
            Ok(found) => objects.extend(found.into_iter().map(|object| Captured { kind: kind.clone(), object })),
            Err(error) if error.is_of_the_cluster() => return Err(error),
            Err(error) => missing.push(format!("{kind} cannot be listed: {}", in_one_line(&error))),
        }
    }
    Ok((objects, missing))
}
