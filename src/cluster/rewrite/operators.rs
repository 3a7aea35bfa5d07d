//! What operators keep in the API beside what a person wants: state of what they run, requests that they have carried out, and objects that they make anew.
//! Restored without its status a request is carried out again, and state speaks of disks and processes that are gone.

use serde_json::Value;

use super::skip::{Facts, Skip};
use crate::cluster::Kind;
use crate::cluster::choice::means;
use crate::cluster::object::{annotation, controller_of, items, label, text};

/// Volumes, copies and backups as a storage system or backup program knows them. What a person sets there (settings, schedules, targets) is restored.
const STORAGE: [&str; 19] = [
    "backingimagedatasources.longhorn.io",
    "backingimagemanagers.longhorn.io",
    "backupbackingimages.longhorn.io",
    "backups.longhorn.io",
    "backupvolumes.longhorn.io",
    "engineimages.longhorn.io",
    "engines.longhorn.io",
    "instancemanagers.longhorn.io",
    "nodes.longhorn.io",
    "orphans.longhorn.io",
    "replicas.longhorn.io",
    "sharemanagers.longhorn.io",
    "snapshots.longhorn.io",
    "supportbundles.longhorn.io",
    "volumeattachments.longhorn.io",
    "volumes.longhorn.io",
    "backuprepositories.velero.io",
    "podvolumebackups.velero.io",
    "datauploads.velero.io",
];
/// Their status says that they are done. It is not restored, and they would begin anew: Velero would restore over what was just restored.
const REQUESTS: [&str; 10] = [
    "backups.velero.io",
    "datadownloads.velero.io",
    "deletebackuprequests.velero.io",
    "downloadrequests.velero.io",
    "podvolumerestores.velero.io",
    "restores.velero.io",
    "serverstatusrequests.velero.io",
    "backups.postgresql.cnpg.io",
    "systembackups.longhorn.io",
    "systemrestores.longhorn.io",
];
const POSTGRES: &str = "postgresql.cnpg.io";
const POSTGRES_CLUSTER: &str = "cnpg.io/cluster";
/// Kinds of objects that fetch secrets from a store outside the cluster, and own what they fetched.
const FETCHERS: [(&str, &str); 3] = [
    ("external-secrets.io", "ExternalSecret"),
    ("onepassword.com", "OnePasswordItem"),
    ("k8s.bitwarden.com", "BitwardenSecret"),
];
const KYVERNO_MADE: &str = "webhook.kyverno.io/managed-by";

fn group_of(owner: &Value) -> &str {
    text(owner, &["apiVersion"]).split_once('/').map_or("", |(group, _)| group)
}

/// Whether objects of this kind make secrets from what a store outside the cluster has.
#[must_use]
pub fn is_fetcher(kind: &Kind) -> bool {
    FETCHERS.iter().any(|(group, name)| kind.is(group, name))
}

pub(super) fn skip(kind: &Kind, object: &Value, facts: &Facts) -> Option<Skip> {
    if STORAGE.iter().any(|pattern| means(pattern, kind)) {
        return Some(Skip::OfAStorageSystem);
    }
    if REQUESTS.iter().any(|pattern| means(pattern, kind)) {
        return Some(Skip::CarriedOut);
    }
    // They refuse every change until Kyverno runs, and Kyverno makes them as soon as it does.
    if kind.group == "admissionregistration.k8s.io" && label(object, KYVERNO_MADE) == "kyverno" {
        return Some(Skip::MadeByItsController("Kyverno".to_owned()));
    }
    postgres(kind, object, facts).or_else(|| fetched(kind, object, facts))
}

/// A database of `CloudNativePG` is recovered by the operator into a new cluster, never from what the old one's volumes and objects were: restored as it was
/// it would be a new, empty database. Services and rights that nobody owns would keep the operator from making its own; passwords are not in its backups.
fn postgres(kind: &Kind, object: &Value, facts: &Facts) -> Option<Skip> {
    if kind.is(POSTGRES, "Cluster") {
        return facts.alive.then_some(Skip::RecoveredByItsOperator);
    }
    let owner =
        controller_of(object).filter(|owner| group_of(owner) == POSTGRES && text(owner, &["kind"]) == "Cluster");
    let made = match (owner, label(object, POSTGRES_CLUSTER)) {
        (Some(owner), _) => text(owner, &["name"]),
        (None, cluster) if kind.is("", "PersistentVolumeClaim") && !cluster.is_empty() => cluster,
        _ => return None,
    };
    let is_its_own = kind.group == POSTGRES || kind.is("", "Secret");
    (!is_its_own).then(|| Skip::MadeByItsController(format!("Cluster {made}")))
}

/// A secret that its maker, which is restored too, fetches again.
fn fetched(kind: &Kind, object: &Value, facts: &Facts) -> Option<Skip> {
    if !kind.is("", "Secret") || facts.with_derived {
        return None;
    }
    let makers = items(object, &["metadata", "ownerReferences"]).iter();
    let mut makers = makers.filter(|owner| facts.fetchers.contains(text(owner, &["uid"])));
    makers.next().map(|maker| Skip::Derived(format!("{} {}", text(maker, &["kind"]), text(maker, &["name"]))))
}

/// A claim that was made for one pod and goes with it (a generic ephemeral volume): `POD-VOLUME`. A stateful set's are named the other way round.
pub(crate) fn is_ephemeral(kind: &Kind, object: &Value) -> bool {
    let pod = controller_of(object).filter(|owner| text(owner, &["kind"]) == "Pod");
    let rest = pod.and_then(|pod| text(object, &["metadata", "name"]).strip_prefix(text(pod, &["name"])));
    kind.is("", "PersistentVolumeClaim") && rest.is_some_and(|rest| rest.starts_with('-'))
}

