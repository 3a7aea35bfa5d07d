//! Facts from objects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    AccessMode, Claim, Facts, Namespace, Node, Owner, Phase, Pod, SnapshotClass, Snapshots, Source, StorageClass,
    Volume, Wishes,
};
use crate::base::causes::in_one_line;
use crate::cluster::object::{annotation, at, is_dying, items, name_of, namespace_of, text, uid_of};
use crate::cluster::ours::is_ours;
use crate::cluster::{Cluster, Kind};
use crate::volumes::labels::{BACKUP, HOOK, MODE};
use crate::volumes::run::run_of;
use crate::volumes::{VolumesError, kinds, quantity};

const DEFAULT_SNAPSHOT_CLASS: &str = "snapshot.storage.kubernetes.io/is-default-class";

/// Reads all that is needed to choose. A kind that cannot be read is an error, but for CSI snapshots, without which there are other ways.
pub async fn read(cluster: &dyn Cluster) -> Result<Facts, VolumesError> {
    let named = |object: &Value| name_of(object).to_owned();
    let mut facts = Facts {
        claims: kinds::list(cluster, &kinds::claims(), |object| Some(claim(object))).await?,
        volumes: all(cluster, &kinds::volumes(), volume).await?,
        storage_classes: all(cluster, &kinds::storage_classes(), storage_class).await?,
        drivers: kinds::list(cluster, &kinds::drivers(), |object| Some(named(object))).await?.into_iter().collect(),
        snapshots: snapshots(cluster).await,
        pods: kinds::list(cluster, &kinds::pods(), pod).await?,
        namespaces: all(cluster, &kinds::namespaces(), namespace).await?,
        nodes: all(cluster, &kinds::nodes(), node).await?,
    };
    facts.claims.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    facts.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(facts)
}

async fn all<T: Send>(
    cluster: &dyn Cluster,
    kind: &Kind,
    take: impl Fn(&Value) -> T + Send + Sync,
) -> Result<BTreeMap<String, T>, VolumesError> {
    let found = kinds::list(cluster, kind, |object| Some((name_of(object).to_owned(), take(object)))).await?;
    Ok(found.into_iter().collect())
}

