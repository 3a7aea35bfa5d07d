//! Which rights an operation will need, by what it will do and where. The roles in the documents grant the same; tests compare both with what is really asked of a server.

use std::collections::BTreeSet;

use super::rights::{Need, Right};
use crate::cluster::kinds::LEASE_NAMESPACE;

/// When something is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always, in the whole cluster.
    Always,
    /// Only for the words of errors.
    Words,
    /// Where movers run.
    Movers,
    /// Where movers run, and Cilium is there.
    Cilium,
    /// Where copies are made of claims, and what they are made from: with a namespace of ours.
    Copies,
    /// In our namespace.
    Home,
    /// In the whole cluster, with a namespace of ours.
    Storage,
    /// With hooks, in the whole cluster: what dead runs left held is looked for everywhere.
    Hooks,
    /// With hooks, in our namespace.
    Journal,
    /// Where anything is held.
    Held,
    /// Where workloads are scaled, and it could not be found out which.
    Unclear,
    /// With workloads that are scaled, where KEDA is.
    Keda,
    /// With workloads that are scaled, for those kinds of Flux and ArgoCD that the cluster has.
    Git,
    /// Where commands run.
    Commands,
    /// Where the lease of the cluster is.
    Lease,
}

/// Group, resource, verbs, and when.
type Row = (&'static str, &'static str, &'static [&'static str], When);

/// What whoever starts movers asks of the server, whatever they do.
const MOVERS: [Row; 15] = [
    ("", "persistentvolumeclaims", &["list"], When::Always),
    ("", "persistentvolumes", &["list"], When::Always),
    ("", "namespaces", &["list"], When::Always),
    ("", "nodes", &["list"], When::Always),
    ("", "pods", &["list"], When::Always),
    ("storage.k8s.io", "storageclasses", &["list"], When::Always),
    ("storage.k8s.io", "csidrivers", &["list"], When::Always),
    ("networking.k8s.io", "networkpolicies", &["list"], When::Always),
    ("cilium.io", "ciliumnetworkpolicies", &["list"], When::Cilium),
    ("", "events", &["list"], When::Words),
    ("", "pods", &["get", "create", "patch", "delete"], When::Movers),
    // Older servers ask for `get` when a connection is upgraded, newer ones for `create`, too.
    ("", "pods/attach", &["get", "create"], When::Movers),
    ("", "pods/log", &["get"], When::Movers),
    ("networking.k8s.io", "networkpolicies", &["get", "create", "delete"], When::Movers),
    ("cilium.io", "ciliumnetworkpolicies", &["get", "create", "delete"], When::Cilium),
];

/// What a backup of volumes takes besides. docs/volumes.md grants both; a test compares them, and what is really asked.
const VOLUMES: [Row; 9] = [
    ("snapshot.storage.k8s.io", "volumesnapshotclasses", &["list"], When::Storage),
    ("snapshot.storage.k8s.io", "volumesnapshotcontents", &["get", "list", "create", "patch", "delete"], When::Storage),
    ("snapshot.storage.k8s.io", "volumesnapshots", &["list"], When::Storage),
    ("", "persistentvolumes", &["get", "patch"], When::Storage),
    ("snapshot.storage.k8s.io", "volumesnapshots", &["get", "create", "delete"], When::Copies),
    ("", "persistentvolumeclaims", &["get", "create", "patch", "delete"], When::Copies),
    ("snapshot.storage.k8s.io", "volumesnapshots", &["get", "create", "delete"], When::Home),
    ("", "persistentvolumeclaims", &["get", "create", "patch", "delete"], When::Home),
    ("", "configmaps", &["get", "create", "patch"], When::Home),
];

/// What hooks take besides, but for the objects that they change, which are known one by one. The second role in docs/volumes.md grants it.
const HOOKS: [Row; 17] = [
    ("", "persistentvolumeclaims", &["get"], When::Held),
    ("", "pods", &["get"], When::Held),
    ("", "configmaps", &["list"], When::Hooks),
    ("", "configmaps", &["get", "create", "patch", "delete"], When::Journal),
    ("apps", "replicasets", &["get"], When::Unclear),
    ("apps", "deployments", &["get", "patch"], When::Unclear),
    ("apps", "statefulsets", &["get", "patch"], When::Unclear),
    ("", "replicationcontrollers", &["get"], When::Unclear),
    ("", "persistentvolumes", &["get", "patch"], When::Unclear),
    ("keda.sh", "scaledobjects", &["list"], When::Keda),
    ("argoproj.io", "applicationsets", &["get", "list", "patch"], When::Git),
    ("argoproj.io", "applications", &["get", "list", "patch"], When::Git),
    ("kustomize.toolkit.fluxcd.io", "kustomizations", &["get", "list", "patch"], When::Git),
    ("helm.toolkit.fluxcd.io", "helmreleases", &["get", "list", "patch"], When::Git),
    ("fluxcd.controlplane.io", "fluxinstances", &["get", "list", "patch"], When::Git),
    ("fluxcd.controlplane.io", "resourcesets", &["get", "list", "patch"], When::Git),
    // Older servers ask for `get`, newer ones for `create`, too.
    ("", "pods/exec", &["get", "create"], When::Commands),
];

