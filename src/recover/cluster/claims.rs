//! Claims in the plan: what each is filled from, what it asks for, and what stands in the way of that in the target.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::by_hand::{self, Outlook, Own, Volume, Wanted};
use super::data::{make_room, names_claims, unlike};
use super::fate::{Fate, Trial};
use super::plan::Step;
use super::{Options, RecoverError};
use crate::base::shell::quoted;
use crate::cluster::list::whole;
use crate::cluster::object::{annotation, at, items_mut, name_of, namespace_of, text};
use crate::cluster::ours::is_ours;
use crate::cluster::rewrite::{FILLING, FILLING_IN_PLACE, replacement};
use crate::cluster::{Cluster, ClusterError};
use crate::volumes::kinds;

/// Gives claims the class that takes the place of theirs; also those that a stateful set will make.
pub(super) fn map_classes(object: &mut Value, classes: &BTreeMap<String, String>) {
    let change = |claim: &mut Value| {
        let to = classes.get(text(claim, &["spec", "storageClassName"])).cloned();
        if let (Some(to), Some(spec)) = (to, claim.get_mut("spec").and_then(Value::as_object_mut)) {
            spec.insert("storageClassName".to_owned(), to.into());
        }
    };
    match text(object, &["kind"]) {
        "PersistentVolumeClaim" => change(object),
        "StatefulSet" => items_mut(object, &["spec", "volumeClaimTemplates"]).iter_mut().for_each(change),
        _ => {}
    }
}

/// Where a volume is that is no directory of its own making, if it has to be on a node already.
pub(super) fn place_of_volume(volume: &Value) -> Option<String> {
    let path = ["local", "hostPath"].map(|field| text(volume, &["spec", field, "path"]));
    let path = path.into_iter().find(|path| !path.is_empty())?;
    Some(format!("its directory {path} has to be on the node"))
}

/// A claim that a volume of the plan waits for gets that volume, whatever it asks for.
fn has_volume<'a>(steps: impl IntoIterator<Item = &'a Step>, claim: &Step) -> bool {
    steps.into_iter().any(|step| {
        let reference = |field| text(&step.rewritten.object, &["spec", "claimRef", field]);
        step.kind.is("", "PersistentVolume")
            && reference("name") == claim.object.name
            && Some(reference("namespace")) == claim.object.namespace.as_deref()
    })
}

/// Before the target is asked: sizes.
pub(super) fn prepare(steps: &mut [Step]) {
    let claims: Vec<usize> =
        (0..steps.len()).filter(|at| steps.get(*at).is_some_and(|step| step.fill.is_some())).collect();
    for at in claims {
        let is_static = steps.get(at).is_some_and(|claim| has_volume(&*steps, claim));
        let Some(step) = steps.get_mut(at).filter(|_| !is_static) else { continue };
        let note = step.fill.as_ref().and_then(|data| make_room(&mut step.rewritten.object, data));
        step.notes.extend(note);
    }
}

