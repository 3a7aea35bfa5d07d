//! Volumes that are filled: by movers in a cluster, directly in a folder. What both have in common is here: what is to be filled, where the claims of one pod
//! go, and what came of it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::Serialize;
use serde_json::{Value, json};

use super::Identity;
use super::data::{Data, names_claims, ordinal, templates_of};
use crate::backup::volumes::claims::{Use, uses};
use crate::cluster::object::{annotation, at, items, text};
use crate::volumes::facts::{Facts, Node};
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::placement::{fits, takes};
use crate::volumes::said::{ProblemLine, Restored};

/// What the scheduler notes in a claim whose volume waits for its consumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// A claim that is there, and what it is to be filled from.
#[derive(Debug, Clone)]
pub struct Filling {
    /// The claim.
    pub claim: Identity,
    /// The whole claim, as it was made.
    pub object: Value,
    /// What it is filled from.
    pub data: Data,
    /// The pods that will mount it, as manifests.
    pub consumers: Vec<Value>,
    /// Where its mover has to run; `None` if any place will do that can mount it.
    pub node: Option<String>,
}

/// What became of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// Everything is in it. What metadata could not be set is among the problems.
    Restored,
    /// There was nothing in it, and it was looked at.
    ProvenEmpty,
    /// Something else is in it, which was left as it is.
    Kept {
        /// What.
        why: String,
    },
    /// Nobody knows what is in it, or not all is.
    Unknown {
        /// Why.
        why: String,
        /// What to do about it.
        mend: String,
        /// The repository is damaged.
        damaged: bool,
        /// The exit code of whoever failed, if it says one.
        #[serde(skip)]
        exit: Option<u8>,
    },
}

impl Outcome {
    /// Nobody knows what is in it.
    #[must_use]
    pub fn unknown(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::Unknown { why: why.into(), mend: mend.into(), damaged: false, exit: None }
    }

    /// Whether what needs the volume may start.
    #[must_use]
    pub const fn is_well(&self) -> bool {
        matches!(self, Self::Restored | Self::ProvenEmpty)
    }
}

/// A volume and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Filled {
    /// The claim.
    pub claim: Identity,
    /// What it was filled from.
    pub data: Data,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// In numbers.
    pub restored: Restored,
    /// What is wrong with single files, up to a bound.
    #[serde(serialize_with = "lines")]
    pub problems: Vec<ProblemLine>,
    /// What should have been taken away and could not be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
    /// What there was to see of a mover that came to no result.
    #[serde(skip_serializing_if = "Evidence::is_empty")]
    pub mover: Evidence,
}

fn lines<S: serde::Serializer>(problems: &[ProblemLine], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(problems)
}

impl Filled {
    /// Nobody tried, or it came to nothing.
    #[must_use]
    pub fn without(filling: &Filling, outcome: Outcome) -> Self {
        Self {
            claim: filling.claim.clone(),
            data: filling.data.clone(),
            outcome,
            restored: Restored::default(),
            problems: Vec::new(),
            left: Vec::new(),
            mover: Evidence::default(),
        }
    }

    /// By what a restore says of itself: all of it, or nobody knows.
    #[must_use]
    pub fn with(filling: &Filling, restored: Restored, problems: Vec<ProblemLine>) -> Self {
        let outcome = if restored.missing == 0 {
            Outcome::Restored
        } else {
            let first = problems.iter().find(|problem| problem.missing).map(|problem| problem.message.clone());
            Outcome::Unknown {
                why: format!(
                    "{} of its entries are missing, the first: {}",
                    restored.missing,
                    first.unwrap_or_default()
                ),
                mend: "see what is wrong with them; what could be restored is in it, and another run goes on"
                    .to_owned(),
                damaged: restored.damaged > 0,
                exit: None,
            }
        };
        Self { restored, problems, ..Self::without(filling, outcome) }
    }
}

/// A way to fill volumes.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Everything about places that deciding takes; `None` where there are none.
    async fn facts(&self) -> Result<Option<Facts>, String>;

    /// Fills one.
    async fn fill(&self, filling: &Filling) -> Filled;

    /// How many at once.
    fn at_once(&self) -> usize;
}

