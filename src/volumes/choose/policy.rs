//! What the user wants of the capture of volumes, beside annotations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A way that can be asked for, by annotation. Another one is not taken then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A CSI `VolumeSnapshot`.
    Snapshot,
    /// A CSI clone.
    Clone,
    /// The volume itself, beside its application.
    Live,
}

impl Mode {
    /// By the word of the annotation.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "snapshot" => Some(Self::Snapshot),
            "clone" => Some(Self::Clone),
            "live" => Some(Self::Live),
            _ => None,
        }
    }
}

/// See the module. The default is that of a user who said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// There is no namespace of ours: what the CSI ways make could neither be handed over nor written down.
    pub homeless: bool,
    /// The `VolumeSnapshotClass` for a driver.
    pub snapshot_classes: BTreeMap<String, String>,
    /// Claims that are left out: `NAMESPACE/CLAIM`, with `*` for any part of a name.
    pub exclude: Vec<String>,
    /// Claims whose workload is at zero while they are read, as namespace and name: no pod has them then.
    pub stopped: BTreeSet<(String, String)>,
}

impl Policy {
    /// The pattern that leaves a claim out.
    pub(super) fn excludes(&self, namespace: &str, claim: &str) -> Option<&str> {
        meant(&self.exclude, namespace, claim)
    }
}

/// Whether a pattern with `*` for any part of a name means a name.
fn means_name(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| means_name(after, rest)))),
    }
}

/// The first of the patterns `NAMESPACE/CLAIM` that means a claim.
pub(crate) fn meant<'a>(patterns: &'a [String], namespace: &str, name: &str) -> Option<&'a str> {
    let is = |pattern: &&String| {
        pattern.split_once('/').is_some_and(|(space, claim)| means_name(space, namespace) && means_name(claim, name))
    };
    patterns.iter().find(is).map(String::as_str)
}

/// Whether there is one.
pub(crate) fn means(patterns: &[String], namespace: &str, name: &str) -> bool {
    meant(patterns, namespace, name).is_some()
}
