//! A homelab is lost with its volumes, and comes back with what was in them: what was in its API and on its disks is a folder by then; movers fill all of it into an
//! empty cluster.
//!
//! What is not carried: no driver of Longhorn's is here, so its claims come back as another class, as they would in a house without it; what a NAS exports, and what a disk of a node
//! is mounted at, are folders of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::load;
use crate::cli::Ran;
use crate::kill::lab::Lab;
use crate::support::files::{noise, picture};
use crate::support::kube::node::Node;
use crate::support::s3::{Rules, S3Server};

const IMAGE: &str = "homelab-dr:test";
/// Claims, what they get their volumes from, and what uses them: the rest of these homelabs comes back in the other tests, and all of it with its data in that of the first.
const OF_VOLUMES: [&str; 10] = [
    "--include",
    "persistentvolumeclaims",
    "--include",
    "persistentvolumes",
    "--include",
    "storageclasses.storage.k8s.io",
    "--include",
    "*.apps",
    "--include",
    "serviceaccounts",
];

async fn run(lab: &Arc<Lab>, args: &[&str]) -> Ran {
    let mut command = lab.command(args);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    Ran::of(&output.expect("it runs"))
}

fn configure(lab: &Lab, sources: &str) {
    let folder = lab.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    std::fs::write(lab.path("homelab-dr.yaml"), format!("sources:\n{sources}").replace("DIR", folder)).unwrap();
}

/// Has what a node or a NAS holds be a folder of this machine, which is empty.
fn move_places(folder: &Path, places: &[(&str, PathBuf)]) {
    for (was, is) in places {
        std::fs::create_dir_all(is).unwrap();
        let mut moved = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let text = std::fs::read_to_string(&file).unwrap();
            moved += text.matches(was).count();
            std::fs::write(&file, text.replace(was, is.to_str().unwrap())).unwrap();
        }
        assert_eq!(moved, 1, "{was}");
    }
}

/// A homelab, and what is special about its volumes.
#[derive(Default)]
struct Volumes<'a> {
    /// Where those are that were made by hand, and the folder that stands for that.
    places: &'a [(&'a str, &'a str)],
    /// Claims that are neither backed up nor restored: whoever they are for makes them.
    made_anew: &'a [&'a str],
    /// Which objects are restored; all, if none is said.
    chosen: &'a [&'a str],
    /// What its owner says at the restore.
    says: &'a [&'a str],
}

