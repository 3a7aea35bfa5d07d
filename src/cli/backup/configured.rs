//! `backup` without paths: what the configuration says, one snapshot for each source. One that fails does not stop the others, unless no other could
//! succeed either.

mod coverage;
mod groups;
pub(in crate::cli) mod reached;
pub(in crate::cli) mod volumes;

use std::borrow::Cow;
use std::iter;
use std::time::Duration;

use serde::Serialize;
use tokio::task::spawn_blocking;

use super::{
    Args, DatabaseDocument, ProblemDocument, broken_packs, databases, file_name, is_whole, own_folder,
    problem_document, say_databases, tell_problem, warn_of,
};
use crate::backup::cluster::run_cluster;
use crate::backup::command::{CommandError, run_command};
use crate::backup::coverage::choice;
use crate::backup::in_pod::{Pods, room, run_in_pod};
use crate::backup::plan::plan_backup;
use crate::backup::volumes::MoverError;
use crate::backup::{self, BackupError, BackupOptions, BackupReport, run_backup};
use crate::base::secret::random;
use crate::base::units;
use crate::cli::again::Again;
use crate::cli::configuration;
use crate::cli::context::{Context, host};
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Told};
use crate::cli::open::{self, Access};
use crate::cli::output::{ErrorDocument, columns, count, table_within};
use crate::cli::progress;
use crate::cluster::api::Api;
use crate::cluster::capture::Captured;
use crate::config::{CommandSource, PathSource, ResourcesSource, Source, SourceKind};
use crate::datastore::find_k3s;
use crate::format::entry::{TreePath, escape};
use crate::format::record::Statistics;
use crate::tree::exclude::Excludes;
use crate::tree::live::LiveOptions;
use crate::tree::live::postgres::Postgres;
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::{Left, RunId};
use coverage::{LeftOut, Watch};
use reached::Reached;

/// Lines of what a program said that are repeated; the end tells why it failed.
const SAID_LINES_MAX: usize = 20;

/// Columns that a narrow terminal does without, the first at first: new, time, stored.
const MAY_GO: [usize; 3] = [4, 6, 5];

/// What became of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// A snapshot with everything.
    Done,
    /// A snapshot, and single files are missing from it, or all of them.
    Problems,
    /// No snapshot.
    Failed,
    /// No snapshot, on purpose.
    LeftOut,
    /// No snapshot: a dump stands for it, which is in one.
    Covered,
    /// Nobody takes it, and nobody leaves it out.
    NotCovered,
    /// Not begun.
    NotRun,
}

impl Outcome {
    const fn shown(self, dry_run: bool) -> &'static str {
        match self {
            Self::Done if dry_run => "would run",
            Self::Done => "done",
            Self::Problems => "PROBLEMS",
            Self::Failed => "FAILED",
            Self::LeftOut => "left out",
            Self::Covered => "covered",
            Self::NotCovered => "NOT COVERED",
            Self::NotRun => "not run",
        }
    }
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    source: String,
    kind: Cow<'static, str>,
    result: Outcome,
    snapshot: Option<String>,
    seconds: f64,
    statistics: Option<Statistics>,
    /// It holds nothing, and an earlier snapshot of the source did.
    emptied: bool,
    problems: Vec<ProblemDocument>,
    databases: Vec<DatabaseDocument>,
    /// Of objects of a cluster: each API group.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<groups::Group>,
    broken_packs: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorDocument>,
    /// By whom it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out_by: Option<String>,
    /// The source whose dump stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    covered_by: Option<String>,
    /// How its application was held, or would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<HeldDocument>,
    /// What is still held, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    still_held: Vec<String>,
    /// Why a claim is captured by this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What is not as good about that as one would wish.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cautions: Vec<String>,
    /// What was made in the cluster and is still there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<Left>,
    /// What there was to see of a mover that came to no result.
    #[serde(skip_serializing_if = "Evidence::is_empty")]
    mover: Evidence,
}

