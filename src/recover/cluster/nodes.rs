//! What of a plan asks for nodes by name that the target does not have: local volumes, and workloads tied to a node. They would be created, and no pod would ever run.

use std::collections::BTreeSet;

use super::plan::Step;
use crate::cluster::list::whole;
use crate::cluster::object::{label, name_of};
use crate::cluster::rewrite::nodes::bound_to;
use crate::cluster::{Cluster, ClusterError, Kind};

/// Nodes that a caution names.
const SHOWN: usize = 5;

/// Adds a caution to every step that is created and whose nodes are all missing. Who may not list nodes gets none.
pub(super) async fn caution(cluster: &dyn Cluster, steps: &mut [Step]) -> Result<(), ClusterError> {
    let asks = |step: &Step| step.fate.acts() && !bound_to(&step.kind, step.manifest()).is_empty();
    if !cluster.lives() || !steps.iter().any(asks) {
        return Ok(());
    }
    let kind = Kind::known("", "v1", "nodes", "Node", false);
    let of = |node| Some([name_of(&node).to_owned(), label(&node, "kubernetes.io/hostname").to_owned()]);
    let there: BTreeSet<String> = match whole(cluster, &kind, of).await {
        Ok(found) => found.into_iter().flatten().filter(|name| !name.is_empty()).collect(),
        Err(error) if error.is_of_the_cluster() => return Err(error),
        Err(_) => return Ok(()),
    };
    for step in steps.iter_mut().filter(|step| asks(step)) {
        let wanted = bound_to(&step.kind, step.manifest());
        if let (Some(first), true) = (wanted.first(), wanted.is_disjoint(&there)) {
            let listed = |names: &BTreeSet<String>| names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let example = there.first().map_or("NODE", String::as_str);
            step.lost.push(format!(
                "it is tied to the node {}, which is not there ({} are): no pod would run with it; --node {first}={example} maps it",
                listed(&wanted),
                listed(&there)
            ));
        }
    }
    Ok(())
}
