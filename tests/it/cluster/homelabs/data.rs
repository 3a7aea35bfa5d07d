//! A homelab is lost with its volumes, and comes back with what was in them: objects from its cluster, data from the disks of its node, which are a folder by
//! then; movers fill all of it into an empty cluster.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::load;
use crate::cli::Ran;
use crate::kill::lab::Lab;
use crate::support::files::{noise, picture};
use crate::support::kube::node::Node;
use crate::support::s3::{Rules, S3Server};

const LAB: &str = "a-k3s-pulumi";
const IMAGE: &str = "homelab-dr:test";

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

/// Namespaces and names of the claims that a folder has manifests of.
fn claims(folder: &Path) -> Vec<(String, String)> {
    let names = |path: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let all = folder.join("manifests/core/PersistentVolumeClaim");
    let of = |space: String| {
        let claims = names(&all.join(&space));
        claims.into_iter().map(move |claim| (space.clone(), claim.trim_end_matches(".yaml").to_owned()))
    };
    names(&all).into_iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homelab_comes_back_with_what_was_in_its_volumes() {
    let s3 = S3Server::start(Rules::PLAIN).await;
    let (address, bucket) = (s3.address("home"), s3.bucket_dir().join("home"));
    let lab = tokio::task::spawn_blocking(move || Lab::new(|_| address.clone(), Some(bucket))).await.unwrap();
    let lab = Arc::new(lab);
    let old = load::old(LAB).await;
    std::fs::write(lab.path("old"), old.kubeconfig()).unwrap();
    configure(&lab, "  cluster: {resources: {kubeconfig: DIR/old, volumes-elsewhere: true}}\n");
    run(&lab, &["backup"]).await.exits(0);
    let unpack = ["restore", "latest:cluster", "--cluster", "--into-folder", "disks", "--empty-volumes", "--yes"];
    run(&lab, &unpack).await.exits(0);

    // What the node's disks held.
    let mut was = BTreeMap::new();
    for (number, (namespace, claim)) in claims(&lab.path("disks")).into_iter().enumerate() {
        let volume = lab.path("disks/volumes").join(&namespace).join(&claim);
        std::fs::create_dir_all(volume.join("deep")).unwrap();
        std::fs::write(volume.join("deep/file"), format!("of {namespace}/{claim}")).unwrap();
        std::fs::write(volume.join("large"), noise(number as u64, 300_000)).unwrap();
        was.insert((namespace, claim), picture(&volume));
    }
    assert!(was.len() >= 2, "{:?}", was.keys());
    configure(&lab, "  cluster: {resources: {folder: DIR/disks}}\n  volumes: {volumes: {folder: DIR/disks}}\n");
    run(&lab, &["backup"]).await.exits(0);
    std::fs::remove_dir_all(lab.path("disks")).unwrap();

    let images = BTreeMap::from([(IMAGE.to_owned(), PathBuf::from(env!("CARGO_BIN_EXE_homelab-dr")))]);
    let new = load::fresh_that_runs(LAB, Node { images, ..Node::default() }).await;
    std::fs::write(lab.path("new"), new.kubeconfig()).unwrap();
    let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new", "--mover-image", IMAGE, "--yes"];
    let ran = run(&lab, &[&args[..], &["--json", "--no-progress"]].concat()).await;
    let document = ran.json();
    let volumes = document["report"]["volumes"].as_array().unwrap_or_else(|| panic!("{}{}", ran.out, ran.err));
    assert_eq!(volumes.len(), was.len(), "{volumes:#?}");
    assert!(volumes.iter().all(|volume| volume["outcome"] == "restored"), "{volumes:#?}");
    for ((namespace, claim), was) in &was {
        let folder = new.volume(namespace, claim).unwrap_or_else(|| panic!("{namespace}/{claim} has no volume"));
        assert!(picture(&folder) == *was, "{namespace}/{claim}");
    }
    // What uses them may start: nothing is unknown.
    let held: Vec<&Value> =
        document["report"]["rows"].as_array().unwrap().iter().filter(|row| row["outcome"] == "held").collect();
    assert!(held.is_empty(), "{held:#?}");
}
