//! `backup`: files, or what a program writes, into a new snapshot; without paths, what the configuration says.

pub(super) mod configured;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::backup::plan::plan_backup;
use crate::backup::stdin::run_stdin;
use crate::backup::{BackupOptions, BackupReport, run_backup};
use crate::base::causes::causes;
use crate::base::units;
use crate::chunker::BlockSize;
use crate::cli::context::{Context, host};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::guard::{real_path, silent, within};
use crate::cli::open::{self, Access};
use crate::cli::output::count;
use crate::cli::{patterns, progress, tags};
use crate::format::entry::{TreePath, escape};
use crate::format::live::How;
use crate::format::record::Statistics;
use crate::language::{is_file_name, is_source_name};
use crate::repo::layout;
use crate::store::file::FILE_TIME_MAX;
use crate::store::url::StoreUrl;
use crate::tree::live::LiveOptions;
use crate::tree::live::postgres::Postgres;
use crate::tree::problem::{Cause, Problem, Severity};
use crate::tree::walk::{InodeKey, WalkOptions, directory_key};

const EXAMPLES: &str = "\
Examples:
  What the configuration says, all of it or one source:
    homelab-dr backup
    homelab-dr backup --source photos
  What is given here:
    homelab-dr backup /srv/photos --source photos --exclude '*.tmp' --tag host=nas
    homelab-dr backup /etc /home --source laptop --one-file-system --exclude-caches
    homelab-dr backup /var/lib/rancher/k3s/storage --source volumes --live
    set -o pipefail; pg_dump app | homelab-dr backup --stdin --name app.sql --source pg/app

Patterns are as in .gitignore: `cache` is left out wherever it is, `/cache` only at the top,
`cache/` only if it is a directory; `!keep` takes in again.";

/// Back up files into a new snapshot
///
/// Without a PATH it backs up what the configuration says, one snapshot for each source, and ends with a table; a source
/// that fails does not stop the others, and the gravest result is the exit code.
///
/// Needs the writer key only. What did not change since the last snapshot of the same source is not read; what is in the
/// repository already is not stored again. Problems with single files are listed and end with exit code 3; so does a
/// snapshot that holds nothing, if an earlier one of the source held something.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// What to back up, if not what the configuration says; one directory becomes the top of the snapshot, several paths lie in it by their names
    #[arg(value_name = "PATH", conflicts_with = "stdin")]
    paths: Vec<PathBuf>,
    /// The name by which you will ask for it, such as photos; without a PATH, which source of the configuration
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    exclude: patterns::ExcludeArgs,
    /// Stay out of other file systems that are mounted below
    #[arg(long)]
    one_file_system: bool,
    /// The files are in use: capture SQLite databases whole, with a copy in a scratch directory
    #[arg(long, requires = "paths")]
    live: bool,
    /// Where databases are copied to, on a disk with room for the largest [default: TMPDIR, else /var/tmp]
    #[arg(long, value_name = "DIR", requires = "live")]
    scratch: Option<PathBuf>,
    /// What to do with the data of a PostgreSQL server that was not shut down: leave it out as a problem, or store it, because PATH lies in a snapshot
    #[arg(long, value_enum, value_name = "HOW", requires = "live", default_value = "refuse")]
    postgres: PostgresData,
    /// A tag of the snapshot; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tags::parse)]
    tag: Vec<(String, String)>,
    /// Read every file, also what seems unchanged
    #[arg(long)]
    reread: bool,
    /// The blocks in which files that are databases or disk images are stored, 64KiB to 4MiB, and at least 256KiB in files above 16 GiB: larger ones are compressed
    /// better, and a changed page costs all of its block. A source keeps what it was stored with [default: 64KiB]
    #[arg(long, value_name = "SIZE", value_parser = block_size)]
    block_size: Option<BlockSize>,
    /// Show what would be read, and store nothing
    #[arg(long, short = 'n', conflicts_with = "stdin")]
    dry_run: bool,
    /// Back up what comes from standard input, as one file
    #[arg(long, requires = "name")]
    stdin: bool,
    /// The name of that file
    #[arg(long, value_name = "FILE", requires = "stdin")]
    name: Option<String>,
}

fn block_size(text: &str) -> Result<BlockSize, String> {
    BlockSize::parse(text).ok_or_else(|| format!("write one of {}", BlockSize::WORDS.join(", ")))
}

/// What to do with data of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PostgresData {
    Refuse,
    CrashConsistent,
}

