//! `ready`, `condition` and `exec`, against the test API server.

use homelab_dr::runbook::{InPod, Object};
use serde_json::{Value, json};

use super::*;
use crate::gitops::world::{define, definition};
use crate::hooks::{api, bare, claim, workload};
use crate::support::kube::server::KubeServer;

fn object(resource: &str, name: &str) -> Object {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    Object {
        namespace: Some("media".to_owned()),
        resource: resource.to_owned(),
        group: group.to_owned(),
        name: name.to_owned(),
    }
}

async fn of(server: &KubeServer) -> Surroundings {
    let api = Arc::new(api(server).await);
    Surroundings { cluster: Ok(api.clone()), exec: Ok(api), ..around() }
}

fn condition(resource: &str, name: &str, condition: &str, status: &str) -> Probe {
    Probe::Condition { object: object(resource, name), condition: condition.to_owned(), status: status.to_owned() }
}

fn exec(resource: &str, name: &str, argv: &[&str], contains: Option<&str>) -> Probe {
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    let what = InPod { object: object(resource, name), container: None, argv };
    Probe::Exec { what, contains: contains.map(str::to_owned) }
}

fn room(claim: &str, at_least: u8) -> Probe {
    let claim = homelab_dr::runbook::Claim { namespace: "media".to_owned(), name: claim.to_owned() };
    Probe::Room { claim, at_least }
}

