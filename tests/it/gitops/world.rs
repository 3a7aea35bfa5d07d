//! A cluster with Flux, its operator and ArgoCD in it; and their controllers as far as they set their children right.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use homelab_dr::cluster::api::Api;
use serde_json::{Value, json};

pub(super) use crate::support::around::Around;
use crate::support::kube::server::{KubeServer, Options, Shared};

/// Every table that has objects of theirs.
pub(super) const TABLES: [&str; 7] = [
    "applications.argoproj.io",
    "applicationsets.argoproj.io",
    "kustomizations.kustomize.toolkit.fluxcd.io",
    "helmreleases.helm.toolkit.fluxcd.io",
    "gitrepositories.source.toolkit.fluxcd.io",
    "resourcesets.fluxcd.controlplane.io",
    "fluxinstances.fluxcd.controlplane.io",
];

/// A definition with the fields that are used here; all others are kept as they are.
pub(crate) fn definition(group: &str, version: &str, kind: &str, spec: &Value) -> Value {
    let free = |properties: &Value| json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties});
    let schema = json!({"type": "object", "properties": {"spec": free(spec), "status": free(&json!({}))}});
    let plural = match kind {
        "GitRepository" => "gitrepositories".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

pub(super) async fn definitions(server: &KubeServer) {
    let policy = json!({"syncPolicy": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "applicationsSync": {"type": "string", "enum": ["create-only", "create-update", "create-delete", "sync"]},
    }}});
    let suspend = json!({"suspend": {"type": "boolean"}});
    for (group, version, kind, spec) in [
        ("argoproj.io", "v1alpha1", "Application", &json!({})),
        ("argoproj.io", "v1alpha1", "ApplicationSet", &policy),
        ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", &suspend),
        ("helm.toolkit.fluxcd.io", "v2", "HelmRelease", &suspend),
        ("source.toolkit.fluxcd.io", "v1", "GitRepository", &suspend),
        ("fluxcd.controlplane.io", "v1", "ResourceSet", &json!({})),
        ("fluxcd.controlplane.io", "v1", "FluxInstance", &json!({})),
    ] {
        define(server, definition(group, version, kind, spec)).await;
    }
}

/// Makes a definition, and waits until the kind is served.
pub(crate) async fn define(server: &KubeServer, definition: Value) {
    let spec = &definition["spec"];
    let version = format!("{}/{}", text(&spec["group"]), text(&spec["versions"][0]["name"]));
    let kind = text(&spec["names"]["kind"]).to_owned();
    server.make("", definition);
    server.until("the kind is served", |state| state.kind(&version, &kind).is_some()).await;
}

/// The labels on what an object of Flux made.
fn made_by(group: &str, namespace: &str, name: &str) -> Value {
    json!({format!("{group}/name"): name, format!("{group}/namespace"): namespace})
}

fn flux(api_version: &str, kind: &str, name: &str, labels: &Value, spec: Value) -> Value {
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec});
    object["spec"]["interval"] = "10m".into();
    object
}

fn app(name: &str, tracked_by: &str, policy: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": name},
        "spec": {"project": "default", "source": {"repoURL": "https://git.example/home", "path": name}},
    });
    if !policy.is_null() {
        object["spec"]["syncPolicy"] = policy.clone();
    }
    if !tracked_by.is_empty() {
        let id = format!("{tracked_by}:argoproj.io/Application:argocd/{name}");
        object["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = id.into();
    }
    object
}

/// Names are chosen so that the order of the alphabet is wrong: children come before their parents.
pub(super) async fn fill(server: &KubeServer) {
    for name in ["flux-system", "media", "argocd"] {
        server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    }
    definitions(server).await;
    let (ks, hr, op) = ("kustomize.toolkit.fluxcd.io/v1", "helm.toolkit.fluxcd.io/v2", "fluxcd.controlplane.io/v1");
    let of_ks = |name: &str| made_by("kustomize.toolkit.fluxcd.io", "flux-system", name);
    let instance = json!({
        "apiVersion": op, "kind": "FluxInstance",
        "metadata": {"name": "flux", "annotations": {"fluxcd.controlplane.io/reconcileEvery": "1h"}}, "spec": {"distribution": {"version": "2.x"}},
    });
    server.make("flux-system", instance);
    let of_operator = made_by("fluxcd.controlplane.io", "flux-system", "flux");
    server.make("flux-system", flux("source.toolkit.fluxcd.io/v1", "GitRepository", "home", &of_operator, json!({})));
    server.make("flux-system", flux(ks, "Kustomization", "z-root", &of_operator, json!({"prune": true})));
    server.make("flux-system", flux(ks, "Kustomization", "m-apps", &of_ks("z-root"), json!({"suspend": false})));
    server.make("flux-system", flux(ks, "Kustomization", "a-media", &of_ks("m-apps"), json!({})));
    server.make(
        "media",
        flux(hr, "HelmRelease", "jellyfin", &of_ks("a-media"), json!({"values": {"a": [1, {"b": null}]}})),
    );
    server.make("media", flux(hr, "HelmRelease", "held", &of_ks("a-media"), json!({"suspend": true})));
    let set = flux(op, "ResourceSet", "tenants", &of_ks("m-apps"), json!({"inputs": [{"tenant": "x"}]}));
    server.make("flux-system", set);
    let of_set = made_by("resourceset.fluxcd.controlplane.io", "flux-system", "tenants");
    server.make("media", flux(hr, "HelmRelease", "a-tenant", &of_set, json!({"suspend": false})));

    let automated = json!({"automated": {"prune": true, "selfHeal": true}});
    server.make("argocd", app("z-root", "", &automated));
    server.make("argocd", app("a-child", "z-root", &json!({"automated": {"enabled": true}, "retry": {"limit": 2}})));
    server.make("argocd", app("by-hand", "z-root", &Value::Null));
    let mut set = app("set", "z-root", &Value::Null);
    set["kind"] = "ApplicationSet".into();
    set["spec"] =
        json!({"generators": [{"list": {"elements": [{"name": "x"}]}}], "template": {"spec": {"project": "default"}}});
    let set = server.make("argocd", set);
    let mut generated = app("a-generated", "", &automated);
    generated["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "set", "uid": set["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    }]);
    server.make("argocd", generated);
}

