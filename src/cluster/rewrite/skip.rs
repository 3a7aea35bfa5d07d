//! Which captured objects are not restored, and why: what a cluster makes again by itself, what was true only for a moment, what is over.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::account::{TOKEN, TOKEN_OF};
use super::operators;
use crate::cluster::Kind;
use crate::cluster::choice::is_generated_slice;
use crate::cluster::object::{
    annotation, at, controller_of, is_dying, items, label, name_of, namespace_of, text, uid_of,
};
use crate::cluster::ours::is_of_a_run;

/// Why an object is not restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "of")]
pub enum Skip {
    /// It says what was so at one moment, such as an event, a lease or a node.
    OfTheMoment,
    /// The cluster makes it by itself, such as `kube-root-ca.crt`.
    MadeByTheCluster,
    /// Its controller makes it anew: kind and name.
    MadeByItsController(String),
    /// A pod or job that has ended.
    Ended,
    /// It was being deleted.
    BeingDeleted,
    /// A static pod: a file on a node, shown by the API.
    MirrorPod,
    /// A token that was made for a service account.
    IssuedToken,
    /// It refers to a snapshot in a storage system that is not in the backup.
    StorageSnapshot,
    /// A volume that no chosen claim is bound to.
    VolumeOfNoClaim,
    /// A volume that was provisioned for its claim: the claim gets a new one.
    ProvisionedVolume,
    /// What a storage system or backup program notes of data that is not in the backup.
    OfAStorageSystem,
    /// A request that was carried out: without its status it would be again.
    CarriedOut,
    /// A database whose operator makes it anew from its own backups, with another manifest than this one.
    RecoveredByItsOperator,
    /// A secret that its maker fetches from a store outside the cluster: kind and name.
    Derived(String),
    /// A drill does not take it over: why.
    NotInADrill(String),
    /// What a run of ours made for itself, such as a mover, or its journal.
    OfARun,
}

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OfTheMoment => "true only at that moment",
            Self::MadeByTheCluster => "the cluster makes it by itself",
            Self::MadeByItsController(owner) => return write!(f, "made anew by {owner}"),
            Self::Ended => "it has ended",
            Self::BeingDeleted => "it was being deleted",
            Self::MirrorPod => "a static pod of a node",
            Self::IssuedToken => "a token of the old cluster",
            Self::StorageSnapshot => "its storage snapshot is not in the backup",
            Self::VolumeOfNoClaim => "no chosen claim is bound to it",
            Self::ProvisionedVolume => "provisioned for its claim, which gets a new one",
            Self::OfAStorageSystem => "a storage system's own record of data that is not in the backup",
            Self::CarriedOut => "it was carried out, and would be again",
            Self::RecoveredByItsOperator => "its operator recovers it, by a Cluster with bootstrap.recovery",
            Self::NotInADrill(why) => return f.write_str(why),
            Self::Derived(maker) => {
                return write!(f, "fetched anew by {maker} (--with-derived-secrets restores it)");
            }
            Self::OfARun => "homelab-dr made it for a run",
        })
    }
}

/// What other objects of the snapshot say.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Services that choose their endpoints by a selector: namespace and name.
    pub selecting_services: BTreeSet<(String, String)>,
    /// Claims that are restored: namespace and name.
    pub claims: BTreeSet<(String, String)>,
    /// Objects that are restored and fetch secrets from outside: their uids.
    pub fetchers: BTreeSet<String>,
    /// Secrets that could be fetched are restored all the same.
    pub with_derived: bool,
    /// Something acts in the target: it is a cluster, no folder.
    pub alive: bool,
}

impl Facts {
    /// Takes in what an object says; `chosen`: whether it is restored.
    pub fn hear(&mut self, kind: &Kind, object: &Value, chosen: bool) {
        let key = || (namespace_of(object).unwrap_or_default().to_owned(), name_of(object).to_owned());
        if kind.is("", "Service") && at(object, &["spec", "selector"]).is_object() {
            self.selecting_services.insert(key());
        }
        if !chosen {
            return;
        }
        if kind.is("", "PersistentVolumeClaim") {
            self.claims.insert(key());
        }
        if operators::is_fetcher(kind) && !is_dying(object) {
            self.fetchers.insert(uid_of(object).to_owned());
        }
    }
}

