//! What a snapshot lacks that is restored: restoring nothing, or not all, is done quickly and looks like a success.

use crate::cli::context::{Context, local};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::count;
use crate::format::entry::escape;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::whole::Lack;

/// Tells what a snapshot lacks that files are restored of. Where all of it was asked for, not all came.
pub(super) fn warn(
    snapshot: &Snapshot,
    chain: &Chain,
    (exit, is_all): (Exit, bool),
    context: &mut Context,
) -> Result<Exit, Failure> {
    let Some(lack) = chain.lack(snapshot) else { return Ok(exit) };
    context.out.flush()?;
    let source = escape(snapshot.record.source.as_bytes());
    let better = chain.snapshots.iter().find(|one| Some(one.id) == lack.better());
    let better = better.map(|better| {
        let statistics = better.record.statistics;
        let (files, size) = (count(statistics.files, "file"), crate::base::units::bytes(statistics.bytes));
        format!(" ({} of {} holds {files}, {size})", better.id.short(), local(better.record.started))
    });
    let better = better.unwrap_or_default();
    context.talk.warn(&format!("snapshot {} of {source} {}{better}", snapshot.id.short(), lack));
    let counts = is_all || matches!(lack, Lack::Emptied { .. });
    Ok(if counts { exit.graver(Exit::Problems) } else { exit })
}
