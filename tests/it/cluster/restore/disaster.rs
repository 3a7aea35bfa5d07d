//! A cluster is lost, another one is empty: everything comes back, and is the same object by object but for what the documentation says.

use std::collections::BTreeSet;

use super::*;

/// A custom kind in namespaces.
pub(super) fn definition() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "anvils.acme.example"},
        "spec": {
            "group": "acme.example", "scope": "Namespaced",
            "names": {"plural": "anvils", "singular": "anvil", "kind": "Anvil", "listKind": "AnvilList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    })
}

fn service(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["selector"] = json!({"app": "web"});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

/// A homelab with what is hard to bring back.
pub(super) async fn homelab() -> KubeServer {
    let server = server().await;
    let mut media = namespace("media");
    media["metadata"]["labels"] = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    server.make("", media);
    server.make("", definition());
    server.until("the custom kind is served", |state| state.kind("acme.example/v1", "Anvil").is_some()).await;
    let mut anvil = json!({"apiVersion": "acme.example/v1", "kind": "Anvil", "metadata": {"name": "big", "finalizers": ["acme.example/forge"]}});
    anvil["spec"] = json!({"weight": 1.5, "nothing": null, "big": 9_007_199_254_740_993_u64});
    let anvil = server.make("media", anvil);
    server.make("media", secret("login", "hunter2"));
    // An owner that is restored before what it owns, and one that is restored after.
    let mut made = map("made-by-the-anvil", &json!({"a": "1"}));
    made["metadata"]["ownerReferences"] = owner(&anvil, true);
    server.make("media", made);
    let web = server.make("media", deployment("web", 2));
    let mut of_web = secret("of-web", "x");
    of_web["metadata"]["ownerReferences"] = owner(&web, false);
    server.make("media", of_web);
    server.make("media", service("auto", &json!({"type": "NodePort", "ports": [{"port": 80}]})));
    server.make("media", service("own", &json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30123}]})));
    server.make("media", service("headless", &json!({"clusterIP": "None", "ports": [{"port": 80}]})));
    server.make("media", service("plain", &json!({"ports": [{"port": 80}]})));
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "test:1", "command": ["true"]}]});
    let job = |name: &str, suspend: bool| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": {"app": "x"}},
            "spec": {"suspend": suspend, "template": {"spec": pod}},
        })
    };
    server.make("media", job("waiting", true));
    server.make("media", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app"}, "imagePullSecrets": [{"name": "registry"}]}));
    rights(&server);
    server.until("the pods are there", |state| state.objects("pods").len() >= 2).await;
    // Last, since it refuses every new configuration map: nobody answers for it.
    let hook = json!({
        "name": "maps.acme.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "clientConfig": {"service": {"namespace": "media", "name": "plain"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}],
    });
    server.make("", json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "acme"}, "webhooks": [hook],
    }));
    server
}

fn rights(server: &KubeServer) {
    let group = "rbac.authorization.k8s.io";
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    let object =
        |kind: &str, name: &str| json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name}});
    for (namespace, kind) in [("", "ClusterRole"), ("media", "Role")] {
        let mut role = object(kind, "acme:reader");
        role["rules"] = json!([rule]);
        server.make(namespace, role);
    }
    for (namespace, kind, role) in [("", "ClusterRoleBinding", "ClusterRole"), ("media", "RoleBinding", "Role")] {
        let mut binding = object(kind, "acme:reader");
        binding["roleRef"] = json!({"apiGroup": group, "kind": role, "name": "acme:reader"});
        binding["subjects"] = json!([{"kind": "ServiceAccount", "name": "app", "namespace": "media"}]);
        server.make(namespace, binding);
    }
}

/// Kinds that are not compared: what they say is of one cluster.
const OF_ONE_CLUSTER: [&str; 12] = [
    "events",
    "nodes",
    "pods",
    "replicasets.apps",
    "controllerrevisions.apps",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "leases.coordination.k8s.io",
    "csinodes.storage.k8s.io",
    "componentstatuses",
    "persistentvolumes",
    "volumeattachments.storage.k8s.io",
];

/// All objects of a server, by table, namespace and name.
fn everything(server: &KubeServer) -> Vec<(String, String, String, Value)> {
    server.shared.with(|state| {
        let tables: BTreeSet<String> = state.resources.iter().map(|resource| resource.table()).collect();
        let kept = tables.into_iter().filter(|table| !OF_ONE_CLUSTER.contains(&table.as_str()));
        let mut all = Vec::new();
        for table in kept {
            for object in state.objects(&table) {
                let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                all.push((table.clone(), text("namespace"), text("name"), (*object).clone()));
            }
        }
        all
    })
}

