//! In which order objects are restored: what others need comes first, what could refuse others comes last.

use serde::Serialize;
use serde_json::Value;

use super::Kind;
use super::object::{annotation, label, namespace_of, text};

/// A step of a recovery; all objects of one are there before the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Custom resource definitions; waited for until they are established.
    Definitions,
    /// Namespaces; waited for until they are active.
    Namespaces,
    /// Classes of priority, storage, runtime, ingress.
    Classes,
    /// Secrets that other secrets and all images come by: keys of SOPS, tokens of secret stores, registries, repositories.
    BootstrapSecrets,
    /// Certificate authorities and the accounts of issuers: before anything asks for a new certificate.
    Authorities,
    /// Volumes, then claims.
    Volumes,
    /// Roles, accounts, and who may do what.
    Rights,
    /// All other secrets, and configuration.
    Configuration,
    /// Limits, quotas, network policies.
    Limits,
    /// Endpoints, then services and what leads to them.
    Services,
    /// Objects of custom kinds, and of all kinds that no other step names.
    Others,
    /// What runs.
    Workloads,
    /// Objects whose versions a webhook converts, which has to run first.
    Converted,
    /// What watches over workloads: disruption budgets, autoscalers.
    Watchers,
    /// What can refuse all others: webhooks, policies, aggregated APIs.
    Gates,
    /// What makes all others from Git or a chart: before them it would make them itself, at the same time.
    Gitops,
}

impl Stage {
    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Definitions => "custom resource definitions",
            Self::Namespaces => "namespaces",
            Self::Classes => "classes",
            Self::BootstrapSecrets => "secrets that others come by",
            Self::Authorities => "certificate authorities",
            Self::Volumes => "volumes and claims",
            Self::Rights => "accounts and rights",
            Self::Configuration => "secrets and configuration",
            Self::Limits => "limits and network policies",
            Self::Services => "services and ways to them",
            Self::Others => "custom and other objects",
            Self::Workloads => "workloads",
            Self::Converted => "custom objects that a webhook converts",
            Self::Watchers => "budgets and autoscalers",
            Self::Gates => "webhooks, policies and aggregated APIs",
            Self::Gitops => "what deploys from Git and charts",
        }
    }
}

/// Groups whose objects refuse or change others, beside Kubernetes' own.
const GATES: [&str; 6] = [
    "kyverno.io",
    "policies.kyverno.io",
    "templates.gatekeeper.sh",
    "constraints.gatekeeper.sh",
    "config.gatekeeper.sh",
    "mutations.gatekeeper.sh",
];
/// Namespaces whose secrets are about identities of everything else.
const AUTHORITIES: [&str; 6] = ["cert-manager", "linkerd", "spire", "spire-server", "spire-system", "istio-system"];
/// Namespaces whose secrets open repositories and secret stores.
const BOOTSTRAP: [&str; 6] = ["flux-system", "argocd", "external-secrets", "onepassword", "1password", "sops"];

/// The step of an object, and its place in it; lower ones come first. `converted` are the kinds whose definitions name a conversion webhook.
#[must_use]
pub fn place(kind: &Kind, object: &Value, converted: &dyn Fn(&Kind) -> bool) -> (Stage, u8) {
    let first = |stage| (stage, 0);
    match (kind.group.as_str(), kind.name.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => first(Stage::Definitions),
        ("", "Namespace") => first(Stage::Namespaces),
        ("scheduling.k8s.io", "PriorityClass")
        | ("storage.k8s.io", "StorageClass" | "CSIDriver" | "VolumeAttributesClass")
        | ("snapshot.storage.k8s.io", "VolumeSnapshotClass")
        | ("node.k8s.io", "RuntimeClass")
        | ("networking.k8s.io", "IngressClass" | "ServiceCIDR")
        | ("resource.k8s.io", "DeviceClass")
        | ("gateway.networking.k8s.io", "GatewayClass") => first(Stage::Classes),
        ("", "Secret") => secret(object),
        ("", "PersistentVolume") => (Stage::Volumes, 0),
        ("", "PersistentVolumeClaim") => (Stage::Volumes, 1),
        ("rbac.authorization.k8s.io", "ClusterRole") => (Stage::Rights, 0),
        ("rbac.authorization.k8s.io", "Role") => (Stage::Rights, 1),
        ("", "ServiceAccount") => (Stage::Rights, 2),
        ("rbac.authorization.k8s.io", _) => (Stage::Rights, 3),
        ("", "ConfigMap") => (Stage::Configuration, 1),
        ("", "LimitRange" | "ResourceQuota")
        | ("networking.k8s.io", "NetworkPolicy")
        | ("policy.networking.k8s.io", _)
        | ("cilium.io", "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy") => first(Stage::Limits),
        ("", "Endpoints") => (Stage::Services, 0),
        ("", "Service") => (Stage::Services, 1),
        ("networking.k8s.io", "Ingress") => (Stage::Services, 2),
        ("gateway.networking.k8s.io", _) => (Stage::Services, 3),
        ("", "Pod") => (Stage::Workloads, 0),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => (Stage::Workloads, 1),
        ("apps", _) => (Stage::Workloads, 2),
        ("batch", _) => (Stage::Workloads, 3),
        ("policy", "PodDisruptionBudget") | ("autoscaling" | "keda.sh", _) => first(Stage::Watchers),
        // A webhook is asked about policies too.
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => (Stage::Gates, 2),
        ("admissionregistration.k8s.io", name) if name.ends_with("PolicyBinding") => (Stage::Gates, 3),
        ("admissionregistration.k8s.io", _) => (Stage::Gates, 4),
        ("apiregistration.k8s.io", _) => (Stage::Gates, 1),
        (group, _) if GATES.contains(&group) => first(Stage::Gates),
        // What they make first, then themselves: a parent finds its children as they were.
        ("argoproj.io", "Application") | ("helm.toolkit.fluxcd.io" | "helm.cattle.io", "HelmRelease" | "HelmChart") => {
            (Stage::Gitops, 0)
        }
        ("argoproj.io", "ApplicationSet") | ("kustomize.toolkit.fluxcd.io", _) => (Stage::Gitops, 1),
        _ if converted(kind) => first(Stage::Converted),
        _ => first(Stage::Others),
    }
}

