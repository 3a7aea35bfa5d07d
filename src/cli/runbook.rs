//! `runbook`: is a runbook right, what does it say, its schema, and what its checks see.

mod check;
mod new;
mod show;
pub(crate) mod values;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use show::time;

use crate::cli::configuration::{self, JUDGES};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::count;
use crate::language::Finding;
use crate::runbook::{self, Read, Runbook, TEXT_BYTES_MAX};

const LINT_EXAMPLES: &str = "\
Examples:
  homelab-dr runbook lint runbooks/
  homelab-dr runbook lint runbooks/total-loss.md --json

Of a folder every file that ends in .md is looked at, but for README.md. Only the files are looked at:
no repository is opened and no cluster asked. Exit code 2 if one is wrong, 0 with warnings alone.";

const SHOW_EXAMPLES: &str = "\
Examples:
  homelab-dr runbook show runbooks/total-loss.md
  homelab-dr runbook show runbooks/total-loss.md --json

Variables are shown as they are written. `homelab-dr recover` carries a runbook out.";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  homelab-dr runbook schema > runbook.schema.json

It describes what `runbook show --json` prints: the front matter and the steps of a runbook.";

/// Recovery as a document: propose a runbook, lint and show them, carry out checks, print their schema
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Lint(LintArgs),
    New(new::NewArgs),
    Show(ShowArgs),
    Check(check::CheckArgs),
    Schema(SchemaArgs),
}

/// Say everything that is wrong with runbooks, with line and column
#[derive(Debug, clap::Args)]
#[command(after_help = LINT_EXAMPLES)]
pub(crate) struct LintArgs {
    /// Files, or folders of them
    #[arg(value_name = "FILE|DIR", required = true)]
    paths: Vec<PathBuf>,
}

/// Show a runbook: objectives, parameters, the order of its steps, and every step with its prose
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Print the JSON Schema of front matter, steps and checks
#[derive(Debug, clap::Args)]
#[command(after_help = SCHEMA_EXAMPLES)]
pub(crate) struct SchemaArgs {}

#[derive(Serialize)]
struct FileDocument {
    file: String,
    errors: u64,
    warnings: u64,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct LintDocument {
    errors: u64,
    warnings: u64,
    files: Vec<FileDocument>,
}

pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Lint(args) => lint(&args.paths, context),
        Command::Show(args) => show(&args.file, context),
        Command::New(args) => new::run(&args, context).await,
        Command::Check(args) => check::run(&args, context).await,
        Command::Schema(SchemaArgs {}) => {
            context.out.line(&format!("{:#}", runbook::schema()))?;
            Ok(Exit::Done)
        }
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    let what = format!("cannot read {}", path.display());
    Failure::because(Exit::Usage, what, error, "see the path and the file's mode")
}

/// The runbooks of a folder, by name.
fn within(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|error| unreadable(dir, error))? {
        let path = entry.map_err(|error| unreadable(dir, error))?.path();
        let is_readme = path.file_name().is_some_and(|name| name.eq_ignore_ascii_case("readme.md"));
        if path.extension().is_some_and(|extension| extension == "md") && !is_readme && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        let what = format!("{} has no runbook", dir.display());
        return Err(Failure::usage(
            what,
            "runbooks end in .md, and README.md is none; name the folder that they lie in",
        ));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Read, Failure> {
    Ok(runbook::read(&bytes_of(path)?, &JUDGES))
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let limit = TEXT_BYTES_MAX as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, error))?;
    Ok(bytes)
}

fn lint(paths: &[PathBuf], context: &mut Context) -> Result<Exit, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() { files.extend(within(path)?) } else { files.push(path.clone()) }
    }
    let mut document = LintDocument { errors: 0, warnings: 0, files: Vec::new() };
    for path in &files {
        let Read { findings, .. } = read(path)?;
        let errors = configuration::errors(&findings);
        let warnings = findings.len() as u64 - errors;
        document.errors += errors;
        document.warnings += warnings;
        if !context.out.json && !findings.is_empty() {
            context.out.line(&configuration::shown(&findings, path))?;
        }
        document.files.push(FileDocument { file: path.display().to_string(), errors, warnings, findings });
    }
    let exit = if document.errors > 0 { Exit::Usage } else { Exit::Done };
    if context.out.json {
        context.out.document(&document)?;
    } else {
        let looked = count(files.len() as u64, "runbook");
        context.out.line(&format!(
            "{looked}: {}, {}",
            count(document.errors, "error"),
            count(document.warnings, "warning")
        ))?;
    }
    Ok(exit)
}

/// Reads a runbook that has to be right. Warnings are for `runbook lint`.
fn load(path: &Path) -> Result<Runbook, Failure> {
    judged(path, read(path)?)
}

/// The same, and its text.
pub(crate) fn load_with_text(path: &Path) -> Result<(Runbook, String), Failure> {
    let bytes = bytes_of(path)?;
    let runbook = judged(path, runbook::read(&bytes, &JUDGES))?;
    Ok((runbook, String::from_utf8_lossy(&bytes).into_owned()))
}

/// The prose of one step, for a terminal.
pub(crate) fn prose(runbook: &Runbook, id: &str) -> Vec<String> {
    show::prose(runbook, id, show::width())
}

fn judged(path: &Path, Read { runbook, findings, .. }: Read) -> Result<Runbook, Failure> {
    runbook.ok_or_else(|| {
        Failure::because(
            Exit::Usage,
            format!("the runbook {} has {}", path.display(), count(configuration::errors(&findings), "error")),
            configuration::Findings(configuration::shown(&findings, path)),
            "`homelab-dr runbook lint` shows them again",
        )
    })
}

fn show(path: &Path, context: &mut Context) -> Result<Exit, Failure> {
    let mut read = read(path)?;
    // It is right to be read by who needs it now, whatever it promises.
    if let Some(overdue) = read.overdue.take() {
        context.talk.warn(&configuration::shown(&read.findings, path));
        read = Read { runbook: Some(overdue), overdue: None, findings: Vec::new() };
    }
    let runbook = judged(path, read)?;
    if context.out.json {
        context.out.document(&runbook.json())?;
        return Ok(Exit::Done);
    }
    let Ok(steps) = runbook.sampled(&JUDGES) else {
        let help = "this is a bug in homelab-dr: please report it with the file";
        return Err(Failure::new(Exit::Error, "the runbook was right and is not any more", help));
    };
    for line in show::lines(&runbook, &steps, show::width()) {
        context.out.line(&line)?;
    }
    Ok(Exit::Done)
}
