//! What of the target objects can be put into: which kinds it serves, which namespaces it has, and which of both the plan itself brings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fate::{Fate, Trial};
use super::plan::Step;
use crate::base::causes::in_one_line;
use crate::cluster::object::{is_dying, items, text};
use crate::cluster::{Cluster, ClusterError, Kind};

/// Whether something can be asked for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum There {
    /// Yes.
    Now,
    /// When an object of the plan is there.
    Later,
    /// No, and why.
    Never(String),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// In a folder everything can be put.
    everything: bool,
    /// Group, resource and version that are served.
    served: BTreeSet<Served>,
    /// Group and resource, and the version that the target prefers.
    preferred: BTreeMap<(String, String), String>,
    /// The same, defined by the plan.
    defined: BTreeSet<Served>,
    /// Namespaces that were asked for: whether they are there, and are not going.
    namespaces: BTreeMap<String, Option<bool>>,
    /// Namespaces that the plan makes.
    made: BTreeSet<String>,
    /// Groups and versions that did not answer, or may not be asked for, and why.
    silent: BTreeMap<String, String>,
}

/// Group, resource and version.
pub(super) type Served = (String, String, String);

pub(super) fn key(kind: &Kind) -> Served {
    (kind.group.clone(), kind.resource.clone(), kind.version.clone())
}

impl Reach {
    pub(super) async fn look(cluster: &dyn Cluster, steps: &[Step]) -> Result<Self, ClusterError> {
        let mut reach = Self { everything: !cluster.lives(), ..Self::default() };
        for step in steps {
            if step.kind.name == "CustomResourceDefinition" {
                reach.defined.extend(versions_of(&step.rewritten.object));
            }
            if step.kind.is("", "Namespace") {
                reach.made.insert(step.object.name.clone());
            }
        }
        if reach.everything {
            return Ok(reach);
        }
        let found = cluster.kinds().await?;
        for kind in found.kinds {
            reach.preferred.insert((kind.group.clone(), kind.resource.clone()), kind.version.clone());
            reach.served.insert(key(&kind));
        }
        for (version, why) in found.silent {
            reach.silent.insert(version, why);
        }
        let mut asked: BTreeSet<Served> = BTreeSet::new();
        for step in steps {
            let (group, resource, version) = key(&step.kind);
            let other = reach.preferred.get(&(group, resource)).is_some_and(|preferred| *preferred != version);
            if !other || !asked.insert(key(&step.kind)) {
                continue;
            }
            match cluster.serves(&step.kind).await {
                Ok(true) => drop(reach.served.insert(key(&step.kind))),
                Ok(false) => {}
                Err(error) => drop(reach.silent.insert(step.kind.api_version(), in_one_line(&error))),
            }
        }
        let wanted: BTreeSet<&str> = steps.iter().filter_map(|step| step.object.namespace.as_deref()).collect();
        let made: Vec<String> = reach.made.iter().cloned().collect();
        for name in wanted.into_iter().chain(made.iter().map(String::as_str)) {
            if !reach.namespaces.contains_key(name) {
                let is_up = match cluster.get(&namespaces(), None, name).await {
                    Ok(live) => live.map(|live| !is_dying(&live)),
                    Err(error) if error.is_of_the_cluster() => return Err(error),
                    // Whoever has rights in one namespace alone may not look at namespaces: the objects themselves will tell.
                    Err(_) => Some(true),
                };
                reach.namespaces.insert(name.to_owned(), is_up);
            }
        }
        Ok(reach)
    }

    /// Whether objects of this kind can be asked for.
    pub(super) fn kind(&self, kind: &Kind) -> There {
        if self.everything || self.served.contains(&key(kind)) {
            return There::Now;
        }
        if self.defined.contains(&key(kind)) {
            return There::Later;
        }
        if let Some(why) = self.silent.get(&kind.api_version()) {
            return There::Never(format!("{} does not answer: {why}", kind.api_version()));
        }
        There::Never(match self.preferred.get(&(kind.group.clone(), kind.resource.clone())) {
            Some(version) => format!("the cluster has {kind} in {version}, and no longer in {}", kind.version),
            None => format!("the cluster has no {kind}, and no chosen definition brings it"),
        })
    }

    /// Whether objects can be put into this namespace.
    pub(super) fn namespace(&self, namespace: Option<&str>) -> There {
        let Some(namespace) = namespace.filter(|_| !self.everything) else { return There::Now };
        match self.namespaces.get(namespace).copied().flatten() {
            Some(true) => There::Now,
            Some(false) => There::Never(format!("namespace {namespace} is being deleted")),
            None if self.made.contains(namespace) => There::Later,
            None => There::Never(format!("there is no namespace {namespace}, and it is not among the chosen")),
        }
    }

    /// What rests on a definition or namespace of the plan that does not come cannot come either.
    pub(super) fn settle(&self, steps: &mut [Step]) {
        let mut kinds: BTreeMap<Served, String> = BTreeMap::new();
        let mut namespaces: BTreeMap<String, String> = BTreeMap::new();
        for step in steps.iter() {
            let why = match &step.fate {
                Fate::Conflict { .. } => format!("{}, which it needs, cannot be restored", step.object),
                Fate::Keep { .. } => {
                    format!("{}, which it needs, is left as it is, and does not bring it", step.object)
                }
                _ => continue,
            };
            if step.kind.name == "CustomResourceDefinition" {
                kinds.extend(versions_of(&step.rewritten.object).into_iter().map(|version| (version, why.clone())));
            } else if step.kind.is("", "Namespace") {
                namespaces.insert(step.object.name.clone(), why);
            }
        }
        for step in steps.iter_mut().filter(|step| matches!(step.fate, Fate::Create { trial: Trial::Later(_) })) {
            let namespace = step.object.namespace.as_deref();
            let of_kind = kinds.get(&key(&step.kind)).filter(|_| self.kind(&step.kind) == There::Later);
            let of_namespace = namespace.and_then(|name| namespaces.get(name));
            let of_namespace = of_namespace.filter(|_| self.namespace(namespace) == There::Later);
            if let Some(why) = of_kind.or(of_namespace) {
                step.fate = Fate::Conflict { why: why.clone() };
            }
        }
    }

    /// Whoever carries the plan out makes every namespace before.
    pub(super) fn makes_namespaces(&mut self, steps: &[Step]) {
        self.made.extend(steps.iter().filter_map(|step| step.object.namespace.clone()));
    }

    /// Whether a namespace is there.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.get(name).copied().flatten().is_some()
    }
}

/// Kubernetes has had them in this version since its first release.
pub(super) fn namespaces() -> Kind {
    Kind::known("", "v1", "namespaces", "Namespace", false)
}

/// What a definition defines.
pub(super) fn versions_of(definition: &Value) -> Vec<Served> {
    let spec = |path: &[&str]| text(definition, &[&["spec"], path].concat()).to_owned();
    let served = items(definition, &["spec", "versions"]).iter();
    let served = served.filter(|version| version.get("served").is_some_and(|served| *served == true));
    served.map(|version| (spec(&["group"]), spec(&["names", "plural"]), text(version, &["name"]).to_owned())).collect()
}