/// Kinds that say what is so at a moment, as `resource.group` or `*.group`. Most are not captured; a folder may have them.
const OF_THE_MOMENT: [&str; 33] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "leasecandidates.coordination.k8s.io",
    "nodes",
    "componentstatuses",
    "bindings",
    "csinodes.storage.k8s.io",
    "csistoragecapacities.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "storageversions.internal.apiserver.k8s.io",
    "certificatesigningrequests.certificates.k8s.io",
    "controllerrevisions.apps",
    "resourceslices.resource.k8s.io",
    "ipaddresses.networking.k8s.io",
    "*.metrics.k8s.io",
    "*.custom.metrics.k8s.io",
    "*.external.metrics.k8s.io",
    "*.authentication.k8s.io",
    "*.authorization.k8s.io",
    "*.wgpolicyk8s.io",
    "*.reports.kyverno.io",
    "certificaterequests.cert-manager.io",
    "orders.acme.cert-manager.io",
    "challenges.acme.cert-manager.io",
    "ciliumnodes.cilium.io",
    "ciliumendpoints.cilium.io",
    "ciliumidentities.cilium.io",
    "ciliumendpointslices.cilium.io",
    "podinfo.cilium.io",
    "updaterequests.kyverno.io",
    "*.aquasecurity.github.io",
    "etcdsnapshotfiles.k3s.cattle.io",
];
/// Namespaces that hold only what the cluster writes.
const CLUSTERS_NAMESPACES: [&str; 2] = ["kube-node-lease", "kube-public"];
/// Objects that the API server, its controllers or k3s make: group, kind, namespace and name.
const CLUSTERS_OBJECTS: [(&str, &str, &str, &str); 7] = [
    ("", "Service", "default", "kubernetes"),
    ("", "Endpoints", "default", "kubernetes"),
    ("discovery.k8s.io", "EndpointSlice", "default", "kubernetes"),
    ("", "ConfigMap", "kube-system", "extension-apiserver-authentication"),
    ("", "ConfigMap", "kube-system", "kube-apiserver-legacy-service-account-token-tracking"),
    ("", "Secret", "kube-system", "k3s-serving"),
    ("networking.k8s.io", "ServiceCIDR", "", "kubernetes"),
];
const ROOT_CERTIFICATE: &str = "kube-root-ca.crt";
/// The passwords of nodes that were: they would keep new ones of the same names out.
const K3S_NODE_PASSWORD: &str = ".node-password.k3s";
/// Names of priority classes that only the API server may give.
const SYSTEM_PRIORITIES: &str = "system-";
/// Kinds whose objects are made by controllers when another object controls them.
const CONTROLLED: [(&str, &str); 5] = [
    ("", "Pod"),
    ("", "ReplicationController"),
    ("apps", "ReplicaSet"),
    ("apps", "ControllerRevision"),
    ("batch", "Job"),
];
/// Characters that generated names end with.
const GENERATED: &str = "bcdfghjklmnpqrstvwxz2456789";
const GENERATED_LENGTH: usize = 5;

