//! From the steps of a runbook to those of its drill, and what is left out and why. Pure.
//!
//! Everything goes below the drill's own folder, or into namespaces of its own; nothing is restored in place. What would act on something that is in use, or ask a person, is not
//! rehearsed. A step that restores and has no check left gets one of ours, or the drill is refused: a recovery that nobody looked at is none. Objects without a volume can be looked at
//! in a cluster alone: in a folder such a step is carried out without a check, which is told, as long as another step has one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::checks::{Around, below};
use super::part::{Into, LeftOut, Part};
use super::words::checks;
use crate::cluster::rewrite::drill::namespace;
use crate::runbook::{
    Action, Check, Claim, Object, OnFailure, Overwrite, Probe, RestoreFiles, RestoreResources, RestoreVolume, Step,
};

/// What the file comparison that a drill adds reads of the content: ids are compared where the files are, so no content is fetched for it.
const SHARE: u8 = 100;
/// Objects that one check of ours names.
const OBJECTS_MAX: usize = 200;
/// What is not looked at where objects come back into a folder without a volume, and why.
const OBJECTS: &str = "whether its objects are alive";
const NO_VOLUME: &str = "it brings back no volume whose files could be compared, and in a folder nothing runs";
/// How long our own look at objects is tried again.
const READY_WITHIN: Duration = Duration::from_mins(5);
const READY_EVERY: Duration = Duration::from_secs(2);

/// Where the drill of a run takes place.
pub struct Scene<'a> {
    /// The run.
    pub run: &'a str,
    /// Where it recovers into, and what is known of that.
    pub part: &'a Part,
    /// Steps that are left out, as asked.
    pub skipped: &'a BTreeSet<String>,
}

impl Scene<'_> {
    /// The namespace of the drill that stands for another.
    #[must_use]
    pub fn namespace(&self, name: &str) -> String {
        namespace(self.run, name)
    }

    /// What stands for the root of this machine.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.part.folder.join("files")
    }

    /// The folder that stands for a cluster.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.part.folder.join("cluster")
    }
}

/// Why a runbook cannot be drilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// Nothing of it can be rehearsed.
    #[error("no step brings anything back: there is nothing to rehearse")]
    Nothing,
    /// Nobody would see whether what came back is alive.
    #[error("step {step} brings something back, and no check is left that would look at it: {}", .left_out.join("; "))]
    Unverified {
        /// The step.
        step: String,
        /// Its checks, and why each is left out.
        left_out: Vec<String>,
    },
    /// Two claims would become one.
    #[error("steps {one} and {other} would both fill the claim {claim} of the drill")]
    OneClaimOfTwo {
        /// A step.
        one: String,
        /// Another.
        other: String,
        /// The claim.
        claim: String,
    },
}

/// The steps of a drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Transformed {
    /// In the order of the runbook.
    pub steps: Vec<Step>,
    /// What is not rehearsed, in the same order.
    pub left_out: Vec<LeftOut>,
}

/// See the module.
pub fn transform(steps: &[Step], scene: &Scene<'_>) -> Result<Transformed, TransformError> {
    let targets: Vec<PathBuf> = steps.iter().filter_map(|step| target(&step.action)).collect();
    let mut done = Transformed { steps: Vec::new(), left_out: Vec::new() };
    // What whoever needs a step that is left out needs instead.
    let mut instead: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for step in steps {
        let needs: BTreeSet<String> = step
            .needs
            .iter()
            .flat_map(|need| instead.get(need.as_str()).cloned().unwrap_or_else(|| vec![need.clone()]))
            .collect();
        let needs: Vec<String> = needs.into_iter().collect();
        match one(step, scene, &targets, &mut done.left_out)? {
            Some(step) => done.steps.push(Step { needs, ..step }),
            None => drop(instead.insert(&step.id, needs)),
        }
    }
    if !done.steps.iter().any(Step::restores) {
        return Err(TransformError::Nothing);
    }
    refuse_claims(&done.steps)?;
    if let Some(step) = done.steps.iter().find(|step| step.restores())
        && done.steps.iter().all(|step| checks(step).is_empty())
        && scene.part.into == Into::Folder
    {
        let of_step = done.left_out.iter().filter(|one| one.step == step.id);
        let left_out = of_step.map(|one| format!("{} ({})", one.what, one.why)).collect();
        return Err(TransformError::Unverified { step: step.id.clone(), left_out });
    }
    if scene.part.into == Into::Cluster {
        volumes_first(steps, &mut done.steps);
    }
    Ok(done)
}

/// The folder of this machine that a step restores into.
fn target(action: &Action) -> Option<PathBuf> {
    match action {
        Action::RestoreFiles(files) => Some(files.target.clone()),
        Action::RestoreDatastore { data_dir, .. } => Some(data_dir.join("server")),
        _ => None,
    }
}

