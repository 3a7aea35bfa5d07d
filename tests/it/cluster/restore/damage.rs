//! What tells of the kinds is damaged: the kinds are asked from the manifests and from the target.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

fn packs(home: &Home) -> BTreeSet<PathBuf> {
    let folders = std::fs::read_dir(home.path("repo/packs")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    files.collect()
}

/// A backup, and another whose content, `cluster.yaml` and one secret, is damaged.
async fn damaged(old: &KubeServer, home: &Home) {
    run(home, &["backup"]).await.exits(0);
    let before = packs(home);
    old.make("media", secret("late", "x"));
    run(home, &["backup"]).await.exits(0);
    let content: Vec<PathBuf> =
        packs(home).difference(&before).filter(|path| std::fs::read(path).unwrap()[1] == 1).cloned().collect();
    assert_eq!(content.len(), 1, "one pack of content is new");
    let mut bytes = std::fs::read(&content[0]).unwrap();
    // Behind the header and the wrap of the session.
    let length = bytes.len();
    bytes[150..length / 2].fill(0x55);
    std::fs::write(&content[0], bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_what_tells_of_the_kinds_everything_else_comes_back() {
    let (old, new) = (disaster::homelab().await, server().await);
    let home = between(&old, &new);
    damaged(&old, &home).await;
    let document = restore(&home, "new", &["--json"]).await.exits(4).json();
    let lost = document["plan"]["unreadable"].to_string();
    assert!(lost.contains("cluster.yaml") && lost.contains("late.yaml"), "{lost}");
    assert_eq!(document["plan"]["unreadable"].as_array().unwrap().len(), 2, "{lost}");
    for object in [
        "/namespaces/media",
        "media/deployments.apps/web",
        "media/anvils.acme.example/big",
        "/clusterroles.rbac.authorization.k8s.io/acme:reader",
        "media/rolebindings.rbac.authorization.k8s.io/acme:reader",
        "media/configmaps/made-by-the-anvil",
    ] {
        assert_eq!(outcome(&document, object), "restored", "{object}");
    }
    // Patterns mean what they mean otherwise.
    let document = restore(&home, "new", &["--json", "--include", "*.acme.example"]).await.exits(4).json();
    assert_eq!(outcomes(&document), [("media/anvils.acme.example/big".to_owned(), "same".to_owned())], "{document}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_into_a_folder() {
    let old = disaster::homelab().await;
    let home = between(&old, &old);
    damaged(&old, &home).await;
    let args = ["restore", "latest:cluster", "--cluster", "--into-folder", "out", "--yes", "--json"];
    let document = run(&home, &args).await.exits(4).json();
    assert_eq!(outcome(&document, "media/anvils.acme.example/big"), "restored");
    for file in ["acme.example/Anvil/media/big", "rbac.authorization.k8s.io/ClusterRole/_cluster/acme:reader"] {
        assert!(home.path("out/manifests").join(format!("{file}.yaml")).exists(), "{file}");
    }
}
