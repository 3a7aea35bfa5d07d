//! There and back: into another folder, object by object and byte by byte; into a cluster, by movers.

use std::collections::BTreeMap;

use homelab_dr::cluster::Cluster as _;
use homelab_dr::cluster::folder::Folder as Manifests;
use serde_json::json;

use super::*;
use crate::live::assert_whole;
use crate::live::writers::Writer;
use crate::support::files::picture;
use crate::volumes_backup::{IMAGE, World};
use crate::volumes_restore::{whole, write_hard_things};

/// A homelab of fixtures/clusters: with claims, custom objects and two of the kinds that have no plain plural.
const LAB: &str = "c-nixos-argocd";

/// Every object of a folder, by kind, namespace and name.
async fn objects(root: &Path) -> BTreeMap<[String; 3], Value> {
    let folder = Manifests::open(root).unwrap();
    let mut all = BTreeMap::new();
    for kind in folder.kinds().await.unwrap().kinds {
        for object in folder.list(&kind, None).await.unwrap().objects {
            let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            all.insert([kind.to_string(), of("namespace"), of("name")], object);
        }
    }
    all
}

fn set_attribute(path: &Path) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(path, "user.of", b"somebody", flags).expect("the file system has attributes");
}

fn attribute(path: &Path) -> Vec<u8> {
    let mut value = [0_u8; 64];
    let length = rustix::fs::getxattr(path, "user.of", &mut value).expect("it has the attribute");
    value[..length].to_vec()
}

#[tokio::test]
async fn a_homelab_comes_back_object_by_object_and_byte_by_byte() {
    let folder = Folder::new("");
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/clusters").join(LAB).join("lab");
    for file in std::fs::read_dir(lab).unwrap() {
        let path = file.unwrap().path();
        folder.manifest(path.file_name().unwrap().to_str().unwrap(), &read(&path));
    }
    let was = objects(&folder.path("cluster")).await;
    let claims: Vec<[String; 3]> = was.keys().filter(|key| key[0] == "persistentvolumeclaims").cloned().collect();
    assert!(claims.len() > 2 && was.len() > 40, "{claims:?} {}", was.len());
    for (number, [_, namespace, name]) in claims.iter().enumerate() {
        let data = folder.volume(namespace, name);
        if number == 0 {
            write_hard_things(&data);
            set_attribute(&data.join("owned"));
        } else if number > 1 {
            std::fs::write(data.join("file"), format!("of {namespace}/{name}")).unwrap();
        }
    }
    folder.backup(&[]).exits(0);
    let document = folder.restore("out", &["--yes", "--json"]).exits(0).json();
    let skipped: Vec<String> = document["plan"]["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| {
            format!("{} {}/{}", skipped["object"]["kind"], skipped["object"]["namespace"], skipped["object"]["name"])
        })
        .collect();
    let about = folder.home.read(&["cat", "latest:cluster:cluster.yaml"]).exits(0).out;
    let about: Value = serde_saphyr::from_str(&about).unwrap();
    let left_out = about["leftOut"].as_array().unwrap();
    let is = objects(&folder.path("out")).await;
    let mut compared = 0;
    for (key, was) in &was {
        let [kind, namespace, name] = key;
        let namespace = if namespace.is_empty() { json!(null) } else { json!(namespace) };
        let shown = format!("{} {namespace}/{}", json!(kind), json!(name));
        let Some(is) = is.get(key) else {
            // Of slices that a controller writes, the kind is there and the object is not.
            let is_left_out = left_out.contains(&json!(kind)) || kind.starts_with("endpointslices.");
            assert!(is_left_out || skipped.contains(&shown), "{shown} is gone, and nobody said so: {skipped:?}");
            continue;
        };
        // What is rewritten on the way has tests of its own: here what is said of an application.
        for field in ["data", "stringData", "rules", "roleRef", "subjects", "type"] {
            assert_eq!(is.get(field), was.get(field), "{shown} {field}");
        }
        assert_eq!(is["metadata"].get("uid"), was["metadata"].get("uid").or(is["metadata"].get("uid")), "{shown}");
        compared += 1;
    }
    assert!(compared > 30 && is.keys().all(|key| was.contains_key(key)), "{compared}");
    for [_, namespace, name] in &claims {
        let [was, is] = ["cluster", "out"].map(|root| folder.path(root).join("volumes").join(namespace).join(name));
        let [was, is] = [whole(&was), whole(&is)];
        assert!(was == is, "{namespace}/{name}: {:?} {:?}", was.keys(), is.keys());
    }
    let hard = folder.path("out/volumes").join(&claims[0][1]).join(&claims[0][2]);
    assert_eq!(attribute(&hard.join("owned")), b"somebody");
    assert_whole(&hard.join("app.db"));

    // From there on nothing changes any more, not even a byte of a manifest.
    let text = read(&folder.path("homelab-dr.yaml")).replace("/cluster}", "/out}");
    std::fs::write(folder.path("homelab-dr.yaml"), text).unwrap();
    folder.backup(&[]).exits(0);
    folder.restore("again", &["--yes"]).exits(0);
    assert!(picture(&folder.path("again/manifests")) == picture(&folder.path("out/manifests")));
}

/// SQLite's own backup is taken of a database that is written to, as where a mover reads it live.
#[test]
fn a_database_in_use_comes_back_whole() {
    let folder = Folder::new("");
    let data = folder.claim("media", "data", "");
    let writer = Writer::start(&data.join("app.db"), "wal");
    folder.backup(&[]).exits(0);
    writer.end();
    folder.restore("out", &["--yes"]).exits(0);
    assert_whole(&folder.path("out/volumes/media/data/app.db"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_in_a_folder_is_brought_into_a_cluster() {
    let world = World::new("").await;
    let root = world.lab.path("cluster");
    std::fs::create_dir_all(root.join("manifests")).unwrap();
    let data = root.join("volumes/media/data");
    std::fs::create_dir_all(&data).unwrap();
    let space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: media}\n";
    let settings = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: media}\ndata: {a: '1'}\n";
    // As the API server would complete it; what it adds is told as a difference.
    let data_claim = claim("media", "data", "").replace("spec:\n", "spec:\n  volumeMode: Filesystem\n");
    let all = [space, settings, &data_claim].join("---\n");
    std::fs::write(root.join("manifests/all.yaml"), all).unwrap();
    write_hard_things(&data);
    let text = "sources:\n  cluster: {resources: {folder: DIR}}\n  volumes: {volumes: {folder: DIR}}\n";
    std::fs::write(world.lab.path("homelab-dr.yaml"), text.replace("DIR", root.to_str().unwrap())).unwrap();
    world.backup(&[]).await.exits(0);
    let args =
        ["restore", "latest:cluster", "--cluster", "--kubeconfig", "kubeconfig", "--mover-image", IMAGE, "--yes"];
    let document = world.run(&[&args[..], &["--json"]].concat()).await.exits(0).json();
    assert_eq!(volume(&document, "media", "data")["outcome"], "restored", "{document:#}");
    assert_eq!(world.kube.object("configmaps", "media", "settings").unwrap()["data"]["a"], "1");
    let brought = world.folder("media", "data");
    assert!(whole(&brought) == whole(&data));
    assert_whole(&brought.join("app.db"));
    world.is_clean().await;
}
