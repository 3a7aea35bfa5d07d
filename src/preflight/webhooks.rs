//! What an API server asks before it answers, and who does not answer it: admission webhooks that fail closed, conversion webhooks, aggregated APIs.
//!
//! A webhook by a service is looked at by the service's endpoints. One by an address (`url`) cannot be seen from here; the dry run of the movers calls it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Check, Finding, Findings, Severity};
use crate::cluster::choice::Choice;
use crate::cluster::object::{at, items, label, name_of, namespace_of, text};
use crate::cluster::{Cluster, ClusterError, Kind, selector};

/// The namespace label that selectors go by.
const NAME: &str = "kubernetes.io/metadata.name";
/// The group of admission webhooks.
const GROUP: &str = "admissionregistration.k8s.io";

/// Something that will be written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// API group.
    pub group: String,
    /// The resource, as in addresses.
    pub resource: String,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'static str,
    /// Where; none for what is in no namespace.
    pub namespace: Option<String>,
}

impl Write {
    /// Running a program in a container there.
    pub(super) fn exec(namespace: &str) -> Self {
        let (group, resource) = (String::new(), "pods/exec".to_owned());
        Self { group, resource, operation: "CONNECT", namespace: Some(namespace.to_owned()) }
    }
}

/// Services with an endpoint that is ready, by namespace and name.
type Answering = BTreeSet<(String, String)>;

fn kind(group: &str, version: &str, resource: &str, name: &str) -> Kind {
    Kind::known(group, version, resource, name, false)
}

async fn answering(cluster: &dyn Cluster, findings: &mut Findings) -> Result<Option<Answering>, ClusterError> {
    const SERVICE: &str = "kubernetes.io/service-name";
    let slices = |version| Kind::known("discovery.k8s.io", version, "endpointslices", "EndpointSlice", true);
    // What is read of them is the same in what Kubernetes has before 1.21.
    let version = if cluster.serves(&slices("v1")).await.unwrap_or(true) { "v1" } else { "v1beta1" };
    let of_slice = |slice: Value| {
        // Not known counts as ready, as Kubernetes' documentation has it.
        let is_ready = |endpoint: &Value| at(endpoint, &["conditions", "ready"]) != false;
        let service = label(&slice, SERVICE).to_owned();
        let has = items(&slice, &["endpoints"]).iter().any(is_ready);
        has.then(|| (namespace_of(&slice).unwrap_or_default().to_owned(), service))
    };
    let found = findings.read(cluster, Check::Webhooks, &slices(version), of_slice).await?;
    Ok(found.map(|found| found.into_iter().collect()))
}

/// The service that a client configuration names, unless it answers.
fn dead<'a>(config: &'a Value, answering: &Answering) -> Option<(&'a str, &'a str)> {
    let service = at(config, &["service"]);
    let (namespace, name) = (text(service, &["namespace"]), text(service, &["name"]));
    let is_dead = service.is_object() && !answering.contains(&(namespace.to_owned(), name.to_owned()));
    is_dead.then_some((namespace, name))
}

/// Whether an entry of a rule's `resources` means a resource: `*` all but subresources, `pods/*` those of pods, `*/exec` those of that name, `*/*` everything.
fn takes(entry: &str, resource: &str) -> bool {
    let is = |entry: &str, name: &str| entry == "*" || entry == name;
    match (entry.split_once('/'), resource.split_once('/')) {
        (None, None) => is(entry, resource),
        (Some((of, sub)), Some((name, subresource))) => is(of, name) && is(sub, subresource),
        (Some(_), None) => entry == "*/*",
        (None, Some(_)) => false,
    }
}

/// What of the writes a webhook is asked about, as `CREATE pods in media`; empty if nothing.
fn asked_about(hook: &Value, writes: &[Write], labels: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let listed = |rule: &Value, field: &str, wanted: &str| {
        items(rule, &[field]).iter().filter_map(Value::as_str).any(|entry| entry == "*" || entry == wanted)
    };
    let by_rule = |write: &Write| {
        items(hook, &["rules"]).iter().any(|rule| {
            let scope = match text(rule, &["scope"]) {
                "Namespaced" => write.namespace.is_some(),
                "Cluster" => write.namespace.is_none(),
                _ => true,
            };
            scope
                && listed(rule, "operations", write.operation)
                && listed(rule, "apiGroups", &write.group)
                && items(rule, &["resources"]).iter().filter_map(Value::as_str).any(|rule| takes(rule, &write.resource))
        })
    };
    let in_place = |write: &Write| {
        let Some(namespace) = &write.namespace else { return true };
        let bare = serde_json::json!({NAME: namespace});
        selector::takes(at(hook, &["namespaceSelector"]), labels.get(namespace).unwrap_or(&bare))
    };
    let of = |write: &Write| {
        let place = write.namespace.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
        format!("{} {}{place}", write.operation, write.resource)
    };
    // Webhooks are not asked about webhooks.
    let possible = writes.iter().filter(|write| write.group != GROUP);
    possible.filter(|write| by_rule(write) && in_place(write)).map(of).collect()
}

