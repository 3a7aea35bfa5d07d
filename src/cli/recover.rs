//! `recover`: a runbook is planned, shown, and carried out; what was cut off is taken up.

mod carry;
mod earlier;
pub(crate) mod estimated;
mod left;
pub(crate) mod person;
pub(crate) mod place;
mod ready;
mod show;

pub(crate) use carry::{Had, drive, first_events, folder, keeping};

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::Access;
use crate::cli::output::{count, fitted, quoted, was};
use crate::cli::private_file;
use crate::cli::prompt::confirm;
use crate::cli::recover::person::Following;
use crate::cli::recover::place::Opened;
use crate::cli::recover::ready::{Ready, fresh, kept, resumed};
use crate::cli::report;
use crate::cli::runbook::values;
use crate::format::entry::escape;
use crate::runs::drive::{Driver, Left};
use crate::runs::event::{Event, Outcome, Record};
use crate::runs::hands::{World, outlived};
use crate::runs::journal::Journal;
use crate::runs::machine::Machine;
use crate::runs::plan::RunPlan;
use crate::runs::prepare::{Needs, Notice};

const EXAMPLES: &str = "\
Examples:
  homelab-dr recover runbooks/namespace-lost.md --set namespace=media --plan
  homelab-dr recover runbooks/namespace-lost.md --set namespace=media
  homelab-dr recover runbooks/total-loss.md --plan --out plan.json     look at it in peace, then
  homelab-dr recover --from plan.json                                  do exactly that
  homelab-dr recover --resume 5f0c1d2e                                 go on where it was cut off
  homelab-dr recover --resume 5f0c1d2e --confirm look                  a manual step was done
  homelab-dr recover --resume 5f0c1d2e --again photos                  bring it back once more

The plan says which snapshot each step takes, what becomes of every object, and what is in the way.
Every step is written into a journal before it is begun and when it is over; `--resume` goes on from
there, also after a power cut. Without a terminal a step that needs a person ends the run with exit
code 8, to be taken up with --confirm.";

/// Carry out a runbook: plan, ask, recover, verify; or go on where a run was cut off
#[derive(Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The runbook
    #[arg(value_name = "RUNBOOK", required_unless_present_any = ["from", "resume"], conflicts_with_all = ["from", "resume"])]
    runbook: Option<PathBuf>,
    /// Carry out a plan that --out has kept
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Take up a run that stopped, with the plan that it was begun with
    #[arg(long, value_name = "RUN")]
    resume: Option<String>,
    /// The value of a parameter; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = values::setting, conflicts_with_all = ["from", "resume"])]
    settings: Vec<(String, String)>,
    /// Show the plan in full, and change nothing
    #[arg(long, short = 'n', visible_alias = "dry-run", conflicts_with = "resume")]
    plan: bool,
    /// With --plan: keep it in a file that is not there yet
    #[arg(long, value_name = "FILE", requires = "plan")]
    out: Option<PathBuf>,
    /// Only these steps; what they need counts as done
    #[arg(long, value_name = "STEP", conflicts_with_all = ["from", "resume"])]
    only: Vec<String>,
    /// Not these steps; they count as done
    #[arg(long, value_name = "STEP", conflicts_with_all = ["from", "resume"])]
    skip: Vec<String>,
    /// Agree to begin, and to steps that lose something that is there. Manual steps, doubtful data, what would be done again, and going on after a failure are asked about all the same
    #[arg(long, short)]
    yes: bool,
    /// With --resume: this step was done, whether or not its checks held, and is to be done again
    #[arg(long, value_name = "STEP", requires = "resume")]
    again: Vec<String>,
    /// This step was agreed to: a manual one is done, one that was cut off is done again; with --resume, one that failed is passed, and so is one of which nothing is there any more
    #[arg(long, value_name = "STEP")]
    confirm: Vec<String>,
    #[command(flatten)]
    place: place::PlaceArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    plan: &'a RunPlan,
    notices: &'a [Notice],
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "<[Record]>::is_empty")]
    events: &'a [Record],
    /// What is otherwise than before, and how it is put back.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    left: &'a [String],
}

