//! `replicate`: a second copy of the repository, without any key.

use std::ffi::OsString;
use std::time::Duration;

use crate::base::units::{self, parse_duration};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::count;
use crate::cli::progress;
use crate::replicate::{self as operation, Fault, Options, PARALLEL_DEFAULT, Plan, ReplicateError, Report};
use crate::store::url::StoreUrl;
use crate::store::{Store, StoreError};

const EXAMPLES: &str = "\
Examples:
  homelab-dr replicate --repo /mnt/backup --to 'b2://bucket/home?region=us-west-004'
  homelab-dr replicate --repo s3://bucket/home --to /mnt/usb/backup --dry-run
  homelab-dr replicate --repo /mnt/backup --to s3://offsite/home --object-lock 30d

Credentials of both ends come from the same environment. Nothing is ever deleted at the target.";

/// Copy the repository to another place; needs no key, and goes on where it was cut off
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to copy to; an empty place or an earlier copy
    #[arg(long, value_name = "URL")]
    to: OsString,
    /// Lock the copy against deletion for this long, also what is there already, as soon as less than half of it is left
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    object_lock: Option<Duration>,
    /// Objects copied at once
    #[arg(long, value_name = "N", default_value_t = PARALLEL_DEFAULT, value_parser = parse_parallel)]
    parallel: usize,
    /// Show what would be copied, and copy nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

/// Copies at once that a home's line and memory can bear; each holds one object.
const PARALLEL_MAX: usize = 64;

fn parse_parallel(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|n| (1..=PARALLEL_MAX).contains(n));
    number.ok_or_else(|| format!("a number from 1 to {PARALLEL_MAX} is expected"))
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let to = open::parse_address(&args.to)?;
    let source = open::store(context, Access::Read).await?;
    if args.dry_run {
        return plan(&to, &*source, context).await;
    }
    let target = to.create().await?;
    not_itself(&*source, &*target)?;
    let target = open::wrapped(context, target, Access::Write);
    let now = context.clock.now();
    let options = Options {
        parallel: args.parallel,
        retain_until: args.object_lock.map(|lock| now.after(lock)),
        // Run every day it would else extend every lock by a day.
        enough_until: args.object_lock.map(|lock| now.after(lock / 2)),
    };
    context.progress.begin("copying", "object");
    let display = progress::show(context);
    let cancel = context.cancel.clone();
    // Cut off anywhere it leaves nothing wrong, so dropping it is a clean stop.
    let report = tokio::select! {
        report = operation::replicate(&*source, &*target, &options, &context.progress) => Some(report),
        () = cancel.cancelled() => None,
    };
    display.finish();
    match report {
        Some(report) => tell(&report?, &*target, context),
        None => Err(Failure::Interrupted),
    }
}

fn not_itself(source: &dyn Store, target: &dyn Store) -> Result<(), Failure> {
    if source.address() != target.address() {
        return Ok(());
    }
    let what = format!("{} would be copied to itself", source.address());
    Err(Failure::usage(what, "--repo is what is copied, --to where the copy goes: give another place"))
}

async fn plan(to: &StoreUrl, source: &dyn Store, context: &mut Context) -> Result<Exit, Failure> {
    let target = to.open().await.map_err(|error| match error {
        StoreError::Gone { .. } => Failure::because(
            Exit::Unreachable,
            "cannot look at the place that the copy would go to",
            error,
            "a dry run makes no folder: is the disk plugged in and the address right? Without --dry-run it is made",
        ),
        error => error.into(),
    })?;
    not_itself(source, &*target)?;
    let target = open::wrapped(context, target, Access::Read);
    let plan: Plan = operation::plan(source, &*target).await?;
    if context.out.json {
        context.out.document(&plan)?;
        return Ok(Exit::Done);
    }
    for object in &plan.copy {
        context.out.line(&format!("{:>10}  {}", units::bytes(object.bytes), object.key))?;
    }
    for object in &plan.different {
        context.talk.warn(&format!("{object} is there with another size and would be left as it is"));
    }
    context.say(&format!(
        "would copy {} ({}) to {}, where {} are already",
        count(plan.copy.len() as u64, "object"),
        units::bytes(plan.bytes),
        plan.target,
        plan.present
    ))?;
    Ok(Exit::Done)
}

fn tell(report: &Report, target: &dyn Store, context: &mut Context) -> Result<Exit, Failure> {
    let exit = if report.damaged.is_empty() { Exit::Done } else { Exit::Damaged };
    if context.out.json {
        context.out.document(report)?;
        return Ok(exit);
    }
    for damaged in &report.damaged {
        let what = match damaged.fault {
            Fault::SourceDamaged => "is damaged at the source and was not copied",
            Fault::SourceUnreadable => "could not be read at the source and was not copied",
            Fault::TargetDiffers => "has other bytes at the target, which were left",
        };
        context.talk.warn(&format!("{} {what}", damaged.object));
    }
    context.out.line(&format!(
        "copied {} ({}) to {}, where {} were already; {} among the new",
        count(report.copied, "object"),
        units::bytes(report.copied_bytes),
        target.address(),
        report.present,
        count(report.snapshots, "snapshot record")
    ))?;
    if report.locks_extended > 0 {
        context.say(&format!("extended {}", count(report.locks_extended, "object lock")))?;
    }
    if exit == Exit::Damaged {
        context.say("help: run `homelab-dr check` on both ends")?;
    }
    Ok(exit)
}

/// What is shown when nothing could be copied at all.
impl crate::cli::hints::Advise for ReplicateError {
    fn advice(&self) -> Option<crate::cli::hints::Advice> {
        use crate::cli::hints::Advice;
        Some(match self {
            Self::Store(error) => return error.advice(),
            Self::Source(error) => return error.advice(),
            Self::NotEmpty { .. } => {
                Advice::new(Exit::Refused, "nothing was changed; take an empty folder or another prefix of the bucket")
            }
            Self::OtherRepository { .. } => Advice::new(
                Exit::Refused,
                "nothing was changed; copies of different repositories need places of their own",
            ),
            Self::NotSeen { .. } => Advice::new(
                Exit::Unreachable,
                "the target lists what it took late or not at all; run the same command again, and do not trust it before `check` is clean there",
            ),
            Self::NotLocked { .. } => Advice::new(
                Exit::Error,
                "the target took the longer lock and does not show it: look at the bucket's object lock settings and the key's rights",
            ),
            Self::Moving { .. } => {
                Advice::new(Exit::Error, "run it again when no prune is running; what was copied is used")
            }
            Self::Worker => {
                Advice::new(Exit::Error, "this is a bug in homelab-dr: please report it with the command that you ran")
            }
        })
    }
}
