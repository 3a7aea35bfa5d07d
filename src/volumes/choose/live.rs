//! The volume itself, mounted for reading beside its application: where that is possible, and where it is not honest.

use std::collections::BTreeSet;

use super::{Choosing, No, Way, Yes, no};
use crate::volumes::facts::{AccessMode, Node, Pod, Source, Volume};
use crate::volumes::labels::{BACKUP, HOOK, MODE};
use crate::volumes::placement::fits;

/// The caution about a claim that is in use.
pub const WRITTEN: &str = "read while its application writes: the files are not of one moment";
/// The caution about a claim whose pod may have locks that nobody else sees.
pub const APART: &str = "its pod has a runtime class of which nobody knows whether its locks are seen from outside: SQLite databases are not captured";

/// Handlers of `RuntimeClass`es, by how their names begin, that run containers on the node's own kernel. Of any other nobody knows.
const SHARED_KERNEL: [&str; 6] = ["nvidia", "runc", "crun", "youki", "sysbox", "amd"];

impl<'a> Choosing<'a> {
    /// `asked`: somebody asked for just this, and so takes what is doubtful about it.
    pub(super) fn live(&self, volume: &'a Volume, asked: bool) -> Result<Yes, No> {
        let users: Vec<&Pod> = self.users().collect();
        self.one_pod(&users, asked)?;
        let placed: Vec<&Pod> = users.iter().copied().filter(|pod| pod.node.is_some()).collect();
        // A pod that runs says for certain where the volume is; one that is ending still has it.
        let beside = placed.iter().find(|pod| pod.running).or(placed.first()).copied();
        if self.claim.block && beside.is_some() && !asked && !self.is_stopped() {
            return no(
                "it is a raw block device in use: read while it is written, it would be torn",
                format!("stop what uses it, or use a CSI driver with snapshots, or accept it with {MODE}: live"),
            );
        }
        let yes = match beside {
            Some(pod) => self.beside(pod, &placed, volume, asked)?,
            None => self.unused(volume)?,
        };
        Ok(yes)
    }

