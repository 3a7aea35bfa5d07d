//! `keys`: making identities, and who can read a repository.

mod change;
mod drill;
mod list;
mod new;
mod paper;
mod rotate;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// Make keys, and say who can read the repository
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    New(new::Args),
    List(list::Args),
    Add(change::AddArgs),
    Remove(change::RemoveArgs),
    RotateWriter(rotate::Args),
    Drill(drill::Args),
    Paper(paper::Args),
}

pub(crate) async fn run(command: Command, context: &mut Context) -> Result<Exit, Failure> {
    match command {
        Command::New(args) => new::run(&args, context),
        Command::List(args) => list::run(args, context).await,
        Command::Add(args) => change::add(args, context).await,
        Command::Remove(args) => change::remove(args, context).await,
        Command::RotateWriter(args) => rotate::run(args, context).await,
        Command::Drill(args) => drill::run(args, context).await,
        Command::Paper(args) => paper::run(args, context).await,
    }
}
