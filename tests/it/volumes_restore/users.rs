//! Volumes in a namespace that enforces Pod Security `restricted`, on a node that runs pods as the users that they name: what only root may set is listed, and the application finds its data.
//! It comes back under another name, as copies do.

use super::in_place::said;
use super::*;
use crate::cluster::restore::outcome;

/// The program where any user finds it.
pub(super) fn for_anybody(folder: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let (from, to) = (Path::new(env!("CARGO_BIN_EXE_homelab-dr")), folder.join("homelab-dr"));
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    // A name of the same file, where that is on the same disk: a copy would be open for writing while children are started.
    if std::fs::hard_link(from, &to).is_err() {
        let copied = std::process::Command::new("cp").args([from, &to]).status();
        assert!(copied.is_ok_and(|status| status.success()), "cp {}", from.display());
    }
    to
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_that_cannot_be_set_are_listed_and_the_application_finds_its_data() {
    assert!(rustix::process::geteuid().is_root(), "to be other users takes root");
    let folder = tempfile::tempdir().unwrap();
    let images = BTreeMap::from([(IMAGE.to_owned(), for_anybody(folder.path()))]);
    let disaster = Disaster::into(Node { images, users: true, ..Node::default() }).await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    world.application_of("csi-hostpath-sc", "media", "library", FINDS_OR_MAKES).await;
    for claim in ["data", "library"] {
        let source = world.folder("media", claim);
        std::fs::write(source.join("a/mine"), "mine").unwrap();
        std::os::unix::fs::chown(source.join("a/mine"), Some(1000), Some(2000)).unwrap();
        std::fs::write(source.join("a/theirs"), "theirs").unwrap();
        std::os::unix::fs::chown(source.join("a/theirs"), Some(1234), Some(1234)).unwrap();
    }
    world.backup(&[]).await.exits(0);

    let document = disaster.restore(&["--namespace", "media=copy", "--json"]).await.exits(3).json();
    // A kubelet gives what a CSI driver made to the `fsGroup` of pods, and leaves what is of the node alone: there the group is the mover's own.
    for (claim, group) in [("data", 0), ("library", 2000)] {
        let of_volume = volume(&document, "copy", claim);
        assert_eq!(of_volume["outcome"], "restored", "{of_volume:#}");
        let problems = of_volume["problems"].to_string();
        assert!(problems.contains("theirs") && problems.contains("owner"), "{problems}");
        assert!(!problems.contains("a/mine"), "its owner is the mover's: {problems}");
        assert_ne!(outcome(&document, &format!("copy/pods/app-{claim}")), "held");
        assert_eq!(disaster.verdict("copy", claim).await, "found");
        let (source, target) = (world.folder("media", claim), disaster.folder("copy", claim));
        for (name, group) in [("a/mine", 2000), ("a/theirs", group), ("a/b/hello", group), ("noise", group)] {
            assert!(std::fs::read(target.join(name)).unwrap() == std::fs::read(source.join(name)).unwrap(), "{name}");
            let found = std::fs::metadata(target.join(name)).unwrap();
            assert_eq!((found.uid(), found.gid()), (1000, group), "{claim}: {name} is the application's");
        }
    }
    assert!(disaster.new.object("namespaces", "", "media").is_none());
    disaster.is_clean().await;
}

/// Beside the original, in its own namespace: as whoever uses that, or as it says on that while nobody does.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_beside_the_original_is_filled_as_the_user_of_that() {
    assert!(rustix::process::geteuid().is_root(), "to be other users takes root");
    let folder = tempfile::tempdir().unwrap();
    let images = BTreeMap::from([(IMAGE.to_owned(), for_anybody(folder.path()))]);
    let disaster = Disaster::into(Node { images, users: true, ..Node::default() }).await;
    let world = &disaster.world;
    world.application("media", "data", FINDS_OR_MAKES).await;
    let source = world.folder("media", "data");
    std::fs::write(source.join("a/mine"), "mine").unwrap();
    let all = std::fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().path());
    let owned = std::process::Command::new("chown").args(["-hR", "1000:2000"]).args(all).status();
    assert!(owned.is_ok_and(|status| status.success()));
    world.backup(&[]).await.exits(0);
    disaster.restore(&[]).await;
    assert_eq!(disaster.verdict("media", "data").await, "found");
    let into = async |name: &str| {
        let target = format!("media/{name}");
        let args = ["restore", "latest:pvc/media/data", "--into-claim", &target, "--yes", "--mover-image", IMAGE];
        let ran = world.run(&[&args[..], &["--kubeconfig", "new"]].concat()).await;
        let mine = std::fs::metadata(disaster.folder("media", name).join("a/mine")).unwrap();
        (ran.code, said(&ran), (mine.uid(), mine.gid()))
    };
    let (code, said, owner) = into("running").await;
    assert!(code == 0 && owner == (1000, 2000) && !said.contains("a/mine"), "{said}");

    // Nobody uses it: then nobody can tell, unless it says so itself.
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(crate::kube::client(&disaster.new), "media");
    pods.delete("app-data", &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    disaster.new.until("it is gone", |state| state.object("pods", "media", "app-data").is_none()).await;
    let (code, said, owner) = into("unknown").await;
    assert!(code == 3 && owner.0 == 65532 && said.contains("a/mine"), "{said}");
    disaster.new.shared.with(|state| {
        let claim = state.object("persistentvolumeclaims", "media", "data").unwrap();
        state.edit(&claim, |object| {
            object["metadata"]["annotations"]["homelab-dr.io/mover-user"] = "1000:2000".into();
        });
    });
    let (code, said, owner) = into("said").await;
    assert!(code == 0 && owner == (1000, 2000) && !said.contains("a/mine"), "{said}");
}
