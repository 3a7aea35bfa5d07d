//! Carrying a plan out: stage by stage, exactly as it says, and everything read back at the end.
//!
//! A cluster that goes away in the middle ends the run: nothing more is asked, or each object would be waited for anew. What was written until then is
//! unknown, and so it is when somebody wants the run to stop.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::act::{Acting, Failed};
use super::fate::Fate;
use super::filling::{self, FIRST_USER, Held};
use super::link::Owners;
use super::lost::Lost;
use super::plan::{ClusterPlan, Step};
use super::recreate::GONE_TIME_MAX;
use super::report::{Outcome, Report, Stopped};
use super::volumes::Volumes;
use super::{RecoverError, reach};
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::base::progress::Progress;
use crate::cluster::object::{items, text};
use crate::cluster::order::Stage;
use crate::cluster::{Cluster, ClusterError};

/// How long things are waited for, each.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// A definition, until it is established.
    pub definition: Duration,
    /// A namespace, until it is active.
    pub namespace: Duration,
    /// What is made anew, until it is gone.
    pub gone: Duration,
    /// An operator that converts objects, and has been created right before, until its webhook answers; for all objects of its group together.
    pub converters: Duration,
}

impl Default for Waits {
    /// A definition takes a second or two; Velero waits a minute as well.
    fn default() -> Self {
        Self {
            definition: Duration::from_mins(1),
            namespace: Duration::from_secs(30),
            gone: GONE_TIME_MAX,
            // An image has to be pulled, and a certificate made.
            converters: Duration::from_mins(3),
        }
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(200);
const CONVERTED_AGAIN: Duration = Duration::from_secs(1);

/// What a run is given.
pub struct Running<'a> {
    /// The target.
    pub cluster: &'a dyn Cluster,
    /// Create claims although there is no data for them.
    pub empty_volumes: bool,
    /// What fills claims; without it those that should be are unknown.
    pub volumes: Option<&'a dyn Volumes>,
    /// See there.
    pub waits: Waits,
    /// Moved object by object.
    pub progress: &'a Progress,
    /// Whether to go on.
    pub cancel: &'a Cancel,
}

/// What became of a step so far.
pub(super) enum State {
    Written { without_owners: Vec<String>, linked: bool },
    Over(Outcome),
}

/// Carries out a plan. Refuses before anything is written if claims would come to be without data and nobody agreed to that.
pub async fn run(plan: &ClusterPlan, running: &Running<'_>) -> Result<Report, RecoverError> {
    if !plan.empty_volumes.is_empty() && !running.empty_volumes {
        return Err(RecoverError::EmptyVolumes { claims: plan.empty_volumes.clone() });
    }
    let mut run = Run {
        plan,
        running,
        owners: Owners::default(),
        lost: Lost::default(),
        held: Held::default(),
        holds: false,
        converters: BTreeMap::new(),
        away: None,
        report: Report::default(),
    };
    for step in &plan.steps {
        run.owners.know_kind(&step.kind);
    }
    let mut states = run.write().await;
    run.link(&mut states).await;
    run.read_back(states).await;
    let rows = plan.steps.iter().zip(&run.report.rows);
    let written = rows.filter(|(_, row)| matches!(row.outcome, Outcome::Restored { .. } | Outcome::Different { .. }));
    let doubts = written.filter_map(|(step, _)| Some(format!("{}: {}", step.object, step.doubt()?)));
    run.report.unknown_before = doubts.collect();
    Ok(run.report)
}

/// A webhook that did not convert an object.
enum Converter {
    /// It is asked again until then.
    Until(Instant),
    /// It was given up on; what it said last.
    Silent(String),
}

pub(super) struct Run<'a> {
    pub(super) plan: &'a ClusterPlan,
    pub(super) running: &'a Running<'a>,
    pub(super) owners: Owners,
    lost: Lost,
    /// Claims that nothing may use.
    held: Held,
    /// Something was not created because of them.
    holds: bool,
    /// By group, what is known of the webhooks that convert and did not.
    converters: BTreeMap<String, Converter>,
    /// Why the cluster cannot be talked to any more.
    pub(super) away: Option<String>,
    pub(super) report: Report,
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
                if step.stage >= FIRST_USER && stage.is_none_or(|before| before < FIRST_USER) && !self.is_over() {
                    self.fill(&states).await;
                }
                if step.stage == Stage::Gates {
                    // From here on every change may be refused.
                    self.link(&mut states).await;
                }
                stage = Some(step.stage);
            }
            if self.is_over() {
                break;
            }
            match self.step_when_converted(step).await {
                Ok(done) => states.push(done),
                Err(Failed::Unconverted(_)) if self.is_over() => break,
                Err(Failed::Refused(why) | Failed::Unconverted(why)) => {
                    self.lost.with(step);
                    states.push(State::Over(Outcome::Refused { why }));
                }
                Err(Failed::Missing(why)) => {
                    self.lost.missing(step, &why);
                    states.push(State::Over(Outcome::Refused { why }));
                }
                Err(Failed::Otherwise(why)) => {
                    self.stop(step, why);
                    break;
                }
                Err(Failed::Away(error)) => {
                    self.goes_away(step, &error);
                    break;
                }
                Err(Failed::Gone(why)) => {
                    self.away = Some(why.clone());
                    self.stop(step, why);
                    break;
                }
            }
            self.running.progress.add_file(0);
        }
        if states.len() == self.plan.steps.len() && stage.is_some_and(|last| last < FIRST_USER) && !self.is_over() {
            self.fill(&states).await;
        }
        states
    }

    /// Fills the claims that are there, and notes those that nothing may use.
    async fn fill(&mut self, states: &[State]) {
        let is_there = |number: usize| {
            let state = states.get(number);
            matches!(state, Some(State::Written { .. } | State::Over(Outcome::Same | Outcome::Kept { .. })))
        };
        let claims = self.plan.steps.iter().enumerate().filter(|(_, step)| step.kind.is("", "PersistentVolumeClaim"));
        self.held.extend(claims.filter(|(number, _)| !is_there(*number)).map(|(_, step)| filling::key(&step.object)));
        let filled = match self.running.volumes {
            Some(volumes) => filling::fill(self.running.cluster, volumes, self.plan, &is_there).await,
            None => Ok(Vec::new()),
        };
        self.report.volumes = match filled {
            Ok(filled) => filled,
            Err(error) => {
                if let Some(step) = self.plan.steps.iter().find(|step| step.fill.is_some()) {
                    self.goes_away(step, &error);
                }
                return;
            }
        };
        let known = |step: &Step| {
            let of_step = self.report.volumes.iter().find(|volume| volume.claim == step.object);
            of_step.is_some_and(|volume| volume.outcome.is_well())
        };
        let unknown = self.plan.steps.iter().filter(|step| step.fill.is_some() && !known(step));
        self.held.extend(unknown.map(|step| filling::key(&step.object)));
    }

    /// Why an object is not written: what it would use, or make others use, nobody knows.
    fn held_back(&self, step: &Step) -> Option<String> {
        if !self.plan.lives || !step.fate.acts() || step.stage < FIRST_USER {
            return None;
        }
        let claims = filling::uses_held(&step.rewritten.object, step.object.namespace.as_deref(), &self.held);
        if !claims.is_empty() {
            return Some(format!("it uses {}, and nobody knows what is in it", claims.join(", ")));
        }
        let would_make = step.stage == Stage::Gitops && self.holds;
        would_make.then(|| "it could make what is held back because of its volumes".to_owned())
    }

    fn stop(&mut self, step: &Step, why: String) {
        self.report.stopped.get_or_insert(Stopped { at: step.object.clone(), why });
    }

    pub(super) fn goes_away(&mut self, step: &Step, error: &ClusterError) {
        let why = in_one_line(error);
        self.away = Some(why.clone());
        self.stop(step, why);
    }

    /// Whether nothing more is to be asked of the cluster.
    pub(super) fn is_over(&mut self) -> bool {
        self.report.interrupted |= self.running.cancel.is_cancelled();
        self.report.interrupted || self.away.is_some()
    }

    /// An object whose version a webhook converts comes after the workloads, and those take their time to run. All of a group have one operator, which is given up on once.
    async fn step_when_converted(&mut self, step: &Step) -> Result<State, Failed> {
        let group = &step.kind.group;
        if let (true, Some(Converter::Silent(why))) = (step.fate.acts(), self.converters.get(group)) {
            return Err(Failed::Unconverted(why.clone()));
        }
        loop {
            let why = match self.step(step).await {
                Err(Failed::Unconverted(why)) if step.stage > Stage::Workloads => why,
                done => return done,
            };
            let until = Converter::Until(Instant::now() + self.running.waits.converters);
            let converter = self.converters.entry(group.clone()).or_insert(until);
            if matches!(converter, Converter::Until(end) if Instant::now() >= *end) {
                *converter = Converter::Silent(why.clone());
                return Err(Failed::Unconverted(why));
            }
            self.running.progress.enter("waiting for an operator that converts objects");
            tokio::select! {
                () = tokio::time::sleep(CONVERTED_AGAIN) => {}
                () = self.running.cancel.cancelled() => return Err(Failed::Unconverted(why)),
            }
            self.running.progress.enter("restoring");
        }
    }

    async fn step(&mut self, step: &Step) -> Result<State, Failed> {
        if let Some(why) = self.lost.no_place(step).filter(|_| step.fate.creates()) {
            return Err(Failed::Refused(why));
        }
        if let Some(why) = self.held_back(step) {
            self.holds = true;
            return Ok(State::Over(Outcome::Held { why }));
        }
        let acting = Acting { cluster: self.running.cluster, may_come: !self.lost.has(step) };
        if step.fate.acts() {
            let namespace = step.object.namespace.as_deref();
            self.owners.look(self.running.cluster, &step.rewritten.owners, namespace).await?;
        }
        let owners = self.owners.resolve(&step.rewritten.owners);
        let live = match &step.fate {
            Fate::Create { .. } => acting.create(step, &owners).await?,
            Fate::Finish => acting.finish(step, &owners).await?,
            Fate::Fill => acting.fill(step, &owners).await?,
            Fate::Replace { .. } => acting.replace(step, &owners).await?,
            Fate::Recreate { .. } => acting.recreate(step, &owners, self.running.waits.gone).await?,
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
            match self.wait_until_up(step, end).await {
                Ok(()) => {}
                Err(
                    Failed::Refused(why)
                    | Failed::Missing(why)
                    | Failed::Unconverted(why)
                    | Failed::Otherwise(why)
                    | Failed::Gone(why),
                ) => {
                    if done == Stage::Definitions {
                        self.lost.with(step);
                    }
                    self.report.waited_in_vain.push(format!("{}: {why}", step.object));
                }
                Err(Failed::Away(error)) => return self.goes_away(step, &error),
            }
        }
    }

    async fn wait_until_up(&self, step: &Step, end: Instant) -> Result<(), Failed> {
        let namespaces = reach::namespaces();
        let is_namespace = step.stage == Stage::Namespaces;
        let kind = if is_namespace { &namespaces } else { &step.kind };
        loop {
            let found = self.running.cluster.get(kind, None, &step.object.name).await;
            let live = found?.ok_or_else(|| Failed::Refused("it is not there".to_owned()))?;
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
                let why = if is_namespace { "not active in time" } else { "not established in time" };
                return Err(Failed::Refused(why.to_owned()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The second pass: owners that came after what they own.
    async fn link(&mut self, states: &mut [State]) {
        let acting = Acting { cluster: self.running.cluster, may_come: false };
        for (step, state) in self.plan.steps.iter().zip(states) {
            let State::Written { without_owners, linked } = state else { continue };
            if *linked {
                continue;
            }
            if self.is_over() {
                return;
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
                Err(
                    Failed::Refused(why)
                    | Failed::Missing(why)
                    | Failed::Unconverted(why)
                    | Failed::Otherwise(why)
                    | Failed::Gone(why),
                ) => why,
                // What is not linked yet is not read back either.
                Err(Failed::Away(error)) => return self.goes_away(step, &error),
            };
            *state = State::Over(Outcome::Refused { why: format!("it is there, and not linked to its owners: {why}") });
        }
    }
}
