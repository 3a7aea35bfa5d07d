//! Backing up the objects of a cluster: manifests, stored as they come, put into the tree in order at the end.
//!
//! The blob of an object begins with a random salt that no piece shows: whoever has the writer key can test guesses of chunks against their ids, and a
//! secret may be guessable (docs/decisions/0016). So equal text is no equal blob, and an object that did not change is known by its uid and version instead:
//! what the snapshot before has of it is taken, and nothing is sealed. As with files, a thirtieth is stored anew every day.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::try_join;
use tokio::sync::mpsc::{self, Receiver};
use tokio::task::spawn_blocking;

use crate::backup::assemble::Assembled;
use crate::backup::unchanged::Slots;
use crate::backup::{
    BackupError, BackupOptions, BackupReport, Begun, Context, Earlier, earlier, finish, give_up, join,
};
use crate::base::progress::Progress;
use crate::base::secret::random;
use crate::chunker::CHUNK_BYTES_MAX;
use crate::cluster::Cluster;
use crate::cluster::capture::{ABOUT, CaptureError, Captured, Item, capture};
use crate::cluster::choice::Choice;
use crate::format::entry::{Content, Entry, FileTime, Kind, OBJECT_VERSION, Piece, TreePath, Xattr};
use crate::format::record::{Statistics, TreeRoot};
use crate::repo::RepoError;
use crate::repo::Repository;
use crate::repo::checkpoint::Checkpointer;
use crate::repo::commit;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::tree_read::TreeReader;
use crate::repo::tree_write::TreeBuilder;
use crate::repo::write::{Lane, Session, Writer};
use crate::tree::problem::{Cause, Problem};

/// Manifests between the cluster and the repository; the largest have a few MiB.
const ITEMS_MAX: usize = 16;

/// Random bytes before the text of an object.
const SALT_BYTES: usize = 32;
const SALT_BYTES_U32: u32 = 32;

/// A manifest that is stored.
struct Stored {
    created: i64,
    size: u64,
    content: Content,
    version: Option<String>,
}

/// What is stored already: of the snapshot before, and of a list that was begun anew.
#[derive(Default)]
struct Before {
    manifests: BTreeMap<TreePath, (String, u64, Content)>,
    /// Days whose share is stored anew.
    due: Option<Slots>,
}

impl Before {
    /// The content of an object that is as it was, if all of it is still there.
    fn content_of(
        &self,
        writer: &Writer,
        repository: &Repository,
        path: &TreePath,
        version: &str,
        size: u64,
    ) -> Option<Content> {
        let (before, size_before, content) = self.manifests.get(path)?;
        let is_due = self.due.is_some_and(|slots| slots.is_due(repository.hasher.boundary(path.as_bytes())));
        if before != version || *size_before != size || is_due {
            return None;
        }
        let Content::Inline(pieces) = content else { return None };
        let is_there = |piece: &Piece| match piece {
            Piece::Data { blob, skip, .. } => *skip == SALT_BYTES_U32 && writer.relies_on(blob),
            Piece::Hole { .. } => false,
        };
        pieces.iter().all(is_there).then(|| content.clone())
    }
}

/// Stores a text, each of its blobs behind a salt of its own; or without one, for what is no object.
fn add(writer: &Writer, lane: &mut Lane, text: &str, is_salted: bool) -> Result<Content, RepoError> {
    let mut pieces = Vec::new();
    let mut blob = Vec::new();
    for part in text.as_bytes().chunks(CHUNK_BYTES_MAX - SALT_BYTES) {
        blob.clear();
        if is_salted {
            blob.extend_from_slice(&random::<SALT_BYTES>()?);
        }
        blob.extend_from_slice(part);
        let skip = if is_salted { SALT_BYTES_U32 } else { 0 };
        let blob = writer.add_data(lane, &blob)?;
        pieces.push(Piece::Data { blob, skip, length: u32::try_from(part.len()).unwrap_or(u32::MAX) });
    }
    TreeBuilder::content(writer, lane, pieces)
}

