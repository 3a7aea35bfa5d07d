//! What is to be read and what is to be stored, handed to the worker threads.
//!
//! A worker reads a whole file or batch by itself. Only while others have nothing to do does it pass chunks of its file on, so that one large file is
//! stored on all cores and many files cost no copying.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::backup::file::FileState;
use crate::backup::slot::{Outcome, Slot};
use crate::tree::found::Found;

/// Jobs that wait at most; the walk waits when there are more.
const JOBS_MAX: usize = 64;
/// Chunks that wait at most; with 4 MiB each this bounds memory.
const CHUNKS_MAX: usize = 2;

/// A file to read and where its content goes.
pub struct FileJob {
    /// The file.
    pub found: Found,
    /// Where its content goes.
    pub slot: Arc<Slot>,
}

/// A job that is dropped before it was done must not leave the assembler waiting; a slot that is filled already stays as it is.
impl Drop for FileJob {
    fn drop(&mut self) {
        self.slot.fill(Outcome::Abandoned);
    }
}

/// Work for a thread.
pub enum Job {
    /// Small files that share a chunk.
    Batch(Vec<FileJob>),
    /// A file of its own.
    File(FileJob),
    /// A chunk of a file that another worker reads.
    Chunk {
        /// Its bytes.
        data: Vec<u8>,
        /// The file.
        file: Arc<FileState>,
        /// Which piece of the file it is.
        at: usize,
    },
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    chunks: VecDeque<Job>,
    idle: usize,
    closed: bool,
}

/// See the module.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job; waits while there are too many. `false` when the queue was closed and the job was dropped.
    pub fn push(&self, job: Job) -> bool {
        let mut state = self.lock();
        while state.jobs.len() >= JOBS_MAX && !state.closed {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.work.notify_one();
        true
    }

    /// Whether some worker has nothing to do and would take a chunk.
    pub fn wants_chunk(&self) -> bool {
        let state = self.lock();
        state.idle > state.chunks.len() && state.chunks.len() < CHUNKS_MAX
    }

    /// Passes a chunk on; it is taken by an idle worker, or by whoever asks next.
    pub fn push_chunk(&self, job: Job) {
        self.lock().chunks.push_back(job);
        self.work.notify_one();
    }

    /// The next job: chunks first. `None` when the queue is closed and empty.
    pub fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            let next = state.chunks.pop_front().or_else(|| state.jobs.pop_front());
            if next.is_some() {
                drop(state);
                self.room.notify_one();
                return next;
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// No more jobs will come; what waits is still done.
    pub fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.room.notify_all();
    }

    /// Ends the work: what waits is dropped (and every slot it held is told).
    pub fn abort(&self) {
        let mut state = self.lock();
        state.closed = true;
        let dropped = (std::mem::take(&mut state.jobs), std::mem::take(&mut state.chunks));
        drop(state);
        drop(dropped);
        self.work.notify_all();
        self.room.notify_all();
    }
}
