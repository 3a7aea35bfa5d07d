//! The five homelabs of `fixtures/clusters`: each is captured, lost, and restored into an empty cluster of its kind and into a folder. What differs, and what
//! does not come back, is in a table for each, with the reason. `HOMELAB_DR_BLESS=1` writes the tables; review them.

mod compare;
mod data;
mod lab;
mod load;
mod order;
mod propose;
mod special;

use serde_json::Value;

use compare::Key;
use lab::Disaster;
use order::{asks_for_certificates, is_gate, is_gitops, is_network_policy, is_right, is_secret, is_workload};

fn of(table: &'static str) -> impl Fn(&Key, &Value) -> bool {
    move |key, _| key.0 == table
}

fn named(table: &'static str, name: &'static str) -> impl Fn(&Key, &Value) -> bool {
    move |key, _| key.0 == table && key.2 == name
}

/// The order that holds for every homelab.
fn check_order(disaster: &Disaster) {
    let log = &disaster.log;
    log.check_ground();
    log.before(is_secret, is_workload);
    log.before(of("configmaps"), is_workload);
    log.before(of("persistentvolumeclaims"), is_workload);
    log.before(is_right, is_workload);
    log.before(is_network_policy, is_workload);
    log.before(of("services"), is_workload);
    log.before(|key, object| !is_gate(key, object) && !is_gitops(key, object), is_gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_k3s_with_pulumi() {
    let disaster = Disaster::of("a-k3s-pulumi").await;
    disaster.check_table().await;
    check_order(&disaster);
    let log = &disaster.log;
    log.before(named("secrets", "pulumi-access-token"), named("secrets", "blog-database"));
    log.before(named("secrets", "letsencrypt-account"), asks_for_certificates);
    log.before(is_secret, asks_for_certificates);
    log.before(is_workload, of("poddisruptionbudgets.policy"));
    log.before(is_workload, of("horizontalpodautoscalers.autoscaling"));
    log.before(
        of("validatingadmissionpolicies.admissionregistration.k8s.io"),
        of("validatingadmissionpolicybindings.admissionregistration.k8s.io"),
    );
    // Ports that somebody chose, and by whom; endpoints that a person wrote.
    let port = |name: &str| disaster.is("services", "apps", name)["spec"]["ports"][0]["nodePort"].clone();
    assert_eq!(port("debug"), 30900);
    assert!(disaster.has("endpoints", "data", "nas"));
    assert!(disaster.has("endpointslices.discovery.k8s.io", "data", "router-1"), "a person wrote it");
    assert!(!disaster.has("secrets", "auth", "oauth2-proxy"), "its operator fetches it");
    assert!(disaster.has("externalsecrets.external-secrets.io", "auth", "oauth2-proxy"));
    assert_eq!(disaster.outcome("/apiservices.apiregistration.k8s.io/v1beta1.metrics.k8s.io"), "same");
}

#[tokio::test(flavor = "multi_thread")]
async fn talos_with_flux_and_longhorn() {
    let disaster = Disaster::of("b-talos-flux-longhorn").await;
    disaster.check_table().await;
    check_order(&disaster);
    let log = &disaster.log;
    log.before(named("secrets", "sops-age"), named("secrets", "immich"));
    // What deploys from Git comes when everything is there; the parent after its children.
    log.before(|key, object| !is_gitops(key, object), is_gitops);
    log.before(of("helmreleases.helm.toolkit.fluxcd.io"), of("kustomizations.kustomize.toolkit.fluxcd.io"));
    // Converted by a webhook of Longhorn's own, which has to run.
    log.before(is_workload, of("backuptargets.longhorn.io"));
    log.before(of("persistentvolumes"), of("persistentvolumeclaims"));
    // What was suspended still is.
    let lab = disaster.is("kustomizations.kustomize.toolkit.fluxcd.io", "flux-system", "lab");
    assert_eq!(lab["spec"]["suspend"], true);
    let media = disaster.is("persistentvolumeclaims", "media", "media");
    assert_eq!(media["spec"]["volumeName"], "nas-media", "bound to the share again");
    assert_eq!(media["status"]["phase"], "Bound");
    assert!(!disaster.has("restores.velero.io", "velero", "media-20260214"), "it would restore over everything");
    let fields = &disaster.is("deployments.apps", "media", "immich")["metadata"]["managedFields"];
    assert_eq!((&fields[0]["manager"], &fields[0]["operation"]), (&"kustomize-controller".into(), &"Apply".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nixos_with_argocd_that_heals_itself() {
    let disaster = Disaster::of("c-nixos-argocd").await;
    disaster.check_table().await;
    check_order(&disaster);
    let log = &disaster.log;
    log.before(named("secrets", "bitwarden-access-token"), named("secrets", "wildcard"));
    log.before(of("gatewayclasses.gateway.networking.k8s.io"), of("gateways.gateway.networking.k8s.io"));
    // Self-heal is on as it was, and finds everything as it was.
    log.before(|key, object| !is_gitops(key, object), is_gitops);
    log.before(of("applications.argoproj.io"), of("applicationsets.argoproj.io"));
    let app = disaster.is("applications.argoproj.io", "argocd", "jellyfin");
    assert_eq!(app["spec"]["syncPolicy"]["automated"]["selfHeal"], true);
    let set = disaster.is("applicationsets.argoproj.io", "argocd", "media");
    assert_eq!(app["metadata"]["ownerReferences"][0]["uid"], set["metadata"]["uid"]);
    let tracked = disaster.is("deployments.apps", "passwords", "vaultwarden");
    assert_eq!(
        tracked["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"],
        "vaultwarden:apps/Deployment:passwords/vaultwarden"
    );
    for volume in ["vaultwarden", "jellyfin", "photos"] {
        assert!(disaster.has("persistentvolumes", "", &format!("nixos-1-{volume}")), "made by hand: {volume}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn linkerd_and_kyverno() {
    let disaster = Disaster::of("d-linkerd-kyverno").await;
    disaster.check_table().await;
    check_order(&disaster);
    let log = &disaster.log;
    // The token of the secret store and the trust anchor before anything meshed.
    log.before(named("secrets", "onepassword-token"), named("secrets", "linkerd-identity-issuer"));
    log.before(named("secrets", "linkerd-trust-anchor"), is_workload);
    log.before(named("configmaps", "linkerd-identity-trust-roots"), is_workload);
    log.before(is_workload, |key, _| key.0.ends_with(".kyverno.io"));
    log.before(|key, _| key.0.ends_with(".kyverno.io"), |key, _| key.0.contains("webhookconfigurations."));
    log.before(is_gate, is_gitops);
    let hooks = "validatingwebhookconfigurations.admissionregistration.k8s.io";
    assert!(!disaster.has(hooks, "", "kyverno-resource-validating-webhook-cfg"), "Kyverno makes it when it runs");
    assert!(disaster.has(hooks, "", "linkerd-policy-validator-webhook-config"));
    assert!(!disaster.has("secrets", "shop", "shop-database"), "the 1Password operator fetches it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_stack() {
    let disaster = Disaster::of("e-identity").await;
    disaster.check_table().await;
    check_order(&disaster);
    let log = &disaster.log;
    log.before(named("secrets", "spire-upstream-ca"), named("secrets", "authentik"));
    log.before(named("secrets", "sso-tls"), asks_for_certificates);
    log.before(is_secret, asks_for_certificates);
    // The database is its operator's: nothing that would make an empty one, or keep the operator from a recovery; its passwords are there.
    assert!(!disaster.has("clusters.postgresql.cnpg.io", "identity", "authentik-db"));
    assert!(!disaster.has("services", "identity", "authentik-db-rw"));
    assert!(!disaster.has("persistentvolumeclaims", "identity", "authentik-db-1"));
    assert!(!disaster.has("backups.postgresql.cnpg.io", "identity", "nightly-20260601030000"));
    assert!(disaster.has("secrets", "identity", "authentik-db-app"));
    assert!(disaster.has("objectstores.barmancloud.cnpg.io", "identity", "offsite"));
    assert!(disaster.has("scheduledbackups.postgresql.cnpg.io", "identity", "nightly"));
    // A certificate's secret is there before the certificate, and belongs to it again.
    let (secret, certificate) = (
        disaster.is("secrets", "identity", "sso-tls"),
        disaster.is("certificates.cert-manager.io", "identity", "sso-tls"),
    );
    assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], certificate["metadata"]["uid"]);
    assert!(!disaster.has("ciliumnodes.cilium.io", "", "lenovo"), "that node is gone");
}