/// In production a volume is put back into a claim that is there; here the claim is made for it. So volumes come before objects, which need nothing else of the drill, and no step
/// with objects makes, or fills, a claim that a step of its own fills.
fn volumes_first(whole: &[Step], steps: &mut [Step]) {
    let claims: Vec<(&str, &Claim)> = steps_with_volumes(whole, steps);
    let ids: Vec<String> = claims.iter().map(|(id, _)| (*id).to_owned()).collect();
    for step in steps {
        match &mut step.action {
            Action::RestoreVolume(_) => step.needs.clear(),
            Action::RestoreResources(resources) => {
                step.needs.extend(ids.iter().cloned());
                step.needs.sort();
                step.needs.dedup();
                for (_, claim) in &claims {
                    let mapped = resources.namespaces.iter().filter(|(_, to)| **to == claim.namespace);
                    let from: Vec<String> =
                        mapped.map(|(from, _)| from.clone()).chain([claim.namespace.clone()]).collect();
                    let name = &claim.name;
                    resources.exclude.extend(from.iter().map(|from| format!("{from}/persistentvolumeclaims/{name}")));
                }
            }
            _ => {}
        }
    }
}

/// The steps that fill a volume and are rehearsed, with their claims as the runbook has them.
fn steps_with_volumes<'a>(whole: &'a [Step], steps: &[Step]) -> Vec<(&'a str, &'a Claim)> {
    let is_rehearsed = |id: &str| steps.iter().any(|step| step.id == id);
    let of = |step: &'a Step| match &step.action {
        Action::RestoreVolume(volume) if is_rehearsed(&step.id) => Some((step.id.as_str(), &volume.into)),
        _ => None,
    };
    whole.iter().filter_map(of).collect()
}

fn refuse_claims(steps: &[Step]) -> Result<(), TransformError> {
    let mut filled: BTreeMap<String, &str> = BTreeMap::new();
    for step in steps {
        let Action::RestoreVolume(volume) = &step.action else { continue };
        let claim = format!("{}/{}", volume.into.namespace, volume.into.name);
        if let Some(one) = filled.insert(claim.clone(), &step.id) {
            let [one, other] = [one, step.id.as_str()].map(str::to_owned);
            return Err(TransformError::OneClaimOfTwo { one, other, claim });
        }
    }
    Ok(())
}

/// The step as it is rehearsed; `None` if it is not.
fn one(
    step: &Step,
    scene: &Scene<'_>,
    targets: &[PathBuf],
    left_out: &mut Vec<LeftOut>,
) -> Result<Option<Step>, TransformError> {
    let mut leave = |what: String, why: &str| {
        left_out.push(LeftOut { step: step.id.clone(), what, why: why.to_owned() });
    };
    if scene.skipped.contains(&step.id) {
        leave(kind_of(&step.action).to_owned(), "as asked");
        return Ok(None);
    }
    if step.is_compensation {
        leave(kind_of(&step.action).to_owned(), "it is there for the failure of another, after which a drill is over");
        return Ok(None);
    }
    let around = Around { scene, targets };
    let action = match action(&step.action, &around, &mut leave) {
        Ok(action) => action,
        Err(why) => {
            leave(kind_of(&step.action).to_owned(), why);
            return Ok(None);
        }
    };
    let mut missing = Vec::new();
    let mut verify = around.checks(&step.verify, &mut |what, why| {
        missing.push(format!("{what} ({why})"));
        leave(what, why);
    });
    let rehearsed = Step { action, ..step.clone() };
    verify.extend(ours(&rehearsed, scene, &verify));
    // What objects a snapshot has is known when it was looked at.
    let waits = matches!(step.action, Action::RestoreResources(_)) && scene.part.into == Into::Cluster;
    let is_looked_for = !waits || scene.part.brings.contains_key(&step.id);
    let is_objects_alone = scene.part.into == Into::Folder && scene.part.objects_alone.contains(&step.id);
    if is_objects_alone && verify.is_empty() {
        leave(OBJECTS.to_owned(), NO_VOLUME);
    } else if rehearsed.restores() && verify.is_empty() && is_looked_for {
        if missing.is_empty() {
            missing.push("it has none".to_owned());
        }
        return Err(TransformError::Unverified { step: step.id.clone(), left_out: missing });
    }
    let on_failure = match &step.on_failure {
        OnFailure::Continue => OnFailure::Continue,
        OnFailure::Stop | OnFailure::Ask | OnFailure::Run(_) => OnFailure::Stop,
    };
    // What is lost by it is the drill's own.
    Ok(Some(Step { verify, on_failure, is_destructive: false, ..rehearsed }))
}

