//! The plan: every object by name, and what is done with it. Nothing is written while it is made; a server-side dry run asks for an opinion only.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::Value;

use super::before::{Brought, bring_back};
use super::data::{self, Data};
use super::fate::{Fate, Looking};
use super::manifests::{Captured, Manifests, Unreadable};
use super::reach::Reach;
use super::strangers::introduce;
use super::{Identity, Options, RecoverError, claims, nodes, recreate};
use crate::cluster::object::{at, items, name_of, namespace_of, text};
use crate::cluster::order::{self, Stage};
use crate::cluster::rewrite::drill::take_over;
use crate::cluster::rewrite::namespaces::Namespaces;
use crate::cluster::rewrite::skip::{Facts, Skip, skip};
use crate::cluster::rewrite::{Rewritten, rewrite};
use crate::cluster::{Cluster, ClusterError, Kind};

/// Objects that the target is asked about at once.
const LOOKED_AT_ONCE: usize = 8;

/// One object of the plan.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Which.
    pub object: Identity,
    /// When.
    pub stage: Stage,
    /// What is done.
    #[serde(flatten)]
    pub fate: Fate,
    /// A claim, for whose volume there is no data. In a folder it is a manifest like others.
    pub empty: bool,
    /// A claim that never had a volume.
    pub never_bound: bool,
    /// What a claim's volume is filled from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fill: Option<Data>,
    /// What else has to be known about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Not chosen by itself: the namespace of something chosen.
    pub needed: bool,
    /// What a drill makes different about it.
    #[serde(skip)]
    pub drilled: Vec<String>,
    /// It was held or paused by a run of ours when it was captured, and nobody knows what it was before: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_before: Option<String>,
    /// What somebody chose, and the object will not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// Of a claim.
    #[serde(skip)]
    pub(super) as_claim: AsClaim,
    #[serde(skip)]
    pub(super) kind: Kind,
    #[serde(skip)]
    pub(super) rewritten: Rewritten,
    /// What was there when it was looked.
    #[serde(skip)]
    pub(super) live: Option<Value>,
}

impl Step {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Why nobody knows what it was before a run held it, if it is written all the same.
    #[must_use]
    pub fn doubt(&self) -> Option<&str> {
        self.unknown_before.as_deref().filter(|_| self.fate.acts())
    }

    /// The object as it will be written.
    #[must_use]
    pub fn manifest(&self) -> &Value {
        &self.rewritten.object
    }
}

/// What else is known of a claim in the snapshot.
#[derive(Debug, Clone, Default)]
pub(super) struct AsClaim {
    /// The volume there that somebody made for it, chosen or not. A drill never gets one.
    pub(super) own_volume: Option<String>,
    /// Somebody has said of it by its name that it may be without data.
    may_be_empty: bool,
}

impl AsClaim {
    fn of(claim: &(String, String), made_by_hand: &MadeByHand, options: &Options) -> Self {
        let (namespace, name) = claim;
        Self {
            own_volume: made_by_hand.get(claim).filter(|_| options.drill.is_none()).cloned(),
            may_be_empty: options.may_be_empty.contains(&format!("{namespace}/{name}")),
        }
    }
}

/// One object that is not restored.
#[derive(Debug, Clone, Serialize)]
pub struct Skipped {
    /// Which.
    pub object: Identity,
    /// Why.
    #[serde(flatten)]
    pub why: Skip,
}

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterPlan {
    /// The target, for people.
    pub target: String,
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What is chosen and yet not restored.
    pub skipped: Vec<Skipped>,
    /// Manifests that cannot be used.
    pub unreadable: Vec<Unreadable>,
    /// What the capture could not read.
    pub missing: Vec<String>,
    /// Patterns of what to include that mean nothing of the snapshot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmatched: Vec<String>,
    /// Claims that would be created without data, and stateful sets that would make such claims.
    pub empty_volumes: Vec<String>,
    /// In a folder: the claims of which it gets the manifest only, since there is no data.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims_only: Vec<String>,
    /// Whether anything acts in the target.
    #[serde(skip)]
    pub(super) lives: bool,
}

