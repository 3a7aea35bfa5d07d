//! Workloads at zero: what is kept safe, what is refused, what others do meanwhile.

use homelab_dr::hooks::hold::Released;
use homelab_dr::hooks::release::release;
use homelab_dr::hooks::scale::{ScalePlan, begin, consumers, plan};

use super::*;

async fn planned(api: &Api, claim: &str) -> Result<ScalePlan, HookError> {
    plan(api, "media", &[claim.to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_at_zero_and_all_is_back_afterwards() {
    let server = database().await;
    let (api, before) = (api(&server).await, all(&server));
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let made = planned(&api, "data-db-0").await.unwrap();
    assert_eq!(made.workloads, ["StatefulSet media/db"]);
    let mut journal = journal();
    begin(&acting, &made, &mut journal).await.unwrap();
    assert!(consumers(&api, "media", &made.claims).await.unwrap().is_empty());
    // Long enough for the controllers to delete what they would.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let held = all(&server);
    assert_eq!(held.len(), before.len(), "claims and volumes of both replicas are there");
    let set = server.object(SETS, "media", "db").unwrap();
    assert_eq!(
        (&set["spec"]["replicas"], &set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"]),
        (&json!(0), &json!("Retain"))
    );
    assert_eq!(set["metadata"]["annotations"]["homelab-dr.io/run"], RUN);
    let volumes = server.shared.with(|state| state.objects(VOLUMES));
    assert!(volumes.iter().all(|volume| volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"));
    assert_eq!(
        server.object(SCALED, "media", "db").unwrap()["metadata"]["annotations"]["autoscaling.keda.sh/paused"],
        "true"
    );
    assert_eq!(journals(&server), 1);

    // Another run sees that it is held, and holds nothing.
    let mut other = Journal::new("homelab-dr", "feedbeef", "pod", NOW);
    let mut theirs = made.clone();
    theirs.holds.truncate(1);
    let error = begin(&acting, &theirs, &mut other).await.expect_err("held");
    assert!(matches!(&error, HookError::Held { run, .. } if run == RUN), "{error:?}");
    assert!(release(&acting, &mut other).await.is_well());
    assert_eq!(all(&server), held, "what it released was not its own");

    let report = release(&acting, &mut journal).await;
    assert!(report.is_well(), "{report:?}");
    ready(&server, "db", 2).await;
    assert_eq!(all(&server), before);
    assert_eq!(journals(&server), 0);
    let owned = server.shared.with(|state| [SETS, SCALED, VOLUMES].map(|table| state.objects(table)).concat());
    assert!(owned.iter().all(|object| !object["metadata"]["managedFields"].to_string().contains("\"homelab-dr\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_stay_at_zero_or_not_come_back_is_refused() {
    let server = bare().await;
    let api = api(&server).await;
    let refused = async |claim: &str| match planned(&api, claim).await {
        Err(HookError::Refused { why, .. }) => why,
        other => panic!("{claim}: {other:?}"),
    };
    for name in ["of-daemons", "of-a-pod", "of-an-operator"] {
        server.make("media", claim(name));
    }
    let mut daemons = workload("DaemonSet", "daemons", Some("of-daemons"));
    daemons["spec"]["updateStrategy"] = json!({"type": "RollingUpdate"});
    server.make("media", daemons);
    let mut pod = template("bare", Some("of-a-pod"));
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["name"] = "bare".into();
    server.make("media", pod);
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    define(&server, json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "clusters.postgresql.cnpg.io"},
        "spec": {
            "group": "postgresql.cnpg.io", "scope": "Namespaced",
            "names": {"plural": "clusters", "singular": "cluster", "kind": "Cluster", "listKind": "ClusterList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": free}}}}],
        },
    }))
    .await;
    let cluster = server.make(
        "media",
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg"}, "spec": {}}),
    );
    let mut deployment = workload("Deployment", "pg", Some("of-an-operator"));
    deployment["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "name": "pg", "uid": cluster["metadata"]["uid"], "controller": true,
    }]);
    server.make("media", deployment);
    server
        .until("there are three pods", |state| {
            state.objects("pods").iter().filter(|pod| pod["metadata"]["namespace"] == "media").count() == 3
        })
        .await;
    assert!(refused("of-daemons").await.contains("no replicas"));
    assert!(refused("of-a-pod").await.contains("start this pod again"));
    let why = refused("of-an-operator").await;
    assert!(why.contains("Cluster media/pg is looked after by an operator"), "{why}");
    // A claim that nobody uses, and one that is not there.
    server.make("media", claim("idle"));
    for name in ["idle", "nothing"] {
        let made = planned(&api, name).await.unwrap();
        assert!(made.workloads.is_empty(), "{made:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_by_its_replica_set_and_who_keeps_it_in_git() {
    let server = bare().await;
    let api = api(&server).await;
    server.make("media", claim("data"));
    let mut web = workload("Deployment", "web", Some("data"));
    web["metadata"]["labels"] = json!({"kustomize.toolkit.fluxcd.io/name": "apps"});
    server.make("media", web);
    server
        .until("a pod runs", |state| state.objects("pods").iter().any(|pod| pod["status"]["phase"] == "Running"))
        .await;
    let before = all(&server);
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let made = planned(&api, "data").await.unwrap();
    assert_eq!(made.workloads, ["Deployment media/web"]);
    assert!(made.notes[0].contains("by Flux"), "{:?}", made.notes);
    let mut journal = journal();
    begin(&acting, &made, &mut journal).await.unwrap();
    assert!(server.shared.with(|state| state.objects("pods")).is_empty());
    assert!(release(&acting, &mut journal).await.is_well());
    assert_eq!(all(&server), before);
}

fn change(server: &KubeServer, table: &str, namespace: &str, name: &str, how: impl FnOnce(&mut Value)) {
    server.shared.with(|state| {
        let object = state.object(table, namespace, name).unwrap();
        state.edit(&object, how);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_do_meanwhile_stays_and_is_told() {
    let server = database().await;
    let api = api(&server).await;
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let made = planned(&api, "data-db-0").await.unwrap();
    // Changed between the plan and the act.
    change(&server, SETS, "media", "db", |set| set["spec"]["replicas"] = 3.into());
    let mut held = journal();
    let error = begin(&acting, &made, &mut held).await.expect_err("changed");
    assert!(matches!(&error, HookError::Changed { why, .. } if why.contains("spec.replicas")), "{error:?}");
    let report = release(&acting, &mut held).await;
    assert!(report.is_well(), "what was held before it is released: {report:?}");
    change(&server, SETS, "media", "db", |set| set["spec"]["replicas"] = 2.into());
    server.until("the third is gone", |state| state.object("pods", "media", "db-2").is_none()).await;
    ready(&server, "db", 2).await;

    let outcome_of = |report: &Report, what: &str| match &report
        .rows
        .iter()
        .find(|row| row.what == what)
        .unwrap_or_else(|| panic!("{what}: {report:?}"))
        .outcome
    {
        Released::Except { why } => why.join("; "),
        other => panic!("{what}: {other:?}"),
    };
    // A claim is deleted meanwhile: its volume stays, since putting its policy back would delete it.
    let mut held = journal();
    begin(&acting, &planned(&api, "data-db-0").await.unwrap(), &mut held).await.unwrap();
    let gone = server.object(CLAIMS, "media", "data-db-1").unwrap();
    let volume = gone["spec"]["volumeName"].as_str().unwrap().to_owned();
    let kind = api.kinds().await.unwrap().kinds.into_iter().find(|kind| kind.name == "PersistentVolumeClaim").unwrap();
    api.delete(&kind, Some("media"), "data-db-1", gone["metadata"]["uid"].as_str().unwrap()).await.unwrap();
    server.until("the claim is gone", |state| state.object(CLAIMS, "media", "data-db-1").is_none()).await;
    let report = release(&acting, &mut held).await;
    assert!(!report.is_well());
    assert!(outcome_of(&report, &format!("PersistentVolume {volume}")).contains("its claim is gone"));
    let kept = server.object(VOLUMES, "", &volume).unwrap();
    assert_eq!(kept["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert!(kept["metadata"]["annotations"]["homelab-dr.io/run"].is_null());
    assert_eq!(journals(&server), 0, "it is told once");
    ready(&server, "db", 2).await;

    // Somebody wants one replica: with the policy of the set back, the claim of the other would go.
    let mut held = journal();
    begin(&acting, &planned(&api, "data-db-0").await.unwrap(), &mut held).await.unwrap();
    change(&server, SETS, "media", "db", |set| set["spec"]["replicas"] = 1.into());
    let report = release(&acting, &mut held).await;
    let why = outcome_of(&report, "StatefulSet media/db");
    assert!(why.starts_with("spec.replicas stays 1, which somebody has set; it was 2; spec."), "{why}");
    assert!(why.contains("whenScaled stays as it is: a workload has not the replicas"), "{why}");
    let set = server.object(SETS, "media", "db").unwrap();
    assert_eq!((&set["spec"]["replicas"], &set["metadata"]["annotations"]), (&json!(1), &Value::Null));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.object(CLAIMS, "media", "data-db-1").is_some(), "nothing was deleted");
    assert_eq!(journals(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_do_not_end_are_waited_for_and_no_longer() {
    let server = bare().await;
    server.make("media", claim("data"));
    let mut slow = workload("Deployment", "slow", Some("data"));
    let container = &mut slow["spec"]["template"]["spec"]["containers"][0];
    container["command"] = json!(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]);
    slow["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 6.into();
    server.make("media", slow);
    server
        .until("a pod runs", |state| state.objects("pods").iter().any(|pod| pod["status"]["phase"] == "Running"))
        .await;
    let (api, before) = (api(&server).await, all(&server));
    let (clock, cancel) = (ManualClock::at(NOW), Cancel::default());
    let mut acting = acting(&api, &api, &clock, &cancel);
    acting.waits.empty = Duration::from_secs(1);
    let made = planned(&api, "data").await.unwrap();
    let mut held = journal();
    let error = begin(&acting, &made, &mut held).await.expect_err("late");
    assert!(matches!(&error, HookError::Late { what, .. } if what.contains("slow-")), "{error:?}");
    assert!(release(&acting, &mut held).await.is_well());
    assert_eq!(all(&server), before);
    // Stopped as asked.
    cancel.cancel();
    let error = begin(&acting, &made, &mut held).await.expect_err("stopped");
    assert!(matches!(error, HookError::Cancelled), "{error:?}");
    assert!(release(&acting, &mut held).await.is_well(), "releasing goes on all the same");
    assert_eq!(all(&server), before);
}
