//! What earlier runs left behind, because they were killed or could not reach the API server, is taken away once it is nobody's. What a run that lives has made
//! it keeps saying is its own.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Limits, away};
use crate::base::causes::in_one_line;
use crate::base::clock::Time;
use crate::cluster::list::whole_of;
use crate::cluster::object::{name_of, namespace_of, text, uid_of};
use crate::cluster::ours::{MANAGED_BY, MANAGER, is_ours};
use crate::cluster::{Cluster, ClusterError, Deleted, Kind, Which};
use crate::volumes::run::expires_of;
use crate::volumes::sweep::Swept;
use crate::volumes::{Left, cilium, kinds, policy};

/// What may be ours.
const OURS: Which<'static> = Which::labelled(&[(MANAGED_BY, MANAGER)]);
/// How much later than it was to be gone something is still on its way.
const LATE: Duration = Duration::from_mins(1);

impl Swept {
    /// Tells what was removed, and gives what was not.
    pub fn tell(self, warn: &(dyn Fn(&str) + Sync)) -> Vec<Left> {
        if !self.removed.is_empty() {
            warn(&format!(
                "an earlier run was cut off and left these, which were removed: {}",
                self.removed.join(", ")
            ));
        }
        self.left
    }
}

/// What is ours, with its namespace, name and uid, and whether it is nobody's by now.
struct Ours {
    namespace: String,
    name: String,
    uid: String,
    expired: bool,
    /// By when it was to be gone, if it was told to go.
    dying: Option<Time>,
}

fn ours(object: &Value, now: Time) -> Option<Ours> {
    if !is_ours(object) {
        return None;
    }
    Some(Ours {
        namespace: namespace_of(object)?.to_owned(),
        name: name_of(object).to_owned(),
        uid: uid_of(object).to_owned(),
        // Ours without a time is left to people.
        expired: expires_of(object).is_some_and(|end| end <= now),
        dying: Time::parse(text(object, &["metadata", "deletionTimestamp"])),
    })
}

/// Takes away expired pods of movers, and their policies once the pods are gone: a pod that is told to end stores what it has read, and its policy lets it until then.
pub async fn sweep(cluster: &dyn Cluster, now: Time, limits: &Limits) -> Result<Swept, ClusterError> {
    let mut swept = Swept::default();
    let pods = kinds::pods();
    let mut of_pods = whole_of(cluster, &pods, OURS, |object| ours(&object, now)).await?;
    let mut ending = Vec::new();
    for pod in of_pods.iter().filter(|pod| pod.expired) {
        if remove(cluster, &pods, pod, now, &mut swept).await == Some(Deleted::Going) {
            ending.push((pod.namespace.clone(), pod.name.clone(), pod.uid.clone()));
        }
    }
    until_gone(cluster, ending, limits).await;
    if of_pods.iter().any(|pod| pod.expired) {
        of_pods = whole_of(cluster, &pods, OURS, |object| ours(&object, now)).await?;
    }
    // One that does not go, on a node that is away, keeps its policy for a later run.
    let has_pod =
        |policy: &Ours| of_pods.iter().any(|pod| (&pod.namespace, &pod.name) == (&policy.namespace, &policy.name));
    for kind in [policy::kind(), cilium::kind()] {
        let policies = match whole_of(cluster, &kind, OURS, |object| ours(&object, now)).await {
            // A cluster without Cilium.
            Err(error) if error.is_missing() => continue,
            policies => policies?,
        };
        for policy in policies.iter().filter(|policy| policy.expired && !has_pod(policy)) {
            remove(cluster, &kind, policy, now, &mut swept).await;
        }
    }
    Ok(swept)
}

/// Waits for pods that were told to go, all together no longer than for one of our own. What cannot be looked at is taken for there.
async fn until_gone(cluster: &dyn Cluster, mut ending: Vec<(String, String, String)>, limits: &Limits) {
    let begun = Instant::now();
    while let Some((namespace, name, uid)) = ending.last() {
        match cluster.get(&kinds::pods(), Some(namespace), name).await {
            Ok(pod) if pod.as_ref().is_none_or(|pod| uid_of(pod) != uid) => {
                ending.pop();
            }
            _ if begun.elapsed() >= limits.gone => return,
            _ => sleep(limits.poll).await,
        }
    }
}

/// What became of it; `None` if it was told to go before, or cannot be.
async fn remove(cluster: &dyn Cluster, kind: &Kind, ours: &Ours, now: Time, swept: &mut Swept) -> Option<Deleted> {
    let Ours { namespace, name, uid, .. } = ours;
    // To be told to go once more changes nothing.
    if let Some(end) = ours.dying {
        if end.after(LATE) <= now
            && let Ok(Some(object)) = cluster.get(kind, Some(namespace), name).await
            && uid_of(&object) == uid
        {
            swept.left.push(away::still_there(cluster, kind, &object).await);
        }
        return None;
    }
    match cluster.delete(kind, Some(namespace), name, uid).await {
        Ok(deleted) => {
            swept.removed.push(format!("{kind} {namespace}/{name}"));
            Some(deleted)
        }
        Err(error) => {
            swept.left.push(Left::object(kind, namespace, name, in_one_line(&error)));
            None
        }
    }
}
