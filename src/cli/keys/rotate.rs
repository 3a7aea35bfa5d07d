//! `keys rotate-writer`: a new writer key in the place of one that was stolen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::base::units::{self, parse_duration};
use crate::cli::context::{Context, host};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::hints::{Advice, Advise};
use crate::cli::open::{self, Access};
use crate::cli::output::count;
use crate::cli::prompt::{PlanArgs, confirm};
use crate::cli::{guard, private_file, progress};
use crate::crypto::writer_key::WriterKey;
use crate::keys::rotate::{Planned, RotateError, Rotated, RotationPlan, Settings, plan_rotation, run_rotation};
use crate::repo::layout;
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  homelab-dr keys rotate-writer --identity ~/homelab-dr.key --dry-run
  homelab-dr keys rotate-writer --identity ~/homelab-dr.key --writer-key new-writer.key

Take the thief's way to the store away first: new credentials for the bucket. Then rotate, bring the
new key to where backups are made, and look for what the thief wrote: check --repair --identity.";

/// Replace the writer key after somebody has stolen it (needs an identity)
///
/// Begins a new epoch: the old writer key commits no backup, dooms nothing and reads nothing that is new, and what it still
/// writes is accepted by nobody. Names, trees and index are sealed anew; the content of files is neither read nor stored
/// again. Snapshots get new ids. A run that was cut off is finished by the next one, with the same new key; nothing is lost meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Write the new writer key to this new file (mode 0600)
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    writer_key: Option<PathBuf>,
    /// How long to wait for backups to which a network file system still shows the old epoch; 0s only where no backup can be running
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_duration)]
    settle: Duration,
    #[command(flatten)]
    plan: PlanArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    plan: &'a RotationPlan,
    #[serde(skip_serializing_if = "Option::is_none")]
    writer_key_file: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Rotated>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if let Some(file) = &args.writer_key {
        guard::refuse_in_repository(context, file)?;
    }
    let access = if args.plan.dry_run { Access::Read } else { Access::Write };
    let repository = open::with_identity(context, access).await?;
    context.progress.begin("looking at what is to be sealed anew", "");
    let display = progress::show(context);
    let planned = plan_rotation(&repository, &context.progress).await;
    display.finish();
    let planned = planned?;
    let plan = planned.plan.clone();
    let hidden = context.out.json || (context.globals.quiet && args.plan.yes && !args.plan.dry_run);
    if !hidden {
        show(&plan, context)?;
    }
    let Some(file) = args.writer_key.as_ref().filter(|_| !args.plan.dry_run) else {
        if context.out.json {
            context.out.document(&Document { dry_run: true, plan: &plan, writer_key_file: None, outcome: None })?;
        }
        return Ok(Exit::Done);
    };
    context.out.flush()?;
    let wrote = keep(&planned, file, || {
        confirm(args.plan.yes, "Replace the writer key? Backups stop until the new one is installed.")
    })?;
    let settings = Settings { host: host(), settle: args.settle };
    let display = progress::show(context);
    let outcome = run_rotation(planned, &settings, &context.clock, &context.progress, &context.cancel).await;
    display.finish();
    let rotated = match outcome {
        Ok(rotated) => rotated,
        Err(error) => {
            if wrote {
                forget_useless_key(&*repository.store, plan.epoch, file, context).await;
            }
            return Err(error.into());
        }
    };
    tell(&plan, &rotated, file, context)
}

/// Brings the new key to safety before anything is changed; tells whether a file was written for it. One that is there already may be of the run that is finished now.
fn keep(planned: &Planned, file: &Path, ask: impl FnOnce() -> Result<(), Failure>) -> Result<bool, Failure> {
    let key = planned.writer_key();
    if planned.plan.begun && holds(file, &key) {
        ask()?;
        return Ok(false);
    }
    private_file::refuse_existing(file, "the writer key")?;
    ask()?;
    let text = Zeroizing::new(format!("{}\n", *key.to_text()));
    private_file::create(file, &text, "the writer key")?;
    Ok(true)
}

fn holds(file: &Path, key: &WriterKey) -> bool {
    let held = std::fs::read_to_string(file).map(Zeroizing::new);
    held.is_ok_and(|held| held.trim() == key.to_text().as_str())
}

