//! Services: addresses are given out anew, also one that somebody chose, since another cluster has other ranges, and the plan says so; node ports that the
//! cluster gave out are given out anew, and those that somebody chose stay.

use serde_json::{Value, json};

use super::metadata::keep;
use crate::cluster::object::{annotation, at, items, items_mut, take, take_fields, text};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What load balancers note about the address that they gave out.
const ALLOCATED: [&str; 2] = ["metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"];
/// Where the health checks of a load balancer's nodes go.
const HEALTH_PORT: &str = "healthCheckNodePort";

/// Which node ports stay.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ports {
    /// Port and protocol.
    own: Vec<(u64, String)>,
    health: bool,
}

fn key(port: &Value) -> (u64, String) {
    let protocol = Some(text(port, &["protocol"])).filter(|protocol| !protocol.is_empty()).unwrap_or("TCP");
    (at(port, &["port"]).as_u64().unwrap_or(0), protocol.to_owned())
}

/// The node ports that an object has.
pub(super) fn ports_of(service: &Value) -> Ports {
    let with = items(service, &["spec", "ports"]).iter().filter(|port| at(port, &["nodePort"]).is_u64());
    Ports { own: with.map(key).collect(), health: at(service, &["spec", HEALTH_PORT]).is_u64() }
}

/// The node ports that somebody chose: by what `kubectl apply` was given, and by who owns the field. What the server gives out is owned by nobody.
pub(super) fn chosen_ports(service: &Value, managed: &[Value]) -> Ports {
    let applied: Value = serde_json::from_str(annotation(service, LAST_APPLIED)).unwrap_or_default();
    let mut chosen = ports_of(&applied);
    for entry in managed {
        let spec = at(entry, &["fieldsV1", "f:spec"]);
        chosen.health |= !at(spec, &[&format!("f:{HEALTH_PORT}")]).is_null();
        let ports = at(spec, &["f:ports"]).as_object();
        for (name, fields) in ports.into_iter().flatten() {
            let Some(Ok(port)) = name.strip_prefix("k:").map(serde_json::from_str::<Value>) else { continue };
            if fields.get("f:nodePort").is_some() {
                chosen.own.push(key(&port));
            }
        }
    }
    chosen
}

/// The cluster address that somebody chose, such as that of a DNS service which other machines know by heart: by what `kubectl apply` was given, and by who
/// owns the field.
pub(super) fn chosen_address<'a>(service: &'a Value, managed: &[Value]) -> Option<&'a str> {
    let address = text(service, &["spec", "clusterIP"]);
    if matches!(address, "" | "None") || text(service, &["spec", "type"]) == "ExternalName" {
        return None;
    }
    let applied: Value = serde_json::from_str(annotation(service, LAST_APPLIED)).unwrap_or_default();
    let owned = managed.iter().any(|entry| !at(entry, &["fieldsV1", "f:spec", "f:clusterIP"]).is_null());
    (owned || text(&applied, &["spec", "clusterIP"]) == address).then_some(address)
}

/// Takes away what the cluster gave out, but for these node ports.
pub(super) fn strip(service: &mut Value, stay: &Ports) {
    take_fields(service, &["metadata", "annotations"], |name| ALLOCATED.contains(&name));
    if text(service, &["spec", "type"]) == "ExternalName" {
        return;
    }
    if text(service, &["spec", "clusterIP"]) != "None" {
        take(service, &["spec", "clusterIP"]);
        take(service, &["spec", "clusterIPs"]);
    }
    if !stay.health {
        take(service, &["spec", HEALTH_PORT]);
    }
    for port in items_mut(service, &["spec", "ports"]) {
        if !stay.own.contains(&key(port)) {
            take(port, &["nodePort"]);
        }
    }
}

