//! `find`: in which snapshots a file is.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::base::id::BlobId;
use crate::base::units;
use crate::cli::context::{Context, local};
use crate::cli::entry_line::{self, EntryDocument};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open::{self, Access};
use crate::cli::select;
use crate::format::entry::Entry;
use crate::format::kind::Kind;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::snapshots::Snapshot;
use crate::repo::tree_read::{decode_leaf, leaves};

const EXAMPLES: &str = "\
Examples:
  homelab-dr find '*.kdbx'
  homelab-dr find 'config/**/app.yaml' --source pvc/media/jellyfin
  homelab-dr find IMG_2041.jpg --snapshot latest:photos

A pattern without / is matched against names, one with / against paths. *, ? and [a-z] stop at /,
** does not.";

/// Leaves read in one go.
const LEAVES_AT_ONCE: usize = 64;
/// Goes that are under way, or wait for one before them to be told.
const BATCHES_AT_ONCE: usize = 6;

/// Find files by name in all snapshots, or in some
///
/// With --json each file found is a line of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A glob such as '*.jpg', in quotes
    #[arg(value_name = "PATTERN")]
    pattern: String,
    /// Upper and lower case are the same
    #[arg(long, short)]
    ignore_case: bool,
    /// Only in this snapshot; may be repeated
    #[arg(long, value_name = "SNAPSHOT", help = select::SNAPSHOT_HELP)]
    snapshot: Vec<String>,
    /// Only in snapshots of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    snapshot: String,
    source: &'a str,
    started: crate::base::clock::Time,
    #[serde(flatten)]
    entry: EntryDocument,
}

struct Pattern {
    glob: GlobMatcher,
    whole_path: bool,
}

impl Pattern {
    fn new(text: &str, ignore_case: bool) -> Result<Self, Failure> {
        let whole_path = text.contains('/');
        let body = text.trim_start_matches('/').trim_end_matches('/');
        let mut glob = GlobBuilder::new(body);
        glob.literal_separator(true).backslash_escape(true).case_insensitive(ignore_case);
        match glob.build() {
            Ok(glob) if !body.is_empty() => Ok(Self { glob: glob.compile_matcher(), whole_path }),
            Ok(_) => Err(Failure::usage("the pattern is empty", "give a name or a glob, such as '*.jpg'")),
            Err(error) => Err(Failure::because(
                Exit::Usage,
                format!("the pattern {text:?} cannot be understood"),
                error,
                "[ and { need their other half; a backslash before a sign takes it as it is",
            )),
        }
    }

    fn matches(&self, entry: &Entry) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = if self.whole_path { entry.path.as_bytes() } else { entry.path.name() };
        !bytes.is_empty() && self.glob.is_match(std::ffi::OsStr::from_bytes(bytes))
    }
}

pub(crate) async fn run(args: Args, context: &mut Context) -> Result<Exit, Failure> {
    let pattern = Arc::new(Pattern::new(&args.pattern, args.ignore_case)?);
    let repository = open::repository(context, Access::Look).await?;
    let chain = open::chain(context, &repository).await?;
    let mut chosen: Vec<&Snapshot> = if args.snapshot.is_empty() {
        chain.snapshots.iter().collect()
    } else {
        args.snapshot.iter().map(|text| select::snapshot(context, &chain, text)).collect::<Result<_, _>>()?
    };
    chosen.retain(|snapshot| args.source.as_ref().is_none_or(|source| *source == snapshot.record.source));
    if chosen.is_empty() {
        context.say("no snapshot matches: `homelab-dr snapshots` lists what there is")?;
        return Ok(Exit::Done);
    }
    let reader = open::reader(context, &repository).await?;
    // Snapshots share most leaves: one in which nothing was found is not read again. 32 bytes for each.
    let mut nothing_in = HashSet::new();
    let mut found = 0_u64;
    for snapshot in chosen {
        found += search(&reader, snapshot, &pattern, &mut nothing_in, context).await?;
    }
    if found == 0 {
        context.say("nothing found")?;
    }
    Ok(Exit::Done)
}

