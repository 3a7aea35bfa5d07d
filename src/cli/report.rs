//! `report`: what a run came to, as a signed document; whether such a document is as it was written; the runs of this machine.

mod verify;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::clock::Time;
use crate::base::id::is_run;
use crate::cli::configuration::JUDGES;
use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{count, table};
use crate::cli::{journals, private_file};
use crate::format::entry::escape;
use crate::report::{self, Document, Stand, Standing, key_file};
use crate::runs::journal::Journal;

const SHOW_EXAMPLES: &str = "\
Examples:
  homelab-dr report show 5f0c1d2e
  homelab-dr report show 5f0c1d2e --format html --out report.html
  homelab-dr report show 5f0c1d2e --format json | jq .report.objectives

Text is for a terminal, Markdown to be kept beside other notes; HTML is one page that needs nothing
else and has the JSON in it; JSON is the whole for programs, as with --json. All but the text is
signed with the report key of this machine, which is made on first use and lies beside the journals.
The same journal always gives the same report. What looks like a password is left out; host names,
accounts and what programs printed are not.";

const LIST_EXAMPLES: &str = "\
Examples:
  homelab-dr report list
  homelab-dr report list --json

Also shows the public key of this machine's reports: keep it where the machine cannot change it.";

/// What a run of a runbook came to: reports, signed; verify one; list the runs of this machine
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Show(ShowArgs),
    Verify(verify::Args),
    List(ListArgs),
}

#[derive(Debug, clap::Args)]
struct JournalsArgs {
    /// Where journals of runs are kept [default: ~/.local/state/homelab-dr/runs]
    #[arg(long, value_name = "DIR", env = "HOMELAB_DR_RUNS", hide_env_values = true)]
    journals: Option<PathBuf>,
}

impl JournalsArgs {
    fn folder(&self) -> Result<PathBuf, Failure> {
        journals::folder(self.journals.as_deref())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Markdown,
    Html,
    Json,
}

/// Show the report of a run, or write it into a file
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {
    /// The run, as `recover` named it
    #[arg(value_name = "RUN")]
    run: String,
    /// Its form: text, markdown, html or json [default: text]
    #[arg(long, value_name = "FORMAT", value_enum, hide_possible_values = true)]
    format: Option<Format>,
    /// Into a file that is not there yet, of mode 0600
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    journals: JournalsArgs,
}

/// List the runs of this machine: which runbook, when, and what each came to
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    journals: JournalsArgs,
}

pub(crate) fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Show(args) => show(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::List(args) => list(&args, context),
    }
}

/// Says, at the end of a run, how its report is had.
pub(crate) fn point(run: &str, dir: &Path, context: &mut Context) -> Result<(), Failure> {
    if context.out.json {
        return Ok(());
    }
    let option = journals::option(dir);
    context.summary(false, &format!("report: homelab-dr report show {run}{option} --format html --out report.html"))
}

fn show(args: &ShowArgs, context: &mut Context) -> Result<Exit, Failure> {
    let dir = args.journals.folder()?;
    if let Some(file) = &args.out {
        private_file::refuse_existing(file, "the report")?;
    }
    let found = Journal::look(&dir, &args.run)?;
    let (runbook, steps) = found.plan.steps(&JUDGES)?;
    let key = key_file::ensure(&dir)?;
    let mut document =
        Document::of(&found, (&runbook, &steps), &key.public(), || Journal::is_carried_out(&dir, &args.run))?;
    if !journals::option(&dir).is_empty() {
        document.place = journals::option(&std::path::absolute(&dir).unwrap_or(dir));
    }
    let signed = report::sign(&document, &key)
        .map_err(|error| Failure::because(Exit::Error, "the report cannot be written as JSON", error, "report it"))?;
    let format = match args.format {
        None if context.out.json => Format::Json,
        Some(format) if format != Format::Json && context.out.json => {
            return Err(Failure::usage("--json is the form json, and another one was given", "leave one of them out"));
        }
        format => format.unwrap_or(Format::Text),
    };
    let text = match format {
        Format::Text => report::text(&document).join("\n") + "\n",
        Format::Markdown => report::markdown(&document, &signed, &key),
        Format::Html => report::html(&document, &signed, &key),
        Format::Json => signed.json(),
    };
    match &args.out {
        Some(file) => {
            private_file::create(file, &text, "the report")?;
            let said = format!("the report of run {} is in {}", args.run, file.display());
            context.say(&said)?;
        }
        None => context.out.bytes(text.as_bytes())?,
    }
    Ok(Exit::Done)
}

