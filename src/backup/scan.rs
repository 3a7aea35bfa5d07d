//! The walk as the pipeline's first stage: finds, decides what must be read, hands out jobs; entries go on in order.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::backup::queue::{FileJob, Job, Queue};
use crate::backup::slot::Slot;
use crate::backup::unchanged::{Known, Previous, Suspect};
use crate::base::cancel::Cancel;
use crate::base::id::BlobId;
use crate::base::progress::Progress;
use crate::chunker::{BATCH_BYTES_MAX, SMALL_BYTES};
use crate::format::entry::TreePath;
use crate::repo::{RepoError, Repository};
use crate::tree::found::{Found, FoundKind};
use crate::tree::live::trouble::Trouble;
use crate::tree::live::{self, Live, Peek};
use crate::tree::problem::{Cause, Problem};
use crate::tree::source::Source;
use crate::tree::walk::WalkOptions;

/// Files of a batch at most; small ones are a matter of system calls, not of bytes.
const BATCH_FILES_MAX: usize = 1024;
/// Entries that are handed on together: one at a time, two threads would wake each other for every file.
pub const ENTRIES_AT_ONCE: usize = 256;

/// An entry on its way to the tree.
pub enum Pending {
    /// Its content is known, or it has none.
    Ready(Found, Known),
    /// A journal of a database, which is left out if that was captured.
    Beside(Found, TreePath),
    /// A file that is being read.
    Waiting(Found, Arc<Slot>),
    /// A problem with one entry.
    Problem(Problem),
}

/// Receives entries in order; `false` ends the scan.
pub trait Sink {
    /// Takes entries if there is room, or gives them back.
    fn offer(&mut self, entries: Vec<Pending>) -> Result<bool, Vec<Pending>>;
    /// Takes entries, waiting for room.
    fn push(&mut self, entries: Vec<Pending>) -> bool;
}

/// What the scan gathers before it hands it on.
#[derive(Default)]
struct Gathered {
    /// Small files for one job.
    files: Vec<FileJob>,
    file_bytes: u64,
    entries: Vec<Pending>,
    /// A job was handed out: whoever shows progress waits for its entry.
    due: bool,
}

/// What the scan needs.
pub struct Scan<'a> {
    /// The repository, for its way of cutting.
    pub repository: &'a Repository,
    /// What to walk.
    pub source: Source,
    /// How.
    pub options: WalkOptions,
    /// Looks at databases, if the source is in use.
    pub live: Option<&'a Live>,
    /// What came before.
    pub previous: Previous,
    /// Whether a blob is there; notes that it is needed.
    pub relies_on: &'a (dyn Fn(&BlobId) -> bool + Sync),
    /// Where jobs go; `None` for a dry run.
    pub queue: Option<&'a Queue>,
    /// What is shown.
    pub progress: &'a Progress,
    /// Whether to go on.
    pub cancel: &'a Cancel,
    /// To read the previous tree.
    pub handle: Handle,
}

