//! Volumes of a cluster, backed up by real movers: the test API server starts this very program as the pod's process.

mod cilium;
mod csi;
mod databases;
mod direct;
mod dumps;
pub(crate) mod faults;
pub(crate) mod hooks;
mod hooks_earlier;
mod hooks_git;
mod hooks_torn;
pub(crate) mod hooks_trouble;
mod live;
mod pod;
pub(crate) mod preflight;
mod preflight_hooks;
mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Ran;
use crate::kill::lab::Lab;
use crate::support::files::{Picture, picture};
use crate::support::kube::node::Node;
use crate::support::kube::server::{KubeServer, Options};
use crate::support::kube::state::text;
use crate::support::s3::{Rules, S3Server};

pub(crate) const IMAGE: &str = "homelab-dr:test";
/// Slow enough to be met in the middle: some MiB take this many seconds.
pub(crate) const SLOW: [&str; 2] = ["--limit-upload", "512KiB/s"];

/// Of a run that is cut off: it does not end by itself before a busy machine comes to that.
pub(crate) const CUT_OFF: [&str; 2] = ["--limit-upload", "48KiB/s"];

/// A node that has this very program as an image, and another image that is nowhere.
pub(crate) fn node() -> Node {
    let images = BTreeMap::from([(IMAGE.to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_homelab-dr")))]);
    Node { images, absent: ["absent:1".to_owned()].into(), ..Node::default() }
}

/// A cluster, a bucket, and a machine with the configuration.
pub(crate) struct World {
    pub(crate) kube: KubeServer,
    pub(crate) s3: S3Server,
    pub(crate) lab: Arc<Lab>,
}

impl World {
    pub(crate) async fn new(more: &str) -> Self {
        let kube = KubeServer::start(Options { node: node(), ..Options::default() }).await;
        let s3 = S3Server::start(Rules::PLAIN).await;
        let (address, bucket) = (s3.address("home"), s3.bucket_dir().join("home"));
        let lab = tokio::task::spawn_blocking(move || Lab::new(|_| address.clone(), Some(bucket))).await.unwrap();
        std::fs::write(lab.path("kubeconfig"), kube.kubeconfig()).unwrap();
        let world = Self { kube, s3, lab: Arc::new(lab) };
        world.configure(more);
        world
    }

    /// Writes the configuration, which leaves the objects out; `more` is added to the fields of the source.
    pub(crate) fn configure(&self, more: &str) {
        let image = if more.contains("image:") { String::new() } else { format!(", image: '{IMAGE}'") };
        let text = format!(
            "sources:\n  all: {{volumes: {{kubeconfig: DIR/kubeconfig, resources-elsewhere: true{image}{more}}}}}\n"
        );
        let folder = self.lab.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        std::fs::write(self.lab.path("homelab-dr.yaml"), text.replace("DIR", folder)).unwrap();
    }

    /// An application in a namespace with Pod Security `restricted`, and a claim that it has filled by a script.
    pub(crate) async fn application(&self, namespace: &str, claim: &str, script: &str) {
        self.application_of("local-path", namespace, claim, script).await;
    }

    /// A namespace that enforces Pod Security `restricted`, once.
    pub(crate) async fn namespace(&self, namespace: &str) {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        if self.kube.object("namespaces", "", namespace).is_none() {
            let space =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}});
            self.kube.make("", space);
        }
        let has_account = |state: &crate::support::kube::state::State| {
            state.object("serviceaccounts", namespace, "default").is_some()
        };
        self.kube.until("the service account", has_account).await;
    }

    /// The same with a claim of another class.
    pub(crate) async fn application_of(&self, class: &str, namespace: &str, claim: &str, script: &str) {
        self.namespace(namespace).await;
        self.kube.make(namespace, claim_of(claim, class));
        self.kube.make(namespace, application(claim, &format!("{script}; touch /data/ready; sleep 600")));
        let filled = |state: &crate::support::kube::state::State| {
            state.claim_folder(namespace, claim).is_some_and(|folder| folder.join("ready").exists())
        };
        for _ in 0..600 {
            if self.kube.shared.with(|state| filled(state)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{namespace}/{claim} was not filled");
    }

    pub(crate) fn folder(&self, namespace: &str, claim: &str) -> PathBuf {
        self.kube.volume(namespace, claim).expect("a bound claim")
    }

    /// Runs the program while the servers go on.
    pub(crate) async fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.lab.command(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        Ran::of(&output.expect("it runs"))
    }

    pub(crate) async fn backup(&self, more: &[&str]) -> Ran {
        self.run(&[&["backup", "--no-progress"][..], more].concat()).await
    }

    /// Starts a backup that is looked at while it runs.
    pub(crate) fn begin(&self, more: &[&str]) -> Child {
        let mut command = self.lab.command(&[&["backup", "--no-progress", "--json"][..], more].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    }

    pub(crate) async fn end(&self, child: Child) -> Ran {
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap();
        Ran::of(&output.expect("it ended"))
    }

    /// The pods of movers.
    pub(crate) fn movers(&self) -> Vec<Value> {
        self.kube.shared.with(|state| {
            let all = state.objects("pods");
            all.iter().filter(|pod| is_ours(pod)).map(|pod| (**pod).clone()).collect()
        })
    }

    /// Waits until so many movers say that they have their job.
    pub(crate) async fn until_at_work(&self, number: usize) -> Vec<Value> {
        for _ in 0..600 {
            let at_work: Vec<Value> =
                self.movers().into_iter().filter(|pod| self.log(pod).contains("\"accepted\"")).collect();
            if at_work.len() >= number {
                return at_work;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no {number} movers are at work: {:?}", self.movers());
    }

    /// What a mover has said so far.
    pub(crate) fn log(&self, pod: &Value) -> String {
        let uid = text(&pod["metadata"]["uid"]).to_owned();
        let container = self.kube.shared.with(|state| state.pods.get(&uid)).and_then(|run| run.container("mover"));
        let lines = container.map(|container| container.lines()).unwrap_or_default();
        lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    /// Nothing that was made for a run is left, once what was told to end has ended.
    pub(crate) async fn is_clean(&self) {
        let policies =
            |world: &Self| world.kube.shared.with(|state| state.objects("networkpolicies.networking.k8s.io").len());
        for _ in 0..400 {
            if self.movers().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let left: Vec<String> = self.movers().iter().map(|pod| pod["metadata"].to_string()).collect();
        assert_eq!((left, policies(self)), (Vec::new(), 0));
    }

    /// What the newest snapshot of a claim restores to.
    pub(crate) async fn restored(&self, claim: &str) -> Picture {
        let target = tempfile::tempdir().unwrap();
        let path = target.path().to_str().unwrap().to_owned();
        let snapshot = format!("latest:pvc/{claim}");
        self.run(&["restore", &snapshot, "--target", &path]).await.exits(0);
        picture(target.path())
    }

    pub(crate) async fn snapshots(&self) -> Vec<String> {
        let listed = self.run(&["snapshots", "--json"]).await.exits(0).json();
        let all = listed["snapshots"].as_array().unwrap().iter();
        all.map(|snapshot| snapshot["source"].as_str().unwrap().to_owned()).collect()
    }

    /// Something about all that there is in the cluster, at every change, until it is dropped.
    pub(crate) fn watch<T: Default + Send + 'static>(
        &self,
        look: impl Fn(&crate::support::kube::state::State, &mut T) + Send + 'static,
    ) -> Arc<Mutex<T>> {
        let seen = Arc::new(Mutex::new(T::default()));
        let (shared, into) = (Arc::clone(&self.kube.shared), Arc::clone(&seen));
        tokio::spawn(async move {
            let mut changed = shared.changed.subscribe();
            // Whoever asked for it holds the other end.
            while Arc::strong_count(&into) > 1 {
                {
                    // In this order: who looks at what was seen may look at the cluster meanwhile.
                    let mut seen = into.lock().unwrap();
                    shared.with(|state| look(state, &mut seen));
                }
                let _ = tokio::time::timeout(Duration::from_millis(100), changed.changed()).await;
            }
        });
        seen
    }
}

pub(crate) fn is_ours(object: &Value) -> bool {
    object["metadata"]["labels"]["homelab-dr.io/run"].is_string()
}

pub(crate) fn claim_of(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "64Mi"}}},
    })
}

/// A pod as hardened namespaces take it, with a claim at `/data`.
pub(crate) fn application(claim: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("app-{claim}")},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "fsGroup": 2000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "app", "image": "test:1", "command": ["sh", "-c", script],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        },
    })
}

/// The row of a claim.
#[track_caller]
fn row(document: &Value, claim: &str) -> Value {
    row_of(document, &format!("pvc/{claim}"))
}

/// The row of that name.
#[track_caller]
fn row_of(document: &Value, source: &str) -> Value {
    let rows = document["sources"].as_array().unwrap_or_else(|| panic!("{document}"));
    rows.iter().find(|row| row["source"] == source).unwrap_or_else(|| panic!("no {source}: {document}")).clone()
}
