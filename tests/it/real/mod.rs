//! The program against a real cluster, named by `HOMELAB_DR_TEST_KUBECONFIG`; without it these tests say that they are skipped. docs/contributing.md says
//! how to run them. Here a test starts them anew, as a process of its own, with the test API server as that cluster: so they are known to run.
//!
//! They make namespaces `homelab-dr-test-…`, which have the label `homelab-dr.io/test` as everything in them has, and remove those and nothing else, also after a failure. All else in
//! the cluster is only read.

mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::{Ran, program};
use crate::support::kube::node::Node;
use crate::support::kube::server::{KubeServer, Options};
use crate::support::s3::{self, Rules, S3Server};

const KUBECONFIG: &str = "HOMELAB_DR_TEST_KUBECONFIG";
const IMAGE: &str = "HOMELAB_DR_TEST_IMAGE";
const REPO: &str = "HOMELAB_DR_TEST_REPO";
/// A storage class of volumes that are chosen where nothing else is asked for.
const CLASS: &str = "HOMELAB_DR_TEST_STORAGE_CLASS";
/// One whose driver takes snapshots and clones.
const CSI_CLASS: &str = "HOMELAB_DR_TEST_CSI_STORAGE_CLASS";
/// The label of all that the tests make.
const TEST: &str = "homelab-dr.io/test";
/// What a real cluster may take to pull an image, make a volume, or remove a namespace.
const PATIENCE: Duration = Duration::from_secs(300);

/// A namespace of this test in the real cluster, and a folder with keys, a repository and the program.
struct Real {
    client: kube::Client,
    kubeconfig: String,
    /// Of this run; the names of all namespaces begin so.
    name: String,
    dir: tempfile::TempDir,
    repo: String,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl Real {
    /// `None`, having said so, if a variable is not set. The repository is a folder here, or below the given address.
    async fn from_env(needed: &[&str], repo: Option<&str>) -> Option<Self> {
        let missing: Vec<&&str> = needed.iter().chain([&KUBECONFIG]).filter(|name| variable(name).is_none()).collect();
        if !missing.is_empty() {
            println!("skipped: {missing:?} not set, so there is no real cluster to test with");
            return None;
        }
        let kubeconfig = std::fs::canonicalize(variable(KUBECONFIG)?).expect("the kubeconfig is there");
        let options = kube::config::KubeConfigOptions::default();
        let file = kube::config::Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(file, &options).await.expect("a kubeconfig");
        let mut random = [0; 4];
        getrandom::fill(&mut random).unwrap();
        let name = format!("homelab-dr-test-{}", data_encoding::HEXLOWER.encode(&random));
        let repo = match repo {
            Some(address) => {
                let (path, query) = address.split_once('?').unwrap_or((address, ""));
                format!("{}/{name}?{query}", path.trim_end_matches('/')).trim_end_matches('?').to_owned()
            }
            None => "repo".to_owned(),
        };
        let client = kube::Client::try_from(config).expect("a client");
        let kubeconfig = kubeconfig.to_str().expect("text").to_owned();
        let real = Self { client, kubeconfig, name, dir: tempfile::tempdir().unwrap(), repo };
        let recipient = real.run(&["keys", "new", "--out", "key"]).await.exits(0).out.trim().to_owned();
        real.run(&["init", "--recipient", &recipient, "--writer-key", "writer"]).await.exits(0);
        Some(real)
    }

    /// What every object of ours has.
    fn labels(&self) -> Value {
        json!({TEST: self.name})
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self, sources: &str) {
        let text = format!("sources:\n{sources}").replace("KUBECONFIG", &self.kubeconfig);
        std::fs::write(self.path("homelab-dr.yaml"), text).unwrap();
    }

    async fn run(&self, args: &[&str]) -> Ran {
        let mut command = program();
        command.current_dir(self.dir.path()).args(args).env("HOMELAB_DR_REPO", &self.repo);
        // Plugins of a kubeconfig are found by it, and read what they keep below HOME.
        for name in ["PATH", "HOME"].map(str::to_owned) {
            command.envs(std::env::var(&name).map(|value| (name, value)));
        }
        command.envs(std::env::vars().filter(|(name, _)| name.starts_with("AWS_")));
        if self.path("key").exists() {
            command.env("HOMELAB_DR_IDENTITY_FILE", "key");
        }
        if self.path("writer").exists() {
            command.env("HOMELAB_DR_WRITER_KEY_FILE", "writer");
        }
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
        Ran::of(&output.expect("it runs"))
    }

    /// Makes `NAME-PART` with our label, and waits until it takes pods.
    async fn namespace(&self, part: &str) -> String {
        let name = format!("{}-{part}", self.name);
        let labels = json!({TEST: self.name, "pod-security.kubernetes.io/enforce": "restricted"});
        let made = typed(json!({"metadata": {"name": name, "labels": labels}}));
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &made).await.unwrap();
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(self.client.clone(), &name);
        self.until("the service account", || async { accounts.get_opt("default").await.unwrap() }).await;
        name
    }

