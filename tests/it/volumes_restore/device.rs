//! Raw volumes: read whole from a copy, and written to new devices, of which nobody knows what is on them. The node's device is a file that nobody may make longer, cut or create.

use super::users::for_anybody;
use super::*;
use crate::cluster::restore::outcome;

pub(super) const MIB: usize = 1 << 20;
pub(super) const BYTES: usize = 8 * MIB;
const CSI: &str = "csi-hostpath-sc";

/// A claim of a raw volume.
fn block(name: &str, class: &str, bytes: usize) -> Value {
    let mut claim = claim_of(name, class);
    claim["spec"]["volumeMode"] = "Block".into();
    claim["spec"]["resources"]["requests"]["storage"] = format!("{}Mi", bytes / MIB).into();
    claim
}

/// A pod that has the device and does nothing with it.
fn user_of(claim: &str) -> Value {
    let mut pod = application(claim, "sleep 600");
    let container = &mut pod["spec"]["containers"][0];
    container.as_object_mut().unwrap().remove("volumeMounts");
    container["volumeDevices"] = json!([{"name": "data", "devicePath": "/dev/data"}]);
    pod
}

/// Data, zeros in between, data that begins and ends anywhere, and the last bytes: as of a disk with a table at its end.
pub(super) fn disk() -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    for (at, length) in [(0, MIB), (5 * MIB + 100, 300_000), (BYTES - 700, 700)] {
        bytes[at..at + length].copy_from_slice(&noise(at as u64, length));
    }
    bytes
}

/// Writes what is on a device, as whoever has it does.
pub(super) fn write(device: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    std::fs::File::options().write(true).open(device).unwrap().write_all_at(bytes, 0).unwrap();
}

impl Disaster {
    /// With the claim `media/disk`, which a pod has, and snapshots of CSI.
    pub(super) async fn with_device() -> Self {
        Self::with_device_into(node()).await
    }

    /// The same, to be restored into a cluster with such nodes.
    async fn with_device_into(node: Node) -> Self {
        let disaster = Self::into(node).await;
        let folder = disaster.world.lab.path("");
        let folder = folder.to_str().unwrap().trim_end_matches('/');
        let text = format!(
            "sources:\n  cluster: {{resources: {{kubeconfig: {folder}/kubeconfig}}}}\n  volumes: {{volumes: {{kubeconfig: {folder}/kubeconfig, \
             image: '{IMAGE}', namespace: backup}}}}\n"
        );
        std::fs::write(disaster.world.lab.path("homelab-dr.yaml"), text).unwrap();
        let world = &disaster.world;
        world.namespace("backup").await;
        world.namespace("media").await;
        world.kube.make("media", block("disk", CSI, BYTES));
        world.kube.make("media", user_of("disk"));
        let runs = |state: &crate::support::kube::state::State| {
            state.object("pods", "media", "app-disk").is_some_and(|pod| pod["status"]["phase"] == "Running")
        };
        world.kube.until("it has its device", runs).await;
        write(&disaster.world.folder("media", "disk"), &disk());
        disaster
    }

