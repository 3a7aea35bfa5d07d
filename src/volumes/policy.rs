//! The mover's own `NetworkPolicy`, in the application's namespace for as long as the mover runs: out to DNS and to the store, in from nowhere. Where nothing is
//! denied it narrows the mover; where everything is, it lets it out. Where Cilium is, it has a
//! `CiliumNetworkPolicy` beside it ([`cilium`]).

use serde_json::{Value, json};

use super::cilium;
use super::labels::{EXPIRES, MANAGED_BY, MANAGER, RUN};
use crate::cluster::Kind;

/// Where the store is, as far as a policy can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A service of this cluster: its pods may listen on any port.
    Service {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// One address.
    Address {
        /// IPv4 or IPv6.
        ip: std::net::IpAddr,
        /// TCP.
        port: u16,
    },
    /// A name in DNS: what it stands for may change while an upload runs, so any address at this port.
    Name {
        /// As in the store's address.
        host: String,
        /// TCP.
        port: u16,
    },
    /// A folder: nothing beyond the pod.
    Nowhere,
}

impl Reach {
    /// By the host and port of an endpoint.
    #[must_use]
    pub fn of(host: &str, port: u16) -> Self {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return Self::Address { ip, port };
        }
        // NAME.NAMESPACE.svc, with the cluster's domain or without.
        let parts: Vec<&str> = host.trim_end_matches('.').split('.').collect();
        match parts.as_slice() {
            [name, namespace, "svc", ..] => {
                Self::Service { name: (*name).to_owned(), namespace: (*namespace).to_owned() }
            }
            _ => Self::Name { host: host.to_owned(), port },
        }
    }

    fn rule(&self) -> Option<Value> {
        let tcp = |port: &u16| json!([{"protocol": "TCP", "port": port}]);
        match self {
            Self::Service { namespace, .. } => {
                let labels = json!({"kubernetes.io/metadata.name": namespace});
                Some(json!({"to": [{"namespaceSelector": {"matchLabels": labels}}]}))
            }
            Self::Address { ip, port } => {
                let bits = if ip.is_ipv4() { 32 } else { 128 };
                Some(json!({"to": [{"ipBlock": {"cidr": format!("{ip}/{bits}")}}], "ports": tcp(port)}))
            }
            Self::Name { port, .. } => Some(json!({"ports": tcp(port)})),
            Self::Nowhere => None,
        }
    }
}

/// The metadata of a policy.
pub(super) fn metadata(namespace: &str, name: &str, run: &str, expires: &str) -> Value {
    json!({
        "name": name, "namespace": namespace,
        "labels": {MANAGED_BY: MANAGER, RUN: run},
        "annotations": {EXPIRES: expires},
    })
}

/// The kind of the policies.
pub(crate) fn kind() -> Kind {
    Kind::known("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true)
}

fn allowing(namespace: &str, name: &str, run: &str, expires: &str, egress: &[Value]) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": metadata(namespace, name, run, expires),
        "spec": {
            "podSelector": {"matchLabels": {RUN: run}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
        },
    })
}

/// The policy for the pod of this name and run.
#[must_use]
pub fn manifest(namespace: &str, name: &str, run: &str, expires: &str, reach: &Reach) -> Value {
    let dns = json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
    let egress: Vec<Value> = std::iter::once(dns).chain(reach.rule()).collect();
    allowing(namespace, name, run, expires, &egress)
}

/// All policies that a mover brings, the one that everybody understands first; `cilium`: the cluster has Cilium's.
#[must_use]
pub fn manifests(
    namespace: &str,
    name: &str,
    run: &str,
    expires: &str,
    reach: &Reach,
    cilium: bool,
) -> Vec<(Kind, Value)> {
    let of_cilium = cilium.then(|| cilium::manifest(namespace, name, run, expires, reach)).flatten();
    // Where a name is allowed, so is the question for it; and here both would be wider.
    let first = if of_cilium.is_some() && cilium::rest(reach) == Reach::Nowhere {
        allowing(namespace, name, run, expires, &[])
    } else {
        manifest(namespace, name, run, expires, reach)
    };
    std::iter::once((kind(), first)).chain(of_cilium.map(|policy| (cilium::kind(), policy))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_reached_where_it_is_and_nowhere_else() {
        let address = |text: &str, port| Reach::Address { ip: text.parse().expect("an address"), port };
        let service = || Reach::Service { name: "minio".into(), namespace: "storage".into() };
        let name = |host: &str, port| Reach::Name { host: host.into(), port };
        let [cloud, odd] = ["s3.us-west-004.backblazeb2.com", "svc.example.org"];
        for (host, port, reach) in [
            ("192.0.2.9", 9000, address("192.0.2.9", 9000)),
            ("[2001:db8::9]", 443, address("2001:db8::9", 443)),
            ("minio.storage.svc", 9000, service()),
            ("minio.storage.svc.cluster.local.", 9000, service()),
            (cloud, 443, name(cloud, 443)),
            ("nas", 9000, name("nas", 9000)),
            (odd, 443, name(odd, 443)),
        ] {
            assert_eq!(Reach::of(host, port), reach, "{host}");
        }
        let policy = manifest("media", "p", "r", "soon", &Reach::of("192.0.2.9", 9000));
        let out = json!({"to": [{"ipBlock": {"cidr": "192.0.2.9/32"}}], "ports": [{"protocol": "TCP", "port": 9000}]});
        assert_eq!((&policy["spec"]["egress"][1], policy["spec"]["egress"].as_array().map(Vec::len)), (&out, Some(2)));
        assert!(policy["spec"]["ingress"].is_null(), "nobody comes in");
        let folder = manifest("media", "p", "r", "soon", &Reach::Nowhere);
        assert_eq!(folder["spec"]["egress"].as_array().map(Vec::len), Some(1));
    }
}
