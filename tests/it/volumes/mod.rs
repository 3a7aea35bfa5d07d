//! Volumes of a cluster: which way each is captured, and that nothing stays of it, against the test API server.

mod breaks;
mod handover;
mod sweeping;
mod ways;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::{Clock as _, SystemClock, Time};
use homelab_dr::cluster::Cluster;
use homelab_dr::cluster::api::Api;
use homelab_dr::volumes::choose::policy::{Mode, Policy};
use homelab_dr::volumes::choose::{Choice, Way, choose};
use homelab_dr::volumes::{Context, Cut, Limits, Prepared, Run, RunId, VolumesError, clone, facts, snapshot};
use serde_json::{Value, json};

use crate::cluster::delete::api;
use crate::support::kube::server::{KubeServer, Options};

const CLAIMS: &str = "persistentvolumeclaims";
const VOLUMES: &str = "persistentvolumes";
const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
const CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";
const CSI: &str = "hostpath.csi.k8s.io";
const OURS: &str = "backup";

fn claim(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "16Mi"}}},
    })
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A pod that uses a claim and sleeps.
fn pod(name: &str, claim: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0, "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "test:1", "command": ["sleep", "600"], "volumeMounts": [{"name": "v", "mountPath": "/data"}]}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        },
    })
}

async fn bound(server: &KubeServer, namespace: &str, name: &str) -> PathBuf {
    server
        .until(&format!("claim {name} is bound"), |state| {
            state.object(CLAIMS, namespace, name).is_some_and(|claim| claim["status"]["phase"] == "Bound")
        })
        .await;
    server.volume(namespace, name).unwrap()
}

/// A cluster with our namespace and a claim `media/data` whose volume holds `file`.
struct Lab {
    server: KubeServer,
    api: Api,
    limits: Limits,
}

impl Lab {
    /// Storage as it is by default: what is deleted is gone.
    async fn new() -> Self {
        Self::of_class("csi-hostpath-sc", Options::default()).await
    }

    /// Storage that keeps everything unless it is told otherwise: both classes say Retain.
    async fn that_retains() -> Self {
        Self::of_class("keeps", Options::default()).await
    }

    async fn of_class(class: &str, options: Options) -> Self {
        let server = KubeServer::start(options).await;
        server.make("", json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "keeps"}, "provisioner": CSI,
            "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate",
        }));
        server.make("", json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "waits"}, "provisioner": CSI,
            "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer",
        }));
        if class == "keeps" {
            server.make("", json!({
                "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": {"name": "a-keeps"},
                "driver": CSI, "deletionPolicy": "Retain",
            }));
        }
        server.make("", namespace(OURS));
        server.make("", namespace("media"));
        for name in [OURS, "media"] {
            server.until("it takes pods", |state| state.object("serviceaccounts", name, "default").is_some()).await;
        }
        server.make("media", claim("data", class));
        if class == "waits" {
            server.make("media", pod("app", "data"));
        }
        let folder = bound(&server, "media", "data").await;
        std::fs::write(folder.join("file"), "bytes").unwrap();
        let limit = Duration::from_secs(10);
        let limits = Limits {
            poll: Duration::from_millis(20),
            taken: limit,
            handed: limit,
            bound: limit,
            gone: limit,
            error: Duration::from_millis(200),
        };
        let api = api(&server).await;
        Self { server, api, limits }
    }

    /// What is chosen for `media/data`, of one way only.
    async fn choice(&self, mode: Mode) -> Choice {
        let mut facts = sendable(facts::read(&self.api)).await.unwrap();
        for claim in &mut facts.claims {
            claim.wishes.mode = serde_json::to_value(mode).unwrap().as_str().map(str::to_owned);
        }
        let choices = choose(&facts, &Policy::default());
        let choice = choices.into_iter().find(|choice| choice.claim == "data").expect("a choice for data");
        assert!(!matches!(choice.way, Way::Refused { .. }), "{choice:?}");
        choice
    }

    fn files(&self, below: &str) -> BTreeSet<String> {
        names(&self.server.folder().join(below))
    }

    /// Everything that could leak: objects by kind and name, entries of the journal, and folders of the storage.
    fn inventory(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        self.server.shared.with(|state| {
            for table in [CLAIMS, VOLUMES, SNAPSHOTS, CONTENTS, "pods"] {
                all.extend(state.objects(table).iter().map(|object| {
                    let metadata = &object["metadata"];
                    let dying = if metadata["deletionTimestamp"].is_null() { "" } else { " (dying)" };
                    format!(
                        "{table} {}/{}{dying}",
                        metadata["namespace"].as_str().unwrap_or_default(),
                        metadata["name"].as_str().unwrap()
                    )
                }));
            }
            if let Some(journal) = state.object("configmaps", OURS, "homelab-dr-volumes") {
                all.extend(journal["data"].as_object().into_iter().flatten().map(|(key, _)| format!("journal {key}")));
            }
        });
        for below in ["snapshots", "csi"] {
            all.extend(self.files(below).into_iter().map(|name| format!("{below}/{name}")));
        }
        all
    }

    /// The storage may take a moment to free what it was told to.
    async fn is_as_before(&self, before: &BTreeSet<String>, what: &str) {
        for _ in 0..100 {
            if self.inventory() == *before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let now = self.inventory();
        let more: Vec<_> = now.difference(before).collect();
        let less: Vec<_> = before.difference(&now).collect();
        panic!("{what}: left over {more:?}, lost {less:?}");
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A run that is over in an hour.
fn run(number: u64) -> Run {
    Run { id: RunId::new(number.to_be_bytes()), expires: SystemClock.now().after(Duration::from_secs(3600)) }
}

/// When every run of today is over.
fn later() -> Time {
    SystemClock.now().after(Duration::from_secs(7 * 86_400))
}

/// Prepares by the way of the choice.
async fn prepare(
    cluster: &dyn Cluster,
    lab: &Lab,
    run: &Run,
    choice: &Choice,
    cancel: &Cancel,
) -> Result<Prepared, VolumesError> {
    let cut = Cut::default();
    let context = Context { cluster, namespace: OURS, run, limits: &lab.limits, cancel, cut: &cut };
    match choice.way {
        Way::Snapshot { .. } => sendable(snapshot::prepare(&context, choice)).await,
        _ => sendable(clone::prepare(&context, choice)).await,
    }
}

/// Whoever captures many volumes does it in tasks of their own.
fn sendable<T>(future: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    future
}

/// An error and its causes in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