/// Stores what comes and makes the tree of it.
fn store(
    writer: &Writer,
    repository: &Repository,
    mut before: Before,
    mut items: Receiver<Item>,
    progress: &Progress,
) -> Result<(TreeRoot, Statistics), RepoError> {
    let mut lane = writer.lane()?;
    let mut stored: BTreeMap<TreePath, Stored> = BTreeMap::new();
    let mut statistics = Statistics::default();
    while let Some(item) = items.blocking_recv() {
        match item {
            Item::Again(folder) => {
                // What was stored for the first part is not stored once more.
                for (path, old) in stored.extract_if(.., |path, _| path.is_within(&folder)) {
                    if let Some(version) = old.version {
                        before.manifests.insert(path, (version, old.size, old.content));
                    }
                }
            }
            Item::Document { path, text, created, version } => {
                let size = text.len() as u64;
                let known = version.as_ref();
                let known = known.and_then(|version| before.content_of(writer, repository, &path, version, size));
                let content = if let Some(content) = known {
                    content
                } else {
                    statistics.files_read += 1;
                    statistics.bytes_read += size;
                    add(writer, &mut lane, &text, path.as_bytes() != ABOUT.as_bytes())?
                };
                stored.insert(path, Stored { created, size, content, version });
                progress.add_file(0);
                progress.add_bytes(size);
                progress.bytes_stored.store(writer.stored_bytes(), Ordering::Relaxed);
            }
        }
    }
    let newest = newest_below(&stored);
    let time_of = |folder: &TreePath| newest.get(folder).copied().unwrap_or_default();
    let mut tree = TreeBuilder::default();
    let mut inside = TreePath::root();
    for (path, Stored { created, size, content, version }) in stored {
        for folder in new_folders(&path, &inside) {
            statistics.directories += 1;
            tree.add(writer, &mut lane, &entry(folder.clone(), Kind::Directory, time_of(&folder)))?;
        }
        inside = path.parent().unwrap_or_else(TreePath::root);
        // What tells of the whole is as new as the newest of it.
        let created = if created == 0 { time_of(&inside) } else { created };
        statistics.files += 1;
        statistics.bytes += size;
        let mut file = entry(path, Kind::File { size, content }, created);
        if let Some(version) = version {
            let (name, value) = (OBJECT_VERSION.to_vec().into(), version.into_bytes().into());
            file.xattrs.push(Xattr { name, value });
        }
        tree.add(writer, &mut lane, &file)?;
    }
    Ok((tree.finish(writer, &mut lane)?, statistics))
}

/// Of every directory: the time of the newest object below.
fn newest_below(stored: &BTreeMap<TreePath, Stored>) -> BTreeMap<TreePath, i64> {
    let mut newest = BTreeMap::new();
    for (path, Stored { created, .. }) in stored {
        for folder in std::iter::successors(path.parent(), TreePath::parent) {
            let time = newest.entry(folder).or_insert(*created);
            *time = (*time).max(*created);
        }
    }
    newest
}

/// Reads the tree of an earlier snapshot: what of it opens is built upon. What does not is noted in the index, and stored again.
async fn open_tree(repository: &Arc<Repository>, index: &Arc<Index>, root: TreeRoot) -> Before {
    let mut before = Before::default();
    let reader = Arc::new(Reader::new(repository.clone(), index.clone()));
    let Ok(mut tree) = TreeReader::open(reader, root, TreePath::root()) else { return before };
    while let Ok(Some(entries)) = tree.next().await {
        for entry in entries {
            let version = entry.xattrs.iter().find(|xattr| *xattr.name == *OBJECT_VERSION);
            let version = version.and_then(|xattr| String::from_utf8(xattr.value.to_vec()).ok());
            if let (Some(version), Kind::File { size, content }) = (version, entry.kind) {
                before.manifests.insert(entry.path, (version, size, content));
            }
        }
    }
    before
}

/// The directories above `path` that are not above or at `inside`, from the top down.
fn new_folders(path: &TreePath, inside: &TreePath) -> Vec<TreePath> {
    let mut folders: Vec<TreePath> =
        std::iter::successors(path.parent(), TreePath::parent).filter(|folder| !inside.is_within(folder)).collect();
    folders.reverse();
    folders
}

