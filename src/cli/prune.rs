//! `prune`: what no snapshot needs, in two phases.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::base::units::{self, parse_duration, parse_percent, parse_size};
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::hints::{Advice, Advise};
use crate::cli::open::{self, Access};
use crate::cli::output::count;
use crate::cli::progress;
use crate::cli::prompt::{PlanArgs, confirm};
use crate::prune::{Outcome, PruneError, PrunePlan, Settings, Waiting, Why, WhyWait, plan_prune, run_prune};
use crate::repo::checkpoint::GRACE;
use crate::repo::layout;

const EXAMPLES: &str = "\
Examples:
  homelab-dr prune --dry-run
  homelab-dr prune --yes                     in a CronJob, after forget
  homelab-dr prune --max-repack 5GiB --yes   copy little on a slow line
  homelab-dr prune --max-unused 1% --yes     keep little that no snapshot needs

Works with the writer key, and stops no backup. Phase one marks what goes; phase two, in a later
run, deletes what was marked longer ago than the grace period, also where the disk is full.";

/// Give back the space that no snapshot needs; shows the plan, and asks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How long a mark must stand before its objects are deleted; less than 48h only if nobody writes meanwhile
    #[arg(long, value_name = "TIME", default_value = "48h", value_parser = parse_duration)]
    grace: Duration,
    /// Repack a pack (of 3 MiB or more) when more than this share of it is unused: less keeps the repository smaller, and copies more
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = parse_percent)]
    max_unused: u8,
    /// Copy at most this much to repack packs that are used in part
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_repack: Option<u64>,
    /// Go on though there is no snapshot and everything would be removed
    #[arg(long)]
    allow_empty: bool,
    /// Go on though packs that no snapshot needs are older than all snapshot records
    #[arg(long)]
    allow_older: bool,
    /// Go on though snapshots lack data already
    #[arg(long)]
    allow_missing: bool,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    plan: &'a PrunePlan,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let settings = Settings {
        grace: args.grace,
        max_unused_percent: args.max_unused,
        repack_bytes_max: args.max_repack.unwrap_or(u64::MAX),
        allow_empty: args.allow_empty,
        allow_older: args.allow_older,
        allow_missing: args.allow_missing,
    };
    // Also a plan asks the store for its time, by an object that is put and removed.
    let repository = open::repository(context, Access::Write).await?;
    context.progress.begin("looking at what is needed", "");
    let display = progress::show(context);
    let planned = plan_prune(&repository, settings, &context.clock).await;
    display.finish();
    let planned = planned?;
    let plan = planned.plan.clone();
    // What is asked about is shown whatever was said of talk; where there is nothing to do nothing is asked.
    let idle = plan.doom.is_empty() && plan.delete.is_empty();
    let unasked = (args.plan.yes || idle) && !args.plan.dry_run;
    let hidden = context.out.json || (context.globals.quiet && unasked);
    if !hidden {
        show(&plan, args.plan.dry_run, context)?;
    }
    if args.plan.dry_run {
        if context.out.json {
            context.out.document(&Document { dry_run: true, plan: &plan, outcome: None })?;
        }
        return Ok(Exit::Done);
    }
    if !idle {
        context.out.flush()?;
        if args.grace < GRACE {
            context.talk.warn(
                "with so short a grace period a backup that runs meanwhile can lose data: be sure that none does",
            );
        }
        confirm(args.plan.yes, &format!("Mark {} and delete {}?", objects(plan.doom.len()), plan.delete.len()))?;
    }
    context.progress.begin("pruning", "");
    let display = progress::show(context);
    let outcome = run_prune(&repository, planned, &context.clock).await;
    display.finish();
    let outcome = outcome?;
    if context.out.json {
        context.out.document(&Document { dry_run: false, plan: &plan, outcome: Some(&outcome) })?;
        return Ok(exit_of(&outcome));
    }
    // The plan said already that there is nothing to do.
    if let Some(done) = done(&outcome) {
        context.summary(false, &done)?;
    }
    if let Some(full) = &outcome.full {
        context.out.flush()?;
        context.talk.warn(&format!(
            "THE STORE IS FULL: {full}\n  \
             What earlier prunes had marked is deleted; what this one was to mark or copy is not done. Run it again."
        ));
        return Ok(exit_of(&outcome));
    }
    if outcome.locks.extended > 0 {
        context.say(&format!("extended {}", count(outcome.locks.extended as u64, "object lock")))?;
    }
    if outcome.doomed > 0 && !args.grace.is_zero() {
        context.say(&format!("what was marked goes with a prune after {}", units::duration(args.grace)))?;
    }
    Ok(Exit::Done)
}

const fn exit_of(outcome: &Outcome) -> Exit {
    if outcome.full.is_some() { Exit::Unreachable } else { Exit::Done }
}

