//! Quotas and limits that a restore brings along: they are there before its movers, and nobody can be asked about them yet. Those that are there already the server knows:
//! it is asked by a dry run of the pods ([`super::trial`]).

use serde_json::Value;

use super::{Check, Finding, Findings, Severity};
use crate::cluster::object::{at, items, text};
use crate::recover::cluster::plan::Step;
use crate::volumes::pod::PodPlan;
use crate::volumes::quantity;

/// A quantity in thousandths: processors are counted in such.
fn milli(amount: &str) -> Option<u64> {
    match amount.strip_suffix('m') {
        Some(number) => quantity::bytes(number),
        None if amount.ends_with(|c: char| c.is_ascii_digit()) => quantity::bytes(&format!("{amount}k")),
        None => quantity::bytes(amount)?.checked_mul(1000),
    }
}

/// What the mover's container asks for, or gets at most.
fn of_mover<'a>(pod: &'a Value, which: &str, resource: &str) -> Option<&'a str> {
    let container = items(pod, &["spec", "containers"]).first()?;
    Some(text(container, &["resources", which, resource])).filter(|amount| !amount.is_empty())
}

/// Whether one amount is more than another; not if either is no amount.
fn more(one: &str, other: &str) -> bool {
    milli(one).zip(milli(other)).is_some_and(|(one, other)| one > other)
}

/// Entries of a quota that even one mover is too much for.
fn exceeded(quota: &Value, pod: &Value) -> Vec<String> {
    let hard = at(quota, &["spec", "hard"]).as_object().into_iter().flatten();
    let too_little = |(name, most): (&String, &Value)| {
        let most = most.as_str().map_or_else(|| most.to_string(), str::to_owned);
        let asked = match name.split_once('.') {
            _ if name == "pods" || name == "count/pods" => "1",
            Some(("requests", resource)) => of_mover(pod, "requests", resource)?,
            Some(("limits", resource)) => of_mover(pod, "limits", resource)?,
            _ => of_mover(pod, "requests", name)?,
        };
        more(asked, &most).then(|| format!("{name}: {most}, and a mover takes {asked}"))
    };
    hard.filter_map(too_little).collect()
}

/// Entries of a `LimitRange` that a mover does not keep.
fn broken(range: &Value, pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let of_pods = |limit: &&Value| matches!(text(limit, &["type"]), "Container" | "Pod");
    for limit in items(range, &["spec", "limits"]).iter().filter(of_pods) {
        let entries = |field: &str| at(limit, &[field]).as_object().cloned().unwrap_or_default();
        for (resource, most) in entries("max") {
            let most = most.as_str().unwrap_or_default();
            if let Some(has) = of_mover(pod, "limits", &resource).filter(|has| more(has, most)) {
                found.push(format!("max {resource}: {most}, and a mover gets up to {has}"));
            }
        }
        for (resource, least) in entries("min") {
            let least = least.as_str().unwrap_or_default();
            if let Some(has) = of_mover(pod, "requests", &resource).filter(|has| more(least, has)) {
                found.push(format!("min {resource}: {least}, and a mover asks for {has}"));
            }
        }
    }
    found
}

/// Judges what the restore creates in the namespaces of its movers.
pub(super) fn look(findings: &mut Findings, steps: &[Step], pods: &[(PodPlan, String)]) {
    for step in steps.iter().filter(|step| step.fate.creates()) {
        let is_there = |(pod, _): &&(PodPlan, String)| Some(&pod.namespace) == step.object.namespace.as_ref();
        let Some((pod, _)) = pods.iter().find(is_there) else { continue };
        let why = match step.object.kind.as_str() {
            "resourcequotas" => exceeded(step.manifest(), &pod.manifest()),
            "limitranges" => broken(step.manifest(), &pod.manifest()),
            _ => continue,
        };
        if why.is_empty() {
            continue;
        }
        // Which pods a quota with scopes is for, the server decides.
        let spec = |field: &str| !at(step.manifest(), &["spec", field]).is_null();
        let scoped = spec("scopes") || spec("scopeSelector");
        let severity = if scoped { Severity::Doubtful } else { Severity::Blocks };
        let what = "comes with the restore, before the data, and leaves no room for a mover";
        let mend = format!("restore it after the volumes: --exclude '{}', and then once more without that", path(step));
        findings.add(
            Finding::new(severity, Check::Trial, step.object.to_string(), what).because(why.join("; ")).mended_by(mend),
        );
    }
}

fn path(step: &Step) -> String {
    let namespace = step.object.namespace.as_deref().unwrap_or("_cluster");
    format!("{namespace}/{}/{}", step.object.kind, step.object.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mover_has_to_fit_into_quotas_and_limits_by_itself() {
        let resources = json!({
            "requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "512Mi"},
        });
        let pod = json!({"spec": {"containers": [{"resources": resources}]}});
        for (hard, expected) in [
            (json!({"pods": "1", "requests.cpu": "0.05", "limits.memory": "512Mi", "secrets": "0"}), 0),
            (json!({"pods": "0"}), 1),
            (json!({"count/pods": 0}), 1),
            (json!({"cpu": "49m"}), 1),
            (json!({"memory": "127Mi", "limits.cpu": "1.9"}), 2),
            (json!({"limits.memory": "nonsense"}), 0),
        ] {
            let found = exceeded(&json!({"spec": {"hard": hard}}), &pod);
            assert_eq!(found.len(), expected, "{found:?}");
        }
        for (limit, expected) in [
            (json!({"type": "Container", "max": {"memory": "512Mi"}, "min": {"cpu": "50m"}}), 0),
            (json!({"type": "Container", "max": {"memory": "511Mi"}, "min": {"cpu": "51m"}}), 2),
            (json!({"type": "Pod", "max": {"cpu": "1"}}), 1),
            (json!({"type": "PersistentVolumeClaim", "max": {"storage": "1Ki"}}), 0),
        ] {
            let found = broken(&json!({"spec": {"limits": [limit]}}), &pod);
            assert_eq!(found.len(), expected, "{found:?}");
        }
    }
}
