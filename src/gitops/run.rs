//! Carrying a plan out: one write an object, in order; and after pausing a look whether it stayed so.

use std::time::Duration;

use super::GitopsError;
use super::note::{Kept, Note, State, pause, resume, state_of};
use super::plan::{Act, Action, DYING, GitopsPlan, Step, plan, unreadable};
use super::report::{Outcome, Report, Row};
use super::tool::{Automated, Role};
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::base::clock::Clock;
use crate::base::progress::Progress;
use crate::cluster::edit::{Edited, Place, disown, edit};
use crate::cluster::object::is_dying;
use crate::cluster::{Cluster, ClusterError};

/// How often all is looked at after pausing. What was undone at the first look is paused once more: a parent that was in the middle of its work when it was paused does
/// that once. What is undone again has somebody behind it who goes on.
const LOOKS: u32 = 2;

/// What a run is given.
pub struct Running<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// For the time that notes have.
    pub clock: &'a dyn Clock,
    /// How long is waited before a look.
    pub settle: Duration,
    /// Moved object by object.
    pub progress: &'a Progress,
    /// Whether to go on.
    pub cancel: &'a Cancel,
}

/// Carries a plan out. What can be said of single objects is in the report, also what kept it from coming to its end.
pub async fn run(plan: &GitopsPlan, running: &Running<'_>) -> Report {
    let row = |step: &Step| Row { object: step.object.clone(), outcome: Outcome::NotReached };
    let report = Report { rows: plan.steps.iter().map(row).collect(), ..Report::default() };
    let mut run = Run { plan, running, report, wrote: false };
    run.steps(&plan.steps).await;
    if plan.action == Action::Pause && run.wrote {
        run.look_again().await;
    }
    run.report
}

struct Run<'a> {
    plan: &'a GitopsPlan,
    running: &'a Running<'a>,
    report: Report,
    /// Whether anything was written.
    wrote: bool,
}

