//! `parity`: objects from which lost packs can be computed.

use serde::Serialize;

use crate::base::units::{self, parse_percent};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::count;
use crate::cli::progress;
use crate::format::entry::escape;
use crate::parity::{Outcome, ParityPlan, SHARE_DEFAULT, Settings, Trouble, plan_parity, run_parity};

const EXAMPLES: &str = "\
Examples:
  homelab-dr parity --dry-run
  homelab-dr parity                       in a CronJob, after prune
  homelab-dr parity --share 20%           more may be lost, and more is stored
  homelab-dr parity --read-data           read the parity too, and make damaged parity anew
  homelab-dr parity --share 0%            no parity any more: it is removed

Works with the writer key. Where packs are lost or rotten, `homelab-dr check --repair` computes them
anew. It does not replace a second copy: a disk that dies takes its parity along.";

/// Bring parity up to date, by which lost and rotten packs come back without another copy
///
/// Packs are put into groups of twenty. Of each group as many may be lost as --share says, whichever they are; that
/// much more is stored. New packs are read once or twice for it, and groups of which a pack was pruned are read anew.
/// A repository without it is as good as before: nothing but `check --repair` uses it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How much of each group may be lost; parity of another share is made anew, 0% removes it
    #[arg(long, value_name = "N%", default_value_t = Share(SHARE_DEFAULT), value_parser = parse_share)]
    share: Share,
    /// Also read the parity that is there, all of it, and make anew what is damaged
    #[arg(long)]
    read_data: bool,
    /// Show what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Percent.
#[derive(Debug, Clone, Copy)]
struct Share(u8);

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

fn parse_share(text: &str) -> Result<Share, units::UnitError> {
    parse_percent(text).map(Share)
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    plan: &'a ParityPlan,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let repository = open::repository(context, access).await?;
    let settings = Settings { share: args.share.0, read_data: args.read_data, ..Settings::default() };
    let display = progress::show(context);
    let planned = plan_parity(&repository, settings, context.clock.now(), &context.progress).await;
    display.finish();
    let planned = planned?;
    let plan = planned.plan.clone();
    if !context.out.json {
        show(&plan, args.dry_run, context)?;
    }
    if args.dry_run {
        if context.out.json {
            context.out.document(&Document { dry_run: true, plan: &plan, outcome: None })?;
        }
        return Ok(exit_of(&plan, None));
    }
    let display = progress::show(context);
    let outcome = run_parity(&repository, planned, &context.clock, &context.progress).await;
    display.finish();
    let outcome = outcome?;
    let exit = exit_of(&plan, Some(&outcome));
    if context.out.json {
        context.out.document(&Document { dry_run: false, plan: &plan, outcome: Some(&outcome) })?;
        return Ok(exit);
    }
    tell(&plan, &outcome, context)?;
    Ok(exit)
}

fn exit_of(plan: &ParityPlan, outcome: Option<&Outcome>) -> Exit {
    let damaged = outcome.is_some_and(|outcome| !outcome.damaged.is_empty());
    let vanished = outcome.is_some_and(|outcome| outcome.vanished > 0);
    if !plan.lost.is_empty() || plan.unclear > 0 || damaged {
        Exit::Damaged
    } else if vanished || !plan.left_alone.is_empty() {
        Exit::Problems
    } else {
        Exit::Done
    }
}

fn warn(troubles: &[Trouble], help: &str, context: &mut Context) {
    for trouble in troubles {
        context.talk.warn(&format!("{}: {}\n  help: {help}", trouble.object, escape(trouble.what.as_bytes())));
    }
}

fn show(plan: &ParityPlan, every: bool, context: &mut Context) -> Result<(), Failure> {
    context.out.flush()?;
    warn(
        &plan.lost,
        "its group stays as it is; `homelab-dr check --repair` brings the pack back, then run this again",
        context,
    );
    warn(&plan.left_alone, "it was left as it is; see who can write here, or whether a later version made it", context);
    if plan.unclear > 0 {
        let packs = count(plan.unclear, "pack");
        context.talk.warn(&format!(
            "the repository is damaged, so nobody can tell whether it needs {packs} of old groups: these stay as they are\n  help: `homelab-dr check` says what is damaged, `homelab-dr check --repair` puts it right; then run this again"
        ));
    }
    if !every {
        return Ok(());
    }
    for group in &plan.make {
        context.out.line(&format!(
            "make    {} for {}: reads {}, writes {}",
            count(u64::from(group.parity), "parity object"),
            count(group.packs.len() as u64, "pack"),
            units::bytes(group.bytes),
            units::bytes(group.parity_bytes)
        ))?;
    }
    for object in &plan.remove {
        context.out.line(&format!("remove  {object}"))?;
    }
    let left = if plan.is_idle() { "; nothing to do" } else { "" };
    context.out.line(&format!(
        "{} of {} ({}) {} covered at {}%{left}",
        plan.covered,
        count(plan.packs, "pack"),
        units::bytes(plan.bytes),
        if plan.covered == 1 { "is" } else { "are" },
        plan.share
    ))
}

fn tell(plan: &ParityPlan, outcome: &Outcome, context: &mut Context) -> Result<(), Failure> {
    context.out.flush()?;
    warn(
        &outcome.damaged,
        "its group was not made; `homelab-dr check --repair` puts the pack right, then run this again",
        context,
    );
    if outcome.vanished > 0 {
        let groups = count(outcome.vanished, "group");
        context.talk.warn(&format!("{groups} could not be made, since packs were pruned meanwhile; run it again"));
    }
    if outcome.packs_read > 0 {
        context.say(&format!(
            "read {} ({}), stored {} ({})",
            count(outcome.packs_read, "pack"),
            units::bytes(outcome.bytes_read),
            count(outcome.objects_written, "parity object"),
            units::bytes(outcome.bytes_written)
        ))?;
    }
    if !outcome.removed.is_empty() {
        context.say(&format!("removed {}", count(outcome.removed.len() as u64, "parity object")))?;
    }
    if !outcome.locked.is_empty() {
        let locked = count(outcome.locked.len() as u64, "parity object");
        context
            .say(&format!("an object lock keeps {locked} that others took the place of; a later run removes them"))?;
    }
    if outcome.locks.extended > 0 {
        context.say(&format!("extended {}", count(outcome.locks.extended, "object lock")))?;
    }
    let covered = format!(
        "parity covers {} of {} ({}), in {}: {}{}",
        outcome.covered,
        count(plan.packs, "pack"),
        units::bytes(plan.bytes),
        count(outcome.groups, "group"),
        units::bytes(outcome.parity_bytes),
        share(outcome.parity_bytes, plan.bytes)
    );
    context.summary(exit_of(plan, Some(outcome)) == Exit::Damaged, &covered)
}

fn share(parity: u64, packs: u64) -> String {
    (parity * 100).checked_div(packs).map_or_else(String::new, |percent| format!(", {percent}% of them"))
}
