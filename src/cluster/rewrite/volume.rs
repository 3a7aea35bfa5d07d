//! Claims and volumes: the binding is made anew.

use serde_json::Value;

use super::metadata::keep;
use crate::cluster::Kind;
use crate::cluster::object::{fields_mut, take, take_fields, text};

/// What binding and provisioning note in a claim. `selected-node` would pin the claim to a node that may be gone.
const CLAIM_ANNOTATIONS: [&str; 7] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    FILLING,
    FILLING_IN_PLACE,
];
/// Our own note that a claim is being filled, of one cluster too.
pub const FILLING: &str = "homelab-dr.io/filling";
/// The same of a claim that had data: what is in its volume is half of that and half of the snapshot that this names.
pub const FILLING_IN_PLACE: &str = "homelab-dr.io/filling-in-place";
const VOLUME_ANNOTATIONS: [&str; 2] = ["pv.kubernetes.io/bound-by-controller", "pv.kubernetes.io/bind-completed"];

/// An owner that is not there in another cluster and takes its own with it when it goes: the pod that a claim is kept for (`whenScaled: Delete`).
pub(super) fn is_owner_of_the_moment(kind: &Kind, owner: &Value) -> bool {
    text(owner, &["kind"]) == "Node" || (kind.is("", "PersistentVolumeClaim") && text(owner, &["kind"]) == "Pod")
}

pub(super) fn claim(object: &mut Value) {
    take_fields(object, &["metadata", "annotations"], |name| CLAIM_ANNOTATIONS.contains(&name));
    for field in ["volumeName", "dataSource", "dataSourceRef"] {
        take(object, &["spec", field]);
    }
}

/// With a claim's name and without its uid the volume waits for the claim of this name.
pub(super) fn volume(object: &mut Value) {
    take_fields(object, &["metadata", "annotations"], |name| VOLUME_ANNOTATIONS.contains(&name));
    for field in ["uid", "resourceVersion"] {
        take(object, &["spec", "claimRef", field]);
    }
}

/// A volume stays that of its claim: without the claim's uid it would be free again, and the claim lost for good.
pub(super) fn keep_claim(object: &mut Value, live: &Value) {
    if live.pointer("/spec/claimRef").is_some() {
        keep(object, live, &["spec", "claimRef"]);
    }
}

/// A claim can be made larger and have other metadata; everything else of it is fixed.
pub(super) fn keep_binding(object: &mut Value, live: &Value) {
    let wanted = object.get("spec").and_then(|spec| spec.get("resources")).cloned();
    keep(object, live, &["spec"]);
    if let (Some(spec), Some(wanted)) = (fields_mut(object, &["spec"]), wanted) {
        spec.insert("resources".to_owned(), wanted);
    }
    for name in CLAIM_ANNOTATIONS {
        let value = crate::cluster::object::annotation(live, name);
        if value.is_empty() {
            continue;
        }
        let annotations = fields_mut(object, &["metadata"])
            .map(|metadata| metadata.entry("annotations").or_insert_with(|| Value::Object(serde_json::Map::new())));
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.insert(name.to_owned(), value.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    fn bound() -> Value {
        json!({
            "metadata": {"name": "data", "annotations": {
                "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes", "mine": "1",
                "volume.kubernetes.io/storage-provisioner": "p", "volume.beta.kubernetes.io/storage-provisioner": "p",
                "volume.kubernetes.io/selected-node": "old-node",
            }},
            "spec": {
                "storageClassName": "local-path", "volumeName": "pvc-1", "resources": {"requests": {"storage": "1Gi"}},
                "dataSource": {"kind": "VolumeSnapshot", "name": "s"}, "dataSourceRef": {"kind": "VolumeSnapshot", "name": "s"},
            },
        })
    }

    #[test]
    fn a_claim_forgets_its_volume_its_node_and_what_it_was_filled_from() {
        let mut object = bound();
        claim(&mut object);
        let expected = json!({
            "metadata": {"name": "data", "annotations": {"mine": "1"}},
            "spec": {"storageClassName": "local-path", "resources": {"requests": {"storage": "1Gi"}}},
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_volume_waits_for_the_claim_of_its_name_and_no_longer_for_that_very_claim() {
        let mut object = json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {"nfs": {"path": "/x"}, "claimRef": {"name": "data", "namespace": "media", "uid": "u", "resourceVersion": "1"}},
        });
        volume(&mut object);
        let expected = json!({"metadata": {}, "spec": {"nfs": {"path": "/x"}, "claimRef": {"name": "data", "namespace": "media"}}});
        assert_eq!(object, expected);
    }

    #[test]
    fn a_replaced_volume_stays_that_of_its_claim() {
        let object = || json!({"metadata": {"labels": {"new": "1"}}, "spec": {"claimRef": {"namespace": "media", "name": "data"}}});
        for claim in [
            json!({"namespace": "media", "name": "data", "uid": "u", "resourceVersion": "1"}),
            json!({"namespace": "media", "name": "other", "uid": "v"}),
        ] {
            let mut replaced = object();
            keep_claim(&mut replaced, &json!({"metadata": {}, "spec": {"claimRef": claim}}));
            assert_eq!(replaced, json!({"metadata": {"labels": {"new": "1"}}, "spec": {"claimRef": claim}}));
        }
        let mut free = object();
        keep_claim(&mut free, &json!({"spec": {}}));
        assert_eq!(free, object(), "one that is nobody's waits for the claim");
    }

    #[test]
    fn a_pod_never_owns_a_restored_claim() {
        let kind = |name: &str| example("", "", name);
        let owner = |kind: &str| json!({"kind": kind, "name": "web-0"});
        assert!(is_owner_of_the_moment(&kind("PersistentVolumeClaim"), &owner("Pod")));
        assert!(!is_owner_of_the_moment(&kind("PersistentVolumeClaim"), &owner("StatefulSet")));
        assert!(!is_owner_of_the_moment(&kind("ConfigMap"), &owner("Pod")));
    }

    #[test]
    fn a_replaced_claim_stays_bound_and_may_grow() {
        let live = bound();
        let mut object = bound();
        object["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        claim(&mut object);
        keep_binding(&mut object, &live);
        let mut expected = live.clone();
        expected["spec"]["resources"]["requests"]["storage"] = "2Gi".into();
        assert_eq!(object, expected);
    }
}