/// A database of a source in use.
#[derive(Serialize)]
struct DatabaseDocument {
    path: String,
    how: &'static str,
}

#[derive(Serialize)]
struct ProblemDocument {
    path: String,
    message: String,
    severity: Severity,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: Option<String>,
    dry_run: bool,
    source: &'a str,
    seconds: f64,
    statistics: Statistics,
    /// It holds nothing, and an earlier snapshot of the source did.
    emptied: bool,
    problems: Vec<ProblemDocument>,
    databases: Vec<DatabaseDocument>,
    broken_packs: Vec<String>,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if args.paths.is_empty() && !args.stdin {
        return configured::run(&args, context).await;
    }
    let began = Instant::now();
    let options = options(&args, own_folder(&args.paths, context).await?)?;
    let name = args.name.as_deref().map(file_name).transpose()?;
    let repository = open::repository(context, if args.dry_run { Access::Read } else { Access::Write }).await?;
    let operation = context.operation(repository);
    let display = progress::show(context);
    let report = match name {
        Some(name) => run_stdin(&operation, &options, &name, || Ok(std::io::stdin())).await,
        None if args.dry_run => plan_backup(&operation, &options).await,
        None => run_backup(&operation, &options).await,
    };
    display.finish();
    // Until the snapshot is durable, which its own record cannot know.
    tell(&report?, &options.source, args.dry_run, began.elapsed(), context)
}

/// The repository's folder, if it is one: skipped where it lies below a source, refused where a source is it or lies in it.
async fn own_folder(paths: &[PathBuf], context: &Context) -> Result<Option<InodeKey>, Failure> {
    let StoreUrl::File { path, wait } = open::address(context)? else { return Ok(None) };
    let limit = wait.unwrap_or(FILE_TIME_MAX);
    let shown = path.display().to_string();
    let look = move || (directory_key(&real_path(&path)), real_path(&path));
    let Some((key, own)) = within(limit, look).await else { return Err(silent(Exit::Unreachable, &shown, limit)) };
    for path in paths {
        let look = path.clone();
        // A source that hangs is its own trouble: the repository is well, and other sources may be.
        match within(limit, move || real_path(&look)).await {
            None => return Err(silent(Exit::Error, &path.display().to_string(), limit)),
            Some(real) if real.starts_with(&own) => {
                let what = format!("{} is the repository itself, or lies in it", path.display());
                return Err(Failure::usage(what, "`homelab-dr replicate` makes a copy of a repository"));
            }
            Some(_) => {}
        }
    }
    Ok(key)
}

fn options(args: &Args, repository: Option<InodeKey>) -> Result<BackupOptions, Failure> {
    let Some(source) = &args.source else {
        return Err(Failure::usage(
            "no name was given for what is backed up",
            "give --source NAME, such as photos: by it you will ask for the snapshot",
        ));
    };
    if !is_source_name(source) {
        return Err(Failure::usage(
            format!("{source:?} cannot name a source"),
            "a name has no colon and does not begin with /, such as photos or pvc/media/jellyfin",
        ));
    }
    let postgres = match args.postgres {
        PostgresData::Refuse => Postgres::Refuse,
        PostgresData::CrashConsistent => Postgres::CrashConsistent,
    };
    let live = LiveOptions { scratch: args.scratch.clone(), postgres, ..LiveOptions::default() };
    let (exclude, one_file_system) = (args.exclude.excludes()?, args.one_file_system);
    Ok(BackupOptions {
        paths: args.paths.clone(),
        walk: WalkOptions { exclude, one_file_system, repository, live: None },
        tags: args.tag.iter().cloned().collect::<BTreeMap<_, _>>(),
        host: host(),
        reread: args.reread,
        blocks: args.block_size,
        live: args.live.then_some(live),
        ..BackupOptions::of(source)
    })
}

/// The name of the one file in a snapshot of standard input, under which it must be possible to restore it.
fn file_name(name: &str) -> Result<TreePath, Failure> {
    TreePath::new(name.as_bytes()).ok().filter(|_| is_file_name(name)).ok_or_else(|| {
        let what = format!("{name:?} cannot name a file");
        Failure::usage(what, "give a plain name of at most 255 bytes, such as app.sql")
    })
}