fn admission(
    findings: &mut Findings,
    (kind, configuration): (&Kind, &Value),
    writes: &[Write],
    labels: &BTreeMap<String, Value>,
    answering: &Answering,
) {
    for hook in items(configuration, &["webhooks"]) {
        let closed = text(hook, &["failurePolicy"]) != "Ignore";
        let Some((namespace, service)) = dead(at(hook, &["clientConfig"]), answering).filter(|_| closed) else {
            continue;
        };
        let about = asked_about(hook, writes, labels);
        if about.is_empty() {
            continue;
        }
        // Which objects it passes over by their labels or by a condition, only the server decides.
        let may_pass =
            [&["objectSelector", "matchLabels"][..], &["objectSelector", "matchExpressions"], &["matchConditions"]]
                .iter()
                .any(|path| !at(hook, path).is_null());
        let severity = if may_pass { Severity::Doubtful } else { Severity::Blocks };
        let configured = name_of(configuration);
        let shown: Vec<&str> = about.iter().take(4).map(String::as_str).collect();
        let more =
            if about.len() > shown.len() { format!(" and {} more", about.len() - shown.len()) } else { String::new() };
        let what = format!("refuses {}{more}: it fails closed, and nobody answers for it", shown.join(", "));
        let why = format!("its service {namespace}/{service} has no endpoint that is ready, or is not there");
        let mend = format!(
            "bring up what runs it (kubectl -n {namespace} get service,pods), or delete it: kubectl delete {kind} {configured}"
        );
        let on = format!("webhook {} of {kind} {configured}", text(hook, &["name"]));
        findings.add(Finding::new(severity, Check::Webhooks, on, what).because(why).mended_by(mend));
    }
}

/// Everything that should answer and does not. `labels` are those of namespaces; `captured` is what a backup of objects takes, if there is one.
pub(super) async fn look(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    writes: &[Write],
    labels: &BTreeMap<String, Value>,
    captured: Option<&Choice>,
) -> Result<(), ClusterError> {
    let before = findings.findings.len();
    let Some(answering) = answering(cluster, findings).await? else { return Ok(()) };
    for (resource, name) in [
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
    ] {
        let kind = kind(GROUP, "v1", resource, name);
        let configurations = findings.read(cluster, Check::Webhooks, &kind, Some).await?;
        for configuration in configurations.into_iter().flatten() {
            admission(findings, (&kind, &configuration), writes, labels, &answering);
        }
    }
    conversions(cluster, findings, writes, captured, &answering).await?;
    apis(cluster, findings, captured).await?;
    if findings.findings.len() == before {
        findings.fine(
            Check::Webhooks,
            "webhooks and aggregated APIs",
            "all that would be asked have somebody who answers",
        );
    }
    Ok(())
}

async fn conversions(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    writes: &[Write],
    captured: Option<&Choice>,
    answering: &Answering,
) -> Result<(), ClusterError> {
    let kind = kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition");
    // Definitions are long: what is not converted is dropped at once.
    let converted =
        |definition: Value| (text(&definition, &["spec", "conversion", "strategy"]) == "Webhook").then_some(definition);
    for definition in findings.read(cluster, Check::Apis, &kind, converted).await?.into_iter().flatten() {
        let config = at(&definition, &["spec", "conversion", "webhook", "clientConfig"]);
        let Some((namespace, service)) = dead(config, answering) else { continue };
        let (group, resource) =
            (text(&definition, &["spec", "group"]), text(&definition, &["spec", "names", "plural"]));
        let of_kind = Kind::known(group, "", resource, "", true);
        let matters = captured.is_some_and(|choice| choice.takes(&of_kind))
            || writes.iter().any(|write| write.group == group && write.resource == resource);
        let severity = if matters { Severity::Blocks } else { Severity::Doubtful };
        let what = "its objects cannot be read in every version: nobody answers for its conversion webhook";
        let why = format!("its service {namespace}/{service} has no endpoint that is ready, or is not there");
        let mend = format!("bring up what runs it: kubectl -n {namespace} get service,pods");
        let on = format!("customresourcedefinitions.apiextensions.k8s.io {}", name_of(&definition));
        findings.add(Finding::new(severity, Check::Apis, on, what).because(why).mended_by(mend));
    }
    Ok(())
}

