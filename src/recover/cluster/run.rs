//! Carrying a plan out: stage by stage, exactly as it says, and everything read back at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::act::{Acting, Failed};
use super::fate::Fate;
use super::link::Owners;
use super::plan::{ClusterPlan, Step};
use super::report::{Outcome, Report, Row, Stopped};
use super::{RecoverError, reach};
use crate::base::cancel::Cancel;
use crate::base::progress::Progress;
use crate::cluster::api::objects::MANAGER;
use crate::cluster::compare::differences;
use crate::cluster::error::told;
use crate::cluster::object::{at, items, text};
use crate::cluster::order::Stage;
use crate::cluster::{Cluster, ClusterError};

/// How long things are waited for, each.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// A definition, until it is established.
    pub definition: Duration,
    /// A namespace, until it is active.
    pub namespace: Duration,
}

impl Default for Waits {
    /// A definition takes a second or two; Velero waits a minute as well.
    fn default() -> Self {
        Self { definition: Duration::from_mins(1), namespace: Duration::from_secs(30) }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What a run is given.
pub struct Running<'a> {
    /// The target.
    pub cluster: &'a dyn Cluster,
    /// Create claims although there is no data for them.
    pub empty_volumes: bool,
    /// See there.
    pub waits: Waits,
    /// Moved object by object.
    pub progress: &'a Progress,
    /// Whether to go on.
    pub cancel: &'a Cancel,
}

/// What became of a step so far.
enum State {
    Written { without_owners: Vec<String>, linked: bool },
    Over(Outcome),
}

/// Carries out a plan. Refuses before anything is written if claims would come to be without data and nobody agreed to that.
pub async fn run(plan: &ClusterPlan, running: &Running<'_>) -> Result<Report, RecoverError> {
    if !plan.empty_volumes.is_empty() && !running.empty_volumes {
        return Err(RecoverError::EmptyVolumes { claims: plan.empty_volumes.clone() });
    }
    let mut run = Run { plan, running, owners: Owners::default(), report: Report::default(), lost: BTreeSet::new() };
    for step in &plan.steps {
        run.owners.know_kind(&step.kind);
        if let Some(live) = &step.live {
            run.owners.know(&step.rewritten.uid, live);
        }
    }
    let mut states = run.write().await;
    run.link(&mut states).await;
    run.read_back(states).await;
    Ok(run.report)
}

struct Run<'a> {
    plan: &'a ClusterPlan,
    running: &'a Running<'a>,
    owners: Owners,
    report: Report,
    /// Namespaces and definitions that were not made, by their names.
    lost: BTreeSet<(Stage, String)>,
}

