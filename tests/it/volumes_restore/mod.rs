//! Volumes come back: from a cluster that is lost into one that is empty, by real movers, and into a folder.

mod beside;
mod device;
mod device_in_place;
mod disaster;
mod faults;
mod impatient;
mod in_place;
mod in_place_away;
mod in_place_killed;
mod in_place_trouble;
mod keys;
mod memory;
mod outcome;
mod patched;
mod places;
mod preflight;
mod storms;
mod trouble;
mod users;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Ran;
use crate::support::files::noise;
use crate::support::kube::node::Node;
use crate::support::kube::server::{KubeServer, Options};
use crate::support::kube::state::text;
use crate::volumes_backup::{IMAGE, World, application, claim_of, is_ours, node};

/// What an application does that finds its data, or else makes it.
pub(crate) const FINDS_OR_MAKES: &str = "if [ -e /data/a/b/hello ]; then echo found > /data/verdict; else mkdir -p /data/a/b; echo hello > /data/a/b/hello; \
                              head -c 300000 /dev/urandom > /data/noise; ln -s a/b/hello /data/link; ln /data/noise /data/second; fi";

/// A cluster that will be lost, a bucket, a machine, and an empty cluster.
pub(crate) struct Disaster {
    pub(crate) world: World,
    pub(crate) new: KubeServer,
}

impl Disaster {
    pub(crate) async fn new() -> Self {
        Self::into(node()).await
    }

    /// Into a cluster with such nodes.
    async fn into(node: Node) -> Self {
        let new = KubeServer::start(Options { node, ..Options::default() });
        let (world, new) = (World::new("").await, new.await);
        std::fs::write(world.lab.path("new"), new.kubeconfig()).unwrap();
        let disaster = Self { world, new };
        disaster.configure(IMAGE, "1m");
        disaster
    }

    fn configure(&self, image: &str, start_timeout: &str) {
        let folder = self.world.lab.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        let text = format!(
            "sources:\n  cluster: {{resources: {{kubeconfig: {folder}/kubeconfig}}}}\n  volumes: {{volumes: {{kubeconfig: {folder}/kubeconfig, \
             image: '{image}', start-timeout: {start_timeout}}}}}\n"
        );
        std::fs::write(self.world.lab.path("homelab-dr.yaml"), text).unwrap();
    }

    /// Two applications with their claims; what only a writer by hand can make is in the first.
    async fn with_data() -> Self {
        let disaster = Self::new().await;
        disaster.world.application("media", "data", FINDS_OR_MAKES).await;
        disaster.world.application_of("csi-hostpath-sc", "home", "library", FINDS_OR_MAKES).await;
        write_hard_things(&disaster.world.folder("media", "data"));
        disaster.pair().await;
        disaster.world.backup(&[]).await.exits(0);
        disaster
    }

    /// A pod with two claims whose volumes are made where it is, and it may be on the second node only.
    async fn pair(&self) {
        for cluster in [&self.world.kube, &self.new] {
            cluster.add_node("node-b");
        }
        let mut pod = application("pair-a", FINDS_OR_MAKES);
        pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-b"});
        let second = json!({"name": "second", "persistentVolumeClaim": {"claimName": "pair-b"}});
        pod["spec"]["volumes"].as_array_mut().unwrap().push(second);
        for claim in ["pair-a", "pair-b"] {
            self.world.kube.make("media", claim_of(claim, "local-path"));
        }
        self.world.kube.make("media", pod);
        let runs = |state: &crate::support::kube::state::State| {
            state.object("pods", "media", "app-pair-a").is_some_and(|pod| pod["status"]["phase"] == "Running")
        };
        self.world.kube.until("the pair runs", runs).await;
        std::fs::write(self.world.folder("media", "pair-b").join("file"), "of the second").unwrap();
    }

    /// The node that a claim's volume is on.
    fn node(&self, namespace: &str, claim: &str) -> Value {
        let claim = self.new.object("persistentvolumeclaims", namespace, claim).unwrap();
        let volume = self.new.object("persistentvolumes", "", text(&claim["spec"]["volumeName"])).unwrap();
        volume.pointer("/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values/0").unwrap().clone()
    }

    async fn restore(&self, more: &[&str]) -> Ran {
        let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--yes", "--no-progress"];
        self.world.run(&[&args[..], more].concat()).await
    }

    /// The folder of a claim's volume in the new cluster.
    fn folder(&self, namespace: &str, claim: &str) -> PathBuf {
        self.new.volume(namespace, claim).expect("a bound claim")
    }

