//! What every command is given: the global options, where to print, how to be stopped.

use std::sync::Arc;

use chrono::{FixedOffset, Offset as _};

use crate::backup;
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, SystemClock, Time};
use crate::base::progress::Progress;
use crate::cli::again::Again;
use crate::cli::configuration::Loaded;
use crate::cli::failure::Failure;
use crate::cli::globals::Globals;
use crate::cli::output::{Out, Talk};
use crate::repo::Repository;

/// See the module.
pub struct Context {
    /// The options that every command takes.
    pub globals: Globals,
    /// The result goes here.
    pub out: Out,
    /// Everything else goes here.
    pub talk: Arc<Talk>,
    /// Set by Ctrl-C.
    pub cancel: Arc<Cancel>,
    /// Moved by operations, shown by `progress`.
    pub progress: Arc<Progress>,
    /// The configuration, if there is one.
    pub(crate) configuration: Option<Arc<Loaded>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Context {
    /// A context of the process's own streams.
    pub(crate) fn new(globals: Globals, again: Again) -> Self {
        Self {
            out: Out::new(globals.json),
            talk: Arc::new(Talk::new(globals.quiet, globals.color, again)),
            cancel: Arc::new(Cancel::default()),
            progress: Arc::new(Progress::default()),
            configuration: None,
            clock: Arc::new(SystemClock),
            globals,
        }
    }

    /// What operations are given.
    pub fn operation(&self, repository: Arc<Repository>) -> backup::Context {
        self.cancel.begin();
        backup::Context {
            repository,
            clock: self.clock.clone(),
            progress: self.progress.clone(),
            cancel: self.cancel.clone(),
        }
    }

    /// Says something after everything that was printed so far; not with `--quiet`.
    pub fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.out.flush()?;
        self.talk.say(text);
        Ok(())
    }

    /// A line that sums up what was done, on standard output; not with `--quiet`, unless it has to be known all the same: what a dry run would
    /// do, or that there is damage.
    pub fn summary(&mut self, always: bool, text: &str) -> Result<(), Failure> {
        if self.globals.quiet && !always { Ok(()) } else { self.line(text) }
    }

    /// A line of the result that names commands to run next.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        let told = self.talk.again().told(text);
        self.out.line(&told)
    }

    /// The offset of this machine's time zone now; times without an offset are meant in it.
    pub fn zone(&self) -> FixedOffset {
        self.clock.now().utc().with_timezone(&chrono::Local).offset().fix()
    }
}

/// A time as tables show it, in this machine's time zone, to the minute: `2026-11-01 03:00`.
pub fn local(time: Time) -> String {
    time.utc().with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M").to_string()
}

/// The name of this machine, as snapshots record it.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
