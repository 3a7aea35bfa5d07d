//! The mover's pod: the same program beside the application, with no shell, no token, no stored secret, and as few rights as reading takes.
//!
//! Its manifest passes Pod Security `restricted` when it runs as the application does; what a `root` or `privileged` one needs is here too. The scheduler places
//! it: a pod that names its node would never bind a volume that waits for its consumer.

use std::time::Duration;

use serde_json::{Value, json};

use super::labels::{EXPIRES, MANAGED_BY, MANAGER, RUN};

/// The name of its container.
pub const CONTAINER: &str = "mover";
/// Where the volume is mounted.
pub const MOUNT: &str = "/volume";
/// Where a raw volume is, which nobody can mount.
pub const DEVICE: &str = "/dev/volume";
/// Where copies of databases in use are made.
const SCRATCH: &str = "/scratch";
/// User and group where the application's are not known: nobody's.
pub const NOBODY: u64 = 65532;
/// Capabilities of root that reads.
const READS_WITH: &[&str] = &["DAC_OVERRIDE"];
/// Capabilities of root that fills a volume: owners, modes of files that are somebody else's, set-user-id bits, file capabilities, devices.
const FILLS_WITH: &[&str] = &["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"];
/// Seconds that it has to store what it has read when it is asked to end.
const GRACE_SECONDS: u64 = 60;

/// The same pod as one that only looks whether the store is reached from there: it mounts no volume, and its image has to know the option.
fn reaching(mut manifest: Value) -> Value {
    use crate::cluster::object::{items_mut, list_mut, take_items, text};
    for container in items_mut(&mut manifest, &["spec", "containers"]) {
        if let Some(args) = list_mut(container, &["args"]) {
            args.push("--reach".into());
        }
        for list in ["volumeMounts", "volumeDevices"] {
            take_items(container, &[list], |mount| text(mount, &["name"]) == "volume");
        }
    }
    take_items(&mut manifest, &["spec", "volumes"], |volume| text(volume, &["name"]) == "volume");
    manifest
}

/// The same as one that only tries whether an address is reached: it is told nothing over its standard input.
fn trying(mut manifest: Value, name: &str, (address, time): (&str, Duration), denied: bool) -> Value {
    use crate::cluster::object::{fields_mut, items_mut};
    for container in items_mut(&mut manifest, &["spec", "containers"]) {
        let seconds = time.as_secs().max(1).to_string();
        let mut args = vec!["mover", "--run", name, "--path", MOUNT, "--try", address, "--for", &seconds];
        if denied {
            args.push("--denied");
        }
        if let Some(fields) = fields_mut(container, &[]) {
            fields.insert("args".into(), json!(args));
            for field in ["stdin", "stdinOnce"] {
                fields.remove(field);
            }
        }
    }
    manifest
}

/// With whose rights it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// As the application: what that can read and write, it can.
    Application {
        /// Not 0.
        user: u64,
        /// The primary group, if the application has a given one.
        group: Option<u64>,
        /// Further groups. The application's fsGroup is here; it is in `fsGroup` only where a volume is filled, since the kubelet changes the owner of
        /// every file by it, and a volume that is read may be in use.
        groups: Vec<u64>,
    },
    /// As root with few capabilities, which Pod Security `baseline` permits. To read it takes one, and the mount is read-only.
    Root,
    /// As a privileged container.
    Privileged,
}

/// What a mover's pod is made from.
#[derive(Debug, Clone)]
pub struct PodPlan {
    /// Its own name.
    pub name: String,
    /// The namespace of the claim.
    pub namespace: String,
    /// The claim.
    pub claim: String,
    /// The run.
    pub run: String,
    /// When it is nobody's, as RFC 3339.
    pub expires: String,
    /// The image, whose entry point is this program.
    pub image: String,
    /// With whose rights.
    pub rights: Rights,
    /// Whether it writes into the volume; otherwise it reads it.
    pub fills: bool,
    /// Whether the volume is a raw one, a block device.
    pub device: bool,
    /// Whether it only looks if the store is reached from there: it mounts no volume.
    pub reaches: bool,
    /// The node of the application, where the volume is attached; `None` if any will do.
    pub node: Option<String>,
    /// Taints that the application tolerates.
    pub tolerations: Vec<Value>,
    /// Secrets for pulling images that the application uses.
    pub pull_secrets: Vec<Value>,
    /// When the kubelet ends it.
    pub deadline: Duration,
    /// How long it works on while nobody says that it should.
    pub silence: Duration,
}