async fn apis(cluster: &dyn Cluster, findings: &mut Findings, captured: Option<&Choice>) -> Result<(), ClusterError> {
    let kind = kind("apiregistration.k8s.io", "v1", "apiservices", "APIService");
    for service in findings.read(cluster, Check::Apis, &kind, Some).await?.into_iter().flatten() {
        let conditions = items(&service, &["status", "conditions"]).iter();
        let away = conditions
            .filter(|condition| text(condition, &["type"]) == "Available")
            .find(|condition| text(condition, &["status"]) == "False");
        let Some(away) = away else { continue };
        let group = text(&service, &["spec", "group"]);
        // Metrics are in no backup, and nothing else needs them.
        let matters = captured.is_some_and(|choice| choice.takes_group(group));
        let severity = if matters { Severity::Blocks } else { Severity::Doubtful };
        let what = format!("the kinds of {group} cannot be read, and no namespace can be deleted meanwhile");
        let why = format!("{}: {}", text(away, &["reason"]), text(away, &["message"]));
        let name = name_of(&service);
        let mend =
            format!("bring up what serves it, or delete it if that is gone for good: kubectl delete apiservice {name}");
        findings.add(
            Finding::new(severity, Check::Apis, format!("apiservices.apiregistration.k8s.io {name}"), what)
                .because(why)
                .mended_by(mend),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods_in(namespace: &str) -> Write {
        Write { group: String::new(), resource: "pods".into(), operation: "CREATE", namespace: Some(namespace.into()) }
    }

    fn hook(change: impl Fn(&mut Value)) -> Value {
        let mut hook = json!({
            "name": "v.example.org", "failurePolicy": "Fail",
            "clientConfig": {"service": {"namespace": "kyverno", "name": "svc"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        });
        change(&mut hook);
        hook
    }

    fn severities(hook: &Value, writes: &[Write], answering: &Answering) -> Vec<Severity> {
        let mut findings = Findings::default();
        let kind = kind("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "X");
        let labels = BTreeMap::from([("media".to_owned(), json!({"team": "a"}))]);
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [hook]});
        admission(&mut findings, (&kind, &configuration), writes, &labels, answering);
        findings.findings.iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn a_webhook_matters_if_it_is_dead_fails_closed_and_is_asked() {
        let nobody = Answering::new();
        let found = |change: fn(&mut Value)| severities(&hook(change), &[pods_in("media")], &nobody);
        assert_eq!(found(|_| {}), [Severity::Blocks]);
        assert_eq!(found(|hook| hook["failurePolicy"] = "Ignore".into()), []);
        assert_eq!(
            found(|hook| drop(hook.as_object_mut().and_then(|hook| hook.remove("failurePolicy")))),
            [Severity::Blocks]
        );
        assert_eq!(found(|hook| hook["rules"][0]["resources"] = json!(["secrets"])), []);
        assert_eq!(found(|hook| hook["rules"][0]["resources"] = json!(["*/*"])), [Severity::Blocks]);
        assert_eq!(found(|hook| hook["rules"][0]["operations"] = json!(["DELETE"])), []);
        assert_eq!(found(|hook| hook["rules"][0]["scope"] = "Cluster".into()), []);
        assert_eq!(found(|hook| hook["clientConfig"] = json!({"url": "https://x"})), []);
        assert_eq!(found(|hook| hook["namespaceSelector"] = json!({"matchLabels": {"team": "b"}})), []);
        assert_eq!(found(|hook| hook["namespaceSelector"] = json!({"matchLabels": {"team": "a"}})), [Severity::Blocks]);
        assert_eq!(found(|hook| hook["objectSelector"] = json!({})), [Severity::Blocks], "an empty one takes all");
        assert_eq!(found(|hook| hook["objectSelector"] = json!({"matchLabels": {"x": "y"}})), [Severity::Doubtful]);
        assert_eq!(found(|hook| hook["matchConditions"] = json!([{"expression": "true"}])), [Severity::Doubtful]);
        let alive = Answering::from([("kyverno".to_owned(), "svc".to_owned())]);
        assert_eq!(severities(&hook(|_| {}), &[pods_in("media")], &alive), []);
    }
}
