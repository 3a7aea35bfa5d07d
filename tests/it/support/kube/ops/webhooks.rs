//! Admission webhooks: none of them lives in this cluster unless a test says so, and those that fail closed refuse.

use serde_json::Value;

use crate::support::kube::faults::Webhook;
use crate::support::kube::registry::Resource;
use crate::support::kube::select::Selector;
use crate::support::kube::state::{Caller, How, State, text};
use crate::support::kube::status::{Result, Status};

impl State {
    #[expect(clippy::too_many_arguments, reason = "all that an admission review says")]
    pub(crate) fn call_webhooks(
        &self,
        _who: &Caller,
        resource: &Resource,
        operation: &str,
        namespace: &str,
        object: &Value,
        old: Option<&Value>,
        how: &How,
    ) -> Result<()> {
        // Webhooks are not asked about webhooks, or a broken one could never be removed.
        if resource.group == "admissionregistration.k8s.io" {
            return Ok(());
        }
        for kind in ["mutating", "validating"] {
            for configuration in self.objects(&format!("{kind}webhookconfigurations.admissionregistration.k8s.io")) {
                for hook in configuration["webhooks"].as_array().into_iter().flatten() {
                    if self.matches(hook, resource, operation, namespace, object, old) {
                        self.call(hook, how)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn matches(
        &self,
        hook: &Value,
        resource: &Resource,
        operation: &str,
        namespace: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> bool {
        let listed = |list: &Value, wanted: &str| {
            list.as_array().into_iter().flatten().any(|entry| entry == "*" || entry == wanted)
        };
        let rules = hook["rules"].as_array();
        let by_rule = rules.into_iter().flatten().any(|rule| {
            let resources = &rule["resources"];
            let scope = match text(&rule["scope"]) {
                "Namespaced" => resource.namespaced,
                "Cluster" => !resource.namespaced,
                _ => true,
            };
            listed(&rule["operations"], operation)
                && listed(&rule["apiGroups"], &resource.group)
                && listed(&rule["apiVersions"], &resource.version)
                && (listed(resources, &resource.plural) || listed(resources, "*/*"))
                && scope
        });
        if !by_rule {
            return false;
        }
        let labels = match (resource.namespaced, resource.plural.as_str()) {
            (true, _) => self.object("namespaces", "", namespace).map(|ns| ns["metadata"]["labels"].clone()),
            (false, "namespaces") => Some(object["metadata"]["labels"].clone()),
            _ => None,
        };
        let in_namespace = labels.is_none_or(|labels| Selector::of(&hook["namespaceSelector"]).matches_labels(&labels));
        let objects = Selector::of(&hook["objectSelector"]);
        in_namespace && (objects.matches(object) || old.is_some_and(|old| objects.matches(old)))
    }

    fn call(&self, hook: &Value, how: &How) -> Result<()> {
        let name = text(&hook["name"]);
        if how.dry_run && !matches!(text(&hook["sideEffects"]), "None" | "NoneOnDryRun") {
            return Err(Status::bad_request(format!("admission webhook \"{name}\" does not support dry run")));
        }
        let failure = match self.faults.webhook(name) {
            Some(Webhook::Allows) => return Ok(()),
            Some(Webhook::Denies(why)) => {
                let text = format!("admission webhook \"{name}\" denied the request: {why}");
                return Err(Status::bad_request(text));
            }
            None => unreachable_because(self, hook),
        };
        if hook["failurePolicy"] == "Ignore" {
            return Ok(());
        }
        let text = format!("failed calling webhook \"{name}\": failed to call webhook: {failure}");
        Err(Status::internal(text))
    }
}

fn unreachable_because(state: &State, hook: &Value) -> String {
    let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(10);
    let config = &hook["clientConfig"];
    let service = &config["service"];
    if !service.is_object() {
        let url = text(&config["url"]);
        return format!("Post \"{url}?timeout={seconds}s\": dial tcp: connect: connection refused");
    }
    let (namespace, name) = (text(&service["namespace"]), text(&service["name"]));
    let path = service["path"].as_str().unwrap_or("/");
    let port = service["port"].as_u64().unwrap_or(443);
    let why = if state.object("services", namespace, name).is_none() {
        format!("service \"{name}\" not found")
    } else {
        format!("no endpoints available for service \"{name}\"")
    };
    format!("Post \"https://{name}.{namespace}.svc:{port}{path}?timeout={seconds}s\": {why}")
}
