//! Pod Security admission: the levels `baseline` and `restricted`, as far as movers and applications meet them.

use serde_json::Value;

const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const RESTRICTED_VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
    "name",
];

/// What a pod breaks of a level; empty is fine.
pub(crate) fn violations(level: &str, spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if level != "baseline" && level != "restricted" {
        return found;
    }
    let restricted = level == "restricted";
    let containers: Vec<&Value> =
        ["containers", "initContainers"].iter().flat_map(|list| spec[*list].as_array().into_iter().flatten()).collect();
    let breaking = |test: &dyn Fn(&Value) -> bool| -> Vec<String> {
        containers.iter().filter(|c| test(c)).map(|c| c["name"].to_string()).collect()
    };
    let containers_text = |names: &[String]| {
        let plural = if names.len() > 1 { "containers" } else { "container" };
        format!("{plural} {}", names.join(", "))
    };
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            found.push(format!("host namespaces ({field}=true)"));
        }
    }
    let privileged = breaking(&|c| c["securityContext"]["privileged"] == true);
    if !privileged.is_empty() {
        let who = containers_text(&privileged);
        found.push(format!("privileged ({who} must not set securityContext.privileged=true)"));
    }
    if restricted {
        let names = breaking(&|c| c["securityContext"]["allowPrivilegeEscalation"] != false);
        if !names.is_empty() {
            let who = containers_text(&names);
            found.push(format!(
                "allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)"
            ));
        }
    }
    found.extend(capabilities(restricted, &containers, &containers_text));
    found.extend(volumes(restricted, spec));
    if restricted {
        let root = |context: &Value| context["runAsNonRoot"] == true;
        let names = breaking(&|c| {
            c["securityContext"]["runAsNonRoot"] == false
                || (!root(&spec["securityContext"]) && !root(&c["securityContext"]))
        });
        if !names.is_empty() {
            let who = containers_text(&names);
            found.push(format!("runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"));
        }
        if spec["securityContext"]["runAsUser"] == 0 {
            found.push("runAsUser=0 (pod must not set runAsUser=0)".into());
        }
        let fine = |context: &Value| {
            matches!(context["seccompProfile"]["type"].as_str(), Some("RuntimeDefault" | "Localhost"))
        };
        let names = breaking(&|c| !fine(&spec["securityContext"]) && !fine(&c["securityContext"]));
        if !names.is_empty() {
            let who = containers_text(&names);
            found.push(format!(
                "seccompProfile (pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
            ));
        }
    }
    found
}

fn capabilities(restricted: bool, containers: &[&Value], who: &dyn Fn(&[String]) -> String) -> Vec<String> {
    let mut found = Vec::new();
    let list = |container: &Value, what: &str| -> Vec<String> {
        let list = container["securityContext"]["capabilities"][what].as_array();
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let keeps_all: Vec<String> = containers
        .iter()
        .filter(|container| !list(container, "drop").iter().any(|name| name == "ALL"))
        .map(|container| container["name"].to_string())
        .collect();
    if restricted && !keeps_all.is_empty() {
        found.push(format!(
            "unrestricted capabilities ({} must set securityContext.capabilities.drop=[\"ALL\"])",
            who(&keeps_all)
        ));
    }
    for container in containers {
        let refused: Vec<String> = list(container, "add")
            .into_iter()
            .filter(|name| {
                if restricted { name != "NET_BIND_SERVICE" } else { !BASELINE_CAPABILITIES.contains(&name.as_str()) }
            })
            .map(|name| format!("\"{name}\""))
            .collect();
        if !refused.is_empty() {
            let what = if restricted { "unrestricted" } else { "non-default" };
            found.push(format!(
                "{what} capabilities ({} must not include {} in securityContext.capabilities.add)",
                who(&[container["name"].to_string()]),
                refused.join(", ")
            ));
        }
    }
    found
}

fn volumes(restricted: bool, spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let name = &volume["name"];
        let kinds = volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        for kind in kinds {
            if restricted && !RESTRICTED_VOLUMES.contains(&kind) {
                found.push(format!("restricted volume types (volume {name} uses restricted volume type \"{kind}\")"));
            } else if !restricted && kind == "hostPath" {
                found.push(format!("hostPath volumes (volume {name})"));
            }
        }
    }
    found
}