/// What is found in some leaves: each with whatever of it matches.
type Found = Vec<(BlobId, Vec<Entry>)>;

async fn look(reader: Arc<Reader>, pattern: Arc<Pattern>, batch: Vec<BlobId>) -> Result<Found, RepoError> {
    let read = reader.metadata_many(Kind::Leaf, &batch).await?;
    let entries = batch.into_iter().zip(read).map(|(leaf, plain)| {
        let mut entries = decode_leaf(&leaf, &plain)?;
        entries.retain(|entry| pattern.matches(entry));
        Ok((leaf, entries))
    });
    entries.collect()
}

/// Looks into all leaves on all processors, and tells what is found in their order.
async fn search(
    reader: &Arc<Reader>,
    snapshot: &Snapshot,
    pattern: &Arc<Pattern>,
    nothing_in: &mut HashSet<BlobId>,
    context: &mut Context,
) -> Result<u64, Failure> {
    let mut found = 0;
    let mut wanted: Vec<BlobId> =
        leaves(reader, snapshot.record.root).await?.into_iter().map(|leaf| leaf.blob).collect();
    wanted.retain(|leaf| !nothing_in.contains(leaf));
    let mut batches = wanted.chunks(LEAVES_AT_ONCE).enumerate();
    let (mut looking, mut early, mut next) = (JoinSet::new(), BTreeMap::new(), 0);
    loop {
        while looking.len() + early.len() < BATCHES_AT_ONCE
            && let Some((number, batch)) = batches.next()
        {
            let look = look(reader.clone(), pattern.clone(), batch.to_vec());
            looking.spawn(async move { (number, look.await) });
        }
        let Some(ended) = looking.join_next().await else { return Ok(found) };
        let (number, looked) = ended.map_err(|_| RepoError::Worker { what: "the search in a tree" })?;
        early.insert(number, looked?);
        while let Some(looked) = early.remove(&next) {
            next += 1;
            for (leaf, entries) in looked {
                found += entries.len() as u64;
                if entries.is_empty() {
                    nothing_in.insert(leaf);
                }
                for entry in &entries {
                    print(snapshot, entry, context)?;
                }
            }
        }
    }
}

fn print(snapshot: &Snapshot, entry: &Entry, context: &mut Context) -> Result<(), Failure> {
    if context.out.json {
        return context.out.document(&Document {
            snapshot: snapshot.id.hex(),
            source: &snapshot.record.source,
            started: snapshot.record.started,
            entry: EntryDocument::of(entry),
        });
    }
    let size = entry_line::size(entry).map_or_else(|| "-".to_owned(), units::bytes);
    let time = local(snapshot.record.started);
    context.out.line(&format!("{}  {time}  {size:>10}  {}", snapshot.id.short(), entry_line::path(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::{FileTime, TreePath};

    fn matches(pattern: &str, path: &[u8]) -> bool {
        let entry = Entry {
            path: TreePath::new(path).expect("plain"),
            kind: crate::format::entry::Kind::Fifo,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: FileTime::default(),
            xattrs: Vec::new(),
            identity: None,
            live: None,
        };
        Pattern::new(pattern, false).expect("valid").matches(&entry)
    }

    #[test]
    fn a_name_matches_anywhere_and_a_path_from_the_top() {
        assert!(matches("*.jpg", b"a/b/x.jpg"));
        assert!(matches("x.jpg", b"a/b/x.jpg"));
        assert!(!matches("b", b"a/b/x.jpg"));
        assert!(matches("a/**/x.jpg", b"a/b/x.jpg"));
        assert!(!matches("b/x.jpg", b"a/b/x.jpg"));
        assert!(matches("/a", b"a"));
        assert!(matches("*.\u{fc}", "x.\u{fc}".as_bytes()));
        assert!(matches("*.tmp", b"\xff.tmp"));
        assert!(matches("?.tmp", b"\xff.tmp") && matches("a?b", b"a\x1bb"));
        assert!(Pattern::new("[", false).is_err());
        assert!(Pattern::new("/", false).is_err());
    }
}
