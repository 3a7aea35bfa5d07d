//! Watches of things that controllers change. How often a controller writes is a matter of its timing; what an object goes through is not.
//! So each object's events are reduced to its milestones, repeated ones dropped, and these must be the same in the same order.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use crate::kube::replay::compare::Known;

/// Waits until the milestones are the recorded ones; says what differs if they never are.
pub(super) async fn settled(
    entry: &Value,
    events: &Mutex<Vec<Value>>,
    known: &Known,
    cut: bool,
    limit: Duration,
) -> Vec<String> {
    let end = tokio::time::Instant::now() + limit;
    let recorded = milestones(entry["watch"].as_array().unwrap(), Some(known));
    loop {
        let mut ours = milestones(&events.lock().unwrap(), None);
        if cut {
            ours.iter_mut().for_each(|(name, steps)| steps.truncate(recorded.get(name).map_or(0, Vec::len)));
        }
        let found = differences(&recorded, &ours);
        if found.is_empty() || tokio::time::Instant::now() > end {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

type Milestones = BTreeMap<String, Vec<String>>;

fn differences(recorded: &Milestones, ours: &Milestones) -> Vec<String> {
    let mut found = Vec::new();
    for (name, steps) in recorded {
        match ours.get(name) {
            Some(own) if own == steps => {}
            Some(own) => found.push(format!("{name}: {steps:#?}, ours {own:#?}")),
            None => found.push(format!("{name}: {steps:?}, ours is absent")),
        }
    }
    for name in ours.keys().filter(|name| !recorded.contains_key(*name)) {
        found.push(format!("{name}: absent, ours {:?}", ours[name]));
    }
    found
}

fn milestones(events: &[Value], known: Option<&Known>) -> Milestones {
    let mut all = Milestones::new();
    for event in events {
        let object = &event["object"];
        let (name, step) = if object["kind"] == "Event" { of_event(object) } else { (of_object(object), step(event)) };
        let name = known.map_or_else(|| name.clone(), |known| known.translate(&name));
        let steps = all.entry(name).or_default();
        if object["kind"] == "Event" {
            if !steps.contains(&step) {
                steps.push(step);
                // Which of two controllers reports first is nobody's promise.
                steps.sort();
            }
        } else if steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    all
}

/// A name without what the server made up.
fn of_object(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["metadata"]["generateName"].as_str() {
        Some(generated) => format!("{generated}*"),
        None => name.to_owned(),
    }
}

fn of_event(event: &Value) -> (String, String) {
    let about = &event["involvedObject"];
    let kind = about["kind"].as_str().unwrap_or_default();
    let name = about["name"].as_str().unwrap_or_default();
    // Pods of controllers end in five letters.
    let name = match name.rsplit_once('-') {
        Some((before, end)) if kind == "Pod" && end.len() == 5 => format!("{before}-*"),
        _ => name.to_owned(),
    };
    let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
    (format!("{kind} {name}"), format!("{} {}", text("type"), text("reason")))
}

fn step(event: &Value) -> String {
    let object = &event["object"];
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let mut words = vec![event["type"].as_str().unwrap_or_default().to_owned()];
    if metadata["deletionTimestamp"].is_string() {
        words.push("dying".into());
    }
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let kind = object["kind"].as_str().unwrap_or_default();
    match kind {
        "Pod" => {
            words.push(status["phase"].to_string());
            let state = &status["containerStatuses"][0]["state"];
            for state_kind in ["waiting", "running", "terminated"] {
                if state[state_kind].is_object() {
                    words.push(format!(
                        "{state_kind} {} {}",
                        state[state_kind]["reason"], state[state_kind]["exitCode"]
                    ));
                }
            }
        }
        "PersistentVolumeClaim" | "PersistentVolume" => {
            words.push(status["phase"].to_string());
            let protection = |name: &String| !name.contains("as-source") && !name.contains("cloning");
            words.extend(list(&metadata["finalizers"]).into_iter().filter(protection));
        }
        "VolumeSnapshot" => {
            words.push(format!("{} {}", status["readyToUse"], status["error"].is_object()));
            words.extend(list(&metadata["finalizers"]).into_iter().filter(|name| !name.starts_with("provisioner.")));
        }
        "VolumeSnapshotContent" => words.push(format!("{} {:?}", status["readyToUse"], list(&metadata["finalizers"]))),
        "Job" => {
            let conditions = status["conditions"].as_array().into_iter().flatten();
            words.extend(conditions.map(|condition| condition["type"].to_string()));
            words.push(format!("{} {}", status["succeeded"], status["failed"]));
        }
        "Deployment" => {
            words.push(format!("{} {:?}", status["availableReplicas"], list(&metadata["finalizers"])));
            words.push(metadata["generation"].to_string());
        }
        _ => {
            words.push(status["phase"].to_string());
            let conditions = status["conditions"].as_array().into_iter().flatten();
            words.extend(conditions.map(|condition| format!("{}={}", condition["type"], condition["status"])));
        }
    }
    words.join(" ")
}
