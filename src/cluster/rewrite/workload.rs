//! Workloads: what schedulers, admission and controllers added goes.

use serde_json::Value;

use super::metadata::keep;
use crate::cluster::object::{at, items_mut, take, take_fields, take_items, text};

/// Labels that say which run of a job something is of.
const JOB_LABELS: [&str; 4] =
    ["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];
/// Numbers that controllers count for themselves, and begin anew with.
const COUNTED: [&str; 2] = ["deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"];
/// Status that `autoscaling/v1`, which has no fields for it, says in annotations.
const SAID_OF_SCALING: [&str; 2] =
    ["autoscaling.alpha.kubernetes.io/conditions", "autoscaling.alpha.kubernetes.io/current-metrics"];
/// Tolerations that every pod is given.
const TOLERATED: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const TOLERATED_SECONDS: u64 = 300;

fn is_given_toleration(toleration: &Value) -> bool {
    TOLERATED.contains(&text(toleration, &["key"]))
        && text(toleration, &["effect"]) == "NoExecute"
        && at(toleration, &["tolerationSeconds"]).as_u64() == Some(TOLERATED_SECONDS)
}

/// A bare pod: one that nobody makes anew.
pub(super) fn pod(object: &mut Value) {
    for field in ["nodeName", "priority", "ephemeralContainers"] {
        take(object, &["spec", field]);
    }
    take_items(object, &["spec", "tolerations"], is_given_toleration);
    let account = text(object, &["spec", "serviceAccountName"]);
    let tokens = format!("{}-token-", if account.is_empty() { "default" } else { account });
    let is_token = move |name: &str| name.starts_with("kube-api-access-") || name.starts_with(&tokens);
    take_items(object, &["spec", "volumes"], |volume| is_token(text(volume, &["name"])));
    for list in ["containers", "initContainers"] {
        for container in items_mut(object, &["spec", list]) {
            take_items(container, &["volumeMounts"], |mount| is_token(text(mount, &["name"])));
        }
    }
}

pub(super) fn controller(object: &mut Value) {
    take_fields(object, &["metadata", "annotations"], |name| COUNTED.contains(&name));
}

/// Metrics and behaviour are annotations of `autoscaling/v1` too, and a person's: they stay.
pub(super) fn autoscaler(object: &mut Value) {
    take_fields(object, &["metadata", "annotations"], |name| SAID_OF_SCALING.contains(&name));
}

/// The claims of its templates have a state that means nothing.
pub(super) fn stateful_set(object: &mut Value) {
    for template in items_mut(object, &["spec", "volumeClaimTemplates"]) {
        take(template, &["status"]);
        take(template, &["metadata", "creationTimestamp"]);
    }
}

fn selects_itself(job: &Value) -> bool {
    at(job, &["spec", "manualSelector"]) != true
}

/// A job's selector and labels hold its uid; the server makes them anew, unless the selector is a person's.
pub(super) fn job(object: &mut Value) {
    if !selects_itself(object) {
        return;
    }
    take(object, &["spec", "selector"]);
    let is_of_a_run = |name: &str| JOB_LABELS.contains(&name);
    take_fields(object, &["spec", "template", "metadata", "labels"], is_of_a_run);
    take_fields(object, &["metadata", "labels"], is_of_a_run);
}

/// The selector and the template's labels of a job cannot be changed.
pub(super) fn keep_selector(object: &mut Value, live: &Value) {
    if selects_itself(object) {
        keep(object, live, &["spec", "selector"]);
        keep(object, live, &["spec", "template", "metadata"]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bare_pod_loses_its_node_its_token_and_what_admission_gave_it() {
        let mut object = json!({"spec": {
            "serviceAccountName": "app", "nodeName": "n1", "priority": 0, "ephemeralContainers": [{"name": "debug"}],
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "gpu", "operator": "Exists"},
            ],
            "volumes": [{"name": "kube-api-access-x7x7x"}, {"name": "app-token-abcde"}, {"name": "data"}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-x7x7x"}, {"name": "data"}]}],
            "initContainers": [{"name": "i", "volumeMounts": [{"name": "app-token-abcde"}]}],
        }});
        pod(&mut object);
        let expected = json!({"spec": {
            "serviceAccountName": "app", "tolerations": [{"key": "gpu", "operator": "Exists"}], "volumes": [{"name": "data"}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "data"}]}], "initContainers": [{"name": "i"}],
        }});
        assert_eq!(object, expected);
    }

    #[test]
    fn a_toleration_that_a_person_set_stays() {
        let own = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "tolerationSeconds": 30});
        let mut object = json!({"spec": {"tolerations": [own]}});
        let before = object.clone();
        pod(&mut object);
        assert_eq!(object, before);
    }

    #[test]
    fn a_job_loses_the_labels_and_the_selector_of_its_run() {
        let labels = json!({
            "app": "x", "controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "j", "batch.kubernetes.io/job-name": "j",
        });
        let mut object = json!({
            "metadata": {"name": "j", "labels": labels},
            "spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}, "template": {"metadata": {"labels": labels}}},
        });
        job(&mut object);
        let labels = json!({"app": "x"});
        let expected = json!({"metadata": {"name": "j", "labels": labels}, "spec": {"template": {"metadata": {"labels": labels}}}});
        assert_eq!(object, expected);
    }

    #[test]
    fn a_job_with_a_selector_of_its_own_keeps_it() {
        let mut object = json!({"spec": {
            "manualSelector": true, "selector": {"matchLabels": {"job-name": "j"}}, "template": {"metadata": {"labels": {"job-name": "j"}}},
        }});
        let before = object.clone();
        job(&mut object);
        assert_eq!(object, before);
    }

    #[test]
    fn revisions_are_counted_anew() {
        let mut object = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "7", "mine": "1"}}});
        controller(&mut object);
        assert_eq!(object, json!({"metadata": {"annotations": {"mine": "1"}}}));
    }

    #[test]
    fn an_autoscaler_of_the_oldest_version_loses_its_status_and_keeps_what_it_scales_by() {
        let of = |name: &str| format!("autoscaling.alpha.kubernetes.io/{name}");
        let said = ["behavior", "conditions", "current-metrics", "metrics"].map(|name| (of(name), json!("[]")));
        let mut object = json!({"metadata": {"annotations": serde_json::Map::from_iter(said)}});
        autoscaler(&mut object);
        let left: Vec<String> =
            at(&object, &["metadata", "annotations"]).as_object().expect("kept").keys().cloned().collect();
        assert_eq!(left, [of("behavior"), of("metrics")]);
    }

    #[test]
    fn templates_of_claims_have_no_state() {
        let template = json!({"metadata": {"name": "data", "creationTimestamp": null}, "spec": {}, "status": {"phase": "Pending"}});
        let mut object = json!({"spec": {"volumeClaimTemplates": [template]}});
        stateful_set(&mut object);
        assert_eq!(object, json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}}));
    }
}
