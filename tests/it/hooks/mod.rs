//! Hooks: applications that hold still, and go on again whatever happens in between.

mod command;
mod cuts;
mod handshake;
mod program;
mod scale;

use std::collections::BTreeMap;
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::{Clock, ManualClock, Time};
use homelab_dr::cluster::Cluster;
use homelab_dr::cluster::api::{Api, Limits};
use homelab_dr::hooks::journal::Journal;
use homelab_dr::hooks::release::{Report, sweep};
use homelab_dr::hooks::{Acting, HookError, Waits};
use serde_json::{Value, json};

use crate::gitops::world::define;
use crate::support::kube::server::{KubeServer, Options};

/// 2026-11-01T03:00:00Z
pub(crate) const NOW: Time = Time(1_793_502_000_000);
pub(crate) const RUN: &str = "0badcafe";
pub(crate) const SETS: &str = "statefulsets.apps";
pub(crate) const SCALED: &str = "scaledobjects.keda.sh";
const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";

pub(crate) async fn api(server: &KubeServer) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let limits = Limits { answer: Duration::from_secs(20), tries: Duration::from_secs(3) };
    Api::open(Some(&path), None).await.unwrap().with_limits(limits)
}

/// What hooks are given, with waits that a test can wait for.
pub(crate) fn acting<'a>(
    cluster: &'a dyn Cluster,
    api: &'a Api,
    clock: &'a dyn Clock,
    cancel: &'a Cancel,
) -> Acting<'a> {
    let waits =
        Waits { empty: Duration::from_secs(20), handshake: Duration::from_secs(2), observed: Duration::from_secs(20) };
    Acting { cluster, exec: api, clock, waits, cancel }
}

pub(crate) fn journal() -> Journal {
    Journal::new("homelab-dr", RUN, "laptop", NOW)
}

/// From another machine, an hour later.
async fn swept(api: &Api) -> Vec<Report> {
    let (clock, cancel) = (ManualClock::at(NOW.after(Duration::from_secs(3600))), Cancel::default());
    sweep(&acting(api, api, &clock, &cancel), None).await.unwrap().reports
}

fn journals(server: &KubeServer) -> usize {
    let maps = server.shared.with(|state| state.objects("configmaps"));
    maps.iter().filter(|map| map["metadata"]["namespace"] == "homelab-dr" && map["data"]["journal"].is_string()).count()
}

/// A pod template with a claim in it.
fn template(name: &str, claim: Option<&str>) -> Value {
    let mut template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "c", "image": "db:1", "command": ["sh", "-c", "echo row >> /data/table; exec sleep 600"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
        },
    });
    if let Some(claim) = claim {
        template["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    }
    template
}

pub(crate) fn workload(kind: &str, name: &str, claim: Option<&str>) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template(name, claim)},
    })
}

pub(crate) fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "local-path", "resources": {"requests": {"storage": "1Mi"}}},
    })
}

/// The worst that there is: two replicas, claims that go when a replica goes, volumes that go with their claims, and KEDA, which scales it.
pub(crate) async fn database() -> KubeServer {
    let server = bare().await;
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": SCALED},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject", "listKind": "ScaledObjectList"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": free},
            }}}],
        },
    });
    define(&server, definition).await;
    let target = json!({"kind": "StatefulSet", "name": "db"});
    server.make("media", json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "db"}, "spec": {"scaleTargetRef": target},
    }));
    let mut set = workload("StatefulSet", "db", None);
    set["spec"]["serviceName"] = "db".into();
    set["spec"]["replicas"] = 2.into();
    set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete"});
    set["spec"]["volumeClaimTemplates"] = json!([claim("data")]);
    server.make("media", set);
    ready(&server, "db", 2).await;
    server
}

pub(crate) async fn bare() -> KubeServer {
    let server = KubeServer::start(Options::default()).await;
    for name in ["media", "homelab-dr"] {
        server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }
    server.until("pods can be made", |state| state.object("serviceaccounts", "media", "default").is_some()).await;
    server
}

pub(crate) async fn ready(server: &KubeServer, name: &str, replicas: u64) {
    server
        .until("the set is ready", |state| {
            state.object(SETS, "media", name).is_some_and(|set| {
                set["status"]["readyReplicas"] == replicas
                    && set["status"]["observedGeneration"] == set["metadata"]["generation"]
            })
        })
        .await;
}

/// Every object that a hook may touch, without what the server and controllers count.
fn all(server: &KubeServer) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for table in [SETS, SCALED, CLAIMS, VOLUMES, "deployments.apps"] {
        for object in server.shared.with(|state| state.objects(table)) {
            let mut object = (*object).clone();
            object.as_object_mut().unwrap().remove("status");
            let metadata = object["metadata"].as_object_mut().unwrap();
            for field in ["resourceVersion", "managedFields", "generation"] {
                metadata.remove(field);
            }
            all.insert(format!("{table} {}", object["metadata"]["name"]), object);
        }
    }
    all
}