/// After the target was asked: what cannot be filled is in conflict, what is somebody's is left.
pub(super) async fn settle(cluster: &dyn Cluster, steps: &mut [Step], options: &Options) -> Result<(), RecoverError> {
    if !cluster.lives() {
        for step in steps.iter_mut().filter(|step| step.fill.is_some() && options.existing.writes()) {
            step.notes.push("what is in its directory already and differs is written over".to_owned());
        }
        return Ok(());
    }
    let users = users(cluster, steps).await?;
    let creates = |step: &Step| step.kind.is("", "PersistentVolumeClaim") && step.fate.creates();
    let classes =
        if steps.iter().any(creates) { classes(cluster, steps.iter().chain(&options.coming)).await? } else { None };
    let mut in_place = Vec::new();
    for at in 0..steps.len() {
        let is_static = steps.get(at).is_some_and(|claim| has_volume(steps.iter().chain(&options.coming), claim));
        let Some(step) = steps.get_mut(at).filter(|step| step.kind.is("", "PersistentVolumeClaim")) else { continue };
        if let (true, Some(classes)) = (step.fate.creates(), &classes) {
            let can_be_included = options.selection.names_what_is_chosen();
            let own = step.as_claim.own_volume.as_deref().map(|name| Own { name, can_be_included });
            let claim = &step.rewritten.object;
            let why = match classes.outlook(claim, own) {
                Outlook::Gets => None,
                Outlook::Waits(why) => Some(why),
                Outlook::Unknown if is_static => None,
                Outlook::Unknown => classes.refuse(claim).map(|why| match text(claim, &["spec", "storageClassName"]) {
                    "" => why,
                    name => format!("{why}; --storage-class {name}=OTHER takes another"),
                }),
            };
            if let Some(why) = why {
                step.fate = if options.unforeseen {
                    Fate::Create { trial: Trial::Later(format!("unless a step before it changes that: {why}")) }
                } else {
                    Fate::Conflict { why }
                };
                continue;
            }
        }
        let Some(data) = &step.fill else { continue };
        if let Some(live) = &step.live {
            let unfinished = annotation(live, FILLING_IN_PLACE);
            if !unfinished.is_empty() {
                let name = format!("{}/{}", step.object.namespace.clone().unwrap_or_default(), step.object.name);
                let why = format!(
                    "a restore in place from snapshot {unfinished} has not ended; `homelab-dr restore {} --into-claim {name} --in-place` goes on with it",
                    quoted(unfinished)
                );
                step.fate = Fate::Conflict { why };
                continue;
            }
            let begun = annotation(live, FILLING);
            if begun.is_empty() {
                let snapshot = data.snapshot;
                step.fill = None;
                if !matches!(step.fate, Fate::Conflict { .. }) {
                    if options.existing.writes() {
                        in_place.push((step.object.clone(), snapshot));
                    }
                    step.notes.push("it is there: its data is left as it is".to_owned());
                }
                continue;
            }
            if begun != data.snapshot.hex() {
                let why = format!(
                    "an earlier run began to fill it from snapshot {begun}; choose that one, or delete the claim"
                );
                step.fate = Fate::Conflict { why };
                continue;
            }
            step.notes.push("an earlier run began to fill it".to_owned());
        }
        if let Some((why, _)) = unlike(step.live.as_ref().unwrap_or(&step.rewritten.object), data) {
            step.fate = Fate::Conflict { why: why.to_owned() };
            continue;
        }
        let key = (step.object.namespace.clone().unwrap_or_default(), step.object.name.clone());
        if let Some(pod) = users.get(&key).filter(|_| !data.proven_empty) {
            let why = format!(
                "pod {pod} uses it and would start on a volume that is not filled yet; scale what made it to zero until this is done"
            );
            step.fate = Fate::Conflict { why };
        }
    }
    if in_place.is_empty() { Ok(()) } else { Err(RecoverError::InPlace { claims: in_place }) }
}

/// A pod of the target for every claim that one uses, movers aside.
async fn users(cluster: &dyn Cluster, steps: &[Step]) -> Result<BTreeMap<(String, String), String>, ClusterError> {
    let filled: BTreeSet<&str> =
        steps.iter().filter(|step| step.fill.is_some()).filter_map(|step| step.object.namespace.as_deref()).collect();
    if filled.is_empty() {
        return Ok(BTreeMap::new());
    }
    let named = |pod: Value| {
        let namespace = namespace_of(&pod).filter(|namespace| filled.contains(namespace))?;
        if matches!(text(&pod, &["status", "phase"]), "Succeeded" | "Failed") || is_ours(&pod) {
            return None;
        }
        let mut names = Vec::new();
        names_claims(&pod, &mut names);
        let keys = names.into_iter().map(|claim| ((namespace.to_owned(), claim), name_of(&pod).to_owned()));
        Some(keys.collect::<Vec<_>>())
    };
    Ok(whole(cluster, &kinds::pods(), named).await?.into_iter().flatten().collect())
}

/// The storage classes that there will be.
struct Classes {
    /// Each class, and whether it makes volumes by itself.
    names: BTreeMap<String, bool>,
    default: Option<String>,
    /// Classes of volumes that nobody has to make.
    of_volumes: BTreeSet<String>,
    /// The volumes that there will be; `None` if they may not be looked at.
    volumes: Option<Vec<Volume>>,
}

