//! Restoring into namespaces of other names: the objects themselves, and the references of which Kubernetes knows that they name a namespace.
//!
//! What only a person knows to be one (a host name in an environment variable, a field of a custom resource) is left alone.

use std::collections::BTreeMap;

use serde_json::Value;

use super::drill;
use super::metadata::NAMESPACE_LABEL;
use super::operators::{TRACKING, is_tracked_as};
use crate::cluster::Kind;
use crate::cluster::object::{at_mut, change_text, items_mut, name_of, namespace_of, take_fields, text};

/// Which namespace becomes which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    map: BTreeMap<String, String>,
    /// The run of a drill, whose namespaces stand for all.
    drill: Option<String>,
}

impl FromIterator<(String, String)> for Namespaces {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self { map: pairs.into_iter().collect(), drill: None }
    }
}

impl Namespaces {
    /// The pairs, by the old name.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.map.iter().map(|(from, to)| (from.as_str(), to.as_str()))
    }

    /// The same, and then each becomes one of a drill.
    #[must_use]
    pub fn of_drill(self, run: &str) -> Self {
        Self { drill: Some(run.to_owned()), ..self }
    }

    /// What a namespace becomes; `None` if it stays what it is.
    fn becomes(&self, name: &str) -> Option<String> {
        let mapped = self.map.get(name);
        match &self.drill {
            Some(run) => Some(drill::namespace(run, mapped.map_or(name, String::as_str))),
            None => mapped.cloned(),
        }
    }

    fn change(&self, object: &mut Value, path: &[&str]) {
        change_text(object, path, |name| self.becomes(name));
    }

    pub(super) fn apply(&self, kind: &Kind, object: &mut Value) {
        if self.map.is_empty() && self.drill.is_none() {
            return;
        }
        let namespace = namespace_of(object).unwrap_or_default();
        // A copy elsewhere is another object, and not of the application that made the original.
        let moved = self.becomes(namespace).is_some() && is_tracked_as(object, namespace, name_of(object));
        self.change(object, &["metadata", "namespace"]);
        if moved {
            take_fields(object, &["metadata", "annotations"], |name| name == TRACKING);
        }
        match (kind.group.as_str(), kind.name.as_str()) {
            ("", "Namespace") => self.change(object, &["metadata", "name"]),
            ("", "PersistentVolume") => self.change(object, &["spec", "claimRef", "namespace"]),
            ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => self.subjects(object),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration") => {
                for hook in items_mut(object, &["webhooks"]) {
                    self.change(hook, &["clientConfig", "service", "namespace"]);
                    self.selector(hook, &["namespaceSelector"]);
                }
            }
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                self.change(object, &["spec", "conversion", "webhook", "clientConfig", "service", "namespace"]);
            }
            ("apiregistration.k8s.io", "APIService") => self.change(object, &["spec", "service", "namespace"]),
            ("networking.k8s.io", "NetworkPolicy") => {
                for (side, peers) in [("ingress", "from"), ("egress", "to")] {
                    for rule in items_mut(object, &["spec", side]) {
                        for peer in items_mut(rule, &[peers]) {
                            self.selector(peer, &["namespaceSelector"]);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Service accounts by namespace, by the user name that they have, and all those of a namespace.
    fn subjects(&self, binding: &mut Value) {
        const USER: &str = "system:serviceaccount:";
        const GROUP: &str = "system:serviceaccounts:";
        for subject in items_mut(binding, &["subjects"]) {
            self.change(subject, &["namespace"]);
            match text(subject, &["kind"]) {
                "User" => change_text(subject, &["name"], |name| {
                    let (namespace, account) = name.strip_prefix(USER)?.split_once(':')?;
                    Some(format!("{USER}{}:{account}", self.becomes(namespace)?))
                }),
                "Group" => change_text(subject, &["name"], |name| {
                    Some(format!("{GROUP}{}", self.becomes(name.strip_prefix(GROUP)?)?))
                }),
                _ => {}
            }
        }
    }

    /// A selector by the label that holds a namespace's name.
    fn selector(&self, object: &mut Value, path: &[&str]) {
        let Some(selector) = at_mut(object, path) else { return };
        self.change(selector, &["matchLabels", NAMESPACE_LABEL]);
        for expression in items_mut(selector, &["matchExpressions"]) {
            if text(expression, &["key"]) == NAMESPACE_LABEL {
                for value in items_mut(expression, &["values"]) {
                    self.change(value, &[]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    #[track_caller]
    fn mapped(group: &str, name: &str, mut object: Value) -> Value {
        let namespaces: Namespaces = [("media".to_owned(), "copy".to_owned())].into_iter().collect();
        namespaces.apply(&example(group, "", name), &mut object);
        object
    }

    #[test]
    fn a_copy_is_not_of_the_application_that_made_the_original() {
        let tracked = |namespace: &str| {
            let annotations = json!({"argocd.argoproj.io/tracking-id": "app:apps/Deployment:media/web", "mine": "1"});
            json!({"metadata": {"name": "web", "namespace": namespace, "annotations": annotations}})
        };
        let copy = mapped("apps", "Deployment", tracked("media"));
        assert_eq!(copy["metadata"]["annotations"], json!({"mine": "1"}));
        assert_eq!(mapped("apps", "Deployment", tracked("other")), tracked("other"));
    }

    #[test]
    fn objects_and_the_namespace_itself_get_the_new_name() {
        let object = json!({"metadata": {"name": "media", "namespace": "media"}});
        assert_eq!(mapped("", "Secret", object), json!({"metadata": {"name": "media", "namespace": "copy"}}));
        assert_eq!(
            mapped("", "Namespace", json!({"metadata": {"name": "media"}})),
            json!({"metadata": {"name": "copy"}})
        );
        let other = json!({"metadata": {"name": "x", "namespace": "other"}});
        assert_eq!(mapped("", "Secret", other.clone()), other);
    }

    #[test]
    fn subjects_of_bindings_follow_their_namespace() {
        let subjects = json!([
            {"kind": "ServiceAccount", "name": "app", "namespace": "media"}, {"kind": "ServiceAccount", "name": "app", "namespace": "x"},
            {"kind": "User", "name": "system:serviceaccount:media:app"}, {"kind": "Group", "name": "system:serviceaccounts:media"},
            {"kind": "Group", "name": "system:serviceaccounts"}, {"kind": "User", "name": "media"},
        ]);
        let expected = json!([
            {"kind": "ServiceAccount", "name": "app", "namespace": "copy"}, {"kind": "ServiceAccount", "name": "app", "namespace": "x"},
            {"kind": "User", "name": "system:serviceaccount:copy:app"}, {"kind": "Group", "name": "system:serviceaccounts:copy"},
            {"kind": "Group", "name": "system:serviceaccounts"}, {"kind": "User", "name": "media"},
        ]);
        for kind in ["RoleBinding", "ClusterRoleBinding"] {
            let object = mapped("rbac.authorization.k8s.io", kind, json!({"subjects": subjects}));
            assert_eq!(object["subjects"], expected, "{kind}");
        }
    }

    #[test]
    fn webhooks_conversions_and_api_services_find_their_service() {
        let client = |namespace: &str| json!({"service": {"namespace": namespace, "name": "hook"}});
        let select = |namespace: &str| json!({"matchExpressions": [{"key": NAMESPACE_LABEL, "operator": "NotIn", "values": [namespace, "x"]}]});
        let hook = |namespace| json!({"webhooks": [{"clientConfig": client(namespace), "namespaceSelector": select(namespace)}]});
        for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
            assert_eq!(mapped("admissionregistration.k8s.io", kind, hook("media")), hook("copy"));
        }
        let definition = |namespace| json!({"spec": {"conversion": {"webhook": {"clientConfig": client(namespace)}}}});
        assert_eq!(mapped("apiextensions.k8s.io", "CustomResourceDefinition", definition("media")), definition("copy"));
        let service = |namespace| json!({"spec": client(namespace)});
        assert_eq!(mapped("apiregistration.k8s.io", "APIService", service("media")), service("copy"));
    }

    #[test]
    fn volumes_wait_for_the_claim_in_the_new_namespace_and_policies_let_it_in() {
        let volume = |namespace: &str| json!({"spec": {"claimRef": {"namespace": namespace, "name": "media"}}});
        assert_eq!(mapped("", "PersistentVolume", volume("media")), volume("copy"));
        let policy = |namespace: &str| {
            let peer = json!({"namespaceSelector": {"matchLabels": {NAMESPACE_LABEL: namespace, "a": "media"}}});
            json!({"spec": {"ingress": [{"from": [peer]}], "egress": [{"to": [peer]}]}})
        };
        assert_eq!(mapped("networking.k8s.io", "NetworkPolicy", policy("media")), policy("copy"));
    }
}
