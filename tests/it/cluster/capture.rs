//! What is captured of a cluster, and what is told when something cannot be.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::{home, map, namespace, run};
use crate::support::kube::faults::Failure;
use crate::support::kube::server::{KubeServer, Options};

/// A custom kind whose objects are in no namespace, and one of its objects.
fn custom() -> [Value; 2] {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "anvils.acme.example"},
        "spec": {
            "group": "acme.example", "scope": "Cluster",
            "names": {"plural": "anvils", "singular": "anvil", "kind": "Anvil", "listKind": "AnvilList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    });
    let object = json!({
        "apiVersion": "acme.example/v1", "kind": "Anvil", "metadata": {"name": "big"},
        "spec": {"weight": 1.5, "on": "yes", "text": "line 1\nline 2\n", "big": 9_007_199_254_740_993_u64},
    });
    [definition, object]
}

/// A cluster with a little of everything.
async fn cluster() -> KubeServer {
    let server = KubeServer::start(Options::default()).await;
    server.make("", namespace("media"));
    server.make("media", map("app", &json!({"on": "yes", "config": "a: 1\nb: 2\n"})));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"password": "hunter2"}});
    server.make("media", secret);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "acme:reader"}, "rules": []});
    server.make("", role);
    let [definition, object] = custom();
    server.make("", definition);
    server.until("the custom kind is served", |state| state.kind("acme.example/v1", "Anvil").is_some()).await;
    server.make("", object);
    server.make("media", json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "noise"}, "involvedObject": {"namespace": "media"}}));
    server
}

