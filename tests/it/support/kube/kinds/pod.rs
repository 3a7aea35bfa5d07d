//! Pods: the defaults of their specification, and what admission adds to it.

use serde_json::{Value, json};

use crate::support::kube::kinds::defaults::{each, set};

/// Defaults of a pod's or a template's specification.
pub(crate) fn spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    set(spec, "restartPolicy", "Always");
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", "default-scheduler");
    if let Some(account) = spec["serviceAccountName"].as_str().map(str::to_owned) {
        set(spec, "serviceAccount", account);
    }
    for list in ["containers", "initContainers"] {
        if spec[list].is_array() {
            each(spec, list, container);
        } else if let Some(spec) = spec.as_object_mut() {
            spec.remove(list);
        }
    }
    each(spec, "volumes", volume);
    if let Some(map) = spec.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

fn container(container: &mut Value) {
    set(container, "resources", json!({}));
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    let image = container["image"].as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = name.ends_with(":latest") || !name.contains([':', '@']);
    set(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    each(container, "ports", |port| set(port, "protocol", "TCP"));
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[probe].is_object() {
            let probe = &mut container[probe];
            set(probe, "timeoutSeconds", 1);
            set(probe, "periodSeconds", 10);
            set(probe, "successThreshold", 1);
            set(probe, "failureThreshold", 3);
        }
    }
    each(container, "env", |env| {
        if env["valueFrom"]["fieldRef"].is_object() {
            set(&mut env["valueFrom"]["fieldRef"], "apiVersion", "v1");
        }
        drop_nulls(env);
    });
    drop_nulls(container);
}

/// Indexing for writing leaves nulls where nothing was.
pub(crate) fn drop_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

fn volume(volume: &mut Value) {
    const FILE_MODE: i32 = 0o644;
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if volume[source].is_object() {
            set(&mut volume[source], "defaultMode", FILE_MODE);
        }
    }
    if volume["hostPath"].is_object() {
        set(&mut volume["hostPath"], "type", "");
    }
    if volume.as_object().is_some_and(|map| map.values().filter(|value| !value.is_null()).count() == 1) {
        volume["emptyDir"] = json!({});
    }
    drop_nulls(volume);
}

/// What the admission plugins of every cluster add to a new pod: service account with its token, tolerations, priority.
/// `suffix` are five random characters.
pub(crate) fn admit(pod: &mut Value, suffix: &str) {
    let spec = &mut pod["spec"];
    set(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    spec["serviceAccount"] = account;
    if spec["automountServiceAccountToken"] != false {
        mount_token(spec, suffix);
    }
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerations = spec["tolerations"].as_array_mut().expect("just made");
        if !tolerations.iter().any(|toleration| toleration["key"] == key) {
            let toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
            tolerations.push(toleration);
        }
    }
    set(spec, "priority", 0);
    set(spec, "preemptionPolicy", "PreemptLowerPriority");
    let class = quality(spec);
    pod["status"] = json!({"phase": "Pending", "qosClass": class});
}

fn mount_token(spec: &mut Value, suffix: &str) {
    const AT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    let name = format!("kube-api-access-{suffix}");
    let mounted = |container: &Value| {
        container["volumeMounts"].as_array().into_iter().flatten().any(|mount| mount["mountPath"] == AT)
    };
    let mut used = false;
    for list in ["containers", "initContainers"] {
        if !spec[list].is_array() {
            continue;
        }
        each(spec, list, |container| {
            if !mounted(container) {
                used = true;
                let mount = json!({"name": name, "readOnly": true, "mountPath": AT});
                match container["volumeMounts"].as_array_mut() {
                    Some(mounts) => mounts.push(mount),
                    None => container["volumeMounts"] = json!([mount]),
                }
            }
        });
    }
    if !used {
        return;
    }
    let volume = json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    match spec["volumes"].as_array_mut() {
        Some(volumes) => volumes.push(volume),
        None => spec["volumes"] = json!([volume]),
    }
}

fn quality(spec: &Value) -> &'static str {
    let containers = || spec["containers"].as_array().into_iter().flatten();
    let has = |field: &str| {
        containers().any(|container| container["resources"][field].as_object().is_some_and(|map| !map.is_empty()))
    };
    let guaranteed = containers().all(|container| {
        let resources = &container["resources"];
        ["cpu", "memory"].iter().all(|name| {
            resources["limits"][name].is_string() && resources["limits"][name] == resources["requests"][name]
        })
    });
    match (guaranteed, has("requests") || has("limits")) {
        (true, _) => "Guaranteed",
        (false, true) => "Burstable",
        (false, false) => "BestEffort",
    }
}
