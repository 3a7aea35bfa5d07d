//! What a proposal says of small clusters; what it says of whole ones is in tests/it/cluster/homelabs/proposed.

use serde_json::{Value, json};

use super::{About, propose};
use crate::cluster::Kind;
use crate::language::Judges;
use crate::recover::cluster::manifests::Captured;
use crate::runbook::{self, Action, Runbook};

const JUDGES: Judges<'static> = Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) };

fn one(group: &str, resource: &str, kind: &str, namespace: Option<&str>, name: &str, mut object: Value) -> Captured {
    object["metadata"]["name"] = name.into();
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = namespace.into();
    }
    Captured { kind: Kind::known(group, "v1", resource, kind, namespace.is_some()), object }
}

fn namespace(name: &str) -> Captured {
    one("", "namespaces", "Namespace", None, name, json!({}))
}

fn workload(namespace: &str, name: &str, image: &str) -> Captured {
    let spec = json!({"serviceAccountName": "runs", "containers": [{"name": "main", "image": image}]});
    one("apps", "deployments", "Deployment", Some(namespace), name, json!({"spec": {"template": {"spec": spec}}}))
}

fn by_hand(name: &str, namespace: &str, claim: &str) -> Captured {
    let spec = json!({"nfs": {"path": "/photos"}, "claimRef": {"namespace": namespace, "name": claim, "uid": "u"}});
    one("", "persistentvolumes", "PersistentVolume", None, name, json!({"spec": spec}))
}

fn proposed(objects: &[Captured], namespaces: &[&str]) -> (String, Runbook) {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    let bytes = [(("media".to_owned(), "data".to_owned()), 100 << 30)].into();
    let about = About { objects, seen: "here".into(), source: "objects".into(), namespaces, bytes };
    let text = propose(&about).expect("something is there");
    let read = runbook::read(text.as_bytes(), &JUDGES);
    assert_eq!(read.findings, [], "{text}");
    (text, read.runbook.expect("right"))
}

fn order(runbook: &Runbook) -> Vec<String> {
    runbook.sampled(&JUDGES).expect("right").into_iter().map(|step| step.id).collect()
}

#[test]
fn what_others_need_comes_first_and_what_undoes_comes_last() {
    let bound = json!({"subjects": [{"kind": "ServiceAccount", "namespace": "operators", "name": "runs"}]});
    let claim = json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "200Gi"}}}});
    let objects = [
        namespace("media"),
        namespace("a-database"),
        namespace("operators"),
        one(
            "storage.k8s.io",
            "storageclasses",
            "StorageClass",
            None,
            "fast",
            json!({"provisioner": "driver.example.org"}),
        ),
        one("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBinding", None, "all", bound),
        workload("operators", "controller", "example.org/controller:1"),
        workload("a-database", "db", "docker.io/library/postgres:16"),
        workload("media", "web", "example.org/web@sha256:aa"),
        one("", "persistentvolumeclaims", "PersistentVolumeClaim", Some("media"), "data", claim),
        one(
            "networking.k8s.io",
            "ingresses",
            "Ingress",
            Some("media"),
            "web",
            json!({"spec": {"rules": [{"host": "photos.example.org"}, {"host": "*.example.org"}]}}),
        ),
        by_hand("nas-photos", "media", "data"),
        by_hand("nas-nobodys", "media", "gone"),
        one("cert-manager.io", "certificates", "Certificate", Some("media"), "web-tls", json!({})),
        one("kustomize.toolkit.fluxcd.io", "kustomizations", "Kustomization", Some("media"), "apps", json!({})),
        one(
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            None,
            "x",
            json!({}),
        ),
    ];
    let (text, runbook) = proposed(&objects, &[]);
    assert_eq!(
        order(&runbook),
        [
            "identity",
            "storage",
            "foundation",
            "ns-operators",
            "ns-a-database",
            "ns-media",
            "rest",
            "gates",
            "gitops",
            "look-media",
            "done"
        ]
    );
    for part in [
        "`fast` (made by `driver.example.org`)",
        "`data` (100.0 GiB)",
        "exec: { object: \"a-database/deployments.apps/db\", container: main, argv: [pg_isready] }",
        "https://photos.example.org/",
        "media/certificates.cert-manager.io/web-tls",
        "exclude: [\"kustomizations.kustomize.toolkit.fluxcd.io\", \"validatingwebhookconfigurations.admissionregistration.k8s.io\"]",
        "default: \"objects\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A volume made by hand comes in the step of its claim, since it is restored with that or not at all.
    let step =
        |id: &str| text.split("```yaml step\n").find(|step| step.starts_with(&format!("id: {id}\n"))).expect("there");
    assert!(step("ns-media").contains("\"_cluster/persistentvolumes/nas-photos\""), "{text}");
    assert!(!step("foundation").contains("persistentvolumes") && !text.contains("nas-nobodys"), "{text}");
    assert!(text.contains("--include 'media/*/*' --include _cluster/persistentvolumes/nas-photos --wait"), "{text}");
    assert!(!text.contains("*.example.org"), "nobody can ask for a wildcard");
    let steps = runbook.sampled(&JUDGES).expect("right");
    let media = steps.iter().find(|step| step.id == "ns-media").expect("there");
    assert!(media.timeout.as_secs() > 90 * 60, "time for what is in it: {:?}", media.timeout);
    assert_eq!(media.needs, ["ns-a-database"]);

    // One namespace of it.
    assert!(!text.contains("may_be_empty"), "nobody left a claim out");
    let (text, runbook) = proposed(&objects, &["media"]);
    assert_eq!(order(&runbook), ["identity", "ns-media", "look-media", "done"]);
    assert!(text.contains("id: recover-media") && !text.contains("operators"), "{text}");
}

