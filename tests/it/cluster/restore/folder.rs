//! A folder in the place of a cluster.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_unpacks_into_manifests_that_kubectl_takes() {
    let old = disaster::homelab().await;
    old.make("media", claim("data"));
    let home = between(&old, &old);
    run(&home, &["backup"]).await.exits(0);
    let args = ["restore", "latest:cluster", "--cluster", "--into-folder", "out", "--yes", "--json"];
    let document = run(&home, &args).await.exits(0).json();
    assert_eq!(outcome(&document, "media/deployments.apps/web"), "restored");
    let read = |path: &str| -> Value {
        let text = std::fs::read_to_string(home.path("out/manifests").join(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    let web = read("apps/Deployment/media/web.yaml");
    assert_eq!(web["spec"], old.object("deployments.apps", "media", "web").unwrap()["spec"]);
    assert_eq!(web.get("status"), None);
    // Uids and owners are of one cluster: kubectl would be refused, or the object collected. They are in a comment, and those of the snapshot.
    let uid = |table: &str, name: &str| old.object(table, "media", name).unwrap()["metadata"]["uid"].clone();
    let anvil = uid("anvils.acme.example", "big");
    for path in [
        "acme.example/Anvil/media/big.yaml",
        "core/ConfigMap/media/made-by-the-anvil.yaml",
        "core/Secret/media/of-web.yaml",
    ] {
        let manifest = read(path);
        assert!(
            manifest["metadata"].get("uid").is_none() && manifest["metadata"].get("ownerReferences").is_none(),
            "{path}"
        );
    }
    let made = std::fs::read_to_string(home.path("out/manifests/core/ConfigMap/media/made-by-the-anvil.yaml")).unwrap();
    let head: Value =
        serde_json::from_str(made.lines().next().unwrap().strip_prefix("# homelab-dr: ").unwrap()).unwrap();
    assert_eq!(head["ownerReferences"][0]["uid"], anvil);
    assert_eq!(head["uid"], uid("configmaps", "made-by-the-anvil"));
    assert_eq!(read("core/PersistentVolumeClaim/media/data.yaml")["spec"].get("volumeName"), None);
    let again = run(&home, &args).await.exits(0).json();
    assert!(outcomes(&again).iter().all(|(_, outcome)| outcome == "same"), "{again}");
}

/// What is unpacked is manifests: no volume is empty, since there is none, and nobody has to agree to that.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_a_folder_is_a_manifest_and_it_says_that_the_data_is_not_there() {
    let old = server().await;
    old.make("", namespace("media"));
    old.make("media", claim("data"));
    let home = between(&old, &old);
    run(&home, &["backup"]).await.exits(0);
    let args = ["restore", "latest:cluster", "--cluster", "--include", "media/*/*", "--into-folder", "out", "--yes"];
    let note = "note: there is no data of 1 volume, of which the folder has the manifest only: persistentvolumeclaims media/data";
    let planned = run(&home, &[&args[..], &["--plan"]].concat()).await.exits(0);
    assert!(planned.err.contains(note) && !planned.out.contains("EMPTY:"), "{} {}", planned.out, planned.err);
    let first = run(&home, &args).await.exits(0);
    assert!(first.err.contains(note) && !first.out.contains("EMPTY:"), "{} {}", first.out, first.err);
    let row = first.out.lines().find(|line| line.starts_with("persistentvolumeclaims")).expect("a row");
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["persistentvolumeclaims", "1", "-", "-", "-", "-", "-"]);
    let second = run(&home, &args).await.exits(0);
    assert!(second.err.contains(note), "{}", second.err);
    assert!(home.path("out/manifests/core/PersistentVolumeClaim/media/data.yaml").exists());
}
