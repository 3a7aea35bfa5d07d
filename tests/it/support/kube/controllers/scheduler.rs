//! The scheduler: which node takes a pod, by selector, affinity, volumes and room; and disruption budgets.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::kube::controllers::claims::SELECTED_NODE;
use crate::support::kube::controllers::events::Api;
use crate::support::kube::controllers::is_dying;
use crate::support::kube::controllers::workloads::{has_ended, is_ready};
use crate::support::kube::select::{Selector, node_terms};
use crate::support::kube::state::{State, key_of, now, text};
use crate::support::kube::status::{Cause, Result, Status};

const COMPONENT: &str = "default-scheduler";

pub(crate) fn step(state: &mut State) {
    for pod in state.objects("pods") {
        let waiting = text(&pod["spec"]["nodeName"]).is_empty() && !is_dying(&pod) && !has_ended(&pod);
        if waiting && pod["spec"]["schedulerName"] == COMPONENT && !state.faults.holds_pod(&key_of(&pod)) {
            schedule(state, &pod);
        }
    }
}

fn claims_of(pod: &Value) -> Vec<String> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned)).collect()
}

fn schedule(state: &mut State, pod: &Value) {
    let namespace = text(&pod["metadata"]["namespace"]).to_owned();
    let nodes = state.objects("nodes");
    let none = |why: &str| format!("0/{} nodes are available: {why}", nodes.len());
    let mut claims: Vec<Arc<Value>> = Vec::new();
    for name in claims_of(pod) {
        match state.object("persistentvolumeclaims", &namespace, &name) {
            Some(claim) if is_dying(&claim) => {
                return refuse(
                    state,
                    pod,
                    &none(&format!("persistentvolumeclaim \"{name}\" is being deleted. not found")),
                );
            }
            Some(claim) => claims.push(claim),
            None => {
                return refuse(state, pod, &none(&format!("persistentvolumeclaim \"{name}\" not found. not found")));
            }
        }
    }
    let mut why = String::new();
    let mut fits: Vec<Arc<Value>> = Vec::new();
    for node in &nodes {
        match obstacle(state, pod, node, &claims) {
            None => fits.push(Arc::clone(node)),
            Some(obstacle) => why = obstacle,
        }
    }
    let Some(node) = fits.first() else {
        let text = format!(
            "{} node(s) {why}. no new claims to deallocate, preemption: 0/{} nodes are available: {} Preemption is not helpful for scheduling.",
            nodes.len(),
            nodes.len(),
            nodes.len()
        );
        return refuse(state, pod, &none(&text));
    };
    let node_name = text(&node["metadata"]["name"]).to_owned();
    let mut unbound = false;
    for claim in claims.iter().filter(|claim| claim["status"]["phase"] != "Bound") {
        unbound = true;
        if !waits_for_consumer(state, claim) {
            return refuse(state, pod, &none("pod has unbound immediate PersistentVolumeClaims. not found"));
        }
        if claim["metadata"]["annotations"][SELECTED_NODE].is_null() {
            let name = node_name.clone();
            state.change("kube-scheduler", claim, "", |object| {
                object["metadata"]["annotations"][SELECTED_NODE] = name.into();
            });
        }
    }
    if unbound {
        return;
    }
    state.edit(pod, |object| {
        object["spec"]["nodeName"] = node_name.as_str().into();
        let scheduled =
            json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now()});
        object["status"]["conditions"] = json!([scheduled]);
    });
    let told = format!("Successfully assigned {} to {node_name}", key_of(pod));
    state.report(Api::Events, pod, COMPONENT, "Normal", "Scheduled", &told);
}

fn waits_for_consumer(state: &State, claim: &Value) -> bool {
    let class = state.object("storageclasses.storage.k8s.io", "", text(&claim["spec"]["storageClassName"]));
    class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
}

/// Why a node cannot take a pod.
fn obstacle(state: &State, pod: &Value, node: &Value, claims: &[Arc<Value>]) -> Option<String> {
    let labels = &node["metadata"]["labels"];
    let wanted = pod["spec"]["nodeSelector"].as_object().into_iter().flatten();
    let affinity = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let by_affinity =
        !affinity.is_object() || node_terms(&affinity["nodeSelectorTerms"], labels) && by_name(affinity, node);
    if wanted.into_iter().any(|(key, value)| labels.get(key) != Some(value)) || !by_affinity {
        return Some("didn't match Pod's node affinity/selector".into());
    }
    if node["spec"]["unschedulable"] == true {
        return Some("were unschedulable".into());
    }
    for taint in node["spec"]["taints"].as_array().into_iter().flatten() {
        let tolerates = |toleration: &Value| {
            let key = text(&toleration["key"]);
            let value = toleration["operator"] == "Exists" || toleration["value"] == taint["value"];
            let effect = toleration["effect"].is_null() || toleration["effect"] == taint["effect"];
            (key.is_empty() || taint["key"] == key) && value && effect
        };
        let tolerated = pod["spec"]["tolerations"].as_array().into_iter().flatten().any(tolerates);
        if taint["effect"] != "PreferNoSchedule" && !tolerated {
            return Some(format!("had untolerated taint {{{}: {}}}", text(&taint["key"]), text(&taint["value"])));
        }
    }
    for claim in claims {
        if let Some(why) = taken(state, pod, claim) {
            return Some(why.into());
        }
        let selected = claim["metadata"]["annotations"][SELECTED_NODE].as_str();
        if claim["status"]["phase"] != "Bound" && selected.is_some_and(|selected| node["metadata"]["name"] != selected)
        {
            return Some("had volume node affinity conflict".into());
        }
        let Some(volume) =
            claim["spec"]["volumeName"].as_str().and_then(|name| state.object("persistentvolumes", "", name))
        else {
            continue;
        };
        let required = &volume["spec"]["nodeAffinity"]["required"];
        if required.is_object() && !node_terms(&required["nodeSelectorTerms"], labels) {
            return Some("didn't match PersistentVolume's node affinity".into());
        }
    }
    None
}

