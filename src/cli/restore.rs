//! `restore`: files of a snapshot into a directory.

mod all;
mod claim;
pub(super) mod cluster;
mod in_place;
mod lack;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard::InUse;
use crate::cli::open::{self, Access};
use crate::cli::output::{count, was};
use crate::cli::prompt::confirm;
use crate::cli::{patterns, progress, select, verified};
use crate::format::entry::{TreePath, escape};
use crate::recover::select::Selection;
use crate::recover::{Overwrite, RestorePlan, RestoreProblem, RestoreReport, run_restore};
use crate::repo::Repository;
use crate::repo::fetch::Reader;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::whole::Lack;
use crate::runs::folders::Folders;
use crate::tree::exclude::Excludes;
use crate::tree::restore::metadata::SETTING_THE_OWNER;

const EXAMPLES: &str = "\
Examples:
  homelab-dr restore --all --target /srv/restored --identity ~/homelab-dr.key
  homelab-dr restore latest:photos --target /srv/photos --identity ~/homelab-dr.key
  homelab-dr restore latest:photos:2026/summer --target ~/summer --include '*.jpg'
  homelab-dr restore 2026-11-01 --target /srv/app --delete --dry-run
  homelab-dr restore latest:cluster --cluster --kubeconfig ~/.kube/new --plan
  homelab-dr restore latest:cluster --cluster --include 'media/*/*' --namespace media=media-copy
  homelab-dr restore latest:pvc/media/jellyfin --into-claim media/jellyfin-restored
  homelab-dr restore 3f9a2c41 --into-claim media/jellyfin --in-place --plan";

/// As many problems with owners are not single ones: nobody but root can set them.
const OWNERS_MANY: usize = 3;

/// Deleted entries that a question names.
const DELETED_SHOWN: usize = 20;

/// Restore files of a snapshot into a directory, or objects into a cluster (needs an identity)
///
/// Every byte is checked against its id before it is written, and a file gets its times and owner when it is whole. After
/// an interruption run it again: it goes on. What could not be re-applied, such as owners without root, is listed and
/// ends with exit code 3. What is damaged is listed, everything else is restored, and the exit code is 4. A snapshot is of
/// one source; --all restores the newest of every source, and ends with the gravest of their exit codes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    #[arg(value_name = "SNAPSHOT[:PATH]", help = select::SNAPSHOT_PATH_HELP, required_unless_present = "all")]
    snapshot: Option<OsString>,
    /// The newest snapshot of every source, each into a directory of the source's name below DIR; / in a name becomes %2F
    #[arg(long, conflicts_with_all = ["snapshot", "delete"])]
    all: bool,
    /// The directory to restore into, made if it is not there; what lies in PATH comes directly below it
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present_any = ["cluster", "into_claim"],
        default_value = ".",
        hide_default_value = true
    )]
    target: PathBuf,
    /// Only what matches this pattern, and everything below it; may be repeated. A pattern with a slash counts from the top of
    /// the snapshot, also when a PATH is given, and so do those of --exclude
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    #[command(flatten)]
    exclude: patterns::ExcludeArgs,
    /// What to do with files that are there
    #[arg(long, value_enum, value_name = "WHEN", default_value = "changed")]
    overwrite: When,
    /// Remove from the target what the snapshot does not have; asks first. What --include and --exclude leave out stays. Refused
    /// where the repository or a key that is used lies in DIR
    #[arg(long)]
    delete: bool,
    /// Do not ask before --delete removes something, or --cluster or --into-claim writes
    #[arg(long, short)]
    yes: bool,
    /// Write runs of zeros as holes, also where the source had none
    #[arg(long)]
    sparse: bool,
    /// Do not restore owner and group
    #[arg(long)]
    no_owner: bool,
    /// Show what would be done, and change nothing
    #[arg(long, short = 'n', visible_alias = "plan")]
    dry_run: bool,
    #[command(flatten)]
    cluster: cluster::ClusterArgs,
}

/// When a file that is there is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum When {
    /// Leave it
    Never,
    /// Replace it if size or time differ
    Changed,
    /// Replace it
    Always,
    /// Read all of it, and write into it only what differs: for large files of which little has changed. Cut off, it is
    /// neither the old nor the new one, and a part that is damaged in the repository stays as it was; run it again
    InPlace,
}

#[derive(Serialize)]
struct ProblemDocument {
    path: String,
    message: String,
    damaged: bool,
}

#[derive(Serialize)]
struct Document {
    snapshot: String,
    /// It holds nothing; this is the newest earlier one of its source that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_something: Option<String>,
    /// Why it does not stand for all that its source held.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacks: Option<Lack>,
    dry_run: bool,
    chosen: u64,
    files: u64,
    bytes: u64,
    written: u64,
    others: u64,
    unchanged: u64,
    deleted: Vec<String>,
    problems: Vec<ProblemDocument>,
}

