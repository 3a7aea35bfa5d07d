//! Two small clusters and a bucket that stay until they are told to go, for trying the program by hand. tests/stage starts it and says how to use it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::kube::server::{KubeServer, Options};
use crate::support::s3::{self, Rules, S3Server};
use crate::volumes_backup::{IMAGE, application, claim_of, node};

const FOLDER: &str = "HOMELAB_DR_STAGE";

/// What the applications of the first cluster write, so that there is something to lose.
const WRITES: &str = "[ -e /data/notes.txt ] || { echo 'written once' > /data/notes.txt; head -c 3000000 /dev/urandom > /data/photo.raw; }; \
                      while :; do date >> /data/log.txt; sleep 1; done";

async fn cluster() -> KubeServer {
    let server = KubeServer::start(Options { node: node(), ..Options::default() }).await;
    server.add_node("node-b");
    server
}

/// A workload of one replica that has a claim at `/data`.
fn workload(kind: &str, name: &str, claim: &str) -> Value {
    let labels = json!({"app": name});
    let spec = application(claim, WRITES)["spec"].take();
    json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    })
}

/// Something to lose: two applications with volumes, one of a class with snapshots, and a secret.
async fn furnish(server: &KubeServer) {
    for (namespace, kind, name, class) in
        [("media", "StatefulSet", "jellyfin", "local-path"), ("home", "Deployment", "paperless", "csi-hostpath-sc")]
    {
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        server.make(
            "",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}),
        );
        server
            .until("the service account", |state| state.object("serviceaccounts", namespace, "default").is_some())
            .await;
        let secret = json!({"password": "aHVudGVyMg=="});
        server.make(
            namespace,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "data": secret}),
        );
        server.make(namespace, claim_of("data", class));
        server.make(namespace, workload(kind, name, "data"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "stays until it is told to go, for trying the program by hand: tests/stage"]
async fn stage() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("tests/stage sets it"));
    let program = PathBuf::from(env!("CARGO_BIN_EXE_homelab-dr"));
    let (old, new, bucket) = (cluster().await, cluster().await, S3Server::start(Rules::PLAIN).await);
    furnish(&old).await;
    fs::write(folder.join("old"), old.kubeconfig()).unwrap();
    fs::write(folder.join("new"), new.kubeconfig()).unwrap();
    let here = folder.display();
    fs::write(
        folder.join("homelab-dr.yaml"),
        format!(
            "sources:\n  cluster:\n    resources: {{kubeconfig: {here}/old}}\n  volumes:\n    volumes: {{kubeconfig: {here}/old, image: '{IMAGE}'}}\n"
        ),
    )
    .unwrap();
    let path = program.parent().unwrap().display();
    let env = format!(
        "export HOMELAB_DR_REPO='{}' AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}\n\
         export HOMELAB_DR_WRITER_KEY_FILE='{here}/writer' HOMELAB_DR_IDENTITY_FILE='{here}/key'\n\
         export HOMELAB_DR_CONFIG='{here}/homelab-dr.yaml' KUBECONFIG='{here}/old' PATH='{path}':\"$PATH\"\n",
        bucket.address("home"),
        s3::KEY_ID,
        s3::SECRET,
    );
    // Last: whoever waits for it finds all of it.
    fs::write(folder.join("env.part"), env).unwrap();
    fs::rename(folder.join("env.part"), folder.join("env")).unwrap();
    while !folder.join("stop").exists() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