/// What differs in a restored object by design: written anew here, not by the code that is tested.
fn without_documented_differences(table: &str, object: &Value, owners: &dyn Fn(&str) -> String) -> Value {
    let mut object = object.clone();
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
        object["metadata"].as_object_mut().unwrap().remove(field);
    }
    object.as_object_mut().unwrap().remove("status");
    // By names, since uids are others; the order is that of the list.
    let named = |reference: &mut Value| {
        let uid = reference["uid"].as_str().unwrap().to_owned();
        reference["uid"] = owners(&uid).into();
    };
    for reference in object["metadata"]["ownerReferences"].as_array_mut().into_iter().flatten() {
        named(reference);
    }
    let mut managed = object["metadata"]["managedFields"].to_string();
    for uid in managed.clone().split("k:{\\\"uid\\\":\\\"").skip(1) {
        let uid = uid.split('\\').next().unwrap();
        managed = managed.replace(uid, &owners(uid));
    }
    let mut managed: Value = serde_json::from_str(&managed).unwrap();
    if let Some(entries) = managed.as_array_mut() {
        // Controllers write their part of the status anew, at another time.
        entries.retain(|entry| entry["subresource"].is_null());
    }
    object["metadata"]["managedFields"] = managed;
    match table {
        "services" if object["spec"]["clusterIP"] != "None" => {
            object["spec"]["clusterIP"] = "given out".into();
            object["spec"]["clusterIPs"] = "given out".into();
            for port in object["spec"]["ports"].as_array_mut().unwrap() {
                if port["nodePort"].is_u64() && port["nodePort"] != 30123 {
                    port["nodePort"] = "given out".into();
                }
            }
        }
        "jobs.batch" => {
            let uid = |value: &mut Value| {
                for key in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
                    if value[key].is_string() {
                        value[key] = "the job's".into();
                    }
                }
            };
            uid(&mut object["spec"]["selector"]["matchLabels"]);
            uid(&mut object["spec"]["template"]["metadata"]["labels"]);
        }
        _ => {}
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_gets_everything_back_object_by_object() {
    let (old, new) = (homelab().await, server().await);
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let ran = restore(&home, "new", &["--json"]).await.exits(0);
    let document = ran.json();
    for (object, becomes) in [
        ("media/configmaps/made-by-the-anvil", "restored"),
        ("media/secrets/of-web", "restored"),
        ("media/deployments.apps/web", "restored"),
        ("media/jobs.batch/waiting", "restored"),
        ("media/anvils.acme.example/big", "restored"),
        ("/storageclasses.storage.k8s.io/local-path", "same"),
    ] {
        assert_eq!(outcome(&document, object), becomes, "{object}");
    }

    let uid_of = |all: &[(String, String, String, Value)], uid: &str| {
        let found = all.iter().find(|(.., object)| object["metadata"]["uid"] == uid);
        found.map_or_else(
            || format!("nobody: {uid}"),
            |(table, namespace, name, _)| format!("{table} {namespace}/{name}"),
        )
    };
    let (before, after) = (everything(&old), everything(&new));
    let mut compared = 0;
    for (table, namespace, name, object) in &before {
        // The server's own namespaces are as old as the server.
        let made_anew = name == "kube-root-ca.crt"
            || (table == "services" && namespace == "default")
            || (table == "namespaces" && name != "media");
        if made_anew || ["kube-public", "kube-node-lease"].contains(&namespace.as_str()) {
            continue;
        }
        let there = after.iter().find(|(t, ns, n, _)| (t, ns, n) == (table, namespace, name));
        let (.., there) = there.unwrap_or_else(|| panic!("{table} {namespace}/{name} did not come back"));
        let was = without_documented_differences(table, object, &|uid| uid_of(&before, uid));
        let is = without_documented_differences(table, there, &|uid| uid_of(&after, uid));
        if namespace == "media" || (table == "namespaces" && name == "media") || name.contains("acme") {
            assert_eq!(is, was, "{table} {namespace}/{name}");
            compared += 1;
        }
    }
    assert!(compared > 15, "only {compared} objects were compared");

    // The pods are the deployment's own, of new replica sets.
    new.until("the pods came by themselves", |state| state.objects("pods").len() == 2).await;
    // Nothing that was linked to an owner was collected: the collector has looked meanwhile.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (table, name) in [("configmaps", "made-by-the-anvil"), ("secrets", "of-web")] {
        let object = new.object(table, "media", name).unwrap_or_else(|| panic!("{name} was collected"));
        assert!(object["metadata"]["ownerReferences"][0]["uid"].is_string(), "{object}");
    }
    let order: Vec<String> =
        new.seen().into_iter().filter(|seen| seen.starts_with("POST") && !seen.contains("dryRun")).collect();
    let place = |part: &str| order.iter().position(|seen| seen.contains(part)).unwrap_or_else(|| panic!("no {part}"));
    let expected = [
        "customresourcedefinitions",
        "/namespaces?",
        "/secrets?",
        "/services?",
        "/anvils?",
        "/deployments?",
        "validatingwebhook",
    ];
    assert!(expected.map(place).is_sorted(), "{order:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_finds_everything_as_it_should_be_and_writes_nothing() {
    let (old, new) = (homelab().await, server().await);
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    restore(&home, "new", &[]).await.exits(0);
    let before = new.seen().len();
    let document = restore(&home, "new", &["--json"]).await.exits(0).json();
    let other: Vec<_> = outcomes(&document).into_iter().filter(|(_, outcome)| outcome != "same").collect();
    assert_eq!(other, []);
    let wrote: Vec<String> = new.seen()[before..]
        .iter()
        .filter(|seen| !seen.starts_with("GET") && !seen.contains("dryRun"))
        .cloned()
        .collect();
    assert_eq!(wrote, Vec::<String>::new());
}
