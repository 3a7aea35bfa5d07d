//! Nodes that do not answer. A mover on one says nothing any more, and it cannot be taken away: only its node can say that its processes have ended.

use serde_json::Value;

use crate::cluster::object::{at, is_dying, items, name_of, namespace_of, text};
use crate::cluster::{Cluster, Kind};
use crate::volumes::Left;
use crate::volumes::kinds::{nodes, pods};

/// A node that is not to be counted on.
#[derive(Debug)]
pub(super) struct Away {
    pub(super) node: String,
    /// In the cluster's words.
    pub(super) why: String,
}

/// The node of a pod, if it does not answer; `None` too if nobody knows: no node was chosen yet, or it cannot be looked at.
pub(super) async fn node(cluster: &dyn Cluster, pod: &Value) -> Option<Away> {
    let name = text(pod, &["spec", "nodeName"]);
    if name.is_empty() {
        return None;
    }
    let why = match cluster.get(&nodes(), None, name).await.ok()? {
        None => "the cluster has no such node any more".to_owned(),
        Some(node) => not_ready(&node)?,
    };
    Some(Away { node: name.to_owned(), why })
}

fn not_ready(node: &Value) -> Option<String> {
    let ready = items(node, &["status", "conditions"]).iter().find(|it| text(it, &["type"]) == "Ready");
    let Some(ready) = ready else { return Some("it never said that it is ready".to_owned()) };
    if at(ready, &["status"]) == "True" {
        return None;
    }
    let parts = ["reason", "message"].map(|field| text(ready, &[field]).trim_end_matches('.'));
    let since = format!("since {}", text(ready, &["lastTransitionTime"]));
    Some(parts.into_iter().chain([since.as_str()]).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "))
}

/// Something of ours that was deleted and does not go.
pub(super) async fn still_there(cluster: &dyn Cluster, kind: &Kind, object: &Value) -> Left {
    let (namespace, name) = (namespace_of(object).unwrap_or_default(), name_of(object));
    let since = text(object, &["metadata", "deletionTimestamp"]);
    let told = if is_dying(object) && !since.is_empty() {
        format!("it was told to be gone by {since} and is still there")
    } else {
        "it was told to go and is still there".to_owned()
    };
    let finalizers: Vec<&str> = items(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect();
    if !finalizers.is_empty() {
        return Left::object(kind, namespace, name, format!("{told}: {} keeps it", finalizers.join(", ")));
    }
    let Some(Away { node, why }) = node(cluster, object).await else {
        return Left::object(kind, namespace, name, told);
    };
    let why = format!(
        "{told}: its node {node} does not answer ({why}). It goes by itself when the node is back; only of a node that is off for good remove it by force"
    );
    let mut left = Left::object(kind, namespace, name, why);
    if kind.resource == pods().resource {
        for command in &mut left.commands {
            command.push_str(" --force --grace-period=0");
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_away_unless_it_says_that_it_is_ready() {
        let node = |status: &str| {
            let ready = json!({
                "type": "Ready", "status": status, "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": "2026-11-21T20:00:00Z",
            });
            json!({"status": {"conditions": [{"type": "DiskPressure", "status": "False"}, ready]}})
        };
        assert_eq!(not_ready(&node("True")), None);
        for status in ["Unknown", "False"] {
            let why = "NodeStatusUnknown, Kubelet stopped posting node status, since 2026-11-21T20:00:00Z";
            assert_eq!(not_ready(&node(status)).as_deref(), Some(why));
        }
        assert!(not_ready(&json!({})).is_some_and(|why| why.contains("never said")));
    }
}
