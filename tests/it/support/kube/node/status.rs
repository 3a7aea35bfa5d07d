//! How a node writes down a pod's state.

use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::kube::node::process::Container;
use crate::support::kube::state::{now, stamp, text};

/// What is known of one container.
#[derive(Clone)]
pub(crate) enum Seen {
    Waiting(&'static str, String),
    Running(Arc<Container>),
    Ended(Arc<Container>),
}

/// What is known of a pod.
pub(crate) struct View<'a> {
    pub(crate) phase: &'a str,
    /// Its network is there.
    pub(crate) sandbox: bool,
    pub(crate) initialized: bool,
    pub(crate) containers: Vec<(&'a Value, Seen, u64, Option<Arc<Container>>)>,
    pub(crate) inits: Vec<(&'a Value, Seen)>,
    pub(crate) reason: Option<(&'a str, String)>,
}

fn id(container: &Container) -> String {
    let digest = Sha256::digest(format!("{:p}{}", std::ptr::from_ref(container), container.started));
    format!("containerd://{}", data_encoding::HEXLOWER.encode(&digest))
}

fn terminated(container: &Container) -> Value {
    let Some(exit) = container.exit() else { return json!({}) };
    let reason = if exit.code == 0 { "Completed" } else { "Error" };
    json!({
        "exitCode": exit.code, "reason": reason, "startedAt": stamp(container.started), "finishedAt": stamp(exit.at),
        "containerID": id(container),
    })
}

fn container_status(container: &Value, seen: &Seen, restarts: u64, last: Option<&Arc<Container>>) -> Value {
    let running = matches!(seen, Seen::Running(_));
    let state = match seen {
        Seen::Waiting(reason, message) if message.is_empty() => json!({"waiting": {"reason": reason}}),
        Seen::Waiting(reason, message) => json!({"waiting": {"reason": reason, "message": message}}),
        Seen::Running(process) => json!({"running": {"startedAt": stamp(process.started)}}),
        Seen::Ended(process) => json!({"terminated": terminated(process)}),
    };
    let mounts: Vec<Value> = container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|mount| {
            let mut status = json!({"name": mount["name"], "mountPath": mount["mountPath"]});
            if mount["readOnly"] == true {
                status["readOnly"] = true.into();
                status["recursiveReadOnly"] = "Disabled".into();
            }
            status
        })
        .collect();
    let mut status = json!({
        "name": container["name"], "state": state, "lastState": last.map_or(json!({}), |last| json!({"terminated": terminated(last)})),
        "ready": running, "restartCount": restarts, "image": container["image"], "imageID": "", "started": running,
    });
    if !mounts.is_empty() {
        status["volumeMounts"] = Value::Array(mounts);
    }
    if let Seen::Running(process) | Seen::Ended(process) = seen {
        let user = container["securityContext"]["runAsUser"].as_u64().unwrap_or(0);
        status["containerID"] = id(process).into();
        let digest = Sha256::digest(text(&container["image"]));
        status["imageID"] = format!("sha256:{}", data_encoding::HEXLOWER.encode(&digest)).into();
        status["resources"] = container["resources"].clone();
        status["user"] = json!({"linux": {"uid": user, "gid": 0, "supplementalGroups": [0]}});
    }
    status
}

/// The whole status; what stays as it was keeps its time.
pub(crate) fn status(pod: &Value, view: &View<'_>, address: &str) -> Value {
    let generation = &pod["metadata"]["generation"];
    let ended = matches!(view.phase, "Succeeded" | "Failed");
    let running = |(_, seen, _, _): &(&Value, Seen, u64, Option<Arc<Container>>)| matches!(seen, Seen::Running(_));
    let all_ended = view.containers.iter().all(|(_, seen, _, _)| matches!(seen, Seen::Ended(_)));
    let failed = view.containers.iter().any(
        |(_, seen, _, _)| matches!(seen, Seen::Ended(process) if process.exit().is_some_and(|exit| exit.code != 0)),
    );
    let ready = view.containers.iter().all(running);
    let over = match (ended || all_ended, failed) {
        (true, true) => Some("PodFailed"),
        (true, false) => Some("PodCompleted"),
        _ => None,
    };
    let unready = match over {
        Some(reason) => (reason, String::new()),
        None => {
            let names: Vec<&str> = view
                .containers
                .iter()
                .filter(|container| !running(container))
                .map(|(c, _, _, _)| text(&c["name"]))
                .collect();
            ("ContainersNotReady", format!("containers with unready status: [{}]", names.join(" ")))
        }
    };
    let before = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let condition = |kind: &str, is: bool, reason: &str, message: &str| {
        let value = if is { "True" } else { "False" };
        let old = before.iter().find(|old| old["type"] == kind && old["status"] == value);
        let since = old.map_or_else(|| now().into(), |old| old["lastTransitionTime"].clone());
        let mut condition = json!({
            "type": kind, "observedGeneration": generation, "status": value, "lastProbeTime": null, "lastTransitionTime": since,
        });
        for (field, text) in [("reason", reason), ("message", message)] {
            if !text.is_empty() {
                condition[field] = text.into();
            }
        }
        condition
    };
    let (reason, message) = if ready { ("", String::new()) } else { unready };
    let completed = if over == Some("PodCompleted") { "PodCompleted" } else { "" };
    let mut conditions = vec![
        condition("PodReadyToStartContainers", view.sandbox && !ended, "", ""),
        condition("Initialized", view.initialized, completed, ""),
        condition("Ready", ready, reason, &message),
        condition("ContainersReady", ready, reason, &message),
        condition("PodScheduled", true, "", ""),
    ];
    conditions.extend(before.iter().filter(|old| old["type"] == "DisruptionTarget").cloned());
    let containers: Vec<Value> = view
        .containers
        .iter()
        .map(|(c, seen, restarts, last)| container_status(c, seen, *restarts, last.as_ref()))
        .collect();
    let started = pod["status"]["startTime"].as_str().map_or_else(now, str::to_owned);
    let mut status = json!({
        "observedGeneration": generation, "phase": view.phase, "conditions": conditions, "hostIP": "192.0.2.10",
        "hostIPs": [{"ip": "192.0.2.10"}], "startTime": started, "containerStatuses": containers,
        "qosClass": pod["status"]["qosClass"], "resources": {},
    });
    if !view.inits.is_empty() {
        status["initContainerStatuses"] =
            view.inits.iter().map(|(container, seen)| container_status(container, seen, 0, None)).collect();
    }
    let was_up = pod["status"]["podIP"].is_string();
    let up = view
        .containers
        .iter()
        .any(|(_, seen, _, _)| !matches!(seen, Seen::Waiting("ContainerCreating" | "PodInitializing", _)));
    if was_up || up {
        status["podIP"] = address.into();
        status["podIPs"] = json!([{"ip": address}]);
    }
    if let Some((reason, message)) = &view.reason {
        status["reason"] = (*reason).into();
        status["message"] = message.as_str().into();
    }
    status
}