impl ClusterPlan {
    /// The claims that get data: those that will be there, and whose snapshots hold something.
    pub fn fills(&self) -> impl Iterator<Item = (&Step, &Data)> {
        let will_be = self.steps.iter().filter(|step| !matches!(step.fate, Fate::Conflict { .. }));
        will_be.filter_map(|step| Some((step, step.fill.as_ref().filter(|data| !data.proven_empty)?)))
    }
}

/// An object on its way into the plan.
struct Draft {
    kind: Kind,
    captured: Value,
    brought: Brought,
    needed: bool,
}

impl Draft {
    fn new(kind: Kind, mut captured: Value, needed: bool) -> Self {
        let brought = bring_back(&mut captured);
        Self { kind, captured, brought, needed }
    }
}

/// Group and kind of what a webhook converts from one version to another, by all definitions of the snapshot: also those that another step restores.
fn converted(objects: &[Captured]) -> BTreeSet<(String, String)> {
    let is_converted = |captured: &&Captured| {
        captured.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") && order::is_converted(&captured.object)
    };
    let names = |captured: &Captured| {
        let spec = |path: &[&str]| text(&captured.object, &[&["spec"], path].concat()).to_owned();
        (spec(&["group"]), spec(&["names", "kind"]))
    };
    objects.iter().filter(is_converted).map(names).collect()
}

