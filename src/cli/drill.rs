//! `drill`: a runbook, or some sources, recovered into a throw-away target, verified, measured, recorded, and removed again.

mod carry;
mod clean;
pub(crate) mod list;
mod ready;
mod scratch;
mod show;

pub(crate) use show::came_to;

use std::path::PathBuf;
use std::time::Duration;

use crate::base::units::parse_duration;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::journals;
use crate::cli::movers;
use crate::cli::open::Access;
use crate::cli::output::fitted;
use crate::cli::prompt::confirm;
use crate::cli::recover::place::{self, PlaceArgs};
use crate::cli::runbook::values;
use crate::drill::part::Into;
use crate::runs::prepare::Needs;

const EXAMPLES: &str = "\
Examples:
  homelab-dr drill --source photos --source pvc/media/jellyfin      into a folder, compared, removed
  homelab-dr drill --source photos --rto 4h --rpo 26h
  homelab-dr drill runbooks/namespace-lost.md --set namespace=media --plan
  homelab-dr drill runbooks/namespace-lost.md --set namespace=media --kubeconfig ~/.kube/config
  homelab-dr drill --clean                                          what a killed drill left

What came back is compared with its snapshot, every database that is found in it is opened, and the
checks of the runbook that look at it are made. What would touch or ask what is in use is left out and
listed. Everything is removed at the end, also after a failure. What it came to is recorded in the
repository: `homelab-dr drills`. Exit code 0: passed; 3: passed, and something is to be looked at (an
objective was missed, something could not be verified, recorded or removed); 1: failed.";

/// Rehearse a recovery: a runbook or sources into a throw-away target, verified, measured, recorded, removed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command")]
pub(crate) struct Args {
    /// The runbook
    #[arg(value_name = "RUNBOOK", required_unless_present_any = ["source", "clean"], conflicts_with_all = ["source", "clean"])]
    runbook: Option<PathBuf>,
    /// A source to be restored as files, without a runbook; may be repeated
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
    /// With --source: how long it may take, such as 4h
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "source")]
    rto: Option<Duration>,
    /// With --source: how old the data may be, such as 26h
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "source")]
    rpo: Option<Duration>,
    /// The value of a parameter of the runbook; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = values::setting, requires = "runbook")]
    settings: Vec<(String, String)>,
    /// Not this step of the runbook; may be repeated
    #[arg(long, value_name = "STEP", requires = "runbook")]
    skip: Vec<String>,
    /// Show what would be rehearsed and what is left out, and change nothing
    #[arg(long, short = 'n', visible_alias = "dry-run")]
    plan: bool,
    /// Do not ask whether to begin
    #[arg(long, short)]
    yes: bool,
    /// Leave what was recovered where it is if the drill fails, to be looked at; `drill --clean` takes it away
    #[arg(long)]
    keep_on_failure: bool,
    /// Only take away what drills have left that were killed, and what was kept
    #[arg(long, conflicts_with_all = ["plan", "keep_on_failure"])]
    clean: bool,
    /// The kubeconfig of the cluster, for runbooks that bring back objects or volumes [default: what KUBECONFIG names, ~/.kube/config, or the pod's account]
    #[arg(long, value_name = "FILE", help_heading = "Where to")]
    kubeconfig: Option<PathBuf>,
    /// Another context of the kubeconfig than its current one
    #[arg(long, value_name = "NAME", help_heading = "Where to")]
    context: Option<String>,
    /// What has to be out of reach before anything is started, such as db.example:5432 [default: the API of the cluster]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Where to")]
    probe: Option<String>,
    /// How long the network may take to obey a policy, before it counts as one that does not
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s", help_heading = "Where to")]
    probe_time: Duration,
    /// The image that movers and the probe run, which is this program [default: the configuration's]
    #[arg(long, value_name = "IMAGE", help_heading = "Where to")]
    mover_image: Option<String>,
    /// How many volumes are filled at once [default: the configuration's, or 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64), help_heading = "Where to")]
    movers: Option<u8>,
    /// Into a fresh folder below this one, which stands for the machine and for the cluster [default: the directory for temporary files]
    #[arg(long, value_name = "DIR", help_heading = "Where to", conflicts_with_all = ["kubeconfig", "context", "probe"])]
    into_folder: Option<PathBuf>,
    /// Where journals of runs are kept [default: ~/.local/state/homelab-dr/runs]
    #[arg(long, value_name = "DIR", env = "HOMELAB_DR_RUNS", hide_env_values = true, help_heading = "Where to")]
    journals: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

impl Args {
    /// Below which folder that of the drill is made.
    fn parent(&self) -> PathBuf {
        self.into_folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    fn place(&self, ready: &ready::Ready) -> PlaceArgs {
        let folder = (ready.part().into == Into::Folder).then(|| ready.cluster());
        PlaceArgs {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            into_folder: folder,
            mover_image: self.mover_image.clone(),
            movers: self.movers,
            journals: self.journals.clone(),
        }
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let journals = journals::folder(args.journals.as_deref())?;
    if args.clean {
        return clean::run(&args, &journals, context).await;
    }
    let mut ready = ready::ready(&args, context)?;
    let place = args.place(&ready);
    let opened = place::open(&place, &ready.steps, Needs::of(&ready.steps), Access::Rehearse, context).await?;
    if ready.part().into == Into::Cluster {
        // The probe runs it: better known now than when namespaces are there.
        movers::running(context, place.mover_image.as_deref(), place.movers)?;
    }
    let objectives = ready.plan.objectives(&ready.runbook);
    let mut notices = opened.prepare(&mut ready.plan, &ready.steps, (objectives, &place), context).await?;
    ready.again()?;
    ready.settle();
    notices.extend(ready.lacks_room());
    let blocked = notices.iter().any(|notice| notice.blocks);
    if args.plan {
        return show::planned(&ready, &notices, context);
    }
    for line in fitted(show::plan(&ready, &notices), std::io::stderr()) {
        context.talk.put(&line);
    }
    if blocked {
        return Err(Failure::new(
            Exit::Refused,
            "the drill is not begun: something stands in its way",
            "nothing was changed; the plan above says what, and what to do about it",
        ));
    }
    confirm(args.yes, "Carry it out?")?;
    carry::carry_out(&args, &ready, opened, &place, &journals, context).await
}
