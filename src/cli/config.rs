//! `config`: is the configuration right, what does it say, and its schema.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::configuration;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::count;
use crate::config;
use crate::language::Finding;

const CHECK_EXAMPLES: &str = "\
Examples:
  homelab-dr config check
  homelab-dr config check ./homelab-dr.yaml

Only the file is looked at: no repository is opened, no source read. Exit code 2 if it is wrong.";

const SHOW_EXAMPLES: &str = "\
Examples:
  homelab-dr config show
  homelab-dr config show --config ./homelab-dr.yaml --json

What it prints is a configuration again, with every default written out. Words that look like
passwords are not shown.";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  homelab-dr config schema > homelab-dr.schema.json

An editor that understands YAML shows fields and mistakes with it; the first line of the file
then is `# yaml-language-server: $schema=homelab-dr.schema.json`.";

/// The configuration, homelab-dr.yaml: check it, show it, print its schema
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Check(CheckArgs),
    Show(ShowArgs),
    Schema(SchemaArgs),
}

/// Say everything that is wrong with a configuration, with line and column
#[derive(Debug, clap::Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct CheckArgs {
    /// The file; else the one that every command would use
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Show what was understood, defaults filled in
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowArgs {}

/// Print the JSON Schema of the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = SCHEMA_EXAMPLES)]
pub(crate) struct SchemaArgs {}

#[derive(Serialize)]
struct CheckDocument<'a> {
    file: String,
    errors: u64,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct ShowDocument {
    file: String,
    config: serde_json::Value,
}

pub(crate) fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::Check(args) => check(args.file, context),
        Command::Show(ShowArgs {}) => show(context),
        Command::Schema(SchemaArgs {}) => {
            context.out.line(&format!("{:#}", config::schema()))?;
            Ok(Exit::Done)
        }
    }
}

/// The file that was given, or the one that every command would use.
fn file(given: Option<PathBuf>, context: &Context) -> Result<PathBuf, Failure> {
    match given {
        Some(file) => Ok(file),
        None => {
            configuration::find(&context.globals)?.ok_or_else(|| configuration::needed("no file was given", "FILE"))
        }
    }
}

fn check(given: Option<PathBuf>, context: &mut Context) -> Result<Exit, Failure> {
    let path = file(given, context)?;
    let read = configuration::read(&path)?;
    let errors = configuration::errors(&read.findings);
    let exit = if errors > 0 { Exit::Usage } else { Exit::Done };
    if context.out.json {
        let document = CheckDocument { file: path.display().to_string(), errors, findings: &read.findings };
        context.out.document(&document)?;
        return Ok(exit);
    }
    if !read.findings.is_empty() {
        context.out.line(&configuration::shown(&read.findings, &path))?;
    }
    context.out.line(&match &read.config {
        Some(config) => format!(
            "{} is right: {}, {}",
            path.display(),
            if config.repositories.len() == 1 {
                "1 repository".to_owned()
            } else {
                format!("{} repositories", config.repositories.len())
            },
            count(config.sources.len() as u64, "source")
        ),
        None => format!("{} has {}", path.display(), count(errors, "error")),
    })?;
    Ok(exit)
}

fn show(context: &mut Context) -> Result<Exit, Failure> {
    let path = file(None, context)?;
    let loaded = configuration::load(path)?;
    if context.out.json {
        let document = ShowDocument { file: loaded.path.display().to_string(), config: loaded.config.json() };
        context.out.document(&document)?;
    } else {
        context.out.line(&format!("# {}", loaded.path.display()))?;
        context.out.bytes(loaded.config.yaml().as_bytes())?;
    }
    Ok(Exit::Done)
}
