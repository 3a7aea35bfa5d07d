//! What cannot be changed into what the snapshot has is deleted and made anew, where somebody asked for that (`--existing recreate`).
//!
//! Only kinds whose deletion takes nothing along but what the cluster makes of them again (pods, replica sets, endpoint slices). What holds data, or has others make or remove something when it
//! goes, stays in conflict: a claim or its volume, a namespace, a definition, every custom object, whatever a finalizer waits for, and the owner of a claim. Before anything is
//! deleted the server is asked whether it would take the new one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::act::{Acting, Failed};
use super::fate::Fate;
use super::link::Resolved;
use super::plan::Step;
use crate::base::causes::in_one_line;
use crate::cluster::list::whole;
use crate::cluster::object::{at, items, name_of, namespace_of, text, uid_of};
use crate::cluster::rewrite::as_restored;
use crate::cluster::{Cluster, ClusterError, Deleted, How, Kind};
use crate::hooks::scale::deletes_claims_at_scale_down;
use crate::volumes::kinds;

/// How long something may take to be gone: pods of a workload have half a minute to end, and what belongs to the object goes after it.
pub(super) const GONE_TIME_MAX: Duration = Duration::from_mins(2);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Groups and kinds that may go.
const MAY_GO: [(&str, &[&str]); 12] = [
    (
        "",
        &[
            "ConfigMap",
            "Secret",
            "Service",
            "ReplicationController",
            "Pod",
            "PodTemplate",
            "LimitRange",
            "ResourceQuota",
        ],
    ),
    ("apps", &["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"]),
    ("batch", &["Job", "CronJob"]),
    ("rbac.authorization.k8s.io", &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]),
    ("networking.k8s.io", &["Ingress", "IngressClass", "NetworkPolicy"]),
    ("policy", &["PodDisruptionBudget"]),
    ("autoscaling", &["HorizontalPodAutoscaler"]),
    ("storage.k8s.io", &["StorageClass", "CSIDriver"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("admissionregistration.k8s.io", &["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"]),
    ("snapshot.storage.k8s.io", &["VolumeSnapshotClass"]),
];

/// Why an object is not deleted, by its kind and by itself.
pub(super) fn refusal(kind: &Kind, live: &Value) -> Option<String> {
    let may_go = MAY_GO.iter().any(|(group, names)| kind.group == *group && names.contains(&kind.name.as_str()));
    if !may_go {
        return Some(match (kind.group.as_str(), kind.name.as_str()) {
            ("", "PersistentVolumeClaim" | "PersistentVolume" | "Namespace")
            | ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                "it is not deleted for that: data would go with it".to_owned()
            }
            _ => "it is not deleted for that: nobody knows what would go with it".to_owned(),
        });
    }
    if let Some(finalizer) = items(live, &["metadata", "finalizers"]).iter().find_map(Value::as_str) {
        return Some(format!("it is not deleted for that: its finalizer {finalizer} has somebody act on it"));
    }
    let policy = ["spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"];
    if text(live, &policy) == "Delete" || deletes_claims_at_scale_down(live) {
        return Some("it is not deleted for that: it would take its claims along".to_owned());
    }
    None
}

/// The objects that would go with what is deleted: of the plan, and claims of the cluster. Those are in conflict after all.
pub(super) async fn settle(cluster: &dyn Cluster, steps: &mut [Step]) -> Result<(), ClusterError> {
    let is_one = |step: &Step| matches!(step.fate, Fate::Recreate { .. });
    if !steps.iter().any(is_one) {
        return Ok(());
    }
    let mut owned: Vec<(String, String)> = Vec::new();
    let mut own = |what: String, object: &Value| {
        let owners = items(object, &["metadata", "ownerReferences"]).iter();
        owned.extend(owners.map(|owner| (text(owner, &["uid"]).to_owned(), what.clone())));
    };
    for step in steps.iter() {
        if let Some(live) = &step.live {
            own(step.object.to_string(), live);
        }
    }
    let claim = |object: Value| {
        let what = format!("claim {}/{}", namespace_of(&object).unwrap_or_default(), name_of(&object));
        (!items(&object, &["metadata", "ownerReferences"]).is_empty()).then_some((what, object))
    };
    for (what, object) in whole(cluster, &kinds::claims(), claim).await? {
        own(what, &object);
    }
    for step in steps.iter_mut().filter(|step| is_one(step)) {
        let uid = step.live.as_ref().map(uid_of).unwrap_or_default();
        let theirs: BTreeSet<&str> =
            owned.iter().filter(|(owner, _)| owner == uid).map(|(_, what)| what.as_str()).collect();
        if let (Some(first), Fate::Recreate { because, .. }) = (theirs.first(), &step.fate) {
            let why = format!("{because}; it is not deleted for that: {first} belongs to it, and would go with it");
            step.fate = Fate::Conflict { why };
        }
    }
    Ok(())
}