pub(crate) async fn run(mut args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let journals = args.place.journals()?;
    let mut ready = match (&args.runbook, &args.from, &args.resume) {
        (_, _, Some(run)) => resumed(run, &journals, args.confirm.iter().chain(&args.again))?,
        (_, Some(file), _) => kept(file)?,
        (Some(file), ..) => fresh(file, &args, context)?,
        _ => return Err(Failure::usage("no runbook was given", "such as runbooks/total-loss.md")),
    };
    let is_new = args.runbook.is_some();
    args.place.as_planned(&ready.plan);
    let needs = Needs::of(ready.steps.iter().filter(|step| !ready.plan.skipped.contains(&step.id)));
    let opened = place::open(&args.place, &ready.steps, needs, Access::Read, context).await?;
    let notices = if is_new {
        opened.prepare(&mut ready.plan, &ready.steps, (ready.runbook.objectives, &args.place), context).await?
    } else {
        opened.refuse_another(&ready.plan).await?;
        Vec::new()
    };
    if args.plan {
        return planned(&args, &ready, &notices, context);
    }
    if args.resume.is_none() {
        let lines = show::plan(&ready.plan, &ready.runbook, &ready.steps, &notices);
        for line in fitted(lines, std::io::stderr()) {
            context.talk.put(&line);
        }
    }
    if notices.iter().any(|notice| notice.blocks) {
        if context.out.json {
            // An error alone would not say what stands in its way.
            context.out.document(&Document {
                plan: &ready.plan,
                notices: &notices,
                outcome: Some("not-begun"),
                events: &[],
                left: &[],
            })?;
            return Ok(Exit::Refused);
        }
        return Err(Failure::new(
            Exit::Refused,
            "the run is not begun: something stands in its way",
            "nothing was changed; the plan above says what, and what to do about it",
        ));
    }
    if args.resume.is_none() {
        confirm(args.yes, "Carry it out?")?;
    }
    let Some(carried) = carry_out(&args, &ready, opened, &journals, context).await? else { return Ok(Exit::Done) };
    let exit = tell(&ready, &carried, context)?;
    report::point(&ready.plan.run, &journals, context)?;
    Ok(exit)
}

/// A runbook into a folder that stands for a cluster, without questions; its plan, where it was carried out whole.
pub(crate) async fn into_folder(
    file: &Path,
    (folder, journals): (&Path, &Path),
    context: &mut Context,
) -> Result<RunPlan, Failure> {
    let place = place::PlaceArgs::folder(folder, journals);
    let args = Args { runbook: Some(file.to_owned()), yes: true, place, ..Args::default() };
    let mut ready = fresh(file, &args, context)?;
    let opened = place::open(&args.place, &ready.steps, Needs::of(&ready.steps), Access::Read, context).await?;
    let notices =
        opened.prepare(&mut ready.plan, &ready.steps, (ready.runbook.objectives, &args.place), context).await?;
    let why = match notices.into_iter().find(|notice| notice.blocks) {
        Some(notice) => notice.what,
        None => match carry_out(&args, &ready, opened, journals, context).await? {
            Some(Carried { left: Left::Ended(Outcome::Recovered), .. }) => return Ok(ready.plan),
            carried => format!("it was left: {:?}", carried.map(|carried| carried.left)),
        },
    };
    Err(Failure::new(Exit::Error, format!("the runbook was not carried out: {why}"), "see what is told above"))
}

fn planned(args: &Args, ready: &Ready, notices: &[Notice], context: &mut Context) -> Result<Exit, Failure> {
    if let Some(file) = &args.out {
        let text = ready
            .plan
            .kept()
            .map_err(|error| Failure::because(Exit::Error, "the plan cannot be written", error, "report it"))?;
        private_file::create(file, &text, "the plan")?;
    }
    if context.out.json {
        context.out.document(&Document { plan: &ready.plan, notices, outcome: None, events: &[], left: &[] })?;
    } else {
        for line in fitted(show::plan(&ready.plan, &ready.runbook, &ready.steps, notices), std::io::stdout()) {
            context.out.line(&line)?;
        }
        if let Some(file) = &args.out {
            let next = format!(
                "kept in {}; `homelab-dr recover --from {}` carries it out",
                file.display(),
                quoted(&file.to_string_lossy())
            );
            context.line(&next)?;
        }
    }
    Ok(if notices.iter().any(|notice| notice.blocks) { Exit::Refused } else { Exit::Done })
}

/// What a run came to.
struct Carried {
    left: Left,
    events: Vec<Record>,
    /// What is otherwise than before, and how it is put back.
    behind: Vec<String>,
}

/// `None` where it was done already.
async fn carry_out(
    args: &Args,
    ready: &Ready,
    opened: Opened,
    journals: &Path,
    context: &mut Context,
) -> Result<Option<Carried>, Failure> {
    let Ready { plan, steps, .. } = ready;
    let world = opened.world(plan, steps, &args.place, context).await?;
    // In this order: whoever has the target writes the journal.
    place::have_folders(&world, steps, context)?;
    let target = world.target.clone();
    let had = Had::take(&target, &format!("run {}", plan.run), journals, context).await?;
    let left = go_on(args, ready, (world, &had), journals, context).await;
    had.end(context).await;
    let Some(left) = left? else { return Ok(None) };
    let events = Journal::look(journals, &plan.run).map(|found| found.records).unwrap_or_default();
    let behind = left::behind(target.cluster(), steps, &events, context.talk.again()).await;
    Ok(Some(Carried { left, events, behind }))
}

