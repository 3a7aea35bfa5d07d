//! `preflight restore`: what the target lacks is told with its mend, and nothing is written.

use super::*;
use crate::volumes_backup::preflight::{has, told, writes};

async fn preflight(home: &Home, kubeconfig: &str, more: &[&str]) -> Ran {
    let args = ["preflight", "restore", "latest:cluster", "--cluster", "--kubeconfig", kubeconfig, "--json"];
    run(home, &[&args[..], more].concat()).await
}

fn found(ran: &Ran) -> Vec<String> {
    told(&ran.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_lacks_is_told_and_nothing_is_written() {
    let (old, new) = (disaster::homelab().await, server().await);
    old.make("media", json!({"apiVersion": "acme.example/v1", "kind": "Anvil", "metadata": {"name": "a"}}));
    let class = |name: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name},
            "provisioner": "hostpath.csi.k8s.io", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
        })
    };
    old.make("", class("gone"));
    for (name, class) in [("of-gone", "gone"), ("of-csi", "csi-hostpath-sc")] {
        let mut claim = claim(name);
        claim["spec"]["storageClassName"] = class.into();
        claim["spec"]["resources"]["requests"]["storage"] = "64Mi".into();
        old.make("media", claim);
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let claims = ["--include", "media/persistentvolumeclaims/of-*"];

    let before = new.seen().len();
    let ran = preflight(&home, "new", &claims).await.exits(7);
    let told = found(&ran);
    has(
        &told,
        "blocks plan persistentvolumeclaims media/of-gone",
        &["no storage class gone", "--storage-class gone=OTHER"],
    );
    has(
        &told,
        "doubtful space storage class csi-hostpath-sc",
        &["64.0 MiB in 1 claim", "there is no CSIStorageCapacity"],
    );
    let seen = new.seen();
    assert_eq!(writes(&seen[before..]), Vec::<&String>::new());

    // As the mend says; a class that the restore brings itself is there, too.
    let with_class = [&claims[..], &["--include", "_cluster/storageclasses.storage.k8s.io/gone"]].concat();
    let brought = preflight(&home, "new", &with_class).await.exits(0);
    assert!(!found(&brought).iter().any(|finding| finding.starts_with("blocks")));
    new.make("", class("gone"));
    assert!(
        !found(&preflight(&home, "new", &claims).await.exits(0)).iter().any(|finding| finding.starts_with("blocks"))
    );

    // Now the storage says how much it has.
    new.make("", namespace("csi"));
    let capacity = |amount: &str| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": {"name": "one"},
            "storageClassName": "csi-hostpath-sc", "capacity": amount, "nodeTopology": {},
        })
    };
    new.make("csi", capacity("32Mi"));
    let told = found(&preflight(&home, "new", &claims).await.exits(7));
    has(&told, "blocks space storage class csi-hostpath-sc", &["has 32.0 MiB in all", "--exclude"]);
    new.shared.with(|state| {
        let object = state.object("csistoragecapacities.storage.k8s.io", "csi", "one").unwrap();
        state.edit(&object, |object| object["capacity"] = "1Gi".into());
    });
    let ran = preflight(&home, "new", &claims).await.exits(0);
    assert!(ran.out.contains("is asked for 64.0 MiB in 1 claim, the largest 64.0 MiB, and has 1.0 GiB"), "{}", ran.out);

    // A kind that nobody defines.
    let told = found(&preflight(&home, "new", &["--include", "media/anvils.acme.example/a"]).await.exits(7));
    has(
        &told,
        "blocks plan anvils.acme.example media/a",
        &["the cluster has no anvils.acme.example", "--include customresourcedefinitions.apiextensions.k8s.io"],
    );
    // A webhook of the target that nobody answers for.
    let hook = json!({
        "name": "maps.acme.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "clientConfig": {"service": {"namespace": "acme", "name": "hook"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["namespaces"], "operations": ["CREATE"]}],
    });
    new.make("", json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "acme"}, "webhooks": [hook],
    }));
    let told = found(&preflight(&home, "new", &["--include", "media/configmaps/*"]).await.exits(7));
    has(
        &told,
        "blocks webhooks webhook maps.acme.example",
        &["refuses CREATE namespaces", "its service acme/hook has no endpoint"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_a_restore_lacks_are_told_as_rules() {
    let (old, new) = (server().await, server().await);
    for server in [&old, &new] {
        server.make("", namespace("media"));
    }
    old.make("media", map("settings", &json!({"a": "b"})));
    old.make("media", secret("login", "hunter2"));
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "some"},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]},
        ],
    });
    let config = crate::cluster::capture::kubeconfig_of(&new, role).await;
    std::fs::write(home.path("some"), config).unwrap();
    let these = ["--include", "media/configmaps/settings", "--include", "media/secrets/login"];
    let told = found(&preflight(&home, "some", &these).await.exits(7));
    // The dry run says it in its own words, too.
    has(&told, "blocks plan secrets media/login", &["cannot create resource"]);
    has(
        &told,
        "blocks rights secrets: the account may not create, patch them in namespace media",
        &["- apiGroups: ['']\n  resources: [secrets]\n  verbs: [create, patch]"],
    );
    has(
        &told,
        "blocks rights leases.coordination.k8s.io: the account may not create, delete, patch them in namespace default",
        &["resources: [leases]"],
    );
    assert!(!told.iter().any(|finding| finding.contains("configmaps")), "{told:#?}");
    assert_eq!(found(&preflight(&home, "new", &these).await.exits(0)), Vec::<String>::new());
}
