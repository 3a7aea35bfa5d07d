//! A place for the content of one file: filled by a worker, awaited by the assembler, which needs the entries in order.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::format::entry::{FileTime, Identity, Piece};
use crate::format::live::Live;
use crate::tree::problem::Problem;

/// What became of a file.
#[derive(Debug)]
pub enum Outcome {
    /// It was read.
    Read(FileRead),
    /// It could not be read.
    Failed(Problem),
    /// The run is ending and nobody will read it.
    Abandoned,
}

/// A file that was read.
#[derive(Debug)]
pub struct FileRead {
    /// Its pieces in order.
    pub pieces: Vec<Piece>,
    /// Their sum.
    pub size: u64,
    /// Its mtime when it was opened.
    pub mtime: FileTime,
    /// Its identity when it was opened.
    pub identity: Identity,
    /// Set if it changed while it was read.
    pub changed: Option<Problem>,
    /// Set if it holds a key of ours.
    pub key: Option<Box<Problem>>,
    /// Set if it is a database of a source in use.
    pub live: Option<Box<Live>>,
    /// Set if that could not be captured.
    pub trouble: Option<Box<Problem>>,
}

/// See the module.
#[derive(Default, Debug)]
pub struct Slot {
    outcome: Mutex<Held>,
    filled: Condvar,
}

#[derive(Default, Debug)]
enum Held {
    #[default]
    Nothing,
    Filled(Outcome),
    Taken,
}

impl Slot {
    /// Fills it; the first outcome stays.
    pub fn fill(&self, outcome: Outcome) {
        let mut held = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*held, Held::Nothing) {
            *held = Held::Filled(outcome);
        }
        drop(held);
        self.filled.notify_all();
    }

    /// Waits until it is filled and takes what is in it; a second taker gets [`Outcome::Abandoned`].
    pub fn wait(&self) -> Outcome {
        let mut held = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *held, Held::Taken) {
                Held::Filled(outcome) => return outcome,
                Held::Taken => return Outcome::Abandoned,
                Held::Nothing => *held = Held::Nothing,
            }
            held = self.filled.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
