//! The last stage: takes entries in order, waits for each one's content, builds the tree and counts.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::Receiver;

use crate::backup::scan::Pending;
use crate::backup::slot::Outcome;
use crate::backup::unchanged::{Known, is_racy};
use crate::base::clock::Time;
use crate::base::progress::Progress;
use crate::format::entry::{Entry, Identity, Kind, Piece, TreePath};
use crate::format::live::{How, Live};
use crate::format::record::{Statistics, TreeRoot};
use crate::repo::RepoError;
use crate::repo::tree_write::TreeBuilder;
use crate::repo::write::{Lane, Writer};
use crate::tree::found::{Found, FoundKind};
use crate::tree::problem::{Problem, Severity};

/// Problems that are kept word for word; all are counted.
const PROBLEMS_KEPT_MAX: usize = 10_000;
/// Databases that are named in the report; each has its way in the tree.
const DATABASES_KEPT_MAX: usize = 10_000;

/// What came of it.
pub struct Assembled {
    /// The tree.
    pub root: TreeRoot,
    /// What was counted.
    pub statistics: Statistics,
    /// Problems and notes, at most `PROBLEMS_KEPT_MAX`.
    pub problems: Vec<Problem>,
    /// Databases of a source in use, and how they were taken; at most `DATABASES_KEPT_MAX`.
    pub databases: Vec<(TreePath, How)>,
}

/// Counts problems and keeps some of them.
#[derive(Default)]
pub struct Tally {
    /// What was counted.
    pub statistics: Statistics,
    /// Problems and notes.
    pub problems: Vec<Problem>,
    /// Files that could not be read by this name, and the name by which they were read instead.
    lost: HashMap<TreePath, Option<TreePath>>,
    /// Databases that were captured: what stands beside them is left out.
    captured: HashSet<TreePath>,
    /// Databases, and how they were taken.
    databases: Vec<(TreePath, How)>,
}

impl Tally {
    /// Takes a problem.
    pub fn problem(&mut self, problem: Problem) {
        if problem.severity == Severity::Problem {
            self.statistics.problems += 1;
        }
        if self.problems.len() < PROBLEMS_KEPT_MAX {
            self.problems.push(problem);
        }
    }

    /// Counts an entry.
    pub fn count(&mut self, entry: &Entry) {
        match &entry.kind {
            Kind::File { size, .. } => {
                self.statistics.files += 1;
                self.statistics.bytes += size;
            }
            Kind::Directory => self.statistics.directories += 1,
            _ => self.statistics.others += 1,
        }
        if let Some(live) = &entry.live {
            if live.how.is_capture() {
                self.captured.insert(entry.path.clone());
            }
            if self.databases.len() < DATABASES_KEPT_MAX {
                self.databases.push((entry.path.clone(), live.how));
            }
        }
    }
}

/// Reads a file here and now; see [`crate::backup::worker::Worker::read_now`].
pub type ReadNow<'a> = &'a dyn Fn(&mut Lane, &Found) -> Result<Outcome, RepoError>;

/// Runs until the scan has ended and every file is there. `Err(Cancelled)` if a file was abandoned. `read_now` reads what was thought to be another name
/// of a file that turned out not to be readable by its first.
pub fn assemble(
    writer: &Writer,
    mut lane: Lane,
    entries: &Receiver<Vec<Pending>>,
    scan_began: Time,
    progress: &Progress,
    read_now: ReadNow<'_>,
) -> Result<Assembled, RepoError> {
    let mut tree = TreeBuilder::default();
    let mut tally = Tally::default();
    while let Ok(batch) = entries.recv() {
        for pending in batch {
            let entry = match pending {
                Pending::Problem(problem) => {
                    tally.problem(problem);
                    None
                }
                Pending::Beside(_, database) if tally.captured.contains(&database) => None,
                Pending::Beside(found, _) => {
                    let outcome = read_now(&mut lane, &found)?;
                    read(writer, &mut lane, &mut tally, found, outcome, scan_began)?
                }
                Pending::Ready(found, known) => match first_name(&mut tally, found) {
                    Name::Other(found) => Some(ready(found, known, scan_began)),
                    Name::First(found, target) => {
                        let outcome = read_now(&mut lane, &found)?;
                        let path = found.path.clone();
                        let entry = read(writer, &mut lane, &mut tally, found, outcome, scan_began)?;
                        tally.lost.insert(target, entry.as_ref().map(|_| path));
                        entry
                    }
                },
                Pending::Waiting(found, slot) => {
                    let outcome = slot.wait();
                    progress.add_file(0);
                    read(writer, &mut lane, &mut tally, found, outcome, scan_began)?
                }
            };
            if let Some(entry) = entry {
                tally.count(&entry);
                tree.add(writer, &mut lane, &entry)?;
            }
        }
        progress.bytes_stored.store(writer.stored_bytes(), std::sync::atomic::Ordering::Relaxed);
    }
    let root = tree.finish(writer, &mut lane)?;
    Ok(Assembled { root, statistics: tally.statistics, problems: tally.problems, databases: tally.databases })
}

