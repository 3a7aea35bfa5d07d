//! What of a run is under way: each step with a progress of its own, how many are over, and what comes next. Moved by what is written down, read at their own pace by whoever shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::machine::Machine;
use crate::base::progress::Progress;

/// Steps over, and still to come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many are over, whatever came of them.
    pub over: usize,
    /// How many there are, without those that undo.
    pub all: usize,
    /// What is begun next, as far as that does not depend on what fails.
    pub next: Vec<String>,
}

#[derive(Debug, Default)]
struct Inner {
    under_way: Vec<(String, Arc<Progress>)>,
    standing: Standing,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board(Mutex<Inner>);

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step begins.
    pub fn begins(&self, step: &str) {
        let mut inner = self.inner();
        inner.under_way.retain(|(id, _)| id != step);
        inner.under_way.push((step.to_owned(), Arc::default()));
    }

    /// A step is over, or is not under way any more.
    pub fn ends(&self, step: &str) {
        self.inner().under_way.retain(|(id, _)| id != step);
    }

    /// Where the run is now.
    pub fn stands(&self, machine: &Machine<'_>) {
        self.inner().standing = machine.standing();
    }

    /// The progress of a step; one that nobody sees if it is not under way.
    #[must_use]
    pub fn of(&self, step: &str) -> Arc<Progress> {
        let inner = self.inner();
        let found = inner.under_way.iter().find(|(id, _)| id == step);
        found.map(|(_, progress)| progress.clone()).unwrap_or_default()
    }

    /// All that is under way, in the order in which it was begun.
    #[must_use]
    pub fn under_way(&self) -> Vec<(String, Arc<Progress>)> {
        self.inner().under_way.clone()
    }

    /// See [`Standing`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.inner().standing.clone()
    }
}
