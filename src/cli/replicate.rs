//! `replicate`: a second copy of the repository, without any key.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::units::{self, parse_duration};
use crate::cli::configuration;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard::{lies_in, real_path, silent, within};
use crate::cli::open::{self, Access};
use crate::cli::output::{ErrorDocument, count, was};
use crate::cli::progress;
use crate::config::Target;
use crate::replicate::{self as operation, Fault, Options, PARALLEL_DEFAULT, Plan, ReplicateError, Report};
use crate::repo::layout;
use crate::store::file::FILE_TIME_MAX;
use crate::store::memory::MemoryStore;
use crate::store::url::StoreUrl;
use crate::store::{Store, StoreError};

const EXAMPLES: &str = "\
Examples:
  To every target of the configuration, or to one of them:
    homelab-dr replicate
    homelab-dr replicate --to offsite
  The first time, to a place that holds no copy yet:
    homelab-dr replicate --repo /mnt/backup --to /mnt/usb/backup --create
  From then on:
    homelab-dr replicate --repo /mnt/backup --to /mnt/usb/backup
  homelab-dr replicate --repo /mnt/backup --to 'b2://bucket/home?region=us-west-004' --dry-run
  homelab-dr replicate --repo /mnt/backup --to s3://offsite/home --object-lock 30d

Credentials of both ends come from the same environment. Nothing is ever deleted at the target.";

/// Copy the repository to another place; needs no key, and goes on where it was cut off
///
/// What is copied is compared with its name, which is the hash of its bytes, before it is written: what is damaged at the
/// source is not copied, is named, and ends with exit code 4. What the target has already is known by its name and size,
/// and not read again: `check --read-data --repo COPY` proves the content of a copy.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Where to copy to: its address, or its name in the configuration; an earlier copy, or with --create an empty place
    #[arg(long, value_name = "URL")]
    to: Option<OsString>,
    /// Begin a copy in a place that holds none; without it that is refused, since a disk that is not mounted looks so
    #[arg(long)]
    create: bool,
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

/// A place to copy to.
struct Place {
    name: String,
    to: StoreUrl,
    lock: Option<Duration>,
}

/// What became of one of several.
#[derive(Serialize)]
struct Row {
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDocument>,
}

#[derive(Serialize)]
struct Document {
    targets: Vec<Row>,
    exit: u8,
}

/// The target of this name, or all.
fn configured(args: &Args, context: &Context) -> Result<Vec<Place>, Failure> {
    let targets = context.configuration.as_ref().map(|loaded| loaded.config.replicate.as_slice()).unwrap_or_default();
    let wanted = |target: &&Target| args.to.as_ref().is_none_or(|to| to.to_str() == Some(target.name.as_str()));
    let places = targets.iter().filter(wanted).map(|target| {
        let to = open::parse_address(OsStr::new(&target.to))?;
        Ok(Place { name: target.name.clone(), to, lock: args.object_lock.or(target.object_lock) })
    });
    places.collect()
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let mut places = configured(&args, context)?;
    if args.to.is_none() && places.is_empty() {
        return Err(match &context.configuration {
            None => configuration::needed("no place was given to copy to", "--to URL"),
            Some(loaded) => Failure::usage(
                format!("no place was given to copy to, and {} has none under replicate", loaded.path.display()),
                "give --to URL, or write one (docs/configuration.md)",
            ),
        });
    }
    let source = open::store(context, Access::Read).await?;
    if let Some(to) = &args.to {
        let place = match places.pop() {
            Some(place) => place,
            None => Place { name: String::new(), to: open::parse_address(to)?, lock: args.object_lock },
        };
        if args.dry_run {
            let plan = plan(&place.to, &*source, context).await?;
            return show(&plan, context);
        }
        let (report, address) = copy(&place, &args, &*source, context).await?;
        return tell(&report, &address, context);
    }
    several(&places, &args, &*source, context).await
}

/// Copies to each of several places; one that fails does not stop the others.
async fn several(places: &[Place], args: &Args, source: &dyn Store, context: &mut Context) -> Result<Exit, Failure> {
    let (mut rows, mut exit) = (Vec::new(), Exit::Done);
    let json = std::mem::take(&mut context.out.json);
    for place in places {
        context.say(&format!("target {}", place.name))?;
        let mut row = Row { target: place.name.clone(), plan: None, report: None, error: None };
        let result = if args.dry_run {
            match plan(&place.to, source, context).await {
                Ok(plan) => {
                    let code = if json { Ok(Exit::Done) } else { show(&plan, context) };
                    row.plan = Some(plan);
                    code
                }
                Err(failure) => Err(failure),
            }
        } else {
            match copy(place, args, source, context).await {
                Ok((report, address)) => {
                    let code = if json { Ok(result_of(&report)) } else { tell(&report, &address, context) };
                    row.report = Some(report);
                    code
                }
                Err(failure) => Err(failure),
            }
        };
        match result {
            Ok(code) => exit = exit.graver(code),
            Err(Failure::Told(told)) => {
                context.talk.error(&*told.error, &told.help);
                exit = exit.graver(told.exit);
                row.error = Some(ErrorDocument::of(&told, context.talk.again()));
            }
            Err(other) => return Err(other),
        }
        rows.push(row);
    }
    context.out.json = json;
    if json {
        context.out.document(&Document { targets: rows, exit: exit.code() })?;
    }
    Ok(exit)
}

