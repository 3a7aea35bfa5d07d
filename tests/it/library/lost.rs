//! The whole cluster is lost, or nothing of it is trusted any more.

use serde_json::{Value, json};

use super::stage::{Book, DEPLOYMENTS, Stage, coredns, is_ready, runs, until_ready};
use crate::support::kube::server::{KubeServer, Options};
use crate::support::s3::{Rules, S3Server};
use crate::volumes_backup::node;

/// What a database's container has: a program that says whether it answers.
fn postgres(stage: &Stage) -> Value {
    let mut pod = runs("postgres", "exec sleep 900", json!([]), json!([]))["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"] = json!({"name": "postgres-0"});
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "PATH", "value": format!("{}:/usr/bin:/bin", stage.path("bin").display())}]);
    pod["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    pod["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    pod
}

async fn is_all_there(cluster: &KubeServer) {
    until_ready(cluster, "media", "app").await;
    let folder = cluster.volume("media", "data").expect("a claim with its data");
    assert_eq!(std::fs::read_to_string(folder.join("albums/summer/1.jpg")).unwrap(), "the sea");
    assert_eq!(std::fs::read_to_string(folder.join("version")).unwrap(), "1");
    for (namespace, secret) in [("media", "registry"), ("cloudflared", "cloudflared-token")] {
        let secret = cluster.object("secrets", namespace, secret).expect("a secret");
        assert_eq!(secret["data"]["token"], data_encoding::BASE64.encode(b"good"));
    }
    assert!(cluster.object(DEPLOYMENTS, "cloudflared", "cloudflared").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_comes_back_from_its_backup_and_a_seized_one_from_before() {
    let stage = Stage::new().await;
    stage.kube().make("media", postgres(&stage));
    stage.disaster.world.backup(&[]).await.exits(0);
    let listed = stage.run(&["snapshots", "--json"]).await.exits(0).json();
    let times = || listed["snapshots"].as_array().unwrap().iter().filter_map(|one| one["started"].as_str());
    let before = times().max().unwrap().to_owned();
    let port = stage.port.as_str();

    // A copy elsewhere, where nobody deletes.
    let locked = S3Server::start(Rules::LOCKING).await;
    let copy = locked.address("copy");
    stage.run(&["replicate", "--to", &copy, "--create"]).await.exits(0);

    // The house burns down.
    coredns(&stage.disaster.new).await;
    let set =
        [("photos", "media"), ("photos_database", "postgres"), ("photos_page", "localhost"), ("photos_port", port)];
    let ran = stage
        .carries_out("new", &Book { name: "total-loss", set: &set, options: &[] }, &["identity", "storage"])
        .await
        .exits(0);
    assert!(ran.err.contains("accepting connections") || ran.err.contains("pg_isready"), "{}", ran.err);
    is_all_there(&stage.disaster.new).await;
    let flux =
        |cluster: &KubeServer| cluster.object("kustomizations.kustomize.toolkit.fluxcd.io", "flux-system", "apps");
    assert!(flux(&stage.disaster.new).is_some());

    // Somebody encrypts everything, and the next night's backup has that.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    std::fs::write(stage.folder().join("version"), "locked").unwrap();
    std::fs::remove_dir_all(stage.folder().join("albums")).unwrap();
    stage.change("secrets", "media", "registry", |secret| {
        secret["data"]["token"] = data_encoding::BASE64.encode(b"theirs").into()
    });
    stage.disaster.world.backup(&[]).await.exits(0);
    stage.run(&["replicate", "--to", &copy]).await.exits(0);
    let clean = KubeServer::start(Options { node: node(), ..Options::default() }).await;
    std::fs::write(stage.path("clean"), clean.kubeconfig()).unwrap();
    coredns(&clean).await;
    // Programs of a runbook get no credentials from variables: they are in the usual file.
    std::fs::create_dir(stage.path(".aws")).unwrap();
    let (id, key) = (crate::support::s3::KEY_ID, crate::support::s3::SECRET);
    std::fs::write(
        stage.path(".aws/credentials"),
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {key}\n"),
    )
    .unwrap();
    let fingerprint =
        stage.run(&["keys", "list", "--json"]).await.exits(0).json()["fingerprint"].as_str().unwrap().to_owned();
    let identity = stage.path("key");
    let set = [
        ("copy", copy.as_str()),
        ("fingerprint", fingerprint.as_str()),
        ("identity", identity.to_str().unwrap()),
        ("before", before.as_str()),
        ("photos", "media"),
        ("page", "localhost"),
        ("page_port", port),
    ];
    let options = ["--repo", &copy, "--fingerprint", &fingerprint, "--first-versions"];
    let done = ["cut", "time", "clean", "rights", "secrets"];
    let ran =
        stage.carries_out("clean", &Book { name: "ransomware", set: &set, options: &options }, &done).await.exits(0);
    assert!(ran.err.contains("no damage found"), "{}", ran.err);
    is_all_there(&clean).await;
    assert!(flux(&clean).is_none(), "what deploys from Git comes when somebody has read it");
    assert!(clean.shared.with(|state| is_ready(state, "media", "app")));
}
