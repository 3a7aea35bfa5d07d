//! `ls`: what is in a snapshot.

use std::ffi::OsString;

use crate::cli::context::Context;
use crate::cli::entry_line::{self, EntryDocument};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::select;
use crate::format::entry::{Entry, Kind, TreePath};
use crate::repo::tree_read::{TreeReader, lookup};

const EXAMPLES: &str = "\
Examples:
  homelab-dr ls latest:photos
  homelab-dr ls -l 3f9a2c41:2026/summer
  homelab-dr ls --recursive --json 2026-11-01 | jq -r .path";

/// List the files of a snapshot
///
/// With --json each entry is a line of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(value_name = "SNAPSHOT[:PATH]", help = select::SNAPSHOT_PATH_HELP)]
    snapshot: OsString,
    /// Mode, owner, group, size and time too
    #[arg(long, short)]
    long: bool,
    /// Everything below, not only what lies directly there
    #[arg(long, short = 'R')]
    recursive: bool,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::repository(context, Access::Look).await?;
    let chain = open::chain(context, &repository).await?;
    let (snapshot, within) = select::snapshot_path(context, &chain, &args.snapshot)?;
    let reader = open::reader(context, &repository).await?;
    let within = select::as_printed(&reader, snapshot, within).await?;
    let (root, from) = (snapshot.record.root, within.clone());
    let mut tree = if args.recursive {
        TreeReader::open(reader.clone(), root, from)?
    } else {
        TreeReader::open_shallow(reader.clone(), root, from)?
    };
    let mut found = within == TreePath::root();
    while let Some(entries) = tree.next().await? {
        found = true;
        // A directory lists what is in it, anything else itself.
        for entry in entries.iter().filter(|entry| entry.path != within || entry.kind != Kind::Directory) {
            print(entry, &args, context)?;
        }
    }
    // An empty directory lists nothing.
    if found || lookup(&reader, root, &within).await?.is_some() {
        Ok(Exit::Done)
    } else {
        Err(select::no_such_path(snapshot, &within))
    }
}

fn print(entry: &Entry, args: &Args, context: &mut Context) -> Result<(), Failure> {
    if context.out.json {
        context.out.document(&EntryDocument::of(entry))
    } else if args.long {
        context.out.line(&entry_line::long(entry))
    } else {
        context.out.line(&entry_line::path(entry))
    }
}
