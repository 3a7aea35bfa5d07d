//! Files that are being restored: opened when their first piece is written, finished when the last one is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::backup::Context;
use crate::base::progress::Progress;
use crate::format::entry::{Entry, Kind, Piece, TreePath};
use crate::recover::window::{Window, Write};
use crate::recover::{RestoreError, RestoreProblem, RestoreReport};
use crate::repo::fetch::Reader;
use crate::repo::tree_read;
use crate::tree::problem::{Cause, Problem};
use crate::tree::restore::{FileWriter, Target};

/// Writes gathered before they are carried out; about 5 MiB of memory.
const WINDOW_WRITES: usize = 50_000;
/// Files with several pieces in a window: so many may be open at once.
const WINDOW_OPEN_FILES: usize = 200;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened to files, told by the threads that write them.
pub struct Results {
    progress: Arc<Progress>,
    problems: Mutex<Vec<RestoreProblem>>,
    files: AtomicUsize,
    bytes: AtomicU64,
    full: Mutex<Option<TreePath>>,
}

/// A file on its way to the disk.
pub struct OpenFile {
    entry: Entry,
    size: u64,
    target: Target,
    writer: Mutex<Option<Arc<FileWriter>>>,
    /// Pieces not yet written, plus one until all are known.
    pending: AtomicUsize,
    failed: AtomicBool,
    results: Arc<Results>,
}

impl OpenFile {
    fn writer(&self) -> Result<Arc<FileWriter>, Problem> {
        let mut held = lock(&self.writer);
        if let Some(writer) = &*held {
            return Ok(writer.clone());
        }
        let writer = Arc::new(self.target.create_file(&self.entry.path, self.size)?);
        *held = Some(writer.clone());
        Ok(writer)
    }

    /// Writes bytes at a place; a problem is told once and the file is given up.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        if self.failed.load(Ordering::Acquire) {
            return;
        }
        if let Err(problem) = self.writer().and_then(|writer| writer.write_at(offset, bytes)) {
            self.fail(problem.into());
        }
    }

    /// Gives the file up: what was written of it is removed.
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
            Ok(problems) => {
                self.results.files.fetch_add(1, Ordering::Relaxed);
                self.results.progress.add_file(0);
                self.results.bytes.fetch_add(self.size, Ordering::Relaxed);
                lock(&self.results.problems).extend(problems.into_iter().map(RestoreProblem::from));
            }
            Err(problem) => self.fail(problem.into()),
        }
    }
}

/// Gathers writes and carries them out window by window.
pub struct Files<'a> {
    context: &'a Context,
    reader: &'a Arc<Reader>,
    target: Option<Target>,
    target_path: PathBuf,
    results: Arc<Results>,
    window: Window,
    open: usize,
}

impl<'a> Files<'a> {
    /// Restores into `target`.
    pub fn new(context: &'a Context, reader: &'a Arc<Reader>, target: Option<Target>, target_path: PathBuf) -> Self {
        let results = Arc::new(Results {
            progress: context.progress.clone(),
            problems: Mutex::default(),
            files: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            full: Mutex::default(),
        });
        Self { context, reader, target, target_path, results, window: Window::default(), open: 0 }
    }

    /// Adds a file; carries out the window when it is full.
    pub async fn add(&mut self, entry: Entry, report: &mut RestoreReport) -> Result<(), RestoreError> {
        let Kind::File { size, content } = &entry.kind else { return Ok(()) };
        let size = *size;
        let Some(target) = self.target.clone() else { return Ok(()) };
        let pieces = match tree_read::pieces(self.reader, content, size).await {
            Ok(pieces) => pieces,
            Err(source) => {
                let source = self.reader.blame(source).await?;
                report.problems.push(RestoreProblem::Damaged { path: entry.path, source });
                self.context.progress.add_file(size);
                return Ok(());
            }
        };
        let file = Arc::new(OpenFile {
            entry,
            size,
            target,
            writer: Mutex::default(),
            pending: AtomicUsize::new(1),
            failed: AtomicBool::new(false),
            results: self.results.clone(),
        });
        self.open += usize::from(pieces.len() > 1);
        let mut offset = 0;
        for piece in pieces {
            if let Piece::Hole { length } = piece {
                self.context.progress.add_bytes(length);
            }
            if let Piece::Data { blob, skip, length } = piece {
                file.pending.fetch_add(1, Ordering::AcqRel);
                self.window.push(Write { blob, file: file.clone(), offset, skip, length });
                if self.window.len() >= WINDOW_WRITES {
                    self.carry_out().await?;
                }
            }
            offset += piece.length();
        }
        file.done();
        if self.open >= WINDOW_OPEN_FILES {
            self.carry_out().await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self) -> Result<(), RestoreError> {
        self.open = 0;
        std::mem::take(&mut self.window).carry_out(self.context, self.reader).await?;
        match lock(&self.results.full).take() {
            Some(path) => Err(RestoreError::Full { target: self.target_path.clone(), path }),
            None => Ok(()),
        }
    }

    /// Carries out what is left and adds what happened to the report.
    pub async fn finish(&mut self, report: &mut RestoreReport) -> Result<(), RestoreError> {
        self.carry_out().await?;
        report.files += self.results.files.swap(0, Ordering::AcqRel) as u64;
        report.bytes = report.bytes.saturating_add(self.results.bytes.swap(0, Ordering::AcqRel));
        report.problems.append(&mut lock(&self.results.problems));
        Ok(())
    }
}