/// The pods that an object makes, as manifests with their claims by name; of a stateful set one for each number that a claim has.
pub(super) fn consumers_of(object: &Value, claims: &BTreeSet<String>) -> Vec<Value> {
    let spec = match text(object, &["kind"]) {
        "Pod" => at(object, &["spec"]),
        "CronJob" => at(object, &["spec", "jobTemplate", "spec", "template", "spec"]),
        _ => at(object, &["spec", "template", "spec"]),
    };
    if !spec.is_object() {
        return Vec::new();
    }
    let pod = |spec: &Value| {
        let namespace = at(object, &["metadata", "namespace"]);
        json!({"metadata": {"namespace": namespace}, "spec": spec, "status": {"phase": "Running"}})
    };
    let templates: Vec<String> = templates_of(object).collect();
    if templates.is_empty() {
        return vec![pod(spec)];
    }
    let ordinals: BTreeSet<&str> =
        claims.iter().filter_map(|claim| templates.iter().find_map(|template| ordinal(template, claim))).collect();
    let names: Vec<&str> = items(object, &["spec", "volumeClaimTemplates"])
        .iter()
        .map(|template| text(template, &["metadata", "name"]))
        .collect();
    let with_claims = |number: &&str| {
        let mut spec = spec.clone();
        let volumes = names.iter().zip(&templates).map(|(name, template)| {
            json!({"name": name, "persistentVolumeClaim": {"claimName": format!("{template}{number}")}})
        });
        let mut all: Vec<Value> = items(&spec, &["volumes"]).to_vec();
        all.extend(volumes);
        if let Some(fields) = spec.as_object_mut() {
            fields.insert("volumes".to_owned(), all.into());
        }
        pod(&spec)
    };
    ordinals.iter().map(with_claims).collect()
}

impl Filling {
    /// What the pods say that mount it; the first that does.
    pub(crate) fn used(&self) -> Option<Use> {
        let mine = |used: &Use| used.claim.1 == self.claim.name;
        self.consumers.iter().flat_map(uses).find(mine)
    }

    /// Whether pods of several nodes may mount it at once.
    fn is_shared(&self) -> bool {
        let modes = items(&self.object, &["spec", "accessModes"]).iter().filter_map(Value::as_str);
        modes.into_iter().any(|mode| matches!(mode, "ReadWriteMany" | "ReadOnlyMany"))
    }

    fn is_mounted_by(&self, consumer: &Value) -> bool {
        let mut names = Vec::new();
        names_claims(consumer, &mut names);
        names.contains(&self.claim.name)
    }
}

/// Chooses nodes for volumes that are made where their first consumer is: all claims of one pod on one node that takes it. Gives the claims that have no place,
/// and why. A claim that several nodes may mount ties no pods to one another: it goes where one of them is going.
pub(super) fn place(fillings: &mut [Filling], facts: &Facts) -> BTreeMap<Identity, String> {
    let mut places = Places::default();
    let is_shared = |at: &usize| fillings.get(*at).is_some_and(Filling::is_shared);
    let (shared, own): (Vec<usize>, Vec<usize>) = waiting(fillings, facts).into_iter().partition(is_shared);
    for group in groups(fillings, own) {
        let chosen = together(fillings, &group, facts, &places);
        let why = "no node that is ready takes the pod that mounts it, with all of its volumes";
        places.put(fillings, &group, chosen.as_deref(), why);
    }
    for at in shared {
        let chosen = near(fillings, at, facts, &places);
        places.put(fillings, &[at], chosen.as_deref(), "no node that is ready takes a pod that mounts it");
    }
    places.nowhere
}

/// What is decided so far.
#[derive(Default)]
struct Places {
    /// How much each node has.
    given: BTreeMap<String, usize>,
    nowhere: BTreeMap<Identity, String>,
}

impl Places {
    fn put(&mut self, fillings: &mut [Filling], group: &[usize], chosen: Option<&str>, why: &str) {
        if let Some(name) = chosen {
            *self.given.entry(name.to_owned()).or_default() += 1;
        }
        for at in group {
            let Some(filling) = fillings.get_mut(*at) else { continue };
            filling.node = chosen.map(str::to_owned);
            if chosen.is_none() {
                self.nowhere.insert(filling.claim.clone(), why.to_owned());
            }
        }
    }

    fn has(&self, node: &Node) -> usize {
        self.given.get(&node.name).copied().unwrap_or_default()
    }
}

/// A node for all of these, which takes every pod that mounts one.
fn together(fillings: &[Filling], group: &[usize], facts: &Facts, places: &Places) -> Option<String> {
    let members: Vec<&Filling> = group.iter().filter_map(|at| fillings.get(*at)).collect();
    let fit = |node: &&Node| {
        let mut pods = members.iter().flat_map(|filling| &filling.consumers);
        pods.all(|pod| takes(at(pod, &["spec"]), node)) && members.iter().all(|it| may_be_on(it, node, facts))
    };
    let nodes = facts.nodes.values().filter(fit);
    nodes.min_by_key(|node| (places.has(node), &node.name)).map(|node| node.name.clone())
}