fn secret(object: &Value) -> (Stage, u8) {
    let namespace = namespace_of(object).unwrap_or_default();
    let of_argo = !label(object, "argocd.argoproj.io/secret-type").is_empty();
    match text(object, &["type"]) {
        // Filled by the cluster when its account is there.
        "kubernetes.io/service-account-token" => (Stage::Configuration, 0),
        "kubernetes.io/dockerconfigjson" | "kubernetes.io/dockercfg" => (Stage::BootstrapSecrets, 0),
        _ if of_argo || BOOTSTRAP.contains(&namespace) => (Stage::BootstrapSecrets, 0),
        _ if AUTHORITIES.contains(&namespace) => (Stage::Authorities, 0),
        // A certificate, with its key: whoever asks for it finds it there.
        "kubernetes.io/tls" => (Stage::Authorities, 1),
        _ if !annotation(object, "cert-manager.io/certificate-name").is_empty() => (Stage::Authorities, 1),
        _ => (Stage::Configuration, 0),
    }
}

/// Whether objects of this definition are converted by a webhook.
#[must_use]
pub fn is_converted(definition: &Value) -> bool {
    text(definition, &["spec", "conversion", "strategy"]) == "Webhook"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kind::example;

    fn stage(group: &str, name: &str, object: &Value) -> (Stage, u8) {
        place(&example(group, "", name), object, &|kind| kind.group == "converted.example")
    }

    #[test]
    fn what_others_need_comes_first_and_what_could_refuse_them_last() {
        let order = [
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("", "Namespace"),
            ("storage.k8s.io", "StorageClass"),
            ("", "PersistentVolume"),
            ("", "PersistentVolumeClaim"),
            ("rbac.authorization.k8s.io", "ClusterRole"),
            ("", "ServiceAccount"),
            ("rbac.authorization.k8s.io", "RoleBinding"),
            ("", "Secret"),
            ("", "ConfigMap"),
            ("networking.k8s.io", "NetworkPolicy"),
            ("", "Endpoints"),
            ("", "Service"),
            ("networking.k8s.io", "Ingress"),
            ("example.org", "Thing"),
            ("", "Pod"),
            ("apps", "ReplicaSet"),
            ("apps", "Deployment"),
            ("batch", "CronJob"),
            ("converted.example", "Thing"),
            ("policy", "PodDisruptionBudget"),
            ("kyverno.io", "ClusterPolicy"),
            ("apiregistration.k8s.io", "APIService"),
            ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
            ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
            ("argoproj.io", "Application"),
            ("argoproj.io", "ApplicationSet"),
        ];
        let places: Vec<_> = order.iter().map(|(group, name)| stage(group, name, &json!({}))).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        for (group, name) in [
            ("helm.cattle.io", "HelmChart"),
            ("helm.toolkit.fluxcd.io", "HelmRelease"),
            ("kustomize.toolkit.fluxcd.io", "Kustomization"),
        ] {
            assert_eq!(stage(group, name, &json!({})).0, Stage::Gitops, "{name}");
        }
        for (group, name) in [
            ("argoproj.io", "AppProject"),
            ("source.toolkit.fluxcd.io", "HelmChart"),
            ("helm.cattle.io", "HelmChartConfig"),
        ] {
            assert_eq!(stage(group, name, &json!({})).0, Stage::Others, "{name} makes nothing by itself");
        }
    }

    #[test]
    fn secrets_that_others_come_by_are_before_all_other_secrets_and_tokens_after_their_accounts() {
        let secret = |namespace: &str, kind: &str| {
            stage("", "Secret", &json!({"metadata": {"namespace": namespace, "name": "x"}, "type": kind})).0
        };
        assert_eq!(secret("flux-system", "Opaque"), Stage::BootstrapSecrets);
        assert_eq!(secret("media", "kubernetes.io/dockerconfigjson"), Stage::BootstrapSecrets);
        assert_eq!(secret("cert-manager", "Opaque"), Stage::Authorities);
        assert_eq!(secret("media", "kubernetes.io/tls"), Stage::Authorities);
        assert_eq!(secret("media", "Opaque"), Stage::Configuration);
        let token = secret("media", "kubernetes.io/service-account-token");
        assert!(token > Stage::Rights, "an account comes before its token");
    }
}