pub(super) async fn world() -> KubeServer {
    let server = KubeServer::start(Options::default()).await;
    fill(&server).await;
    server
}

/// Every object of theirs without what the server counts: two of these are equal if everything that people and controllers set is.
pub(super) fn all(server: &KubeServer) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        for object in server.shared.with(|state| state.objects(table)) {
            let mut object = (*object).clone();
            let metadata = object["metadata"].as_object_mut().unwrap();
            for field in ["resourceVersion", "managedFields", "generation"] {
                metadata.remove(field);
            }
            let place =
                format!("{table} {}/{}", text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
            all.insert(place, object);
        }
    }
    all
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What Git says of every object that somebody makes, and who makes it.
pub(super) struct Controllers {
    shared: Arc<Shared>,
    /// By table, namespace and name: the object as it is in Git, and the table and key of its parent.
    children: Vec<(Key, Key, Value)>,
    pub(super) reverts: AtomicUsize,
}

type Key = (&'static str, String, String);

impl Controllers {
    /// Whatever is there now is in Git. Parents are told here, and not found: what is tested finds them by itself.
    pub(super) fn of(server: &KubeServer) -> Self {
        let key = |table, namespace: &str, name: &str| (table, namespace.to_owned(), name.to_owned());
        let ks = |name| key(TABLES[2], "flux-system", name);
        let root = || key(TABLES[0], "argocd", "z-root");
        let family = [
            (ks("z-root"), key(TABLES[6], "flux-system", "flux")),
            (ks("m-apps"), ks("z-root")),
            (ks("a-media"), ks("m-apps")),
            (key(TABLES[3], "media", "jellyfin"), ks("a-media")),
            (key(TABLES[3], "media", "held"), ks("a-media")),
            (key(TABLES[5], "flux-system", "tenants"), ks("m-apps")),
            (key(TABLES[3], "media", "a-tenant"), key(TABLES[5], "flux-system", "tenants")),
            (key(TABLES[0], "argocd", "a-child"), root()),
            (key(TABLES[0], "argocd", "by-hand"), root()),
            (key(TABLES[1], "argocd", "set"), root()),
            (key(TABLES[0], "argocd", "a-generated"), key(TABLES[1], "argocd", "set")),
        ];
        let child = |(child, parent): (Key, Key)| {
            let object = server.object(child.0, &child.1, &child.2).unwrap_or_else(|| panic!("{child:?}"));
            (child, parent, object)
        };
        Self {
            shared: Arc::clone(&server.shared),
            children: family.into_iter().map(child).collect(),
            reverts: AtomicUsize::new(0),
        }
    }

    /// Every parent that works sets its children right: annotations, labels and the whole spec, as an ApplicationSet does.
    pub(super) fn step(&self) {
        self.shared.with(|state| {
            for (child, parent, git) in &self.children {
                let works = state.object(parent.0, &parent.1, &parent.2).is_some_and(|parent| works(&parent));
                let Some(object) = state.object(child.0, &child.1, &child.2).filter(|_| works) else { continue };
                let is_right = object["spec"] == git["spec"]
                    && object["metadata"]["annotations"] == git["metadata"]["annotations"];
                if !is_right {
                    self.reverts.fetch_add(1, Ordering::Relaxed);
                    state.edit(&object, |object| {
                        object["spec"] = git["spec"].clone();
                        let metadata = object["metadata"].as_object_mut().unwrap();
                        metadata.remove("annotations");
                        if !git["metadata"]["annotations"].is_null() {
                            metadata.insert("annotations".into(), git["metadata"]["annotations"].clone());
                        }
                    });
                }
            }
        });
    }

    pub(super) fn reverted(&self) -> usize {
        self.reverts.load(Ordering::Relaxed)
    }
}

/// Whether the controller of an object acts on it, by the rules of each tool and none of ours.
fn works(object: &Value) -> bool {
    let annotations = &object["metadata"]["annotations"];
    match text(&object["kind"]) {
        "Application" => {
            let automated = &object["spec"]["syncPolicy"]["automated"];
            annotations["argocd.argoproj.io/skip-reconcile"] != "true"
                && automated.is_object()
                && automated["enabled"] != false
        }
        "ApplicationSet" => {
            !matches!(text(&object["spec"]["syncPolicy"]["applicationsSync"]), "create-only" | "create-delete")
        }
        "FluxInstance" | "ResourceSet" => annotations["fluxcd.controlplane.io/reconcile"] != "disabled",
        _ => object["spec"]["suspend"] != true,
    }
}

/// The cluster, with the controllers coming around after every write.
pub(super) fn watched<'a>(api: &'a Api, controllers: &'a Controllers) -> Around<'a> {
    let mut around = Around::dying(api, usize::MAX, true);
    around.after = Box::new(|| controllers.step());
    around
}