/// For the eyes of whoever restores it only: among the manifests are secrets.
fn entry(path: TreePath, kind: Kind, seconds: i64) -> Entry {
    let mode = if matches!(kind, Kind::Directory) { 0o700 } else { 0o600 };
    Entry {
        path,
        kind,
        mode,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        mtime: FileTime { seconds, nanos: 0 },
        xattrs: Vec::new(),
        identity: None,
        live: None,
    }
}

/// Backs up every object that the choice takes. What could not be read is a problem of the report.
pub async fn run_cluster(
    context: &Context,
    options: &BackupOptions,
    cluster: &dyn Cluster,
    choice: &Choice,
) -> Result<(BackupReport, Captured), BackupError> {
    let Context { repository, clock, progress, cancel } = context.clone();
    let started = clock.now();
    progress.begin("asking the cluster", "");
    let version = cluster.version().await?;
    let ((index, chain), session) =
        try_join!(commit::begin(&repository), Session::begin(repository.clone(), clock.clone()))?;
    let Earlier { newest: previous, held: before, missing: gone } = earlier(&chain, options);
    progress.begin("opening", "");
    let mut earlier = Before::default();
    if let Some(previous) = previous {
        earlier = open_tree(&repository, &index, previous.record.root).await;
        earlier.due = Some(if options.reread { Slots::ALL } else { Slots::between(previous.record.started, started) });
    }
    progress.begin("backing up", "object");
    let writer = Arc::new(Writer::within(session, index.clone(), options.level).after(&chain));
    drop(chain);
    let checkpoints = Checkpointer::new(&writer, clock.clone()).start();
    let (items, taken) = mpsc::channel(ITEMS_MAX);
    let stored = {
        let (writer, progress, repository) = (writer.clone(), progress.clone(), repository.clone());
        spawn_blocking(move || store(&writer, &repository, earlier, taken, &progress))
    };
    let captured = capture(cluster, &version, choice, &items, &cancel, &*clock).await;
    drop(items);
    let stored = join(stored, "storing manifests").await;
    let writer = Arc::try_unwrap(writer).map_err(|_| RepoError::Worker { what: "the pipeline" })?;
    let (captured, (root, mut statistics)) = match (captured, stored) {
        (Ok(captured), Ok(stored)) => (captured, stored),
        (Err(CaptureError::Cluster(error)), _) => {
            // What was stored until then is found by the next run.
            drop(writer.finish().await);
            return Err(error.into());
        }
        (Err(CaptureError::Unwanted), stored) => {
            return Err(give_up(writer, vec![stored.err().unwrap_or(RepoError::Cancelled)]).await.into());
        }
        (Ok(_), Err(error)) => return Err(give_up(writer, vec![error]).await.into()),
    };
    let missing = captured.missing.iter();
    let problems: Vec<Problem> = missing
        .map(|missing| Problem::new(missing.path.clone(), missing.operation, Cause::Told(missing.why.clone())))
        .collect();
    statistics.problems = problems.len() as u64;
    let begun = Begun { started, index, before, missing: gone, checkpoints };
    let assembled = Assembled { root, statistics, problems, databases: Vec::new() };
    let report = finish(context, options, begun, writer, assembled, None).await?;
    Ok((report, captured))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_is_made_once_before_what_is_in_it() {
        let path = |text: &str| TreePath::new(text).expect("plain");
        let mut inside = TreePath::root();
        let mut made = Vec::new();
        for document in [
            "cluster.yaml",
            "resources/apps/D/a/x",
            "resources/apps/D/a/y",
            "resources/apps/D/a-b/x",
            "resources/apps-2/D/a/x",
        ] {
            made.extend(new_folders(&path(document), &inside).iter().map(TreePath::display));
            inside = path(document).parent().expect("below the root");
        }
        let expected = [
            "resources",
            "resources/apps",
            "resources/apps/D",
            "resources/apps/D/a",
            "resources/apps/D/a-b",
            "resources/apps-2",
            "resources/apps-2/D",
            "resources/apps-2/D/a",
        ];
        assert_eq!(made, expected);
    }
}
