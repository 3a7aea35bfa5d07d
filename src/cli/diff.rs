//! `diff`: what changed between two snapshots.

mod text;

use serde::Serialize;

use crate::base::units;
use crate::base::when::Selector;
use crate::chunker::SMALL_BYTES;
use crate::cli::context::Context;
use crate::cli::entry_line::{self, EntryDocument, kind_name};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::output::quoted;
use crate::cli::select;
use crate::format::entry::{Content as Stored, Entry, Kind, Piece, escape};
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::tree_diff::{Change, Diff};
use crate::repo::tree_read::whole;

use text::{Difference, TEXT_BYTES_MAX};

const EXAMPLES: &str = "\
Examples:
  homelab-dr diff 2026-11-01 latest --source cluster
  homelab-dr diff 2026-11-01 latest --source cluster --text --identity ~/homelab-dr.key
  homelab-dr diff 3f9a2c41 77b0e1d2 --json | jq -r 'select(.change==\"removed\").path'

+ is new in TO, - is only in FROM, M is another content, m only another mode, owner, time or
attribute. ~ was written to or touched, has the same length and was stored anew: small files share
chunks, and the writer key cannot tell whether the bytes are the same. With an identity they are
compared, and there is no ~. With --text the lines that changed are shown as well; of the manifests
of a cluster without status and bookkeeping.";

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
    /// Only snapshots of this source: what `latest` and times mean then
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Show what changed in text files, line by line (needs an identity)
    #[arg(long)]
    text: bool,
}

#[derive(Serialize)]
struct Document {
    change: &'static str,
    #[serde(flatten)]
    entry: EntryDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<EntryDocument>,
    /// With `--text`: the lines that changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Default)]
struct Summary {
    added: u64,
    removed: u64,
    changed: u64,
    touched: u64,
    metadata: u64,
}

/// What is known of the content of two entries of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Same,
    Other,
    /// Of one length, in chunks that other files are in too.
    Unknown,
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let repository = if !args.text && context.globals.identity_texts()?.is_empty() {
        open::repository(context, Access::Look).await?
    } else {
        open::with_identity(context, Access::Look).await?
    };
    let mut chain = open::chain(context, &repository).await?;
    if let Some(source) = &args.source {
        only(source, &mut chain)?;
    }
    let (from, to) = (select::snapshot(context, &chain, &args.from)?, select::snapshot(context, &chain, &args.to)?);
    refuse_two_sources((&args.from, from), (&args.to, to), context)?;
    let (from, to) = (from.record.root, to.record.root);
    let reader = open::reader(context, &repository).await?;
    let mut summary = Summary::default();
    let mut diff = Diff::open(&reader, from, to).await?;
    while let Some(change) = diff.next().await? {
        let known = match &change {
            Change::Changed(a, b) => match content(a, b) {
                Content::Unknown if repository.has_identity() => compare(&reader, a, b).await,
                other => other,
            },
            Change::Added(_) | Change::Removed(_) => Content::Other,
        };
        if !matches!(&change, Change::Changed(a, b) if known == Content::Same && metadata_is_same(a, b)) {
            let text = match &change {
                Change::Changed(a, b) if args.text && known == Content::Other => changed_text(&reader, a, b).await?,
                _ => None,
            };
            print(&change, known, text, &mut summary, context)?;
        }
    }
    let touched = match summary.touched {
        0 => String::new(),
        touched => format!(", {touched} touched (~: an --identity tells whether their content changed)"),
    };
    context.say(&format!(
        "{} added, {} removed, {} changed, {} with other metadata only{touched}",
        summary.added, summary.removed, summary.changed, summary.metadata
    ))?;
    Ok(Exit::Done)
}

fn only(source: &str, chain: &mut Chain) -> Result<(), Failure> {
    chain.snapshots.retain(|snapshot| snapshot.record.source == source);
    if chain.snapshots.is_empty() {
        let what = format!("there is no snapshot of {}", escape(source.as_bytes()));
        return Err(Failure::usage(what, "`homelab-dr snapshots` shows the sources that there are"));
    }
    Ok(())
}

/// `latest` and times mean the newest of all sources: two of them can be of two, of which everything would be told as removed and everything as added. Who names a
/// snapshot or a source means it.
fn refuse_two_sources(
    (from_text, from): (&str, &Snapshot),
    (to_text, to): (&str, &Snapshot),
    context: &Context,
) -> Result<(), Failure> {
    let (from, to) = (&from.record.source, &to.record.source);
    let names_it = |text: &str| {
        let parsed = Selector::parse(text, context.zone());
        matches!(parsed, Ok(Selector::Id(_) | Selector::Latest { source: Some(_) }))
    };
    if from == to || (names_it(from_text) && names_it(to_text)) {
        return Ok(());
    }
    let [from, to] = [from, to].map(|source| escape(source.as_bytes()));
    let what = format!("{from_text} means a snapshot of {from}, and {to_text} of {to}: two sources are not compared");
    let help = format!("say which source is meant: --source {}, or --source {}", quoted(&from), quoted(&to));
    Err(Failure::usage(what, help))
}

fn metadata_is_same(a: &Entry, b: &Entry) -> bool {
    let of = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.mtime);
    of(a) == of(b) && a.xattrs == b.xattrs
}

