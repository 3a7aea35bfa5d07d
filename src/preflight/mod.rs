//! What would keep a backup or a restore of a cluster from working, found before it is begun: rights, storage, webhooks, Pod Security, nodes, policies.
//!
//! ```text
//! what will be done (claims and their ways; a plan) ─┬─ rights ─ claims ─ snapshots ─ webhooks ─ trial (dry run of the movers) ─ network ─ nodes ─┐
//!                                                    └─ rights ─ plan ─ filling (trial, limits, network) ─ space ─ webhooks ─ nodes ──────────────┴─ findings
//! ```
//! It writes nothing: a review of rights and a dry run are requests that no server keeps. Only [`probe`] starts something, and takes it away. What cannot be
//! looked at is a finding itself, never a guess; only a cluster that does not answer ends it.

pub mod backup;
mod claims;
mod commands;
mod filling;
mod hooks;
mod image;
mod limits;
pub mod needs;
mod network;
mod nodes;
pub mod probe;
pub mod restore;
pub mod rights;
mod space;
mod trial;
pub mod webhooks;

use serde::Serialize;
use serde_json::Value;

use crate::base::causes::in_one_line;
use crate::cluster::list::whole;
use crate::cluster::{Cluster, ClusterError, Kind};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something would fail, or be left out.
    Blocks,
    /// It may; or nobody can know.
    Doubtful,
    /// It was looked at and is as it should be.
    Fine,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// What the account may do.
    Rights,
    /// Namespaces that have to be there.
    Namespace,
    /// The image of movers.
    Image,
    /// Which way each claim is captured.
    Claims,
    /// Claims and namespaces that no source takes.
    Coverage,
    /// What makes applications hold still.
    Hooks,
    /// Programs that run in containers.
    Commands,
    /// CSI snapshots.
    Snapshots,
    /// Webhooks that nobody answers for.
    Webhooks,
    /// Aggregated APIs and conversions that do not answer.
    Apis,
    /// What the server says to the very objects that would be made.
    Trial,
    /// Policies that beat a mover's own.
    Network,
    /// Nodes.
    Nodes,
    /// What the plan of a restore says.
    Plan,
    /// Room for their volumes.
    Space,
    /// A pod that was started to see.
    Probe,
}

/// What is looked at before what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Backup,
    Restore,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What was looked at.
    pub check: Check,
    /// On what: an object, a namespace, a right.
    pub on: String,
    /// What is so.
    pub what: String,
    /// Why it matters, or who says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do about it: a command, or a manifest to paste.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
}

impl Finding {
    /// Without a reason and a mend.
    #[must_use]
    pub fn new(severity: Severity, check: Check, on: impl Into<String>, what: impl Into<String>) -> Self {
        Self { severity, check, on: on.into(), what: what.into(), why: String::new(), mend: String::new() }
    }

    /// With its reason.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// With what to do about it.
    #[must_use]
    pub fn mended_by(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }
}

/// All findings, in the order in which they were found.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    /// See there.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// One more.
    pub fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Looked at, and well.
    fn fine(&mut self, check: Check, on: impl Into<String>, what: impl Into<String>) {
        self.add(Finding::new(Severity::Fine, check, on, what));
    }

    /// How many matter so much.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Whether the operation would fail, or leave something out.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.count(Severity::Blocks) > 0
    }

    /// What is read of a kind; `None` if it may not be, which is a finding, or the cluster does not know it.
    async fn read<T: Send>(
        &mut self,
        cluster: &dyn Cluster,
        check: Check,
        kind: &Kind,
        take: impl Fn(Value) -> Option<T> + Send + Sync,
    ) -> Result<Option<Vec<T>>, ClusterError> {
        match whole(cluster, kind, take).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                let finding = Finding::new(Severity::Doubtful, check, kind.to_string(), "could not be looked at");
                let rule = rights::rule(&kind.group, &kind.resource, &["list"]);
                self.add(finding.because(in_one_line(&error)).mended_by(rights::add_to_role("preflight.md", &rule)));
                Ok(None)
            }
        }
    }
}

/// Whether nothing else would be answered either. One kind whose conversion or aggregated API is away is no such error.
fn is_final(error: &ClusterError) -> bool {
    let of_one_kind = matches!(error, ClusterError::Refused { status: 500 | 503, .. });
    error.is_of_the_cluster() && !of_one_kind
}

/// Why nothing could be said.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// The cluster does not answer.
    #[error("cannot look at the cluster")]
    Cluster(#[from] ClusterError),
    /// Its volumes cannot be looked at.
    #[error(transparent)]
    Volumes(#[from] crate::backup::volumes::VolumesError),
}