    /// Waits until an application of the new cluster has looked at its data.
    pub(crate) async fn verdict(&self, namespace: &str, claim: &str) -> String {
        let file = self.folder(namespace, claim).join("verdict");
        for _ in 0..600 {
            if let Ok(text) = std::fs::read_to_string(&file)
                && text.ends_with('\n')
            {
                return text.trim().to_owned();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{namespace}/{claim} was never looked at");
    }

    /// The pods of movers in the new cluster.
    fn movers(&self) -> Vec<Value> {
        self.new.shared.with(|state| {
            let all = state.objects("pods");
            all.iter().filter(|pod| is_ours(pod)).map(|pod| (**pod).clone()).collect()
        })
    }

    /// What a mover has said so far.
    fn log(&self, pod: &Value) -> String {
        let uid = text(&pod["metadata"]["uid"]).to_owned();
        let container = self.new.shared.with(|state| state.pods.get(&uid)).and_then(|run| run.container("mover"));
        let lines = container.map(|container| container.lines()).unwrap_or_default();
        lines.iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    /// Waits until a mover has its job.
    async fn until_at_work(&self) -> Value {
        for _ in 0..1200 {
            if let Some(pod) = self.movers().into_iter().find(|pod| self.log(pod).contains("\"accepted\"")) {
                return pod;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no mover is at work: {:?}", self.movers());
    }

    /// Nothing that was made for a run is left in the new cluster.
    pub(crate) async fn is_clean(&self) {
        let gone = |state: &crate::support::kube::state::State| {
            let policies = state.objects("networkpolicies.networking.k8s.io");
            !state.objects("pods").iter().chain(&policies).any(|object| is_ours(object))
        };
        self.new.until("movers and policies are gone", gone).await;
        let marked = self.new.shared.with(|state| {
            let claims = state.objects("persistentvolumeclaims");
            claims.iter().filter(|claim| claim["metadata"]["annotations"]["homelab-dr.io/filling"].is_string()).count()
        });
        assert_eq!(marked, 0, "claims that are marked as being filled");
    }
}

/// A database, names that are no text, a sparse file, owners, times, an empty directory.
pub(crate) fn write_hard_things(folder: &Path) {
    use std::os::unix::ffi::OsStrExt as _;
    let writer = crate::live::writers::Writer::start(&folder.join("app.db"), "wal");
    writer.end();
    std::fs::write(folder.join(std::ffi::OsStr::from_bytes(b"odd \xff name")), "odd").unwrap();
    let sparse = std::fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(5 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&sparse, &noise(5, 5000), 4 << 20).unwrap();
    std::fs::create_dir(folder.join("empty")).unwrap();
    std::fs::write(folder.join("owned"), "mine").unwrap();
    std::os::unix::fs::chown(folder.join("owned"), Some(1000), Some(2000)).unwrap();
}

/// Its bytes; mode, user and group; seconds and nanoseconds.
pub(crate) type Entry = (Vec<u8>, [u32; 3], [i64; 2]);

/// Bytes, kinds, modes, owners and times of everything but what an application writes when it starts.
pub(crate) fn whole(folder: &Path) -> BTreeMap<PathBuf, Entry> {
    let kept = |path: &Path| ["verdict", "ready"].iter().all(|name| path != Path::new(name));
    let all = crate::support::files::picture(folder).into_iter().filter(|(path, _)| kept(path));
    let with = |(path, bytes): (PathBuf, Vec<u8>)| {
        let found = std::fs::symlink_metadata(folder.join(&path)).unwrap();
        (path, (bytes, [found.mode(), found.uid(), found.gid()], [found.mtime(), found.mtime_nsec()]))
    };
    all.map(with).collect()
}

/// The row of a volume.
#[track_caller]
fn volume(document: &Value, namespace: &str, claim: &str) -> Value {
    let rows = document["report"]["volumes"].as_array().unwrap_or_else(|| panic!("{document:#}"));
    let is = |row: &&Value| row["claim"]["namespace"] == namespace && row["claim"]["name"] == claim;
    rows.iter().find(is).unwrap_or_else(|| panic!("no {namespace}/{claim}: {document:#}")).clone()
}

/// A namespace that any pod may run in, and what it needs.
async fn open_namespace(server: &KubeServer, namespace: &str) {
    server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    server.until("the service account", |state| state.object("serviceaccounts", namespace, "default").is_some()).await;
}
