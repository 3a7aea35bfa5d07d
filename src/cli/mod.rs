//! Layer 7: the command line. The only layer that speaks to people: what happened, on what, why, and what to do.
//!
//! Standard output is the result, standard error is talk. One file a command; the doc comment of its `Args` is its help.

mod again;
mod backup;
mod cat;
mod check;
mod config;
mod configuration;
mod context;
mod demo;
mod diff;
mod drill;
mod entry_line;
mod exit;
mod failure;
mod find;
mod forget;
mod gitops;
mod globals;
mod guard;
mod hints;
mod init;
mod interrupt;
mod journals;
mod key_modes;
mod keys;
mod ls;
mod mover;
mod movers;
mod open;
mod output;
mod parity;
mod patterns;
mod preflight;
mod private_file;
mod progress;
mod prompt;
mod prune;
mod read_file;
mod recipients;
mod recover;
mod release;
mod replicate;
mod report;
mod restore;
mod runbook;
mod select;
mod snapshots;
mod stats;
mod status;
mod tags;
mod verified;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use exit::Exit;

use again::Again;
use context::Context;
use failure::Failure;
use globals::Globals;

/// Threads that drive transfers; the work on bytes has its own.
const RUNTIME_THREADS: usize = 3;

/// Backup and disaster recovery for Kubernetes homelabs: encrypted, deduplicated, verified.
///
/// The machine that makes backups holds a writer key, which cannot read what it wrote. Only an identity (an age or SSH
/// key that you keep elsewhere) can.
#[derive(Debug, Parser)]
#[command(name = "homelab-dr", version, max_term_width = 100, after_long_help = exit::help(), after_help = "`--help` shows examples and exit codes.")]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    #[command(subcommand)]
    Keys(keys::Command),
    Backup(backup::Args),
    Snapshots(snapshots::Args),
    Ls(ls::Args),
    Find(find::Args),
    Cat(cat::Args),
    Diff(diff::Args),
    Restore(Box<restore::Args>),
    Recover(Box<recover::Args>),
    Drill(Box<drill::Args>),
    Drills(drill::list::Args),
    #[command(subcommand)]
    Preflight(preflight::Command),
    Check(check::Args),
    Replicate(replicate::Args),
    Stats(stats::Args),
    Status(status::Args),
    Forget(forget::Args),
    Prune(prune::Args),
    Parity(parity::Args),
    #[command(subcommand)]
    Gitops(gitops::Command),
    Release(release::Args),
    #[command(subcommand)]
    Runbook(runbook::Command),
    #[command(subcommand)]
    Report(report::Command),
    #[command(subcommand)]
    Config(config::Command),
    Demo(demo::Args),
    #[command(hide = true)]
    Mover(mover::Args),
}

impl Command {
    /// Whether it has to do with a repository, which the configuration may name.
    const fn has_repository(&self) -> bool {
        if let Self::Runbook(command) = self {
            return matches!(command, runbook::Command::New(_));
        }
        !matches!(
            self,
            Self::Config(_)
                | Self::Report(_)
                | Self::Demo(_)
                | Self::Gitops(_)
                | Self::Mover(_)
                | Self::Release(_)
                | Self::Keys(keys::Command::New(_))
        )
    }

