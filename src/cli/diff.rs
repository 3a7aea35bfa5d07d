//! `diff`: what changed between two snapshots.

use serde::Serialize;

use crate::base::units;
use crate::cli::context::Context;
use crate::cli::entry_line::{self, EntryDocument, kind_name};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::select;
use crate::format::entry::{Entry, Kind};
use crate::repo::tree_diff::{Change, Diff};

const EXAMPLES: &str = "\
Examples:
  homelab-dr diff 2026-11-01 latest
  homelab-dr diff 3f9a2c41 77b0e1d2 --json | jq -r 'select(.change==\"removed\").path'

+ is new in TO, - is only in FROM, M is another content, m only another mode, owner, time or
attribute.";

/// Show what changed from one snapshot to another
///
/// With --json each change is a line of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[arg(value_name = "FROM", help = select::SNAPSHOT_HELP)]
    from: String,
    /// The snapshot to compare it with, named in the same ways
    #[arg(value_name = "TO")]
    to: String,
}

#[derive(Serialize)]
struct Document {
    change: &'static str,
    #[serde(flatten)]
    entry: EntryDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<EntryDocument>,
}

#[derive(Default)]
struct Summary {
    added: u64,
    removed: u64,
    changed: u64,
    metadata: u64,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = open::repository(context, Access::Read).await?;
    let chain = open::chain(context, &repository).await?;
    let from = select::snapshot(context, &chain, &args.from)?.record.root;
    let to = select::snapshot(context, &chain, &args.to)?.record.root;
    let reader = open::reader(context, &repository).await?;
    let mut summary = Summary::default();
    let mut diff = Diff::open(&reader, from, to).await?;
    while let Some(change) = diff.next().await? {
        if matches!(&change, Change::Changed(a, b) if is_only_stored_anew(a, b)) {
            continue;
        }
        print(&change, &mut summary, context)?;
    }
    context.say(&format!(
        "{} added, {} removed, {} changed, {} with other metadata only",
        summary.added, summary.removed, summary.changed, summary.metadata
    ))?;
    Ok(Exit::Done)
}

/// Small files share chunks: one is stored anew when its neighbour changes. Then nothing else differs, the inode's own times included.
fn is_only_stored_anew(a: &Entry, b: &Entry) -> bool {
    let times = |entry: &Entry| entry.identity.map(|identity| (identity.inode, identity.ctime));
    let size = |entry: &Entry| entry_line::size(entry);
    let other = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.mtime);
    size(a).is_some()
        && size(a) == size(b)
        && a.identity.is_some()
        && times(a) == times(b)
        && other(a) == other(b)
        && a.xattrs == b.xattrs
}

/// Whether the bytes, the target of a link or the kind differ.
fn content_differs(a: &Entry, b: &Entry) -> bool {
    a.kind != b.kind
}

fn print(change: &Change, summary: &mut Summary, context: &mut Context) -> Result<(), Failure> {
    let (sign, word, entry, before) = match change {
        Change::Added(entry) => ('+', "added", entry, None),
        Change::Removed(entry) => ('-', "removed", entry, None),
        Change::Changed(a, b) if content_differs(a, b) => ('M', "changed", b, Some(a)),
        Change::Changed(a, b) => ('m', "metadata", b, Some(a)),
    };
    match sign {
        '+' => summary.added += 1,
        '-' => summary.removed += 1,
        'M' => summary.changed += 1,
        _ => summary.metadata += 1,
    }
    if context.out.json {
        let before = before.map(|before| EntryDocument::of(before));
        return context.out.document(&Document { change: word, entry: EntryDocument::of(entry), before });
    }
    let detail = match before {
        None => entry_line::size(entry).map(units::bytes).unwrap_or_default(),
        Some(before) => difference(before, entry),
    };
    let space = if detail.is_empty() { "" } else { "  " };
    context.out.line(&format!("{sign} {}{space}{detail}", entry_line::path(entry)))
}

/// What differs, in words.
fn difference(a: &Entry, b: &Entry) -> String {
    let mut parts = Vec::new();
    match (&a.kind, &b.kind) {
        (Kind::File { size: old, .. }, Kind::File { size: new, .. }) if old != new => {
            parts.push(format!("{} -> {}", units::bytes(*old), units::bytes(*new)));
        }
        (Kind::File { size, .. }, Kind::File { .. }) if a.kind != b.kind => parts.push(units::bytes(*size)),
        (old, new) if kind_name(old) != kind_name(new) => {
            parts.push(format!("{} -> {}", kind_name(old), kind_name(new)));
        }
        _ => {}
    }
    if a.mode != b.mode {
        parts.push(format!("mode {:04o} -> {:04o}", a.mode, b.mode));
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        parts.push(format!("owner {}:{} -> {}:{}", a.uid, a.gid, b.uid, b.gid));
    }
    if a.xattrs != b.xattrs {
        parts.push("attributes".to_owned());
    }
    if parts.is_empty() && a.mtime != b.mtime {
        parts.push("time".to_owned());
    }
    parts.join(", ")
}
