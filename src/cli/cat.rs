//! `cat`: one file of a snapshot to standard output.

use std::ffi::OsString;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::cli::context::Context;
use crate::cli::entry_line::kind_name;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::select;
use crate::format::entry::{Content, Entry, Kind, Piece, TreePath, escape};
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::snapshots::Snapshot;
use crate::repo::tree_read::{lookup, part_of, pieces};

const EXAMPLES: &str = "\
Examples:
  homelab-dr cat latest:/etc/config.yaml --identity ~/homelab-dr.key
  homelab-dr cat latest:postgres:dump.sql --identity ~/homelab-dr.key | psql";

/// Chunks fetched ahead; one has a few MiB at most.
const CHUNKS_AHEAD: usize = 4;
/// Zeros written at once for a hole.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Write a file of a snapshot to standard output (needs an identity)
///
/// Every byte was checked before it is written. If a part is damaged the output ends before it, with exit code 4.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(value_name = "SNAPSHOT:PATH", help = select::SNAPSHOT_PATH_HELP)]
    snapshot: OsString,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    if context.out.json {
        return Err(Failure::usage(
            "cat writes the file itself, not JSON",
            "leave out --json; `ls --json` describes a file",
        ));
    }
    let repository = open::with_identity(context, Access::Look).await?;
    let chain = open::chain(context, &repository).await?;
    let (snapshot, path) = select::snapshot_path(context, &chain, &args.snapshot)?;
    let reader = open::reader(context, &repository).await?;
    let path = select::as_printed(&reader, snapshot, path).await?;
    let (stored, size) = file(&reader, snapshot, &path).await?;
    let all = pieces(&reader, &stored, size).await?;
    let reader = &*reader;
    let mut parts = stream::iter(all)
        .map(|piece| async move {
            let chunk = match piece {
                Piece::Data { blob, .. } => Some(reader.data(&blob).await?),
                Piece::Hole { .. } => None,
            };
            Ok::<_, RepoError>((piece, chunk))
        })
        .buffered(CHUNKS_AHEAD);
    while let Some((piece, chunk)) = parts.try_next().await? {
        match (piece, chunk) {
            (Piece::Data { skip, length, .. }, Some(chunk)) => {
                context.out.bytes(part_of(&chunk, skip, length, || path.display())?)?;
            }
            (piece, _) => hole(context, piece.length())?,
        }
    }
    context.out.flush()?;
    Ok(Exit::Done)
}

fn hole(context: &mut Context, mut left: u64) -> Result<(), Failure> {
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len());
        context.out.bytes(ZEROS.get(..length).unwrap_or_default())?;
        left -= length as u64;
    }
    Ok(())
}

/// The content of a regular file, under whichever of its names it was asked for.
async fn file(reader: &Reader, snapshot: &Snapshot, path: &TreePath) -> Result<(Content, u64), Failure> {
    let root = snapshot.record.root;
    let mut entry = find(reader, snapshot, path).await?;
    if let Kind::HardLink { target } = &entry.kind
        && let Some(first) = lookup(reader, root, target).await?
    {
        entry = first;
    }
    match entry.kind {
        Kind::File { size, content } => Ok((content, size)),
        Kind::Symlink { target } => Err(Failure::usage(
            format!("{} is a symbolic link to {}", path.display(), escape(&target)),
            "name the file itself",
        )),
        kind => Err(Failure::usage(
            format!(
                "{} in snapshot {} is a {} and no file",
                if path.as_bytes().is_empty() { "the top".to_owned() } else { path.display() },
                snapshot.id.short(),
                kind_name(&kind)
            ),
            "name a file: `homelab-dr ls SNAPSHOT:PATH` shows what there is",
        )),
    }
}

async fn find(reader: &Reader, snapshot: &Snapshot, path: &TreePath) -> Result<Entry, Failure> {
    lookup(reader, snapshot.record.root, path).await?.ok_or_else(|| select::no_such_path(snapshot, path))
}
