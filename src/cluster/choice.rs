//! Which kinds are backed up: all, but for what a cluster makes again by itself and what the user leaves out.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Kind;
use super::object::{controller_of, label};
use super::ours::is_of_a_run;

/// Kinds that say what happens at the moment and not what a person or a program wants: a cluster makes them again, or they would be wrong in another.
/// They change every few seconds, too. As `resource.group`, `*.group` for a whole group.
pub const NOISE: [&str; 21] = [
    // Of the moment.
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "componentstatuses",
    "*.metrics.k8s.io",
    "*.custom.metrics.k8s.io",
    "*.external.metrics.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "certificatesigningrequests.certificates.k8s.io",
    // Made by controllers from other objects. Endpoints without a selector are a person's, and are kept.
    "controllerrevisions.apps",
    "ciliumendpoints.cilium.io",
    "ciliumidentities.cilium.io",
    "ciliumendpointslices.cilium.io",
    // Reports of scanners.
    "*.wgpolicyk8s.io",
    "*.reports.kyverno.io",
    "*.aquasecurity.github.io",
    // What cert-manager does on its way to a certificate.
    "certificaterequests.cert-manager.io",
    "orders.acme.cert-manager.io",
    "challenges.acme.cert-manager.io",
];

/// Whether a pattern, `resource`, `resource.group` or `*.group`, means a kind. `resource` alone means the core group's, as for `kubectl`.
#[must_use]
pub fn means(pattern: &str, kind: &Kind) -> bool {
    match pattern.split_once('.') {
        Some(("*", group)) => kind.group == group,
        Some((resource, group)) => kind.resource == resource && kind.group == group,
        None => kind.resource == pattern && kind.group.is_empty(),
    }
}

/// Slices that a controller writes for a service; a person's own have another manager, or none.
#[must_use]
pub fn is_generated_slice(kind: &Kind, object: &Value) -> bool {
    const MANAGER: &str = "endpointslice.kubernetes.io/managed-by";
    kind.is("discovery.k8s.io", "EndpointSlice")
        && (label(object, MANAGER).ends_with("-controller.k8s.io") || controller_of(object).is_some())
}

/// What is left out, beside [`NOISE`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Kinds that the user leaves out, as patterns.
    pub exclude: Vec<String>,
    /// Namespaces that are left out with everything in them, and by whom.
    pub exclude_namespaces: BTreeMap<String, String>,
}

impl Choice {
    fn left_out(&self) -> impl Iterator<Item = &str> {
        NOISE.into_iter().chain(self.exclude.iter().map(String::as_str))
    }

    /// Whether objects of this kind are backed up.
    #[must_use]
    pub fn takes(&self, kind: &Kind) -> bool {
        !self.left_out().any(|pattern| means(pattern, kind))
    }

    /// Whether any kind of this group may be backed up.
    #[must_use]
    pub fn takes_group(&self, group: &str) -> bool {
        !self.left_out().any(|pattern| pattern.strip_prefix("*.") == Some(group))
    }

    /// Whether this object is: of endpoint slices only those that a person wrote, all others change with every pod; and nothing that our own runs make for themselves.
    #[must_use]
    pub fn takes_object(&self, kind: &Kind, object: &Value) -> bool {
        !is_generated_slice(kind, object) && !is_of_a_run(kind, object)
    }

    /// Whether objects in this namespace are backed up.
    #[must_use]
    pub fn takes_namespace(&self, namespace: &str) -> bool {
        !self.exclude_namespaces.contains_key(namespace)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    fn kind(group: &str, resource: &str) -> Kind {
        example(group, resource, "X")
    }

    #[test]
    fn noise_and_the_users_patterns_are_left_out_and_nothing_else() {
        let choice = Choice { exclude: vec!["pods".into(), "*.acme.org".into()], ..Choice::default() };
        for (group, resource, takes) in [
            ("", "events", false),
            ("events.k8s.io", "events", false),
            ("example.org", "events", true),
            ("metrics.k8s.io", "pods", false),
            ("", "pods", false),
            ("example.org", "pods", true),
            ("acme.org", "anvils", false),
            ("", "secrets", true),
            ("", "endpoints", true),
            ("apps", "deployments", true),
        ] {
            assert_eq!(choice.takes(&kind(group, resource)), takes, "{resource}.{group}");
        }
    }

    #[test]
    fn slices_of_a_person_are_told_from_those_of_a_controller() {
        let slice =
            |manager: &str| json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": manager}}});
        let kind = example("discovery.k8s.io", "endpointslices", "EndpointSlice");
        assert!(is_generated_slice(&kind, &slice("endpointslice-controller.k8s.io")));
        assert!(is_generated_slice(&kind, &slice("endpointslicemirroring-controller.k8s.io")));
        assert!(is_generated_slice(
            &kind,
            &json!({"metadata": {"ownerReferences": [{"kind": "Service", "controller": true}]}})
        ));
        assert!(!is_generated_slice(&kind, &slice("pulumi")));
        assert!(!is_generated_slice(&kind, &json!({})));
    }
}
