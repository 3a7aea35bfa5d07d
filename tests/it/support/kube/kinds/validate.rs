//! What an object may not say: names, missing fields, fields that stay as they are.
//!
//! Only what recovery runs into; the real server checks far more.

use serde_json::Value;

use crate::support::kube::registry::Resource;
use crate::support::kube::status::Cause;

const LABEL_BYTES_MAX: usize = 63;
const SUBDOMAIN_BYTES_MAX: usize = 253;

pub(crate) fn create(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    causes.extend(name(resource, object["metadata"]["name"].as_str().unwrap_or_default()));
    causes.extend(references(object));
    causes.extend(kind(resource, object));
    causes
}

fn name(resource: &Resource, name: &str) -> Option<Cause> {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |part: &str| {
        part.starts_with(alphanumeric)
            && part.ends_with(alphanumeric)
            && part.chars().all(|c| alphanumeric(c) || c == '-')
    };
    let invalid = |text: &str| Some(Cause::invalid("metadata.name", format!("\"{name}\": {text}")));
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("rbac.authorization.k8s.io", _) => None,
        ("", "Service") if !(label(name) && name.starts_with(|c: char| c.is_ascii_lowercase())) => invalid(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, \
             and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is \
             '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ),
        ("", "Namespace") if !label(name) || name.len() > LABEL_BYTES_MAX => invalid(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
             with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        _ if name.len() > SUBDOMAIN_BYTES_MAX => invalid("must be no more than 253 characters"),
        _ if !name.split('.').all(label) => invalid(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
             and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        _ => None,
    }
}

fn references(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let references = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    for (at, reference) in references.enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if reference[field].as_str().is_none_or(str::is_empty) {
                let field = format!("metadata.ownerReferences[{at}].{field}");
                causes.push(Cause::invalid(field, "\"\": must not be empty"));
            }
        }
    }
    causes
}

fn kind(resource: &Resource, object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "PersistentVolumeClaim") => claim(spec),
        ("", "PersistentVolume") if spec["capacity"]["storage"].is_null() => {
            vec![Cause::required("spec.capacity", "")]
        }
        ("", "Pod") => containers("spec", spec, &Value::Null),
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => {
            let mut causes = Vec::new();
            if spec["selector"].is_null() {
                causes.push(Cause::required("spec.selector", ""));
            }
            causes.extend(selects_its_template(spec));
            causes.extend(containers("spec.template.spec", &spec["template"]["spec"], &spec["volumeClaimTemplates"]));
            causes
        }
        ("batch", "Job") => {
            let mut causes = containers("spec.template.spec", &spec["template"]["spec"], &Value::Null);
            if spec["template"]["spec"]["restartPolicy"] == "Always" {
                let text = "\"Always\": supported values: \"OnFailure\", \"Never\"";
                let text = format!("Unsupported value: {text}");
                causes.push(Cause::new("FieldValueNotSupported", "spec.template.spec.restartPolicy", text));
            }
            causes
        }
        ("", "Service") if spec["type"] != "ExternalName" && spec["clusterIP"] != "None" && empty(&spec["ports"]) => {
            vec![Cause::required("spec.ports", "")]
        }
        _ => Vec::new(),
    }
}

fn claim(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if spec["accessModes"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::required("spec.accessModes", "at least 1 access mode is required"));
    }
    if spec["resources"]["requests"]["storage"].is_null() {
        causes.push(Cause::required("spec.resources[storage]", ""));
    }
    causes
}

/// `claims` are templates whose names stand for volumes too.
fn containers(path: &str, spec: &Value, claims: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let list = spec["containers"].as_array();
    if list.is_none_or(Vec::is_empty) {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut volumes: Vec<&Value> =
        spec["volumes"].as_array().into_iter().flatten().map(|volume| &volume["name"]).collect();
    volumes.extend(claims.as_array().into_iter().flatten().map(|template| &template["metadata"]["name"]));
    for (at, container) in list.into_iter().flatten().enumerate() {
        if container["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{path}.containers[{at}].name"), ""));
        }
        if container["image"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(format!("{path}.containers[{at}].image"), ""));
        }
        for (device_at, device) in container["volumeDevices"].as_array().into_iter().flatten().enumerate() {
            let field = format!("{path}.containers[{at}].volumeDevices[{device_at}].name");
            if !volumes.contains(&&device["name"]) {
                causes.push(Cause::new("FieldValueNotFound", field, format!("Not found: {}", device["name"])));
            }
        }
        for (mount_at, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
            if !volumes.contains(&&mount["name"]) {
                let field = format!("{path}.containers[{at}].volumeMounts[{mount_at}].name");
                causes.push(Cause::new("FieldValueNotFound", field, format!("Not found: {}", mount["name"])));
            }
        }
    }
    causes
}

fn selects_its_template(spec: &Value) -> Option<Cause> {
    let wanted = spec["selector"]["matchLabels"].as_object()?;
    let labels = &spec["template"]["metadata"]["labels"];
    let matches = wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
    let text = || format!("{labels}: `selector` does not match template `labels`");
    (!matches).then(|| Cause::invalid("spec.template.metadata.labels", text()))
}

