//! Metadata: what the server gives, and finalizers of what the cluster does by itself.

use serde_json::Value;

use crate::cluster::object::{at, fields_mut, items, label, take, take_fields, take_items};

/// What every server gives anew, and `status`, which controllers say anew. Owners are dealt with elsewhere.
const GIVEN: [&str; 9] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Finalizers that the cluster itself sets and removes: restored, nobody would take them off, or they would be set anyway.
const FINALIZERS: [&str; 9] = [
    "foregroundDeletion",
    "orphan",
    "kubernetes",
    "kubernetes.io/pvc-protection",
    "kubernetes.io/pv-protection",
    "external-provisioner.volume.kubernetes.io/finalizer",
    "service.kubernetes.io/load-balancer-cleanup",
    "batch.kubernetes.io/job-tracking",
    "customresourcecleanup.apiextensions.k8s.io",
];
const SNAPSHOT_FINALIZERS: &str = "snapshot.storage.kubernetes.io/";
/// The name of a namespace, which the server puts into its labels.
pub(super) const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

fn is_the_clusters(finalizer: &Value) -> bool {
    finalizer.as_str().is_some_and(|name| FINALIZERS.contains(&name) || name.starts_with(SNAPSHOT_FINALIZERS))
}

pub(super) fn strip(object: &mut Value) {
    for field in GIVEN {
        take(object, &["metadata", field]);
    }
    take_items(object, &["metadata", "finalizers"], is_the_clusters);
    take(object, &["status"]);
}

/// The finalizer `kubernetes` in a namespace's `spec` is the server's; the label with its name too, which older manifests lack.
pub(super) fn namespace(object: &mut Value) {
    take_items(object, &["spec", "finalizers"], |finalizer| finalizer == "kubernetes");
    if at(object, &["spec"]).as_object().is_some_and(serde_json::Map::is_empty) {
        take(object, &["spec"]);
    }
    if !label(object, NAMESPACE_LABEL).is_empty() {
        take_fields(object, &["metadata", "labels"], |name| name == NAMESPACE_LABEL);
    }
}

/// Takes a field from the live object, or leaves it out if that has none.
pub(super) fn keep(object: &mut Value, live: &Value, path: &[&str]) {
    let Some((field, above)) = path.split_last() else { return };
    let value = at(live, path);
    if let Some(fields) = fields_mut(object, above) {
        if value.is_null() {
            fields.remove(*field);
        } else {
            fields.insert((*field).to_owned(), value.clone());
        }
    }
}

/// Which object it is, whose it is, and what holds it there.
pub(super) fn keep_live(object: &mut Value, live: &Value) {
    for field in ["uid", "resourceVersion", "ownerReferences"] {
        keep(object, live, &["metadata", field]);
    }
    let mut finalizers = items(object, &["metadata", "finalizers"]).to_vec();
    for finalizer in items(live, &["metadata", "finalizers"]) {
        if is_the_clusters(finalizer) && !finalizers.contains(finalizer) {
            finalizers.push(finalizer.clone());
        }
    }
    if let Some(metadata) = fields_mut(object, &["metadata"])
        && !finalizers.is_empty()
    {
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_gives_is_stripped_and_what_a_person_wrote_stays() {
        let mut object = json!({
            "metadata": {
                "name": "x", "namespace": "n", "labels": {"a": "b"}, "annotations": {"c": "d"}, "uid": "u", "generateName": "x-",
                "resourceVersion": "1", "generation": 3, "creationTimestamp": "t", "deletionTimestamp": "t", "selfLink": "/x",
                "deletionGracePeriodSeconds": 1, "ownerReferences": [{"uid": "o"}], "finalizers": ["acme.example/cleanup"],
            },
            "spec": {"status": "mine"}, "status": {"phase": "Bound"},
        });
        strip(&mut object);
        let left = json!({
            "metadata": {
                "name": "x", "namespace": "n", "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["acme.example/cleanup"],
            },
            "spec": {"status": "mine"},
        });
        assert_eq!(object, left);
    }

    #[test]
    fn finalizers_of_the_cluster_itself_go_and_those_of_controllers_stay() {
        let finalizers = [
            "foregroundDeletion",
            "orphan",
            "kubernetes.io/pvc-protection",
            "kubernetes.io/pv-protection",
            "snapshot.storage.kubernetes.io/pvc-as-source-protection",
        ];
        let mut object = json!({"metadata": {"finalizers": finalizers}});
        strip(&mut object);
        assert_eq!(object, json!({"metadata": {}}));
        let mut object = json!({"metadata": {"finalizers": ["orphan", "example.org/keep"]}});
        strip(&mut object);
        assert_eq!(object, json!({"metadata": {"finalizers": ["example.org/keep"]}}));
    }

    #[test]
    fn a_namespace_keeps_its_pod_security_labels_and_loses_the_finalizer_in_its_spec() {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted", "kubernetes.io/metadata.name": "x"});
        let mut object = json!({"metadata": {"name": "x", "labels": labels}, "spec": {"finalizers": ["kubernetes"]}});
        namespace(&mut object);
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        assert_eq!(object, json!({"metadata": {"name": "x", "labels": labels}}));
    }

    #[test]
    fn a_replacement_is_of_this_very_object_and_keeps_its_owners_and_what_protects_it() {
        let mut object = json!({"metadata": {"name": "x", "finalizers": ["example.org/keep"]}});
        let live = json!({"metadata": {
            "name": "x", "uid": "u", "resourceVersion": "7", "ownerReferences": [{"uid": "o"}],
            "finalizers": ["kubernetes.io/pvc-protection", "example.org/other"],
        }});
        keep_live(&mut object, &live);
        let expected = json!({"metadata": {
            "name": "x", "uid": "u", "resourceVersion": "7", "ownerReferences": [{"uid": "o"}],
            "finalizers": ["example.org/keep", "kubernetes.io/pvc-protection"],
        }});
        assert_eq!(object, expected);
    }
}
