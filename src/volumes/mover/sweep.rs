//! What earlier runs left behind, because they were killed or could not reach the API server, is taken away once it is nobody's. What a run that lives has made
//! it keeps saying is its own.

use std::time::Duration;

use serde_json::Value;

use super::away;
use crate::base::clock::Time;
use crate::cluster::error::told;
use crate::cluster::list::collect;
use crate::cluster::object::{annotation, label, name_of, namespace_of, text, uid_of};
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::volumes::labels::{EXPIRES, MANAGED_BY, MANAGER, RUN};
use crate::volumes::sweep::Swept;
use crate::volumes::{Left, cilium, kinds, policy};

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
    if label(object, MANAGED_BY) != MANAGER || label(object, RUN).is_empty() {
        return None;
    }
    let time = |text: &str| chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| Time(time.timestamp_millis()));
    Some(Ours {
        namespace: namespace_of(object)?.to_owned(),
        name: name_of(object).to_owned(),
        uid: uid_of(object).to_owned(),
        // Ours without a time is left to people.
        expired: time(annotation(object, EXPIRES)).is_some_and(|end| end <= now),
        dying: time(text(object, &["metadata", "deletionTimestamp"])),
    })
}

/// Takes away expired pods of movers, and their policies once the pods are gone.
pub async fn sweep(cluster: &dyn Cluster, now: Time) -> Result<Swept, ClusterError> {
    let mut swept = Swept::default();
    let pods = kinds::pods();
    let of_pods = collect(cluster, &pods, usize::MAX, |object| ours(&object, now)).await?;
    let lives = |policy: &Ours| {
        of_pods.iter().any(|pod| (&pod.namespace, &pod.name) == (&policy.namespace, &policy.name) && !pod.expired)
    };
    for pod in of_pods.iter().filter(|pod| pod.expired) {
        remove(cluster, &pods, pod, now, &mut swept).await;
    }
    for kind in [policy::kind(), cilium::kind()] {
        let policies = match collect(cluster, &kind, usize::MAX, |object| ours(&object, now)).await {
            // A cluster without Cilium.
            Err(error) if error.is_missing() => continue,
            policies => policies?,
        };
        for policy in policies.iter().filter(|policy| policy.expired && !lives(policy)) {
            remove(cluster, &kind, policy, now, &mut swept).await;
        }
    }
    Ok(swept)
}

async fn remove(cluster: &dyn Cluster, kind: &Kind, ours: &Ours, now: Time, swept: &mut Swept) {
    let Ours { namespace, name, uid, .. } = ours;
    // To be told to go once more changes nothing.
    if let Some(end) = ours.dying {
        if end.after(LATE) <= now
            && let Ok(Some(object)) = cluster.get(kind, Some(namespace), name).await
            && uid_of(&object) == uid
        {
            swept.left.push(away::still_there(cluster, kind, &object).await);
        }
        return;
    }
    match cluster.delete(kind, Some(namespace), name, uid).await {
        Ok(_) => swept.removed.push(format!("{kind} {namespace}/{name}")),
        Err(error) => swept.left.push(Left::object(kind, namespace, name, told(&error))),
    }
}