/// What a manifest of the newest snapshot says.
async fn manifest(home: &crate::cli::Home, path: &str) -> Value {
    let text = run(home, &["cat", &format!("latest:cluster:{path}")]).await.exits(0).out;
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_is_there_as_the_server_has_it() {
    let server = cluster().await;
    let home = home(&server, "");
    let ran = run(&home, &["backup"]).await.exits(0);
    let mut lines = ran.out.lines().skip_while(|line| !line.starts_with("cluster "));
    assert!(lines.next().is_some_and(|line| line.contains(" resources ") && line.ends_with(" done")), "{}", ran.out);
    let words: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    let acme = words.iter().find(|words| words[0] == "acme.example").expect("a line of its group");
    assert_eq!(acme[1..4], ["1", "kind", "1"], "{}", ran.out);
    assert!(ran.err.contains(" objects of "), "{}", ran.err);

    let listed = run(&home, &["ls", "-R", "latest:cluster"]).await.exits(0).out;
    for there in [
        "resources/core/ConfigMap/media/app.yaml",
        "resources/rbac.authorization.k8s.io/ClusterRole/_cluster/acme:reader.yaml",
        "cluster.yaml",
    ] {
        assert!(listed.contains(there), "{there}: {listed}");
    }
    assert!(!listed.contains("/Event/") && !listed.contains("/Lease/"), "{listed}");
    for (path, table, namespace, name) in [
        ("resources/core/ConfigMap/media/app.yaml", "configmaps", "media", "app"),
        ("resources/core/Secret/media/login.yaml", "secrets", "media", "login"),
        ("resources/core/Namespace/_cluster/media.yaml", "namespaces", "", "media"),
        ("resources/acme.example/Anvil/_cluster/big.yaml", "anvils.acme.example", "", "big"),
        (
            "resources/apiextensions.k8s.io/CustomResourceDefinition/_cluster/anvils.acme.example.yaml",
            "customresourcedefinitions.apiextensions.k8s.io",
            "",
            "anvils.acme.example",
        ),
    ] {
        assert_eq!(manifest(&home, path).await, server.object(table, namespace, name).expect("it is there"), "{path}");
    }
    let about = manifest(&home, "cluster.yaml").await;
    let anvils = about["kinds"].as_array().unwrap().iter().find(|kind| kind["kind"] == "Anvil").expect("known");
    assert_eq!(
        (&anvils["namespaced"], &anvils["objects"], &anvils["resource"]),
        (&json!(false), &json!(1), &json!("anvils"))
    );
    assert_eq!(about["missing"], json!([]));

    // Nothing happened: nothing of it is stored but the record.
    let again = run(&home, &["backup", "--json"]).await.exits(0).json();
    assert_eq!(again["sources"][0]["statistics"]["bytes_new"], 0, "{again}");
    let groups = again["sources"][0]["groups"].as_array().unwrap();
    let sum = |field: &str| groups.iter().map(|group| group[field].as_u64().unwrap()).sum::<u64>();
    // All files but cluster.yaml.
    assert_eq!(json!(sum("objects") + 1), again["sources"][0]["statistics"]["files"], "{again}");
    assert!(groups.iter().any(|group| group["group"] == "core" && group["bytes"].as_u64() > Some(1000)), "{again}");

    // Another day: what changed is what is new.
    server.make("media", map("app2", &json!({})));
    run(&home, &["backup"]).await.exits(0);
    let snapshots = run(&home, &["snapshots", "--json"]).await.json();
    let ids: Vec<&str> = snapshots["snapshots"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    let diff = run(&home, &["diff", ids[0], ids[2]]).await.exits(0).out;
    assert!(diff.contains("resources/core/ConfigMap/media/app2.yaml"), "{diff}");
    assert!(!diff.contains("Secret") && !diff.contains("Anvil"), "{diff}");

    // Like a git diff: what somebody changed, and not what changes with it.
    let maps: Api<ConfigMap> = Api::namespaced(crate::kube::client(&server), "media");
    let change = Patch::Merge(json!({"data": {"on": "no"}}));
    maps.patch("app", &PatchParams::default(), &change).await.unwrap();
    run(&home, &["backup"]).await.exits(0);
    let diff = run(&home, &["diff", ids[2], "latest", "--text"]).await.exits(0).out;
    assert!(diff.contains("-  \"on\": \"yes\"\n+  \"on\": \"no\"\n"), "{diff}");
    assert!(!diff.contains("resourceVersion"), "{diff}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_left_out_and_nothing_else() {
    let server = cluster().await;
    server.make("", namespace("scratch"));
    server.make("scratch", map("app", &json!({})));
    let home = home(&server, ", exclude: [secrets, '*.acme.example'], exclude-namespaces: [scratch]");
    run(&home, &["backup"]).await.exits(0);
    let listed = run(&home, &["ls", "-R", "latest:cluster"]).await.exits(0).out;
    for gone in ["/Secret", "acme.example/Anvil", "scratch"] {
        assert!(!listed.contains(gone), "{gone}: {listed}");
    }
    for there in ["ConfigMap/media/app.yaml", "Namespace/_cluster/media.yaml", "anvils.acme.example.yaml"] {
        assert!(listed.contains(there), "{there}: {listed}");
    }
    let left_out = manifest(&home, "cluster.yaml").await["leftOut"].to_string();
    assert!(left_out.contains("\"secrets\"") && left_out.contains("\"anvils.acme.example\""), "{left_out}");
}

/// A list whose moment expires in the middle is begun anew; what was deleted meanwhile is not in the snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_expires_in_the_middle_begins_anew() {
    let server = cluster().await;
    for number in 0..450 {
        server.make("media", map(&format!("m{number:03}"), &json!({})));
    }
    let home = home(&server, "");
    server.faults(|faults| {
        let path = "configmaps?limit=200&continue".to_owned();
        faults.fail(Failure { method: "GET".into(), path, nth: 2, status: 410 });
    });
    run(&home, &["backup"]).await.exits(0);
    assert_eq!(server.faults(|faults| faults.waiting()), 0, "it met the fault");
    let listed = run(&home, &["ls", "-R", "latest:cluster"]).await.exits(0).out;
    assert_eq!(listed.matches("ConfigMap/media/m").count(), 450);
    let lists = server
        .seen()
        .iter()
        .filter(|seen| seen.contains("/configmaps?limit=200") && !seen.contains("continue"))
        .count();
    assert_eq!(lists, 2, "{:?}", server.seen());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_trouble_is_asked_again() {
    let server = cluster().await;
    let home = home(&server, "");
    server.faults(|faults| {
        for (path, status) in [("/configmaps", 429), ("/secrets", 503), ("/apis/apps/v1", 500), ("/namespaces?", 504)] {
            faults.fail(Failure { method: "GET".into(), path: path.into(), nth: 1, status });
        }
    });
    run(&home, &["backup"]).await.exits(0);
    assert_eq!(server.faults(|faults| faults.waiting()), 0, "it met the faults");
}

/// A kubeconfig of a service account that may do what a role of the cluster allows.
pub(crate) async fn kubeconfig_of(server: &KubeServer, role: Value) -> String {
    let reference =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]});
    server.make("", role);
    server.make("media", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "backup"}}));
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "backup"},
        "roleRef": reference, "subjects": [{"kind": "ServiceAccount", "name": "backup", "namespace": "media"}],
    });
    server.make("", binding);
    let token = crate::kube::token_of(server, "media", "backup").await;
    server.kubeconfig().replace(&server.token(), &token)
}