/// Decides. Asks the target about every object, and changes nothing.
pub async fn plan(cluster: &dyn Cluster, manifests: Manifests, options: &Options) -> Result<ClusterPlan, RecoverError> {
    let Manifests { mut objects, strangers, unreadable, missing, .. } = manifests;
    objects.extend(introduce(strangers, cluster).await?);
    let mut unmatched = options.selection.unmatched();
    for Captured { kind, object } in &objects {
        unmatched.see(kind, namespace_of(object), name_of(object));
    }
    let unmatched = unmatched.patterns();
    let converted = converted(&objects);
    let Chosen { drafts, facts, made_by_hand } = choose(objects, options, cluster.lives());
    refuse_mappings(&options.namespaces, &drafts)?;
    let mut skipped = Vec::new();
    let mut steps = Vec::new();
    let mut becoming: HashMap<Identity, Identity> = HashMap::new();
    let is_converted = |kind: &Kind| converted.contains(&(kind.group.clone(), kind.name.clone()));
    for Draft { kind, captured, brought, needed } in drafts {
        let mut rewritten = rewrite(&kind, &captured, &options.namespaces);
        claims::map_classes(&mut rewritten.object, &options.storage_classes);
        options.nodes.apply(&kind, &mut rewritten.object);
        let object = Identity::of(&kind, &rewritten.object);
        if let Some(why) = skip(&kind, &captured, &facts) {
            skipped.push(Skipped { object, why });
            continue;
        }
        let mut drilled = Vec::new();
        if let Some(run) = &options.drill {
            let from = namespace_of(&captured).unwrap_or_default();
            match take_over(&kind, from, &mut rewritten.object, run) {
                Ok(notes) => drilled = notes,
                Err(why) => {
                    skipped.push(Skipped { object, why: Skip::NotInADrill(why) });
                    continue;
                }
            }
            // Whoever owns it is in use, and would find it among its own.
            rewritten.owners.clear();
        }
        let before = Identity::of(&kind, &captured);
        if let Some(other) = becoming.insert(object.clone(), before.clone()) {
            let [one, other, becomes] = [other, before, object].map(Box::new);
            return Err(RecoverError::OneObjectOfTwo { one, other, becomes });
        }
        let (stage, rank) = order::place(&kind, &captured, &is_converted);
        let is_claim = kind.is("", "PersistentVolumeClaim");
        let place = || (namespace_of(&captured).unwrap_or_default().to_owned(), name_of(&captured).to_owned());
        let fill = if is_claim { options.data.get(&place()).cloned() } else { None };
        let never_bound = is_claim && fill.is_none() && data::never_bound(&captured);
        let empty = is_claim && cluster.lives() && fill.is_none() && !never_bound;
        let as_claim = if is_claim { AsClaim::of(&place(), &made_by_hand, options) } else { AsClaim::default() };
        let Brought { mut notes, unknown: unknown_before } = brought;
        notes.extend(if kind.is("", "PersistentVolume") { claims::place_of_volume(&captured) } else { None });
        let (fate, lost, live) = (Fate::Undecided, rewritten.lost.clone(), None);
        let step = Step {
            object,
            stage,
            fate,
            empty,
            never_bound,
            fill,
            notes,
            needed,
            drilled,
            unknown_before,
            lost,
            as_claim,
            kind,
            rewritten,
            live,
        };
        steps.push((rank, step));
    }
    steps.sort_by(|(a_rank, a), (b_rank, b)| (a.stage, a_rank, &a.object).cmp(&(b.stage, b_rank, &b.object)));
    let mut steps: Vec<Step> = steps.into_iter().map(|(_, step)| step).collect();
    claims::prepare(&mut steps);
    let coming: BTreeSet<&Identity> = options.coming.iter().map(|step| &step.object).collect();
    let mut reach = match options.coming.as_slice() {
        [] => Reach::look(cluster, &steps).await?,
        before => Reach::look(cluster, &[before, &steps].concat()).await?,
    };
    if options.drill.is_some() {
        reach.makes_namespaces(&steps);
    }
    // A namespace that nobody asked for is there already.
    steps.retain(|step| !(step.needed && (reach.has_namespace(&step.object.name) || coming.contains(&step.object))));
    let looking = Looking { cluster, reach: &reach, existing: options.existing };
    let mut steps: Vec<Step> =
        stream::iter(steps).map(|step| looking.decide(step)).buffered(LOOKED_AT_ONCE).try_collect().await?;
    for step in steps.iter_mut().filter(|step| coming.contains(&step.object)) {
        (step.fate, step.fill) = (Fate::Same, None);
    }
    reach.settle(&mut steps);
    recreate::settle(cluster, &mut steps).await?;
    claims::settle(cluster, &mut steps, options).await?;
    nodes::caution(cluster, &mut steps).await?;
    let empty_volumes =
        if cluster.lives() { empty_volumes(cluster, &steps, &options.coming).await? } else { Vec::new() };
    let (target, lives) = (cluster.name(), cluster.lives());
    let without = |step: &&Step| step.kind.is("", "PersistentVolumeClaim") && step.fill.is_none() && !step.never_bound;
    let claims = steps.iter().filter(|step| !lives && without(step));
    let claims_only = claims.map(|step| step.object.to_string()).collect();
    Ok(ClusterPlan { target, steps, skipped, unreadable, missing, unmatched, empty_volumes, claims_only, lives })
}

/// A mapping that maps nothing is a slip of the pen, and its objects would go where nobody wants them; two namespaces in one would be told apart no more.
fn refuse_mappings(namespaces: &Namespaces, drafts: &[Draft]) -> Result<(), RecoverError> {
    let mut targets: HashMap<&str, &str> = HashMap::new();
    for (from, to) in namespaces.pairs() {
        if let Some(other) = targets.insert(to, from) {
            let [one, other, to] = [other, from, to].map(str::to_owned);
            return Err(RecoverError::OneNamespaceOfTwo { one, other, to });
        }
        let is_in = |draft: &Draft| {
            namespace_of(&draft.captured) == Some(from)
                || (draft.kind.is("", "Namespace") && name_of(&draft.captured) == from)
        };
        if !drafts.iter().any(is_in) {
            return Err(RecoverError::NothingToMap { from: from.to_owned(), to: to.to_owned() });
        }
    }
    Ok(())
}