/// What came of the question whether an object could be made anew.
pub(super) enum Asked {
    Yes,
    No(String),
}

/// Asks the server whether it would take the object, as if it were not there: it says that it is there only when it takes everything else of it.
pub(super) async fn would_take(cluster: &dyn Cluster, kind: &Kind, object: &Value) -> Result<Asked, ClusterError> {
    match cluster.create(kind, object, How::Trial).await {
        Ok(_) => Ok(Asked::Yes),
        Err(ClusterError::Refused { status, message, .. }) if status != 401 => {
            Ok(Asked::No(format!("it could not be made anew: {message}")))
        }
        Err(error) => Err(error),
    }
}

impl Acting<'_> {
    /// Deletes what the plan saw, if it is still that, waits until it is gone, and makes it anew. Killed in between, another run of the same finds nothing there and makes it.
    pub(super) async fn recreate(&self, step: &Step, owners: &Resolved, limit: Duration) -> Result<Value, Failed> {
        let (kind, object) = (&step.kind, &step.rewritten.object);
        let seen = step.live.as_ref().unwrap_or(&Value::Null);
        let live = self.again(step).await?;
        let is_other = uid_of(&live) != uid_of(seen);
        if is_other || as_restored(kind, &live, object) != as_restored(kind, seen, object) {
            return Err(Failed::Otherwise("it was changed since the plan was made".to_owned()));
        }
        if let Some(why) = refusal(kind, &live) {
            return Err(Failed::Otherwise(why));
        }
        if let Asked::No(why) = would_take(self.cluster, kind, object).await? {
            return Err(Failed::Refused(format!("{why}; it was left as it is")));
        }
        let (namespace, uid) = (step.object.namespace.as_deref(), uid_of(seen));
        let deleted = self.cluster.delete(kind, namespace, &step.object.name, uid).await;
        if deleted? == Deleted::Going {
            self.until_gone(step, uid, limit).await?;
        }
        match self.create(step, owners).await {
            Err(Failed::Refused(why) | Failed::Missing(why) | Failed::Unconverted(why)) => {
                Err(Failed::Refused(format!(
                    "IT IS GONE: it was deleted to be made anew, and that was refused: {why}. Run the same restore again to bring it back"
                )))
            }
            Err(Failed::Away(error)) => Err(Failed::Gone(format!(
                "IT IS GONE: it was deleted to be made anew, and the cluster went away: {}. Run the same restore again to bring it back",
                in_one_line(&error)
            ))),
            done => done,
        }
    }

    async fn until_gone(&self, step: &Step, uid: &str, limit: Duration) -> Result<(), Failed> {
        let begun = Instant::now();
        loop {
            let found = self.cluster.get(&step.kind, step.object.namespace.as_deref(), &step.object.name).await?;
            let Some(found) = found.filter(|found| uid_of(found) == uid) else { return Ok(()) };
            if begun.elapsed() >= limit {
                let held = items(&found, &["metadata", "finalizers"]).iter().filter_map(Value::as_str);
                let held: Vec<&str> = held.collect();
                let by =
                    if held.is_empty() { "nobody says by what".to_owned() } else { format!("by {}", held.join(", ")) };
                let since = at(&found, &["metadata", "deletionTimestamp"]).as_str().unwrap_or_default();
                return Err(Failed::Refused(format!(
                    "it is being deleted since {since}, and is kept, {by}. See to that; when it is gone, the same restore makes it anew"
                )));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    #[test]
    fn what_takes_data_or_others_along_is_never_deleted() {
        let kind = |group: &str, name: &str| example(group, "things", name);
        let plain = json!({"metadata": {"name": "x"}});
        for (group, name) in [
            ("", "PersistentVolumeClaim"),
            ("", "PersistentVolume"),
            ("", "Namespace"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ] {
            let why = refusal(&kind(group, name), &plain).expect("it is refused");
            assert!(why.contains("data would go with it"), "{name}: {why}");
        }
        for (group, name) in [
            ("postgresql.cnpg.io", "Cluster"),
            ("snapshot.storage.k8s.io", "VolumeSnapshot"),
            ("", "ServiceAccount"),
            // A kind of that name in another group is another kind.
            ("acme.example", "Deployment"),
        ] {
            assert!(refusal(&kind(group, name), &plain).is_some(), "{name}");
        }
        let deployment = kind("apps", "Deployment");
        assert_eq!(refusal(&deployment, &plain), None);
        let held = json!({"metadata": {"name": "x", "finalizers": ["acme.example/cleanup"]}});
        assert!(refusal(&deployment, &held).is_some_and(|why| why.contains("acme.example/cleanup")));
        for when in ["whenDeleted", "whenScaled"] {
            let set =
                json!({"metadata": {"name": "x"}, "spec": {"persistentVolumeClaimRetentionPolicy": {when: "Delete"}}});
            assert!(refusal(&kind("apps", "StatefulSet"), &set).is_some_and(|why| why.contains("claims along")));
        }
    }
}