impl PodPlan {
    fn pod_security(&self) -> Value {
        let seccomp = json!({"type": "RuntimeDefault"});
        match &self.rights {
            Rights::Application { user, group, groups } => {
                let mut context = json!({"runAsNonRoot": true, "runAsUser": user, "seccompProfile": seccomp});
                if let (Some(group), Some(fields)) = (group, context.as_object_mut()) {
                    fields.insert("runAsGroup".into(), json!(group));
                }
                if let (Some(first), Some(fields)) = (groups.first(), context.as_object_mut()) {
                    fields.insert("supplementalGroups".into(), json!(groups));
                    // A new volume belongs to root, and only the kubelet can open it to anybody else.
                    if self.fills {
                        fields.insert("fsGroup".into(), json!(first));
                        fields.insert("fsGroupChangePolicy".into(), json!("OnRootMismatch"));
                    }
                }
                context
            }
            Rights::Root => json!({"runAsUser": 0, "runAsGroup": 0, "seccompProfile": seccomp}),
            Rights::Privileged => json!({"runAsUser": 0, "runAsGroup": 0}),
        }
    }

    fn container_security(&self) -> Value {
        match &self.rights {
            Rights::Application { .. } => json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            }),
            // DAC_READ_SEARCH would say it better, and is beyond `baseline`.
            Rights::Root => json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"], "add": if self.fills { FILLS_WITH } else { READS_WITH }},
            }),
            Rights::Privileged => json!({"privileged": true, "readOnlyRootFilesystem": true}),
        }
    }

    fn container(&self) -> Value {
        let silence = self.silence.as_secs().max(1).to_string();
        let path = if self.device { DEVICE } else { MOUNT };
        let mut args = json!(["mover", "--run", self.name, "--path", path, "--silence", silence]);
        let mut mounts = json!([{"name": "volume", "mountPath": MOUNT, "readOnly": !self.fills}]);
        if let (true, Some(args), Some(mounts)) = (self.needs_scratch(), args.as_array_mut(), mounts.as_array_mut()) {
            // A copy of the largest database has to fit.
            args.splice(5..5, ["--scratch".into(), SCRATCH.into()]);
            mounts.push(json!({"name": "scratch", "mountPath": SCRATCH}));
        }
        if let (true, Some(args)) = (self.device, args.as_array_mut()) {
            args.insert(5, "--device".into());
        }
        let ephemeral = if self.needs_scratch() { "16Gi" } else { "256Mi" };
        let (list, mounts) = if self.device {
            ("volumeDevices", json!([{"name": "volume", "devicePath": DEVICE}]))
        } else {
            ("volumeMounts", mounts)
        };
        json!({
            "name": CONTAINER,
            "image": self.image,
            // Its own name, and not the run's: a job for another volume of the run is not taken.
            "args": args,
            // Attached to again and again: the first that goes is not the end of the input.
            "stdin": true,
            "stdinOnce": false,
            "resources": {
                "requests": {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "16Mi"},
                "limits": {"cpu": "2", "memory": "512Mi", "ephemeral-storage": ephemeral},
            },
            "securityContext": self.container_security(),
            list: mounts,
        })
    }

    /// Nothing on a raw volume is a database that anybody could find.
    const fn needs_scratch(&self) -> bool {
        !self.fills && !self.device
    }

    /// What is mounted. That it is only read is said of a mount; of a device it is said here, and the kubelet opens it to the container for reading only.
    fn volume(&self) -> Value {
        let mut claim = json!({"claimName": self.claim});
        if let (true, false, Some(fields)) = (self.device, self.fills, claim.as_object_mut()) {
            fields.insert("readOnly".into(), true.into());
        }
        json!({"name": "volume", "persistentVolumeClaim": claim})
    }

    /// The manifest of one that only tries, so long at most, whether an address is reached, or no longer is.
    #[must_use]
    pub fn trying(&self, address: &str, time: Duration, denied: bool) -> Value {
        trying(self.manifest(), &self.name, (address, time), denied)
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> Value {
        let mut spec = json!({
            "restartPolicy": "Never",
            "activeDeadlineSeconds": self.deadline.as_secs().max(1),
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": self.pod_security(),
            "containers": [self.container()],
            "volumes": [self.volume()],
        });
        if let (true, Some(volumes)) = (self.needs_scratch(), spec.get_mut("volumes").and_then(Value::as_array_mut)) {
            volumes.push(json!({"name": "scratch", "emptyDir": {}}));
        }
        if let Some(fields) = spec.as_object_mut() {
            if let Some(node) = &self.node {
                let here = json!({"key": "metadata.name", "operator": "In", "values": [node]});
                let required = json!({"nodeSelectorTerms": [{"matchFields": [here]}]});
                let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
                fields.insert("affinity".into(), affinity);
            }
            for (name, list) in [("tolerations", &self.tolerations), ("imagePullSecrets", &self.pull_secrets)] {
                if !list.is_empty() {
                    fields.insert(name.into(), json!(list));
                }
            }
        }
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": self.name, "namespace": self.namespace,
                "labels": {
                    "app.kubernetes.io/name": "homelab-dr-mover", MANAGED_BY: MANAGER, RUN: self.run,
                    // A sidecar would outlive the mover, and the pod would never end.
                    "sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "none",
                },
                "annotations": {
                    EXPIRES: self.expires, "linkerd.io/inject": "disabled", "sidecar.istio.io/inject": "false",
                },
            },
            "spec": spec,
        });
        if self.reaches { reaching(manifest) } else { manifest }
    }
}