/// What was given out to the live object stays with it, where the restored one leaves it open.
pub(super) fn keep_given(service: &mut Value, live: &Value) {
    if text(service, &["spec", "clusterIP"]).is_empty() {
        keep(service, live, &["spec", "clusterIP"]);
        keep(service, live, &["spec", "clusterIPs"]);
    }
    let live_ports: Vec<(_, Value)> =
        items(live, &["spec", "ports"]).iter().map(|port| (key(port), at(port, &["nodePort"]).clone())).collect();
    for port in items_mut(service, &["spec", "ports"]) {
        let given = live_ports.iter().find(|(of, _)| *of == key(port)).map_or(&Value::Null, |(_, given)| given);
        if at(port, &["nodePort"]).is_null()
            && !given.is_null()
            && let Some(port) = port.as_object_mut()
        {
            port.insert("nodePort".to_owned(), json!(given));
        }
    }
    if at(service, &["spec", HEALTH_PORT]).is_null() {
        keep(service, live, &["spec", HEALTH_PORT]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        json!({
            "metadata": {"name": "web", "annotations": {"metallb.io/ip-allocated-from-pool": "lan"}},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.4.4", "clusterIPs": ["10.96.4.4"], "healthCheckNodePort": 31999,
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 443, "nodePort": 31443, "protocol": "TCP"}],
            },
        })
    }

    fn owned(fields: &Value) -> Value {
        json!({"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": fields}})
    }

    #[test]
    fn a_cluster_ip_that_was_given_out_is_given_out_anew() {
        let mut given = service();
        strip(&mut given, &Ports::default());
        let left = json!({"type": "LoadBalancer", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]});
        assert_eq!(given, json!({"metadata": {"name": "web"}, "spec": left}));
    }

    #[test]
    fn a_headless_service_stays_headless() {
        let mut headless = json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}});
        let before = headless.clone();
        strip(&mut headless, &Ports::default());
        assert_eq!(headless, before);
    }

    #[test]
    fn an_external_name_is_left_alone() {
        let mut external = json!({"spec": {"type": "ExternalName", "externalName": "nas.lan", "clusterIP": ""}});
        let before = external.clone();
        strip(&mut external, &Ports::default());
        assert_eq!(external, before);
    }

    #[test]
    fn a_node_port_that_somebody_owns_stays_and_one_that_was_given_out_goes() {
        let ports = json!({"f:ports": {
            "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:nodePort": {}, "f:port": {}},
            "k:{\"port\":443,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
        }});
        let chosen = chosen_ports(&service(), &[owned(&ports)]);
        let mut own = service();
        strip(&mut own, &chosen);
        let left = json!([{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 443, "protocol": "TCP"}]);
        assert_eq!(own["spec"]["ports"], left);
        assert_eq!(own["spec"].get("healthCheckNodePort"), None);
        let health = chosen_ports(&service(), &[owned(&json!({"f:healthCheckNodePort": {}}))]);
        let mut own = service();
        strip(&mut own, &health);
        assert_eq!(own["spec"]["healthCheckNodePort"], 31999);
    }

    #[test]
    fn a_node_port_in_the_last_applied_configuration_stays() {
        let mut own = service();
        let applied = json!({"spec": {"ports": [{"port": 443, "nodePort": 31443}, {"port": 80}]}});
        own["metadata"]["annotations"][LAST_APPLIED] = applied.to_string().into();
        let chosen = chosen_ports(&own, &[]);
        strip(&mut own, &chosen);
        let left = json!([{"port": 80, "protocol": "TCP"}, {"port": 443, "nodePort": 31443, "protocol": "TCP"}]);
        assert_eq!(own["spec"]["ports"], left);
    }

    #[test]
    fn a_cluster_ip_that_somebody_chose_is_known_as_such() {
        let service = service();
        assert_eq!(chosen_address(&service, &[owned(&json!({"f:ports": {}}))]), None, "given out");
        assert_eq!(chosen_address(&service, &[owned(&json!({"f:clusterIP": {}}))]), Some("10.96.4.4"));
        let mut applied = service.clone();
        applied["metadata"]["annotations"][LAST_APPLIED] =
            json!({"spec": {"clusterIP": "10.96.4.4"}}).to_string().into();
        assert_eq!(chosen_address(&applied, &[]), Some("10.96.4.4"));
        let headless = json!({"spec": {"clusterIP": "None"}});
        assert_eq!(chosen_address(&headless, &[owned(&json!({"f:clusterIP": {}}))]), None, "it is kept");
    }

    #[test]
    fn the_same_port_of_another_protocol_is_another_port() {
        let ports = json!({"f:ports": {"k:{\"port\":53,\"protocol\":\"UDP\"}": {"f:nodePort": {}}}});
        let dns = json!({"spec": {"ports": [{"port": 53, "protocol": "TCP", "nodePort": 30053}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]}});
        let mut own = dns.clone();
        strip(&mut own, &chosen_ports(&dns, &[owned(&ports)]));
        assert_eq!(
            own["spec"]["ports"],
            json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "nodePort": 30053}])
        );
    }

    #[test]
    fn a_replacement_keeps_the_addresses_that_the_live_service_has() {
        let live = service();
        let mut restored = service();
        strip(&mut restored, &Ports::default());
        keep_given(&mut restored, &live);
        assert_eq!(restored["spec"], live["spec"]);
    }
}
