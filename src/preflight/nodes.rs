//! Nodes: whether they take pods, and have room for them.

use serde_json::Value;

use super::{Check, Finding, Findings, Severity};
use crate::cluster::object::{at, items, name_of, text};
use crate::cluster::{Cluster, ClusterError, kinds};

/// Conditions that are bad when they are true.
const PRESSURES: [&str; 4] = ["DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable"];

fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    items(node, &["status", "conditions"]).iter().find(|condition| text(condition, &["type"]) == kind)
}

/// What is wrong with a node, and what to do; empty if nothing is.
fn judge(node: &Value) -> Vec<Finding> {
    let name = name_of(node);
    let on = format!("node {name}");
    let finding = |what: &str| Finding::new(Severity::Doubtful, Check::Nodes, on.clone(), what);
    let said = |condition: &Value| format!("{}: {}", text(condition, &["reason"]), text(condition, &["message"]));
    let mut found = Vec::new();
    let ready = condition(node, "Ready");
    if ready.is_none_or(|ready| text(ready, &["status"]) != "True") {
        let why = ready.map_or_else(|| "it says nothing of itself".to_owned(), said);
        let mend = format!("bring it back (kubectl describe node {name}); what is on its disks is read nowhere else");
        found.push(finding("is not ready: no mover runs there").because(why).mended_by(mend));
    }
    if at(node, &["spec", "unschedulable"]) == true {
        found.push(finding("is cordoned: it takes no pods").mended_by(format!("kubectl uncordon {name}")));
    }
    for pressure in PRESSURES {
        let Some(condition) = condition(node, pressure).filter(|it| text(it, &["status"]) == "True") else { continue };
        let what = format!("has {pressure}: pods on it may be evicted, or not be placed there");
        let mend = if pressure == "DiskPressure" {
            "free space on its disk: images and ended pods first (crictl rmi --prune)".to_owned()
        } else {
            format!("see kubectl describe node {name}")
        };
        found.push(finding(&what).because(said(condition)).mended_by(mend));
    }
    found
}

/// Every node that something is wrong with.
pub(super) async fn look(cluster: &dyn Cluster, findings: &mut Findings) -> Result<(), ClusterError> {
    let kind = kinds::nodes();
    let Some(nodes) = findings.read(cluster, Check::Nodes, &kind, Some).await? else { return Ok(()) };
    let judged: Vec<Vec<Finding>> = nodes.iter().map(judge).collect();
    // One with pressure still takes pods.
    let refuses = |node: &Value| {
        at(node, &["spec", "unschedulable"]) == true
            || condition(node, "Ready").is_none_or(|ready| text(ready, &["status"]) != "True")
    };
    if nodes.iter().all(refuses) {
        let finding = Finding::new(Severity::Blocks, Check::Nodes, "the cluster", "no node takes pods");
        findings.add(finding.mended_by("bring a node back, or uncordon one: kubectl get nodes"));
    }
    if judged.iter().all(Vec::is_empty) && !nodes.is_empty() {
        findings.fine(Check::Nodes, "nodes", format!("all {} are ready and take pods", nodes.len()));
    }
    judged.into_iter().flatten().for_each(|finding| findings.add(finding));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_keeps_pods_from_a_node_is_told_each_by_itself() {
        let node = |spec: Value, conditions: Value| json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}});
        let ready = json!({"type": "Ready", "status": "True"});
        let told = |node: Value| judge(&node).into_iter().map(|finding| finding.what).collect::<Vec<_>>().join("; ");
        assert_eq!(told(node(json!({}), json!([ready, {"type": "DiskPressure", "status": "False"}]))), "");
        assert!(told(node(json!({}), json!([]))).contains("is not ready"));
        assert!(told(node(json!({}), json!([{"type": "Ready", "status": "Unknown"}]))).contains("is not ready"));
        assert!(told(node(json!({"unschedulable": true}), json!([ready]))).contains("is cordoned"));
        let full = told(node(json!({}), json!([ready, {"type": "DiskPressure", "status": "True"}])));
        assert!(full.contains("has DiskPressure"), "{full}");
    }
}