async fn comes_back_with_what_was_in_its_volumes(name: &str, volumes: Volumes<'_>) {
    let Volumes { places, made_anew, chosen, says } = volumes;
    let s3 = S3Server::start(Rules::PLAIN).await;
    let (address, bucket) = (s3.address("home"), s3.bucket_dir().join("home"));
    let lab = tokio::task::spawn_blocking(move || Lab::new(|_| address.clone(), Some(bucket))).await.unwrap();
    let lab = Arc::new(lab);
    // What is in its API, as it would be captured from there: that is tested beside this.
    let manifests = lab.path("disks/manifests");
    std::fs::create_dir_all(&manifests).unwrap();
    for file in load::files(name, "lab") {
        std::fs::copy(&file, manifests.join(file.file_name().unwrap())).unwrap();
    }
    let places: Vec<(&str, PathBuf)> = places.iter().map(|(was, is)| (*was, lab.path(is))).collect();
    move_places(&manifests, &places);

    // What the disks held.
    let mut was = BTreeMap::new();
    let claims = load::claims(name).into_iter().filter(|claim| !made_anew.contains(&claim.as_str()));
    for (number, claim) in claims.enumerate() {
        let volume = lab.path("disks/volumes").join(&claim);
        std::fs::create_dir_all(volume.join("deep")).unwrap();
        std::fs::write(volume.join("deep/file"), format!("of {claim}")).unwrap();
        std::fs::write(volume.join("large"), noise(number as u64, 300_000)).unwrap();
        was.insert(claim, picture(&volume));
    }
    let left_out = made_anew.join(", ");
    let volumes = format!("  volumes: {{volumes: {{folder: DIR/disks, exclude: [{left_out}]}}}}\n");
    configure(&lab, &format!("  cluster: {{resources: {{folder: DIR/disks}}}}\n{volumes}"));
    run(&lab, &["backup"]).await.exits(0);
    std::fs::remove_dir_all(lab.path("disks")).unwrap();

    let images = BTreeMap::from([(IMAGE.to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_homelab-dr")))]);
    let new = load::fresh_that_runs(name, Node { images, ..Node::default() }).await;
    std::fs::write(lab.path("new"), new.kubeconfig()).unwrap();
    let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--mover-image", IMAGE, "--yes"];
    let ran = run(&lab, &[&args[..], &["--json", "--no-progress", "--movers", "4"], chosen, says].concat()).await;
    let document = ran.json();
    let volumes = document["report"]["volumes"].as_array().unwrap_or_else(|| panic!("{}{}", ran.out, ran.err));
    assert!(volumes.iter().all(|volume| volume["outcome"] == "restored"), "{volumes:#?}");
    let mut folders = BTreeSet::new();
    for (claim, was) in &was {
        let (namespace, name) = claim.split_once('/').unwrap();
        let folder = new.volume(namespace, name).unwrap_or_else(|| panic!("{claim} has no volume"));
        assert!(picture(&folder) == *was, "{claim}");
        assert!(folders.insert(folder), "{claim} shares its volume");
    }
    assert!(folders.len() == volumes.len() && !folders.is_empty(), "{volumes:#?}");
    for claim in made_anew {
        let (namespace, name) = claim.split_once('/').unwrap();
        assert_eq!(new.object("persistentvolumeclaims", namespace, name), None, "it was not to be restored");
    }
    for (was, is) in &places {
        assert!(folders.contains(is), "nobody has what was at {was}");
    }
    // What uses them may start: nothing is unknown.
    let held: Vec<&Value> =
        document["report"]["rows"].as_array().unwrap().iter().filter(|row| row["outcome"] == "held").collect();
    assert!(held.is_empty(), "{held:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comes_back_with_what_was_in_its_volumes() {
    comes_back_with_what_was_in_its_volumes("a-k3s-pulumi", Volumes::default()).await;
}

/// A share of a NAS, and volumes of a storage system that the new house does not have. What a pod had for itself is gone with it.
#[tokio::test(flavor = "multi_thread")]
async fn b_comes_back_with_what_was_in_its_volumes() {
    let volumes = Volumes {
        places: &[("/volume1/media", "nas")],
        made_anew: &["office/paperless-584zpwbhvl-k8r4w-scratch"],
        chosen: &OF_VOLUMES,
        says: &["--storage-class", "longhorn=local-path"],
    };
    comes_back_with_what_was_in_its_volumes("b-talos-flux-longhorn", volumes).await;
}

/// Directories on the disk of a node of another name.
#[tokio::test(flavor = "multi_thread")]
async fn c_comes_back_with_what_was_in_its_volumes() {
    let volumes = Volumes {
        places: &[
            ("/srv/volumes/vaultwarden", "disk-of-vaultwarden"),
            ("/srv/volumes/jellyfin", "disk-of-jellyfin"),
            ("/srv/volumes/photos", "disk-of-photos"),
        ],
        chosen: &OF_VOLUMES,
        says: &["--node", "nixos-1=lab-node"],
        ..Volumes::default()
    };
    comes_back_with_what_was_in_its_volumes("c-nixos-argocd", volumes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d_comes_back_with_what_was_in_its_volumes() {
    let volumes = Volumes { chosen: &OF_VOLUMES, ..Volumes::default() };
    comes_back_with_what_was_in_its_volumes("d-linkerd-kyverno", volumes).await;
}

/// A class of its own, which waits for the first pod; and a database that its operator recovers.
#[tokio::test(flavor = "multi_thread")]
async fn e_comes_back_with_what_was_in_its_volumes() {
    let volumes = Volumes { made_anew: &["identity/authentik-db-1"], chosen: &OF_VOLUMES, ..Volumes::default() };
    comes_back_with_what_was_in_its_volumes("e-identity", volumes).await;
}