/// How an application was held while its claim was captured.
#[derive(Serialize)]
struct HeldDocument {
    /// `scaled to zero`, `command`, `handshake`.
    how: &'static str,
    /// The workloads, pods or claims.
    what: Vec<String>,
    /// Nobody runs now that could be held: it is seen when the claim is read.
    #[serde(skip)]
    idle: bool,
    /// For how long; nothing in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    sources: Vec<Row>,
    /// What is left out by one word of the configuration, and is in no row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
    exit: u8,
}

/// The sources that are meant.
fn chosen(args: &Args, context: &Context) -> Result<Vec<Source>, Failure> {
    let Some(loaded) = context.configuration.clone() else {
        return Err(configuration::needed("no path was given to back up", "PATH and --source NAME, or --stdin"));
    };
    if !args.exclude.is_empty() || args.one_file_system || args.live {
        return Err(Failure::usage(
            "--exclude, --exclude-file, --exclude-caches, --one-file-system and --live belong to a PATH, and none was given",
            format!("write them under the source in {}, or give the PATH too", loaded.path.display()),
        ));
    }
    let sources = &loaded.config.sources;
    let Some(wanted) = &args.source else {
        if sources.is_empty() {
            let what = format!("{} has no sources", loaded.path.display());
            return Err(Failure::usage(what, "write some (docs/configuration.md), or give PATH and --source NAME"));
        }
        return Ok(sources.clone());
    };
    let found: Vec<Source> = sources.iter().filter(|source| source.name == *wanted).cloned().collect();
    if found.is_empty() {
        let known: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        let what = format!("{} has no source {wanted:?}", loaded.path.display());
        return Err(Failure::usage(
            what,
            format!("it has: {}; to back up something else, give a PATH", known.join(", ")),
        ));
    }
    Ok(found)
}

pub(super) async fn run(args: &Args, context: &mut Context) -> Result<Exit, Failure> {
    let sources = chosen(args, context)?;
    let repository = open::repository(context, if args.dry_run { Access::Read } else { Access::Write }).await?;
    let operation = context.operation(repository);
    let run = RunId::new(random().map_err(MoverError::from)?).to_string();
    let (mut rows, mut exit, mut hopeless) = (Vec::new(), Exit::Done, false);
    let mut reached = Reached::default();
    // Of a part nobody expects that it is all.
    let mut watch = if args.source.is_none() { Watch::begin(&sources).await } else { Watch::default() };
    for source in &sources {
        if hopeless || context.cancel.is_cancelled() {
            rows.push(Row::new(source, Outcome::NotRun));
            continue;
        }
        context.say(&format!("source {}", escape(source.name.as_bytes())))?;
        // They make several rows, each of its own.
        let of_volumes = match &source.kind {
            SourceKind::Volumes(of) => {
                Some(volumes::rows(source, of, args, context, (&run, &rows), &mut reached).await)
            }
            SourceKind::FolderVolumes(of) => {
                Some(volumes::rows_of_folder(source, of, args, context, &operation, (&run, &rows)).await)
            }
            _ => None,
        };
        if let Some(result) = of_volumes {
            match result {
                Ok((of_volumes, graver)) => {
                    watch.volumes(source, &of_volumes);
                    rows.extend(of_volumes);
                    exit = exit.graver(graver);
                }
                Err(Failure::Told(told)) => {
                    context.talk.error(&*told.error, &told.help);
                    exit = exit.graver(told.exit);
                    rows.push(Row::failed(source, &told, Duration::ZERO, context.talk.again()));
                }
                Err(Failure::Interrupted) => rows.push(Row::new(source, Outcome::NotRun)),
                Err(closed @ Failure::OutputClosed) => return Err(closed),
            }
            continue;
        }
        let begun = context.clock.now();
        let would = if args.dry_run { watch.would(source, &mut reached).await } else { Ok(()) };
        let result = match would {
            Ok(()) => one(source, args, context, &operation, (&run, &rows), &mut reached).await,
            Err(failure) => Err(failure),
        };
        let took = context.clock.now().since(begun);
        let row = match result {
            Ok(Made { report, captured }) => {
                let groups = captured.as_ref().map(groups::of).unwrap_or_default();
                if let Some(captured) = captured {
                    watch.objects(source, captured.namespaces);
                }
                Row { groups, ..Row::of(source, report.as_ref(), took, context) }
            }
            Err(Failure::Told(told)) => {
                context.talk.error(&*told.error, &told.help);
                exit = exit.graver(told.exit);
                // The store or the key: what failed for one would fail for all, after as long a wait.
                hopeless = matches!(told.exit, Exit::Unreachable | Exit::Key);
                Row::failed(source, &told, took, context.talk.again())
            }
            Err(Failure::Interrupted) => Row::new(source, Outcome::NotRun),
            Err(closed @ Failure::OutputClosed) => return Err(closed),
        };
        if row.result == Outcome::Problems {
            exit = exit.graver(Exit::Problems);
        }
        rows.push(row);
    }
    let mut left_out = Vec::new();
    if !context.cancel.is_cancelled() {
        let uncovered;
        (uncovered, left_out) = watch.end(context).await?;
        if uncovered.iter().any(|row| row.result == Outcome::NotCovered) {
            exit = exit.graver(Exit::Problems);
        }
        rows.extend(uncovered);
    }
    if context.cancel.is_cancelled() {
        exit = Exit::Interrupted;
    }
    tell(Document { dry_run: args.dry_run, sources: rows, left_out, exit: exit.code() }, exit, context)
}

