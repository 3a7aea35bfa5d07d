//! What there is: versions, groups and resources, one by one as old clients ask, and all at once as new ones do.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::kube::registry::{Resource, Subresource, api_version};
use crate::support::kube::state::{State, text};
use crate::support::kube::status::{Result, Status};

/// Groups and their versions, in order.
type Groups = Vec<(String, Vec<String>)>;

/// An API whose objects another server holds, which does not answer.
fn is_remote(service: &Value) -> bool {
    service["spec"]["service"].is_object()
}

impl State {
    pub(crate) fn version() -> Value {
        json!({
            "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36", "minCompatibilityMajor": "1",
            "minCompatibilityMinor": "35", "gitVersion": "v1.36.2", "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406",
            "gitTreeState": "clean", "buildDate": "2026-07-01T00:00:00Z", "goVersion": "go1.26.6", "compiler": "gc",
            "platform": "linux/amd64",
        })
    }

    pub(crate) fn api_versions(&self) -> Value {
        let address = json!({"clientCIDR": "0.0.0.0/0", "serverAddress": self.address});
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [address]})
    }

    fn groups(&self) -> Groups {
        let mut built_in: Groups = Vec::new();
        let mut custom: Groups = Vec::new();
        for resource in self.resources.iter().filter(|resource| !resource.group.is_empty()) {
            let groups = if resource.custom.is_some() { &mut custom } else { &mut built_in };
            add(groups, &resource.group, &resource.version);
        }
        for service in self.objects("apiservices.apiregistration.k8s.io").iter().filter(|service| is_remote(service)) {
            add(&mut custom, text(&service["spec"]["group"]), text(&service["spec"]["version"]));
        }
        custom.sort();
        for (_, versions) in &mut custom {
            versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        }
        built_in.extend(custom);
        built_in
    }

    /// Whether a group and version belong to a server that does not answer.
    pub(crate) fn unavailable(&self, group: &str, version: &str) -> bool {
        let services = self.objects("apiservices.apiregistration.k8s.io");
        services.iter().any(|service| {
            is_remote(service) && service["spec"]["group"] == group && service["spec"]["version"] == version
        })
    }

    pub(crate) fn api_groups(&self) -> Value {
        let groups: Vec<Value> = self.groups().iter().map(|(name, versions)| group(name, versions)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    pub(crate) fn api_group(&self, name: &str) -> Result<Value> {
        let groups = self.groups();
        let (name, versions) = groups.iter().find(|(group, _)| group == name).ok_or_else(Status::page_not_found)?;
        let mut group = group(name, versions);
        group["kind"] = "APIGroup".into();
        group["apiVersion"] = "v1".into();
        Ok(group)
    }

    pub(crate) fn api_resources(&self, group: &str, version: &str) -> Result<Value> {
        let of: Vec<&Arc<Resource>> =
            self.resources.iter().filter(|resource| resource.group == group && resource.version == version).collect();
        if of.is_empty() {
            return Err(Status::page_not_found());
        }
        let mut resources: Vec<Value> = Vec::new();
        for resource in of {
            resources.push(resource_json(resource));
            resources.extend(resource.subresources.iter().map(|sub| subresource_json(resource, sub)));
        }
        let mut list =
            json!({"kind": "APIResourceList", "groupVersion": api_version(group, version), "resources": resources});
        if !group.is_empty() {
            list["apiVersion"] = "v1".into();
        }
        Ok(list)
    }

    /// Of the core group (`/api`) or of all others (`/apis`).
    pub(crate) fn aggregated(&self, core: bool) -> Value {
        let groups = if core { vec![(String::new(), vec!["v1".to_owned()])] } else { self.groups() };
        let items: Vec<Value> = groups
            .iter()
            .map(|(group, versions)| {
                let versions: Vec<Value> =
                    versions.iter().map(|version| self.aggregated_version(group, version)).collect();
                let metadata = if core { json!({}) } else { json!({"name": group}) };
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
    }

    fn aggregated_version(&self, group: &str, version: &str) -> Value {
        if self.unavailable(group, version) {
            return json!({"version": version, "freshness": "Stale"});
        }
        let of = self.resources.iter().filter(|resource| resource.group == group && resource.version == version);
        let resources: Vec<Value> = of.map(|resource| aggregated_resource(resource)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    }
}

fn add(groups: &mut Groups, group: &str, version: &str) {
    let at = groups.iter().position(|(name, _)| name == group).unwrap_or_else(|| {
        groups.push((group.to_owned(), Vec::new()));
        groups.len() - 1
    });
    if !groups[at].1.iter().any(|have| have == version) {
        groups[at].1.push(version.to_owned());
    }
}

/// Versions in Kubernetes' order: v2, v1, v1beta2, v1beta1, v1alpha1.
fn priority(version: &str) -> (u64, u64, u64) {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    let rest = version.trim_start_matches('v');
    let major = digits(rest);
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let (stability, minor) = match rest {
        "" => (2, 0),
        rest if rest.starts_with("beta") => (1, digits(rest.trim_start_matches("beta"))),
        rest => (0, digits(rest.trim_start_matches("alpha"))),
    };
    (stability, major, minor)
}

fn group(name: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({"groupVersion": api_version(name, version), "version": version});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

fn optional(object: &mut Value, field: &str, list: &[String]) {
    if !list.is_empty() {
        object[field] = json!(list);
    }
}

fn resource_json(resource: &Resource) -> Value {
    let mut value = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced, "kind": resource.kind,
        "verbs": resource.verbs,
    });
    optional(&mut value, "shortNames", &resource.short_names);
    optional(&mut value, "categories", &resource.categories);
    if let Some(hash) = &resource.hash {
        value["storageVersionHash"] = hash.as_str().into();
    }
    value
}

fn subresource_json(resource: &Resource, sub: &Subresource) -> Value {
    let mut value = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "", "namespaced": resource.namespaced,
        "kind": sub.kind, "verbs": sub.verbs,
    });
    if !sub.version.is_empty() {
        value["group"] = sub.group.as_str().into();
        value["version"] = sub.version.as_str().into();
    }
    value
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    // Built-in resources leave out what follows from where they stand.
    let own = |own_kind: &str| match resource.custom {
        Some(_) => kind(&resource.group, &resource.version, own_kind),
        None => kind("", "", own_kind),
    };
    let mut value = json!({
        "resource": resource.plural, "responseKind": own(&resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": resource.verbs,
    });
    optional(&mut value, "shortNames", &resource.short_names);
    optional(&mut value, "categories", &resource.categories);
    let subs: Vec<Value> = resource
        .subresources
        .iter()
        .map(|sub| {
            let response =
                if sub.version.is_empty() { own(&sub.kind) } else { kind(&sub.group, &sub.version, &sub.kind) };
            json!({"subresource": sub.name, "responseKind": response, "verbs": sub.verbs})
        })
        .collect();
    if !subs.is_empty() {
        value["subresources"] = Value::Array(subs);
    }
    value
}
