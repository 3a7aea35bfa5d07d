//! What earlier runs left behind, because they were killed or could not reach the API server, is taken away once it is nobody's. What a run that lives has made
//! it keeps saying is its own.

use std::time::Duration;

use serde_json::Value;

use super::away;
use crate::base::clock::Time;
use crate::cluster::error::told;
use crate::cluster::list::collect;
use crate::cluster::object::{annotation, label, name_of, namespace_of, text, uid_of};
use crate::cluster::{Cluster, ClusterError};
use crate::volumes::Left;
use crate::volumes::kinds::{pods as pods_kind, policies as policies_kind};
use crate::volumes::labels::{EXPIRES, MANAGED_BY, MANAGER, RUN};
use crate::volumes::sweep::Swept;

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
    let (pods, policies) = (pods_kind(), policies_kind());
    let of_pods = collect(cluster, &pods, usize::MAX, |object| ours(&object, now)).await?;
    let of_policies = collect(cluster, &policies, usize::MAX, |object| ours(&object, now)).await?;
    let lives = |policy: &Ours| {
        of_pods.iter().any(|pod| (&pod.namespace, &pod.name) == (&policy.namespace, &policy.name) && !pod.expired)
    };
    let doomed_policies = of_policies.iter().filter(|policy| policy.expired && !lives(policy));
    let doomed = of_pods.iter().filter(|pod| pod.expired).map(|pod| (&pods, pod));
    for (kind, object) in doomed.chain(doomed_policies.map(|policy| (&policies, policy))) {
        let Ours { namespace, name, uid, .. } = object;
        // To be told to go once more changes nothing.
        if let Some(end) = object.dying {
            if end.after(LATE) <= now
                && let Ok(Some(object)) = cluster.get(kind, Some(namespace), name).await
                && uid_of(&object) == uid
            {
                swept.left.push(away::still_there(cluster, kind, &object).await);
            }
            continue;
        }
        match cluster.delete(kind, Some(namespace), name, uid).await {
            Ok(_) => swept.removed.push(format!("{kind} {namespace}/{name}")),
            Err(error) => swept.left.push(Left::object(kind, namespace, name, told(&error))),
        }
    }
    Ok(swept)
}