async fn snapshots(cluster: &dyn Cluster) -> Snapshots {
    match all(cluster, &kinds::snapshot_classes(), snapshot_class).await {
        Ok(classes) => Snapshots::Classes(classes),
        Err(VolumesError::Cluster { source, .. }) if source.is_missing() => Snapshots::Missing,
        Err(error) => Snapshots::Unknown(in_one_line(&error)),
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn texts(object: &Value, path: &[&str]) -> BTreeMap<String, String> {
    let fields = at(object, path).as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// What an object's annotations of ours say.
pub(crate) fn wishes(object: &Value) -> Wishes {
    // An empty annotation is a wish that nobody can read; it is not the same as none.
    let written = |name: &str| at(object, &["metadata", "annotations", name]).as_str().map(str::to_owned);
    let mut hooks = texts(object, &["metadata", "annotations"]);
    hooks.retain(|name, _| name.starts_with(HOOK));
    Wishes { backup: written(BACKUP), mode: written(MODE), hooks }
}

fn claim(object: &Value) -> Claim {
    let spec = |field: &str| some(text(object, &["spec", field]));
    let owners = items(object, &["metadata", "ownerReferences"]).iter().map(|owner| Owner {
        group: text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group).to_owned(),
        kind: text(owner, &["kind"]).to_owned(),
        name: text(owner, &["name"]).to_owned(),
    });
    let size = |path: &[&str]| quantity::bytes(text(object, path)).unwrap_or(0);
    let source = ["dataSource", "dataSourceRef"].into_iter().find_map(|field| {
        let source = at(object, &["spec", field]);
        source.is_object().then(|| format!("{} {}", text(source, &["kind"]), text(source, &["name"])))
    });
    Claim {
        namespace: namespace_of(object).unwrap_or_default().to_owned(),
        name: name_of(object).to_owned(),
        uid: uid_of(object).to_owned(),
        labels: texts(object, &["metadata", "labels"]),
        wishes: wishes(object),
        run: run_of(object),
        owners: owners.collect(),
        dying: is_dying(object),
        phase: match text(object, &["status", "phase"]) {
            "Bound" => Phase::Bound,
            "Lost" => Phase::Lost,
            _ => Phase::Pending,
        },
        volume: spec("volumeName"),
        storage_class: spec("storageClassName"),
        access: items(object, &["spec", "accessModes"]).iter().filter_map(access).collect(),
        block: text(object, &["spec", "volumeMode"]) == "Block",
        bytes: size(&["status", "capacity", "storage"]).max(size(&["spec", "resources", "requests", "storage"])),
        filled_from: source,
    }
}

fn access(mode: &Value) -> Option<AccessMode> {
    match mode.as_str()? {
        "ReadWriteOnce" => Some(AccessMode::ReadWriteOnce),
        "ReadOnlyMany" => Some(AccessMode::ReadOnlyMany),
        "ReadWriteMany" => Some(AccessMode::ReadWriteMany),
        "ReadWriteOncePod" => Some(AccessMode::ReadWriteOncePod),
        _ => None,
    }
}

/// Fields of a `PersistentVolume`'s spec that say nothing of where its bytes are.
const NO_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

fn volume(object: &Value) -> Volume {
    let spec = at(object, &["spec"]);
    let path = |kind: &str| some(text(spec, &[kind, "path"]));
    let source = if let Some(driver) = some(text(spec, &["csi", "driver"])) {
        Source::Csi(driver)
    } else if at(spec, &["nfs"]).is_object() {
        Source::Nfs(format!("{}:{}", text(spec, &["nfs", "server"]), text(spec, &["nfs", "path"])))
    } else if let Some(path) = path("hostPath") {
        Source::HostPath(path)
    } else if let Some(path) = path("local") {
        Source::Local(path)
    } else {
        let fields = spec.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let other = fields.into_iter().find(|name| !NO_SOURCES.contains(name));
        Source::Other(other.unwrap_or("nothing").to_owned())
    };
    let nodes = at(spec, &["nodeAffinity", "required"]);
    Volume {
        source,
        claim_uid: some(text(spec, &["claimRef", "uid"])),
        nodes: nodes.is_object().then(|| nodes.clone()),
    }
}

fn storage_class(object: &Value) -> StorageClass {
    StorageClass {
        provisioner: text(object, &["provisioner"]).to_owned(),
        waits_for_consumer: text(object, &["volumeBindingMode"]) == "WaitForFirstConsumer",
    }
}

fn snapshot_class(object: &Value) -> SnapshotClass {
    SnapshotClass {
        driver: text(object, &["driver"]).to_owned(),
        default: annotation(object, DEFAULT_SNAPSHOT_CLASS) == "true",
        parameters: texts(object, &["parameters"]),
    }
}

fn pod(object: &Value) -> Option<Pod> {
    let phase = text(object, &["status", "phase"]);
    // A mover, also one that a dead run left, is no application.
    if matches!(phase, "Succeeded" | "Failed") || is_ours(object) {
        return None;
    }
    let name = name_of(object);
    let (mut claims, mut ephemeral) = (BTreeSet::new(), BTreeSet::new());
    for volume in items(object, &["spec", "volumes"]) {
        if let Some(claim) = some(text(volume, &["persistentVolumeClaim", "claimName"])) {
            claims.insert(claim);
        } else if at(volume, &["ephemeral"]).is_object() {
            ephemeral.insert(format!("{name}-{}", text(volume, &["name"])));
        }
    }
    claims.extend(ephemeral.iter().cloned());
    if claims.is_empty() {
        return None;
    }
    Some(Pod {
        namespace: namespace_of(object).unwrap_or_default().to_owned(),
        name: name.to_owned(),
        node: some(text(object, &["spec", "nodeName"])),
        running: phase == "Running" && !is_dying(object),
        claims,
        ephemeral,
        runtime_class: some(text(object, &["spec", "runtimeClassName"])),
        tolerations: items(object, &["spec", "tolerations"]).to_vec(),
    })
}

fn namespace(object: &Value) -> Namespace {
    Namespace { wishes: wishes(object), dying: is_dying(object) }
}

fn node(object: &Value) -> Node {
    let mut conditions = items(object, &["status", "conditions"]).iter();
    Node {
        name: name_of(object).to_owned(),
        labels: texts(object, &["metadata", "labels"]),
        ready: conditions.any(|it| text(it, &["type"]) == "Ready" && text(it, &["status"]) == "True"),
        cordoned: at(object, &["spec", "unschedulable"]) == true,
        taints: items(object, &["spec", "taints"]).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::ours::{MANAGED_BY, MANAGER, RUN};

    #[test]
    fn the_source_of_a_volume_is_what_is_not_about_something_else() {
        let of = |spec: Value| volume(&json!({"spec": spec})).source;
        for (spec, expected) in [
            (json!({"csi": {"driver": "d", "volumeHandle": "h"}, "capacity": {}}), Source::Csi("d".into())),
            (json!({"hostPath": {"path": "/a"}}), Source::HostPath("/a".into())),
            (json!({"local": {"path": "/a"}, "nodeAffinity": {}}), Source::Local("/a".into())),
            (json!({"nfs": {"server": "nas", "path": "/a"}}), Source::Nfs("nas:/a".into())),
            (json!({"accessModes": [], "volumeMode": "Block", "iscsi": {"iqn": "x"}}), Source::Other("iscsi".into())),
            (json!({"accessModes": []}), Source::Other("nothing".into())),
            (Value::Null, Source::Other("nothing".into())),
        ] {
            assert_eq!(of(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn pods_that_ended_or_use_no_claim_do_not_count() {
        let of = |phase: &str, volumes: Value| {
            pod(&json!({
                "metadata": {"name": "web", "namespace": "media"}, "status": {"phase": phase},
                "spec": {"nodeName": "a", "volumes": volumes},
            }))
        };
        let claim = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
        assert!(of("Succeeded", claim.clone()).is_none() && of("Failed", claim.clone()).is_none());
        assert!(of("Running", json!([{"name": "v", "emptyDir": {}}])).is_none());
        assert!(of("Running", claim.clone()).is_some_and(|pod| pod.running && pod.claims.contains("data")));
        assert!(of("Pending", claim).is_some_and(|pod| !pod.running));
        let mut ours = json!({"metadata": {"name": "m", "labels": {MANAGED_BY: MANAGER, RUN: "0123456789abcdef"}}, "status": {"phase": "Running"}});
        ours["spec"]["volumes"] = json!([{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]);
        assert!(pod(&ours).is_none(), "a mover is no application");
        let scratch = of("Running", json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}}]));
        assert!(scratch.is_some_and(|pod| pod.claims == pod.ephemeral && pod.claims.contains("web-scratch")));
    }

    #[test]
    fn an_empty_annotation_is_not_the_same_as_none() {
        let found = wishes(&json!({"metadata": {"annotations": {BACKUP: ""}}}));
        assert_eq!(found, Wishes { backup: Some(String::new()), ..Wishes::default() });
    }
}
