//! Events, counted when they repeat.

use serde_json::{Value, json};

use crate::support::kube::state::{State, now, suffix, text};

/// How an event was reported: through the old interface, which counts, or the new one, which does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Core,
    Events,
}

impl State {
    pub(crate) fn event(&mut self, about: &Value, component: &str, kind: &str, reason: &str, message: &str) {
        self.report(Api::Core, about, component, kind, reason, message);
    }

    pub(crate) fn report(&mut self, api: Api, about: &Value, component: &str, kind: &str, reason: &str, message: &str) {
        let metadata = &about["metadata"];
        let namespace = metadata["namespace"].as_str().unwrap_or("default").to_owned();
        let same = |event: &Value| {
            event["involvedObject"]["uid"] == metadata["uid"]
                && event["reason"] == reason
                && event["message"] == message
        };
        let known = self.objects("events").into_iter().find(|event| same(event));
        if let Some(known) = known {
            if api == Api::Core {
                self.edit(&known, |event| {
                    event["count"] = (event["count"].as_u64().unwrap_or(1) + 1).into();
                    event["lastTimestamp"] = now().into();
                });
            }
            return;
        }
        let involved = json!({
            "kind": about["kind"], "namespace": namespace, "name": metadata["name"], "uid": metadata["uid"],
            "apiVersion": about["apiVersion"], "resourceVersion": metadata["resourceVersion"],
        });
        let mut event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("{}.{}{}", text(&metadata["name"]), suffix(), suffix())},
            "involvedObject": involved, "reason": reason, "message": message, "type": kind,
            "reportingComponent": component, "reportingInstance": "",
        });
        if api == Api::Core {
            let now = now();
            event["source"] = json!({"component": component});
            event["firstTimestamp"] = now.as_str().into();
            event["lastTimestamp"] = now.into();
            event["count"] = 1.into();
        } else {
            event["action"] = "Binding".into();
            event["eventTime"] = chrono::Utc::now().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into();
        }
        // A namespace that is going takes no events; nobody minds.
        let Some(resource) = self.kind("v1", "Event") else { return };
        let who = crate::support::kube::state::Caller::system(component);
        let _ = self.create(&who, &resource, &namespace, event, &crate::support::kube::state::How::default());
    }
}
