//! Policies that beat a mover's own: Cilium's denials (`egressDeny`), which no allowance overrules.

use serde_json::Value;

use super::{Check, Finding, Findings, Severity};
use crate::cluster::object::{at, items, name_of, namespace_of, text};
use crate::cluster::{Cluster, ClusterError, selector};
use crate::volumes::cilium;
use crate::volumes::pod::PodPlan;
use crate::volumes::policy::Reach;

/// What a denial has to do with the way to the store.
#[derive(Debug, PartialEq, Eq)]
enum Hit {
    /// It is in the way.
    Certain,
    /// It may be: what it names is not known from here.
    Possible,
    /// It is not.
    None,
}

/// Whether a rule is about this port, or about DNS. One without ports is about all.
fn about_ports(rule: &Value, port: Option<u16>) -> bool {
    let lists = items(rule, &["toPorts"]);
    let is = |entry: &Value| {
        let first: u32 = text(entry, &["port"]).parse().unwrap_or(0);
        let last = at(entry, &["endPort"]).as_u64().and_then(|last| u32::try_from(last).ok()).unwrap_or(first);
        // Zero stands for all; a name of a port is nobody's here.
        first == 0 || port.is_none_or(|port| (first..=last).contains(&u32::from(port)))
    };
    lists.is_empty() || lists.iter().any(|list| items(list, &["ports"]).iter().any(is))
}

/// Whether a block of addresses has this one.
fn holds(block: &str, ip: std::net::IpAddr) -> bool {
    let (base, bits) = block.split_once('/').unwrap_or((block, ""));
    let Ok(base) = base.parse::<std::net::IpAddr>() else { return false };
    let bits_of = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(ip) => (u128::from(u32::from(ip)) << 96, 32),
        std::net::IpAddr::V6(ip) => (u128::from(ip), 128),
    };
    let ((base_bits, most), (ip_bits, other)) = (bits_of(base), bits_of(ip));
    let bits = bits.parse::<u32>().unwrap_or(most).min(most);
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
    most == other && base_bits & mask == ip_bits & mask
}

fn hit(rule: &Value, reach: &Reach) -> Hit {
    const PLACES: [&str; 8] =
        ["toEntities", "toCIDR", "toCIDRSet", "toEndpoints", "toServices", "toNodes", "toGroups", "toFQDNs"];
    let port = match reach {
        Reach::Address { port, .. } | Reach::Name { port, .. } => Some(*port),
        Reach::Service { .. } => None,
        Reach::Nowhere => return Hit::None,
    };
    if !about_ports(rule, port) {
        return Hit::None;
    }
    if PLACES.iter().all(|place| at(rule, &[place]).is_null()) {
        // For anywhere. A port of a service is not that of its pods.
        return if port.is_some() || items(rule, &["toPorts"]).is_empty() { Hit::Certain } else { Hit::Possible };
    }
    let entities: Vec<&str> = items(rule, &["toEntities"]).iter().filter_map(Value::as_str).collect();
    let blocks = || {
        let plain = items(rule, &["toCIDR"]).iter().filter_map(Value::as_str);
        plain.chain(items(rule, &["toCIDRSet"]).iter().map(|set| text(set, &["cidr"])))
    };
    if entities.contains(&"all") {
        return Hit::Certain;
    }
    match reach {
        Reach::Service { .. } if entities.contains(&"cluster") => Hit::Certain,
        Reach::Service { .. } if entities == ["world"] && at(rule, &["toEndpoints"]).is_null() => Hit::None,
        Reach::Address { ip, .. } => {
            let excepted = items(rule, &["toCIDRSet"])
                .iter()
                .any(|set| items(set, &["except"]).iter().filter_map(Value::as_str).any(|block| holds(block, *ip)));
            match blocks().any(|block| holds(block, *ip)) {
                true if !excepted => Hit::Certain,
                _ if entities.iter().any(|entity| matches!(*entity, "world" | "cluster" | "host" | "remote-node")) => {
                    Hit::Possible
                }
                _ => Hit::None,
            }
        }
        _ => Hit::Possible,
    }
}

/// Every denial that is, or may be, in the way of one of these movers: of the cluster's policies, and of those that a restore makes before (`planned`).
pub(super) async fn look(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    pods: &[(PodPlan, String)],
    reach: &Reach,
    planned: &[&Value],
) -> Result<(), ClusterError> {
    let before = findings.findings.len();
    let mut looked = false;
    // All of them have the same, but for the name of their run.
    let labels = pods.first().map(|(pod, _)| at(&pod.manifest(), &["metadata", "labels"]).clone()).unwrap_or_default();
    for kind in [cilium::kind(), cilium::clusterwide()] {
        let planned =
            planned.iter().filter(|policy| text(policy, &["kind"]) == kind.name).map(|policy| (*policy).clone());
        let mut policies: Vec<Value> = planned.collect();
        let found = findings.read(cluster, Check::Network, &kind, Some).await?;
        looked |= found.is_some() || !policies.is_empty();
        policies.extend(found.into_iter().flatten());
        for policy in &policies {
            let place = namespace_of(policy);
            if place.is_some_and(|place| !pods.iter().any(|(pod, _)| pod.namespace == place)) {
                continue;
            }
            let one = [at(policy, &["spec"])].into_iter().filter(|spec| spec.is_object());
            for spec in one.chain(items(policy, &["specs"])) {
                if !selects(spec, &labels) {
                    continue;
                }
                for rule in items(spec, &["egressDeny"]) {
                    judge(findings, &format!("{kind} {}", named(policy)), rule, reach);
                }
            }
        }
    }
    if looked && findings.findings.len() == before {
        findings.fine(Check::Network, "policies of Cilium", "none denies the way to the store");
    }
    Ok(())
}

