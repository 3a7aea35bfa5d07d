//! In which order a server was given its objects, by its own log.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::{Key, named};
use crate::support::kube::server::KubeServer;

/// When what came to be, as revisions of the server.
pub(super) struct Log {
    made: BTreeMap<Key, (u64, Value)>,
    established: BTreeMap<String, u64>,
}

/// The server's revision now.
pub(super) fn now(server: &KubeServer) -> u64 {
    server.shared.with(|state| state.store.revision())
}

fn is_established(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

impl Log {
    /// Since a revision.
    pub(super) fn since(server: &KubeServer, start: u64) -> Self {
        let mut log = Self { made: BTreeMap::new(), established: BTreeMap::new() };
        server.shared.with(|state| {
            for change in state.store.changes_after(start) {
                let Some(new) = &change.new else { continue };
                let (namespace, name) = change.key.split_once('/').unwrap_or(("", &change.key));
                let key = (change.table.clone(), namespace.to_owned(), name.to_owned());
                if change.old.is_none() {
                    log.made.entry(key).or_insert((change.revision, (**new).clone()));
                }
                if change.table == "customresourcedefinitions.apiextensions.k8s.io" && is_established(new) {
                    log.established.entry(name.to_owned()).or_insert(change.revision);
                }
            }
        });
        log
    }

    /// Leaves out what the program did not restore: what controllers made meanwhile.
    pub(super) fn only(mut self, is: impl Fn(&Key) -> bool) -> Self {
        self.made.retain(|key, _| is(key));
        self
    }

    /// Every one of the first was there before any of the second. Both have to be there, or nothing would be proven.
    #[track_caller]
    pub(super) fn before(&self, first: impl Fn(&Key, &Value) -> bool, second: impl Fn(&Key, &Value) -> bool) {
        let of = |is: &dyn Fn(&Key, &Value) -> bool| {
            let found = self.made.iter().filter(|(key, (_, object))| is(key, object));
            found.map(|(key, (revision, _))| (*revision, named(key))).collect::<Vec<_>>()
        };
        let (first, second) = (of(&first), of(&second));
        let last = first.iter().max().expect("some come first");
        let next = second.iter().min().expect("some come then");
        assert!(last < next, "{} came after {}", last.1, next.1);
    }

    /// What holds of every cluster: definitions are established before their objects, namespaces are there before what is in them.
    #[track_caller]
    pub(super) fn check_ground(&self) {
        for (key, (revision, _)) in &self.made {
            let (table, namespace, _) = key;
            if let Some(established) = self.established.get(table) {
                assert!(established < revision, "{} came before its definition was established", named(key));
            }
            if let Some((made, _)) = self.made.get(&("namespaces".to_owned(), String::new(), namespace.clone())) {
                assert!(made < revision, "{} came before its namespace", named(key));
            }
        }
        assert!(!self.established.is_empty());
    }
}

pub(super) fn is_workload(key: &Key, _: &Value) -> bool {
    key.0.ends_with(".apps") || key.0.ends_with(".batch")
}

pub(super) fn is_secret(key: &Key, _: &Value) -> bool {
    key.0 == "secrets"
}

/// Who asks for certificates, or is reached by them.
pub(super) fn asks_for_certificates(key: &Key, _: &Value) -> bool {
    key.0.ends_with(".cert-manager.io") || key.0.starts_with("ingress") && !key.0.starts_with("ingressclasses")
}

pub(super) fn is_right(key: &Key, _: &Value) -> bool {
    key.0 == "serviceaccounts" || key.0.ends_with(".rbac.authorization.k8s.io")
}

pub(super) fn is_network_policy(key: &Key, _: &Value) -> bool {
    key.0.contains("networkpolicies.")
}

pub(super) fn is_gate(key: &Key, _: &Value) -> bool {
    ["admissionregistration.k8s.io", "apiregistration.k8s.io", ".kyverno.io"].iter().any(|group| key.0.ends_with(group))
        && !key.0.starts_with("customresource")
}

pub(super) fn is_gitops(key: &Key, _: &Value) -> bool {
    const KINDS: [&str; 5] = [
        "applications.argoproj.io",
        "applicationsets.argoproj.io",
        "kustomizations.kustomize.toolkit.fluxcd.io",
        "helmreleases.helm.toolkit.fluxcd.io",
        "helmcharts.helm.cattle.io",
    ];
    KINDS.contains(&key.0.as_str())
}
