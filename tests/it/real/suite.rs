//! What is tried in a real cluster. Each test makes its own namespaces.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use super::{IMAGE, REPO, Real, typed, variable};

/// Everything is captured; a namespace of ours comes back beside itself, under another name.
#[tokio::test(flavor = "multi_thread")]
async fn resources_come_back_in_another_namespace() {
    let Some(real) = Real::from_env(&[], None).await else { return };
    real.test(async {
        let (from, to) = (real.namespace("from").await, format!("{}-to", real.name));
        let maps = |namespace: &str| Api::<ConfigMap>::namespaced(real.client.clone(), namespace);
        let secrets = |namespace: &str| Api::<Secret>::namespaced(real.client.clone(), namespace);
        let map = typed(json!({"metadata": {"name": "app", "labels": real.labels()}, "data": {"on": "yes", "text": "a: 1\n\ttab\n"}}));
        maps(&from).create(&PostParams::default(), &map).await.unwrap();
        let secret = typed(json!({"metadata": {"name": "login", "labels": real.labels()}, "stringData": {"password": "hunter2"}}));
        secrets(&from).create(&PostParams::default(), &secret).await.unwrap();
        real.configure("  cluster: {resources: {kubeconfig: 'KUBECONFIG', volumes-elsewhere: true}}\n");
        // 3: of a living cluster something may not answer, which is no fault of ours.
        let ran = real.run(&["backup"]).await;
        assert!([0, 3].contains(&ran.code), "{}{}", ran.out, ran.err);
        let shown = format!("latest:cluster:resources/core/ConfigMap/{from}/app.yaml");
        let manifest = real.run(&["cat", &shown]).await.exits(0).out;
        let manifest: serde_json::Value = serde_saphyr::from_str(&manifest).unwrap();
        let live = maps(&from).get("app").await.unwrap();
        assert_eq!(manifest["metadata"]["uid"].as_str(), live.metadata.uid.as_deref());

        let (include, mapping) = (format!("{from}/*/*"), format!("{from}={to}"));
        let restore = [
            "restore",
            "latest:cluster",
            "--cluster",
            "--kubeconfig",
            &real.kubeconfig,
            "--yes",
            "--include",
            &include,
            "--namespace",
            &mapping,
            "--json",
        ];
        let planned = real.run(&[&restore[..], &["--plan"]].concat()).await.exits(0);
        assert!(planned.json()["plan"]["steps"].as_array().is_some_and(|steps| !steps.is_empty()), "{}", planned.out);
        real.run(&restore).await.exits(0);
        assert_eq!(maps(&to).get("app").await.unwrap().data, live.data);
        let secret = secrets(&to).get("login").await.unwrap();
        assert_eq!(secret.data.unwrap()["password"].0, b"hunter2");
        // Nothing is left to do.
        let again = real.run(&restore).await.exits(0).json();
        let left = again["plan"]["steps"].as_array().unwrap().iter().filter(|step| step["do"] == "create");
        assert_eq!(left.count(), 0, "{again}");
    })
    .await;
}

/// A claim that a pod has filled is read by a mover into the store; every other claim of the cluster is left out.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_comes_back_as_files() {
    let Some(real) = Real::from_env(&[IMAGE, REPO], variable(REPO).as_deref()).await else { return };
    real.test(async {
        let namespace = real.namespace("volumes").await;
        // The only program that there is for certain: it writes a file, and says what has to be in it.
        let recipient = real.fill(&namespace, &["keys", "new", "--out", "/data/identity", "--quiet"]).await;
        let image = variable(IMAGE).unwrap();
        real.configure(&format!(
            "  all: {{volumes: {{kubeconfig: 'KUBECONFIG', image: '{image}', exclude: ['*/*'], resources-elsewhere: true}}}}\n"
        ));
        let ran = real.run(&["backup", "--json"]).await.exits(0);
        let source = format!("pvc/{namespace}/data");
        let document = ran.json();
        let row = document["sources"].as_array().unwrap().iter().find(|row| row["source"] == source.as_str());
        assert_eq!(row.map(|row| &row["result"]), Some(&json!("done")), "{document}");
        real.run(&["restore", &format!("latest:{source}"), "--target", "back"]).await.exits(0);
        let identity = std::fs::read_to_string(real.path("back/identity")).unwrap();
        assert!(identity.contains("AGE-SECRET-KEY-1") && identity.contains(recipient.trim()), "another file");
        let pods = real.pods(&namespace).list(&ListParams::default().labels("homelab-dr.io/run")).await.unwrap();
        assert_eq!(pods.items.len(), 0, "no mover is left");
    })
    .await;
}

/// Flux and ArgoCD are looked at, whether they are there or not.
#[tokio::test(flavor = "multi_thread")]
async fn gitops_is_looked_at() {
    let Some(real) = Real::from_env(&[], None).await else { return };
    let ran = real.run(&["gitops", "status", "--kubeconfig", &real.kubeconfig, "--json"]).await.exits(0);
    assert!(ran.json()["objects"].is_array(), "{}", ran.out);
}
