//! The mover's own `CiliumNetworkPolicy`, beside its `NetworkPolicy`, where Cilium is. Cilium takes names of hosts, and two things of a `NetworkPolicy` mean less
//! there than elsewhere: an address block is never a node of the cluster, and a namespace is never a service without pods (Cilium's documentation, "Policy
//! language"). Allowances of all policies add up; an `egressDeny` of any beats them, which nobody but its owner can change.

use serde_json::{Value, json};

use super::policy::{Reach, metadata};
use crate::cluster::{Cluster, ClusterError, Kind};

/// The kind of the policies.
pub(crate) fn kind() -> Kind {
    Kind::known("cilium.io", "v2", "ciliumnetworkpolicies", "CiliumNetworkPolicy", true)
}

/// The kind of those that are for all namespaces.
pub(crate) fn clusterwide() -> Kind {
    Kind::known("cilium.io", "v2", "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy", false)
}

/// Whether the cluster knows such policies.
pub async fn is_there(cluster: &dyn Cluster) -> Result<bool, ClusterError> {
    cluster.serves(&kind()).await
}

/// The allowances that a `NetworkPolicy` cannot express; `None` if it says it all.
fn egress(reach: &Reach) -> Option<Vec<Value>> {
    let ports = |port: &u16| json!([{"ports": [{"port": port.to_string(), "protocol": "TCP"}]}]);
    match reach {
        // With ports such a rule is refused.
        Reach::Service { name, namespace } => {
            Some(vec![json!({"toServices": [{"k8sService": {"serviceName": name, "namespace": namespace}}]})])
        }
        Reach::Address { port, .. } => {
            Some(vec![json!({"toEntities": ["host", "remote-node"], "toPorts": ports(port)})])
        }
        Reach::Name { host, port } if host.contains('.') => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            // Cilium learns addresses from the answers that its proxy sees, and only a rule of layer 7 sends questions there.
            let dns = json!({"toPorts": [{
                "ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*"}]},
            }]});
            // A bucket may be a part of the name, and the name may stand for a node or a load balancer of this cluster.
            let names = json!([{"matchName": host}, {"matchPattern": format!("*.{host}")}]);
            Some(vec![
                dns,
                json!({"toFQDNs": names, "toPorts": ports(port)}),
                json!({"toEntities": ["cluster"], "toPorts": ports(port)}),
            ])
        }
        // A name without a dot is completed by the resolver, and nobody here knows to what.
        Reach::Name { .. } | Reach::Nowhere => None,
    }
}

/// What the `NetworkPolicy` beside it should still allow: a name is allowed here, and there it could only be any address.
#[must_use]
pub(super) fn rest(reach: &Reach) -> Reach {
    match reach {
        Reach::Name { host, .. } if host.contains('.') => Reach::Nowhere,
        reach => reach.clone(),
    }
}

/// The policy for the pods of this run, if there is anything that only it can say.
#[must_use]
pub fn manifest(namespace: &str, name: &str, run: &str, expires: &str, reach: &Reach) -> Option<Value> {
    let egress = egress(reach)?;
    Some(json!({
        "apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
        "metadata": metadata(namespace, name, run, expires),
        "spec": {"endpointSelector": {"matchLabels": {super::labels::RUN: run}}, "egress": egress},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::policy;

    fn egress_of(host: &str) -> Value {
        manifest("media", "p", "r", "soon", &Reach::of(host, 9000))
            .map_or(Value::Null, |policy| policy["spec"]["egress"].clone())
    }

    #[test]
    fn a_store_is_reached_by_its_name_and_dns_goes_through_the_proxy() {
        let egress = egress_of("S3.eu.example.org.");
        let ports = json!([{"ports": [{"port": "9000", "protocol": "TCP"}]}]);
        assert_eq!(egress[0]["toPorts"][0]["rules"]["dns"], json!([{"matchPattern": "*"}]));
        let names = json!([{"matchName": "s3.eu.example.org"}, {"matchPattern": "*.s3.eu.example.org"}]);
        assert_eq!(egress[1], json!({"toFQDNs": names, "toPorts": ports}));
        assert_eq!(egress[2], json!({"toEntities": ["cluster"], "toPorts": ports}));
        // The other policy opens nothing then: what one allows is allowed. Without Cilium it does.
        let both = policy::manifests("media", "p", "r", "soon", &Reach::of("s3.eu.example.org", 9000), true);
        let kinds: Vec<&str> = both.iter().map(|(kind, _)| kind.name.as_str()).collect();
        assert_eq!(kinds, ["NetworkPolicy", "CiliumNetworkPolicy"]);
        assert_eq!(both[0].1["spec"]["egress"], json!([]));
        let alone = policy::manifests("media", "p", "r", "soon", &Reach::of("s3.eu.example.org", 9000), false);
        assert_eq!((alone.len(), alone[0].1["spec"]["egress"].as_array().map(Vec::len)), (1, Some(2)));
    }

    #[test]
    fn nodes_and_services_without_pods_are_named_and_the_rest_is_the_other_policys() {
        assert_eq!(egress_of("192.0.2.9")[0]["toEntities"], json!(["host", "remote-node"]));
        let service = egress_of("minio.storage.svc.cluster.local");
        assert_eq!(
            service[0],
            json!({"toServices": [{"k8sService": {"serviceName": "minio", "namespace": "storage"}}]})
        );
        for host in ["192.0.2.9", "minio.storage.svc", "nas"] {
            let reach = Reach::of(host, 9000);
            let [with, without] = [true, false].map(|cilium| policy::manifests("m", "p", "r", "soon", &reach, cilium));
            assert_eq!(with[0], without[0], "{host}");
        }
        assert_eq!(egress_of("nas"), Value::Null, "nobody knows what it is completed to");
        assert!(manifest("m", "p", "r", "soon", &Reach::Nowhere).is_none());
    }
}