/// What the trees alone say. Pieces name chunks by a hash of their bytes: a file with chunks of its own has others only if its bytes are others.
/// A small file lies in a chunk with its neighbours, and is stored anew when one of them changes.
fn content(a: &Entry, b: &Entry) -> Content {
    let (Kind::File { size: old, content: before }, Kind::File { size: new, content: after }) = (&a.kind, &b.kind)
    else {
        return if a.kind == b.kind { Content::Same } else { Content::Other };
    };
    let inode = |entry: &Entry| entry.identity.map(|identity| (identity.inode, identity.ctime));
    if before == after {
        Content::Same
    } else if old != new {
        Content::Other
    } else if inode(a).is_some() && inode(a) == inode(b) && a.mtime == b.mtime {
        Content::Same // nobody wrote to it
    } else if may_share(*old, before) || may_share(*new, after) {
        Content::Unknown
    } else {
        Content::Other
    }
}

/// Whether a file of this size may lie in a chunk with others: such a one is in a single chunk.
fn may_share(size: u64, content: &Stored) -> bool {
    let Stored::Inline(pieces) = content else { return false };
    let mut blobs = pieces.iter().filter_map(|piece| match piece {
        Piece::Data { blob, .. } => Some(blob),
        Piece::Hole { .. } => None,
    });
    let first = blobs.next();
    // One that grows after the walk is taken into a chunk of many up to this size.
    size <= 4 * SMALL_BYTES && first.is_some() && blobs.all(|blob| Some(blob) == first)
}

/// Reads both. What cannot be read is not known, and `check` is who tells of damage.
async fn compare(reader: &Reader, a: &Entry, b: &Entry) -> Content {
    match (bytes_of(reader, a).await, bytes_of(reader, b).await) {
        (Ok(a), Ok(b)) if a == b => Content::Same,
        (Ok(_), Ok(_)) => Content::Other,
        _ => Content::Unknown,
    }
}

/// How the text of a file differs; `None` for what is no file, or too long.
async fn changed_text(reader: &Reader, a: &Entry, b: &Entry) -> Result<Option<Difference>, Failure> {
    let fits = |entry: &Entry| matches!(entry.kind, Kind::File { size, .. } if size <= TEXT_BYTES_MAX);
    if !fits(a) || !fits(b) {
        return Ok(None);
    }
    Ok(Some(text::compare(&b.path, &bytes_of(reader, a).await?, &bytes_of(reader, b).await?)))
}

/// The bytes of a file that [`may_share`], or of [`TEXT_BYTES_MAX`] at most.
async fn bytes_of(reader: &Reader, entry: &Entry) -> Result<Vec<u8>, RepoError> {
    match &entry.kind {
        Kind::File { size, content } => whole(reader, &entry.path, content, *size).await,
        _ => Ok(Vec::new()),
    }
}

fn print(
    change: &Change,
    known: Content,
    text: Option<Difference>,
    summary: &mut Summary,
    context: &mut Context,
) -> Result<(), Failure> {
    let (sign, word, entry, before) = match change {
        Change::Added(entry) => ('+', "added", entry, None),
        Change::Removed(entry) => ('-', "removed", entry, None),
        Change::Changed(a, b) if known == Content::Other => ('M', "changed", b, Some(a)),
        Change::Changed(a, b) if known == Content::Unknown => ('~', "touched", b, Some(a)),
        Change::Changed(a, b) => ('m', "metadata", b, Some(a)),
    };
    match sign {
        '+' => summary.added += 1,
        '-' => summary.removed += 1,
        'M' => summary.changed += 1,
        '~' => summary.touched += 1,
        _ => summary.metadata += 1,
    }
    if context.out.json {
        let before = before.map(|before| EntryDocument::of(before));
        let text = text.and_then(|text| if let Difference::Lines(lines) = text { Some(lines) } else { None });
        return context.out.document(&Document { change: word, entry: EntryDocument::of(entry), before, text });
    }
    let mut detail = match before {
        None => entry_line::size(entry).map(units::bytes).unwrap_or_default(),
        Some(before) => difference(before, entry, known),
    };
    if text == Some(Difference::Bookkeeping) {
        detail.push_str(", its status or bookkeeping only");
    }
    let space = if detail.is_empty() { "" } else { "  " };
    context.out.line(&format!("{sign} {}{space}{detail}", entry_line::path(entry)))?;
    if let Some(Difference::Lines(lines)) = text {
        for line in lines.lines() {
            context.out.line(line)?;
        }
    }
    Ok(())
}

/// What differs, in words.
fn difference(a: &Entry, b: &Entry, content: Content) -> String {
    let mut parts = Vec::new();
    match (&a.kind, &b.kind) {
        (Kind::File { size: old, .. }, Kind::File { size: new, .. }) if old != new => {
            parts.push(format!("{} -> {}", units::bytes(*old), units::bytes(*new)));
        }
        (Kind::File { size, .. }, Kind::File { .. }) if content == Content::Other => parts.push(units::bytes(*size)),
        (Kind::File { size, .. }, Kind::File { .. }) if content == Content::Unknown => {
            parts.push(format!("{}, stored anew, may be the same", units::bytes(*size)));
        }
        (Kind::Symlink { target: old }, Kind::Symlink { target: new }) if old != new => {
            parts.push(format!("{} -> {}", escape(old), escape(new)));
        }
        (Kind::HardLink { target: old }, Kind::HardLink { target: new }) if old != new => {
            parts.push(format!("{} -> {}", old.display(), new.display()));
        }
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