/// A marked block of docs/cluster.md.
fn block(mark: &str) -> String {
    let (_, rest) = include_str!("../../../docs/cluster.md").split_once(mark).expect("the block is marked");
    rest.split_once("\n```").expect("closed").0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_in_the_documents_suffice() {
    let server = cluster().await;
    let home = home(&server, "");
    let role = serde_saphyr::from_str(&block("```yaml rights\n")).expect("a manifest");
    std::fs::write(home.path("kubeconfig"), kubeconfig_of(&server, role).await).unwrap();
    run(&home, &["backup"]).await.exits(0);
}

#[test]
fn the_example_in_the_documents_is_right() {
    let read = crate::configuration::read(block("```yaml sources\n").as_bytes());
    assert_eq!(read.config.unwrap_or_else(|| panic!("{:?}", read.findings)).sources.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_may_not_be_read_is_told_and_the_rest_is_there() {
    let server = cluster().await;
    let rule =
        json!({"apiGroups": ["*"], "resources": ["configmaps", "namespaces", "anvils"], "verbs": ["get", "list"]});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "some"}, "rules": [rule]});
    let home = home(&server, "");
    std::fs::write(home.path("kubeconfig"), kubeconfig_of(&server, role).await).unwrap();
    let ran = run(&home, &["backup"]).await.exits(3);
    assert!(
        ran.err.contains("listing resources/core/Secret: ") && ran.err.contains("cannot list resource"),
        "{}",
        ran.err
    );
    let core = ran.out.lines().find_map(|line| line.strip_prefix("  core")).expect("a line of its group");
    let problems = core.split_whitespace().last().and_then(|last| last.parse::<u32>().ok());
    assert!(problems.is_some_and(|problems| problems > 5), "{}", ran.out);
    let listed = run(&home, &["ls", "-R", "latest:cluster"]).await.exits(0).out;
    assert!(listed.contains("ConfigMap/media/app.yaml") && listed.contains("Anvil/_cluster/big.yaml"), "{listed}");
    let missing = manifest(&home, "cluster.yaml").await["missing"].to_string();
    assert!(missing.contains("resources/core/Secret"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_may_not_be_asked_for_is_told_and_the_rest_is_there() {
    let server = cluster().await;
    let home = home(&server, "");
    server.faults(|faults| faults.refuse("GET", "/apis/acme.example/v1$", 403, "acme is forbidden"));
    let ran = run(&home, &["backup"]).await.exits(3);
    assert!(
        ran.err.contains("discovering resources/acme.example: ") && ran.err.contains("acme is forbidden"),
        "{}",
        ran.err
    );
    let listed = run(&home, &["ls", "-R", "latest:cluster"]).await.exits(0).out;
    assert!(listed.contains("ConfigMap/media/app.yaml"), "{listed}");
    let missing = manifest(&home, "cluster.yaml").await["missing"].to_string();
    assert!(missing.contains("acme.example"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cluster_no_snapshot_and_the_other_sources_go_on() {
    let server = cluster().await;
    let home = home(&server, "");
    let more = "  files: {path: {paths: [DIR/source]}}\n";
    let text = std::fs::read_to_string(home.path("homelab-dr.yaml")).unwrap();
    std::fs::write(home.path("homelab-dr.yaml"), text + &more.replace("DIR", home.dir().to_str().unwrap())).unwrap();
    for (kubeconfig, says) in [
        (server.kubeconfig().replace(&server.token(), "wrong"), "(401)"),
        ("clusters: [".to_owned(), "no access to a cluster"),
        ("{}".to_owned(), "no access to a cluster"),
    ] {
        std::fs::write(home.path("kubeconfig"), kubeconfig).unwrap();
        let ran = run(&home, &["backup"]).await.exits(1).says(&[says]);
        assert!(ran.out.contains("FAILED") && ran.out.contains("files    path"), "{}", ran.out);
    }
    let sources: Vec<String> = {
        let listed = run(&home, &["snapshots", "--json"]).await.json();
        listed["snapshots"].as_array().unwrap().iter().map(|s| s["source"].to_string()).collect()
    };
    assert_eq!(sources, ["\"files\""; 3], "no snapshot of no cluster");
}