fn action(action: &Action, around: &Around<'_>, leave: &mut dyn FnMut(String, &str)) -> Result<Action, &'static str> {
    let scene = around.scene;
    Ok(match action {
        Action::RestoreFiles(files) => {
            Action::RestoreFiles(RestoreFiles { target: below(&scene.files(), &files.target), ..files.clone() })
        }
        // Beside the server that runs, as files.
        Action::RestoreDatastore { from, data_dir } => Action::RestoreFiles(RestoreFiles {
            from: from.clone(),
            path: None,
            target: below(&scene.files(), &data_dir.join("server")),
            include: Vec::new(),
            exclude: Vec::new(),
            overwrite: Overwrite::Changed,
            delete: false,
            no_owner: false,
        }),
        Action::RestoreVolume(volume) => {
            Action::RestoreVolume(RestoreVolume { into: claim(&volume.into, scene), in_place: false, ..volume.clone() })
        }
        Action::RestoreResources(resources) => Action::RestoreResources(RestoreResources {
            update: false,
            drill: (scene.part.into == Into::Cluster).then(|| scene.run.to_owned()),
            ..resources.clone()
        }),
        Action::Scale { object, replicas } => Action::Scale { object: around.object(object)?, replicas: *replicas },
        Action::Exec(what) => Action::Exec(around.in_pod(what)?),
        Action::Pause(time) => Action::Pause(*time),
        Action::WaitUntil { checks, every } => {
            Action::WaitUntil { checks: some(around.checks(checks, leave))?, every: *every }
        }
        Action::Check(checks) => Action::Check(some(around.checks(checks, leave))?),
        Action::Gitops { .. } => {
            return Err("it acts on what is in use; in the drill's namespaces nothing is pausable");
        }
        Action::Quiesce { .. } => return Err("it would hold what is in use"),
        Action::Run(_) => return Err("it acts on this machine, or on whatever it likes"),
        Action::Notify(_) => return Err("nobody is told of a rehearsal"),
        Action::Manual(_) => return Err("a person would do it"),
    })
}

fn some(checks: Vec<Check>) -> Result<Vec<Check>, &'static str> {
    if checks.is_empty() { Err("none of its checks is left") } else { Ok(checks) }
}

fn claim(into: &Claim, scene: &Scene<'_>) -> Claim {
    match scene.part.into {
        Into::Cluster => Claim { namespace: scene.namespace(&into.namespace), name: into.name.clone() },
        Into::Machine | Into::Folder => into.clone(),
    }
}

/// Checks that a drill adds of its own.
fn ours(step: &Step, scene: &Scene<'_>, verify: &[Check]) -> Vec<Check> {
    let is_file_comparison = |check: &Check| matches!(check.probe, Probe::Files(_));
    let once = |probe| Check { probe, retries: None, deadline: None, every: READY_EVERY };
    let within = |probe| Check { deadline: Some(READY_WITHIN.min(step.timeout)), ..once(probe) };
    match (&step.action, scene.part.into) {
        (Action::RestoreFiles(_), _)
        | (Action::RestoreVolume(_), Into::Folder | Into::Cluster)
        | (Action::RestoreResources(_), Into::Folder)
            if !verify.iter().any(is_file_comparison) && !scene.part.objects_alone.contains(&step.id) =>
        {
            vec![once(Probe::Files(SHARE))]
        }
        (Action::RestoreResources(_), Into::Cluster) if verify.is_empty() => {
            let Some(brings) = scene.part.brings.get(&step.id) else { return Vec::new() };
            let objects: Vec<Object> =
                brings.objects.iter().filter_map(|text| object(text)).take(OBJECTS_MAX).collect();
            let all = (!objects.is_empty()).then(|| within(Probe::Ready(objects)));
            let living = brings.living.iter().map(|namespace| within(Probe::NamespaceReady(namespace.clone())));
            all.into_iter().chain(living).collect()
        }
        _ => Vec::new(),
    }
}

/// From `NAMESPACE/RESOURCE.GROUP/NAME`.
fn object(text: &str) -> Option<Object> {
    let (namespace, rest) = text.split_once('/')?;
    let (kind, name) = rest.split_once('/')?;
    let (resource, group) = kind.split_once('.').unwrap_or((kind, ""));
    let [namespace, resource, group, name] = [namespace, resource, group, name].map(str::to_owned);
    Some(Object { namespace: Some(namespace), resource, group, name })
}

/// How a runbook calls what a step does.
#[must_use]
pub const fn kind_of(action: &Action) -> &'static str {
    match action {
        Action::RestoreVolume(_) => "restore.volume",
        Action::RestoreResources(_) => "restore.resources",
        Action::RestoreFiles(_) => "restore.files",
        Action::RestoreDatastore { .. } => "datastore.restore",
        Action::Gitops { pause: true, .. } => "gitops.pause",
        Action::Gitops { .. } => "gitops.resume",
        Action::Scale { .. } => "scale",
        Action::Quiesce { .. } => "quiesce",
        Action::Pause(_) | Action::WaitUntil { .. } => "wait",
        Action::Check(_) => "check",
        Action::Exec(_) => "exec",
        Action::Run(_) => "run",
        Action::Notify(_) => "notify",
        Action::Manual(_) => "manual",
    }
}