impl Scan<'_> {
    /// Walks to the end. Every entry goes to `sink` in tree order, every file that must be read to the queue.
    pub fn run(mut self, sink: &mut dyn Sink) -> Result<(), RepoError> {
        let mut gathered = Gathered::default();
        let (mut files, mut bytes) = (0, 0);
        self.handle.block_on(self.previous.recognise_clone(&self.source))?;
        let walk = self.source.clone().walk(self.options.clone());
        for item in walk {
            if self.cancel.is_cancelled() {
                return Err(RepoError::Cancelled);
            }
            let found = match item {
                Ok(found) => found,
                Err(problem) => {
                    if !self.send(sink, Pending::Problem(problem), &mut gathered) {
                        return Ok(());
                    }
                    continue;
                }
            };
            if found.kind == FoundKind::File {
                (files, bytes) = (files + 1, bytes + found.size);
            }
            let (suspect, problem) = self.suspect(&found);
            if let Some(problem) = problem
                && !self.send(sink, Pending::Problem(problem), &mut gathered)
            {
                return Ok(());
            }
            let pending = if let Some(database) = self.base_of(&found) {
                Pending::Beside(found, database)
            } else if let Some(known) = self.known_content(&found, suspect)? {
                Pending::Ready(found, known)
            } else {
                let slot = Arc::new(Slot::default());
                let job = FileJob { found: found.clone(), slot: slot.clone() };
                self.dispatch(job, &mut gathered);
                Pending::Waiting(found, slot)
            };
            if !self.send(sink, pending, &mut gathered) {
                return Ok(()); // the assembler failed, and says why
            }
        }
        self.flush(&mut gathered);
        self.hand_on(sink, &mut gathered);
        self.progress.expect(files, bytes, false);
        Ok(())
    }

    /// The database that a file would belong to by its name. Whether there is one that was captured is known when it is: a rollback journal comes and goes while the two are
    /// looked at, and one of another moment beside a captured database would be applied to it.
    fn base_of(&self, found: &Found) -> Option<TreePath> {
        let base =
            live::base(found.path.as_bytes()).filter(|_| self.live.is_some() && found.kind == FoundKind::File)?;
        TreePath::new(base).ok()
    }

    /// Whether a file may be a database in use. Looked at here, before a worker has it in hand, and only if something stands beside it.
    fn suspect(&self, found: &Found) -> (Suspect, Option<Problem>) {
        let Some(live) = self.live else { return (Suspect::Nothing, None) };
        let Some(beside) = found.beside() else { return (Suspect::Unsuspected, None) };
        match (&found.kind, live.peek(found)) {
            (FoundKind::File, Peek::Database | Peek::Foreign) => (Suspect::Database, None),
            (_, Peek::Database) if [beside.wal, beside.journal].into_iter().flatten().any(|trace| trace.size > 0) => {
                let cause = Cause::Database(Trouble::SeveralNames);
                (Suspect::Unsuspected, Some(Problem::new(found.path.clone(), "capturing the database", cause)))
            }
            _ => (Suspect::Unsuspected, None),
        }
    }

    /// The content of what need not be read; `None` for a file that must.
    fn known_content(&mut self, found: &Found, suspect: Suspect) -> Result<Option<Known>, RepoError> {
        if found.kind != FoundKind::File {
            self.handle.block_on(self.previous.pass(&found.path))?;
            return Ok(Some(Known::nothing(found.size)));
        }
        let hash = self.repository.hasher.boundary(found.path.as_bytes());
        let known = self.handle.block_on(self.previous.content_of(found, suspect, hash, self.relies_on))?;
        if known.is_some() {
            self.progress.add_file(found.size);
            return Ok(known);
        }
        // An empty file is read too: some only say that they are empty.
        Ok(None)
    }

    fn dispatch(&self, job: FileJob, gathered: &mut Gathered) {
        let Some(queue) = self.queue else { return };
        if job.found.size >= SMALL_BYTES {
            queue.push(Job::File(job));
            gathered.due = true;
            return;
        }
        gathered.file_bytes += job.found.size;
        let bytes = gathered.file_bytes;
        let ends = self.repository.chunker().batch_ends(job.found.path.name()) && bytes >= BATCH_BYTES_MAX / 4;
        gathered.files.push(job);
        if ends || bytes >= BATCH_BYTES_MAX || gathered.files.len() >= BATCH_FILES_MAX {
            self.flush(gathered);
        }
    }

    fn flush(&self, gathered: &mut Gathered) {
        gathered.file_bytes = 0;
        if let Some(queue) = self.queue
            && !gathered.files.is_empty()
        {
            queue.push(Job::Batch(std::mem::take(&mut gathered.files)));
            gathered.due = true;
        }
    }

    fn send(&self, sink: &mut dyn Sink, pending: Pending, gathered: &mut Gathered) -> bool {
        gathered.entries.push(pending);
        (!gathered.due && gathered.entries.len() < ENTRIES_AT_ONCE) || self.hand_on(sink, gathered)
    }

    /// Hands the entries on. When there is no room, the assembler may be waiting for a file of the open batch: hand that out first.
    fn hand_on(&self, sink: &mut dyn Sink, gathered: &mut Gathered) -> bool {
        let goes_on = match sink.offer(std::mem::take(&mut gathered.entries)) {
            Ok(goes_on) => goes_on,
            Err(entries) => {
                self.flush(gathered);
                sink.push(entries)
            }
        };
        gathered.due = false;
        goes_on
    }
}

/// The sink of a real run: a bounded channel to the assembler.
impl Sink for std::sync::mpsc::SyncSender<Vec<Pending>> {
    fn offer(&mut self, entries: Vec<Pending>) -> Result<bool, Vec<Pending>> {
        match self.try_send(entries) {
            Ok(()) => Ok(true),
            Err(std::sync::mpsc::TrySendError::Full(entries)) => Err(entries),
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => Ok(false),
        }
    }

    fn push(&mut self, entries: Vec<Pending>) -> bool {
        self.send(entries).is_ok()
    }
}