/// The entry of what was read.
fn read(
    writer: &Writer,
    lane: &mut Lane,
    tally: &mut Tally,
    found: Found,
    outcome: Outcome,
    scan_began: Time,
) -> Result<Option<Entry>, RepoError> {
    let read = match outcome {
        Outcome::Abandoned => return Err(RepoError::Cancelled),
        Outcome::Failed(problem) => {
            tally.lost.insert(found.path, None);
            tally.problem(problem);
            return Ok(None);
        }
        Outcome::Read(read) => read,
    };
    tally.statistics.files_read += 1;
    let data = read.pieces.iter().filter(|piece| matches!(piece, Piece::Data { .. }));
    tally.statistics.bytes_read += data.map(Piece::length).sum::<u64>();
    let content = TreeBuilder::content(writer, lane, read.pieces)?;
    let racy = read.changed.is_some() || is_racy(read.mtime, scan_began);
    // What was not captured is in use: that it changed as well is no second problem.
    let changed = read.changed.filter(|_| read.trouble.is_none());
    for note in changed.into_iter().chain([read.key, read.trouble].into_iter().flatten().map(|note| *note)) {
        tally.problem(note);
    }
    let mut entry = found.into_entry(read.size, content);
    entry.mtime = read.mtime;
    // Whoever does not know of captures must not take the copy for the file.
    let racy = racy || read.live.is_some();
    entry.identity = Some(Identity { racy, ..read.identity });
    entry.live = read.live.map(|live| {
        let times = [Some(read.mtime), live.wal.map(|wal| wal.mtime), live.journal.map(|journal| journal.mtime)];
        let racy = times.into_iter().flatten().any(|time| is_racy(time, scan_began));
        Box::new(Live { racy, ..*live })
    });
    Ok(Some(entry))
}

/// What a name is after all.
enum Name {
    /// As it was found; another name of a file points to the one by which that was read.
    Other(Found),
    /// The file could not be read by the name that is given second: this one is the first now.
    First(Found, TreePath),
}

/// A file whose first name vanished, or could not be opened, is still there by its others.
fn first_name(tally: &mut Tally, mut found: Found) -> Name {
    let FoundKind::HardLink { target } = &mut found.kind else { return Name::Other(found) };
    match tally.lost.get(target) {
        None => Name::Other(found),
        Some(Some(instead)) => {
            instead.clone_into(target);
            Name::Other(found)
        }
        Some(None) => {
            let target = target.clone();
            found.kind = FoundKind::File;
            Name::First(found, target)
        }
    }
}

/// The entry of what was not read.
fn ready(found: Found, known: Known, scan_began: Time) -> Entry {
    let is_file = found.kind == FoundKind::File;
    let mut entry = found.into_entry(known.size, known.content);
    entry.live = known.live.or(entry.live);
    entry.identity = match entry.identity {
        // Only files are recognised as unchanged.
        Some(identity) if is_file => {
            let racy = is_racy(entry.mtime, scan_began) || entry.live.is_some();
            Some(Identity { racy, ..identity })
        }
        _ => None,
    };
    entry
}