/// What a replacement may not change.
pub(crate) fn update(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    causes.extend(finalizers(resource, old, new));
    causes.extend(references(new));
    let fixed = |path: &str| {
        let pointer = format!("/{}", path.replace('.', "/"));
        let (old, new) = (old.pointer(&pointer), new.pointer(&pointer));
        let shown = new.map_or_else(|| "null".to_owned(), ToString::to_string);
        (old != new).then(|| Cause::invalid(path, format!("{shown}: field is immutable")))
    };
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "ConfigMap" | "Secret") => {
            let text = "field is immutable when `immutable` is set";
            for field in ["data", "binaryData", "immutable"] {
                if old["immutable"] == true && old[field] != new[field] {
                    causes.push(Cause::forbidden(field, text));
                }
            }
            if resource.kind == "Secret" {
                causes.extend(fixed("type"));
            }
        }
        ("", "PersistentVolumeClaim") => {
            causes.extend(claim(&new["spec"]));
            causes.extend(claim_spec(&old["spec"], &new["spec"]));
        }
        ("", "PersistentVolume") => {
            for source in ["csi", "hostPath", "local", "nfs"] {
                if old["spec"][source] != new["spec"][source] {
                    causes.push(Cause::forbidden(
                        "spec.persistentvolumesource",
                        "spec.persistentvolumesource is immutable after creation",
                    ));
                }
            }
            causes.extend(fixed("spec.volumeMode"));
        }
        ("", "Service") => {
            let (before, after) = (&old["spec"]["clusterIP"], &new["spec"]["clusterIP"]);
            if before.as_str().is_some_and(|ip| !ip.is_empty())
                && before != after
                && new["spec"]["type"] != "ExternalName"
            {
                causes.push(Cause::invalid("spec.clusterIPs[0]", format!("[{after}]: may not change once set")));
            }
        }
        ("", "Pod") => causes.extend(pod_spec(&old["spec"], &new["spec"])),
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet") => {
            causes.extend(kind(resource, new));
            causes.extend(fixed("spec.selector"));
        }
        ("apps", "StatefulSet") => {
            causes.extend(kind(resource, new));
            causes.extend(stateful_set_spec(&old["spec"], &new["spec"]));
        }
        ("batch", "Job") => {
            for path in ["spec.selector", "spec.template", "spec.completions"] {
                causes.extend(fixed(path));
            }
        }
        ("storage.k8s.io", "StorageClass") => {
            let text = "updates to parameters are forbidden.";
            if old["parameters"] != new["parameters"] {
                causes.push(Cause::forbidden("parameters", text));
            }
            for field in ["provisioner", "reclaimPolicy", "volumeBindingMode"] {
                causes.extend(fixed(field));
            }
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") if old["roleRef"] != new["roleRef"] => {
            causes.push(Cause::invalid("roleRef", format!("{}: cannot change roleRef", new["roleRef"])));
        }
        _ => {}
    }
    causes
}

fn finalizers(resource: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    if old["metadata"]["deletionTimestamp"].is_null() {
        return Vec::new();
    }
    let list = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let before = list(old);
    let added: Vec<String> = list(new).iter().filter(|name| !before.contains(name)).map(ToString::to_string).collect();
    if added.is_empty() {
        return Vec::new();
    }
    let text = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    let cause = Cause::forbidden("metadata.finalizers", text);
    // Built-in kinds check their metadata twice.
    if resource.custom.is_none() { vec![cause.clone(), cause] } else { vec![cause] }
}

fn claim_spec(old: &Value, new: &Value) -> Option<Cause> {
    let rest = |spec: &Value| {
        let mut spec = spec.clone();
        if let Some(map) = spec.as_object_mut() {
            map.remove("resources");
            map.remove("volumeAttributesClassName");
        }
        spec
    };
    let binding = old["volumeName"].is_null() && new["volumeName"].is_string();
    let (mut before, after) = (rest(old), rest(new));
    if binding {
        before["volumeName"] = new["volumeName"].clone();
    }
    let text =
        "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    (before != after).then(|| Cause::forbidden("spec", format!("{text}\n@@ {before} {after}")))
}

fn pod_spec(old: &Value, new: &Value) -> Option<Cause> {
    let rest = |spec: &Value| {
        let mut spec = spec.clone();
        for field in ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"] {
            spec.as_object_mut().and_then(|spec| spec.remove(field));
        }
        for list in ["containers", "initContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        spec
    };
    let text = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    let (before, after) = (rest(old), rest(new));
    (before != after).then(|| Cause::forbidden("spec", format!("{text}\n@@ {before} {after}")))
}

fn stateful_set_spec(old: &Value, new: &Value) -> Option<Cause> {
    const FREE: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |spec: &Value| {
        let mut spec = spec.clone();
        for field in FREE {
            spec.as_object_mut().and_then(|spec| spec.remove(field));
        }
        spec
    };
    let text = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    (rest(old) != rest(new)).then(|| Cause::forbidden("spec", text))
}
