//! kube-rs against the test server: typed, dynamic, pages, watches.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::core::GroupVersionKind;
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::json;

use crate::kube::{client, code, server};

fn map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"in": "test"}}, "data": {"a": "1"}})).unwrap()
}

#[tokio::test]
async fn typed_objects_live_and_conflict() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    let made = maps.create(&PostParams::default(), &map("one")).await.unwrap();
    assert_eq!(code(maps.create(&PostParams::default(), &map("one")).await), 409);
    let mut newer = made.clone();
    newer.data.as_mut().unwrap().insert("a".into(), "2".into());
    maps.replace("one", &PostParams::default(), &newer).await.unwrap();
    assert_eq!(code(maps.replace("one", &PostParams::default(), &newer).await), 409, "a version that is over");
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    maps.create(&dry, &map("dry")).await.unwrap();
    assert!(maps.get_opt("dry").await.unwrap().is_none());
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"b": "3"}});
    let applied = maps.patch("one", &PatchParams::apply("tester"), &Patch::Apply(applied)).await.unwrap();
    assert_eq!(applied.data.unwrap().len(), 2, "apply merges");
    maps.delete("one", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(maps.get("one").await), 404);
}

#[tokio::test]
async fn discovery_finds_built_in_and_custom_kinds() {
    let server = server().await;
    let discovery = Discovery::new(client(&server)).run().await.unwrap();
    let snapshot = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshot");
    let (resource, capabilities) = discovery.resolve_gvk(&snapshot).unwrap();
    assert_eq!((resource.plural.as_str(), capabilities.scope), ("volumesnapshots", Scope::Namespaced));
    let listable: usize = discovery
        .groups()
        .flat_map(|group| group.recommended_resources())
        .filter(|(_, capabilities)| capabilities.supports_operation(verbs::LIST))
        .count();
    assert!(listable > 50, "{listable}");
    // Every one of them can be listed.
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            if capabilities.supports_operation(verbs::LIST) && resource.kind != "ComponentStatus" {
                let all: Api<DynamicObject> = Api::all_with(client(&server), &resource);
                all.list(&ListParams::default()).await.unwrap_or_else(|error| panic!("{}: {error}", resource.plural));
            }
        }
    }
}

#[tokio::test]
async fn pages_are_one_state_and_expire() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    for number in 0..5 {
        maps.create(&PostParams::default(), &map(&format!("m{number}"))).await.unwrap();
    }
    let ours = ListParams::default().labels("in=test").limit(2);
    let first = maps.list(&ours).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    // What happens between pages is not seen by them.
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &map("m9")).await.unwrap();
    let mut names: Vec<String> = first.items.iter().map(|map| map.metadata.name.clone().unwrap()).collect();
    let mut next = Some(token.clone());
    while let Some(token) = next.filter(|token| !token.is_empty()) {
        let page = maps.list(&ours.clone().continue_token(&token)).await.unwrap();
        assert_eq!(page.metadata.resource_version, first.metadata.resource_version);
        names.extend(page.items.iter().map(|map| map.metadata.name.clone().unwrap()));
        next = page.metadata.continue_;
    }
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"]);
    server.compact();
    assert_eq!(code(maps.list(&ours.continue_token(&token)).await), 410);
}

#[tokio::test]
async fn a_watch_tells_every_change_and_says_when_it_is_too_old() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    let version = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default().labels("in=test"), &version).await.unwrap().boxed();
    maps.create(&PostParams::default(), &map("w")).await.unwrap();
    maps.patch("w", &PatchParams::default(), &Patch::Merge(json!({"data": {"a": "2"}}))).await.unwrap();
    maps.delete("w", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = tokio::time::timeout(Duration::from_secs(20), events.try_next()).await.unwrap().unwrap().unwrap();
        seen.push(match event {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("{status:?}"),
        });
    }
    assert_eq!(seen, ["added", "modified", "deleted"]);
    server.compact();
    let mut old = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    let first = old.try_next().await.unwrap().unwrap();
    assert!(matches!(&first, WatchEvent::Error(status) if status.code == 410), "{first:?}");
}
