//! `--wait`: what was restored is ready, or it is said why not; `--node`: what is tied to a node goes to another.

use std::sync::Arc;

use super::*;
use crate::support::kube::node::Node;
use crate::support::kube::state::State;

async fn world() -> (KubeServer, KubeServer, Home) {
    let node = || Node { absent: ["absent:1".to_owned()].into(), ..Node::default() };
    let old = KubeServer::start(Options { node: node(), ..Options::default() }).await;
    let new = KubeServer::start(Options { node: node(), ..Options::default() }).await;
    old.make("", namespace("media"));
    let home = between(&old, &new);
    (old, new, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_to_life_is_told_with_its_reasons() {
    let (old, new, home) = world().await;
    old.make("media", deployment("web", 2));
    old.make("media", deployment("idle", 0));
    let mut lacking = deployment("lacking", 1);
    lacking["spec"]["template"]["spec"]["containers"][0]["image"] = "absent:1".into();
    old.make("media", lacking);
    let mut homeless = deployment("homeless", 1);
    homeless["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "none"});
    old.make("media", homeless);
    let mut waiting = claim("waiting");
    waiting["spec"]["storageClassName"] = "local-path".into();
    old.make("media", waiting);
    run(&home, &["backup"]).await.exits(0);

    let well = ["--include", "media/*/web", "--include", "media/*/idle", "--include", "media/*/waiting"];
    let ran = restore(&home, "new", &[&well[..], &["--empty-volumes", "--wait=5m"]].concat()).await.exits(0);
    assert!(ran.out.contains("ready: 3 objects") && !ran.out.contains("NOT READY"), "{}", ran.out);
    assert_eq!(new.object("deployments.apps", "media", "web").unwrap()["status"]["readyReplicas"], 2);

    // Without --wait nothing is waited for.
    let all = ["--include", "media/deployments.apps/*"];
    restore(&home, "new", &all).await.exits(0);
    let stuck = |name: &'static str, word: &'static str| {
        new.until(word, move |state: &State| {
            let pods = state.objects("pods");
            let is_it = |pod: &&Arc<Value>| pod["metadata"]["name"].as_str().unwrap().starts_with(name);
            pods.iter().find(is_it).is_some_and(|pod| pod["status"].to_string().contains(word))
        })
    };
    stuck("lacking-", "ImagePullBackOff").await;
    stuck("homeless-", "Unschedulable").await;
    let ran = restore(&home, "new", &[&all[..], &["--wait=1s", "--json"]].concat()).await.exits(3);
    let ready = &ran.json()["ready"];
    assert_eq!(ready["ready"], 2, "{ready}");
    let of = |name: &str| {
        let all = ready["not_ready"].as_array().unwrap();
        all.iter().find(|one| one["object"]["name"] == name).unwrap_or_else(|| panic!("{name}: {ready}")).clone()
    };
    let lacking = of("lacking");
    assert_eq!((&lacking["why"], ready["not_ready"].as_array().unwrap().len()), (&json!("available 0/1"), 2));
    let pods = lacking["pods"].to_string();
    assert!(pods.contains("ImagePull") && pods.contains("absent:1") && pods.contains("lacking-"), "{lacking}");
    assert!(!lacking["events"].as_array().unwrap().is_empty(), "{lacking}");
    let homeless = of("homeless")["pods"].to_string();
    assert!(homeless.contains("Unschedulable") && homeless.contains("0/1 nodes are available"), "{homeless}");

    // As people see it.
    let ran = restore(&home, "new", &["--include", "media/deployments.apps/homeless", "--wait=1s"]).await.exits(3);
    assert!(ran.out.contains("NOT READY deployments.apps media/homeless: available 0/1"), "{}", ran.out);
    assert!(ran.out.contains("  pod homeless-") && ran.out.contains("NOT ready after 1 s at most: 1"), "{}", ran.out);
    let wrong = run(&home, &["restore", "latest:cluster", "--target", "x", "--wait"]).await.exits(2);
    wrong.says(&["--wait was given without --cluster"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tied_to_a_node_that_is_not_there_is_told_and_mapped() {
    let (old, new, home) = world().await;
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["old-nas"]});
    old.make("", json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"},
        "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "by-hand", "local": {"path": "/srv/disk"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            "claimRef": {"namespace": "media", "name": "data"},
        },
    }));
    let mut data = claim("data");
    data["spec"]["storageClassName"] = "by-hand".into();
    data["spec"]["volumeName"] = "disk".into();
    old.make("media", data);
    old.until("it is bound", |state| {
        let claim = state.object("persistentvolumeclaims", "media", "data");
        claim.is_some_and(|claim| claim["status"]["phase"] == "Bound")
    })
    .await;
    let mut pinned = deployment("pinned", 0);
    pinned["spec"]["template"]["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "old-nas"});
    old.make("media", pinned);
    run(&home, &["backup"]).await.exits(0);
    let these = ["--include", "media/*/*", "--include", "_cluster/persistentvolumes/disk", "--empty-volumes"];

    let ran = restore(&home, "new", &[&these[..], &["--plan"]].concat()).await.exits(0);
    let told = "it is tied to the node old-nas, which is not there (lab-node are): no pod would run with it; --node old-nas=lab-node maps it";
    for object in ["persistentvolumes disk", "deployments.apps media/pinned"] {
        assert!(ran.out.contains(&format!("{object}: {told}")), "{object}: {}", ran.out);
    }
    let mapped = [&these[..], &["--node", "old-nas=lab-node"]].concat();
    let ran = restore(&home, "new", &[&mapped[..], &["--plan"]].concat()).await.exits(0);
    assert!(!ran.out.contains("is tied to"), "{}", ran.out);
    restore(&home, "new", &mapped).await.exits(0);
    let volume = new.object("persistentvolumes", "", "disk").unwrap();
    let terms = &volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"];
    assert_eq!(terms[0]["matchExpressions"][0]["values"], json!(["lab-node"]), "{volume}");
    let deployment = new.object("deployments.apps", "media", "pinned").unwrap();
    assert_eq!(deployment["spec"]["template"]["spec"]["nodeSelector"], json!({"kubernetes.io/hostname": "lab-node"}));
    for wrong in [&["--node", "old-nas"][..], &["--node", "a=b", "--node", "a=c"]] {
        restore(&home, "new", wrong).await.exits(2);
    }
}
