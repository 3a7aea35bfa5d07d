//! The end of a run: everything that was written is read back and compared, and a claim is what its volume is. Nothing counts as restored that was not seen so.

use super::plan::Step;
use super::report::{Outcome, Row};
use super::run::{Run, State};
use super::volumes;
use crate::base::causes::in_one_line;
use crate::cluster::ClusterError;
use crate::cluster::api::objects::MANAGER;
use crate::cluster::compare::differences;
use crate::cluster::object::{at, is_dying, items, text};

impl Run<'_> {
    /// The comparison at the end: nothing counts as restored that was not read back.
    pub(super) async fn read_back(&mut self, states: Vec<State>) {
        let reached = states.len();
        for (step, state) in self.plan.steps.iter().zip(states) {
            let outcome = match state {
                State::Over(outcome) => outcome,
                State::Written { without_owners, .. } => self.look_back(step, without_owners).await,
            };
            let outcome = self.with_volume(step, outcome);
            self.report.rows.push(Row { object: step.object.clone(), stage: step.stage, outcome });
        }
        for step in self.plan.steps.iter().skip(reached) {
            let outcome = Outcome::NotReached;
            self.report.rows.push(Row { object: step.object.clone(), stage: step.stage, outcome });
        }
    }

    /// A claim is what its volume is.
    fn with_volume(&self, step: &Step, outcome: Outcome) -> Outcome {
        if !matches!(outcome, Outcome::Restored { .. } | Outcome::Same | Outcome::Kept { .. }) {
            return outcome;
        }
        if step.never_bound && step.fate.creates() {
            return Outcome::ProvenEmpty;
        }
        if step.fill.is_none() {
            return outcome;
        }
        let volume = self.report.volumes.iter().find(|volume| volume.claim == step.object);
        match (volume.map(|volume| &volume.outcome), outcome) {
            // What of the claim itself differs was left, whatever became of its volume.
            (Some(volumes::Outcome::Restored | volumes::Outcome::ProvenEmpty), kept @ Outcome::Kept { .. }) => kept,
            (Some(volumes::Outcome::Restored), restored @ Outcome::Restored { .. }) => restored,
            (Some(volumes::Outcome::Restored), _) => Outcome::Restored { without_owners: Vec::new() },
            (Some(volumes::Outcome::ProvenEmpty), _) => Outcome::ProvenEmpty,
            (Some(volumes::Outcome::Kept { .. }), outcome) => {
                let mut differs = if let Outcome::Kept { differs } = outcome { differs } else { Vec::new() };
                differs.push("the data of its volume".to_owned());
                Outcome::Kept { differs }
            }
            (Some(volumes::Outcome::Unknown { why, .. }), _) => Outcome::Unknown { why: why.clone() },
            (None, _) => Outcome::Unknown { why: "its volume was not filled".to_owned() },
        }
    }

    async fn look_back(&mut self, step: &Step, without_owners: Vec<String>) -> Outcome {
        if !self.is_over() {
            let judged = tokio::select! {
                judged = self.judge(step, without_owners) => Some(judged),
                () = self.running.cancel.cancelled() => None,
            };
            match judged {
                Some(Ok(outcome)) => return outcome,
                Some(Err(error)) => self.goes_away(step, &error),
                None => self.report.interrupted = true,
            }
        }
        let why = self.away.as_deref().unwrap_or("interrupted");
        Outcome::Unknown { why: format!("it was written, and was not read back: {why}") }
    }

    async fn judge(&self, step: &Step, without_owners: Vec<String>) -> Result<Outcome, ClusterError> {
        let found = self.running.cluster.get(&step.kind, step.object.namespace.as_deref(), &step.object.name).await;
        let live = match found {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(Outcome::Unknown { why: "it was written, and is not there any more".to_owned() }),
            Err(error) if error.is_of_the_cluster() => return Err(error),
            Err(error) => return Ok(Outcome::Unknown { why: unread(&error) }),
        };
        let mut differs = differences(&step.kind, &step.rewritten.object, &live);
        if is_dying(&live) {
            differs.push("metadata.deletionTimestamp".to_owned());
        }
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
            return Ok(Outcome::Different { differs });
        }
        let is_empty = step.empty && step.fate.creates();
        Ok(if is_empty { Outcome::Empty } else { Outcome::Restored { without_owners } })
    }
}

fn unread(error: &ClusterError) -> String {
    format!("it was written, and could not be read back: {}", in_one_line(error))
}