#[test]
fn names_that_are_none_are_no_yaml_and_an_empty_cluster_has_no_runbook() {
    let about = |objects| About {
        objects,
        seen: String::new(),
        source: "s".into(),
        namespaces: Vec::new(),
        bytes: std::collections::BTreeMap::new(),
    };
    assert!(propose(&about(&[])).is_none());
    let own = [one("", "configmaps", "ConfigMap", Some("kube-system"), "x", json!({}))];
    assert!(propose(&about(&own)).is_none(), "what every cluster has by itself");
    let evil = "x: y\n```\n\u{202e}${run}";
    let objects = [
        namespace("media"),
        workload("media", evil, "postgres"),
        namespace(evil),
        one("", "configmaps", "ConfigMap", Some(evil), evil, json!({})),
        one("cert-manager.io", "certificates", "Certificate", Some("media"), evil, json!({})),
        one(
            "networking.k8s.io",
            "ingresses",
            "Ingress",
            Some("media"),
            "web",
            json!({"spec": {"rules": [{"host": evil}]}}),
        ),
        one(
            "",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            Some("media"),
            evil,
            json!({"spec": {"storageClassName": evil}}),
        ),
    ];
    let (text, _) = proposed(&objects, &[]);
    assert!(!text.contains("x: y") && !text.contains('\u{202e}'), "{text}");
}

#[test]
fn claims_that_were_left_out_on_purpose_may_come_back_empty_and_no_others() {
    let claim = |namespace: &str, name: &str, backup: &str| {
        let annotations = json!({"homelab-dr.io/backup": backup});
        let object = json!({"metadata": {"annotations": annotations}, "spec": {"storageClassName": "fast"}});
        one("", "persistentvolumeclaims", "PersistentVolumeClaim", Some(namespace), name, object)
    };
    let objects = [
        namespace("media"),
        namespace("office"),
        claim("media", "cache", "false"),
        claim("media", "photos", "true"),
        claim("media", "typo", "False"),
        claim("office", "papers", ""),
        claim("default", "scratch", "false"),
    ];
    let (text, runbook) = proposed(&objects, &[]);
    let may: Vec<(String, Vec<String>)> = runbook
        .sampled(&JUDGES)
        .expect("right")
        .into_iter()
        .filter_map(|step| match step.action {
            Action::RestoreResources(resources) => Some((step.id, resources.may_be_empty.into_iter().collect())),
            _ => None,
        })
        .filter(|(_, may): &(String, Vec<String>)| !may.is_empty())
        .collect();
    let of = |id: &str, claims: &[&str]| (id.to_owned(), claims.iter().map(|claim| (*claim).to_owned()).collect());
    assert_eq!(may, [of("ns-media", &["media/cache"]), of("rest", &["default/scratch", "media/cache"])]);
    assert!(text.contains("made EMPTY here: `media/cache`."), "{text}");
}
