//! How far an operation is: plain counters that the operation moves and whoever shows them reads at their own pace.
//!
//! Counts, the phase, and what is waited for; no rates and no times. Nothing is decided by them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What is being done, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phase {
    /// Such as `reading packs`; empty before the first.
    pub name: &'static str,
    /// What is counted, in the singular, such as `pack`; empty where nothing is.
    pub thing: &'static str,
}

/// Shared between an operation and its display. Totals may grow; 0 means not known.
#[derive(Debug, Default)]
pub struct Progress {
    /// Files (or whatever the phase counts) dealt with.
    pub files_done: AtomicU64,
    /// Bytes of them, as the source or the target counts them.
    pub bytes_done: AtomicU64,
    /// Files there are, if known.
    pub files_total: AtomicU64,
    /// Bytes there are, if known.
    pub bytes_total: AtomicU64,
    /// The totals are those of another time: about right, or not.
    pub estimated: AtomicBool,
    /// Bytes written to the store so far.
    pub bytes_stored: AtomicU64,
    /// What is being done.
    phase: Mutex<Phase>,
    /// What is waited for longer than usual, and why.
    waits: Mutex<BTreeMap<String, String>>,
    /// What was seen last of what is looked at again and again, and how long that may go on.
    seen: Mutex<Option<Seen>>,
}

/// What was seen of something that is not yet as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// That.
    pub what: String,
    /// How long it is looked at in all.
    pub limit: Duration,
}

impl Progress {
    /// Enters a phase that goes on counting what the one before counted.
    pub fn enter(&self, name: &'static str) {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).name = name;
    }

    /// Enters a phase that counts `thing`s from 0; an empty `thing` is one that counts nothing.
    pub fn begin(&self, name: &'static str, thing: &'static str) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        for counter in [&self.files_done, &self.bytes_done, &self.files_total, &self.bytes_total, &self.bytes_stored] {
            counter.store(0, Ordering::Relaxed);
        }
        self.estimated.store(false, Ordering::Relaxed);
        *phase = Phase { name, thing };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// So it is, and not yet as it should be; or it is.
    pub fn sees(&self, seen: Option<Seen>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    /// What was seen last.
    pub fn seen(&self) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much there is in all; `estimated` if that is only likely.
    pub fn expect(&self, files: u64, bytes: u64, estimated: bool) {
        self.files_total.store(files, Ordering::Relaxed);
        self.bytes_total.store(bytes, Ordering::Relaxed);
        self.estimated.store(estimated, Ordering::Relaxed);
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

    /// `what` is waited for longer than usual, because of `why`; without a reason it is waited for no more.
    pub fn waits_for(&self, what: &str, why: Option<String>) {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => waits.insert(what.to_owned(), why),
            None => waits.remove(what),
        };
    }

    /// Everything that is waited for, each with its reason.
    pub fn waiting(&self) -> Vec<String> {
        let waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.iter().map(|(what, why)| format!("{what}: {why}")).collect()
    }
}