/// With its target to itself. `None` where it was done already.
async fn go_on(
    args: &Args,
    ready: &Ready,
    (mut world, had): (World<'_>, &Had<'_>),
    journals: &Path,
    context: &mut Context,
) -> Result<Option<Left>, Failure> {
    let Ready { plan, runbook, steps, .. } = ready;
    let clock = context.clock.clone();
    let (mut journal, records) = if args.resume.is_some() {
        let (journal, found) = Journal::take_up(journals, &plan.run, &*clock)?;
        (journal, found.records)
    } else {
        (Journal::begin(journals, plan, &*clock)?, Vec::new())
    };
    if let Some(program) = outlived::all(&world.folder).first() {
        return Err(Failure::new(Exit::Refused, program.told(), program.mend()));
    }
    let mut machine = Machine::new(steps, runbook.parallel).doubting(plan.doubts.keys().cloned());
    for record in &records {
        machine.apply(&record.event);
        if let Event::Begun { step } = &record.event {
            world.begun_before.insert(step.clone());
        }
    }
    if machine.is_compensated() && machine.ended().is_some() {
        return Err(Failure::new(
            Exit::Refused,
            format!("run {} is over: what it had done was undone by its own steps", plan.run),
            "begin anew with the runbook",
        ));
    }
    if machine.ended() == Some(Outcome::Recovered) && args.again.is_empty() {
        context.summary(false, &format!("run {} is done already; nothing was changed", plan.run))?;
        return Ok(None);
    }
    let answers = earlier::answers((&args.again, &args.confirm), (steps, &machine), &world, context).await?;
    context.cancel.begin();
    let shown = (machine.clone(), world.board.clone());
    let mut following = Following::new((runbook, plan), (args.yes, &args.confirm), shown, context);
    let cancel = context.cancel.clone();
    let mut driver =
        Driver { steps, machine, log: &mut journal, hands: &world, person: &mut following, cancel: &cancel };
    let skipped = plan.skipped.iter().map(|id| Event::Skipped { step: id.clone() });
    for event in answers.into_iter().chain(first_events(&world)).chain(skipped) {
        driver.happened(&event)?;
    }
    let left = drive(driver, (had.lease.as_ref(), &world), &*clock, (&context.talk, &cancel)).await;
    following.finish();
    Ok(Some(left?))
}

fn was_left_out(steps: u64) -> String {
    format!("{} {}", count(steps, "step"), was(steps))
}

/// What it came to, and what to do next.
fn tell(ready: &Ready, carried: &Carried, context: &mut Context) -> Result<Exit, Failure> {
    let (run, Carried { left, events, behind }) = (&ready.plan.run, carried);
    let (word, exit, line) = match left {
        Left::Ended(Outcome::Recovered) => {
            let line = match ready.plan.skipped.len() as u64 {
                0 => format!("recovered by run {run}"),
                some => format!("run {run} did what it was to do; {} left out, as asked", was_left_out(some)),
            };
            ("recovered", Exit::Done, line)
        }
        Left::Ended(Outcome::WithFailures) => (
            "with-failures",
            Exit::Problems,
            format!("run {run} came to its end, and steps have failed that were allowed to"),
        ),
        Left::Ended(Outcome::Failed) => (
            "failed",
            Exit::Error,
            format!("run {run} has FAILED; mend what it says, then `homelab-dr recover --resume {run}`"),
        ),
        Left::Paused => {
            ("paused", Exit::Interrupted, format!("run {run} stopped; `homelab-dr recover --resume {run}` goes on"))
        }
        Left::TakenOver { by } => (
            "taken-over",
            Exit::Refused,
            format!(
                "run {run} stopped, since {by} has taken the cluster over; when that is over, `homelab-dr recover --resume {run}` goes on"
            ),
        ),
        Left::Waits { step, .. } => (
            "waits",
            Exit::Waiting,
            format!(
                "run {run} waits for a person; when step {step} is settled: `homelab-dr recover --resume {run} --confirm {step}`"
            ),
        ),
        Left::Declined { step } => (
            "declined",
            Exit::Refused,
            format!("run {run} stopped before step {step}, as wished; `homelab-dr recover --resume {run}` goes on"),
        ),
    };
    if context.out.json {
        context.out.document(&Document {
            plan: &ready.plan,
            notices: &[],
            outcome: Some(word),
            events,
            left: behind,
        })?;
    } else {
        for line in show::table(&ready.steps, events) {
            context.out.line(&line)?;
        }
        for line in behind {
            context.out.line(&escape(line.as_bytes()))?;
        }
        context.summary(exit != Exit::Done, &line)?;
    }
    Ok(exit)
}
