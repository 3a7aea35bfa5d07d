//! The nodes: they run a scheduled pod by starting its containers' commands as processes of this machine.
//!
//! What it cannot do without privileges, it does differently, and a test can know how:
//! - **Mounts.** Nothing is mounted. Each volume is a folder; wherever a mount path stands in a container's `command`, `args` or
//!   `env` (whole or as the beginning of a path), the folder stands instead. `HOMELAB_DR_MOUNTS` holds all of them as a JSON object,
//!   mount path to folder.
//! - **Devices.** A raw volume is a regular file, which stands wherever its device path does. It has a length as a device has, by seeking to its end, and is root's; what it does not
//!   model: that it is a block device for `stat` and cannot be made longer or cut, that it is read and written in sectors, that a container may open it for reading only if its claim
//!   is `readOnly`, and that a runtime may be set to give it to the pod's user. Who opens a path of no device creates nothing on a real node, and must not here.
//! - **Images.** An image is a program of this machine, by [`Node::images`]; it is what runs when there is no `command`, before `args`.
//!   Without an entry only `command` runs. Images in [`Node::absent`] cannot be pulled.
//! - **Users** have no effect but with [`Node::users`]: then a process has the user, group and supplemental groups of its pod, and a claim's volume belongs to its `fsGroup`, unless it is hostPath or NFS, which a kubelet leaves alone. It takes root.
//! - **Limits, read-only mounts and capabilities** are accepted and have no effect. Pods share the machine's network; only the way to the API's Service obeys policies ([`network`]).
//! - **Environment.** Only what the pod says, `PATH`, and with a service account token `KUBECONFIG`, for there is no well-known path.

pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod process;
mod run;
mod status;
pub(crate) mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::support::kube::node::process::Container;
use crate::support::kube::server::Shared;
use crate::support::kube::state::{key_of, text};

#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// Program of each image that has one.
    pub(crate) images: BTreeMap<String, PathBuf>,
    /// Images that no registry has.
    pub(crate) absent: BTreeSet<String>,
    /// Pods run as the users that they name.
    pub(crate) users: bool,
}

/// A pod on a node.
#[derive(Default)]
pub(crate) struct PodRun {
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    /// Why the node is to end it, if it is.
    evicted: Mutex<Option<String>>,
}

impl PodRun {
    pub(crate) fn container(&self, name: &str) -> Option<Arc<Container>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn put(&self, name: &str, container: Arc<Container>) {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), container);
    }

    fn all(&self) -> Vec<Arc<Container>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The node ends the pod, as it does when it runs out of something.
    pub(crate) fn evict(&self, why: &str) {
        *self.evicted.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    pub(crate) fn eviction(&self) -> Option<String> {
        self.evicted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Everything that runs, by uid of the pod.
#[derive(Default)]
pub(crate) struct Pods(BTreeMap<String, Arc<PodRun>>);

impl Pods {
    pub(crate) fn get(&self, uid: &str) -> Option<Arc<PodRun>> {
        self.0.get(uid).cloned()
    }

    pub(crate) fn kill_all(&self) {
        self.0.values().flat_map(|pod| pod.all()).for_each(|container| container.kill());
    }

    /// How many processes run now.
    pub(crate) fn running(&self) -> usize {
        self.0.values().flat_map(|pod| pod.all()).filter(|container| container.exit().is_none()).count()
    }
}

/// Starts what was scheduled since the last look, and forgets what is gone.
pub(crate) fn step(shared: &Arc<Shared>) {
    let new: Vec<(String, Arc<PodRun>)> = shared.with(|state| {
        let mut new = Vec::new();
        let pods = state.objects("pods");
        for pod in &pods {
            let uid = text(&pod["metadata"]["uid"]);
            let ended = matches!(text(&pod["status"]["phase"]), "Succeeded" | "Failed");
            if text(&pod["spec"]["nodeName"]).is_empty() || ended || state.pods.0.contains_key(uid) {
                continue;
            }
            let run = Arc::new(PodRun::default());
            state.pods.0.insert(uid.to_owned(), Arc::clone(&run));
            new.push((key_of(pod), run));
        }
        let present: BTreeSet<&str> = pods.iter().map(|pod| text(&pod["metadata"]["uid"])).collect();
        state.pods.0.retain(|uid, run| {
            let lives = present.contains(uid.as_str());
            if !lives {
                run.all().iter().for_each(|container| container.kill());
            }
            lives
        });
        new
    });
    for (key, pod) in new {
        tokio::spawn(run::run(Arc::clone(shared), key, pod));
    }
}