/// What came of a source.
#[derive(Default)]
struct Made {
    /// `None` in a dry run for what has no size before it is run: a command, a cluster.
    report: Option<BackupReport>,
    /// Of the objects of a cluster.
    captured: Option<Captured>,
}

/// Backs up one source.
async fn one(
    source: &Source,
    args: &Args,
    context: &mut Context,
    operation: &backup::Context,
    (run, done): (&str, &[Row]),
    reached: &mut Reached,
) -> Result<Made, Failure> {
    let (tags, reread) = (source.tags.clone(), args.reread);
    let mut options = BackupOptions { tags, reread, host: host(), ..BackupOptions::of(&source.name) };
    options.run = Some(run.to_owned());
    options.blocks = args.block_size.or(source.block_size);
    options.tags.extend(args.tag.iter().cloned());
    let report = match &source.kind {
        SourceKind::Path(path) => {
            options.paths.clone_from(&path.paths);
            options.walk.repository = own_folder(&path.paths, context).await?;
            options.walk.exclude = Excludes::new(&path.exclude)?.with_caches(path.exclude_caches);
            options.walk.one_file_system = path.one_file_system;
            options.live = path.live.then(|| live(path, done, args.dry_run));
            files(operation, &options, args, context).await?
        }
        SourceKind::Datastore(datastore) => {
            let (source, now) = (datastore.clone(), context.clock.now());
            let looking = spawn_blocking(move || find_k3s(&source.data_dir, source.max_age, now));
            let found = looking.await.map_err(|error| {
                Failure::because(Exit::Error, "the datastore could not be looked at", error, "this is a defect")
            })??;
            context.say(&found.told)?;
            options.paths = vec![found.folder];
            options.walk.repository = own_folder(&options.paths, context).await?;
            options.walk.exclude = Excludes::new(&found.exclude)?;
            options.live = found.live.then(LiveOptions::default);
            files(operation, &options, args, context).await?
        }
        SourceKind::Resources(_) if args.dry_run => return Ok(Made::default()),
        SourceKind::Command(command) if args.dry_run => {
            would_run(command, reached).await?;
            return Ok(Made::default());
        }
        SourceKind::Volumes(_) | SourceKind::FolderVolumes(_) => return Ok(Made::default()),
        SourceKind::Resources(resources) => {
            let display = progress::show(context);
            let result = objects(operation, &options, resources, reached).await;
            display.finish();
            let (report, captured) = result?;
            context.say(&told(&captured))?;
            return Ok(Made { report: Some(report), captured: Some(captured) });
        }
        SourceKind::Command(command) => {
            let name = file_name(&command.file)?;
            let display = progress::show(context);
            let report = output(operation, &options, command, &name, reached).await;
            display.finish();
            if let Err(BackupError::Command(error)) = &report {
                repeat(error, context);
            }
            report?
        }
    };
    Ok(Made { report: Some(report), captured: None })
}

