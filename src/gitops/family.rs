//! Which of the objects made which, and the order in which they are paused: nobody before whoever would set it right again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Name;
use super::find::Found;
use super::tool::{ARGOCD, HELM, KUSTOMIZE, OPERATOR};
use crate::cluster::object::{annotation, items, label, text};

/// Argo CD's note on what an Application made, `APP:GROUP/KIND:NAMESPACE/NAME`; APP is `NAMESPACE_NAME` for Applications outside ArgoCD's own namespace.
const TRACKING: &str = "argocd.argoproj.io/tracking-id";
/// The same as a label, which is how ArgoCD tracks before 3.0. Helm charts use it for their own names too, so it counts only where an Application has the name.
const INSTANCE: &str = "app.kubernetes.io/instance";

/// Marks on what an object of Flux made: beginning of two labels that end in `/name` and `/namespace`, and what it was.
const FLUX_LABELS: [(&str, &str, &str); 4] = [
    (KUSTOMIZE, KUSTOMIZE, "Kustomization"),
    (HELM, HELM, "HelmRelease"),
    ("resourceset.fluxcd.controlplane.io", OPERATOR, "ResourceSet"),
    (OPERATOR, OPERATOR, "FluxInstance"),
];

/// The objects, parents first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Family {
    /// Places in the list that was given, in order.
    pub order: Vec<usize>,
    /// For each object of the list, the places of those that made it.
    pub parents: Vec<BTreeSet<usize>>,
    /// For each object of the list, how many generations are above it.
    pub depth: Vec<usize>,
}

/// Finds out who made whom.
#[must_use]
pub fn family(objects: &[Found]) -> Family {
    let places: BTreeMap<&Name, usize> =
        objects.iter().enumerate().map(|(place, found)| (&found.name, place)).collect();
    let mut parents = vec![BTreeSet::new(); objects.len()];
    for (place, found) in objects.iter().enumerate() {
        let above = named_by_child(found, objects);
        let above = above.iter().filter_map(|name| places.get(name).copied());
        if let Some(set) = parents.get_mut(place) {
            set.extend(above);
        }
        for child in named_by_parent(found, objects).iter().filter_map(|name| places.get(name)) {
            if let Some(set) = parents.get_mut(*child) {
                set.insert(place);
            }
        }
    }
    // A Kustomization or Application in Git that contains itself is no parent of itself.
    for (place, set) in parents.iter_mut().enumerate() {
        set.remove(&place);
    }
    let (order, depth) = order(&parents);
    Family { order, parents, depth }
}

/// Whoever has no parent that is still to come is next; of several the first of the list. In a circle somebody has to be first: the first of the list.
fn order(parents: &[BTreeSet<usize>]) -> (Vec<usize>, Vec<usize>) {
    let (mut order, mut depth) = (Vec::new(), vec![0; parents.len()]);
    let mut left: BTreeSet<usize> = (0..parents.len()).collect();
    while let Some(first) = left.first().copied() {
        let ready = |place: &usize| parents.get(*place).is_none_or(|above| above.is_disjoint(&left));
        let mut next: Vec<usize> = left.iter().copied().filter(ready).collect();
        if next.is_empty() {
            next.push(first);
        }
        for place in &next {
            left.remove(place);
        }
        for place in next {
            let above = parents.get(place).into_iter().flatten().filter(|above| order.contains(*above));
            let deepest = above.filter_map(|above| depth.get(*above)).max().map(|depth| depth + 1);
            if let Some(own) = depth.get_mut(place) {
                *own = deepest.unwrap_or(0);
            }
            order.push(place);
        }
    }
    (order, depth)
}

fn name(group: &str, kind: &str, namespace: &str, name: &str) -> Name {
    Name { group: group.into(), kind: kind.into(), namespace: namespace.into(), name: name.into() }
}

/// Who an object says that made it.
fn named_by_child(child: &Found, objects: &[Found]) -> Vec<Name> {
    let object = &child.object;
    let mut parents = Vec::new();
    for owner in items(object, &["metadata", "ownerReferences"]) {
        let group = text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
        parents.push(name(group, text(owner, &["kind"]), &child.name.namespace, text(owner, &["name"])));
    }
    for (label_group, group, kind) in FLUX_LABELS {
        let of = label(object, &format!("{label_group}/name"));
        if !of.is_empty() {
            parents.push(name(group, kind, label(object, &format!("{label_group}/namespace")), of));
        }
    }
    let tracked = annotation(object, TRACKING).split(':').next().unwrap_or_default();
    for app in [tracked, label(object, INSTANCE)].into_iter().filter(|app| !app.is_empty()) {
        // No name of an object has an underscore.
        let (namespace, app) = app.split_once('_').map_or((None, app), |(namespace, app)| (Some(namespace), app));
        let is_meant = |found: &&Found| {
            let at = &found.name;
            at.group == ARGOCD
                && at.kind == "Application"
                && at.name == app
                && namespace.is_none_or(|namespace| namespace == at.namespace)
        };
        parents.extend(objects.iter().filter(is_meant).map(|found| found.name.clone()));
    }
    parents
}

/// Whom an object says that it made: ArgoCD and Flux keep a list in the status.
fn named_by_parent(parent: &Found, objects: &[Found]) -> Vec<Name> {
    let of_argocd = items(&parent.object, &["status", "resources"]).iter().map(|resource: &Value| {
        let field = |field: &str| text(resource, &[field]);
        let namespace = field("namespace");
        let namespace = if namespace.is_empty() { &parent.name.namespace } else { namespace };
        name(field("group"), field("kind"), namespace, field("name"))
    });
    let entries = items(&parent.object, &["status", "inventory", "entries"]).iter();
    let of_flux = entries.filter_map(|entry| {
        // NAMESPACE_NAME_GROUP_KIND
        let mut parts = text(entry, &["id"]).split('_');
        let (namespace, own, group, kind) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(name(group, kind, namespace, own))
    });
    let is_there = |name: &Name| objects.iter().any(|found| found.name == *name);
    of_argocd.chain(of_flux).filter(is_there).collect()
}

#[cfg(test)]
#[path = "family_tests.rs"]
mod tests;