/// Why this object is not restored; `None` if it is.
#[must_use]
pub fn skip(kind: &Kind, object: &Value, facts: &Facts) -> Option<Skip> {
    if OF_THE_MOMENT.iter().any(|pattern| crate::cluster::choice::means(pattern, kind)) {
        return Some(Skip::OfTheMoment);
    }
    if is_dying(object) {
        return Some(Skip::BeingDeleted);
    }
    if is_of_a_run(kind, object) {
        return Some(Skip::OfARun);
    }
    if is_the_clusters(kind, object) {
        return Some(Skip::MadeByTheCluster);
    }
    if kind.is("", "Pod") && !annotation(object, "kubernetes.io/config.mirror").is_empty() {
        return Some(Skip::MirrorPod);
    }
    if CONTROLLED.iter().any(|(group, name)| kind.is(group, name))
        && let Some(owner) = controller_of(object)
    {
        return Some(Skip::MadeByItsController(format!("{} {}", text(owner, &["kind"]), text(owner, &["name"]))));
    }
    if operators::is_ephemeral(kind, object) {
        return Some(Skip::MadeByItsController("its Pod".to_owned()));
    }
    if is_generated_slice(kind, object) {
        let service = label(object, "kubernetes.io/service-name");
        return Some(Skip::MadeByItsController(format!("Service {service}")));
    }
    if has_ended(kind, object) {
        return Some(Skip::Ended);
    }
    if is_issued_token(kind, object) {
        return Some(Skip::IssuedToken);
    }
    if kind.group == "snapshot.storage.k8s.io" && kind.name != "VolumeSnapshotClass" {
        return Some(Skip::StorageSnapshot);
    }
    let key = (namespace_of(object).unwrap_or_default().to_owned(), name_of(object).to_owned());
    if kind.is("", "Endpoints") && facts.selecting_services.contains(&key) {
        return Some(Skip::MadeByItsController(format!("Service {}", key.1)));
    }
    if kind.is("", "PersistentVolume") {
        return volume(object, facts);
    }
    operators::skip(kind, object, facts)
}

fn is_the_clusters(kind: &Kind, object: &Value) -> bool {
    let (namespace, name) = (namespace_of(object).unwrap_or_default(), name_of(object));
    let listed = CLUSTERS_OBJECTS.iter().any(|(g, k, ns, n)| kind.is(g, k) && (namespace, name) == (*ns, *n));
    let whole = if kind.is("", "Namespace") { name } else { namespace };
    listed
        || CLUSTERS_NAMESPACES.contains(&whole)
        || (kind.is("", "ConfigMap") && name == ROOT_CERTIFICATE)
        || (kind.is("", "Secret") && namespace == "kube-system" && name.ends_with(K3S_NODE_PASSWORD))
        || (kind.is("scheduling.k8s.io", "PriorityClass") && name.starts_with(SYSTEM_PRIORITIES))
        || annotation(object, "rbac.authorization.kubernetes.io/autoupdate") == "true"
        || annotation(object, "apf.kubernetes.io/autoupdate-spec") == "true"
        || !label(object, "kube-aggregator.kubernetes.io/automanaged").is_empty()
}

fn has_ended(kind: &Kind, object: &Value) -> bool {
    match (kind.group.as_str(), kind.name.as_str()) {
        ("", "Pod") => matches!(text(object, &["status", "phase"]), "Succeeded" | "Failed"),
        ("batch", "Job") => {
            let conditions = items(object, &["status", "conditions"]).iter();
            at(object, &["status", "completionTime"]).is_string()
                || conditions.into_iter().any(|condition| {
                    matches!(text(condition, &["type"]), "Complete" | "Failed")
                        && text(condition, &["status"]) == "True"
                })
        }
        _ => false,
    }
}

/// Named after its account with five characters at the end: nobody names a secret so by hand.
fn is_issued_token(kind: &Kind, object: &Value) -> bool {
    if !kind.is("", "Secret") {
        return false;
    }
    if text(object, &["type"]) == "bootstrap.kubernetes.io/token" {
        return true;
    }
    let rest = name_of(object).strip_prefix(annotation(object, TOKEN_OF)).and_then(|rest| rest.strip_prefix("-token-"));
    text(object, &["type"]) == TOKEN
        && rest.is_some_and(|rest| rest.len() == GENERATED_LENGTH && rest.chars().all(|c| GENERATED.contains(c)))
}

