//! `gitops`: Flux and ArgoCD, paused for a restore and resumed after it.

mod show;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base::units::parse_duration;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::progress;
use crate::cli::prompt::confirm;
use crate::cluster::api::Api;
use crate::gitops::note::State;
use crate::gitops::plan::{Act, Action, GitopsPlan, plan, status};
use crate::gitops::report::Report;
use crate::gitops::run::{Running, run as run_plan};
use crate::gitops::{GitopsError, Selection, run_id};

const PAUSE_EXAMPLES: &str = "\
Examples:
  homelab-dr gitops pause --plan
  homelab-dr gitops pause --yes           everything, before a restore into a living cluster
  homelab-dr gitops pause --namespace media --wait 1m

ArgoCD (Applications, ApplicationSets), Flux (Kustomizations, HelmReleases) and flux-operator
(FluxInstances, ResourceSets), whatever makes others first. What was there before is kept in an
annotation on each object, so that `gitops resume` works from any machine, also after a crash.";

const RESUME_EXAMPLES: &str = "\
Examples:
  homelab-dr gitops resume --plan
  homelab-dr gitops resume --yes
  homelab-dr gitops resume --name immich

Children first. Every object gets exactly what it had before. What others have paused stays paused,
and what they have changed meanwhile stays changed, is told, and ends with exit code 3.";

const STATUS_EXAMPLES: &str = "\
Examples:
  homelab-dr gitops status
  homelab-dr gitops status --json | jq '.objects[] | select(.state == \"ours\")'";

/// Pause Flux and ArgoCD, resume them, and say what is paused
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Pause(PauseArgs),
    Resume(ResumeArgs),
    Status(StatusArgs),
}

/// Where to look, and which objects are meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// The kubeconfig of the cluster [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Only objects in this namespace; may be repeated
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Only objects of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
}

/// Whether a plan is carried out.
#[derive(Debug, clap::Args)]
struct Doing {
    /// Show what would be done, and change nothing
    #[arg(long, short = 'n', visible_alias = "dry-run")]
    plan: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Pause Flux and ArgoCD, so that they do not undo a restore; shows the plan, and asks
#[derive(Debug, clap::Args)]
#[command(after_help = PAUSE_EXAMPLES)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    doing: Doing,
    /// How long to wait before looking whether anything was un-paused again
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    wait: Duration,
}

/// Take the pause back; shows the plan, and asks
#[derive(Debug, clap::Args)]
#[command(after_help = RESUME_EXAMPLES)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    doing: Doing,
}

/// Say of every object of Flux and ArgoCD whether it is paused, by whom and since when
#[derive(Debug, clap::Args)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    plan: &'a GitopsPlan,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<&'a Report>,
}

impl Command {
    /// Whether it stops by itself when it is cancelled.
    pub(crate) const fn stops_by_itself(&self) -> bool {
        !matches!(self, Self::Status(_))
    }
}

impl Which {
    async fn cluster(&self) -> Result<Api, Failure> {
        let api = Api::open(self.kubeconfig.as_deref(), self.context.as_deref()).await;
        Ok(api.map_err(GitopsError::Look)?)
    }

    fn selection(&self) -> Selection {
        Selection { namespaces: self.namespace.clone(), names: self.name.clone() }
    }
}

pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    context.cancel.begin();
    match command {
        Command::Pause(args) => act(Action::Pause, &args.which, &args.doing, args.wait, context).await,
        Command::Resume(args) => act(Action::Resume, &args.which, &args.doing, Duration::ZERO, context).await,
        Command::Status(args) => say_status(&args.which, context).await,
    }
}

async fn say_status(which: &Which, context: &mut Context) -> Result<Exit, Failure> {
    let cluster = which.cluster().await?;
    let status = status(&cluster, &which.selection()).await?;
    if context.out.json {
        context.out.document(&status)?;
    } else {
        show::status(&status, context)?;
    }
    let unreadable = status.objects.iter().any(|standing| matches!(standing.state, State::Unreadable { .. }));
    Ok(if unreadable { Exit::Problems } else { Exit::Done })
}

async fn act(
    action: Action,
    which: &Which,
    doing: &Doing,
    settle: Duration,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let cluster = which.cluster().await?;
    let (selection, id) = (which.selection(), run_id()?);
    context.progress.begin("looking at the cluster", "");
    let display = progress::show(context);
    // Nothing is written yet: it can be left wherever it is.
    let planned = tokio::select! {
        planned = plan(&cluster, action, &selection, &id) => planned,
        () = context.cancel.cancelled() => return Err(Failure::Interrupted),
    };
    display.finish();
    let plan = planned?;
    if plan.steps.is_empty() && plan.not_selected > 0 {
        let what = "no object of Flux or ArgoCD was chosen by --namespace and --name";
        return Err(Failure::usage(what, "`homelab-dr gitops status` lists what there is"));
    }
    let acts = plan.steps.iter().any(|step| matches!(step.act, Act::Pause { .. } | Act::Resume));
    if doing.plan || (acts && !doing.yes) {
        if context.out.json && doing.plan {
            context.out.document(&Document { dry_run: true, plan: &plan, report: None })?;
        } else {
            show::plan(&plan, doing.plan, context)?;
        }
    }
    if doing.plan {
        let cannot = plan.steps.iter().any(|step| matches!(step.act, Act::Cannot { .. }));
        return Ok(if cannot { Exit::Problems } else { Exit::Done });
    }
    if acts {
        context.out.flush()?;
        let question = match action {
            Action::Pause => "Pause them?",
            Action::Resume => "Resume them?",
        };
        confirm(doing.yes, question)?;
    }
    let name = match action {
        Action::Pause => "pausing",
        Action::Resume => "resuming",
    };
    context.progress.begin(name, "object");
    context.progress.expect(plan.steps.len() as u64, 0, false);
    let display = progress::show(context);
    let (progress, cancel, clock) = (context.progress.clone(), context.cancel.clone(), context.clock.clone());
    let running = Running { cluster: &cluster, clock: &*clock, settle, progress: &progress, cancel: &cancel };
    let report = run_plan(&plan, &running).await;
    display.finish();
    if context.out.json {
        context.out.document(&Document { dry_run: false, plan: &plan, report: Some(&report) })?;
    } else {
        show::report(&plan, &report, context)?;
    }
    Ok(exit_of(&report))
}

fn exit_of(report: &Report) -> Exit {
    if report.interrupted {
        Exit::Interrupted
    } else if report.stopped.is_some() {
        Exit::Error
    } else if report.is_well() {
        Exit::Done
    } else {
        Exit::Problems
    }
}