    async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, mut look: impl FnMut() -> F) -> T {
        let begun = tokio::time::Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Runs a test; removes the namespaces that it made, whatever came of it.
    async fn test(&self, test: impl Future<Output = ()>) {
        let ended = std::panic::AssertUnwindSafe(test).catch_unwind().await;
        self.remove().await;
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    }

    async fn remove(&self) {
        let spaces: Api<Namespace> = Api::all(self.client.clone());
        let ours = |space: &Namespace| {
            let name = space.metadata.name.as_deref().unwrap_or_default();
            let label = space.metadata.labels.as_ref().and_then(|labels| labels.get(TEST));
            (name.starts_with(&self.name) && label == Some(&self.name)).then(|| name.to_owned())
        };
        let found = spaces.list(&Default::default()).await.unwrap();
        let names: Vec<String> = found.items.iter().filter_map(ours).collect();
        for name in &names {
            spaces.delete(name, &DeleteParams::default()).await.unwrap();
        }
        for name in &names {
            self.until("our namespace is gone", || async {
                spaces.get_opt(name).await.unwrap().is_none().then_some(())
            })
            .await;
        }
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn claims(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes a claim, with further annotations.
    async fn claim(&self, namespace: &str, name: &str, class: Option<String>, annotations: &[(&str, &str)]) {
        let mut claim = json!({
            "metadata": {
                "name": name, "labels": self.labels(),
                // No pod will say whose its files are, and it is among the only claims of the cluster that are meant.
                "annotations": {"homelab-dr.io/mover-user": "1000:1000", "homelab-dr.io/backup": "true"},
            },
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
        });
        for (name, value) in annotations {
            claim["metadata"]["annotations"][*name] = (*value).into();
        }
        if let Some(class) = class {
            claim["spec"]["storageClassName"] = class.into();
        }
        self.claims(namespace).create(&PostParams::default(), &typed(claim)).await.unwrap();
    }

    /// What runs our image with a claim at `/data`, in a namespace that is `restricted`.
    fn pod_spec(claim: &str, args: &[&str]) -> Value {
        json!({
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "app", "image": variable(IMAGE), "args": args,
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        })
    }

    /// Runs our image once, with a claim at `/data`, and removes its pod; what it printed.
    async fn fill(&self, namespace: &str, claim: &str, args: &[String]) -> String {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut spec = Self::pod_spec(claim, &args);
        spec["restartPolicy"] = "Never".into();
        let pod = json!({"metadata": {"name": "fill", "labels": self.labels()}, "spec": spec});
        let pods = self.pods(namespace);
        pods.create(&PostParams::default(), &typed(pod)).await.unwrap();
        let phase = self
            .until("the pod ended", || async {
                let pod = pods.get("fill").await.unwrap();
                pod.status.and_then(|status| status.phase).filter(|phase| phase == "Succeeded" || phase == "Failed")
            })
            .await;
        let said = pods.logs("fill", &LogParams::default()).await.unwrap();
        assert_eq!(phase, "Succeeded", "{said}");
        pods.delete("fill", &DeleteParams::default()).await.unwrap();
        self.until("the pod is gone", || async { pods.get_opt("fill").await.unwrap().is_none().then_some(()) }).await;
        said
    }

    /// Objects of the snapshot API, of all namespaces.
    fn snapshots(&self, kind: &str) -> Api<kube::core::DynamicObject> {
        let kind = kube::core::GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", kind);
        Api::all_with(self.client.clone(), &kube::core::ApiResource::from_gvk(&kind))
    }

    fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Starts an application with the claim `data`, which has it mounted and does nothing.
    async fn start(&self, namespace: &str) {
        // Nobody is at this address, so it tries for a day.
        let spec = Self::pod_spec(
            "data",
            &["mover", "--run", "idle", "--path", "/data", "--try", "127.0.0.1:1", "--for", "86400"],
        );
        let labels = self.labels();
        let app = json!({
            "metadata": {"name": "app", "labels": labels},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        });
        self.deployments(namespace).create(&PostParams::default(), &typed(app)).await.unwrap();
        self.until_up(namespace).await;
    }

    async fn until_up(&self, namespace: &str) {
        self.until("the application is up", || async {
            let app = self.deployments(namespace).get("app").await.unwrap();
            let (wanted, ready) =
                (app.spec.and_then(|spec| spec.replicas), app.status.and_then(|status| status.ready_replicas));
            (wanted == Some(1) && ready == Some(1)).then_some(())
        })
        .await;
    }
}

/// Notes all objects in the suite's namespaces that have neither the label of the tests nor, as movers have, that of the program, but for those that every namespace gets.
fn watch(server: &KubeServer, unlabelled: &Arc<Mutex<BTreeSet<String>>>) {
    let (shared, into) = (Arc::clone(&server.shared), Arc::clone(unlabelled));
    tokio::spawn(async move {
        let mut changed = shared.changed.subscribe();
        while Arc::strong_count(&into) > 1 {
            shared.with(|state| {
                for table in [
                    "configmaps",
                    "secrets",
                    "pods",
                    "persistentvolumeclaims",
                    "networkpolicies.networking.k8s.io",
                    "deployments.apps",
                    "replicasets.apps",
                    "volumesnapshots.snapshot.storage.k8s.io",
                ] {
                    for object in state.objects(table) {
                        let (metadata, labels) = (&object["metadata"], &object["metadata"]["labels"]);
                        let is_ours =
                            metadata["namespace"].as_str().is_some_and(|name| name.starts_with("homelab-dr-test-"));
                        let of_program = labels["app.kubernetes.io/managed-by"] == "homelab-dr"
                            || labels["homelab-dr.io/run"].is_string();
                        let has_label = labels[TEST].is_string() || of_program;
                        if is_ours && !has_label && metadata["name"] != "kube-root-ca.crt" {
                            into.lock().unwrap().insert(format!("{table} {}", metadata["name"]));
                        }
                    }
                }
            });
            let _ = tokio::time::timeout(Duration::from_millis(100), changed.changed()).await;
        }
    });
}

/// The suite itself, with the test API server as the real cluster: nothing is skipped, and nothing of it stays.
#[tokio::test(flavor = "multi_thread")]
async fn the_suite_runs_against_a_cluster_that_the_environment_names() {
    let images = BTreeMap::from([("homelab-dr:real".to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_homelab-dr")))]);
    let server = KubeServer::start(Options { node: Node { images, ..Node::default() }, ..Options::default() }).await;
    let store = S3Server::start(Rules::PLAIN).await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    // Nothing of it may be touched.
    server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs", "labels": {"homelab-dr.io/test": "theirs"}}}));
    let unlabelled = Arc::new(Mutex::new(BTreeSet::new()));
    watch(&server, &unlabelled);
    let mut suite = Command::new(std::env::current_exe().unwrap());
    suite.args(["real::suite::", "--nocapture", "--test-threads", "1"]);
    suite.env(KUBECONFIG, &kubeconfig).env(IMAGE, "homelab-dr:real").env(REPO, store.address("home"));
    suite.env(CLASS, "local-path").env(CSI_CLASS, "csi-hostpath-sc");
    suite.env("AWS_ACCESS_KEY_ID", s3::KEY_ID).env("AWS_SECRET_ACCESS_KEY", s3::SECRET);
    suite.stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || suite.output()).await.unwrap().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !said.contains("skipped:"), "{said}");
    assert!(said.contains("test result: ok. 8 passed"), "{said}");
    assert_eq!(*unlabelled.lock().unwrap(), BTreeSet::new(), "everything that it made has a label");
    let names: Vec<String> = server.shared.with(|state| {
        let all = state.objects("namespaces");
        all.iter().map(|space| space["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    });
    assert!(
        names.contains(&"theirs".to_owned()) && !names.iter().any(|name| name.starts_with("homelab-dr-test-")),
        "{names:?}"
    );
}
