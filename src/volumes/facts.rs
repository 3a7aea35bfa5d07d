//! What a cluster says about its volumes: plain data, read through lists that are bounded, and nothing decided.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use read::read;
pub(crate) use read::wishes;

use super::run::RunId;

/// Everything that choosing needs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// By namespace and name.
    pub claims: Vec<Claim>,
    /// By name.
    pub volumes: BTreeMap<String, Volume>,
    /// By name.
    pub storage_classes: BTreeMap<String, StorageClass>,
    /// CSI drivers that are installed.
    pub drivers: BTreeSet<String>,
    /// What the cluster has of CSI snapshots.
    pub snapshots: Snapshots,
    /// Pods that use claims and have not ended, by namespace and name.
    pub pods: Vec<Pod>,
    /// By name.
    pub namespaces: BTreeMap<String, Namespace>,
    /// By name.
    pub nodes: BTreeMap<String, Node>,
}

/// How a claim may be mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AccessMode {
    /// By the pods of one node.
    ReadWriteOnce,
    /// By many, who only read.
    ReadOnlyMany,
    /// By many.
    ReadWriteMany,
    /// By one pod in the whole cluster.
    ReadWriteOncePod,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No volume yet.
    #[default]
    Pending,
    /// It has its volume.
    Bound,
    /// It had a volume, which is gone.
    Lost,
}

/// What somebody wrote into our annotations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// `homelab-dr.io/backup`.
    pub backup: Option<String>,
    /// `homelab-dr.io/mode`.
    pub mode: Option<String>,
    /// All that begin with `homelab-dr.io/hook`, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<String, String>,
}

/// An owner of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// API group; empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A `PersistentVolumeClaim`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations of ours.
    pub wishes: Wishes,
    /// The run that made it, if it is one of our own.
    pub run: Option<RunId>,
    /// Its owners.
    pub owners: Vec<Owner>,
    /// Whether it is being deleted.
    pub dying: bool,
    /// What became of it.
    pub phase: Phase,
    /// The `PersistentVolume` that it names.
    pub volume: Option<String>,
    /// Its `StorageClass`.
    pub storage_class: Option<String>,
    /// How it may be mounted.
    pub access: BTreeSet<AccessMode>,
    /// Whether it is a raw block device.
    pub block: bool,
    /// What it has, or asks for, in bytes: the larger.
    pub bytes: u64,
    /// What it is filled from, as kind and name.
    pub filled_from: Option<String>,
}

/// Where the bytes of a `PersistentVolume` are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// With a CSI driver, of this name.
    Csi(String),
    /// In a directory of a node, at this path.
    HostPath(String),
    /// On a disk of a node, at this path.
    Local(String),
    /// On an NFS server: `server:/path`.
    Nfs(String),
    /// Elsewhere; the field's name.
    Other(String),
}

/// A `PersistentVolume`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// Where its bytes are.
    pub source: Source,
    /// The uid of the claim that it is bound to.
    pub claim_uid: Option<String>,
    /// The nodes that it can be mounted on (a node selector); all if there is none.
    pub nodes: Option<Value>,
}

/// A `StorageClass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageClass {
    /// Who makes its volumes.
    pub provisioner: String,
    /// Whether a volume is made only when a pod needs it.
    pub waits_for_consumer: bool,
}

/// What the cluster has of CSI snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Snapshots {
    /// Its API server does not know them: the definitions are not installed, which is so on a new k3s.
    #[default]
    Missing,
    /// It could not be found out, and why.
    Unknown(String),
    /// These classes, by name.
    Classes(BTreeMap<String, SnapshotClass>),
}

/// A `VolumeSnapshotClass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotClass {
    /// Whose snapshots it is for.
    pub driver: String,
    /// Whether it is the driver's default.
    pub default: bool,
    /// What it tells the driver.
    pub parameters: BTreeMap<String, String>,
}

/// A pod that uses claims.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it is, once it was placed.
    pub node: Option<String>,
    /// Whether it runs, and is not being deleted.
    pub running: bool,
    /// The claims that it uses.
    pub claims: BTreeSet<String>,
    /// Those of them that are made for it and deleted with it.
    pub ephemeral: BTreeSet<String>,
    /// Its `RuntimeClass`, such as one of Kata or gVisor: its file locks and shared memory may not be those that others on the node see.
    pub runtime_class: Option<String>,
    /// The taints that it bears, as in its spec: what stands beside it has to bear them too.
    pub tolerations: Vec<Value>,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// Its annotations of ours.
    pub wishes: Wishes,
    /// Whether it is being deleted.
    pub dying: bool,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name; its label `kubernetes.io/hostname` may be another.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its kubelet answers.
    pub ready: bool,
    /// Whether it takes no new pods.
    pub cordoned: bool,
    /// Its taints, as in its spec.
    pub taints: Vec<Value>,
}
