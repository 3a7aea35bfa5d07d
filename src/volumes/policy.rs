//! The mover's own `NetworkPolicy`, in the application's namespace for as long as the mover runs: out to DNS and to the store, in from nowhere. Where nothing is
//! denied it narrows the mover; where everything is, it lets it out. (A Cilium `egressDeny` beats it, as it beats every allowance.)

use serde_json::{Value, json};

use super::labels::{EXPIRES, MANAGED_BY, MANAGER, RUN};

/// Where the store is, as far as a policy can say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A service of this cluster, by its namespace: its pods may listen on any port.
    Namespace(String),
    /// One address.
    Address {
        /// IPv4 or IPv6.
        ip: std::net::IpAddr,
        /// TCP.
        port: u16,
    },
    /// A name in DNS: what it stands for may change while an upload runs, so any address at this port.
    Anywhere {
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
            [_, namespace, "svc", ..] => Self::Namespace((*namespace).to_owned()),
            _ => Self::Anywhere { port },
        }
    }

    fn rule(&self) -> Option<Value> {
        let tcp = |port: &u16| json!([{"protocol": "TCP", "port": port}]);
        match self {
            Self::Namespace(name) => {
                let labels = json!({"kubernetes.io/metadata.name": name});
                Some(json!({"to": [{"namespaceSelector": {"matchLabels": labels}}]}))
            }
            Self::Address { ip, port } => {
                let bits = if ip.is_ipv4() { 32 } else { 128 };
                Some(json!({"to": [{"ipBlock": {"cidr": format!("{ip}/{bits}")}}], "ports": tcp(port)}))
            }
            Self::Anywhere { port } => Some(json!({"ports": tcp(port)})),
            Self::Nowhere => None,
        }
    }
}

/// The policy for the pod of this name and run.
#[must_use]
pub fn manifest(namespace: &str, name: &str, run: &str, expires: &str, reach: &Reach) -> Value {
    let dns = json!({"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
    let egress: Vec<Value> = std::iter::once(dns).chain(reach.rule()).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {
            "name": name, "namespace": namespace,
            "labels": {MANAGED_BY: MANAGER, RUN: run},
            "annotations": {EXPIRES: expires},
        },
        "spec": {
            "podSelector": {"matchLabels": {RUN: run}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": egress,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_reached_where_it_is_and_nowhere_else() {
        let address = |text: &str, port| Reach::Address { ip: text.parse().expect("an address"), port };
        for (host, port, reach) in [
            ("192.0.2.9", 9000, address("192.0.2.9", 9000)),
            ("[2001:db8::9]", 443, address("2001:db8::9", 443)),
            ("minio.storage.svc", 9000, Reach::Namespace("storage".into())),
            ("minio.storage.svc.cluster.local.", 9000, Reach::Namespace("storage".into())),
            ("s3.us-west-004.backblazeb2.com", 443, Reach::Anywhere { port: 443 }),
            ("nas", 9000, Reach::Anywhere { port: 9000 }),
            ("svc.example.org", 443, Reach::Anywhere { port: 443 }),
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
