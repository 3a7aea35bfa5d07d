//! The last stage: takes entries in order, waits for each one's content, builds the tree and counts.

use std::collections::HashSet;
use std::sync::mpsc::Receiver;

use crate::backup::scan::Pending;
use crate::backup::slot::Outcome;
use crate::backup::unchanged::is_racy;
use crate::base::clock::Time;
use crate::base::progress::Progress;
use crate::format::entry::{Content, Entry, Identity, Kind, Piece, TreePath};
use crate::format::record::{Statistics, TreeRoot};
use crate::repo::RepoError;
use crate::repo::tree_write::TreeBuilder;
use crate::repo::write::{Lane, Writer};
use crate::tree::found::{Found, FoundKind};
use crate::tree::problem::{Cause, Problem, Severity};

/// Problems that are kept word for word; all are counted.
const PROBLEMS_KEPT_MAX: usize = 10_000;

/// What came of it.
pub struct Assembled {
    /// The tree.
    pub root: TreeRoot,
    /// What was counted.
    pub statistics: Statistics,
    /// Problems and notes, at most `PROBLEMS_KEPT_MAX`.
    pub problems: Vec<Problem>,
}

/// Counts problems and keeps some of them.
#[derive(Default)]
pub struct Tally {
    /// What was counted.
    pub statistics: Statistics,
    /// Problems and notes.
    pub problems: Vec<Problem>,
    /// Files without content: other names of them cannot be kept either.
    lost: HashSet<TreePath>,
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
    }
}

/// Runs until the scan has ended and every file is there. `Err(Cancelled)` if a file was abandoned.
pub fn assemble(
    writer: &Writer,
    mut lane: Lane,
    entries: &Receiver<Vec<Pending>>,
    scan_began: Time,
    progress: &Progress,
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
                Pending::Ready(found, content) => ready(&mut tally, found, content, scan_began),
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
    Ok(Assembled { root, statistics: tally.statistics, problems: tally.problems })
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
            tally.lost.insert(found.path);
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
    for note in [read.changed, read.key.map(|key| *key)].into_iter().flatten() {
        tally.problem(note);
    }
    let mut entry = found.into_entry(read.size, content);
    entry.mtime = read.mtime;
    entry.identity = Some(Identity { racy, ..read.identity });
    Ok(Some(entry))
}

/// The entry of what was not read.
fn ready(tally: &mut Tally, found: Found, content: Content, scan_began: Time) -> Option<Entry> {
    if let FoundKind::HardLink { target } = &found.kind
        && tally.lost.contains(target)
    {
        tally.problem(Problem::new(found.path, "reading", Cause::Vanished));
        return None;
    }
    let size = found.size;
    let is_file = found.kind == FoundKind::File;
    let mut entry = found.into_entry(size, content);
    entry.identity = match entry.identity {
        // Only files are recognised as unchanged.
        Some(identity) if is_file => Some(Identity { racy: is_racy(entry.mtime, scan_began), ..identity }),
        _ => None,
    };
    Some(entry)
}