impl Run<'_> {
    /// Writes what the plan says; what was not reached is left out of the result.
    async fn write(&mut self) -> Vec<State> {
        let mut states: Vec<State> = Vec::new();
        let mut stage = None;
        for (number, step) in self.plan.steps.iter().enumerate() {
            if stage != Some(step.stage) {
                if let Some(done) = stage {
                    self.wait_for(done, number).await;
                }
                if step.stage == Stage::Gates {
                    // From here on every change may be refused.
                    self.link(&mut states).await;
                }
                stage = Some(step.stage);
            }
            if self.running.cancel.is_cancelled() {
                self.report.interrupted = true;
                break;
            }
            match self.step(step).await {
                Ok(done) => states.push(done),
                Err(Failed::Refused(why)) => {
                    if matches!(step.stage, Stage::Definitions | Stage::Namespaces) {
                        self.lost.insert((step.stage, step.object.name.clone()));
                    }
                    states.push(State::Over(Outcome::Refused { why }));
                }
                Err(Failed::Otherwise(why)) => {
                    self.stop(step, why);
                    break;
                }
                Err(Failed::Away(error)) => {
                    self.stop(step, told(&error));
                    break;
                }
            }
            self.running.progress.add_file(0);
        }
        states
    }

    fn stop(&mut self, step: &Step, why: String) {
        self.report.stopped = Some(Stopped { at: step.object.clone(), why });
    }

    /// What it would have been put into was not made: asking for it would only take time.
    fn has_no_place(&self, step: &Step) -> Option<String> {
        let lost = |stage, name: &str| self.lost.contains(&(stage, name.to_owned()));
        let (kind, namespace) = (step.kind.to_string(), step.object.namespace.as_deref().unwrap_or_default());
        if lost(Stage::Namespaces, namespace) {
            return Some(format!("its namespace {namespace} was not created"));
        }
        lost(Stage::Definitions, &kind).then(|| format!("its definition {kind} was not created"))
    }

    async fn step(&mut self, step: &Step) -> Result<State, Failed> {
        if let Some(why) = self.has_no_place(step).filter(|_| step.fate.creates()) {
            return Err(Failed::Refused(why));
        }
        let acting = Acting { cluster: self.running.cluster };
        let owners = self.owners.resolve(&step.rewritten.owners);
        let live = match &step.fate {
            Fate::Create { .. } => acting.create(step, &owners).await?,
            Fate::Finish => acting.finish(step, &owners).await?,
            Fate::Fill => acting.fill(step, &owners).await?,
            Fate::Replace { .. } => acting.replace(step, &owners).await?,
            Fate::Same => return Ok(State::Over(Outcome::Same)),
            Fate::Keep { differs } => return Ok(State::Over(Outcome::Kept { differs: differs.clone() })),
            Fate::Conflict { why } => return Ok(State::Over(Outcome::Conflict { why: why.clone() })),
            Fate::Undecided => return Ok(State::Over(Outcome::NotReached)),
        };
        self.owners.know(&step.rewritten.uid, &live);
        // Those that were there already were named when it was created; not so when it was there itself.
        let linked = step.rewritten.owners.is_empty() || (step.fate.creates() && owners.missing.is_empty());
        Ok(State::Written { without_owners: Vec::new(), linked })
    }

    /// After a stage: what the next ones rest on. What does not come up in time is told; what rests on it will be refused by itself.
    async fn wait_for(&mut self, done: Stage, before: usize) {
        if !self.plan.lives {
            return;
        }
        let limit = match done {
            Stage::Definitions => self.running.waits.definition,
            Stage::Namespaces => self.running.waits.namespace,
            _ => return,
        };
        let end = Instant::now() + limit;
        let steps = self.plan.steps.iter().take(before);
        let waited = steps.filter(|step| step.stage == done && step.fate.acts());
        for step in waited.collect::<Vec<_>>() {
            if let Err(why) = self.wait_until_up(step, end).await {
                self.report.waited_in_vain.push(format!("{}: {why}", step.object));
            }
        }
    }

    async fn wait_until_up(&self, step: &Step, end: Instant) -> Result<(), String> {
        let namespaces = reach::namespaces();
        let is_namespace = step.stage == Stage::Namespaces;
        let kind = if is_namespace { &namespaces } else { &step.kind };
        loop {
            let found = self.running.cluster.get(kind, None, &step.object.name).await;
            let live = found.map_err(|error| told(&error))?.ok_or("it is not there")?;
            let is_up = if is_namespace {
                text(&live, &["status", "phase"]) == "Active"
            } else {
                let conditions = items(&live, &["status", "conditions"]);
                conditions.iter().any(|condition| {
                    text(condition, &["type"]) == "Established" && text(condition, &["status"]) == "True"
                })
            };
            if is_up {
                return Ok(());
            }
            if Instant::now() >= end || self.running.cancel.is_cancelled() {
                return Err(if is_namespace { "not active in time" } else { "not established in time" }.to_owned());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The second pass: owners that came after what they own.
    async fn link(&mut self, states: &mut [State]) {
        let acting = Acting { cluster: self.running.cluster };
        for (step, state) in self.plan.steps.iter().zip(states) {
            let State::Written { without_owners, linked } = state else { continue };
            if *linked {
                continue;
            }
            let namespace = step.object.namespace.as_deref();
            let looked = self.owners.look(self.running.cluster, &step.rewritten.owners, namespace).await;
            let owners = self.owners.resolve(&step.rewritten.owners);
            without_owners.clone_from(&owners.missing);
            let done = match looked {
                Ok(()) => acting.link(step, &owners).await,
                Err(error) => Err(error.into()),
            };
            let why = match done {
                Ok(()) => {
                    *linked = owners.missing.is_empty();
                    continue;
                }
                Err(Failed::Refused(why) | Failed::Otherwise(why)) => why,
                Err(Failed::Away(error)) => told(&error),
            };
            *state = State::Over(Outcome::Refused { why: format!("it is there, and not linked to its owners: {why}") });
        }
    }

    /// The comparison at the end: nothing counts as restored that was not read back.
    async fn read_back(&mut self, states: Vec<State>) {
        let reached = states.len();
        for (step, state) in self.plan.steps.iter().zip(states) {
            let outcome = match state {
                State::Over(outcome) => outcome,
                State::Written { without_owners, .. } => self.judge(step, without_owners).await,
            };
            self.report.rows.push(Row { object: step.object.clone(), stage: step.stage, outcome });
        }
        for step in self.plan.steps.iter().skip(reached) {
            let outcome = Outcome::NotReached;
            self.report.rows.push(Row { object: step.object.clone(), stage: step.stage, outcome });
        }
    }

    async fn judge(&self, step: &Step, without_owners: Vec<String>) -> Outcome {
        let found = self.running.cluster.get(&step.kind, step.object.namespace.as_deref(), &step.object.name).await;
        let live = match found {
            Ok(Some(live)) => live,
            Ok(None) => return Outcome::Unknown { why: "it was written, and is not there any more".to_owned() },
            Err(error) => return Outcome::Unknown { why: unread(&error) },
        };
        let mut differs = differences(&step.kind, &step.rewritten.object, &live);
        let named = items(&live, &["metadata", "ownerReferences"]);
        let owners = self.owners.resolve(&step.rewritten.owners).there;
        if owners.iter().any(|owner| !named.iter().any(|other| at(other, &["uid"]) == at(owner, &["uid"]))) {
            differs.push("metadata.ownerReferences".to_owned());
        }
        let fields = items(&live, &["metadata", "managedFields"]);
        if fields.iter().any(|entry| text(entry, &["manager"]) == MANAGER) {
            differs.push("metadata.managedFields".to_owned());
        }
        if !differs.is_empty() {
            return Outcome::Different { differs };
        }
        if step.empty && step.fate.creates() { Outcome::Empty } else { Outcome::Restored { without_owners } }
    }
}

fn unread(error: &ClusterError) -> String {
    format!("it was written, and could not be read back: {}", told(error))
}