/// A Deployment whose pods run a program without a shell's help.
fn deployment(name: &str, program: &[&str]) -> Value {
    let mut made = workload("Deployment", name, None);
    let container = json!({"name": "c", "image": "test:1", "command": program});
    made["spec"]["template"]["spec"]["containers"] = json!([container]);
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ready_is_by_its_own_status_and_a_program_runs_in_it() {
    let server = bare().await;
    let around = of(&server).await;
    let namespace = || Probe::NamespaceReady("media".to_owned());
    not(look(&namespace(), &around).await, &["the namespace media has no workload and no claim"]);
    server.make("media", deployment("web", &["sleep", "600"]));
    server.make("media", claim("data"));
    let ready = |names: &[&str]| Probe::Ready(names.iter().map(|name| object("deployments.apps", name)).collect());
    let check = |probe: Probe| homelab_dr::runbook::Check {
        probe,
        retries: None,
        deadline: Some(Duration::from_secs(60)),
        every: Duration::from_millis(100),
    };
    let said = holds(homelab_dr::verify::hold(&check(ready(&["web"])), &around).await);
    assert_eq!(said, "1 object is ready");
    // The claim waits for its first pod, as it should.
    assert_eq!(holds(look(&namespace(), &around).await), "2 objects are ready");
    holds(look(&condition("deployments.apps", "web", "Available", "True"), &around).await);
    not(
        look(&condition("deployments.apps", "web", "Available", "False"), &around).await,
        &["Available is True", "should be False"],
    );
    not(
        look(&condition("deployments.apps", "web", "Alive", "True"), &around).await,
        &["no condition Alive", "Available"],
    );
    not(look(&condition("configmaps", "kube-root-ca.crt", "Ready", "True"), &around).await, &["it has none at all"]);

    holds(look(&exec("deployments.apps", "web", &["true"], None), &around).await);
    holds(look(&exec("deployments.apps", "web", &["echo", "a  b"], Some("a  b")), &around).await);
    not(
        look(&exec("deployments.apps", "web", &["echo", "a"], Some("b")), &around).await,
        &["ended well", "no \"b\"", "\"a\""],
    );
    not(
        look(&exec("deployments.apps", "web", &["ls", "/no/such"], None), &around).await,
        &["it ended with 2", "/no/such"],
    );
    not(look(&exec("deployments.apps", "web", &["/no/such/program"], None), &around).await, &[]);
    let slow = Surroundings { limits: patient(Duration::from_secs(1)), ..around.clone() };
    not(look(&exec("deployments.apps", "web", &["sleep", "60"], None), &slow).await, &["within 1 s"]);
    let mut other = exec("deployments.apps", "web", &["true"], None);
    if let Probe::Exec { what, .. } = &mut other {
        what.container = Some("sidecar".to_owned());
    }
    not(look(&other, &around).await, &["no container sidecar, but c"]);

    not(look(&ready(&["web", "gone"]), &around).await, &["1 of 2 objects", "media/deployments.apps/gone is not there"]);
    not(look(&Probe::Ready(vec![object("widgets.example.org", "x")]), &around).await, &["no kind widgets"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ready_says_what_its_pods_say() {
    let server = bare().await;
    let around = of(&server).await;
    server.make("media", deployment("web", &["/no/such/program"]));
    server
        .until("the pod is in trouble", |state| {
            let waits = |pod: &Value| {
                let reason = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
                reason.as_str().is_some_and(|reason| reason != "ContainerCreating")
            };
            state.objects("pods").iter().any(|pod| waits(pod))
        })
        .await;
    let why =
        not(look(&Probe::Ready(vec![object("deployments.apps", "web")]), &around).await, &["not ready", "pod web-"]);
    assert!(why.contains("container c"), "{why}");
    not(
        look(&Probe::NamespaceReady("media".to_owned()), &around).await,
        &["1 of 1 object is not ready", "deployments/web"],
    );
    not(look(&exec("deployments.apps", "web", &["true"], None), &around).await, &["none of the 1 pods", "is ready"]);
}

/// What an operator says of its objects is what a namespace is waited for, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_is_ready_when_its_custom_resources_are() {
    let server = bare().await;
    let around = of(&server).await;
    server.make("media", deployment("web", &["sleep", "600"]));
    server
        .until("it runs", |state| {
            state.object("deployments.apps", "media", "web").is_some_and(|web| web["status"]["availableReplicas"] == 1)
        })
        .await;
    let namespace = || Probe::NamespaceReady("media".to_owned());
    let spec = json!({"secretName": {"type": "string"}});
    for (group, kind) in
        [("cert-manager.io", "Certificate"), ("postgresql.cnpg.io", "Cluster"), ("acme.example", "Note")]
    {
        define(&server, definition(group, "v1", kind, &spec)).await;
    }
    let make = |space: &str, group: &str, kind: &str, name: &str, more: Value| {
        let mut object =
            json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name}, "spec": {}});
        object["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.make(space, object);
    };
    let says = |table: &str, space: &str, name: &str, status: Value| {
        server.shared.with(|state| {
            let object = state.object(table, space, name).unwrap();
            state.edit(&object, |object| object["status"] = status);
        });
    };
    let condition_of =
        |status: &str, message: &str| json!({"conditions": [{"type": "Ready", "status": status, "message": message}]});
    // One without a word of its own, one of another namespace, one that another object answers for.
    make("media", "acme.example", "Note", "note", json!({}));
    make("homelab-dr", "cert-manager.io", "Certificate", "elsewhere", json!({}));
    says("certificates.cert-manager.io", "homelab-dr", "elsewhere", condition_of("False", "of another"));
    let owner = json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true, "uid": server.object("deployments.apps", "media", "web").unwrap()["metadata"]["uid"]}]);
    make("media", "cert-manager.io", "Certificate", "owned", json!({"ownerReferences": owner}));
    says("certificates.cert-manager.io", "media", "owned", condition_of("False", "of its owner"));
    assert_eq!(holds(look(&namespace(), &around).await), "2 objects are ready");

    make("media", "cert-manager.io", "Certificate", "page", json!({}));
    make("media", "postgresql.cnpg.io", "Cluster", "db", json!({}));
    says("certificates.cert-manager.io", "media", "page", condition_of("False", "Issuing certificate"));
    says("clusters.postgresql.cnpg.io", "media", "db", condition_of("False", "Setting up primary"));
    let both =
        ["2 of 4 objects are not ready", "certificates.cert-manager.io/page: Ready is False: Issuing certificate"];
    let why = not(look(&namespace(), &around).await, &both);
    assert!(why.contains("clusters.postgresql.cnpg.io/db: Ready is False: Setting up primary"), "{why}");
    let one = |name: &str| Probe::Ready(vec![object("certificates.cert-manager.io", name)]);
    not(look(&one("page"), &around).await, &["Issuing certificate"]);
    says("certificates.cert-manager.io", "media", "page", condition_of("True", "up to date"));
    holds(look(&one("page"), &around).await);
    not(look(&namespace(), &around).await, &["1 of 4 objects", "Setting up primary"]);
    says("clusters.postgresql.cnpg.io", "media", "db", condition_of("True", "healthy"));
    assert_eq!(holds(look(&namespace(), &around).await), "4 objects are ready");
    // What cannot be looked at is not taken for ready.
    server.faults(|faults| faults.refuse("GET", "/namespaces/media/clusters", 403, "forbidden"));
    not(look(&namespace(), &around).await, &["clusters.postgresql.cnpg.io cannot be listed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_away_is_no_success() {
    let alone = around();
    for probe in [
        Probe::NamespaceReady("media".to_owned()),
        Probe::Ready(vec![object("pods", "x")]),
        condition("pods", "x", "Ready", "True"),
        exec("pods", "x", &["true"], None),
        room("x", 10),
    ] {
        not(look(&probe, &alone).await, &["no cluster is there"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_what_the_kubelet_measures_where_a_pod_uses_the_claim() {
    let server = bare().await;
    let around = of(&server).await;
    not(look(&room("data", 10), &around).await, &["there is no claim media/data"]);
    server.make("media", claim("data"));
    not(look(&room("data", 10), &around).await, &["no pod that uses media/data is on a node"]);
    server.make("media", workload("Deployment", "db", Some("data")));
    let runs = |state: &crate::support::kube::state::State| {
        state.objects("pods").iter().any(|pod| pod["status"]["phase"] == "Running")
    };
    server.until("it runs", runs).await;
    // Nobody measures a folder of the node: it is as full as the node's disk.
    server.faults(|faults| faults.room("lab-node", 90, 1000));
    not(look(&room("data", 10), &around).await, &["not measured", "disk of node lab-node", "9% free", "should be 10%"]);
    holds(look(&room("data", 9), &around).await);
    server.faults(|faults| faults.room("media/data", 500, 1000));
    assert_eq!(holds(look(&room("data", 50), &around).await), "media/data has 50% free, 500 B of 1000 B");
    not(look(&room("data", 51), &around).await, &["50% of its places for files"]);
    server.faults(|faults| faults.refuse("GET", "/proxy/stats/summary", 403, "nodes is forbidden"));
    not(look(&room("data", 10), &around).await, &["the kubelet of lab-node cannot be asked", "forbidden"]);
}
