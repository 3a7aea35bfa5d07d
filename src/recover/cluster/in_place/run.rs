//! Carrying it out: hold, safety copy, fill, let go; each written down before it is done.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use super::super::movers::{ByMovers, NotCopied};
use super::super::volumes::{Filled, Outcome, Volumes as _};
use super::InPlacePlan;
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::hooks::journal::Journal;
use crate::hooks::release::{Report as Released, release};
use crate::hooks::scale::begin;
use crate::hooks::unfinished::{self, Unfinished};
use crate::hooks::{Acting, HookError};
use crate::repo::snapshots::BEFORE_RESTORE;
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::mover::{Crew, MoverError};

/// The exit code of a mover that wrote nothing.
const REFUSED: u8 = 7;

/// Everything that a run is given.
pub struct InPlace<'a> {
    /// What holds are made with. Its wish to stop is that of the whole.
    pub acting: Acting<'a>,
    /// What fills, and makes the safety copy.
    pub movers: ByMovers<'a>,
    /// What the journal and the holds are called: the same each time that this is tried again; `None` for a name of this try alone.
    pub id: Option<&'a str>,
    /// The namespace that the journal is kept in.
    pub namespace: &'a str,
    /// The name of this machine.
    pub host: &'a str,
    /// Whether what is there is backed up first.
    pub safety_copy: bool,
}

/// Why nothing was written to the volume.
#[derive(Debug, Clone, Serialize)]
pub struct NotWritten {
    /// Why.
    pub why: String,
    /// What to do about it.
    pub mend: String,
    /// The exit code of whoever failed, if it says one.
    #[serde(skip)]
    pub exit: Option<u8>,
    /// What there was to see of the mover that was to make the safety copy.
    #[serde(skip_serializing_if = "Evidence::is_empty")]
    pub mover: Evidence,
}

impl NotWritten {
    fn new(why: String, mend: impl Into<String>) -> Self {
        Self { why, mend: mend.into(), exit: None, mover: Evidence::default() }
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The run.
    pub run: String,
    /// The snapshot of what was in the volume before, in hex.
    pub safety_copy: Option<String>,
    /// Why nothing was written.
    pub not_written: Option<NotWritten>,
    /// What became of the volume, if something was written.
    pub volume: Option<Filled>,
    /// What was let go; `None` if it stays as it is, since the volume is half of something.
    pub released: Option<Released>,
    /// What should have been taken away and could not be.
    pub left: Vec<String>,
}

fn not(error: &HookError, what: &str) -> NotWritten {
    let mend = match error {
        HookError::Cancelled => "run it again",
        HookError::Stirred { .. } | HookError::Changed { .. } => {
            "see who changes it (another person, GitOps, an operator), and run it again"
        }
        HookError::Held { .. } => "wait for the other run; if it is dead, `homelab-dr release` undoes what it has left",
        _ => "see the cluster, and run it again",
    };
    NotWritten::new(format!("{what}: {}", in_one_line(error)), mend)
}

/// Whether its mover said before the first byte that it does not write: a device that is too short is as it was.
fn is_untouched(plan: &InPlacePlan, outcome: &Outcome) -> bool {
    plan.data.device && matches!(outcome, Outcome::Unknown { exit: Some(REFUSED), .. })
}

impl InPlace<'_> {
    /// See the module.
    pub async fn run(self, plan: &InPlacePlan) -> Report {
        let stop = Cancel::default();
        let movers = ByMovers { crew: Crew { cancel: &stop, ..self.movers.crew }, in_place: true, ..self.movers };
        let still = movers.crew.limits.still;
        let running = Running { acting: self.acting, movers: &movers, plan, stop: &stop, still, host: self.host };
        let now = self.acting.clock.now();
        let mut journal = plan
            .journal
            .clone()
            .unwrap_or_else(|| Journal::new(self.namespace, self.id.unwrap_or(movers.run.as_str()), self.host, now));
        let mut report = Report {
            run: journal.run.clone(),
            safety_copy: plan.safety_copy.clone(),
            not_written: None,
            volume: None,
            released: None,
            left: Vec::new(),
        };
        if plan.journal.is_none()
            && let Err(not) = running.prepare(&mut journal, self.safety_copy, &mut report).await
        {
            report.not_written = Some(not);
            report.released = Some(release(&self.acting, &mut journal).await);
            return report;
        }
        let filled = running.fill(&mut journal, &mut report).await;
        let is_over = match &filled {
            Some(filled) if plan.journal.is_none() && is_untouched(plan, &filled.outcome) => true,
            Some(filled) => filled.outcome.is_well(),
            // Nothing was written, so nothing is half of something, unless it was before.
            None => plan.journal.is_none(),
        };
        if is_over {
            match unfinished::finish(&self.acting, &mut journal).await {
                Ok(()) => report.released = Some(release(&self.acting, &mut journal).await),
                Err(error) => report.left.push(format!("the note that it is being restored: {}", in_one_line(&error))),
            }
        }
        report.volume = filled;
        report
    }
}