/// What a program writes, on this machine or in a container.
async fn output(
    operation: &backup::Context,
    options: &BackupOptions,
    command: &CommandSource,
    name: &TreePath,
    reached: &mut Reached,
) -> Result<BackupReport, BackupError> {
    let Some(place) = &command.place else { return run_command(operation, options, command, name).await };
    let api = Api::open(place.kubeconfig.as_deref(), place.context.as_deref()).await?;
    reached.look(&api).await?;
    run_in_pod(operation, options, (command, place), Pods { cluster: &api, exec: &api }, name).await
}

/// Whether there is a container for a program that would be run in one. Fails if the cluster is away, too.
async fn would_run(command: &CommandSource, reached: &mut Reached) -> Result<(), BackupError> {
    let Some(place) = &command.place else { return Ok(()) };
    let api = Api::open(place.kubeconfig.as_deref(), place.context.as_deref()).await?;
    reached.look(&api).await?;
    room(&api, command, place).await?;
    Ok(())
}

/// Files of this machine.
async fn files(
    operation: &backup::Context,
    options: &BackupOptions,
    args: &Args,
    context: &mut Context,
) -> Result<BackupReport, Failure> {
    let display = progress::show(context);
    let report =
        if args.dry_run { plan_backup(operation, options).await } else { run_backup(operation, options).await };
    display.finish();
    let report = report?;
    say_databases(&report, context)?;
    Ok(report)
}

/// How to back up what is in use; `done` are the sources before this one.
fn live(path: &PathSource, done: &[Row], dry_run: bool) -> LiveOptions {
    let postgres = match &path.postgres_dump {
        Some(dump) if dry_run || done.iter().any(|row| row.source == *dump && row.result == Outcome::Done) => {
            Postgres::Dumped(dump.clone())
        }
        Some(dump) => Postgres::NotDumped(dump.clone()),
        None if path.postgres_crash_consistent => Postgres::CrashConsistent,
        None => Postgres::Refuse,
    };
    LiveOptions { scratch: path.scratch.clone(), postgres, ..LiveOptions::default() }
}

/// The objects of a cluster, or of a folder that stands for one.
pub(in crate::cli) async fn objects(
    operation: &backup::Context,
    options: &BackupOptions,
    source: &ResourcesSource,
    reached: &mut Reached,
) -> Result<(BackupReport, Captured), Failure> {
    let cluster = coverage::open(&source.of).await?;
    reached.look(&*cluster).await?;
    let choice = choice(&*cluster, source).await;
    Ok(run_cluster(operation, options, &*cluster, &choice).await?)
}

/// What of a cluster is in the snapshot, in a line.
fn told(captured: &Captured) -> String {
    let objects = captured.rows.iter().map(|row| row.objects).sum();
    let kinds = captured.rows.iter().filter(|row| row.objects > 0).count() as u64;
    let left_out = captured.left_out.len() as u64;
    format!("{} of {}; {} left out", count(objects, "object"), count(kinds, "kind"), count(left_out, "kind"))
}

/// What a program said before it failed.
fn repeat(error: &CommandError, context: &Context) {
    let lines: Vec<&str> = error.said().lines().collect();
    for line in lines.get(lines.len().saturating_sub(SAID_LINES_MAX)..).unwrap_or_default() {
        context.talk.put(&format!("  | {}", escape(line.as_bytes())));
    }
}

impl HeldDocument {
    /// What stood still, and for how long.
    fn told(&self) -> String {
        if self.idle {
            return " (in pods that run by then; none does now)".to_owned();
        }
        if self.what.is_empty() {
            return " (nobody uses it)".to_owned();
        }
        let what = escape(self.what.join(", ").as_bytes());
        match self.seconds {
            Some(seconds) => format!(" ({what}, for {seconds:.0} s)"),
            None => format!(" (would hold {what})"),
        }
    }
}

impl Row {
    fn new(source: &Source, result: Outcome) -> Self {
        Self { kind: source.kind.name().into(), ..Self::bare(source.name.clone(), result) }
    }

