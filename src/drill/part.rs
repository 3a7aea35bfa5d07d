//! What makes a plan the plan of a drill: where it recovers into, and what it found there and in the snapshots when it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::found::{Found, Wants};

/// Where objects and volumes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Into {
    /// There are none.
    Machine,
    /// Into namespaces of their own, in a cluster.
    Cluster,
    /// Into a folder that stands for a cluster.
    Folder,
}

/// Something that is not rehearsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    /// At which step.
    pub step: String,
    /// What: a kind of step, a check, a kind of objects with their number.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What a step brings back, as far as it can be looked for afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brings {
    /// Namespaces of the drill in which something comes to life.
    pub living: BTreeSet<String>,
    /// Objects that are created, as `NAMESPACE/RESOURCE.GROUP/NAME`.
    pub objects: Vec<String>,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where objects and volumes go.
    pub into: Into,
    /// The folder of this machine that everything else goes below. It is made by the drill, and removed by it.
    pub folder: PathBuf,
    /// Sources alone are drilled, by a runbook that the program wrote.
    pub of_sources: bool,
    /// How long it may take and how old the data may be, in seconds, where no runbook says it.
    #[serde(default)]
    pub rto: Option<u64>,
    /// See there.
    #[serde(default)]
    pub rpo: Option<u64>,
    /// What each step brings, by its id.
    #[serde(default)]
    pub brings: BTreeMap<String, Brings>,
    /// Steps whose objects have no volume among them, in a folder.
    #[serde(default)]
    pub objects_alone: BTreeSet<String>,
    /// The namespaces of the drill.
    #[serde(default)]
    pub namespaces: BTreeSet<String>,
    /// The claims that it makes.
    #[serde(default)]
    pub wants: Vec<Wants>,
    /// The address that has to be out of reach; none for the API of the cluster.
    #[serde(default)]
    pub probe: Option<String>,
    /// How long it is tried at most, in seconds.
    #[serde(default)]
    pub probe_seconds: u64,
    /// Objects that the runbook names and the drill does not take over, as `NAMESPACE/RESOURCE.GROUP/NAME` of the drill.
    #[serde(default)]
    pub absent: BTreeSet<String>,
    /// Everything that is not rehearsed, as it was shown.
    #[serde(default)]
    pub not_rehearsed: Vec<LeftOut>,
    /// What of the snapshots is not taken over, beside what the runbook alone says.
    #[serde(default)]
    pub left_out: Vec<LeftOut>,
}

impl Part {
    /// Of a drill that has looked at nothing yet.
    #[must_use]
    pub const fn new(into: Into, folder: PathBuf, of_sources: bool) -> Self {
        Self {
            into,
            folder,
            of_sources,
            rto: None,
            rpo: None,
            brings: BTreeMap::new(),
            objects_alone: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            wants: Vec::new(),
            probe: None,
            probe_seconds: 0,
            absent: BTreeSet::new(),
            not_rehearsed: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Adds what was found for a step.
    pub fn add(&mut self, step: &str, found: Found) {
        let Found { brings, namespaces, absent, left_out, wants } = found;
        self.brings.insert(step.to_owned(), brings);
        self.namespaces.extend(namespaces);
        self.absent.extend(absent);
        self.left_out.extend(left_out);
        self.wants.extend(wants);
    }

    /// What its claims ask for together.
    #[must_use]
    pub fn storage_bytes(&self) -> u64 {
        self.wants.iter().fold(0, |sum, wants| sum.saturating_add(wants.bytes))
    }
}