/// A run of this machine.
#[derive(Serialize)]
struct Listed {
    run: String,
    runbook: String,
    title: String,
    planned: String,
    standing: Standing,
    /// It was a recovery into a throw-away target.
    drill: bool,
    /// Steps that were left out, as asked.
    left_out: u64,
}

#[derive(Serialize)]
struct Unread {
    run: String,
    why: String,
}

#[derive(Serialize)]
struct ListDocument {
    key: Option<String>,
    runs: Vec<Listed>,
    problems: Vec<Unread>,
}

fn listed(dir: &Path, run: &str) -> Result<Listed, Box<dyn std::error::Error>> {
    let found = Journal::look(dir, run)?;
    let stand = Stand::of(&found.records, || Journal::is_carried_out(dir, run))?;
    let left_out = found.plan.skipped.len() as u64;
    let (runbook, planned, drill) = (found.plan.runbook, found.plan.made, found.plan.drill.is_some());
    let (run, standing) = (run.to_owned(), stand.standing);
    Ok(Listed { run, runbook: runbook.id, title: runbook.title, planned, standing, drill, left_out })
}

/// The names of everything in the folder that can be a run.
fn names(dir: &Path) -> Result<Vec<String>, Failure> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let what = format!("cannot list the journals in {}", dir.display());
            return Err(Failure::because(
                Exit::Usage,
                what,
                error,
                "see the folder's mode; --journals DIR names another",
            ));
        }
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_run(name)).collect();
    names.sort();
    Ok(names)
}

fn list(args: &ListArgs, context: &mut Context) -> Result<Exit, Failure> {
    let dir = args.journals.folder()?;
    let key = key_file::existing(&dir)?.map(|key| key.public().to_string());
    let mut document = ListDocument { key, runs: Vec::new(), problems: Vec::new() };
    for run in names(&dir)? {
        match listed(&dir, &run) {
            Ok(one) => document.runs.push(one),
            Err(error) => document.problems.push(Unread { run, why: in_one_line(&*error) }),
        }
    }
    document.runs.sort_by(|a, b| a.planned.cmp(&b.planned));
    let exit = if document.problems.is_empty() { Exit::Done } else { Exit::Problems };
    if context.out.json {
        context.out.document(&document)?;
        return Ok(exit);
    }
    let when = |text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text);
        time.map_or_else(|_| escape(text.as_bytes()), |time| local(Time(time.timestamp_millis())))
    };
    let row = |one: &Listed| {
        vec![
            one.run.clone(),
            when(&one.planned),
            format!("{}{}", if one.drill { "Drill: " } else { "" }, report::came_to(one.standing, one.left_out)),
            format!("{} ({})", escape(one.title.as_bytes()), escape(one.runbook.as_bytes())),
        ]
    };
    if document.runs.is_empty() && document.problems.is_empty() {
        context.summary(false, &format!("no run has left a journal in {}", dir.display()))?;
    } else {
        let rows: Vec<Vec<String>> = document.runs.iter().map(row).collect();
        for line in table(&["RUN", "PLANNED", "CAME TO", "RUNBOOK"], &rows, &[]) {
            context.out.line(&line)?;
        }
    }
    if let Some(key) = &document.key {
        context.summary(false, &format!("reports of this machine are signed with {key}"))?;
    }
    for Unread { run, why } in &document.problems {
        context.talk.warn(&format!("run {run}: {why}"));
    }
    if !document.problems.is_empty() {
        context.talk.warn(&format!("{} cannot be read", count(document.problems.len() as u64, "journal")));
    }
    Ok(exit)
}
