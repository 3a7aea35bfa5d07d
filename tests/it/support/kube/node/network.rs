//! The network of pods, as far as one is needed: the address of the API's Service leads to this server, and a network plugin looks at policies.
//!
//! Nothing is routed: wherever `ADDRESS:PORT` of that Service stands as an argument of a container, an address of loopback stands instead that is this pod's alone. Something listens there as
//! long as the pod may go out to the API by the `NetworkPolicies` that there are; otherwise nobody does, and connections are refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

use crate::support::kube::select::Selector;
use crate::support::kube::server::Shared;
use crate::support::kube::state::{State, text};

const TICK: Duration = Duration::from_millis(20);
/// Where the API listens behind its Service: policies see this port.
const TARGET_PORT: u64 = 6443;

/// What the plugin does about policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Network {
    /// What they say.
    #[default]
    Enforces,
    /// Nothing, as plain flannel.
    Ignores,
    /// What they say, but in namespaces whose names end so: a plugin that is set up to leave some out.
    IgnoresIn(&'static str),
    /// Nobody reaches anything.
    Broken,
}

/// Whether a pod may go out to the API.
fn may_go_out(state: &State, pod: &Value) -> bool {
    match state.faults.network {
        Network::Ignores => return true,
        Network::IgnoresIn(end) if text(&pod["metadata"]["namespace"]).ends_with(end) => return true,
        Network::IgnoresIn(_) => {}
        Network::Broken => return false,
        Network::Enforces => {}
    }
    let policies = state.objects("networkpolicies.networking.k8s.io");
    let mut closed = policies.iter().filter(|policy| {
        let here = policy["metadata"]["namespace"] == pod["metadata"]["namespace"];
        let types = policy["spec"]["policyTypes"].as_array();
        let egress = types.is_some_and(|types| types.iter().any(|one| one == "Egress"));
        here && egress && Selector::of(&policy["spec"]["podSelector"]).matches(pod)
    });
    let first = closed.next();
    let allows = |policy: &Arc<Value>| policy["spec"]["egress"].as_array().into_iter().flatten().any(allows);
    first.is_none_or(|first| allows(first) || closed.any(allows))
}

/// Whether a rule lets something out to an address that is no pod's.
fn allows(rule: &Value) -> bool {
    let ports = rule["ports"].as_array();
    let port = ports.is_none_or(|ports| ports.iter().any(|port| port["port"] == TARGET_PORT));
    let to = rule["to"].as_array();
    port && to.is_none_or(|to| to.iter().any(|peer| text(&peer["ipBlock"]["cidr"]).ends_with("/0")))
}

/// Puts the pod's own address in the place of the Service's, and listens there.
pub(crate) fn route(shared: &Arc<Shared>, pod: &Value, argv: &mut [String]) {
    let (service, target) = shared.with(|state| {
        let service = state.object("services", "default", "kubernetes");
        let ip = service.map(|service| text(&service["spec"]["clusterIP"]).to_owned()).unwrap_or_default();
        (format!("{ip}:443"), state.address.clone())
    });
    let Some(arg) = argv.iter_mut().find(|arg| **arg == service) else { return };
    let uid = text(&pod["metadata"]["uid"]).to_owned();
    let number = uid.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let own = SocketAddr::from(([127, 64 | (number >> 16 & 0x3f) as u8, (number >> 8) as u8, number as u8 | 1], 6443));
    *arg = own.to_string();
    tokio::spawn(serve(Arc::clone(shared), pod.clone(), own, target));
}

async fn serve(shared: Arc<Shared>, pod: Value, own: SocketAddr, target: String) {
    let key = crate::support::kube::state::key_of(&pod);
    let mut listener: Option<TcpListener> = None;
    loop {
        let (lives, open) = shared.with(|state| {
            let there =
                state.store.get("pods", &key).filter(|there| there["metadata"]["uid"] == pod["metadata"]["uid"]);
            (there.is_some(), may_go_out(state, &pod))
        });
        if !lives || shared.stopped.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        if !open {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(own).await.ok();
        }
        let Some(listening) = &listener else {
            tokio::time::sleep(TICK).await;
            continue;
        };
        if let Ok(Ok((mut from, _))) = tokio::time::timeout(TICK, listening.accept()).await
            && let Ok(mut to) = TcpStream::connect(&target).await
        {
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    }
}
