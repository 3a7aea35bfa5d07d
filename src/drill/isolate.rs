//! What a drill puts into a cluster before anything else: its namespaces, and in each a policy that lets nothing in or out, and a quota. Pure.
//!
//! Policies of production are not taken over: they are additive, and one that allows more would open this one. DNS is asked in `kube-system` alone: whoever may ask any server may also
//! tell it something (RFC 2136).

use serde_json::{Value, json};

use crate::cluster::Kind;
use crate::cluster::ours::{MANAGED_BY, MANAGER};
use crate::volumes::labels::{BACKUP, EXPIRES};

/// Label of a drill's namespace: its run.
pub use crate::cluster::rewrite::drill::DRILL;
/// Annotation of a namespace that is kept for a person.
pub const KEPT: &str = "homelab-dr.io/kept";
/// The name of policy and quota.
const NAME: &str = "homelab-dr-drill";
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Where DNS is.
const SYSTEM: &str = "kube-system";
/// Objects that a drill's namespace holds at most, unless more are planned: what runs away stops there.
const PODS_MAX: usize = 200;
const CLAIMS_MAX: usize = 100;
const SERVICES_MAX: usize = 200;
const OTHERS_MAX: usize = 2000;
/// Storage that claims may ask for beyond twice what is planned.
const STORAGE_BYTES: u64 = 10 << 30;

/// A namespace of a drill. Pod Security keeps out what the list of kinds would let through by mistake.
#[must_use]
pub fn namespace(name: &str, run: &str, expires: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {MANAGED_BY: MANAGER, DRILL: run, "pod-security.kubernetes.io/enforce": "baseline"},
            // A backup that is made meanwhile leaves its volumes out.
            "annotations": {EXPIRES: expires, BACKUP: "false"},
        },
    })
}

fn metadata(namespace: &str, run: &str) -> Value {
    json!({"name": NAME, "namespace": namespace, "labels": {MANAGED_BY: MANAGER, DRILL: run}})
}

/// Nothing in or out, but between the namespaces of the drill, and to the DNS of the cluster.
#[must_use]
pub fn policy(namespace: &str, run: &str) -> (Kind, Value) {
    let drill = json!({"namespaceSelector": {"matchLabels": {DRILL: run}}});
    let system = json!({"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: SYSTEM}}});
    let dns = json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]);
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(namespace, run),
        "spec": {
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [drill]}],
            "egress": [{"to": [drill]}, {"to": [system], "ports": dns}],
        },
    });
    (Kind::known("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true), policy)
}

/// Numbers of objects and storage; neither processor nor memory, since pods without requests would be refused.
#[must_use]
pub fn quota(namespace: &str, run: &str, storage_bytes: u64, objects: usize) -> (Kind, Value) {
    let storage = storage_bytes.saturating_mul(2).saturating_add(STORAGE_BYTES).div_ceil(1 << 20);
    let most = |usual: usize| usual.max(objects.saturating_mul(2)).to_string();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata(namespace, run),
        "spec": {"hard": {
            "pods": most(PODS_MAX), "persistentvolumeclaims": most(CLAIMS_MAX), "services": most(SERVICES_MAX),
            "configmaps": most(OTHERS_MAX), "secrets": most(OTHERS_MAX),
            "services.loadbalancers": "0", "services.nodeports": "0",
            "requests.storage": format!("{storage}Mi"),
        }},
    });
    (Kind::known("", "v1", "resourcequotas", "ResourceQuota", true), quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_let_out_but_to_the_drill_itself_and_dns() {
        let (_, policy) = policy("drill-5f0c1d2e-media", "5f0c1d2e");
        assert_eq!(policy["spec"]["podSelector"], json!({}), "every pod");
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        let drill = json!({"namespaceSelector": {"matchLabels": {"homelab-dr.io/drill": "5f0c1d2e"}}});
        assert_eq!(policy["spec"]["ingress"], json!([{"from": [drill]}]));
        assert_eq!(policy["spec"]["egress"][0], json!({"to": [drill]}));
        assert_eq!(policy["spec"]["egress"].as_array().map(Vec::len), Some(2));
        assert_eq!(policy["spec"]["egress"][1]["ports"][0]["port"], 53);
        assert!(!policy["spec"]["egress"][1]["to"].is_null(), "not to every server");
    }

    #[test]
    fn a_namespace_is_closed_to_privileges_and_no_backup_takes_its_volumes() {
        let space = namespace("drill-5f0c1d2e-media", "5f0c1d2e", "2026-11-01T03:00:00Z");
        let labels = &space["metadata"]["labels"];
        assert_eq!(
            (&labels[DRILL], &labels["pod-security.kubernetes.io/enforce"]),
            (&json!("5f0c1d2e"), &json!("baseline"))
        );
        assert_eq!(space["metadata"]["annotations"]["homelab-dr.io/backup"], "false");
    }

    #[test]
    fn the_quota_has_room_for_what_is_planned_and_none_for_what_leads_out() {
        let hard = |bytes, objects| quota("n", "r", bytes, objects).1["spec"]["hard"].clone();
        let small = hard(1 << 30, 3);
        assert_eq!((&small["pods"], &small["requests.storage"]), (&json!("200"), &json!("12288Mi")));
        assert_eq!((&small["services.loadbalancers"], &small["services.nodeports"]), (&json!("0"), &json!("0")));
        assert_eq!(hard(0, 5000)["secrets"], "10000");
        assert!(small.get("requests.cpu").is_none() && small.get("limits.memory").is_none());
    }
}