    /// Of what is no source itself.
    const fn bare(source: String, result: Outcome) -> Self {
        Self {
            source,
            kind: Cow::Borrowed(""),
            result,
            snapshot: None,
            seconds: 0.0,
            statistics: None,
            emptied: false,
            problems: Vec::new(),
            databases: Vec::new(),
            groups: Vec::new(),
            broken_packs: Vec::new(),
            error: None,
            left_out_by: None,
            covered_by: None,
            held: None,
            still_held: Vec::new(),
            reason: None,
            cautions: Vec::new(),
            left: Vec::new(),
            mover: Evidence { log: Vec::new(), events: Vec::new() },
        }
    }

    fn of(source: &Source, report: Option<&BackupReport>, took: Duration, context: &Context) -> Self {
        let mut row = Self::new(source, Outcome::Done);
        let Some(report) = report else { return row };
        for problem in &report.problems {
            tell_problem(problem, context);
        }
        warn_of(report, &source.name, context);
        row.result = if is_whole(report) { Outcome::Done } else { Outcome::Problems };
        row.snapshot = report.snapshot.map(|id| id.hex());
        row.seconds = took.as_secs_f64();
        row.statistics = Some(report.record.statistics);
        row.emptied = report.emptied().is_some();
        row.broken_packs = broken_packs(report);
        row.problems = report.problems.iter().map(problem_document).collect();
        row.databases = databases(report);
        row
    }

    fn failed(source: &Source, told: &Told, took: Duration, again: &Again) -> Self {
        let error = Some(ErrorDocument::of(told, again));
        Self { seconds: took.as_secs_f64(), error, ..Self::new(source, Outcome::Failed) }
    }

    fn cells(&self, dry_run: bool) -> Vec<String> {
        let number = |of: &dyn Fn(Statistics) -> String| self.statistics.map_or_else(|| "–".to_owned(), of);
        let time = if matches!(self.result, Outcome::NotRun | Outcome::NotCovered | Outcome::LeftOut | Outcome::Covered)
            || dry_run
        {
            "–".to_owned()
        } else {
            progress::left(Duration::from_secs_f64(self.seconds))
        };
        vec![
            escape(self.source.as_bytes()),
            self.kind.clone().into_owned(),
            number(&|statistics| statistics.files.to_string()),
            number(&|statistics| units::bytes(statistics.bytes)),
            number(&|statistics| units::bytes(statistics.bytes_new)),
            number(&|statistics| units::bytes(statistics.bytes_stored)),
            time,
            number(&|statistics| statistics.problems.to_string()),
            self.result.shown(dry_run).to_owned(),
        ]
    }
}

fn tell(document: Document, exit: Exit, context: &mut Context) -> Result<Exit, Failure> {
    if context.out.json {
        context.out.document(&document)?;
        return Ok(exit);
    }
    let Document { sources: rows, dry_run, .. } = document;
    for row in &rows {
        if let Some(reason) = &row.reason {
            let held = row.held.as_ref().map(HeldDocument::told).unwrap_or_default();
            let (source, reason) = (escape(row.source.as_bytes()), escape(reason.as_bytes()));
            let line = format!("{source}: {}{held}, because {reason}", row.kind);
            context.summary(exit != Exit::Done || dry_run, &line)?;
        }
    }
    let head = ["SOURCE", "KIND", "FILES", "SIZE", "NEW", "STORED", "TIME", "PROBLEMS", "RESULT"];
    let with_groups = |row: &Row| {
        iter::once(row.cells(dry_run)).chain(row.groups.iter().map(groups::Group::cells)).collect::<Vec<_>>()
    };
    let cells: Vec<Vec<String>> = rows.iter().flat_map(with_groups).collect();
    for line in table_within(columns(), &head, &cells, &[2, 3, 4, 5, 6, 7], &MAY_GO) {
        context.summary(exit != Exit::Done || dry_run, &line)?;
    }
    let missing = rows.iter().filter(|row| matches!(row.result, Outcome::Failed | Outcome::NotRun)).count();
    if missing > 0 {
        context.out.flush()?;
        context.talk.warn(&format!("{missing} of {} sources have no new snapshot", rows.len()));
    }
    Ok(exit)
}