/// `ArgoCD` says with it whose an object is, and which object: one with another name is not it.
pub(super) const TRACKING: &str = "argocd.argoproj.io/tracking-id";

/// Whether it names this very object.
pub(super) fn is_tracked_as(object: &Value, namespace: &str, name: &str) -> bool {
    annotation(object, TRACKING).ends_with(&format!(":{namespace}/{name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    fn facts() -> Facts {
        Facts { alive: true, fetchers: ["u-fetcher".to_owned()].into(), ..Facts::default() }
    }

    fn owned(by: &str, group: &str, uid: &str, controller: bool) -> Value {
        json!({"metadata": {"name": "x", "ownerReferences": [
            {"apiVersion": format!("{group}/v1"), "kind": by, "name": "y", "uid": uid, "controller": controller},
        ]}})
    }

    #[test]
    fn what_is_done_is_not_done_again_and_what_a_person_set_is_restored() {
        let why = |group: &str, plural: &str| skip(&example(group, plural, "X"), &json!({}), &facts());
        for plural in ["restores", "backups", "deletebackuprequests"] {
            assert_eq!(why("velero.io", plural), Some(Skip::CarriedOut), "{plural}");
        }
        assert_eq!(why("postgresql.cnpg.io", "backups"), Some(Skip::CarriedOut));
        for plural in ["volumes", "engines", "replicas", "nodes", "backups"] {
            assert_eq!(why("longhorn.io", plural), Some(Skip::OfAStorageSystem), "{plural}");
        }
        for (group, plural) in [
            ("longhorn.io", "settings"),
            ("longhorn.io", "recurringjobs"),
            ("longhorn.io", "backuptargets"),
            ("velero.io", "schedules"),
            ("velero.io", "backupstoragelocations"),
            ("postgresql.cnpg.io", "scheduledbackups"),
            ("example.org", "volumes"),
        ] {
            assert_eq!(why(group, plural), None, "{plural}.{group}");
        }
    }

    #[test]
    fn a_database_is_left_to_its_operator_and_its_passwords_are_kept() {
        let of = |kind: Kind| skip(&kind, &owned("Cluster", "postgresql.cnpg.io", "u", true), &facts());
        let made = Some(Skip::MadeByItsController("Cluster y".to_owned()));
        for (group, name) in [
            ("", "Service"),
            ("", "PersistentVolumeClaim"),
            ("", "ServiceAccount"),
            ("policy", "PodDisruptionBudget"),
            ("rbac.authorization.k8s.io", "Role"),
        ] {
            assert_eq!(of(example(group, "", name)), made, "{name}");
        }
        assert_eq!(of(example("", "", "Secret")), None);
        let cluster = example("postgresql.cnpg.io", "clusters", "Cluster");
        assert_eq!(skip(&cluster, &json!({}), &facts()), Some(Skip::RecoveredByItsOperator));
        assert_eq!(
            skip(&cluster, &json!({}), &Facts::default()),
            None,
            "in a folder nothing acts: its manifest is wanted"
        );
        let claim = json!({"metadata": {"labels": {"cnpg.io/cluster": "y"}}});
        assert_eq!(skip(&example("", "", "PersistentVolumeClaim"), &claim, &facts()), made);
        assert_eq!(skip(&example("", "", "ConfigMap"), &claim, &facts()), None);
        let capi = owned("Cluster", "cluster.x-k8s.io", "u", true);
        assert_eq!(skip(&example("", "", "Service"), &capi, &facts()), None, "another kind of cluster");
    }

    #[test]
    fn a_fetched_secret_is_left_out_only_if_its_fetcher_comes_too_and_nobody_asks_for_it() {
        let secret = example("", "", "Secret");
        let of = |uid: &str| owned("OnePasswordItem", "onepassword.com", uid, false);
        let made = Some(Skip::Derived("OnePasswordItem y".to_owned()));
        assert_eq!(skip(&secret, &of("u-fetcher"), &facts()), made);
        assert_eq!(skip(&secret, &of("u-other"), &facts()), None, "nobody would fetch it");
        let asked = Facts { with_derived: true, ..facts() };
        assert_eq!(skip(&secret, &of("u-fetcher"), &asked), None);
        assert_eq!(skip(&example("", "", "ConfigMap"), &of("u-fetcher"), &facts()), None);
        assert!(is_fetcher(&example("external-secrets.io", "", "ExternalSecret")));
        assert!(
            !is_fetcher(&example("cert-manager.io", "", "Certificate")),
            "a certificate that is lost is asked for anew"
        );
    }

    #[test]
    fn kyvernos_own_webhooks_are_left_to_it() {
        let kind = example("admissionregistration.k8s.io", "", "ValidatingWebhookConfiguration");
        let hook = |labels: Value| json!({"metadata": {"name": "x", "labels": labels}});
        let made = Some(Skip::MadeByItsController("Kyverno".to_owned()));
        assert_eq!(skip(&kind, &hook(json!({"webhook.kyverno.io/managed-by": "kyverno"})), &facts()), made);
        assert_eq!(skip(&kind, &hook(json!({"app": "kyverno"})), &facts()), None);
    }

    #[test]
    fn a_claim_for_one_pod_is_told_from_one_of_a_stateful_set() {
        let claim = |name: &str| {
            let mut claim = owned("Pod", "", "u", true);
            claim["metadata"]["name"] = name.into();
            claim
        };
        let kind = example("", "", "PersistentVolumeClaim");
        assert!(is_ephemeral(&kind, &claim("y-scratch")));
        assert!(!is_ephemeral(&kind, &claim("data-y")));
        assert!(!is_ephemeral(&example("", "", "ConfigMap"), &claim("y-scratch")));
    }
}