/// A node for a claim that several may mount: where another volume of its pods is going, in case its storage is of one node after all; else one that takes most of them.
fn near(fillings: &[Filling], of: usize, facts: &Facts, places: &Places) -> Option<String> {
    let filling = fillings.get(of)?;
    let beside = |node: &Node| {
        let of_namespace = |other: &&Filling| other.claim.namespace == filling.claim.namespace;
        let others = fillings.iter().filter(|other| of_namespace(other) && other.claim != filling.claim);
        let mut there = others.filter(|other| other.node.as_ref() == Some(&node.name));
        there.any(|other| filling.consumers.iter().any(|pod| other.is_mounted_by(pod)))
    };
    let taken = |node: &Node| filling.consumers.iter().filter(|pod| takes(at(pod, &["spec"]), node)).count();
    let nodes = facts.nodes.values().filter(|node| taken(node) > 0 && may_be_on(filling, node, facts));
    let best = nodes.min_by_key(|node| (!beside(node), Reverse(taken(node)), places.has(node), &node.name));
    best.map(|node| node.name.clone())
}

/// Whether what is known of a claim's volume allows a node.
fn may_be_on(filling: &Filling, node: &Node, facts: &Facts) -> bool {
    let selected = annotation(&filling.object, SELECTED_NODE);
    let volume = facts.volumes.get(text(&filling.object, &["spec", "volumeName"]));
    (selected.is_empty() || selected == node.name)
        && volume.and_then(|volume| volume.nodes.as_ref()).is_none_or(|selector| fits(selector, node))
}

/// Those whose volumes wait for a consumer, and have one.
fn waiting(fillings: &[Filling], facts: &Facts) -> Vec<usize> {
    let waits = |filling: &Filling| {
        let class = text(&filling.object, &["spec", "storageClassName"]);
        facts.storage_classes.get(class).is_some_and(|class| class.waits_for_consumer)
    };
    let all = fillings.iter().enumerate();
    all.filter(|(_, filling)| waits(filling) && !filling.consumers.is_empty()).map(|(at, _)| at).collect()
}