/// For claims that are chosen, by namespace and name: the volume that somebody made for each.
type MadeByHand = BTreeMap<(String, String), String>;

/// What is chosen, and what has to be known of the rest.
struct Chosen {
    drafts: Vec<Draft>,
    facts: Facts,
    made_by_hand: MadeByHand,
}

/// What is chosen, with the namespaces that it is in.
fn choose(objects: Vec<Captured>, options: &Options, alive: bool) -> Chosen {
    let mut facts = Facts { alive, with_derived: options.derived_secrets, ..Facts::default() };
    let mut drafts = Vec::new();
    let mut spare: BTreeMap<String, (Kind, Value)> = BTreeMap::new();
    let volumes: Vec<Captured> = objects.iter().filter(|one| one.kind.is("", "PersistentVolume")).cloned().collect();
    for Captured { kind, object } in objects {
        let (namespace, name) = (namespace_of(&object).map(str::to_owned), name_of(&object).to_owned());
        let namespace = namespace.as_deref();
        let takes = options.selection.takes(&kind, namespace, &name);
        facts.hear(&kind, &object, takes);
        if takes {
            drafts.push(Draft::new(kind, object, false));
        } else if kind.is("", "Namespace") && !options.selection.excludes(&kind, namespace, &name) {
            spare.insert(name, (kind, object));
        }
    }
    let needed: BTreeSet<String> = drafts
        .iter()
        .filter(|draft| skip(&draft.kind, &draft.captured, &facts).is_none())
        .filter_map(|draft| namespace_of(&draft.captured).map(str::to_owned))
        .collect();
    for name in needed {
        if let Some((kind, captured)) = spare.remove(&name) {
            drafts.push(Draft::new(kind, captured, true));
        }
    }
    let made_by_hand = volumes.iter().filter(|one| skip(&one.kind, &one.object, &facts).is_none()).map(|one| {
        let claim = |field| text(&one.object, &["spec", "claimRef", field]).to_owned();
        ((claim("namespace"), claim("name")), name_of(&one.object).to_owned())
    });
    let made_by_hand = made_by_hand.collect();
    Chosen { drafts, facts, made_by_hand }
}

/// What would be without data: claims that are created, and those that a stateful set would make for want of them.
async fn empty_volumes(cluster: &dyn Cluster, steps: &[Step], coming: &[Step]) -> Result<Vec<String>, ClusterError> {
    let is_refused = |step: &&Step| step.empty && !step.as_claim.may_be_empty && step.fate.creates();
    let mut empty: Vec<String> = steps.iter().filter(is_refused).map(|step| step.object.to_string()).collect();
    let claims = Kind::known("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", true);
    for step in steps.iter().filter(|step| step.kind.is("apps", "StatefulSet") && step.fate.creates()) {
        let object = &step.rewritten.object;
        let namespace = step.object.namespace.as_deref();
        for template in items(object, &["spec", "volumeClaimTemplates"]) {
            // The first stands for all: whoever lacks it lacks the rest.
            let name = format!("{}-{}-0", name_of(template), step.object.name);
            let planned = steps.iter().chain(coming).any(|other| {
                other.kind.is("", "PersistentVolumeClaim")
                    && other.object.namespace.as_deref() == namespace
                    && other.object.name == name
            });
            let idle = at(object, &["spec", "replicas"]) == 0;
            if planned || idle {
                continue;
            }
            match cluster.get(&claims, namespace, &name).await {
                Ok(Some(_)) => {}
                Err(error) if error.is_of_the_cluster() => return Err(error),
                // One that may not be looked at is perhaps not there.
                Ok(None) | Err(_) => empty.push(format!("{} (its claim {name})", step.object)),
            }
        }
    }
    Ok(empty)
}