/// Copies to one place; what was done, and its address.
async fn copy(
    place: &Place,
    args: &Args,
    source: &dyn Store,
    context: &mut Context,
) -> Result<(Report, String), Failure> {
    apart(context, &place.to).await?;
    let target = if args.create { place.to.create().await } else { place.to.open().await };
    let target = target.map_err(|error| if args.create { error.into() } else { no_copy(error, &place.to) })?;
    not_itself(source, &*target)?;
    let target = open::wrapped(context, target, Access::Write);
    if !args.create && target.stat(&layout::format()).await?.is_none() {
        let what = format!("{} holds no copy of a repository", target.address());
        return Err(Failure::new(Exit::Refused, what, CREATE));
    }
    let now = context.clock.now();
    let options = Options {
        parallel: args.parallel,
        retain_until: place.lock.map(|lock| now.after(lock)),
        // Run every day it would else extend every lock by a day.
        enough_until: place.lock.map(|lock| now.after(lock / 2)),
    };
    context.progress.begin("copying", "object");
    let display = progress::show(context);
    let cancel = context.cancel.clone();
    // Cut off anywhere it leaves nothing wrong, so dropping it is a clean stop.
    let report = tokio::select! {
        report = operation::replicate(source, &*target, &options, &context.progress) => Some(report),
        () = cancel.cancelled() => None,
    };
    display.finish();
    match report {
        Some(report) => Ok((report?, target.address())),
        None => Err(Failure::Interrupted),
    }
}

fn not_itself(source: &dyn Store, target: &dyn Store) -> Result<(), Failure> {
    if source.address() == target.address() { Err(to_itself(&source.address())) } else { Ok(()) }
}

fn to_itself(address: &str) -> Failure {
    let what = format!("{address} would be copied to itself");
    Failure::usage(what, "--repo is what is copied, --to where the copy goes: give another place")
}

/// What to do about a place that holds no copy.
const CREATE: &str =
    "nothing was copied: is the disk mounted and the address right? To begin a copy there, give --create, once";

/// A folder that is not there is no copy either.
fn no_copy(error: StoreError, to: &StoreUrl) -> Failure {
    match error {
        StoreError::Gone { .. } => {
            Failure::because(Exit::Refused, format!("{to} holds no copy of a repository"), error, CREATE)
        }
        error => error.into(),
    }
}

/// One folder in the other would be copied into itself, or fill the source's disk twice.
async fn apart(context: &Context, to: &StoreUrl) -> Result<(), Failure> {
    let (StoreUrl::File { path: from, .. }, StoreUrl::File { path: to, wait }) = (open::address(context)?, to) else {
        return Ok(());
    };
    let (limit, shown, to) = (wait.unwrap_or(FILE_TIME_MAX), to.display().to_string(), to.clone());
    let look = move || {
        let (from, to) = (real_path(&from), real_path(&to));
        let inside = (lies_in(&from, &to), lies_in(&to, &from));
        (from, to, inside)
    };
    let Some((from, to, inside)) = within(limit, look).await else {
        return Err(silent(Exit::Unreachable, &shown, limit));
    };
    if inside == (true, true) {
        return Err(to_itself(&from.display().to_string()));
    }
    if inside.0 || inside.1 {
        let what = format!("{} and {} lie in one another", from.display(), to.display());
        return Err(Failure::usage(what, "a copy needs a place of its own, on another disk if it is to be of use"));
    }
    Ok(())
}

/// What would be copied to one place.
async fn plan(to: &StoreUrl, source: &dyn Store, context: &Context) -> Result<Plan, Failure> {
    apart(context, to).await?;
    let target: Arc<dyn Store> = match to.open().await {
        Ok(target) => target,
        // A folder that is not there holds nothing.
        Err(StoreError::Gone { .. }) if matches!(to, StoreUrl::File { .. }) => {
            Arc::new(MemoryStore::new(context.clock.clone()).named(&to.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    not_itself(source, &*target)?;
    let target = open::wrapped(context, target, Access::Read);
    Ok(operation::plan(source, &*target).await?)
}

fn show(plan: &Plan, context: &mut Context) -> Result<Exit, Failure> {
    if context.out.json {
        context.out.document(plan)?;
        return Ok(Exit::Done);
    }
    for object in &plan.copy {
        context.out.line(&format!("{:>10}  {}", units::bytes(object.bytes), object.key))?;
    }
    for object in &plan.different {
        context.talk.warn(&format!("{object} is there with another size and would be left as it is"));
    }
    context.say(&format!(
        "would copy {} ({}) to {}; {} {} there already",
        count(plan.copy.len() as u64, "object"),
        units::bytes(plan.bytes),
        plan.target,
        plan.present,
        if plan.present == 1 { "is" } else { "are" }
    ))?;
    if plan.first {
        context.say("there is no copy yet: it needs --create, and the right disk mounted")?;
    }
    Ok(Exit::Done)
}

fn result_of(report: &Report) -> Exit {
    if report.damaged.is_empty() { Exit::Done } else { Exit::Damaged }
}

fn tell(report: &Report, target: &str, context: &mut Context) -> Result<Exit, Failure> {
    let exit = result_of(report);
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
    if report.epochs_withheld > 0 {
        context.talk.warn(&format!(
            "{} {} not copied while a snapshot is missing: what was backed up since DOES NOT OPEN at the target. Mend what is named above where it is damaged (`check --repair`), or give it up at the source (`forget --lost`), and copy again",
            count(report.epochs_withheld, "later epoch"),
            was(report.epochs_withheld)
        ));
    }
    context.summary(
        false,
        &format!(
            "copied {} ({}) to {}, {} among them; {} {} there already",
            count(report.copied, "object"),
            units::bytes(report.copied_bytes),
            target,
            count(report.snapshots, "snapshot record"),
            report.present,
            was(report.present)
        ),
    )?;
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
            Self::Source(error) | Self::Target(error) => return error.advice(),
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
