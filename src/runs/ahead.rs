//! Looking ahead: what a preflight finds about a step that restores into a cluster, and what the steps before it will have brought by then.

use std::collections::BTreeSet;

use super::one_volume::Looked;
use super::prepare::Notice;
use crate::base::causes::in_one_line;
use crate::base::id::ObjectId;
use crate::cluster::Cluster;
use crate::preflight::restore::{self, MOVERS, Movers};
use crate::preflight::{Check, Finding, Findings, Severity};
use crate::recover::cluster::manifests::Manifests;
use crate::recover::cluster::plan::{ClusterPlan, Step as ClusterStep};
use crate::runbook::{Action, Step};
use crate::volumes::policy::Reach;

/// What movers would need that no plan says: for looking ahead.
pub struct Filling {
    /// Their image, if something names one.
    pub image: Option<String>,
    /// How many volumes are filled at once.
    pub movers: usize,
    /// Where the store is.
    pub reach: Reach,
    /// What was found out about that.
    pub findings: Findings,
}

/// What is known about a step before it is looked at, and what is found out.
#[derive(Default)]
pub(super) struct Ahead {
    /// No step before it can change the target.
    pub(super) is_first: bool,
    /// Of some step before it nobody knows what it makes.
    pub(super) is_unforeseen: bool,
    /// What steps before it create.
    pub(super) coming: Vec<ClusterStep>,
    /// What it creates itself.
    pub(super) creates: Vec<ClusterStep>,
    /// The manifests that were read last, and of which snapshot.
    pub(super) read: Option<(ObjectId, Manifests)>,
    /// What would be in its way.
    pub(super) groups: Vec<Group>,
    /// Patterns that it is to take, and that mean nothing in its snapshot.
    pub(super) unmatched: Vec<String>,
    /// What would be in the way of a single volume.
    pub(super) volume: Option<Looked>,
}

/// What would keep a restore from working that no fate says.
pub(super) async fn preflight(cluster: &dyn Cluster, plan: &ClusterPlan, filling: &Filling) -> Vec<Group> {
    let mut findings = Findings::default();
    let movers = plan.fills().next().map(|_| Movers { image: filling.image.as_deref(), reach: &filling.reach });
    if let Err(error) = restore::beyond(cluster, plan, movers.as_ref(), &mut findings).await {
        let finding = Finding::new(Severity::Doubtful, Check::Plan, cluster.name(), "could not be looked at ahead");
        findings
            .add(finding.because(in_one_line(&error)).mended_by("`homelab-dr preflight restore` looks at it alone"));
    }
    Group::of_steps(&findings)
}

/// What this machine lacks for movers: no step changes that, so it is in the way whatever comes before.
pub(super) fn settings(filling: &Filling) -> Vec<Notice> {
    let mut findings = Findings { findings: filling.findings.findings.clone() };
    if filling.image.is_none() {
        let what = "nothing says which image they run, which is this program";
        let mend = "give --mover-image IMAGE, or have it in homelab-dr.yaml as the image of a source of volumes";
        findings.add(Finding::new(Severity::Blocks, Check::Plan, MOVERS, what).mended_by(mend));
    }
    let told = |group: &Group| {
        let blocks = group.finding.severity == Severity::Blocks;
        let (what, help) = group.told();
        Notice { blocks, step: None, what, help }
    };
    Group::all(&findings).iter().map(told).collect()
}

/// What was found in the same words about several objects.
pub(super) struct Group {
    finding: Finding,
    others: Vec<String>,
}

impl Group {
    /// Objects that a notice names.
    const NAMED_MAX: usize = 3;

    /// Without what is told once for all steps.
    pub(super) fn of_steps(findings: &Findings) -> Vec<Self> {
        let mut groups = Self::all(findings);
        groups.retain(|group| group.finding.on != MOVERS);
        groups
    }

    fn all(findings: &Findings) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for finding in findings.findings.iter().filter(|finding| finding.severity != Severity::Fine) {
            let same = |group: &&mut Self| Finding { on: finding.on.clone(), ..group.finding.clone() } == *finding;
            match groups.iter_mut().find(same) {
                Some(group) => group.others.push(finding.on.clone()),
                None => groups.push(Self { finding: finding.clone(), others: Vec::new() }),
            }
        }
        groups
    }

    /// It keeps the run from being begun where no step before it can change what it is about.
    pub(super) fn notice(&self, step: &Step, is_first: bool) -> Notice {
        let (what, help) = self.told();
        let (blocks, step) = (self.finding.severity == Severity::Blocks && is_first, Some(step.id.clone()));
        Notice { blocks, step, what, help }
    }

    /// What is so, and what to do about it.
    fn told(&self) -> (String, String) {
        let Finding { on, what, why, mend, .. } = &self.finding;
        let mut named = vec![on.as_str()];
        named.extend(self.others.iter().map(String::as_str).take(Self::NAMED_MAX - 1));
        let more = (self.others.len() + 1).saturating_sub(named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        let what = format!("{}{more}: {what}{why}", named.join(", "));
        (what, mend.clone())
    }
}

/// Whether the target can be another after it.
pub(super) const fn changes(step: &Step) -> bool {
    !matches!(step.action, Action::Check(_) | Action::Pause(_) | Action::Notify(_)) && !step.is_compensation
}

/// Whether nobody knows what a step makes in a cluster: that of a program, say. What people are asked to do they can do before.
pub(super) const fn is_unforeseen(step: &Step) -> bool {
    changes(step) && !matches!(step.action, Action::RestoreResources(_) | Action::Manual(_))
}

/// Whether a step is over when another is begun, by their needs.
pub(super) fn comes_before(earlier: &Step, step: &Step, steps: &[Step]) -> bool {
    let mut waiting: Vec<&str> = step.needs.iter().map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if id == earlier.id {
            return true;
        }
        if seen.insert(id) {
            let needs = steps.iter().filter(|step| step.id == id).flat_map(|step| &step.needs);
            waiting.extend(needs.map(String::as_str));
        }
    }
    false
}
