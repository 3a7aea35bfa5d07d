//! One file on its way to the disk: opened when its first piece is written, finished when the last one is. Threads write it, and tell what came of it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::base::progress::Progress;
use crate::format::entry::{Entry, TreePath};
use crate::recover::{RestoreProblem, RestoreReport};
use crate::tree::problem::{Cause, Problem};
use crate::tree::restore::{Comparison, FileWriter, PatchFile, Target};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened to files, told by the threads that write them.
pub(super) struct Results {
    progress: Arc<Progress>,
    problems: Mutex<Vec<RestoreProblem>>,
    files: AtomicUsize,
    bytes: AtomicU64,
    written: AtomicU64,
    others: AtomicU64,
    unchanged: AtomicU64,
    full: Mutex<Option<TreePath>>,
}

impl Results {
    pub(super) fn new(progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self {
            progress,
            problems: Mutex::default(),
            files: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            others: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            full: Mutex::default(),
        })
    }

    /// The file at which the disk was full, once.
    pub(super) fn take_full(&self) -> Option<TreePath> {
        lock(&self.full).take()
    }

    /// Adds all that happened since the last time to a report.
    pub(super) fn hand_over(&self, report: &mut RestoreReport) {
        report.files += self.files.swap(0, Ordering::AcqRel) as u64;
        report.bytes = report.bytes.saturating_add(self.bytes.swap(0, Ordering::AcqRel));
        report.written = report.written.saturating_add(self.written.swap(0, Ordering::AcqRel));
        report.others += self.others.swap(0, Ordering::AcqRel);
        report.unchanged += self.unchanged.swap(0, Ordering::AcqRel);
        report.problems.append(&mut lock(&self.problems));
    }
}

/// What came of a file.
enum Ended {
    /// Its content was written.
    Written,
    /// Only its metadata was.
    Mended,
    /// All of it was there.
    Same,
}

/// What takes the bytes of a file.
pub(super) enum Writer {
    /// A new one, which takes the old one's place when it is whole.
    New(FileWriter),
    /// The one that is there; with how it compared, its bytes aside.
    There(PatchFile, Comparison),
}

impl Writer {
    /// Returns how many bytes were written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<u64, Problem> {
        match self {
            Self::New(writer) => writer.write_at(offset, bytes).map(|()| bytes.len() as u64),
            Self::There(file, _) => file.write_at(offset, bytes),
        }
    }

    /// Also what came of it.
    fn finish(self, entry: &Entry) -> Result<(Ended, Vec<Problem>), Problem> {
        match self {
            Self::New(writer) => writer.finish(entry).map(|problems| (Ended::Written, problems)),
            Self::There(file, Comparison::Same) if !file.is_changed() => Ok((Ended::Same, Vec::new())),
            Self::There(file, _) => {
                let ended = if file.is_changed() { Ended::Written } else { Ended::Mended };
                file.finish(entry).map(|problems| (ended, problems))
            }
        }
    }
}

/// A file on its way to the disk.
pub struct OpenFile {
    entry: Entry,
    size: u64,
    /// `None` for a raw volume: nothing is made there.
    target: Option<Target>,
    writer: Mutex<Option<Arc<Writer>>>,
    /// Pieces not yet written, plus one until all are known.
    pending: AtomicUsize,
    failed: AtomicBool,
    results: Arc<Results>,
}

impl OpenFile {
    /// One of `size` bytes: a new one, or `there`. Until [`OpenFile::done`] more pieces may be awaited.
    pub(super) fn new(
        (entry, size): (Entry, u64),
        target: Option<Target>,
        there: Option<(PatchFile, Comparison)>,
        results: Arc<Results>,
    ) -> Arc<Self> {
        let writer = there.map(|(file, comparison)| Arc::new(Writer::There(file, comparison)));
        let (pending, failed) = (AtomicUsize::new(1), AtomicBool::new(false));
        Arc::new(Self { entry, size, target, writer: Mutex::new(writer), pending, failed, results })
    }

    /// One more piece is on its way.
    pub(super) fn awaits(&self) {
        self.pending.fetch_add(1, Ordering::AcqRel);
    }

    fn writer(&self) -> Result<Arc<Writer>, Problem> {
        let mut held = lock(&self.writer);
        if let Some(writer) = &*held {
            return Ok(writer.clone());
        }
        let gone = || Problem::new(self.entry.path.clone(), "writing", Cause::Replaced);
        let target = self.target.as_ref().ok_or_else(gone)?;
        let writer = Arc::new(Writer::New(target.create_file(&self.entry.path, self.size)?));
        *held = Some(writer.clone());
        Ok(writer)
    }

    /// Writes bytes at a place; a problem is told once and the file is given up.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        if self.failed.load(Ordering::Acquire) {
            return;
        }
        match self.writer().and_then(|writer| writer.write_at(offset, bytes)) {
            Ok(written) => drop(self.results.written.fetch_add(written, Ordering::Relaxed)),
            Err(problem) => self.fail(problem.into()),
        }
    }

    /// Gives the file up: what was written of a new one is removed; one that was there stays as it is by now.
    pub fn fail(&self, problem: RestoreProblem) {
        if self.failed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.results.progress.add_file(0);
        lock(&self.writer).take();
        if let RestoreProblem::Tree(Problem { cause: Cause::System(Errno::NOSPC | Errno::DQUOT), path, .. }) = &problem
        {
            *lock(&self.results.full) = Some(path.clone());
        }
        lock(&self.results.problems).push(problem);
    }

    /// The file's path in the target.
    pub const fn path(&self) -> &TreePath {
        &self.entry.path
    }

    /// One piece is written, or all are known; the last one finishes the file.
    pub fn done(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) != 1 || self.failed.load(Ordering::Acquire) {
            return;
        }
        let finished = self.writer().and_then(|writer| {
            lock(&self.writer).take();
            // Every other holder dropped its clone before it counted down.
            Arc::try_unwrap(writer)
                .map_err(|_| Problem::new(self.entry.path.clone(), "finishing", Cause::Replaced))
                .and_then(|writer| writer.finish(&self.entry))
        });
        match finished {
            Ok((ended, problems)) => {
                self.results.progress.add_file(0);
                match ended {
                    Ended::Written => {
                        self.results.files.fetch_add(1, Ordering::Relaxed);
                        self.results.bytes.fetch_add(self.size, Ordering::Relaxed);
                    }
                    Ended::Mended => drop(self.results.others.fetch_add(1, Ordering::Relaxed)),
                    Ended::Same => drop(self.results.unchanged.fetch_add(1, Ordering::Relaxed)),
                }
                lock(&self.results.problems).extend(problems.into_iter().map(RestoreProblem::from));
            }
            Err(problem) => self.fail(problem.into()),
        }
    }
}