/// What of the repository goes where.
struct What<'a> {
    snapshot: &'a Snapshot,
    within: TreePath,
    target: PathBuf,
    /// What of the target is left as it is: the repository and the keys.
    spared: Vec<PathBuf>,
    /// What is had of the target; nothing in a dry run.
    held: Option<&'a Folders>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if args.cluster.cluster {
        return Box::pin(cluster::run(&args, context)).await;
    }
    args.cluster.refuse_without_cluster()?;
    if let Some(place) = args.cluster.into_claim.as_ref().filter(|_| args.cluster.in_place) {
        return Box::pin(in_place::run(&args, place, context)).await;
    }
    if let Some(place) = &args.cluster.into_claim {
        return Box::pin(claim::run(&args, place, context)).await;
    }
    // Who restores all of a snapshot has seen that it can be read from the store. For a part nothing is recorded.
    let part = args.snapshot.as_deref().is_some_and(|given| select::names_a_part(context, given));
    let repository = open::with_identity(context, if part { Access::Look } else { Access::Verify }).await?;
    // Opened, its place answers: one on a dead mount is told as such, and nobody waits here without end.
    let in_use = InUse::of(context)?;
    in_use.refuse_target(&args.target, args.delete)?;
    let chain = open::chain(context, &repository).await?;
    let Some(given) = &args.snapshot else { return all::run(&args, &repository, &chain, &in_use, context).await };
    let (snapshot, within) = select::snapshot_path(context, &chain, given)?;
    let reader = open::reader(context, &repository).await?;
    let within = select::as_printed(&reader, snapshot, within).await?;
    let folders = held(&args, context)?;
    let what = What { snapshot, within, target: args.target.clone(), spared: in_use.paths(), held: folders.as_ref() };
    let (report, plan) = restore(&args, &what, &repository, &reader, context).await?;
    if report.chosen == 0 && !(args.include.is_empty() && args.exclude.is_empty()) {
        let what = format!("nothing in snapshot {} was chosen by --include and --exclude", snapshot.id.short());
        let help =
            "patterns are compared with paths as `homelab-dr ls -R SNAPSHOT` shows them; quote them from the shell";
        return Err(Failure::usage(what, help));
    }
    let exit = tell(&report, &document(&report, snapshot, &chain, &plan), &plan, context)?;
    let exit = lack::warn(snapshot, &chain, (exit, is_all(&args, &plan)), context)?;
    if report.verified && !part && repository.refuse_if_removed().is_ok() {
        verified::record(context, &repository, &[snapshot.id], &[]).await?;
    }
    if given == "latest" {
        tell_of_others(snapshot, &chain, context)?;
    }
    Ok(exit)
}

/// The target, which nobody else restores into meanwhile; nothing is made yet.
fn held(args: &Args, context: &Context) -> Result<Option<Folders>, Failure> {
    if args.dry_run {
        return Ok(None);
    }
    let folders = Folders::default();
    if let Some(warning) = folders.take(&args.target)? {
        context.talk.warn(&warning);
    }
    Ok(Some(folders))
}

/// `latest` is one snapshot and sounds like more.
fn tell_of_others(snapshot: &Snapshot, chain: &Chain, context: &mut Context) -> Result<(), Failure> {
    let of = &snapshot.record.source;
    let others: Vec<String> =
        all::sources(chain).into_iter().filter(|source| source != of).map(|source| escape(source.as_bytes())).collect();
    if others.is_empty() {
        return Ok(());
    }
    context.say(&format!(
        "note: this was the newest snapshot of {}; not restored: {}. `restore --all` restores every source",
        escape(of.as_bytes()),
        others.join(", ")
    ))
}

/// Restores, after asking if something would be deleted.
async fn restore(
    args: &Args,
    what: &What<'_>,
    repository: &Arc<Repository>,
    reader: &Arc<Reader>,
    context: &Context,
) -> Result<(RestoreReport, RestorePlan), Failure> {
    let include = (!args.include.is_empty()).then(|| Excludes::new(&args.include)).transpose()?;
    let mut plan = RestorePlan {
        root: what.snapshot.record.root,
        within: what.within.clone(),
        target: what.target.clone(),
        confined: None,
        spared: what.spared.clone(),
        selection: Selection { include, exclude: args.exclude.excludes()? },
        overwrite: match args.overwrite {
            When::Never => Overwrite::Never,
            When::Changed => Overwrite::Changed,
            When::Always => Overwrite::Always,
            When::InPlace => Overwrite::InPlace,
        },
        delete: args.delete,
        kept: Vec::new(),
        sparse: args.sparse,
        dry_run: args.dry_run,
        owner: !args.no_owner,
    };
    let operation = context.operation(repository.clone());
    if plan.delete && !plan.dry_run && !args.yes && plan.target.exists() {
        plan.dry_run = true;
        let would = run_restore(&operation, reader, &plan).await?;
        ask_to_delete(&would, &plan, context)?;
        plan.dry_run = false;
    }
    if let Some(folders) = what.held
        && let Some(warning) = folders.make(&plan.target)?
    {
        context.talk.warn(&warning);
    }
    context.progress.begin("restoring", "file");
    if is_all(args, &plan) {
        let statistics = what.snapshot.record.statistics;
        context.progress.expect(statistics.files, statistics.bytes, false);
    }
    let display = progress::show(context);
    let report = run_restore(&operation, reader, &plan).await;
    display.finish();
    Ok((report?, plan))
}