impl Classes {
    /// Whether a claim gets a volume that is there, or waits for one in vain.
    fn outlook(&self, claim: &Value, own: Option<Own<'_>>) -> Outlook {
        let Some(volumes) = &self.volumes else { return Outlook::Unknown };
        let class = at(claim, &["spec", "storageClassName"]).as_str().or(self.default.as_deref()).unwrap_or_default();
        // Of a class that is unknown nobody makes any.
        let is_provisioned = self.names.get(class).copied().unwrap_or(false);
        by_hand::outlook(volumes, Wanted { claim, class, is_provisioned, own })
    }

    /// Why a claim would never get a volume.
    fn refuse(&self, claim: &Value) -> Option<String> {
        let there = || {
            let mark = |name: &String| {
                if self.default.as_ref() == Some(name) { format!("{name} (the default)") } else { name.clone() }
            };
            let names: Vec<String> = self.names.keys().map(mark).collect();
            if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) }
        };
        let given = at(claim, &["spec", "storageClassName"]).as_str();
        match given {
            None if self.default.is_none() => {
                Some(format!("it names no storage class, and the cluster has no default one; {}", there()))
            }
            None | Some("") => None,
            Some(name) if self.names.contains_key(name) || self.of_volumes.contains(name) => None,
            Some(name) => Some(format!("the cluster has no storage class {name}; {}", there())),
        }
    }
}

/// Why a claim would never get a volume in a cluster as it is; `None` also where its classes may not be looked at.
pub async fn lacks_class(cluster: &dyn Cluster, claim: &Value) -> Result<Option<String>, ClusterError> {
    let Some(classes) = classes(cluster, std::iter::empty()).await? else { return Ok(None) };
    Ok(match classes.outlook(claim, None) {
        Outlook::Gets => None,
        Outlook::Waits(why) => Some(why),
        Outlook::Unknown => classes.refuse(claim),
    })
}

/// `None` if they may not be looked at: then the claim will tell.
async fn classes<'a>(
    cluster: &dyn Cluster,
    steps: impl Iterator<Item = &'a Step> + Clone + Send,
) -> Result<Option<Classes>, ClusterError> {
    let class = |object: &Value| {
        let makes_volumes = text(object, &["provisioner"]) != kinds::NO_PROVISIONER;
        (name_of(object).to_owned(), (makes_volumes, annotation(object, kinds::DEFAULT_CLASS) == "true"))
    };
    let found = match whole(cluster, &kinds::storage_classes(), |object| Some(class(&object))).await {
        Ok(found) => found,
        Err(error) if error.is_of_the_cluster() || matches!(error, ClusterError::TooMany { .. }) => return Err(error),
        Err(_) => return Ok(None),
    };
    let volumes = whole(cluster, &kinds::volumes(), |object| Some(Volume::of(&object))).await.ok();
    let mut classes = Classes { names: BTreeMap::new(), default: None, of_volumes: BTreeSet::new(), volumes };
    let brought = steps.clone().filter(|step| step.kind.is("storage.k8s.io", "StorageClass"));
    for (name, (makes_volumes, is_default)) in
        found.into_iter().chain(brought.map(|step| class(&step.rewritten.object)))
    {
        if is_default {
            classes.default = Some(name.clone());
        }
        classes.names.insert(name, makes_volumes);
    }
    let mut brought = Vec::new();
    for step in steps.filter(|step| step.kind.is("", "PersistentVolume")) {
        let volume = Volume::of(&step.rewritten.object);
        classes.of_volumes.extend(volume.class().map(str::to_owned));
        match (&step.fate, &step.live) {
            (Fate::Create { .. }, _) => brought.push(volume),
            (Fate::Replace { .. }, Some(live)) => {
                brought.push(Volume::of(&replacement(&step.kind, &step.rewritten.object, live)));
            }
            _ => {}
        }
    }
    if let Some(volumes) = &mut classes.volumes {
        volumes.retain(|volume| !brought.iter().any(|other| other.name() == volume.name()));
        volumes.extend(brought);
        classes.of_volumes.extend(volumes.iter().filter_map(Volume::class).map(str::to_owned));
    }
    Ok(Some(classes))
}