impl Run<'_> {
    async fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            if self.running.cancel.is_cancelled() {
                self.report.interrupted = true;
            }
            if self.report.interrupted || self.report.stopped.is_some() {
                return;
            }
            let outcome = match self.step(step).await {
                Ok(outcome) => outcome,
                Err(error) if is_of_all(&error) => {
                    self.report.stopped = Some(in_one_line(&error));
                    return;
                }
                Err(error) if error.is_conflict() => Outcome::NotDone {
                    why: "others kept changing it, every time before it could be written".to_owned(),
                },
                Err(error) => Outcome::NotDone { why: in_one_line(&error) },
            };
            self.report.set(&step.object, outcome);
            self.running.progress.add_file(0);
        }
    }

    async fn step(&mut self, step: &Step) -> Result<Outcome, ClusterError> {
        match (&step.act, self.plan.action) {
            (Act::Cannot { why }, _) => Ok(Outcome::NotDone { why: why.clone() }),
            (Act::Leave, Action::Resume) => Ok(Outcome::NotOurs),
            (Act::Leave, Action::Pause) if step.state == State::Others => Ok(Outcome::PausedByOthers),
            (Act::Leave, Action::Pause) => Ok(Outcome::AlreadyPaused),
            (Act::Pause { .. } | Act::Resume, Action::Pause) => self.pause(step).await,
            (Act::Pause { .. } | Act::Resume, Action::Resume) => self.resume(step).await,
        }
    }

    async fn pause(&mut self, step: &Step) -> Result<Outcome, ClusterError> {
        let mut outcome = self.pause_by(step, Automated::Disabled).await?;
        // An API server that does not know `enabled` has dropped it.
        if outcome.is_none() && step.role == Role::Application {
            outcome = self.pause_by(step, Automated::TakenOut).await?;
        }
        Ok(outcome.unwrap_or_else(|| Outcome::NotDone {
            why: "the API server took the change and did not keep it; a webhook may have set it back".to_owned(),
        }))
    }

    /// Nothing if it was written and did not hold.
    async fn pause_by(&mut self, step: &Step, way: Automated) -> Result<Option<Outcome>, ClusterError> {
        let (role, run) = (step.role, &self.plan.run);
        let now = self.running.clock.now();
        let mut dying = false;
        let decide = |object: &mut serde_json::Value| {
            let state = state_of(role, object);
            dying = is_dying(object);
            if !dying && matches!(state, State::Active | State::Undone { .. }) {
                pause(role, object, Note::new(run, now), way);
            }
        };
        let edited = edit(self.running.cluster, place(step), decide).await?;
        let object = match edited {
            Edited::Gone => return Ok(Some(Outcome::Gone)),
            Edited::Same(object) => object,
            Edited::Written(object) => {
                self.wrote = true;
                object
            }
        };
        Ok(match state_of(role, &object) {
            // Also where the answer to the write got lost and it was found done.
            State::Ours { run: by, .. } if by == *run => {
                self.wrote = true;
                Some(Outcome::Paused)
            }
            State::Ours { .. } => Some(Outcome::AlreadyPaused),
            State::Others => Some(Outcome::PausedByOthers),
            State::Unreadable { why } => Some(Outcome::NotDone { why: unreadable(&why) }),
            State::Active | State::Undone { .. } if dying => Some(Outcome::NotDone { why: DYING.to_owned() }),
            State::Active | State::Undone { .. } => None,
        })
    }

    async fn resume(&mut self, step: &Step) -> Result<Outcome, ClusterError> {
        let mut last: Result<Vec<Kept>, String> = Ok(Vec::new());
        let mut noted = false;
        let decide = |object: &mut serde_json::Value| {
            // Without a note it is done: by this run, if the answer got lost, or by somebody else meanwhile.
            if !matches!(Note::of(object), Ok(None)) {
                noted = true;
                last = resume(object);
            }
        };
        let edited = edit(self.running.cluster, place(step), decide).await?;
        if matches!(edited, Edited::Written(_)) {
            disown(self.running.cluster, place(step)).await;
        }
        Ok(match (edited, last) {
            (Edited::Gone, _) => Outcome::Gone,
            (_, Err(why)) => Outcome::NotDone { why: unreadable(&why) },
            (_, Ok(_)) if !noted => Outcome::NotOurs,
            (_, Ok(kept)) if kept.is_empty() => Outcome::Resumed,
            (_, Ok(kept)) => Outcome::ResumedExcept { kept },
        })
    }

    /// Whether everything stayed as it was left. A paused object can be set right again by a parent that was at work, or that nobody paused.
    async fn look_again(&mut self) {
        if !self.running.cluster.lives() {
            return;
        }
        for look in 1..=LOOKS {
            if self.report.interrupted || self.report.stopped.is_some() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(self.running.settle) => {}
                () = self.running.cancel.cancelled() => {
                    self.report.interrupted = true;
                    return;
                }
            }
            let found = plan(self.running.cluster, Action::Pause, &self.plan.selection, &self.plan.run).await;
            let undone = match found {
                Ok(found) => found.steps.into_iter().filter(|step| self.is_undone(step)),
                Err(error) => {
                    self.report.stopped = Some(unseen(&error));
                    return;
                }
            };
            let undone: Vec<Step> = undone.collect();
            if undone.is_empty() {
                return;
            }
            if look < LOOKS {
                self.steps(&undone).await;
                continue;
            }
            for step in undone {
                let why = why_undone(&step);
                self.report.set(&step.object, Outcome::NotDone { why });
            }
        }
    }
}

impl Run<'_> {
    /// Whether somebody has un-paused it. What could not be paused at all has its reason already.
    fn is_undone(&self, step: &Step) -> bool {
        let failed = |row: &Row| row.object == step.object && matches!(row.outcome, Outcome::NotDone { .. });
        matches!(step.act, Act::Pause { .. }) && !self.report.rows.iter().any(failed)
    }
}

fn place(step: &Step) -> Place<'_> {
    Place { kind: &step.kind, namespace: Some(&step.object.namespace), name: &step.object.name }
}

/// Whether an error would meet all other objects as well.
fn is_of_all(error: &ClusterError) -> bool {
    match error {
        ClusterError::Refused { status, .. } => *status == 401 || error.may_pass(),
        _ => true,
    }
}

fn unseen(error: &GitopsError) -> String {
    format!("whether everything stayed paused could not be seen: {}", in_one_line(error))
}

fn why_undone(step: &Step) -> String {
    let fields = match &step.state {
        State::Undone { fields, .. } => format!("somebody has set {} back", fields.join(", ")),
        _ => "somebody has un-paused it, and taken our note away".to_owned(),
    };
    let parents: Vec<String> = step.parents.iter().map(ToString::to_string).collect();
    match parents.as_slice() {
        [] => format!("{fields} right after it was paused"),
        parents => format!("{fields} right after it was paused; it is made by {}", parents.join(", ")),
    }
}
