//! What a run will do, decided before anything is done, and able to be kept as a file: which snapshot each step takes, what becomes of every object, how much that is.
//!
//! The plan has the runbook's text in it and the values of its parameters, so it means the same wherever the runbook has gone since.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::estimate::Estimate;
pub use super::fates::{Because, Fates, Fill, InPlace, OfFiles};
use crate::base::id::{RUN_CHARS, is_run};
use crate::drill::part::Part;
use crate::drill::transform::{Scene, TransformError, transform};
use crate::language::{Finding, Judges};
use crate::runbook::{self, Objectives, Runbook, Step, Values};

/// The form of plans and journals that this program writes.
const FORM: u32 = 1;
/// The field of a plan that is kept, with the digest of everything else in it.
const DIGEST: &str = "digest";

/// The runbook as it was when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// BLAKE3 of its text, in hex.
    pub digest: String,
    /// All of it.
    pub text: String,
}

/// A cluster, told apart from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterName {
    /// The uid of its namespace `kube-system`, which lives as long as the cluster does.
    pub uid: String,
    /// Where it was found.
    pub shown: String,
    /// What it said it runs, such as `v1.36.1`; empty in a folder, in plans of before, and where it does not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Of a folder that stands for one: where it really is. It has no uid that would tell it from others, and a mark in it would be written by a plan, which changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
}

impl ClusterName {
    /// What and where it is, for people: of a folder its whole path.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.folder {
            Some(folder) => format!("the folder {folder}, which stands for a cluster"),
            None => format!("the cluster {}", self.shown),
        }
    }

    /// Whether a plan that was made for this one may be carried out there. Plans of before do not say which folder they are for.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        let is_of_before = self.folder.is_none() && self.uid.is_empty();
        self.uid == other.uid && (self.folder == other.folder || is_of_before)
    }
}

/// The snapshot that a step takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Its id, in hex.
    pub snapshot: String,
    /// Its source.
    pub source: String,
    /// When it was begun, RFC 3339.
    pub started: String,
    /// How old it was when the plan was made, in seconds.
    pub age: u64,
    /// Regular files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunPlan {
    /// The form of this document; none in the plan of a drill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homelab_dr_plan: Option<u32>,
    /// The form of the plan of a drill. It has a field of its own, so that a program which knows nothing of drills finds no plan here: it would carry the runbook out on what is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homelab_dr_drill_plan: Option<u32>,
    /// The id of the run.
    pub run: String,
    /// When it was made, RFC 3339.
    pub made: String,
    /// The runbook.
    pub runbook: Book,
    /// The values of its parameters that were given.
    pub values: BTreeMap<String, String>,
    /// The fingerprint of the repository, if a step needs one.
    pub repository: Option<String>,
    /// The cluster, if a step needs one.
    pub cluster: Option<ClusterName>,
    /// The snapshot of each step that takes one, by the step's id.
    pub chosen: BTreeMap<String, Chosen>,
    /// What becomes of objects, by the step's id.
    pub fates: BTreeMap<String, Fates>,
    /// What becomes of the files of steps that restore into a directory, by the step's id; none where it was too much to look.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, OfFiles>,
    /// What steps do to whatever uses a volume that they write in its place, by the step's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub in_place: BTreeMap<String, InPlace>,
    /// How many steps are carried out at once; 0 in plans of before.
    #[serde(default)]
    pub parallel: usize,
    /// How long it would take; none in plans of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Why what a step brings back is perhaps not all that was there, by the step's id: somebody is asked before.
    #[serde(default)]
    pub doubts: BTreeMap<String, Vec<String>>,
    /// What stood in the way when it was made: then it is not carried out.
    #[serde(default)]
    pub in_the_way: Vec<String>,
    /// Steps that are left out.
    pub skipped: BTreeSet<String>,
    /// Where a drill recovers into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<Part>,
}

/// Why a plan that was kept cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is none, or of a program to come.
    #[error("this is no plan that this program can carry out: {why}")]
    NoPlan {
        /// Why.
        why: String,
    },
    /// It is not what was shown when it was made.
    #[error("this plan was changed after it was made: its digest is of another content")]
    Changed,
    /// Its runbook is not the one that it was made of.
    #[error("the runbook in the plan is not the one that it was made of")]
    Altered,
    /// Its runbook is wrong for this program.
    #[error("the runbook in the plan is wrong:\n{}", shown(findings))]
    Wrong {
        /// What is wrong with it.
        findings: Vec<Finding>,
    },
    /// Its runbook cannot be drilled.
    #[error("this cannot be drilled")]
    NoDrill(#[source] TransformError),
    /// No randomness for the id of a run.
    #[error("no randomness for the id of the run")]
    Randomness(#[source] getrandom::Error),
}

/// Findings in the runbook of a plan, a paragraph each.
fn shown(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.shown("runbook")).collect::<Vec<_>>().join("\n")
}