fn named(policy: &Value) -> String {
    namespace_of(policy)
        .map_or_else(|| name_of(policy).to_owned(), |namespace| format!("{namespace}/{}", name_of(policy)))
}

/// Whether it is about a mover. Labels of its namespace are not known to the pod's own: a selector that asks for them may well take it.
fn selects(spec: &Value, labels: &Value) -> bool {
    let mut own = at(spec, &["endpointSelector"]).clone();
    if own.is_null() {
        // By nodes: not about pods.
        return false;
    }
    let of_namespace = |key: &str| key.contains("io.kubernetes.pod.namespace") || key.contains("io.cilium.k8s.");
    if let Some(equal) = own.get_mut("matchLabels").and_then(Value::as_object_mut) {
        equal.retain(|key, _| !of_namespace(key));
    }
    if let Some(list) = own.get_mut("matchExpressions").and_then(Value::as_array_mut) {
        list.retain(|expression| !of_namespace(text(expression, &["key"])));
    }
    selector::takes(&own, labels)
}

fn judge(findings: &mut Findings, on: &str, rule: &Value, reach: &Reach) {
    let (severity, what) = match hit(rule, reach) {
        Hit::Certain => (Severity::Blocks, "its egressDeny takes the way to the store from movers"),
        Hit::Possible => (Severity::Doubtful, "its egressDeny may take the way to the store from movers"),
        Hit::None => return,
    };
    let why = "in Cilium a denial beats every allowance, also that of the mover's own policy";
    let mend = "except movers from its endpointSelector: add to its matchExpressions\n\
                - {key: app.kubernetes.io/name, operator: NotIn, values: [homelab-dr-mover]}";
    let finding = Finding::new(severity, Check::Network, on, what);
    findings.add(finding.because(format!("{why}: {rule}")).mended_by(mend));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_denial_is_in_the_way_by_its_place_and_its_port() {
        let [nas, cloud, inside] =
            ["192.0.2.9", "s3.example.org", "minio.storage.svc"].map(|host| Reach::of(host, 9000));
        let ports = |port: &str| json!([{"ports": [{"port": port, "protocol": "TCP"}]}]);
        for (rule, to_nas, to_cloud, to_inside) in [
            (json!({}), Hit::Certain, Hit::Certain, Hit::Certain),
            (json!({"toPorts": ports("9000")}), Hit::Certain, Hit::Certain, Hit::Possible),
            (json!({"toPorts": ports("443")}), Hit::None, Hit::None, Hit::Possible),
            (json!({"toEntities": ["all"]}), Hit::Certain, Hit::Certain, Hit::Certain),
            (json!({"toEntities": ["world"]}), Hit::Possible, Hit::Possible, Hit::None),
            (json!({"toEntities": ["cluster"]}), Hit::Possible, Hit::Possible, Hit::Certain),
            (json!({"toCIDR": ["192.0.2.0/24"]}), Hit::Certain, Hit::Possible, Hit::Possible),
            (
                json!({"toCIDRSet": [{"cidr": "192.0.2.0/24", "except": ["192.0.2.9/32"]}]}),
                Hit::None,
                Hit::Possible,
                Hit::Possible,
            ),
            (json!({"toCIDR": ["198.51.100.0/24", "2001:db8::/32"]}), Hit::None, Hit::Possible, Hit::Possible),
        ] {
            assert_eq!(
                (hit(&rule, &nas), hit(&rule, &cloud), hit(&rule, &inside)),
                (to_nas, to_cloud, to_inside),
                "{rule}"
            );
            assert_eq!(hit(&rule, &Reach::Nowhere), Hit::None);
        }
        let mover = json!({"app.kubernetes.io/name": "homelab-dr-mover"});
        let spec = |selector: Value| json!({"endpointSelector": selector});
        assert!(selects(&spec(json!({})), &mover));
        assert!(selects(&spec(json!({"matchLabels": {"k8s:io.kubernetes.pod.namespace": "media"}})), &mover));
        assert!(!selects(&spec(json!({"matchLabels": {"app": "x"}})), &mover));
        assert!(!selects(&json!({"nodeSelector": {}}), &mover));
        let except = json!({"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "NotIn", "values": ["homelab-dr-mover"]}]});
        assert!(!selects(&spec(except), &mover), "as the mend says");
    }
}