/// A key whose epoch did not begin opens nothing. It stays where that is not sure.
async fn forget_useless_key(store: &dyn Store, epoch: u32, file: &Path, context: &Context) {
    if matches!(store.stat(&layout::epoch(epoch)).await, Ok(None)) && std::fs::remove_file(file).is_ok() {
        return;
    }
    context.talk.warn(&format!(
        "{} was left: it may be the writer key by now. Run the same command again, which finishes what was begun",
        file.display()
    ));
}

fn show(plan: &RotationPlan, context: &mut Context) -> Result<(), Failure> {
    if plan.begun {
        context.out.line(&format!("goes on with the rotation that began epoch {}", plan.epoch))?;
    } else {
        context.out.line(&format!("begins    epoch {}, with a new writer key; the old one is retired", plan.epoch))?;
    }
    context.out.line(&format!(
        "seals     {} and {} anew: about {} to store",
        count(plan.snapshots as u64, "snapshot"),
        count(plan.blobs as u64, "tree blob"),
        units::bytes(plan.bytes)
    ))?;
    context.out.line(&format!(
        "leaves    {} of content ({}) as they are",
        count(plan.content_packs as u64, "pack"),
        units::bytes(plan.content_bytes)
    ))
}

fn tell(plan: &RotationPlan, rotated: &Rotated, file: &Path, context: &mut Context) -> Result<Exit, Failure> {
    let late: Vec<_> = rotated.snapshots.iter().filter(|renamed| renamed.late).collect();
    for renamed in &late {
        context.talk.warn(&format!(
            "snapshot {} came after the new epoch had begun, from who holds the old key: a backup that was just ending, or the thief",
            renamed.to.short()
        ));
    }
    for id in &rotated.not_carried {
        context.talk.warn(&format!(
            "snapshot {} came with the old key when everything had been sealed anew, round after round: it was not, and nobody accepts it\n  help: find out who writes with the old key; a backup of the same source with the new one stores it again, without its content",
            id.short()
        ));
    }
    let exit = if rotated.not_carried.is_empty() { Exit::Done } else { Exit::Problems };
    if context.out.json {
        let document = Document { dry_run: false, plan, writer_key_file: Some(file), outcome: Some(rotated) };
        context.out.document(&document)?;
        return Ok(exit);
    }
    for renamed in &rotated.snapshots {
        context.out.line(&format!("snapshot  {} is {} now", renamed.from.short(), renamed.to.short()))?;
    }
    context.summary(
        false,
        &format!(
            "the old writer key is retired; {} and {} sealed anew, {} stored",
            count(rotated.snapshots.len() as u64, "snapshot"),
            count(rotated.blobs as u64, "tree blob"),
            units::bytes(rotated.bytes_stored)
        ),
    )?;
    context.say(&format!(
        "\nNext:\n  1. Put {0} where backups are made, in the place of the old one (the Secret in the cluster).\n  \
         2. Look for what the thief wrote: homelab-dr check --repair --identity FILE; then homelab-dr backup --reread\n  \
         3. Copies: homelab-dr replicate --to URL; what the old key sealed goes there with two runs of prune, as it does here.",
        file.display()
    ))?;
    Ok(exit)
}

impl Advise for RotateError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Repo(error) => return error.advice(),
            Self::Recipient(error) => return error.advice(),
            Self::Damaged { .. } => Advice::new(
                Exit::Refused,
                "what cannot be read cannot be sealed anew: run `homelab-dr check --repair`, with --from URL of a copy if there is one. What is lost for good is given up: a snapshot with `homelab-dr forget ID`, a record that does not read with `homelab-dr forget --lost ID`. Then rotate",
            ),
            Self::Gaps { first, .. } => Advice::new(
                Exit::Refused,
                format!(
                    "find out who deleted, and bring the records back from a copy. If it is gone for good, `homelab-dr forget --lost {first}` takes note of that; then rotate"
                ),
            ),
            Self::NotProven { .. } => Advice::new(
                Exit::Damaged,
                "nothing was marked or removed, and everything reads with an identity. Run the same command again; if it says the same, this is a bug in homelab-dr: please report it",
            ),
        })
    }
}
