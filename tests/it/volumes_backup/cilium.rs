//! A mover's CiliumNetworkPolicy: there while it runs, gone with it, and swept where it was left.

use serde_json::{Value, json};

use super::World;
use super::trouble::slow;
use crate::support::kube::state::State;

const POLICIES: &str = "ciliumnetworkpolicies.cilium.io";

/// Gives a cluster the definitions of Cilium.
pub(crate) async fn install(world: &World) {
    let text = include_str!("../../../fixtures/clusters/definitions/cilium.io.yaml");
    for document in text.split("\n---\n") {
        world.kube.make("", serde_saphyr::from_str(document).expect("a definition"));
    }
    let established = |state: &State| {
        let all = state.objects("customresourcedefinitions.apiextensions.k8s.io");
        let of_cilium = all.iter().filter(|definition| definition["spec"]["group"] == "cilium.io");
        let mut conditions = of_cilium.map(|definition| definition["status"]["conditions"].to_string());
        conditions.all(|conditions| conditions.contains("Established"))
    };
    world.kube.until("Cilium's definitions are established", established).await;
}

fn policies(world: &World) -> Vec<Value> {
    world.kube.shared.with(|state| state.objects(POLICIES).iter().map(|policy| (**policy).clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mover_brings_a_policy_of_cilium_where_cilium_is() {
    let world = slow("").await;
    install(&world).await;
    let metadata = |name: &str, expires: &str| {
        json!({
            "name": name, "namespace": "media", "annotations": {"homelab-dr.io/expires": expires},
            "labels": {"app.kubernetes.io/managed-by": "homelab-dr", "homelab-dr.io/run": "0123456789abcdef"},
        })
    };
    for (name, expires) in [("old", "2020-01-01T00:00:00Z"), ("other", "2099-01-01T00:00:00Z")] {
        let policy = json!({
            "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "metadata": metadata(name, expires), "spec": {},
        });
        world.kube.make("media", policy);
    }
    let backup = world.begin(&super::SLOW);
    let mover = world.until_at_work(1).await.remove(0);
    let name = &mover["metadata"]["name"];
    let all = policies(&world);
    let ours = all.iter().find(|policy| policy["metadata"]["name"] == *name).expect("it has the pod's name");
    let run = &mover["metadata"]["labels"]["homelab-dr.io/run"];
    assert_eq!(ours["spec"]["endpointSelector"]["matchLabels"]["homelab-dr.io/run"], *run);
    // The bucket is at an address, which may be a node's.
    assert_eq!(ours["spec"]["egress"][0]["toEntities"], json!(["host", "remote-node"]), "{ours}");
    let ran = world.end(backup).await.exits(0);
    assert!(ran.err.contains("ciliumnetworkpolicies.cilium.io media/old"), "{}", ran.err);
    let left: Vec<Value> = policies(&world).iter().map(|policy| policy["metadata"]["name"].clone()).collect();
    assert_eq!(left, ["other"], "what is another run's stays");
    world.is_clean().await;
}
