//! What a Service gets from the server: addresses and node ports, each once.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::support::kube::kinds::defaults::set;
use crate::support::kube::status::Cause;

/// Services live in 10.96.0.0/12, as kubeadm has it; the first address is the API server's own.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
const PREFIX_BITS: u32 = 12;
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30000..=32767;

/// What other services have.
pub(crate) struct Taken {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<u64>,
}

impl Taken {
    pub(crate) fn by<'a>(services: impl Iterator<Item = &'a Value>) -> Self {
        let mut taken =
            Self { addresses: BTreeSet::from([Ipv4Addr::from(u32::from(NETWORK) + 1)]), ports: BTreeSet::new() };
        for service in services {
            taken.addresses.extend(service["spec"]["clusterIP"].as_str().and_then(|ip| ip.parse::<Ipv4Addr>().ok()));
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            taken.ports.extend(ports.filter_map(|port| port["nodePort"].as_u64()));
        }
        taken
    }
}

/// Fills in address and node ports of a new service.
pub(crate) fn service(service: &mut Value, mut taken: Taken) -> Result<(), Cause> {
    let spec = &mut service["spec"];
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind == "ExternalName" {
        return Ok(());
    }
    match spec["clusterIP"].as_str().map(str::to_owned) {
        Some(none) if none == "None" => {}
        Some(given) if !given.is_empty() => {
            let refused = |why: &str| {
                Cause::invalid("spec.clusterIPs", format!("[\"{given}\"]: failed to allocate IP {given}: {why}"))
            };
            let Ok(address) = given.parse::<Ipv4Addr>() else {
                let text = format!("[\"{given}\"]: must be a valid IP address");
                return Err(Cause::invalid("spec.clusterIPs[0]", text));
            };
            if u32::from(address) >> (32 - PREFIX_BITS) != u32::from(NETWORK) >> (32 - PREFIX_BITS) {
                return Err(refused("the provided network does not match the current range"));
            }
            if taken.addresses.contains(&address) {
                return Err(refused("provided IP is already allocated"));
            }
        }
        _ => {
            let mut next = u32::from(NETWORK) + 10;
            while taken.addresses.contains(&Ipv4Addr::from(next)) {
                next += 1;
            }
            spec["clusterIP"] = Ipv4Addr::from(next).to_string().into();
        }
    }
    spec["clusterIPs"] = json!([spec["clusterIP"]]);
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", "SingleStack");
    if kind == "ClusterIP" {
        return Ok(());
    }
    for (at, port) in spec["ports"].as_array_mut().into_iter().flatten().enumerate() {
        let number = match port["nodePort"].as_u64().filter(|number| *number != 0) {
            Some(given) if !NODE_PORTS.contains(&given) => {
                let text = format!(
                    "{given}: provided port is not in the valid range. The range of valid ports is 30000-32767"
                );
                return Err(Cause::invalid(format!("spec.ports[{at}].nodePort"), text));
            }
            Some(given) if taken.ports.contains(&given) => {
                let text = format!("{given}: provided port is already allocated");
                return Err(Cause::invalid(format!("spec.ports[{at}].nodePort"), text));
            }
            Some(given) => given,
            None => NODE_PORTS.clone().find(|number| !taken.ports.contains(number)).unwrap_or(0),
        };
        taken.ports.insert(number);
        port["nodePort"] = number.into();
    }
    Ok(())
}