    fn users(&self) -> impl Iterator<Item = &'a Pod> {
        let (namespace, name) = (&self.claim.namespace, &self.claim.name);
        self.facts.pods.iter().filter(move |pod| pod.namespace == *namespace && pod.claims.contains(name))
    }

    /// Whether its workload is at zero while it is read.
    fn is_stopped(&self) -> bool {
        self.policy.stopped.contains(&(self.claim.namespace.clone(), self.claim.name.clone()))
    }

    fn one_pod(&self, users: &[&Pod], asked: bool) -> Result<(), No> {
        if !self.claim.access.contains(&AccessMode::ReadWriteOncePod) || self.is_stopped() {
            return Ok(());
        }
        let mend = format!(
            "use a CSI driver with snapshots, have its application scaled to zero for it ({HOOK}: scale), or leave the claim out with {BACKUP}: \"false\""
        );
        match users.first() {
            Some(pod) => no(format!("it is ReadWriteOncePod, and pod {} has it", pod.name), mend),
            None if asked => Ok(()),
            None => no("it is ReadWriteOncePod: while it is read its application could not start", mend),
        }
    }

    fn beside(&self, pod: &Pod, placed: &[&Pod], volume: &Volume, asked: bool) -> Result<Yes, No> {
        let name = pod.node.as_deref().unwrap_or_default();
        let nodes: BTreeSet<&str> = placed.iter().filter_map(|pod| pod.node.as_deref()).collect();
        let mut cautions = Vec::new();
        if self.claim.block && !self.is_stopped() {
            cautions.push("a block device that is written while it is read: it may be torn".to_owned());
        } else if !self.is_stopped() {
            cautions.push(WRITTEN.to_owned());
        }
        let is_apart = |class: &&String| !SHARED_KERNEL.iter().any(|shared| class.starts_with(shared));
        let mut classes = placed.iter().filter_map(|pod| Some((pod, pod.runtime_class.as_ref().filter(is_apart)?)));
        if let Some((pod, class)) = classes.next().filter(|_| !self.is_stopped()) {
            cautions.push(format!(
                "pod {} has the runtime class {class}: locks of its databases may not be seen from outside",
                pod.name
            ));
            if !asked {
                cautions.push(APART.to_owned());
            }
        }
        let is_directory = matches!(volume.source, Source::HostPath(_));
        if is_directory && volume.nodes.is_none() && nodes.len() > 1 {
            if !asked {
                let list = nodes.iter().copied().collect::<Vec<_>>().join(", ");
                return no(
                    format!(
                        "it is a directory of whichever node mounts it, and pods on {list} do: nobody knows which is meant"
                    ),
                    format!("give the PersistentVolume a nodeAffinity; if the directory is shared, set {MODE}: live"),
                );
            }
            cautions.push(format!("only the directory of node {name} is read"));
        }
        let reason = format!("pod {} uses it on node {name}", pod.name);
        // Where any number of nodes may mount it, and none holds it, every node will do.
        let anywhere = self.is_shared(volume) && !is_directory;
        if !anywhere {
            self.takes_pods(name)?;
        }
        let node = (!anywhere).then(|| name.to_owned());
        Ok(Yes { way: Way::Live { node, beside: Some(pod.name.clone()) }, reason, cautions })
    }

    /// Whether pods on several nodes may mount it at once.
    fn is_shared(&self, volume: &Volume) -> bool {
        let shared =
            [AccessMode::ReadWriteMany, AccessMode::ReadOnlyMany].iter().any(|mode| self.claim.access.contains(mode));
        shared || matches!(volume.source, Source::Nfs(_))
    }

    fn unused(&self, volume: &Volume) -> Result<Yes, No> {
        let local = matches!(volume.source, Source::HostPath(_) | Source::Local(_));
        let mut cautions = Vec::new();
        if !local && !self.is_shared(volume) {
            cautions.push("an application that starts on another node meanwhile waits until it was read".to_owned());
        }
        let reason = "no pod uses it".to_owned();
        let Some(selector) = &volume.nodes else {
            if local && !self.is_shared(volume) {
                return self.only_node(reason, cautions);
            }
            return Ok(Yes { way: Way::Live { node: None, beside: None }, reason, cautions });
        };
        let candidates: Vec<&Node> = self.facts.nodes.values().filter(|node| fits(selector, node)).collect();
        let Some(first) = candidates.first() else {
            return no(
                "no node is there that its volume can be mounted on",
                format!(
                    "bring its node back, restore the claim from a backup, or leave it out with {BACKUP}: \"false\""
                ),
            );
        };
        let Some(able) = candidates.iter().find(|node| node.ready && !node.cordoned) else {
            return Err(unable(first));
        };
        // With several candidates the scheduler chooses; it knows what is free.
        let node = (candidates.len() == 1).then(|| able.name.clone());
        Ok(Yes { way: Way::Live { node, beside: None }, reason, cautions })
    }

    /// A directory of a node, nobody says of which: with one node it is that one's.
    fn only_node(&self, reason: String, cautions: Vec<String>) -> Result<Yes, No> {
        let mut nodes = self.facts.nodes.values();
        match (nodes.next(), nodes.next()) {
            (Some(node), None) => {
                self.takes_pods(&node.name)?;
                Ok(Yes { way: Way::Live { node: Some(node.name.clone()), beside: None }, reason, cautions })
            }
            _ => no(
                "it is a directory of a node, and neither the PersistentVolume nor a pod says of which",
                "give the PersistentVolume a nodeAffinity, or start the pod that uses it",
            ),
        }
    }

    fn takes_pods(&self, name: &str) -> Result<(), No> {
        match self.facts.nodes.get(name) {
            Some(node) if node.ready && !node.cordoned => Ok(()),
            Some(node) => Err(unable(node)),
            None => no(format!("its node {name} is not there"), "bring the node back"),
        }
    }
}

fn unable(node: &Node) -> No {
    let name = &node.name;
    if node.ready {
        return No {
            why: format!("its node {name} is cordoned and takes no pods"),
            mend: format!("kubectl uncordon {name}"),
        };
    }
    No { why: format!("its node {name} is not ready"), mend: "bring the node back".to_owned() }
}
