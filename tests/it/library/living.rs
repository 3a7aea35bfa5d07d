//! A part of a cluster that lives is lost, spoilt or moved.

use serde_json::json;

use super::stage::{Book, DEPLOYMENTS, Stage, until_ready};
use crate::recover::run_of;
use crate::support::kube::state::State;

async fn a_file_is_wanted_back(stage: &Stage) {
    let folder = stage.folder();
    std::fs::remove_dir_all(folder.join("albums/summer")).unwrap();
    let target = stage.path("wanted-back");
    let set = [("source", "pvc/media/data"), ("path", "albums/summer"), ("target", target.to_str().unwrap())];
    stage.carries_out("kubeconfig", &Book { name: "file-lost", set: &set, options: &[] }, &["look"]).await.exits(0);
    assert_eq!(std::fs::read_to_string(target.join("1.jpg")).unwrap(), "the sea");
    assert!(!folder.join("albums/summer").exists(), "the cluster is not touched");
}

async fn a_volume_is_put_back(stage: &Stage) {
    let folder = stage.folder();
    std::fs::write(folder.join("version"), "encrypted").unwrap();
    std::fs::write(folder.join("READ ME"), "pay").unwrap();
    let set = [("namespace", "media"), ("claim", "data"), ("workload", "app")];
    let book = Book { name: "volume-in-place", set: &set, options: &[] };
    let ran = stage.carries_out("kubeconfig", &book, &["look", "seen"]).await.exits(0);
    assert!(ran.err.contains("what was in it before is snapshot"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(folder.join("albums/summer/1.jpg")).unwrap(), "the sea");
    assert_eq!(std::fs::read_to_string(folder.join("version")).unwrap(), "1");
    assert!(!folder.join("READ ME").exists());
    until_ready(stage.kube(), "media", "app").await;
}

/// The new version writes its data in another way, and does not start. Git has it still.
async fn an_upgrade_is_taken_back(stage: &Stage, before: &str) {
    std::fs::write(stage.folder().join("version"), "2, which 1 cannot read").unwrap();
    stage.change("configmaps", "media", "settings", |map| map["data"]["of"] = "2".into());
    stage.change(DEPLOYMENTS, "media", "app", |app| {
        app["spec"]["template"]["spec"]["containers"][0]["command"] =
            json!(["sh", "-c", "echo 2 > /data/version; exit 1"]);
    });
    let crashes = |state: &State| {
        let pods = state.objects("pods");
        let restarts = |pod: &serde_json::Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        pods.iter()
            .any(|pod| pod["metadata"]["labels"]["app"] == "app" && restarts(pod).is_some_and(|restarts| restarts > 0))
    };
    stage.kube().until("the new version fails", crashes).await;
    let set = [("namespace", "media"), ("workload", "app"), ("claim", "data"), ("snapshot", before)];
    let book = Book { name: "bad-upgrade", set: &set, options: &[] };
    // Without the person who takes the commit back it stops where it waits for that, and says what is left.
    let ran = stage.carries_out("kubeconfig", &book, &[]).await.exits(8);
    assert!(
        ran.out.contains(
            "STILL PAUSED: Kustomization flux-system/apps; `homelab-dr gitops resume --kubeconfig kubeconfig`"
        ),
        "{}",
        ran.out
    );
    assert!(stage.is_suspended());
    until_ready(stage.kube(), "media", "app").await;
    assert_eq!(std::fs::read_to_string(stage.folder().join("version")).unwrap(), "1");
    assert_eq!(stage.kube().object("configmaps", "media", "settings").unwrap()["data"]["of"], "1");
    let ran = stage.goes_on("kubeconfig", &run_of(&ran.out), &["git"]).await.exits(0);
    assert!(!ran.out.contains("STILL PAUSED"), "{}", ran.out);
    assert!(!stage.is_suspended());
}

async fn a_restore_test_is_held(stage: &Stage) {
    let set = [("namespace", "media"), ("beside", "media-restore-test"), ("workload", "app")];
    let book = Book { name: "monthly-restore-test", set: &set, options: &[] };
    let ran = stage.carries_out("kubeconfig", &book, &["free"]).await.exits(8);
    // What a person would look at.
    let beside = stage.kube().volume("media-restore-test", "data").expect("a claim with its data");
    assert_eq!(std::fs::read_to_string(beside.join("albums/summer/1.jpg")).unwrap(), "the sea");
    until_ready(stage.kube(), "media-restore-test", "app").await;
    let certificate = stage.kube().object("certificates.cert-manager.io", "media-restore-test", "photos-tls");
    assert!(certificate.is_none(), "what acts on the outside world stays out: {certificate:?}");
    let run = run_of(&ran.out);
    stage.goes_on("kubeconfig", &run, &["seen"]).await.exits(8);
    remove_namespace(stage, "media-restore-test").await;
    stage.goes_on("kubeconfig", &run, &["away"]).await.exits(0);
    until_ready(stage.kube(), "media", "app").await;
}

async fn remove_namespace(stage: &Stage, name: &str) {
    let object = stage.kube().object("namespaces", "", name).unwrap();
    stage.kube().shared.with(|state| {
        state.remove("kubectl", &object, &crate::support::kube::ops::delete::DeleteOptions::default());
    });
    stage.kube().until("the namespace is gone", |state| state.object("namespaces", "", name).is_none()).await;
}

async fn a_namespace_is_lost(stage: &Stage) {
    remove_namespace(stage, "media").await;
    let book = Book { name: "namespace-lost", set: &[("namespace", "media")], options: &[] };
    stage.carries_out("kubeconfig", &book, &["look"]).await.exits(0);
    until_ready(stage.kube(), "media", "app").await;
    assert_eq!(std::fs::read_to_string(stage.folder().join("albums/summer/1.jpg")).unwrap(), "the sea");
    assert!(!stage.is_suspended());
}

async fn an_application_moves(stage: &Stage) {
    std::fs::write(stage.folder().join("newest"), "of today").unwrap();
    stage.change(DEPLOYMENTS, "media", "app", |app| app["spec"]["replicas"] = 0.into());
    let none = |state: &State| !state.objects("pods").iter().any(|pod| pod["metadata"]["labels"]["app"] == "app");
    stage.kube().until("it stands still", none).await;
    stage.disaster.world.backup(&[]).await.exits(0);
    remove_namespace(stage, "media").await;
    let set = [
        ("namespace", "media"),
        ("old_class", "local-path"),
        ("new_class", "csi-hostpath-sc"),
        ("page", "localhost"),
        ("page_port", stage.port.as_str()),
    ];
    let book = Book { name: "new-storage", set: &set, options: &[] };
    let ran = stage.carries_out("kubeconfig", &book, &["still"]).await.exits(8);
    let claim = stage.kube().object("persistentvolumeclaims", "media", "data").unwrap();
    assert_eq!(claim["spec"]["storageClassName"], "csi-hostpath-sc", "{claim}");
    assert_eq!(std::fs::read_to_string(stage.folder().join("newest")).unwrap(), "of today");
    stage.change(DEPLOYMENTS, "media", "app", |app| app["spec"]["replicas"] = 1.into());
    stage.goes_on("kubeconfig", &run_of(&ran.out), &["start"]).await.exits(0);
    until_ready(stage.kube(), "media", "app").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_living_cluster_come_back() {
    let stage = Stage::new().await;
    let listed = stage.run(&["snapshots", "--json"]).await.exits(0).json();
    let newest = listed["snapshots"].as_array().unwrap().iter().filter_map(|one| one["started"].as_str()).max();
    let before = newest.unwrap_or_else(|| panic!("{listed:#}")).to_owned();
    a_file_is_wanted_back(&stage).await;
    a_volume_is_put_back(&stage).await;
    an_upgrade_is_taken_back(&stage, &before).await;
    a_restore_test_is_held(&stage).await;
    a_namespace_is_lost(&stage).await;
    an_application_moves(&stage).await;
}
