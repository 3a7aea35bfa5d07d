//! One volume into a new claim, and everything into a folder.

use super::*;

/// A marked block of docs/recover-cluster.md.
fn block(mark: &str) -> String {
    let (_, rest) = include_str!("../../../docs/recover-cluster.md").split_once(mark).expect("the block is marked");
    rest.split_once("\n```").expect("closed").0.to_owned()
}

/// A kubeconfig `limited` of an account in `media` with the roles of the documents; gives these.
pub(super) async fn limited(world: &World, marks: &[&str]) -> Vec<Value> {
    world.kube.make("media", json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "restore"}}));
    let mut roles = Vec::new();
    for mark in marks {
        let role: Value = serde_saphyr::from_str(&block(mark)).expect("a manifest");
        let name = role["metadata"]["name"].clone();
        world.kube.make("", role.clone());
        world.kube.make(
            "",
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": "restore", "namespace": "media"}],
            }),
        );
        roles.push(role);
    }
    let token = crate::kube::token_of(&world.kube, "media", "restore").await;
    let config = world.kube.kubeconfig().replace(&world.kube.token(), &token);
    std::fs::write(world.lab.path("limited"), config).unwrap();
    roles
}

#[tokio::test(flavor = "multi_thread")]
async fn one_volume_comes_back_beside_the_old_one_with_the_rights_in_the_documents() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.backup(&["--source", "volumes"]).await.exits(0);
    let role = limited(world, &["```yaml rights\n"]).await.remove(0);
    let into = async |claim: &str, more: &[&str]| {
        let kubeconfig = if more.contains(&"--kubeconfig") { &[][..] } else { &["--kubeconfig", "limited"] };
        let args = ["restore", "latest:pvc/media/data", "--into-claim", claim, "--yes"];
        world.run(&[&args[..], kubeconfig, more].concat()).await
    };
    let claim = |name: &str| world.kube.object("persistentvolumeclaims", "media", name).unwrap();
    into("media/copy", &["--storage-class", "csi-hostpath-sc", "--plan"]).await.exits(0);
    assert!(world.kube.object("persistentvolumeclaims", "media", "copy").is_none());
    let ran = into("media/copy", &["--storage-class", "csi-hostpath-sc"]).await.exits(0);
    assert!(ran.out.contains("filled the claim media/copy"), "{}", ran.out);
    let expected = {
        let mut expected = whole(&world.folder("media", "data"));
        expected.retain(|path, _| path != Path::new("verdict"));
        expected
    };
    assert!(whole(&world.folder("media", "copy")) == expected);
    let ran = into("media/copy", &[]).await.exits(7);
    assert!(ran.err.contains("its data is somebody's"), "{}", ran.err);
    // Without a word of it the new one is like the one that the snapshot is of.
    into("media/like", &[]).await.exits(0);
    let (like, original) = (claim("like"), claim("data"));
    for field in ["storageClassName", "accessModes"] {
        assert_eq!(like["spec"][field], original["spec"][field], "{field}");
    }
    // Where that one is not there it is the cluster's choice, which has none.
    open_namespace(&disaster.new, "media").await;
    let ran = into("media/never", &["--kubeconfig", "new"]).await.exits(7);
    assert!(ran.err.contains("names no storage class") && ran.err.contains("local-path"), "{}", ran.err);
    let ran = into("media/never", &["--storage-class", "gone"]).await.exits(7);
    assert!(ran.err.contains("has no storage class gone") && ran.err.contains("local-path"), "{}", ran.err);
    assert!(world.kube.object("persistentvolumeclaims", "media", "never").is_none());
    into("nowhere/copy", &["--storage-class", "local-path"]).await.exits(1);
    for (number, resource) in ["leases", "pods/attach", "persistentvolumeclaims"].into_iter().enumerate() {
        let mut rules = role["rules"].clone();
        for rule in rules.as_array_mut().unwrap() {
            rule["resources"].as_array_mut().unwrap().retain(|other| other != resource);
        }
        world.kube.shared.with(|state| {
            let role = state.object("clusterroles.rbac.authorization.k8s.io", "", "homelab-dr-fill").unwrap();
            state.edit(&role, |object| object["rules"] = rules);
        });
        let ran = into(&format!("media/without-{number}"), &["--storage-class", "local-path"]).await;
        assert!(ran.code != 0, "it does not need {resource}: {}", ran.out);
        assert!(format!("{}{}", ran.out, ran.err).contains("cannot "), "{resource}: {}{}", ran.out, ran.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_gets_manifests_and_volumes() {
    let disaster = Disaster::new().await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    write_hard_things(&world.folder("media", "data"));
    world.backup(&[]).await.exits(0);
    let args = ["restore", "latest:cluster", "--cluster", "--into-folder", "out", "--yes", "--json"];
    let document = world.run(&args).await.exits(0).json();
    assert_eq!(volume(&document, "media", "data")["outcome"], "restored");
    let folder = world.lab.path("out/volumes/media/data");
    assert!(whole(&folder) == whole(&world.folder("media", "data")));
    assert!(world.lab.path("out/manifests/core/PersistentVolumeClaim/media/data.yaml").exists());
    world.run(&args).await.exits(0);
    std::fs::write(folder.join("owned"), "of somebody").unwrap();
    let again = world.run(&args).await.exits(3).json();
    let why = volume(&again, "media", "data")["why"].to_string();
    assert!(why.contains("is not empty"), "{why}");
    assert_eq!(std::fs::read_to_string(folder.join("owned")).unwrap(), "of somebody");
}