/// What was done, and nothing of what was not.
fn done(outcome: &Outcome) -> Option<String> {
    let mut parts = Vec::new();
    if outcome.doomed > 0 {
        parts.push(format!("marked {}", count(outcome.doomed, "object")));
    }
    if outcome.packs_written > 0 {
        let packs = count(outcome.packs_written, "new pack");
        parts.push(format!("copied {} into {packs}", units::bytes(outcome.bytes_written)));
    }
    if !outcome.deleted.is_empty() {
        parts.push(format!("deleted {}", objects(outcome.deleted.len())));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn objects(number: usize) -> String {
    count(number as u64, "object")
}

const fn reason(why: Why) -> &'static str {
    match why {
        Why::Unused => "no snapshot needs it",
        Why::PartlyUsed => "partly used",
        Why::Small => "small, joined with others",
        Why::Stranger => "nothing names it and it does not open",
        Why::Superseded => "other index segments say the same",
        Why::NoPack => "no pack is of this session",
        Why::Done => "its objects are gone",
    }
}

fn waiting(waiting: &Waiting) -> String {
    match &waiting.why {
        WhyWait::Grace { until } => format!("marked, goes after {}", local(*until)),
        WhyWait::Young { until } => format!("new, perhaps of a running backup, until {}", local(*until)),
        WhyWait::Checkpoint => "a running backup relies on it".to_owned(),
        WhyWait::Locked { until: Some(until) } => format!("locked until {}", local(*until)),
        WhyWait::Locked { until: None } => "locked".to_owned(),
        WhyWait::Damaged => "something in it is needed and does not read: run `homelab-dr check`".to_owned(),
        WhyWait::InUse => "in use again".to_owned(),
        WhyWait::NoSpace => "something in it is needed, and the store has no space for a copy".to_owned(),
    }
}

/// All objects for a dry run, numbers otherwise.
fn show(plan: &PrunePlan, every: bool, context: &mut Context) -> Result<(), Failure> {
    if every {
        for doom in &plan.doom {
            let copied = if doom.bytes_needed == 0 {
                String::new()
            } else {
                format!(", {} copied", units::bytes(doom.bytes_needed))
            };
            context.out.line(&format!(
                "mark    {} ({}{copied}): {}",
                doom.object,
                units::bytes(doom.bytes),
                reason(doom.why)
            ))?;
        }
        for due in &plan.delete {
            context.out.line(&format!("delete  {} (marked {})", due.object, local(due.marked)))?;
        }
        for object in &plan.expired {
            let snapshot = object.starts_with(layout::SNAPSHOTS);
            let why = if snapshot { "of a retired writer key" } else { "of a backup that was killed" };
            context.out.line(&format!("delete  {object} ({why})"))?;
        }
        for object in &plan.wait {
            context.out.line(&format!("wait    {}: {}", object.object, waiting(object)))?;
        }
    } else {
        let mut reasons: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for doom in &plan.doom {
            let sum = reasons.entry(reason(doom.why)).or_default();
            *sum = (sum.0 + 1, sum.1 + doom.bytes);
        }
        for (why, (number, bytes)) in reasons {
            context.out.line(&format!("mark    {} ({}): {why}", count(number, "object"), units::bytes(bytes)))?;
        }
        if !plan.delete.is_empty() {
            context.out.line(&format!("delete  {} marked before", objects(plan.delete.len())))?;
        }
        if !plan.expired.is_empty() {
            let (snapshots, checkpoints): (Vec<&String>, Vec<_>) =
                plan.expired.iter().partition(|object| object.starts_with(layout::SNAPSHOTS));
            if !snapshots.is_empty() {
                let records = count(snapshots.len() as u64, "record");
                context.out.line(&format!("delete  {records} of a retired writer key"))?;
            }
            if !checkpoints.is_empty() {
                let checkpoints = count(checkpoints.len() as u64, "checkpoint");
                context.out.line(&format!("delete  {checkpoints} of backups that were killed"))?;
            }
        }
        if let Some(first) = plan.wait.first() {
            context.out.line(&format!("wait    {}, the first: {}", objects(plan.wait.len()), waiting(first)))?;
        }
    }
    let adopted = if plan.adopt.is_empty() {
        String::new()
    } else {
        format!("; indexes {} again", count(plan.adopt.len() as u64, "pack"))
    };
    let left = if plan.doom.is_empty() && plan.delete.is_empty() {
        "nothing to mark or delete".to_owned()
    } else {
        format!("{} are left when all this is gone", units::bytes(plan.bytes_after))
    };
    context.out.line(&format!(
        "{} {} {} of the {} in packs and index; {left}{adopted}",
        count(plan.snapshots as u64, "snapshot"),
        if plan.snapshots == 1 { "needs" } else { "need" },
        units::bytes(plan.bytes_needed),
        units::bytes(plan.bytes_before),
    ))
}

impl Advise for PruneError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Repo(error) => return error.advice(),
            Self::Gaps { first, .. } => Advice::new(
                Exit::Refused,
                format!(
                    "nothing was removed: find out who deleted, and bring the records back from a copy or an older version in the bucket. If it is gone for good, `homelab-dr forget --lost {first}` takes note of that, and prune goes on"
                ),
            ),
            Self::Unreadable { first, .. } => Advice::new(
                Exit::Refused,
                format!(
                    "nothing was removed: bring the record back from a copy of the repository. If there is none, `homelab-dr forget --lost {first}` gives it up, and prune goes on"
                ),
            ),
            Self::Tree { snapshot, .. } => Advice::new(
                Exit::Refused,
                format!(
                    "nothing was removed: run `homelab-dr check`, and bring back what it names. If there is no copy, `homelab-dr forget {}` gives that snapshot up, and prune goes on",
                    snapshot.short()
                ),
            ),
            Self::MissingData { .. } => Advice::new(
                Exit::Refused,
                "nothing was removed: run `homelab-dr check`; when there is nothing to bring back, --allow-missing goes on",
            ),
            Self::OlderThanChain { .. } => Advice::new(
                Exit::Refused,
                "nothing was removed: did somebody delete from the store? A replica or a versioned bucket (--first-versions) may still have the records. If it is what a backup that was never finished left, give --allow-older",
            ),
            Self::NoSnapshots { .. } => {
                Advice::new(Exit::Refused, "nothing was removed: if everything is really to go, give --allow-empty")
            }
        })
    }
}
