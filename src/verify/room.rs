//! `room`: how much of the volume of a claim is free, as the kubelet of the node says on which a pod uses it. Nothing is asked of the application: it may have no program to ask.

use super::objects::cluster;
use super::{Look, Surroundings};
use crate::base::causes::in_one_line;
use crate::base::units;
use crate::cluster::kinds::pods;
use crate::cluster::list::whole;
use crate::cluster::object::{items, name_of, namespace_of, text};
use crate::cluster::room::{Room, of_claim, of_node};
use crate::runbook::Claim;
use crate::volumes::kinds;

fn uses(pod: &serde_json::Value, claim: &Claim) -> bool {
    let is = |volume: &serde_json::Value| text(volume, &["persistentVolumeClaim", "claimName"]) == claim.name;
    namespace_of(pod) == Some(&*claim.namespace) && items(pod, &["spec", "volumes"]).iter().any(is)
}

pub(super) async fn look(claim: &Claim, at_least: u8, around: &Surroundings) -> Look {
    let cluster = cluster(around)?;
    let name = format!("{}/{}", claim.namespace, claim.name);
    let found = cluster.get(&kinds::claims(), Some(&claim.namespace), &claim.name).await;
    found
        .map_err(|error| format!("{name} cannot be read: {}", in_one_line(&error)))?
        .ok_or(format!("there is no claim {name}"))?;
    let node_of = |pod: serde_json::Value| {
        let node = text(&pod, &["spec", "nodeName"]).to_owned();
        (uses(&pod, claim) && !node.is_empty()).then(|| (name_of(&pod).to_owned(), node))
    };
    let using = whole(cluster, &pods(), node_of)
        .await
        .map_err(|error| format!("pods cannot be listed: {}", in_one_line(&error)))?;
    let Some((pod, node)) = using.first() else {
        return Err(format!("no pod that uses {name} is on a node, so no kubelet says how full it is"));
    };
    let stats = cluster.stats_of_node(node).await;
    let stats = stats.map_err(|error| format!("the kubelet of {node} cannot be asked: {}", in_one_line(&error)))?;
    let nobody = || format!("nobody says how full {name} is: the kubelet of {node}, where pod {pod} uses it, does not");
    let stats = stats.ok_or_else(nobody)?;
    let (what, room) = if let Some(room) = of_claim(&stats, &claim.namespace, &claim.name) {
        (name, room)
    } else {
        // A folder of the node, as local-path makes them, is as full as its disk.
        let room = of_node(&stats).ok_or_else(nobody)?;
        (format!("{name} itself is not measured; the disk of node {node}, where pod {pod} uses it,"), room)
    };
    judge(&what, room, at_least)
}

fn judge(what: &str, room: Room, at_least: u8) -> Look {
    let percent = room
        .percent()
        .ok_or_else(|| format!("{what} has {} free, and nobody says of how much", units::bytes(room.free)))?;
    let said = format!("{what} has {percent}% free, {} of {}", units::bytes(room.free), units::bytes(room.all));
    if let Some(files) = room.percent_of_files().filter(|files| *files < u64::from(at_least)) {
        return Err(format!("{said}, and {files}% of its places for files; it should be {at_least}%"));
    }
    if percent < u64::from(at_least) { Err(format!("{said}; it should be {at_least}%")) } else { Ok(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_scarcer_counts() {
        let room = |free, files| Room { free, all: 1000, files };
        assert_eq!(judge("a/b", room(100, None), 10), Ok("a/b has 10% free, 100 B of 1000 B".to_owned()));
        assert!(
            judge("a/b", room(99, None), 10).is_err_and(|why| why.contains("9% free") && why.contains("should be 10%"))
        );
        assert!(
            judge("a/b", room(900, Some((1, 100))), 10).is_err_and(|why| why.contains("1% of its places for files"))
        );
        assert!(judge("a/b", Room { free: 5, all: 0, files: None }, 10).is_err_and(|why| why.contains("of how much")));
    }
}