/// Shows what would go, and asks.
fn ask_to_delete(would: &RestoreReport, plan: &RestorePlan, context: &Context) -> Result<(), Failure> {
    if would.deleted.is_empty() {
        return Ok(());
    }
    let target = plan.target.display();
    let number = would.deleted.len();
    let shown = count(number as u64, "entry");
    context.talk.put(&format!("--delete would remove {shown} from {target} that the snapshot does not have:"));
    for path in would.deleted.iter().take(DELETED_SHOWN) {
        context.talk.put(&format!("  {}", path.display()));
    }
    if number > DELETED_SHOWN {
        context.talk.put(&format!("  … and {} more (--dry-run shows all)", number - DELETED_SHOWN));
    }
    confirm(false, "Remove them?")
}

fn is_owner(problem: &RestoreProblem) -> bool {
    matches!(problem, RestoreProblem::Tree(problem) if problem.operation == SETTING_THE_OWNER)
}

fn exit_of(report: &RestoreReport) -> Exit {
    match (report.found_damage(), report.problems.is_empty()) {
        (true, _) => Exit::Damaged,
        (false, false) => Exit::Problems,
        (false, true) => Exit::Done,
    }
}

/// Whether everything of the snapshot is wanted.
fn is_all(args: &Args, plan: &RestorePlan) -> bool {
    plan.within.as_bytes().is_empty() && plan.selection.include.is_none() && args.exclude.is_empty()
}

fn document(report: &RestoreReport, snapshot: &Snapshot, chain: &Chain, plan: &RestorePlan) -> Document {
    let lacks = chain.lack(snapshot);
    let held = lacks.and_then(|lacks| if let Lack::Emptied { held } = lacks { Some(held) } else { None });
    Document {
        snapshot: snapshot.id.hex(),
        held_something: held.map(|held| held.hex()),
        lacks,
        dry_run: plan.dry_run,
        chosen: report.chosen,
        files: report.files,
        bytes: report.bytes,
        written: report.written,
        others: report.others,
        unchanged: report.unchanged,
        deleted: report.deleted.iter().map(TreePath::display).collect(),
        problems: report.problems.iter().map(problem_document).collect(),
    }
}

/// The problems, and of a dry run what would be deleted.
fn warn_of(report: &RestoreReport, plan: &RestorePlan, context: &mut Context) -> Result<(), Failure> {
    if context.out.json {
        return Ok(());
    }
    // Without root each entry has one of these: first, so that the others are seen.
    let (owners, others): (Vec<_>, Vec<_>) = report.problems.iter().partition(|problem| is_owner(problem));
    for problem in owners.iter().chain(&others) {
        context.talk.warn(&message(problem));
    }
    if owners.len() >= OWNERS_MANY {
        let owners = count(owners.len() as u64, "entry");
        context.talk.warn(&format!("the owner of {owners} was not set: run as root, or restore with --no-owner"));
    }
    if plan.dry_run {
        for path in &report.deleted {
            context.out.line(&format!("would remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn tell(
    report: &RestoreReport,
    document: &Document,
    plan: &RestorePlan,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let exit = exit_of(report);
    if context.out.json {
        context.out.document(document)?;
        return Ok(exit);
    }
    warn_of(report, plan, context)?;
    let verb = if plan.dry_run { "would restore" } else { "restored" };
    context.summary(
        plan.dry_run,
        &format!(
            "{verb} {} ({}){} into {}{}{}",
            count(report.files, "file"),
            units::bytes(report.bytes),
            // Directories, links and the like, and what only got its owner, mode or time.
            match report.others {
                0 => String::new(),
                others => format!(" and {}", count(others, "other entry")),
            },
            plan.target.display(),
            if report.unchanged == 0 {
                String::new()
            } else {
                format!("; {} {} there already", count(report.unchanged, "entry"), was(report.unchanged))
            },
            if report.deleted.is_empty() { String::new() } else { format!("; {} removed", report.deleted.len()) }
        ),
    )?;
    if !report.problems.is_empty() {
        context.out.flush()?;
        context.talk.warn(&format!("{}, listed above", count(report.problems.len() as u64, "problem")));
    }
    Ok(exit)
}

fn message(problem: &RestoreProblem) -> String {
    in_one_line(problem)
}

fn problem_document(problem: &RestoreProblem) -> ProblemDocument {
    let (path, damaged) = match problem {
        RestoreProblem::Tree(problem) => (&problem.path, false),
        RestoreProblem::Damaged { path, .. } | RestoreProblem::Lost { path, .. } => (path, true),
    };
    ProblemDocument { path: String::from_utf8_lossy(path.as_bytes()).into_owned(), message: message(problem), damaged }
}
