//! `preflight backup` and hooks: the rights that they take, what they would be refused, and what would keep an application from holding still.

use std::collections::BTreeSet;

use homelab_dr::preflight::needs::{OfHooks, OfVolumes};
use serde_json::{Value, json};

use super::World;
use super::hooks::{SCALE, deployed, workload};
use super::preflight::{REGISTRATION, VOLUMES, block, has, lacks, looking, right_of};
use crate::support::kube::state::State;

/// With a workload that is scaled, the role of hooks besides: without each of its rules that matters to it there is a finding, which names the rule.
#[tokio::test(flavor = "multi_thread")]
async fn what_hooks_need_is_told_and_what_they_refuse() {
    let world = World::new("").await;
    deployed(&world, "local-path", &["data"]).await;
    let mut role = block(VOLUMES, "```yaml rights\n");
    let hooks = block(VOLUMES, "```yaml rights of hooks\n");
    let more = block(include_str!("../../../docs/preflight.md"), "```yaml rights\n");
    let own: Vec<Value> = [&role, &more].iter().flat_map(|role| role["rules"].as_array().unwrap().clone()).collect();
    let of_hooks = hooks["rules"].as_array().unwrap().clone();
    role["rules"] = own.iter().chain(&of_hooks).cloned().collect();
    let name = role["metadata"]["name"].as_str().unwrap().to_owned();
    let config = crate::cluster::capture::kubeconfig_of(&world.kube, role).await;
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    let set = |rules: Vec<Value>| {
        world.edit("clusterroles.rbac.authorization.k8s.io", "", &name, |role| role["rules"] = rules.into());
    };
    let scaled = looking(&world, SCALE).await;
    let command = ", namespace: backup, hooks: [{claims: ['media/*'], command: {before: [sync]}}]";
    let commanded = looking(&world, command).await;
    assert_eq!((scaled().await, commanded().await), (Vec::new(), Vec::new()));
    for (number, rule) in of_hooks.iter().enumerate() {
        let mut fewer = of_hooks.clone();
        fewer.remove(number);
        set(own.iter().chain(&fewer).cloned().collect());
        let resources = rule["resources"].to_string();
        let (of_scale, of_command) = (scaled().await, commanded().await);
        let names = |found: &[String], resource: &str| {
            found.iter().any(|it| it.starts_with("blocks rights") && it.contains(&format!("resources: [{resource}]")))
        };
        match resources {
            text if text.contains("configmaps") => {
                assert!(names(&of_scale, "configmaps") && names(&of_command, "configmaps"), "{of_scale:#?}");
            }
            text if text.contains("deployments") => {
                assert!(names(&of_scale, "deployments") && names(&of_scale, "replicasets"), "{of_scale:#?}");
                has(&of_scale, "blocks claims pvc/media/data", &["cannot get resource \"replicasets\""]);
                assert_eq!(of_command, Vec::<String>::new());
            }
            text if text.contains("pods/exec") => {
                assert!(names(&of_command, "pods/exec") && of_scale.is_empty(), "{of_scale:#?} {of_command:#?}");
            }
            // Nothing of that kind is there.
            _ => assert_eq!((of_scale, of_command), (Vec::new(), Vec::new()), "{rule}"),
        }
    }
    set(own.iter().chain(&of_hooks).cloned().collect());

    // Git would scale it up again.
    world.edit("deployments.apps", "media", "app", |app| {
        app["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "apps"});
    });
    has(&scaled().await, "doubtful hooks pvc/media/data", &["by Flux: pause that first", "gitops pause"]);
    // A webhook that is asked before anything is executed in a pod.
    let hook = json!({
        "name": "exec.acme.example", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
        "clientConfig": {"service": {"namespace": "acme", "name": "hook"}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods/exec"], "operations": ["CONNECT"]}],
    });
    let configuration = json!({
        "apiVersion": format!("{REGISTRATION}/v1"), "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "exec"}, "webhooks": [hook],
    });
    world.kube.make("", configuration);
    has(&commanded().await, "blocks webhooks webhook exec.acme.example", &["refuses CONNECT pods/exec in media"]);
    lacks(&scaled().await, "blocks webhooks");
    world.delete("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/exec").await;

    // What is not scaled: a pod that nobody would start again, and a daemon set.
    world.application("home", "bare", "true").await;
    world.namespace("office").await;
    world.kube.make("office", super::claim_of("logs", "local-path"));
    // Nobody here makes the pods of daemon sets.
    let mut daemon = workload("DaemonSet", &["logs"]);
    daemon["spec"].as_object_mut().unwrap().remove("replicas");
    let uid = world.kube.make("office", daemon)["metadata"]["uid"].clone();
    let mut pod = super::application("logs", "sleep 600");
    let owner = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "app", "uid": uid, "controller": true});
    pod["metadata"]["ownerReferences"] = json!([owner]);
    world.kube.make("office", pod);
    let runs = |state: &State| {
        let claim = state.object("persistentvolumeclaims", "office", "logs");
        claim.is_some_and(|claim| claim["status"]["phase"] == "Bound")
    };
    world.kube.until("the daemon set's pod has its claim", runs).await;
    let everything = looking(&world, ", namespace: backup, hooks: [{claims: ['*/*'], scale: {}}]").await;
    let found = everything().await;
    has(&found, "blocks claims pvc/home/bare", &["nobody would start this pod again", "docs/hooks.md"]);
    has(&found, "blocks claims pvc/office/logs", &["a DaemonSet has no replicas"]);
}

/// What a backup of a workload that is scaled really asks of the server is what preflight asks for, and nothing that it never does.
#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_are_asked_for_hooks_are_those_that_they_use() {
    let world = World::new(SCALE).await;
    deployed(&world, "local-path", &["data"]).await;
    let before = world.kube.seen().len();
    world.backup(&[]).await.exits(0);
    let seen = world.kube.seen();
    let used: BTreeSet<_> = seen[before..].iter().filter_map(|seen| right_of(seen)).collect();
    let changed = |group: &str, resource: &str, namespace: Option<&str>| {
        (group.to_owned(), resource.to_owned(), namespace.map(str::to_owned))
    };
    let hooks = OfHooks {
        changed: [changed("apps", "deployments", Some("media")), changed("", "persistentvolumes", None)].into(),
        held: ["media".to_owned()].into(),
        unclear: ["media".to_owned()].into(),
        ..OfHooks::default()
    };
    let of = |hooks| OfVolumes {
        anywhere: true,
        home: Some("backup".into()),
        snapshots: true,
        cilium: true,
        hooks,
        ..OfVolumes::default()
    };
    let rights = |of: OfVolumes| -> BTreeSet<_> {
        of.needs().into_iter().map(|need| (need.right.group, need.right.resource, need.right.verb)).collect()
    };
    let (with, without) = (rights(of(Some(hooks))), rights(of(None)));
    let missing: Vec<_> = used.difference(&with).collect();
    assert!(missing.is_empty(), "used and not asked for: {missing:?}");
    // Asked for hooks alone, and not used: what other kinds of workloads would have taken, and where it could not be found out.
    let idle: Vec<_> = with.difference(&without).filter(|right| !used.contains(right)).collect();
    let other = |(_, resource, _): &&(String, String, String)| {
        matches!(resource.as_str(), "pods/exec" | "statefulsets" | "replicationcontrollers" | "persistentvolumes")
    };
    assert!(idle.iter().all(other), "asked for and not used: {idle:?}");
}