/// A claim of one pod only: no second one is placed while one that has a node and has not ended refers to it (the plugin `VolumeRestrictions`).
fn taken(state: &State, pod: &Value, claim: &Value) -> Option<&'static str> {
    let of_one = claim["spec"]["accessModes"].as_array()?.iter().any(|mode| mode == "ReadWriteOncePod");
    let has_it = |other: &Arc<Value>| {
        other["metadata"]["uid"] != pod["metadata"]["uid"]
            && other["metadata"]["namespace"] == claim["metadata"]["namespace"]
            && !text(&other["spec"]["nodeName"]).is_empty()
            && !has_ended(other)
            && claims_of(other).iter().any(|name| claim["metadata"]["name"] == name.as_str())
    };
    let taken = of_one && state.objects("pods").iter().any(has_it);
    taken.then_some("has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode")
}

fn by_name(affinity: &Value, node: &Value) -> bool {
    let mut fields = affinity["nodeSelectorTerms"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|term| term["matchFields"].as_array().cloned().unwrap_or_default());
    fields.all(|field| field["values"].as_array().is_some_and(|values| values.contains(&node["metadata"]["name"])))
}

fn refuse(state: &mut State, pod: &Value, why: &str) {
    let known =
        pod["status"]["conditions"].as_array().into_iter().flatten().any(|condition| condition["message"] == why);
    if known {
        return;
    }
    state.change("kube-scheduler", pod, "status", |object| {
        object["status"]["conditions"] = json!([{
            "type": "PodScheduled", "observedGeneration": object["metadata"]["generation"], "status": "False", "lastProbeTime": null, "lastTransitionTime": now(),
            "reason": "Unschedulable", "message": why,
        }]);
    });
    state.report(Api::Events, pod, COMPONENT, "Warning", "FailedScheduling", why);
}

impl State {
    /// Whether a disruption budget lets a pod be evicted.
    pub(crate) fn check_budget(&self, pod: &Value) -> Result<()> {
        let namespace = &pod["metadata"]["namespace"];
        for budget in self.objects("poddisruptionbudgets.policy") {
            let selector = Selector::of(&budget["spec"]["selector"]);
            if budget["metadata"]["namespace"] != *namespace || !selector.matches(pod) {
                continue;
            }
            let mine = |other: &&Arc<Value>| other["metadata"]["namespace"] == *namespace && selector.matches(other);
            let pods: Vec<_> = self.objects("pods");
            let pods: Vec<_> = pods.iter().filter(mine).collect();
            let healthy = pods.iter().filter(|pod| is_ready(pod)).count();
            let expected = pods.len();
            let share = |value: &Value| -> Option<usize> {
                match value.as_str().and_then(|text| text.strip_suffix('%')) {
                    Some(percent) => percent.parse::<usize>().ok().map(|percent| (expected * percent).div_ceil(100)),
                    None => value.as_u64().and_then(|count| usize::try_from(count).ok()),
                }
            };
            let least = share(&budget["spec"]["minAvailable"])
                .or_else(|| share(&budget["spec"]["maxUnavailable"]).map(|most| expected.saturating_sub(most)))
                .unwrap_or(0);
            if is_ready(pod) && healthy <= least {
                let text_of = "Cannot evict pod as it would violate the pod's disruption budget.";
                let name = text(&budget["metadata"]["name"]);
                let told =
                    format!("The disruption budget {name} needs {least} healthy pods and has {healthy} currently");
                let mut status = Status::new(429, "TooManyRequests", text_of);
                status.body["details"] = json!({});
                return Err(status.because(&[Cause::new("DisruptionBudget", "", told)]));
            }
        }
        Ok(())
    }

    /// Writes into a pod why it is about to go.
    pub(crate) fn mark_disrupted(&mut self, pod: &Value, reason: &str, message: &str) {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "lastProbeTime": null, "lastTransitionTime": now(), "reason": reason,
            "message": message,
        });
        self.edit(pod, |object| match object["status"]["conditions"].as_array_mut() {
            Some(list) => list.push(condition),
            None => object["status"]["conditions"] = json!([condition]),
        });
    }
}