struct Running<'a> {
    acting: Acting<'a>,
    movers: &'a ByMovers<'a>,
    plan: &'a InPlacePlan,
    /// Stops the movers.
    stop: &'a Cancel,
    /// Between two looks.
    still: Duration,
    host: &'a str,
}

impl Running<'_> {
    /// Holds what uses the volume, and backs up what is in it. After an error everything is to be let go.
    async fn prepare(&self, journal: &mut Journal, copy: bool, report: &mut Report) -> Result<(), NotWritten> {
        let held = begin(&self.acting, &self.plan.scale, journal).await;
        held.map_err(|error| not(&error, "what uses it was not brought to rest"))?;
        if !copy {
            return Ok(());
        }
        let tags = BTreeMap::from([(BEFORE_RESTORE.to_owned(), self.plan.data.snapshot.short())]);
        let filling = self.plan.filling();
        let holds = journal.clone();
        let still = async {
            let looked = self.still(&holds).await;
            looked.map_err(|error| MoverError::Stirred(Box::new(error)))
        };
        let copying = Box::pin(self.movers.back_up(&filling, tags, self.host, still));
        let made = self.while_held(journal, copying).await;
        let ((copied, left), stirred) = made;
        report.left.extend(left);
        if let Some(error) = stirred {
            return Err(not(&error, "it did not rest while its safety copy was made"));
        }
        let mend = "mend that and run it again; --no-safety-copy goes without, and what is there is lost then";
        match copied {
            Ok((summary, problems)) => {
                if let Some(problem) = problems.iter().find(|problem| problem.missing) {
                    let why = format!(
                        "its safety copy {} is not whole: {} {}",
                        summary.snapshot, problem.path, problem.message
                    );
                    return Err(NotWritten::new(why, mend));
                }
                report.safety_copy = Some(summary.snapshot);
                Ok(())
            }
            Err(NotCopied { outcome: Outcome::Unknown { why, mend: of_mover, exit, .. }, mover }) => {
                let why = format!("its safety copy was not made: {why}");
                Err(NotWritten { why, mend: format!("{of_mover}; {mend}"), exit, mover })
            }
            Err(_) => Err(NotWritten::new("its safety copy was not made".to_owned(), mend)),
        }
    }

    /// Writes the volume. `None` if it was not begun.
    async fn fill(&self, journal: &mut Journal, report: &mut Report) -> Option<Filled> {
        let unfinished = Unfinished {
            namespace: self.plan.namespace().to_owned(),
            claim: self.plan.claim.name.clone(),
            snapshot: self.plan.origin(),
            safety_copy: report.safety_copy.clone(),
        };
        if let Err(error) = unfinished::begin(&self.acting, journal, unfinished).await {
            report.not_written = Some(not(&error, "it could not be written down that the volume is being written"));
            return None;
        }
        let filling = self.plan.filling();
        let (mut filled, stirred) = self.while_held(journal, self.movers.fill(&filling)).await;
        if let Some(error) = stirred {
            let why = format!("what uses it did not rest while it was written: {}", in_one_line(&error));
            filled.outcome = Outcome::unknown(why, "scale what uses it to zero, see who started it, and run it again");
        }
        Some(filled)
    }

    /// Does something while the run says that it is alive, and everything holds still. Whatever is done comes to its own end; the reason if it was stopped because something stirred.
    async fn while_held<T>(&self, journal: &mut Journal, work: impl Future<Output = T>) -> (T, Option<HookError>) {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    let stirred = self.stirred(journal).await;
                    return (done, stirred);
                }
                () = self.acting.cancel.cancelled() => {
                    self.stop.cancel();
                    return (work.await, None);
                }
                () = sleep(self.still) => {
                    journal.renew_if_old(self.acting.cluster, self.acting.clock.now()).await;
                    if let Some(error) = self.stirred(journal).await {
                        self.stop.cancel();
                        return (work.await, Some(error));
                    }
                }
            }
        }
    }

    /// What tells that something does not hold still. A server that does not answer says nothing.
    async fn stirred(&self, journal: &Journal) -> Option<HookError> {
        for hold in super::holds_of(journal) {
            match hold.look(self.acting.cluster, &journal.run).await {
                Ok(()) | Err(HookError::Cluster { .. }) => {}
                Err(error) => return Some(error),
            }
        }
        match self.plan.scale.look(&self.acting).await {
            Ok(()) | Err(HookError::Cluster { .. }) => None,
            Err(error) => Some(error),
        }
    }

    /// Everything is seen to hold still. What cannot be seen is not taken for granted: what comes of this is all that is left of what was there.
    async fn still(&self, journal: &Journal) -> Result<(), HookError> {
        for hold in super::holds_of(journal) {
            hold.look(self.acting.cluster, &journal.run).await?;
        }
        self.plan.scale.look(&self.acting).await
    }
}
