//! What earlier runs have left held. Dead ones are released before a run begins. Of one that may be alive nobody knows that until it speaks again or has been silent for
//! long enough; so it is looked at once more when the run is over, and what is held then is told: something may stand still that nobody comes back for.

use super::Movers;
use super::hold::acting;
use crate::base::causes::in_one_line;
use crate::base::clock::Time;
use crate::hooks::hold::Released;
use crate::hooks::journal::Journal;
use crate::hooks::release::{Report, Swept, back, name, sweep};
use crate::hooks::{HookError, Waits};

/// See the module.
#[derive(Default)]
pub(super) struct Earlier {
    namespace: String,
    /// Runs that may be alive, and when they said last that they are.
    alive: Vec<(String, Time)>,
    /// Journals may not be listed, and why.
    denied: Option<String>,
    /// What is held, or may be.
    still_held: Vec<String>,
}

/// Something is held, and a person should know.
type Warn<'a> = dyn Fn(&str) + Sync + 'a;

impl Earlier {
    /// Releases what dead runs have left in the journals of our namespace.
    pub(super) async fn begin(movers: &Movers<'_>, namespace: &str, warn: &Warn<'_>) -> Self {
        let mut earlier = Self { namespace: namespace.to_owned(), ..Self::default() };
        let acting = acting(movers, Waits::default().empty);
        match sweep(&acting, Some(namespace)).await {
            Ok(Swept { reports, alive, unreadable }) => {
                back(&acting, &reports).await;
                earlier.tell(&reports, warn);
                for error in unreadable {
                    let why = in_one_line(&error);
                    earlier.holds(
                        format!("what a run may have held nobody can say: {why} (see `homelab-dr release`)"),
                        warn,
                    );
                }
                for journal in alive {
                    warn(&format!("{}, and may be alive: left alone", holds(&journal)));
                    earlier.alive.push((journal.run.clone(), journal.renewed()));
                }
            }
            // Who has no hooks needs no right to look for what they left; whether there are any, annotations say.
            Err(HookError::Cluster { what, source }) if source.is_denied() => {
                earlier.denied = Some(in_one_line(&HookError::Cluster { what, source }));
            }
            Err(error) => earlier.unknown(&in_one_line(&error), warn),
        }
        earlier
    }

    /// What is held now, when everything else is done; `hooked` if this source has hooks, or a claim of its has.
    pub(super) async fn end(mut self, movers: &Movers<'_>, hooked: bool, warn: &Warn<'_>) -> Vec<String> {
        if let Some(why) = self.denied.take().filter(|_| hooked) {
            self.unknown(&why, warn);
        }
        if self.alive.is_empty() || movers.cancel.is_cancelled() {
            return self.still_held;
        }
        match sweep(&acting(movers, Waits::default().empty), Some(&self.namespace)).await {
            Ok(Swept { reports, alive, .. }) => {
                self.tell(&reports, warn);
                // One that has spoken since lives.
                let silent = |journal: &Journal| self.alive.contains(&(journal.run.clone(), journal.renewed()));
                let silent: Vec<String> = alive.iter().filter(|journal| silent(journal)).map(holds).collect();
                for holds in silent {
                    let once_over = "the next backup does so once that is ten minutes ago";
                    self.holds(format!("{holds}, and has not said since that it is alive; {once_over}"), warn);
                }
            }
            Err(error) => self.unknown(&in_one_line(&error), warn),
        }
        self.still_held
    }

    fn holds(&mut self, what: String, warn: &Warn<'_>) {
        warn(&format!("STILL HELD: {what}"));
        self.still_held.push(what);
    }

    fn unknown(&mut self, why: &str, warn: &Warn<'_>) {
        let what = format!("what earlier runs left held could not be looked for: {why}");
        warn(&what);
        self.still_held.push(what);
    }

    fn tell(&mut self, reports: &[Report], warn: &Warn<'_>) {
        for row in reports.iter().flat_map(|report| &report.rows) {
            let left = format!("an earlier run was cut off and left {} held", row.what);
            match &row.outcome {
                Released::Done => warn(&format!("{left}: released")),
                Released::NotHeld | Released::Gone => {}
                Released::Except { why } => warn(&format!("{left}: released, but {}", why.join("; "))),
                Released::Failed { why } => self.holds(format!("{left}: {why} (see `homelab-dr release`)"), warn),
            }
        }
    }
}

/// What a run holds, and how that is let go if it is dead.
fn holds(journal: &Journal) -> String {
    let Journal { run, host, entries, .. } = journal;
    let mut what: Vec<String> = entries.iter().rev().map(name).collect();
    let of_claim = |namespace: &str, claim: &str| format!("PersistentVolumeClaim {namespace}/{claim}");
    what.extend(journal.unfinished.iter().map(|unfinished| of_claim(&unfinished.namespace, &unfinished.claim)));
    let (what, said) = (what.join(", "), journal.renewed());
    format!(
        "run {run} of {host} holds {what} (if it is dead, `homelab-dr release --run {run}` lets that go); it said last at {said} that it is alive"
    )
}