    fn row(ran: &Ran) -> Value {
        let document = ran.json();
        let rows = document["sources"].as_array().unwrap();
        rows.iter().find(|row| row["source"] == "pvc/media/disk").unwrap().clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_comes_back_byte_by_byte_and_whatever_was_on_the_new_one_is_gone() {
    let disaster = Disaster::with_device().await;
    let world = &disaster.world;
    let row = Disaster::row(&world.backup(&["--json"]).await.exits(0));
    assert_eq!((&row["kind"], &row["result"]), (&json!("pvc, snapshot"), &json!("done")), "{row:#}");
    let restored = world.restored("media/disk").await;
    assert!(restored.len() == 1 && restored[Path::new("device")] == disk(), "one file in a folder");
    assert!(std::fs::read(world.folder("media", "disk")).unwrap() == disk(), "nothing was written to it");
    // A page that changes costs a page, and what is zeros costs nothing.
    let mut changed = disk();
    changed[MIB / 2] ^= 1;
    write(&world.folder("media", "disk"), &changed);
    let again = Disaster::row(&world.backup(&["--json"]).await.exits(0));
    let new = |row: &Value| row["statistics"]["bytes_new"].as_u64().unwrap_or_else(|| panic!("{row:#}"));
    assert!(new(&row) < 2 * MIB as u64 && new(&again) <= 128 << 10, "{row:#} {again:#}");

    // Everything, into the empty cluster: its claim is as large, and full of what was on it before.
    let plan = disaster.restore(&["--plan"]).await.exits(0);
    let line = plan.out.lines().find(|line| line.contains("persistentvolumeclaims media/disk"));
    assert!(line.is_some_and(|line| line.contains("of pvc/media/disk (1 file, 8.0 MiB")), "{}", plan.out);
    let document = disaster.restore(&["--json"]).await.exits(0).json();
    assert_eq!(volume(&document, "media", "disk")["outcome"], "restored", "{document:#}");
    assert_eq!(outcome(&document, "media/pods/app-disk"), "restored");
    assert!(std::fs::read(disaster.folder("media", "disk")).unwrap() == changed, "all of it, zeros too");
    disaster.is_clean().await;

    // A folder as a cluster, and back from there.
    let args = ["restore", "latest:cluster", "--cluster", "--into-folder", "unpacked", "--yes", "--no-progress"];
    world.run(&args).await.exits(0);
    assert!(std::fs::read(world.lab.path("unpacked/volumes/media/disk/device")).unwrap() == changed);
    let folder = world.lab.path("unpacked");
    let text = format!(
        "sources:\n  cluster: {{resources: {{folder: {0}}}}}\n  volumes: {{volumes: {{folder: {0}}}}}\n",
        folder.display()
    );
    std::fs::write(world.lab.path("homelab-dr.yaml"), text).unwrap();
    let of_folder = Disaster::row(&world.backup(&["--json"]).await.exits(0));
    assert_eq!(of_folder["result"], "done", "{of_folder:#}");
    let into = ["restore", "latest:pvc/media/disk", "--into-claim", "media/other", "--yes", "--mover-image", IMAGE];
    world.run(&[&into[..], &["--kubeconfig", "new", "--storage-class", CSI]].concat()).await.exits(0);
    assert!(std::fs::read(disaster.folder("media", "other")).unwrap() == changed);
}

/// What is not of its kind, does not fit, or holds something is not written to.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_new_device_is_refused_and_stays_as_it_is() {
    let disaster = Disaster::with_device().await;
    let world = &disaster.world;
    world.application_of(CSI, "media", "files", "echo x > /data/x").await;
    world.backup(&[]).await.exits(0);
    let in_place = ["--kubeconfig", "kubeconfig", "--in-place", "--yes"];
    let into = async |snapshot: &str, claim: &str, more: &[&str]| {
        world.run(&[&["restore", snapshot, "--into-claim", claim][..], more].concat()).await
    };
    let ran = into("latest:pvc/media/disk", "media/files", &in_place).await;
    let says = "the snapshot is of a block device, and the claim is a file system";
    assert!(ran.code != 0 && ran.err.contains(says), "{}", ran.err);
    // A device of the node, which somebody made and a claim of ours is bound to.
    open_namespace(&disaster.new, "media").await;
    let files = ["holds", "zeros", "short"].map(|name| world.lab.path(name));
    let mut part = disk();
    part[..MIB / 2].fill(0);
    std::fs::write(&files[0], noise(9, BYTES)).unwrap();
    std::fs::write(&files[1], &part).unwrap();
    std::fs::write(&files[2], vec![0; BYTES - 4096]).unwrap();
    for (name, file) in ["holds", "zeros", "short"].into_iter().zip(&files) {
        disaster.new.make(
            "",
            json!({
                "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
                "spec": {
                    "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "8Mi"}, "volumeMode": "Block", "storageClassName": name,
                    "persistentVolumeReclaimPolicy": "Retain", "local": {"path": file}, "claimRef": {"namespace": "media", "name": name},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["lab-node"]},
                    ]}]}},
                },
            }),
        );
        let before = std::fs::read(file).unwrap();
        let target = format!("media/{name}");
        let more = ["--kubeconfig", "new", "--storage-class", name, "--mover-image", IMAGE, "--yes"];
        let ran = into("latest:pvc/media/disk", &target, &more).await;
        let (code, says) = match name {
            "holds" => (3, "holds something at byte 0 that is not of the snapshot"),
            "short" => (3, "has 8384512 bytes, and the snapshot 8388608"),
            _ => (0, "filled the claim"),
        };
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code == code && said.contains(says), "{name}: {} {said}", ran.code);
        let now = std::fs::read(file).unwrap();
        assert!(now == if code == 0 { disk() } else { before }, "{name}");
    }
}

