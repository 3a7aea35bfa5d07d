//! Restoring the objects of a cluster: one chain, one page.
//!
//! ```text
//! snapshot ─ manifests ─ choose ─ skip, rewrite ─ order ─ look at the target (fate) ─ plan      (nothing is written)
//! plan ─ create or replace, stage by stage ─ claims are filled before what uses them ─ link to owners ─ read everything back ─ report
//! ```
//! The plan names every object and what is done with it; the run does exactly that, looks again before each object, and stops where something else
//! would have to be done. An object counts as restored only when it was read back and was equal, a claim only when its volume was filled too. What uses a claim
//! of which nobody knows what is in it is not created.

mod act;
mod before;
pub mod beside;
mod by_hand;
pub mod claims;
pub mod data;
pub mod fate;
pub mod filling;
pub mod in_place;
mod link;
mod looking;
mod lost;
pub mod manifests;
pub mod movers;
mod nodes;
pub mod plan;
mod reach;
mod read_back;
pub mod ready;
mod recreate;
pub mod report;
pub mod run;
pub mod select;
mod strangers;
pub mod unpack;
pub mod volumes;

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::base::id::ObjectId;
use crate::cluster::ClusterError;
use crate::cluster::object::{name_of, namespace_of};
use crate::cluster::{Kind, rewrite};
use crate::repo::RepoError;

/// Which object, where it is restored to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Identity {
    /// As `kubectl` names it: `deployments.apps`.
    pub kind: String,
    /// Where it is restored to; none for objects of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Identity {
    fn of(kind: &Kind, object: &Value) -> Self {
        let namespace = namespace_of(object).map(str::to_owned);
        Self { kind: kind.to_string(), namespace, name: name_of(object).to_owned() }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        f.write_str(" ")?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// What to do with objects that are there and differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Existing {
    /// Leave them.
    #[default]
    Skip,
    /// Replace them.
    Update,
    /// Replace them; delete those that cannot be changed to what the snapshot has, and make them anew.
    Recreate,
}

impl Existing {
    /// Whether what is there is written over.
    #[must_use]
    pub const fn writes(self) -> bool {
        !matches!(self, Self::Skip)
    }
}

/// What is restored, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which objects, by their names in the snapshot.
    pub selection: select::Selection,
    /// Which namespace becomes which.
    pub namespaces: rewrite::namespaces::Namespaces,
    /// Which node becomes which.
    pub nodes: rewrite::nodes::Nodes,
    /// What to do with what is there.
    pub existing: Existing,
    /// Also restore secrets that an operator would fetch from a store outside the cluster.
    pub derived_secrets: bool,
    /// What claims are filled from, by namespace and name in the snapshot.
    pub data: data::Volumes,
    /// The run of a drill: only what a drill takes over is restored, into namespaces of its own.
    pub drill: Option<String>,
    /// Which storage class becomes which.
    pub storage_classes: std::collections::BTreeMap<String, String>,
    /// Claims that nobody has to agree to that they are made without data, as `NAMESPACE/NAME` in the snapshot.
    pub may_be_empty: std::collections::BTreeSet<String>,
    /// What will be there by then, since something else creates it before: for a plan of several parts that is made at once.
    pub coming: Vec<plan::Step>,
    /// Besides, something comes before of which nobody knows what it makes (a program, a person): what lacks a volume now is not in conflict yet.
    pub unforeseen: bool,
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// The target cannot be looked at.
    #[error("cannot look at the cluster to restore into")]
    Cluster(#[from] ClusterError),
    /// The snapshot holds no objects of a cluster.
    #[error("snapshot {snapshot} holds no objects of a cluster")]
    NoCluster {
        /// The start of its id.
        snapshot: String,
    },
    /// A namespace is to get another name, and nothing that was chosen is in it.
    #[error("namespace {from} is to become {to}, and no object in it was chosen")]
    NothingToMap {
        /// Its name in the snapshot.
        from: String,
        /// Its name where it is restored.
        to: String,
    },
    /// Two namespaces would become one.
    #[error("namespaces {one} and {other} would both become {to}")]
    OneNamespaceOfTwo {
        /// Names in the snapshot.
        one: String,
        /// The other.
        other: String,
        /// The name of both where they are restored.
        to: String,
    },
    /// Two objects would become one.
    #[error("{one} and {other} of the snapshot would both become {becomes}")]
    OneObjectOfTwo {
        /// As it is in the snapshot.
        one: Box<Identity>,
        /// The other.
        other: Box<Identity>,
        /// What both would be.
        becomes: Box<Identity>,
    },
    /// Claims are there, and their data would be replaced.
    #[error("the data of {} would be replaced: {}", counted(claims), names(claims))]
    InPlace {
        /// The claims, and the snapshot that each would be restored from.
        claims: Vec<(Identity, ObjectId)>,
    },
    /// Claims would be created, and there is no data for them.
    #[error("{} would be created EMPTY: the snapshot has no data of volumes: {}", counted(claims), claims.join(", "))]
    EmptyVolumes {
        /// The claims, and the stateful sets that would make some.
        claims: Vec<String>,
    },
}

fn names(claims: &[(Identity, ObjectId)]) -> String {
    claims.iter().map(|(claim, _)| claim.to_string()).collect::<Vec<_>>().join(", ")
}

fn counted<T>(claims: &[T]) -> String {
    if claims.len() == 1 { "1 volume".to_owned() } else { format!("{} volumes", claims.len()) }
}
