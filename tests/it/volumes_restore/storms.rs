//! A cluster in trouble while volumes are filled, and restored in place: the API server restarts, is asked to be left alone, says conflict, or the account's token
//! runs out. The restore goes on, and nothing of it stays.

use homelab_dr::recover::cluster::volumes::{Filled, Filling, Outcome, Volumes as _};

use super::impatient::Impatient;
use super::in_place::Living;
use super::trouble::{SLOW, begin};
use super::*;
use crate::support::kube::faults::Failure;

/// Each of these requests is answered so, once for each time that it is named.
fn storm(kube: &KubeServer, requests: &[(&str, &str, u16)]) {
    kube.faults(|faults| {
        for (method, path, status) in requests {
            let (method, path) = ((*method).to_owned(), (*path).to_owned());
            faults.fail(Failure { method, path, nth: 1, status: *status });
        }
    });
}

#[track_caller]
fn all_were_met(kube: &KubeServer) {
    assert_eq!(kube.faults(|faults| faults.waiting()), 0, "requests that nobody made");
}

/// An account with another token; and a kubeconfig that reads its token from a file.
async fn second_token(kube: &KubeServer, lab: &crate::kill::lab::Lab, kubeconfig: &str) -> impl FnOnce() {
    let system = "kube-system";
    kube.make(system, json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "next"}}));
    kube.make(
        "",
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "next"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "next", "namespace": system}],
        }),
    );
    let next = crate::kube::token_of(kube, system, "next").await;
    let file = lab.path("token");
    std::fs::write(&file, kube.token()).unwrap();
    let mut config: Value = serde_json::from_str(&kube.kubeconfig()).unwrap();
    config["users"][0]["user"] = json!({"tokenFile": file});
    std::fs::write(lab.path(kubeconfig), config.to_string()).unwrap();
    move || std::fs::write(file, next).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_filled_through_storms_a_restart_and_a_token_that_runs_out() {
    let disaster = Disaster::new().await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    std::fs::write(disaster.world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    disaster.world.backup(&[]).await.exits(0);
    let write_next = second_token(&disaster.new, &disaster.world.lab, "new").await;
    storm(
        &disaster.new,
        &[
            ("POST", "/namespaces/media/persistentvolumeclaims", 429),
            ("POST", "/namespaces/media/pods", 409),
            ("POST", "/namespaces/media/pods", 429),
            ("POST", "/networkpolicies", 409),
            ("POST", "/networkpolicies", 429),
            ("GET", "/log", 429),
            ("PATCH", "/persistentvolumeclaims/data", 409),
            ("PATCH", "/persistentvolumeclaims/data", 429),
            ("DELETE", "/namespaces/media/pods", 429),
            ("DELETE", "/networkpolicies/", 429),
        ],
    );
    let run = begin(&disaster, &SLOW);
    disaster.until_at_work().await;
    write_next();
    disaster.new.faults(|faults| faults.expire_token(true));
    // Every connection breaks, and none is made with the old token again.
    disaster.new.restart();
    let ran = disaster.world.end(run).await.exits(0);
    assert_eq!(volume(&ran.json(), "media", "data")["outcome"], "restored", "{}", ran.out);
    all_were_met(&disaster.new);
    disaster.new.faults(|faults| faults.expire_token(false));
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let (was, is) = (whole(&disaster.world.folder("media", "data")), whole(&disaster.folder("media", "data")));
    assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
    disaster.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_restored_in_place_through_storms_a_restart_and_a_token_that_runs_out() {
    let living = Living::new().await;
    let kube = &living.world.kube;
    let write_next = second_token(kube, &living.world.lab, "kubeconfig").await;
    storm(
        kube,
        &[
            ("POST", "/namespaces/backup/configmaps", 429),
            ("PATCH", "/namespaces/media/deployments/app", 409),
            ("PATCH", "/namespaces/media/deployments/app", 429),
            ("POST", "/namespaces/media/pods", 409),
            ("POST", "/namespaces/media/pods", 429),
            ("POST", "/networkpolicies", 409),
            ("GET", "/log", 429),
            ("PATCH", "/persistentvolumeclaims/data", 409),
            ("PATCH", "/persistentvolumeclaims/data", 429),
            ("DELETE", "/namespaces/media/pods", 429),
            ("DELETE", "/namespaces/backup/configmaps", 429),
        ],
    );
    let run = living.begin(&in_place_trouble::SLOW);
    living.world.until_at_work(1).await;
    write_next();
    kube.faults(|faults| faults.expire_token(true));
    kube.restart();
    let ran = living.world.end(run).await.exits(0);
    assert_eq!(ran.json()["report"]["volume"]["outcome"], "restored", "{}", ran.out);
    all_were_met(kube);
    kube.faults(|faults| faults.expire_token(false));
    living.is_back().await;
}

/// Fills one claim of the new cluster by an impatient client, struck as soon as its mover is at work.
async fn struck(disaster: &Disaster, strike: impl FnOnce()) -> Filled {
    let hands = Impatient::new(&disaster.world, "new", Some(80 << 10)).await;
    let object = disaster.new.object("persistentvolumeclaims", "media", "data").unwrap();
    let filling =
        Filling { claim: Impatient::claim(), object, data: hands.data.clone(), consumers: Vec::new(), node: None };
    let movers = hands.movers();
    let cut = async {
        disaster.until_at_work().await;
        strike();
    };
    tokio::join!(movers.fill(&filling), cut).0
}

/// Why nobody knows what is in it.
#[track_caller]
fn why(filled: &Filled) -> &str {
    match &filled.outcome {
        Outcome::Unknown { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// The node under a mover that fills, and the account of whoever waits for it: each ends in a clear word, and what is left is named.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_away_and_a_token_that_is_dead_leave_a_volume_unknown() {
    let disaster = Disaster::new().await;
    disaster.world.application("media", "data", FINDS_OR_MAKES).await;
    std::fs::write(disaster.world.folder("media", "data").join("large"), noise(7, 4_000_000)).unwrap();
    disaster.world.backup(&[]).await.exits(0);
    let new = &disaster.new;
    new.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "media"}}));
    new.until("its account", |state| state.object("serviceaccounts", "media", "default").is_some()).await;
    new.make("media", claim_of("data", "local-path"));

    let filled = struck(&disaster, || new.power_off("lab-node")).await;
    for part in ["node lab-node does not answer", "Kubelet stopped posting node status"] {
        assert!(why(&filled).contains(part), "{part}: {filled:?}");
    }
    assert!(filled.left.len() == 1 && filled.left[0].contains("Pod media/homelab-dr-"), "{filled:?}");
    new.power_on("lab-node");
    new.until("its mover is gone", |state| !state.objects("pods").iter().any(|pod| is_ours(pod))).await;

    let dead = || {
        new.faults(|faults| faults.expire_token(true));
        new.restart();
    };
    let filled = struck(&disaster, dead).await;
    assert!(why(&filled).contains("cannot be reached") && why(&filled).contains("(401)"), "{filled:?}");
    assert_eq!(filled.left.len(), 2, "pod and policy: {filled:?}");
    new.faults(|faults| faults.expire_token(false));

    // The next run takes the mover away that is left, and brings everything.
    let filled = struck(&disaster, || {}).await;
    assert_eq!((&filled.outcome, &filled.left), (&Outcome::Restored, &Vec::new()), "{filled:?}");
    let (was, is) = (whole(&disaster.world.folder("media", "data")), whole(&disaster.folder("media", "data")));
    assert!(was == is, "{:?} {:?}", was.keys(), is.keys());
}