    /// Whether it stops by itself when it is cancelled; the others change nothing and are dropped where they are.
    const fn stops_by_itself(&self) -> bool {
        match self {
            Self::Gitops(command) => command.stops_by_itself(),
            Self::Init(_)
            | Self::Backup(_)
            | Self::Restore(_)
            | Self::Recover(_)
            | Self::Drill(_)
            | Self::Release(_)
            | Self::Demo(_)
            | Self::Preflight(_)
            | Self::Replicate(_)
            | Self::Mover(_) => true,
            _ => false,
        }
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let parsed = Cli::command().try_get_matches().and_then(|matches| {
        let again = Again::of(&matches);
        Cli::from_arg_matches(&matches).map(|cli| (cli, again))
    });
    let exit = match parsed {
        Ok((cli, again)) => run(cli, again),
        Err(error) => refuse_usage(&error),
    };
    ExitCode::from(exit.code())
}

/// Why a command line is not understood, without running it; arguments that are missing are forgiven, since documents leave them out. For tests.
#[doc(hidden)]
#[must_use]
pub fn refusal(words: &[String]) -> Option<String> {
    use clap::error::ErrorKind;
    let error = Cli::try_parse_from(words).err()?;
    let forgiven = [
        ErrorKind::MissingRequiredArgument,
        ErrorKind::DisplayHelp,
        ErrorKind::DisplayVersion,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    (!forgiven.contains(&error.kind())).then(|| error.to_string())
}

/// Tells what is wrong with the command line, or shows the help that was asked for.
fn refuse_usage(error: &clap::Error) -> Exit {
    use std::io::Write as _;
    let rendered = error.render();
    if !error.use_stderr() {
        let text = if std::io::stdout().is_terminal() { rendered.ansi().to_string() } else { rendered.to_string() };
        let _ = std::io::stdout().write_all(text.as_bytes());
        return Exit::Done;
    }
    // Help that nobody asked for, since nothing was given: it speaks of private keys, and is nobody's.
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = if std::io::stderr().is_terminal() { rendered.ansi().to_string() } else { rendered.to_string() };
        let _ = std::io::stderr().write_all(text.as_bytes());
        return Exit::Usage;
    }
    let json = std::env::args_os().any(|arg| arg == "--json");
    if json || crate::base::secret::holds_secret(&rendered.to_string()) {
        let what = if crate::base::secret::holds_secret(&rendered.to_string()) {
            "a secret was given on the command line, where it does not belong; it is not repeated here".to_owned()
        } else {
            rendered.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        };
        let failure = Failure::usage(what, "`homelab-dr COMMAND --help` shows how it is written");
        output::tell(
            &failure,
            &mut output::Out::new(json),
            &output::Talk::new(false, output::Color::Auto, Again::default()),
        );
        return Exit::Usage;
    }
    let text = if std::io::stderr().is_terminal() { rendered.ansi().to_string() } else { rendered.to_string() };
    let _ = std::io::stderr().write_all(text.as_bytes());
    Exit::Usage
}

fn run(cli: Cli, again: Again) -> Exit {
    let Cli { globals, command } = cli;
    let mut context = Context::new(globals, again);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(command, &mut context));
            // A thread that hangs in a dead mount must not keep the program from ending.
            runtime.shutdown_background();
            result
        }
        Err(error) => {
            let help = "the system gives this process no threads: see its limits";
            Err(Failure::because(Exit::Error, "cannot start the runtime", error, help))
        }
    };
    let result = result.and_then(|exit| context.out.flush().map(|()| exit));
    prompt::restore_terminal();
    match result {
        Ok(exit) => exit,
        Err(failure) => {
            output::tell(&failure, &mut context.out, &context.talk);
            failure.exit()
        }
    }
}

async fn dispatch(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    interrupt::watch(context.cancel.clone(), context.talk.clone());
    let cancel = context.cancel.clone();
    if command.stops_by_itself() {
        return run_command(command, context).await;
    }
    tokio::select! {
        result = run_command(command, context) => result,
        () = cancel.cancelled() => Err(Failure::Interrupted),
    }
}

async fn run_command(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    if command.has_repository() {
        configuration::settle(context)?;
    }
    key_modes::look(context);
    match command {
        Command::Init(args) => init::run(args, context).await,
        Command::Keys(command) => keys::run(command, context).await,
        Command::Backup(args) => Box::pin(backup::run(args, context)).await,
        Command::Snapshots(args) => snapshots::run(args, context).await,
        Command::Ls(args) => ls::run(args, context).await,
        Command::Find(args) => find::run(args, context).await,
        Command::Cat(args) => cat::run(args, context).await,
        Command::Diff(args) => diff::run(args, context).await,
        Command::Restore(args) => restore::run(*args, context).await,
        Command::Recover(args) => Box::pin(recover::run(*args, context)).await,
        Command::Drill(args) => Box::pin(drill::run(*args, context)).await,
        Command::Drills(args) => drill::list::run(args, context).await,
        Command::Preflight(command) => preflight::run(command, context).await,
        Command::Check(args) => check::run(args, context).await,
        Command::Replicate(args) => replicate::run(args, context).await,
        Command::Stats(args) => stats::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Forget(args) => forget::run(args, context).await,
        Command::Prune(args) => prune::run(args, context).await,
        Command::Parity(args) => parity::run(args, context).await,
        Command::Gitops(command) => gitops::run(command, context).await,
        Command::Release(args) => release::run(args, context).await,
        Command::Runbook(command) => runbook::run(command, context).await,
        Command::Report(command) => report::run(command, context),
        Command::Config(command) => config::run(command, context),
        Command::Demo(args) => demo::run(args, context).await,
        Command::Mover(args) => mover::run(args, context).await,
    }
}
