//! What becomes of what a step restores, as the target is before the run: every object, every volume, and files as numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::clock::Time;

/// A volume that a step fills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// `NAMESPACE/CLAIM`.
    pub claim: String,
    /// The snapshot, in hex.
    pub snapshot: String,
    /// Its source; empty in plans of before.
    #[serde(default)]
    pub source: String,
    /// When it was begun, RFC 3339; empty in plans of before.
    #[serde(default)]
    pub started: String,
    /// Bytes in it.
    pub bytes: u64,
    /// Regular files in it; 0 in plans of before.
    #[serde(default)]
    pub files: u64,
    /// Why that is perhaps not all that was in the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

impl Fill {
    /// When its snapshot was begun, if the plan says it.
    #[must_use]
    pub fn started(&self) -> Option<Time> {
        Time::parse(&self.started)
    }
}

/// An object, and a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// Which.
    pub object: String,
    /// Why.
    pub why: String,
}

/// What becomes of the objects of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// They are not there.
    pub create: Vec<String>,
    /// They are there, differ, and are replaced.
    pub replace: Vec<String>,
    /// They are there, differ, and stay.
    pub keep: Vec<String>,
    /// They are there and equal: how many.
    pub same: u64,
    /// They cannot be restored, and why.
    pub conflict: Vec<String>,
    /// Not restored, as its kind never is, or belongs to another: how many.
    pub skipped: u64,
    /// Volumes that are filled.
    pub fill: Vec<Fill>,
    /// Those that are equal; empty in plans of before, like all below.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<String>,
    /// Those that are not restored, and why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<Because>,
    /// Of those that are created: what the server could not be asked about yet, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unvalidated: Vec<Because>,
    /// Where those that are replaced or stay differ, by object.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub differs: BTreeMap<String, Vec<String>>,
}

impl Fates {
    /// Bytes of all volumes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.fill.iter().map(|fill| fill.bytes).sum()
    }
}

/// What it costs whatever uses a volume to have it written in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    /// `NAMESPACE/CLAIM`: what is in it becomes a snapshot of its own, and is written over.
    pub claim: String,
    /// What goes to zero for it, and comes back.
    pub stops: Vec<String>,
    /// What of Flux and ArgoCD is paused for it, parents first, and goes on afterwards.
    pub pauses: Vec<String>,
    /// Autoscalers of what goes to zero, which leave it there.
    pub autoscalers: Vec<String>,
    /// The run that was cut off while it wrote, and is gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<String>,
}

/// What becomes of the files in a directory of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfFiles {
    /// Files that are written: they are not there, or differ.
    pub written: u64,
    /// Of those, files that are there and differ.
    pub replaced: u64,
    /// Bytes in all that are written.
    pub bytes: u64,
    /// Entries that are as they should be, or are left as asked.
    pub unchanged: u64,
    /// Entries that are removed.
    pub removed: u64,
}
