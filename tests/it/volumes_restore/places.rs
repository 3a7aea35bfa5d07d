//! Volumes by where they are: one that pods of two nodes have in common (`ReadWriteMany`), directories of one node (`local`, from a provisioner and by hand), and what a NAS exports.

use super::*;

/// A class of CSI volumes that are made where their first pod is.
const LATE: &str = "csi-late";

/// A pod of a node, with the first of these claims at `/data`.
fn pod(name: &str, node: &str, claims: &[&str]) -> Value {
    let mut pod = application(claims[0], &format!("{FINDS_OR_MAKES}; touch /data/ready; sleep 600"));
    pod["metadata"]["name"] = name.into();
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    let further = claims[1..].iter().map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
    pod["spec"]["volumes"].as_array_mut().unwrap().extend(further);
    pod
}

fn runs(state: &crate::support::kube::state::State, name: &str) -> bool {
    state.object("pods", "media", name).is_some_and(|pod| pod["status"]["phase"] == "Running")
}

impl Disaster {
    /// Two pods on two nodes with four volumes, of which two are in both.
    async fn with_places() -> Self {
        let disaster = Self::new().await;
        let (world, kube) = (&disaster.world, &disaster.world.kube);
        let file = world.lab.path("homelab-dr.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("start-timeout:", "movers: 4, start-timeout:")).unwrap();
        for cluster in [kube, &disaster.new] {
            cluster.add_node("node-b");
        }
        world.namespace("media").await;
        kube.make(
            "",
            json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": LATE},
                "provisioner": "hostpath.csi.k8s.io", "volumeBindingMode": "WaitForFirstConsumer",
            }),
        );
        let terms =
            json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-b"]}]}]);
        let of_node = json!({
            "local": {"path": world.lab.path("disk")}, "accessModes": ["ReadWriteOnce"], "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
        });
        let of_nas =
            json!({"nfs": {"server": "192.0.2.7", "path": world.lab.path("nas")}, "accessModes": ["ReadWriteMany"]});
        for (name, mut spec) in [("disk", of_node), ("nas", of_nas)] {
            disaster.insert_disk(name);
            let mut claim = claim_of(name, "by-hand");
            claim["spec"]["accessModes"] = spec["accessModes"].clone();
            claim["spec"]["volumeName"] = name.into();
            spec["claimRef"] = json!({"namespace": "media", "name": name});
            for (field, value) in [("storageClassName", "by-hand"), ("persistentVolumeReclaimPolicy", "Retain")] {
                spec[field] = value.into();
            }
            spec["capacity"] = json!({"storage": "64Mi"});
            kube.make(
                "",
                json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}),
            );
            kube.make("media", claim);
        }
        let (mut shared, mut own) = (claim_of("shared", LATE), claim_of("own", "local-path"));
        shared["spec"]["accessModes"] = json!(["ReadWriteMany"]);
        own["metadata"]["annotations"] = json!({"volumeType": "local"});
        kube.make("media", shared);
        kube.make("media", own);
        kube.make("media", pod("front", "lab-node", &["shared", "nas"]));
        kube.make("media", pod("back", "node-b", &["own", "shared", "disk", "nas"]));
        kube.until("both run", |state| runs(state, "front") && runs(state, "back")).await;
        for claim in ["shared", "own"] {
            let ready = world.folder("media", claim).join("ready");
            for _ in 0..600 {
                if ready.exists() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(ready.exists(), "{claim} was not filled");
        }
        write_hard_things(&world.folder("media", "disk"));
        std::fs::write(world.folder("media", "nas").join("photo"), noise(3, 100_000)).unwrap();
        disaster
    }

    /// A new one, where a volume made by hand has its directory; what was there before is its picture.
    fn insert_disk(&self, name: &str) {
        let path = self.world.lab.path(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).unwrap();
        }
        std::fs::create_dir(&path).unwrap();
    }
}

/// The node of each mover by its claim, and whether it insists on it.
fn look(state: &crate::support::kube::state::State, seen: &mut BTreeMap<String, (String, bool)>) {
    for pod in state.objects("pods").iter().filter(|pod| is_ours(pod) && pod["spec"]["nodeName"].is_string()) {
        let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
        let claims = volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
        let place = (text(&pod["spec"]["nodeName"]).to_owned(), pod["spec"]["affinity"]["nodeAffinity"].is_object());
        seen.extend(claims.map(|claim| (claim.to_owned(), place.clone())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_of_many_nodes_and_of_one_are_read_and_filled_where_they_are() {
    const CLAIMS: [&str; 4] = ["shared", "own", "disk", "nas"];
    let disaster = Disaster::with_places().await;
    let world = &disaster.world;
    let own = world.kube.shared.with(|state| state.claim_volume("media", "own")).unwrap();
    assert!(own["spec"]["local"].is_object() && own["spec"]["hostPath"].is_null(), "{own}");
    let read = world.watch(look);
    let told = world.backup(&["--json"]).await.exits(0).json();
    for claim in CLAIMS {
        let row = crate::folder::row(&told, &format!("pvc/media/{claim}"));
        assert_eq!((&row["kind"], &row["result"]), (&json!("pvc, live"), &json!("done")), "{row:#}");
    }
    let read = read.lock().unwrap().clone();
    for (claim, insists) in [("shared", false), ("nas", false), ("own", true), ("disk", true)] {
        let (node, affinity) = &read[claim];
        assert_eq!(*affinity, insists, "{claim}: {read:?}");
        assert!(!insists || node == "node-b", "{claim}: {read:?}");
    }
    let before: BTreeMap<&str, _> = CLAIMS.map(|claim| (claim, whole(&world.folder("media", claim)))).into();
    assert!(!before.values().any(BTreeMap::is_empty));

    // The house is lost: the disk of the node and those of the NAS are new and empty.
    world.kube.pause(true);
    for name in ["disk", "nas"] {
        disaster.insert_disk(name);
    }
    let document = disaster.restore(&["--json", "--movers", "4"]).await.exits(0).json();
    for claim in CLAIMS {
        assert_eq!(volume(&document, "media", claim)["outcome"], "restored", "{document:#}");
        let (is, was) = (whole(&disaster.folder("media", claim)), &before[claim]);
        assert!(is == *was, "{claim}: {:?} instead of {:?}", is.keys(), was.keys());
    }
    for claim in ["shared", "own"] {
        assert_eq!(disaster.verdict("media", claim).await, "found");
    }
    disaster.new.until("both run again", |state| runs(state, "front") && runs(state, "back")).await;
    let own = disaster.new.shared.with(|state| state.claim_volume("media", "own")).unwrap();
    assert!(own["spec"]["local"].is_object(), "{own}");
    assert_eq!(disaster.node("media", "own"), "node-b");
    disaster.is_clean().await;
}
