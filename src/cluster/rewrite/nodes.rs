//! Nodes of other names: where objects say by name on which node they live, and whether that node is there.
//!
//! Known are the label `kubernetes.io/hostname` and the name of the node, in selectors of nodes of local volumes and of pods. Other labels that somebody gave nodes are
//! theirs to give again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cluster::Kind;
use crate::cluster::object::{at, change_text, items, items_mut, list_mut, text};

const HOSTNAME: &str = "kubernetes.io/hostname";

/// Which node becomes which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes(BTreeMap<String, String>);

impl FromIterator<(String, String)> for Nodes {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Where a kind has the specification of its pods.
fn pods_of(kind: &Kind) -> Option<&'static [&'static str]> {
    Some(match (kind.group.as_str(), kind.name.as_str()) {
        ("", "Pod") => &["spec"],
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") => {
            &["spec", "template", "spec"]
        }
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => return None,
    })
}

/// Whether an entry of a term is about the name of a node.
fn is_about_names(list: &str, entry: &Value) -> bool {
    let key = text(entry, &["key"]);
    if list == "matchFields" { key == "metadata.name" } else { key == HOSTNAME }
}

/// Where a pod says which nodes it wants.
const AFFINITY: [&str; 2] = ["affinity", "nodeAffinity"];
const LISTS: [&str; 2] = ["matchExpressions", "matchFields"];

impl Nodes {
    fn term(&self, term: &mut Value) {
        for list in LISTS {
            for entry in items_mut(term, &[list]) {
                if !is_about_names(list, entry) {
                    continue;
                }
                for value in list_mut(entry, &["values"]).into_iter().flatten() {
                    if let Some(new) = value.as_str().and_then(|name| self.0.get(name)) {
                        *value = new.clone().into();
                    }
                }
            }
        }
    }

    /// Changes the names of nodes in an object.
    pub fn apply(&self, kind: &Kind, object: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        if kind.is("", "PersistentVolume") {
            for term in items_mut(object, &["spec", "nodeAffinity", "required", "nodeSelectorTerms"]) {
                self.term(term);
            }
        }
        let Some(spec) = pods_of(kind) else { return };
        let of = |path: &[&'static str]| [spec, path].concat();
        change_text(object, &of(&["nodeSelector", HOSTNAME]), |name| self.0.get(name).cloned());
        change_text(object, &of(&["nodeName"]), |name| self.0.get(name).cloned());
        let required =
            [&AFFINITY[..], &["requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"]].concat();
        for term in items_mut(object, &of(&required)) {
            self.term(term);
        }
        let preferred = [&AFFINITY[..], &["preferredDuringSchedulingIgnoredDuringExecution"]].concat();
        for wish in items_mut(object, &of(&preferred)) {
            if let Some(term) = wish.get_mut("preference") {
                self.term(term);
            }
        }
    }
}

/// The nodes that a selector's terms ask for by name; `None` if some term asks for none, and so may fit any.
fn of_terms(terms: &[Value]) -> Option<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    for term in terms {
        let mut of_term = BTreeSet::new();
        for list in LISTS {
            let entries = items(term, &[list]).iter();
            for entry in entries.filter(|entry| is_about_names(list, entry) && text(entry, &["operator"]) == "In") {
                of_term.extend(items(entry, &["values"]).iter().filter_map(Value::as_str).map(str::to_owned));
            }
        }
        if of_term.is_empty() {
            return None;
        }
        named.extend(of_term);
    }
    (!named.is_empty()).then_some(named)
}

/// The nodes on one of which an object has to be, by their names; none if it may be anywhere.
#[must_use]
pub fn bound_to(kind: &Kind, object: &Value) -> BTreeSet<String> {
    if kind.is("", "PersistentVolume") {
        return of_terms(items(object, &["spec", "nodeAffinity", "required", "nodeSelectorTerms"])).unwrap_or_default();
    }
    let Some(spec) = pods_of(kind).map(|path| at(object, path)) else { return BTreeSet::new() };
    for fixed in [&["nodeSelector", HOSTNAME][..], &["nodeName"]] {
        let name = text(spec, fixed);
        if !name.is_empty() {
            return BTreeSet::from([name.to_owned()]);
        }
    }
    let required = ["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    of_terms(items(spec, &required)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_of_nodes_are_mapped_where_they_are_names_of_nodes_and_nowhere_else() {
        let nodes: Nodes = [("old".to_owned(), "new".to_owned())].into_iter().collect();
        let expression = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value, "other"]});
        let terms = |name: &str| json!([{"matchExpressions": [expression(HOSTNAME, name), expression("disk", "old")], "matchFields": [expression("metadata.name", name)]}]);
        let volume = |name: &str| json!({"spec": {"local": {"path": "/old"}, "nodeAffinity": {"required": {"nodeSelectorTerms": terms(name)}}}});
        let mut object = volume("old");
        nodes.apply(&Kind::known("", "v1", "persistentvolumes", "PersistentVolume", false), &mut object);
        assert_eq!(object, volume("new"));
        let pod = |name: &str| {
            json!({
                "nodeSelector": {HOSTNAME: name, "disk": "old"}, "nodeName": name, "hostname": "old",
                "affinity": {"nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms(name)},
                    "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {"matchExpressions": [expression(HOSTNAME, name)]}}],
                }},
            })
        };
        for (group, kind, wrap) in [
            ("", "Pod", (|spec| json!({"spec": spec})) as fn(Value) -> Value),
            ("apps", "StatefulSet", |spec| json!({"spec": {"template": {"spec": spec}}})),
            ("batch", "CronJob", |spec| json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}})),
        ] {
            let kind = Kind::known(group, "v1", "x", kind, true);
            let mut object = wrap(pod("old"));
            nodes.apply(&kind, &mut object);
            assert_eq!(object, wrap(pod("new")), "{kind:?}");
            assert_eq!(bound_to(&kind, &object), names(&["new"]));
        }
        let mut map = json!({"data": {"nodeName": "old"}});
        nodes.apply(&Kind::known("", "v1", "configmaps", "ConfigMap", true), &mut map);
        assert_eq!(map, json!({"data": {"nodeName": "old"}}));
    }

    #[test]
    fn an_object_is_bound_to_nodes_only_if_every_term_says_so() {
        let kind = Kind::known("", "v1", "persistentvolumes", "PersistentVolume", false);
        let on = |values: &[&str]| json!({"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": values}]});
        let other = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
        let not = json!({"matchExpressions": [{"key": HOSTNAME, "operator": "NotIn", "values": ["a"]}]});
        for (terms, expected) in [
            (json!([on(&["a"])]), names(&["a"])),
            (json!([on(&["a", "b"]), on(&["c"])]), names(&["a", "b", "c"])),
            (json!([on(&["a"]), other]), names(&[])),
            (json!([not]), names(&[])),
            (json!([]), names(&[])),
        ] {
            let volume = json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}});
            assert_eq!(bound_to(&kind, &volume), expected, "{volume}");
        }
        assert_eq!(bound_to(&kind, &json!({"spec": {"nfs": {}}})), names(&[]));
    }
}