/// While a pod has the device it is read from a copy or not at all; with nobody there it is read where it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_in_use_is_not_read_where_it_is() {
    let disaster = Disaster::with_device().await;
    let world = &disaster.world;
    world.configure("");
    let ran = world.backup(&["--json"]).await.exits(1);
    let row = Disaster::row(&ran);
    assert!(row["error"].to_string().contains("it is a raw block device in use"), "{row:#}");
    assert!(ran.err.contains("NOT COVERED"), "{}", ran.err);
    let pod = world.kube.object("pods", "media", "app-disk").unwrap();
    world.kube.shared.with(|state| state.remove("test", &pod, &Default::default()));
    world.kube.until("it is gone", |state| state.object("pods", "media", "app-disk").is_none()).await;
    let ran = world.backup(&["--json"]).await.exits(0);
    assert_eq!(Disaster::row(&ran)["kind"], "pvc, live");
    assert!(world.restored("media/disk").await[Path::new("device")] == disk());
}

/// By an annotation it is read from a clone, or where it is while a pod has it: then the row says what that is worth.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_read_from_a_clone_and_in_use_if_somebody_accepts_that() {
    let disaster = Disaster::with_device().await;
    let world = &disaster.world;
    for (mode, kind, cautions) in [("clone", "pvc, clone", false), ("live", "pvc, live", true)] {
        world.kube.shared.with(|state| {
            let claim = state.object("persistentvolumeclaims", "media", "disk").unwrap();
            state.edit(&claim, |claim| claim["metadata"]["annotations"]["homelab-dr.io/mode"] = mode.into());
        });
        let mut changed = disk();
        changed[MIB / 2..MIB].copy_from_slice(&noise(mode.len() as u64, MIB / 2));
        write(&world.folder("media", "disk"), &changed);
        let row = Disaster::row(&world.backup(&["--json"]).await.exits(0));
        assert_eq!((&row["kind"], &row["result"]), (&json!(kind), &json!("done")), "{row:#}");
        assert_eq!(row["cautions"].to_string().contains("it may be torn"), cautions, "{row:#}");
        assert!(world.restored("media/disk").await[Path::new("device")] == changed, "{mode}");
        assert!(std::fs::read(world.folder("media", "disk")).unwrap() == changed, "nothing was written to it");
    }
    world.kube.until("its copy is gone", |state| state.objects("persistentvolumeclaims").len() == 1).await;
    world.is_clean().await;
}

/// A device belongs to root. Who may not be root there is told what to set.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_may_not_be_opened_says_what_to_set() {
    assert!(rustix::process::geteuid().is_root(), "to be other users takes root");
    let folder = tempfile::tempdir().unwrap();
    let images = BTreeMap::from([(IMAGE.to_owned(), for_anybody(folder.path()))]);
    let disaster = Disaster::with_device_into(Node { images, users: true, ..Node::default() }).await;
    let world = &disaster.world;
    world.backup(&[]).await.exits(0);
    open_namespace(&disaster.new, "open").await;
    open_namespace(&disaster.new, "closed").await;
    disaster.new.shared.with(|state| {
        let closed = state.object("namespaces", "", "closed").unwrap();
        let level = "pod-security.kubernetes.io/enforce";
        state.edit(&closed, |object| object["metadata"]["labels"][level] = "restricted".into());
    });
    let into = async |claim: &str| {
        let args = ["restore", "latest:pvc/media/disk", "--into-claim", claim, "--kubeconfig", "new", "--yes"];
        world.run(&[&args[..], &["--storage-class", CSI]].concat()).await
    };
    let ran = into("closed/disk").await.exits(3);
    let said = format!("{}{}", ran.out, ran.err);
    for part in ["cannot open the device", "homelab-dr.io/mover-mode: root", "device_ownership_from_security_context"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    into("open/disk").await.exits(0);
    assert!(std::fs::read(disaster.folder("open", "disk")).unwrap() == disk());
}