/// What keeps two recoveries of a cluster apart.
const LEASE: [Row; 1] = [("coordination.k8s.io", "leases", &["get", "create", "patch", "delete"], When::Lease)];

/// What filling volumes takes besides. docs/recover-cluster.md grants both.
const FILLING: [Row; 3] = [
    ("", "namespaces", &["get"], When::Always),
    ("snapshot.storage.k8s.io", "volumesnapshotclasses", &["list"], When::Always),
    ("", "persistentvolumeclaims", &["get", "create", "patch"], When::Movers),
];

/// What a backup of volumes will do, or the filling of volumes, as far as rights go.
#[derive(Debug, Clone, Default)]
pub struct OfVolumes {
    /// Namespaces that movers run in.
    pub movers: BTreeSet<String>,
    /// Namespaces of claims that a copy is made of.
    pub copies: BTreeSet<String>,
    /// Nobody knows where: everywhere.
    pub anywhere: bool,
    /// Our namespace.
    pub home: Option<String>,
    /// The cluster has the kinds of Cilium.
    pub cilium: bool,
    /// It has those of CSI snapshots.
    pub snapshots: bool,
    /// What hooks will do; `None` if there are none.
    pub hooks: Option<OfHooks>,
}

/// What hooks will do, as far as rights go.
#[derive(Debug, Clone, Default)]
pub struct OfHooks {
    /// The objects that are changed: group and resource, and the namespace if they are in one.
    pub changed: BTreeSet<(String, String, Option<String>)>,
    /// Namespaces of the claims that hooks are for.
    pub held: BTreeSet<String>,
    /// Namespaces where workloads are scaled, and it could not be found out which.
    pub unclear: BTreeSet<String>,
    /// Whether anything is scaled, and the cluster has KEDA.
    pub keda: bool,
    /// Group and resource of the kinds of Flux and ArgoCD that the cluster has, if anything is scaled.
    pub git: BTreeSet<(String, String)>,
    /// Namespaces that commands run in.
    pub commands: BTreeSet<String>,
}

impl OfHooks {
    /// The objects that it changes: each is read, and changed by a patch.
    fn changes(&self) -> impl Iterator<Item = Need> {
        self.changed.iter().flat_map(|(group, resource, namespace)| {
            ["get", "patch"].map(|verb| Need {
                right: Right { verb: verb.to_owned(), group: group.clone(), resource: resource.clone() },
                namespace: namespace.clone(),
                for_words: false,
            })
        })
    }
}

impl OfVolumes {
    /// Everything that a backup needs.
    #[must_use]
    pub fn needs(&self) -> Vec<Need> {
        let mut needs = self.needs_of(MOVERS.iter().chain(&VOLUMES));
        if let Some(hooks) = &self.hooks {
            needs.extend(self.needs_of(HOOKS.iter()));
            needs.extend(hooks.changes());
        }
        needs.into_iter().collect()
    }

    /// Everything that filling needs, but for the lease.
    #[must_use]
    pub fn needs_to_fill(&self) -> Vec<Need> {
        self.needs_of(MOVERS.iter().chain(&FILLING)).into_iter().collect()
    }

    /// What whoever restores into a cluster needs to keep others away from it.
    #[must_use]
    pub fn needs_of_lease() -> BTreeSet<Need> {
        Self::default().needs_of(LEASE.iter())
    }

