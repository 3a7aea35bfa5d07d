//! What of a run is under way: each step with a progress of its own, how many are over, and what comes next. Moved by what is written down, read at their own pace by whoever shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

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

/// A step that is under way.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// Which.
    pub step: String,
    /// Since when.
    pub since: Instant,
    /// How far it is.
    pub progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Inner {
    under_way: Vec<UnderWay>,
    standing: Standing,
    clearing: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board(Mutex<Inner>);

impl Board {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step begins now.
    pub fn begins(&self, step: &str, since: Instant) {
        let mut inner = self.inner();
        inner.under_way.retain(|one| one.step != step);
        inner.under_way.push(UnderWay { step: step.to_owned(), since, progress: Arc::default() });
    }

    /// Nothing is begun any more: what was made for the run is taken away, which is this.
    pub fn clears(&self, what: String) {
        self.inner().clearing = Some(what);
    }

    /// See [`Board::clears`].
    #[must_use]
    pub fn clearing(&self) -> Option<String> {
        self.inner().clearing.clone()
    }

    /// A step is over, or is not under way any more.
    pub fn ends(&self, step: &str) {
        self.inner().under_way.retain(|one| one.step != step);
    }

    /// Where the run is now.
    pub fn stands(&self, machine: &Machine<'_>) {
        self.inner().standing = machine.standing();
    }

    /// The progress of a step; one that nobody sees if it is not under way.
    #[must_use]
    pub fn of(&self, step: &str) -> Arc<Progress> {
        let inner = self.inner();
        let found = inner.under_way.iter().find(|one| one.step == step);
        found.map(|one| one.progress.clone()).unwrap_or_default()
    }

    /// All that is under way, in the order in which it was begun.
    #[must_use]
    pub fn under_way(&self) -> Vec<UnderWay> {
        self.inner().under_way.clone()
    }

    /// See [`Standing`].
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.inner().standing.clone()
    }
}
