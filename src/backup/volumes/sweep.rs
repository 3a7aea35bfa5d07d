//! What earlier runs left behind, because they were killed or could not reach the API server, is taken away once it is nobody's. What a run that lives has made
//! it keeps saying is its own.

use serde_json::Value;

use crate::base::clock::Time;
use crate::cluster::list::collect;
use crate::cluster::object::{annotation, label, name_of, namespace_of, uid_of};
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::volumes as ways;
use crate::volumes::labels::{EXPIRES, MANAGED_BY, MANAGER, RUN};

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Swept {
    /// What was taken away.
    pub removed: Vec<String>,
    /// What should have been, and why it was not.
    pub failed: Vec<String>,
}

impl From<ways::sweep::Swept> for Swept {
    fn from(swept: ways::sweep::Swept) -> Self {
        let failed = swept.left.into_iter().map(|left| format!("{}: {}", left.what, left.why)).collect();
        Self { removed: swept.removed, failed }
    }
}

impl Swept {
    pub(super) fn tell(&self, warn: &(dyn Fn(&str) + Sync)) {
        if !self.removed.is_empty() {
            warn(&format!(
                "an earlier run was cut off and left these, which were removed: {}",
                self.removed.join(", ")
            ));
        }
        for failed in &self.failed {
            warn(&format!("what an earlier run left could not be removed: {failed}"));
        }
    }
}

/// What is ours, with its namespace, name and uid, and whether it is nobody's by now.
struct Ours {
    namespace: String,
    name: String,
    uid: String,
    expired: bool,
}

fn ours(object: &Value, now: Time) -> Option<Ours> {
    if label(object, MANAGED_BY) != MANAGER || label(object, RUN).is_empty() {
        return None;
    }
    let expires = chrono::DateTime::parse_from_rfc3339(annotation(object, EXPIRES));
    Some(Ours {
        namespace: namespace_of(object)?.to_owned(),
        name: name_of(object).to_owned(),
        uid: uid_of(object).to_owned(),
        // Ours without a time is left to people.
        expired: expires.is_ok_and(|time| time.timestamp_millis() <= now.0),
    })
}

/// Takes away expired pods of movers, and their policies once the pods are gone.
pub async fn sweep(cluster: &dyn Cluster, now: Time) -> Result<Swept, ClusterError> {
    let mut swept = Swept::default();
    let pods = ways::kinds::pods();
    let of_pods = collect(cluster, &pods, usize::MAX, |object| ours(&object, now)).await?;
    let lives = |policy: &Ours| {
        of_pods.iter().any(|pod| (&pod.namespace, &pod.name) == (&policy.namespace, &policy.name) && !pod.expired)
    };
    for pod in of_pods.iter().filter(|pod| pod.expired) {
        remove(cluster, &pods, pod, &mut swept).await;
    }
    for kind in [ways::policy::kind(), ways::cilium::kind()] {
        let policies = match collect(cluster, &kind, usize::MAX, |object| ours(&object, now)).await {
            // A cluster without Cilium.
            Err(error) if error.is_missing() => continue,
            policies => policies?,
        };
        for policy in policies.iter().filter(|policy| policy.expired && !lives(policy)) {
            remove(cluster, &kind, policy, &mut swept).await;
        }
    }
    Ok(swept)
}

async fn remove(cluster: &dyn Cluster, kind: &Kind, object: &Ours, swept: &mut Swept) {
    let Ours { namespace, name, uid, .. } = object;
    match cluster.delete(kind, Some(namespace), name, uid).await {
        Ok(_) => swept.removed.push(format!("{kind} {namespace}/{name}")),
        Err(error) => swept.failed.push(format!("{kind} {namespace}/{name}: {error}")),
    }
}
