//! How far an operation is: plain counters that the operation moves and whoever shows them reads at their own pace.
//!
//! Counts only; no rates, no times and no text for people beyond the phase. Nothing is decided by these numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Shared between an operation and its display. Totals are estimates that may grow; 0 means not known.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files (or objects, in operations on a store) dealt with.
    pub files_done: AtomicU64,
    /// Bytes of them, as the source or the target counts them.
    pub bytes_done: AtomicU64,
    /// Files there are, if known.
    pub files_total: AtomicU64,
    /// Bytes there are, if known.
    pub bytes_total: AtomicU64,
    /// Bytes written to the store so far.
    pub bytes_stored: AtomicU64,
    /// What is being done, such as `reading files`; empty before the first.
    pub phase: Mutex<&'static str>,
}

impl Progress {
    /// Enters a phase; the counters stay.
    pub fn enter(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// The phase it is in.
    pub fn phase(&self) -> &'static str {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more file of `bytes` is done.
    pub fn add_file(&self, bytes: u64) {
        self.files_done.fetch_add(1, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// More bytes are done, of a file that is not finished.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
}