/// BLAKE3 of a text, in hex.
#[must_use]
pub fn digest(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// An id for a run that no other has.
pub fn run_id() -> Result<String, PlanError> {
    getrandom::u32().map(|id| format!("{id:0RUN_CHARS$x}")).map_err(PlanError::Randomness)
}

impl RunPlan {
    /// A plan in which nothing is chosen yet.
    #[must_use]
    pub fn new(run: String, made: String, runbook: &Runbook, text: &str, values: BTreeMap<String, String>) -> Self {
        Self {
            homelab_dr_plan: Some(FORM),
            homelab_dr_drill_plan: None,
            run,
            made,
            runbook: Book {
                id: runbook.id.clone(),
                title: runbook.title.clone(),
                digest: digest(text),
                text: text.to_owned(),
            },
            values,
            repository: None,
            cluster: None,
            chosen: BTreeMap::new(),
            fates: BTreeMap::new(),
            files: BTreeMap::new(),
            in_place: BTreeMap::new(),
            parallel: runbook.parallel,
            estimate: None,
            doubts: BTreeMap::new(),
            in_the_way: Vec::new(),
            skipped: BTreeSet::new(),
            drill: None,
        }
    }

    /// The same as the plan of a drill.
    #[must_use]
    pub fn drilling(self, part: Part) -> Self {
        Self { homelab_dr_plan: None, homelab_dr_drill_plan: Some(FORM), drill: Some(part), ..self }
    }

    /// Why this program cannot carry it out; `None` if it can.
    #[must_use]
    pub fn of_another_form(&self) -> Option<String> {
        match (self.homelab_dr_plan, self.homelab_dr_drill_plan, &self.drill) {
            (Some(FORM), None, None) | (None, Some(FORM), Some(_)) => None,
            (Some(form), None, _) | (None, Some(form), _) if form != FORM => {
                Some(format!("it is of form {form}, and form {FORM} is known"))
            }
            _ => Some("it is neither the plan of a recovery nor that of a drill".to_owned()),
        }
    }

    /// The text of a plan that is kept: what is in it is what was shown, and nobody carries out anything else by it.
    pub fn kept(&self) -> Result<String, serde_json::Error> {
        // As it will be read: a number has the same form then.
        let mut content: Value = serde_json::from_str(&serde_json::to_string(self)?)?;
        let digest = digest(&content.to_string());
        if let Some(fields) = content.as_object_mut() {
            fields.insert(DIGEST.to_owned(), digest.into());
        }
        serde_json::to_string_pretty(&content)
    }

    /// Reads a plan that was kept.
    pub fn read(text: &str) -> Result<Self, PlanError> {
        let none = |error: serde_json::Error| PlanError::NoPlan { why: error.to_string() };
        let mut content: Value = serde_json::from_str(text).map_err(none)?;
        let sealed = content.as_object_mut().and_then(|fields| fields.remove(DIGEST));
        let is_as_made = sealed.as_ref().map(|sealed| sealed.as_str() == Some(&*digest(&content.to_string())));
        let plan: Self = serde_json::from_value(content).map_err(none)?;
        if let Some(why) = plan.of_another_form() {
            return Err(PlanError::NoPlan { why });
        }
        if plan.drill.is_some() {
            return Err(PlanError::NoPlan { why: "it is of a drill, which is over".to_owned() });
        }
        if !is_run(&plan.run) {
            return Err(PlanError::NoPlan { why: format!("{:?} is no run", plan.run) });
        }
        match is_as_made {
            Some(true) => Ok(plan),
            Some(false) => Err(PlanError::Changed),
            None => Err(PlanError::NoPlan { why: "it has no digest of its content".to_owned() }),
        }
    }

    /// The runbook and the steps with this plan's values; of a drill those that are rehearsed.
    pub fn steps(&self, judges: &Judges<'_>) -> Result<(Runbook, Vec<Step>), PlanError> {
        if digest(&self.runbook.text) != self.runbook.digest {
            return Err(PlanError::Altered);
        }
        let read = runbook::read(self.runbook.text.as_bytes(), judges);
        let wrong = |findings| PlanError::Wrong { findings };
        let runbook = read.runbook.ok_or_else(|| wrong(read.findings))?;
        let values = Values::of(&runbook.parameters, &self.values, &self.run)
            .map_err(|missing| PlanError::NoPlan { why: format!("it lacks values of {}", missing.join(", ")) })?;
        let steps = runbook.steps(&values, judges).map_err(wrong)?;
        let Some(part) = &self.drill else { return Ok((runbook, steps)) };
        let rehearsed =
            transform(&steps, &Scene { run: &self.run, part, skipped: &self.skipped }).map_err(PlanError::NoDrill)?;
        Ok((runbook, rehearsed.steps))
    }

    /// What has to be reached: as the runbook says, or as a drill of sources was told.
    #[must_use]
    pub fn objectives(&self, runbook: &Runbook) -> Objectives {
        match self.drill.as_ref().filter(|part| part.of_sources) {
            Some(part) => Objectives { rto: part.rto.map(Duration::from_secs), rpo: part.rpo.map(Duration::from_secs) },
            None => runbook.objectives,
        }
    }

    /// Bytes that come back.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of_fates = |step: &String| self.fates.get(step).map(Fates::bytes);
        self.chosen
            .iter()
            .filter(|(step, _)| !self.skipped.contains(*step))
            .map(|(step, chosen)| of_fates(step).unwrap_or(chosen.bytes))
            .sum()
    }
}
