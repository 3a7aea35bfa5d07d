//! What the user wants of the capture of volumes, beside annotations.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A way that can be asked for, in the configuration or by annotation. Another one is not taken then.
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
    /// The only way for all claims; annotations go before it.
    pub mode: Option<Mode>,
    /// The `VolumeSnapshotClass` for a driver.
    pub snapshot_classes: BTreeMap<String, String>,
    /// Drivers that can clone, beside those of which it is known: no API says it.
    pub cloning: BTreeSet<String>,
    /// Claims that are left out: `namespace/claim`, or `namespace/*`.
    pub exclude: Vec<String>,
    /// Claims whose workload is at zero while they are read, as namespace and name: no pod has them then.
    pub stopped: BTreeSet<(String, String)>,
    /// Volumes of `PostgreSQL` clusters that `CloudNativePG` runs are captured like any other. A restored one needs a person.
    pub cloud_native_pg: bool,
}

impl Policy {
    /// The pattern that leaves a claim out.
    pub(super) fn excludes(&self, namespace: &str, claim: &str) -> Option<&str> {
        let means = |pattern: &&String| {
            pattern.split_once('/').is_some_and(|(space, name)| space == namespace && (name == "*" || name == claim))
        };
        self.exclude.iter().find(means).map(String::as_str)
    }
}