/// Claims that pods have in common.
fn groups(fillings: &[Filling], mut left: Vec<usize>) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    while !left.is_empty() {
        let mut group = vec![left.remove(0)];
        let mut next = 0;
        while let Some(filling) = group.get(next).and_then(|at| fillings.get(*at)) {
            let together = |other: &usize| {
                fillings.get(*other).is_some_and(|other| {
                    other.claim.namespace == filling.claim.namespace
                        && filling.consumers.iter().any(|pod| other.is_mounted_by(pod))
                })
            };
            let (joined, rest): (Vec<usize>, Vec<usize>) = left.into_iter().partition(together);
            left = rest;
            group.extend(joined);
            next += 1;
        }
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;
    use crate::base::id::{BlobId, ObjectId};
    use crate::format::record::TreeRoot;
    use crate::volumes::facts::StorageClass;

    fn data() -> Data {
        Data {
            snapshot: ObjectId::new([1; 32]),
            source: "pvc/a/b".into(),
            started: Time(0),
            apart: std::time::Duration::ZERO,
            earlier: false,
            files: 1,
            bytes: 1,
            device: false,
            proven_empty: false,
            lacks: None,
            passed_over: None,
            root: TreeRoot { blob: BlobId::new([2; 32]), level: 0 },
        }
    }

    fn filling(name: &str, class: &str, consumers: Vec<Value>) -> Filling {
        let claim =
            Identity { kind: "persistentvolumeclaims".into(), namespace: Some("media".into()), name: name.into() };
        let object = json!({"metadata": {"name": name, "namespace": "media"}, "spec": {"storageClassName": class}});
        Filling { claim, object, data: data(), consumers, node: None }
    }

    fn pod(claims: &[&str], more: &Value) -> Value {
        let volumes: Vec<Value> =
            claims.iter().map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})).collect();
        let mut spec = more.clone();
        spec["volumes"] = volumes.into();
        json!({"metadata": {"namespace": "media"}, "spec": spec})
    }

    fn facts() -> Facts {
        let node = |name: &str| Node {
            name: name.into(),
            labels: [("kubernetes.io/hostname".to_owned(), name.to_owned())].into(),
            ready: true,
            cordoned: false,
            taints: Vec::new(),
        };
        let class = |waits| StorageClass { provisioner: "p".into(), waits_for_consumer: waits };
        Facts {
            nodes: ["a", "b", "c"].into_iter().map(|name| (name.to_owned(), node(name))).collect(),
            storage_classes: [("local".to_owned(), class(true)), ("net".to_owned(), class(false))].into(),
            ..Facts::default()
        }
    }

    fn nodes(fillings: &[Filling]) -> Vec<&str> {
        fillings.iter().map(|filling| filling.node.as_deref().unwrap_or("-")).collect()
    }

    #[test]
    fn claims_of_one_pod_go_to_one_node_and_other_pods_elsewhere() {
        let (pair, alone) = (pod(&["one", "two"], &json!({})), pod(&["other"], &json!({})));
        let mut all = [
            filling("one", "local", vec![pair.clone()]),
            filling("other", "local", vec![alone]),
            filling("two", "local", vec![pair.clone()]),
            filling("far", "net", vec![pair]),
            filling("nobodys", "local", Vec::new()),
        ];
        assert!(place(&mut all, &facts()).is_empty());
        assert_eq!(nodes(&all), ["a", "b", "a", "-", "-"]);
    }

    #[test]
    fn a_node_has_to_fit_every_pod_of_the_group_and_what_is_bound_already() {
        let on = |name: &str| json!({"nodeSelector": {"kubernetes.io/hostname": name}});
        let mut all =
            [filling("one", "local", vec![pod(&["one", "two"], &on("c"))]), filling("two", "local", Vec::new())];
        let consumers = all[0].consumers.clone();
        all[1].consumers = consumers;
        assert!(place(&mut all, &facts()).is_empty());
        assert_eq!(nodes(&all), ["c", "c"]);
        // One was placed by a run before.
        all[1].object["metadata"]["annotations"] = json!({SELECTED_NODE: "b"});
        assert_eq!(place(&mut all, &facts()).len(), 2, "on c it cannot be, and on b not either");
        let mut all = [filling("one", "local", vec![pod(&["one"], &on("nowhere"))])];
        let nowhere = place(&mut all, &facts());
        assert_eq!((nowhere.len(), nodes(&all)), (1, vec!["-"]));
    }

    /// Pods on two nodes with one claim in common that both may mount: each other claim goes to its own pod.
    #[test]
    fn what_several_nodes_may_mount_ties_no_pods_together() {
        let on = |name: &str| json!({"nodeSelector": {"kubernetes.io/hostname": name}});
        let (first, second) = (pod(&["one", "shared", "more"], &on("b")), pod(&["two", "shared"], &on("c")));
        let shared = |name: &str, mode: &str, consumers: Vec<Value>| {
            let mut made = filling(name, "local", consumers);
            made.object["spec"]["accessModes"] = json!([mode]);
            made
        };
        let mut all = [
            shared("shared", "ReadWriteMany", vec![first.clone(), second.clone()]),
            filling("one", "local", vec![first.clone()]),
            filling("two", "local", vec![second.clone()]),
            shared("more", "ReadOnlyMany", vec![first.clone()]),
        ];
        assert!(place(&mut all, &facts()).is_empty());
        assert_eq!(nodes(&all), ["b", "b", "c", "b"]);
        // Where it is already counts before where its pods go, and a node that takes none of them is no place.
        all[0].object["metadata"]["annotations"] = json!({SELECTED_NODE: "c"});
        assert!(place(&mut all, &facts()).is_empty());
        assert_eq!(nodes(&all), ["c", "b", "c", "b"]);
        all[0].object["metadata"]["annotations"] = json!({SELECTED_NODE: "a"});
        assert_eq!(place(&mut all, &facts()).into_keys().map(|claim| claim.name).collect::<Vec<_>>(), ["shared"]);
        // Of two with the same pods, which may be anywhere, the second goes where the first is: storage that is of one node after all would part them.
        let pods = vec![pod(&["shared", "more"], &json!({}))];
        let mut all = [
            filling("alone", "local", vec![pod(&["alone"], &json!({}))]),
            shared("shared", "ReadWriteMany", pods.clone()),
            shared("more", "ReadWriteMany", pods),
        ];
        assert!(place(&mut all, &facts()).is_empty());
        assert_eq!(nodes(&all), ["a", "b", "b"]);
        // One that may not be mounted by several has to fit both.
        let mut all = [shared("shared", "ReadWriteOnce", vec![first, second])];
        assert_eq!(place(&mut all, &facts()).len(), 1);
    }

    #[test]
    fn each_pod_of_a_stateful_set_has_its_claims() {
        let set = json!({
            "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "media"},
            "spec": {
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}, {"metadata": {"name": "log"}}],
                "template": {"spec": {"volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}}]}},
            },
        });
        let claims = ["data-db-0", "log-db-0", "data-db-11", "data-db-x", "data-dbx-0", "shared"];
        let pods = consumers_of(&set, &claims.into_iter().map(str::to_owned).collect());
        let mut found: Vec<Vec<String>> = Vec::new();
        for pod in &pods {
            let mut names = Vec::new();
            names_claims(pod, &mut names);
            names.sort();
            found.push(names);
        }
        assert_eq!(found, [["data-db-0", "log-db-0", "shared"], ["data-db-11", "log-db-11", "shared"]]);
        assert!(consumers_of(&json!({"kind": "Service", "spec": {"selector": {}}}), &BTreeSet::new()).is_empty());
    }
}
