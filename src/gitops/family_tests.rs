//! Who made whom, by every sign that there is.

use serde_json::json;

use super::*;
use crate::cluster::kind::example;

fn found(group: &str, kind: &str, namespace: &str, own: &str, more: Value) -> Found {
    let mut object = more;
    object["metadata"]["namespace"] = namespace.into();
    object["metadata"]["name"] = own.into();
    let kind = example(group, &format!("{}s", kind.to_lowercase()), kind);
    Found { name: Name::of(&kind, &object), kind, object }
}

fn app(own: &str, more: Value) -> Found {
    found(ARGOCD, "Application", "argocd", own, more)
}

fn names(objects: &[Found]) -> Vec<(String, usize)> {
    let family = family(objects);
    family.order.iter().map(|place| (objects[*place].name.name.clone(), family.depth[*place])).collect()
}

fn expect(objects: &[Found], expected: &[(&str, usize)]) {
    let names = names(objects);
    let names: Vec<(&str, usize)> = names.iter().map(|(name, depth)| (name.as_str(), *depth)).collect();
    assert_eq!(names, expected);
}

#[test]
fn argocd_by_owner_annotation_label_and_status() {
    let owner = json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "ApplicationSet", "name": "set"}]);
    let tracked = |id: &str| json!({"metadata": {"annotations": {TRACKING: id}}});
    let objects = [
        app("a-owned", json!({"metadata": {"ownerReferences": owner}})),
        app("b-tracked", tracked("root:argoproj.io/Application:argocd/b-tracked")),
        app("c-elsewhere", tracked("team_root:argoproj.io/Application:argocd/c-elsewhere")),
        app("d-labelled", json!({"metadata": {"labels": {INSTANCE: "root"}}})),
        app("e-in-status", json!({})),
        app("f-of-a-chart", json!({"metadata": {"labels": {INSTANCE: "nobody"}}})),
        app(
            "root",
            json!({"status": {"resources": [
                {"group": ARGOCD, "kind": "Application", "namespace": "argocd", "name": "e-in-status"},
                {"kind": "Service", "namespace": "x", "name": "e-in-status"},
            ]}}),
        ),
        found(ARGOCD, "ApplicationSet", "argocd", "set", tracked("root:argoproj.io/ApplicationSet:argocd/set")),
        found(ARGOCD, "Application", "team", "root", json!({})),
    ];
    expect(
        &objects,
        &[
            ("f-of-a-chart", 0),
            ("root", 0),
            ("root", 0),
            ("b-tracked", 1),
            ("c-elsewhere", 1),
            ("d-labelled", 1),
            ("e-in-status", 1),
            ("set", 1),
            ("a-owned", 2),
        ],
    );
}

#[test]
fn flux_and_its_operator_by_labels_and_inventory() {
    let of = |group: &str, own: &str| json!({"metadata": {"labels": {format!("{group}/name"): own, format!("{group}/namespace"): "flux-system"}}});
    let id = format!("apps_by-inventory_{HELM}_HelmRelease");
    let mut root = of(OPERATOR, "flux");
    root["status"]["inventory"]["entries"] = json!([{"id": id, "v": "v2"}, {"id": "nonsense"}, {"id": "a_b__Service"}]);
    let objects = [
        found(HELM, "HelmRelease", "apps", "a", of(KUSTOMIZE, "apps")),
        found(HELM, "HelmRelease", "apps", "by-inventory", json!({})),
        found(HELM, "HelmRelease", "apps", "of-a-set", of("resourceset.fluxcd.controlplane.io", "tenants")),
        found(KUSTOMIZE, "Kustomization", "flux-system", "apps", of(KUSTOMIZE, "flux-system")),
        found(KUSTOMIZE, "Kustomization", "flux-system", "flux-system", root),
        found(OPERATOR, "FluxInstance", "flux-system", "flux", json!({})),
        found(OPERATOR, "ResourceSet", "flux-system", "tenants", of(KUSTOMIZE, "flux-system")),
    ];
    expect(
        &objects,
        &[("flux", 0), ("flux-system", 1), ("by-inventory", 2), ("apps", 2), ("tenants", 2), ("a", 3), ("of-a-set", 3)],
    );
}

#[test]
fn nobody_is_its_own_parent_and_a_circle_ends() {
    let tracked = |by: &str| json!({"metadata": {"annotations": {TRACKING: format!("{by}:x")}}});
    expect(&[app("self", tracked("self")), app("child", tracked("self"))], &[("self", 0), ("child", 1)]);
    let circle = [app("a", tracked("b")), app("b", tracked("a")), app("c", tracked("b"))];
    expect(&circle, &[("a", 0), ("b", 1), ("c", 2)]);
    assert_eq!(family(&[]), Family::default());
}

#[test]
fn foreign_nonsense_in_marks_does_no_harm() {
    for nonsense in [
        json!({"metadata": {"labels": 5, "annotations": [], "ownerReferences": {"a": 1}}}),
        json!({"status": {
            "resources": [1, null, {"kind": 7}], "inventory": {"entries": [{}, {"id": "____"}, {"id": 4}]},
        }}),
    ] {
        expect(&[app("x", nonsense)], &[("x", 0)]);
    }
}