    fn needs_of<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> BTreeSet<Need> {
        let (mut needs, none) = (BTreeSet::new(), OfHooks::default());
        let hooks = self.hooks.as_ref().unwrap_or(&none);
        for &(group, resource, verbs, when) in rows {
            let unknown =
                (group == "cilium.io" && !self.cilium) || (group == "snapshot.storage.k8s.io" && !self.snapshots);
            if unknown {
                continue;
            }
            let somewhere = |namespaces: &BTreeSet<String>| {
                if self.anywhere { vec![None] } else { namespaces.iter().cloned().map(Some).collect::<Vec<_>>() }
            };
            let places = match when {
                When::Keda if !hooks.keda => Vec::new(),
                When::Git if !hooks.git.contains(&(group.to_owned(), resource.to_owned())) => Vec::new(),
                When::Always | When::Words | When::Hooks | When::Keda | When::Git => vec![None],
                When::Storage => self.home.iter().map(|_| None).collect(),
                // Listed by the sweep, wherever they are.
                When::Cilium if verbs == ["list"] => vec![None],
                When::Movers | When::Cilium => somewhere(&self.movers),
                // Without a namespace of ours there are none.
                When::Copies if self.home.is_none() => Vec::new(),
                When::Copies => somewhere(&self.copies),
                When::Home | When::Journal => self.home.iter().cloned().map(Some).collect(),
                When::Held => somewhere(&hooks.held),
                When::Unclear => somewhere(&hooks.unclear),
                When::Commands => somewhere(&hooks.commands),
                When::Lease => vec![Some(LEASE_NAMESPACE.to_owned())],
            };
            for (verb, namespace) in verbs.iter().flat_map(|verb| places.iter().map(move |place| (*verb, place))) {
                let right = Right { verb: verb.to_owned(), group: group.to_owned(), resource: resource.to_owned() };
                needs.insert(Need { right, namespace: namespace.clone(), for_words: when == When::Words });
            }
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Everything that a role of a page grants, as group, resource and verb.
    fn granted(page: &str, mark: &str) -> BTreeSet<(String, String, String)> {
        let (_, rest) = page.split_once(mark).expect("the block is marked");
        let (text, _) = rest.split_once("\n```").expect("closed");
        let role: Value = serde_saphyr::from_str(text).expect("a manifest");
        let list = |rule: &Value, field: &str| -> Vec<String> {
            let items = rule.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
        };
        let mut all = BTreeSet::new();
        for rule in role.get("rules").and_then(Value::as_array).expect("rules") {
            for group in list(rule, "apiGroups") {
                for resource in list(rule, "resources") {
                    all.extend(list(rule, "verbs").into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
                }
            }
        }
        all
    }

    const VOLUMES_PAGE: &str = include_str!("../../docs/volumes.md");

    /// All that is asked for is granted, and of everything that is granted at least one verb is needed.
    fn agree(rows: &[Row], role: &BTreeSet<(String, String, String)>, more: &BTreeSet<(String, String, String)>) {
        for (group, resource, verbs, _) in rows {
            for verb in *verbs {
                let right = ((*group).to_owned(), (*resource).to_owned(), (*verb).to_owned());
                assert!(role.contains(&right) || more.contains(&right), "{right:?}");
            }
        }
        for (group, resource, _) in role {
            assert!(rows.iter().any(|(g, r, ..)| g == group && r == resource), "{resource}.{group}");
        }
    }

    #[test]
    fn the_documented_roles_have_all_that_is_asked_for() {
        let volumes = granted(VOLUMES_PAGE, "```yaml rights\n");
        agree(&[&MOVERS[..], &VOLUMES].concat(), &volumes, &BTreeSet::new());
        agree(&HOOKS, &granted(VOLUMES_PAGE, "```yaml rights of hooks\n"), &volumes);
        let filling = granted(include_str!("../../docs/recover-cluster.md"), "```yaml rights\n");
        agree(&[&MOVERS[..], &FILLING, &LEASE].concat(), &filling, &BTreeSet::new());
    }

    #[test]
    fn hooks_need_what_they_change_and_where_they_run() {
        let changed = ("apps".to_owned(), "statefulsets".to_owned(), Some("media".to_owned()));
        let hooks = OfHooks { changed: [changed].into(), commands: ["home".to_owned()].into(), ..OfHooks::default() };
        let of = |hooks| OfVolumes { home: Some("backup".into()), hooks, ..OfVolumes::default() }.needs();
        let has = |needs: &[Need], verb: &str, resource: &str, namespace: Option<&str>| {
            let is = |need: &&Need| need.right.verb == verb && need.right.resource == resource;
            needs.iter().filter(is).any(|need| need.namespace.as_deref() == namespace)
        };
        let (with, without) = (of(Some(hooks)), of(None));
        for (verb, resource, namespace) in [
            ("patch", "statefulsets", Some("media")),
            ("create", "pods/exec", Some("home")),
            ("list", "configmaps", None),
            ("delete", "configmaps", Some("backup")),
        ] {
            assert!(has(&with, verb, resource, namespace) && !has(&without, verb, resource, namespace), "{resource}");
        }
        assert!(!has(&with, "get", "deployments", Some("media")) && !has(&with, "list", "scaledobjects", None));
        assert!(!has(&with, "patch", "applications", None));
        let git = [("argoproj.io".to_owned(), "applications".to_owned())].into();
        let kept = of(Some(OfHooks { git, ..OfHooks::default() }));
        assert!(has(&kept, "patch", "applications", None) && !has(&kept, "patch", "kustomizations", None));
    }

    #[test]
    fn what_is_needed_depends_on_where_movers_run_and_what_the_cluster_has() {
        let of = |movers: &[&str], home: Option<&str>, cilium| {
            let movers = movers.iter().map(|name| (*name).to_owned()).collect();
            OfVolumes { movers, home: home.map(str::to_owned), cilium, snapshots: true, ..OfVolumes::default() }.needs()
        };
        let has = |needs: &[Need], resource: &str, namespace: Option<&str>| {
            needs.iter().any(|need| need.right.resource == resource && need.namespace.as_deref() == namespace)
        };
        let plain = of(&["media"], None, false);
        assert!(has(&plain, "pods/attach", Some("media")) && !has(&plain, "configmaps", None));
        assert!(!has(&plain, "ciliumnetworkpolicies", Some("media")) && !has(&plain, "volumesnapshotclasses", None));
        let more = of(&["media"], Some("backup"), true);
        assert!(has(&more, "ciliumnetworkpolicies", Some("media")) && has(&more, "configmaps", Some("backup")));
        assert!(has(&more, "volumesnapshotcontents", None) && has(&more, "ciliumnetworkpolicies", None));
    }
}
