//! What every namespace gets: the service account `default` and the cluster's certificate.

use serde_json::json;

use crate::support::kube::controllers::{MANAGER, is_dying};
use crate::support::kube::state::{State, text};

const ABOUT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
    internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub(crate) fn step(state: &mut State) {
    for namespace in state.objects("namespaces") {
        let name = text(&namespace["metadata"]["name"]);
        if is_dying(&namespace) {
            continue;
        }
        if state.object("serviceaccounts", name, "default").is_none() {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
            state.make(MANAGER, name, account);
        }
        if state.object("configmaps", name, "kube-root-ca.crt").is_none() {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": ABOUT}},
                "data": {"ca.crt": "no certificate: this cluster speaks HTTP\n"},
            });
            state.make(MANAGER, name, map);
        }
    }
}