fn tell(
    report: &BackupReport,
    source: &str,
    dry_run: bool,
    time: Duration,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let statistics = report.record.statistics;
    let exit = if is_whole(report) { Exit::Done } else { Exit::Problems };
    if context.out.json {
        context.out.document(&Document {
            snapshot: report.snapshot.map(|id| id.hex()),
            dry_run,
            source,
            seconds: time.as_secs_f64(),
            statistics,
            emptied: report.emptied().is_some(),
            problems: report.problems.iter().map(problem_document).collect(),
            databases: databases(report),
            broken_packs: broken_packs(report),
        })?;
        return Ok(exit);
    }
    for problem in &report.problems {
        tell_problem(problem, context);
    }
    let read = format!("{} read ({})", count(statistics.files_read, "file"), units::bytes(statistics.bytes_read));
    if let Some(id) = report.snapshot {
        context.summary(false, &format!("snapshot {}", id.short()))?;
        context.say(&format!(
            "{}, {}; {read}; {} new, {} stored, in {}",
            count(statistics.files, "file"),
            units::bytes(statistics.bytes),
            units::bytes(statistics.bytes_new),
            units::bytes(statistics.bytes_stored),
            progress::left(time),
        ))?;
    } else {
        let would = read.replace(" read ", " would be read ");
        let files = count(statistics.files, "file");
        context.out.line(&format!("{files}, {}; {would}", units::bytes(statistics.bytes)))?;
    }
    say_databases(report, context)?;
    context.out.flush()?;
    warn_of(report, source, context);
    Ok(exit)
}

fn databases(report: &BackupReport) -> Vec<DatabaseDocument> {
    let document = |(path, how): &(TreePath, How)| {
        let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
        DatabaseDocument { path, how: how.name() }
    };
    report.databases.iter().map(document).collect()
}

/// How many databases were captured; those that were not are problems and told as such.
fn say_databases(report: &BackupReport, context: &mut Context) -> Result<(), Failure> {
    let captured = report.databases.iter().filter(|(_, how)| how.is_capture()).count();
    if captured == 0 {
        return Ok(());
    }
    context.say(&format!("{} captured whole, without their journals", count(captured as u64, "database")))
}

fn broken_packs(report: &BackupReport) -> Vec<String> {
    report.broken_packs.iter().map(|pack| layout::pack(pack).to_string()).collect()
}

/// A snapshot of everything, which holds something and rests on nothing damaged.
fn is_whole(report: &BackupReport) -> bool {
    report.record.statistics.problems == 0 && report.broken_packs.is_empty() && report.emptied().is_none()
}

fn tell_problem(problem: &Problem, context: &Context) {
    // In one line: the words of a server or webhook are among the causes, and must not look like another problem.
    let text = escape(format!("{problem}: {}", causes_of(problem)).as_bytes());
    match problem.severity {
        Severity::Problem => context.talk.warn(&text),
        Severity::Note if matches!(problem.cause, Cause::Repository | Cause::Identity | Cause::WriterKey) => {
            context.talk.warn(&text);
        }
        Severity::Note => context.talk.say(&format!("note: {text}")),
    }
}

/// Warns of what makes a snapshot less than whole.
fn warn_of(report: &BackupReport, source: &str, context: &Context) {
    let statistics = report.record.statistics;
    if let Some(before) = report.emptied() {
        context.talk.warn(&format!(
            "NOTHING WAS BACKED UP: {} holds {} ({}) now, and an earlier snapshot held {} ({}).\n  \
             Is the source mounted, and did what writes it succeed? The earlier snapshot is still there, and `forget` keeps it.",
            escape(source.as_bytes()),
            count(statistics.files, "file"),
            units::bytes(statistics.bytes),
            count(before.files, "file"),
            units::bytes(before.bytes),
        ));
    }
    if statistics.problems > 0 {
        context
            .talk
            .warn(&format!("{} with problems; everything else is in the snapshot", count(statistics.problems, "file")));
    }
    open::warn_of_gaps(context, &report.missing);
    for pack in &report.broken_packs {
        context.talk.warn(&format!("{} is damaged; nothing of this snapshot rests on it", layout::pack(pack)));
    }
    if !report.broken_packs.is_empty() {
        context.talk.warn(
            "earlier snapshots may lack what is in it: `homelab-dr check --read-data --mark-damaged` says what, and takes it out of use",
        );
    }
}

fn causes_of(problem: &Problem) -> String {
    causes(problem).join(": ")
}

fn problem_document(problem: &Problem) -> ProblemDocument {
    ProblemDocument {
        path: String::from_utf8_lossy(problem.path.as_bytes()).into_owned(),
        message: format!("{problem}: {}", causes_of(problem)),
        severity: problem.severity,
    }
}
