//! Flux and ArgoCD, paused and resumed: whoever restores into a living cluster must not be undone by what keeps it as it is in Git.
//!
//! ```text
//! find (kinds, objects) ─ family (who made whom) ─ plan (parents first, or last) ─ run (one write an object) ─ looked at again after a moment
//! ```
//! What was there before is remembered on the object itself, in the annotation [`note::NOTE`], by the same write that pauses it. So nothing is lost when the
//! program is killed between any two writes, and any other machine can resume. Nothing here acts by the time: only people are told it.
//!
//! It deliberately does not touch sources (`GitRepository`, `OCIRepository`, `HelmRepository`, `HelmChart`, `Bucket`): they only fetch, and what they fetch is acted upon by
//! objects that are paused. Nor does it scale controllers down, which would also stop what has nothing to do with the cluster that is restored.

pub mod family;
pub mod find;
pub mod note;
pub mod plan;
pub mod report;
pub mod run;
pub mod tool;

use std::fmt;

use serde::Serialize;

use crate::cluster::object::{name_of, namespace_of};
use crate::cluster::{ClusterError, Kind};

/// Why nothing was paused, resumed or looked at.
#[derive(Debug, thiserror::Error)]
pub enum GitopsError {
    /// The cluster could not be read.
    #[error("cannot look for Flux and ArgoCD in the cluster")]
    Look(#[source] ClusterError),
    /// A group of theirs is announced by the API server and does not answer: what is in it is not known.
    #[error("the API server does not say what is in {group}: {why}")]
    Silent {
        /// The group and version.
        group: String,
        /// Why.
        why: String,
    },
    /// The system gave no random number for the id of a run.
    #[error("no randomness for the id of the run")]
    Randomness(#[source] getrandom::Error),
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name {
    /// The API group.
    pub group: String,
    /// The kind, such as `Kustomization`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Name {
    /// Of an object of a kind.
    #[must_use]
    pub fn of(kind: &Kind, object: &serde_json::Value) -> Self {
        Self {
            group: kind.group.clone(),
            kind: kind.name.clone(),
            namespace: namespace_of(object).unwrap_or_default().to_owned(),
            name: name_of(object).to_owned(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Which objects are meant: all, or those in some namespaces, with some names. Exact words, no patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// Namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// Names; empty for all.
    pub names: Vec<String>,
}

impl Selection {
    /// Whether an object is meant.
    #[must_use]
    pub fn takes(&self, name: &Name) -> bool {
        let within = |list: &[String], word: &String| list.is_empty() || list.contains(word);
        within(&self.namespaces, &name.namespace) && within(&self.names, &name.name)
    }
}

/// An id for a run, for people who look at notes: 8 hex digits.
pub fn run_id() -> Result<String, GitopsError> {
    getrandom::u32().map(|id| format!("{id:08x}")).map_err(GitopsError::Randomness)
}