fn volume(object: &Value, facts: &Facts) -> Option<Skip> {
    let claim = |field| text(object, &["spec", "claimRef", field]).to_owned();
    if !facts.claims.contains(&(claim("namespace"), claim("name"))) {
        Some(Skip::VolumeOfNoClaim)
    } else if !annotation(object, "pv.kubernetes.io/provisioned-by").is_empty() {
        Some(Skip::ProvisionedVolume)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    fn kind(group: &str, name: &str) -> Kind {
        let plural = if name.ends_with('s') {
            format!("{}es", name.to_lowercase())
        } else if let Some(stem) = name.to_lowercase().strip_suffix('y') {
            format!("{stem}ies")
        } else {
            format!("{}s", name.to_lowercase())
        };
        example(group, &plural.replace("endpointses", "endpoints"), name)
    }

    #[track_caller]
    fn why(group: &str, name: &str, object: &Value) -> Option<Skip> {
        let mut facts = Facts::default();
        facts.selecting_services.insert(("media".into(), "web".into()));
        facts.claims.insert(("media".into(), "data".into()));
        skip(&kind(group, name), object, &facts)
    }

    #[test]
    fn what_was_true_at_a_moment_is_skipped() {
        for (group, name) in [
            ("", "Event"),
            ("events.k8s.io", "Event"),
            ("coordination.k8s.io", "Lease"),
            ("", "Node"),
            ("storage.k8s.io", "CSINode"),
            ("storage.k8s.io", "VolumeAttachment"),
            ("apps", "ControllerRevision"),
            ("metrics.k8s.io", "PodMetrics"),
            ("cert-manager.io", "CertificateRequest"),
            ("acme.cert-manager.io", "Order"),
            ("acme.cert-manager.io", "Challenge"),
            ("wgpolicyk8s.io", "PolicyReport"),
            ("reports.kyverno.io", "EphemeralReport"),
            ("aquasecurity.github.io", "VulnerabilityReport"),
            ("storage.k8s.io", "CSIStorageCapacity"),
            ("certificates.k8s.io", "CertificateSigningRequest"),
            ("", "ComponentStatus"),
            // Questions that an API server answers and does not keep: one that lists them all the same.
            ("authentication.k8s.io", "TokenReview"),
            ("authentication.k8s.io", "SelfSubjectReview"),
            ("authorization.k8s.io", "SubjectAccessReview"),
            ("", "Binding"),
            // What a program keeps for itself, and writes anew.
            ("coordination.k8s.io", "LeaseCandidate"),
            ("internal.apiserver.k8s.io", "StorageVersion"),
            ("resource.k8s.io", "ResourceSlice"),
            ("kyverno.io", "UpdateRequest"),
            ("cilium.io", "CiliumNode"),
            ("cilium.io", "CiliumEndpoint"),
            ("cilium.io", "CiliumEndpointSlice"),
            ("k3s.cattle.io", "ETCDSnapshotFile"),
        ] {
            assert_eq!(
                why(group, name, &json!({"metadata": {"name": "x"}})),
                Some(Skip::OfTheMoment),
                "{name}.{group}"
            );
        }
        assert_eq!(why("example.org", "Event", &json!({"metadata": {"name": "x"}})), None);
    }

    #[test]
    fn what_the_cluster_makes_by_itself_is_skipped() {
        let named = |namespace: &str, name: &str| json!({"metadata": {"namespace": namespace, "name": name}});
        for (group, kind, object) in [
            ("", "ConfigMap", named("media", "kube-root-ca.crt")),
            ("", "Service", named("default", "kubernetes")),
            ("", "Endpoints", named("default", "kubernetes")),
            ("", "Namespace", json!({"metadata": {"name": "kube-node-lease"}})),
            ("", "ConfigMap", named("kube-public", "cluster-info")),
            ("", "Secret", named("kube-system", "nas.node-password.k3s")),
            ("scheduling.k8s.io", "PriorityClass", json!({"metadata": {"name": "system-node-critical"}})),
            (
                "rbac.authorization.k8s.io",
                "ClusterRole",
                json!({"metadata": {"name": "view", "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}}}),
            ),
            (
                "apiregistration.k8s.io",
                "APIService",
                json!({"metadata": {"name": "v1.", "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}}}),
            ),
        ] {
            assert_eq!(why(group, kind, &object), Some(Skip::MadeByTheCluster), "{object}");
        }
        assert_eq!(why("", "Service", &named("media", "kubernetes")), None);
    }

    #[test]
    fn what_a_controller_makes_anew_is_skipped_and_bare_ones_are_restored() {
        let owned = |controller: bool| json!({"metadata": {"name": "x", "ownerReferences": [{"kind": "Thing", "name": "y", "controller": controller}]}});
        let made = Some(Skip::MadeByItsController("Thing y".into()));
        for (group, name) in [("", "Pod"), ("apps", "ReplicaSet"), ("batch", "Job")] {
            assert_eq!(why(group, name, &owned(true)), made, "{name}");
            assert_eq!(why(group, name, &owned(false)), None, "{name}");
        }
        assert_eq!(why("apps", "Deployment", &owned(true)), None, "a deployment of an operator is restored and linked");
        let endpoints = |name: &str| json!({"metadata": {"namespace": "media", "name": name}});
        assert_eq!(why("", "Endpoints", &endpoints("web")), Some(Skip::MadeByItsController("Service web".into())));
        assert_eq!(why("", "Endpoints", &endpoints("nas")), None, "endpoints without a selector are a person's");
    }

    #[test]
    fn what_has_ended_or_was_going_is_skipped() {
        for phase in ["Succeeded", "Failed"] {
            assert_eq!(why("", "Pod", &json!({"metadata": {}, "status": {"phase": phase}})), Some(Skip::Ended));
        }
        assert_eq!(why("", "Pod", &json!({"metadata": {}, "status": {"phase": "Running"}})), None);
        assert_eq!(why("batch", "Job", &json!({"status": {"completionTime": "t"}})), Some(Skip::Ended));
        let failed = json!({"status": {"conditions": [{"type": "Failed", "status": "True"}]}});
        assert_eq!(why("batch", "Job", &failed), Some(Skip::Ended));
        assert_eq!(why("batch", "Job", &json!({"status": {"active": 1}})), None);
        assert_eq!(why("", "Secret", &json!({"metadata": {"deletionTimestamp": "t"}})), Some(Skip::BeingDeleted));
        let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
        assert_eq!(why("", "Pod", &mirror), Some(Skip::MirrorPod));
    }

    #[test]
    fn an_issued_token_is_skipped_and_a_hand_made_one_is_not() {
        let token = |name: &str| json!({"metadata": {"name": name, "annotations": {TOKEN_OF: "app"}}, "type": TOKEN});
        assert_eq!(why("", "Secret", &token("app-token-x2x2x")), Some(Skip::IssuedToken));
        assert_eq!(why("", "Secret", &token("app-token-forever")), None);
        assert_eq!(why("", "Secret", &token("my-token")), None);
        assert_eq!(why("", "Secret", &json!({"type": "bootstrap.kubernetes.io/token"})), Some(Skip::IssuedToken));
    }

    #[test]
    fn a_volume_is_restored_only_for_a_chosen_claim_that_it_was_made_for_by_hand() {
        let volume = |claim: &str, annotations: Value| json!({"metadata": {"annotations": annotations}, "spec": {"claimRef": {"namespace": "media", "name": claim}}});
        assert_eq!(why("", "PersistentVolume", &volume("data", json!({}))), None);
        assert_eq!(why("", "PersistentVolume", &volume("other", json!({}))), Some(Skip::VolumeOfNoClaim));
        assert_eq!(why("", "PersistentVolume", &json!({"spec": {}})), Some(Skip::VolumeOfNoClaim));
        let provisioned = volume("data", json!({"pv.kubernetes.io/provisioned-by": "rancher.io/local-path"}));
        assert_eq!(why("", "PersistentVolume", &provisioned), Some(Skip::ProvisionedVolume));
    }

    #[test]
    fn snapshots_of_storage_are_skipped_and_their_classes_are_not() {
        let group = "snapshot.storage.k8s.io";
        assert_eq!(why(group, "VolumeSnapshot", &json!({})), Some(Skip::StorageSnapshot));
        assert_eq!(why(group, "VolumeSnapshotContent", &json!({})), Some(Skip::StorageSnapshot));
        assert_eq!(why(group, "VolumeSnapshotClass", &json!({})), None);
    }
}
