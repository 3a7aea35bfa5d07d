//! A hook of any kind, planned by what a cluster has, begun, and looked at while it lasts.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::command::{self, CommandPlan};
use super::handshake::{self, HandshakePlan};
use super::hold::Target;
use super::journal::{Entry, Journal};
use super::scale::{self, ScalePlan, using};
use super::{Acting, HookError, all, pods};
use crate::cluster::object::text;
use crate::cluster::{Cluster, Kind};
use crate::config::HookWay;

/// What a cluster has, read once for several plans.
pub struct Seen {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) pods: Vec<Value>,
}

impl Seen {
    /// Reads it.
    pub async fn read(cluster: &dyn Cluster) -> Result<Self, HookError> {
        let kinds = cluster.kinds().await.map_err(|error| HookError::of("see which kinds there are", error))?.kinds;
        let pods = all(cluster, &pods(), None).await.map_err(|error| HookError::of("list pods", error))?;
        Ok(Self { kinds, pods })
    }
}

/// For which claims of one namespace, and by which run.
#[derive(Debug, Clone, Copy)]
pub struct For<'a> {
    /// Their namespace.
    pub namespace: &'a str,
    /// Their names; one for a handshake.
    pub claims: &'a [String],
    /// The run.
    pub run: &'a str,
}

/// See the module.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one for each hold, and it is not moved about")]
pub enum Plan {
    /// Workloads go to zero.
    Scale(ScalePlan),
    /// A command in each pod that uses the claims and runs.
    Commands(Vec<CommandPlan>),
    /// Annotations of the claim.
    Handshake(HandshakePlan),
}

/// Plans a hook; `limit` is that of each of its commands.
pub async fn plan(
    cluster: &dyn Cluster,
    seen: &Seen,
    way: &HookWay,
    limit: Duration,
    of: For<'_>,
) -> Result<Plan, HookError> {
    let For { namespace, claims, run } = of;
    match way {
        HookWay::Scale => scale::plan_by(cluster, seen, namespace, claims).await.map(Plan::Scale),
        HookWay::Command { container, before, after } => {
            let claims: BTreeSet<String> = claims.iter().cloned().collect();
            let running =
                using(&seen.pods, namespace, &claims).filter(|pod| text(pod, &["status", "phase"]) == "Running");
            let of_pod =
                |pod| command::plan(pod, container.as_deref(), (before.clone(), limit), (after.clone(), limit));
            let mut plans: Vec<CommandPlan> = running.map(of_pod).collect::<Result<_, _>>()?;
            plans.sort_by(|a, b| a.release.pod.name.cmp(&b.release.pod.name));
            Ok(Plan::Commands(plans))
        }
        HookWay::Handshake => {
            let claim = claims.first().map(String::as_str).unwrap_or_default();
            handshake::plan(cluster, namespace, claim, run).await.map(Plan::Handshake)
        }
    }
}

impl Plan {
    /// Whether there is nothing to look at while it lasts either. Claims that are to be read at zero and that nobody uses are watched: somebody could begin to.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self, Self::Commands(plans) if plans.is_empty())
    }

    /// What it is, for the record: `scaled to zero`, or `unused` where nobody is there to be scaled; `command`, `handshake`.
    #[must_use]
    pub fn how(&self) -> &'static str {
        match self {
            Self::Scale(plan) if plan.workloads.is_empty() => "unused",
            Self::Scale(_) => "scaled to zero",
            Self::Commands(_) => "command",
            Self::Handshake(_) => "handshake",
        }
    }

    /// Whether no process has the claims open any more, so that what is in them is what a process that ended has left.
    #[must_use]
    pub const fn is_still(&self) -> bool {
        matches!(self, Self::Scale(_))
    }

    /// What is held, for people.
    #[must_use]
    pub fn what(&self) -> Vec<String> {
        match self {
            Self::Scale(plan) => plan.workloads.clone(),
            Self::Commands(plans) => plans.iter().map(|plan| plan.release.name()).collect(),
            Self::Handshake(plan) => vec![plan.name()],
        }
    }

    /// The objects that it changes; a command's doing is not known.
    #[must_use]
    pub fn targets(&self) -> Vec<&Target> {
        match self {
            Self::Scale(plan) => plan.holds.iter().map(|hold| &hold.target).collect(),
            Self::Commands(_) => Vec::new(),
            Self::Handshake(plan) => vec![plan.target()],
        }
    }

    /// What a person should know before.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Scale(plan) => &plan.notes,
            _ => &[],
        }
    }

    /// The pods that are held or that end, by name.
    #[must_use]
    pub fn pods(&self) -> BTreeSet<String> {
        match self {
            Self::Scale(plan) => plan.pods.clone(),
            Self::Commands(plans) => plans.iter().map(|plan| plan.release.pod.name.clone()).collect(),
            Self::Handshake(_) => BTreeSet::new(),
        }
    }

    /// Makes it hold still. After an error the journal says what is to be released.
    pub async fn begin(&self, acting: &Acting<'_>, journal: &mut Journal) -> Result<(), HookError> {
        match self {
            Self::Scale(plan) => scale::begin(acting, plan, journal).await,
            Self::Commands(plans) => {
                for plan in plans {
                    command::begin(acting, plan, journal).await?;
                }
                Ok(())
            }
            Self::Handshake(plan) => handshake::begin(acting, plan, journal).await,
        }
    }

    /// Whether it holds still, as far as anybody can see: [`HookError::Stirred`] or [`HookError::Changed`] if not. What a command did is not seen, only that its pod is there.
    pub async fn look(&self, acting: &Acting<'_>, journal: &Journal) -> Result<(), HookError> {
        for entry in &journal.entries {
            if let Entry::Hold(hold) = entry {
                hold.look(acting.cluster, &journal.run).await?;
            }
        }
        match self {
            Self::Scale(plan) => plan.look(acting).await,
            Self::Commands(plans) => {
                for plan in plans {
                    plan.release.is_there(acting).await?;
                }
                Ok(())
            }
            Self::Handshake(plan) => plan.look(acting, &journal.run).await,
        }
    }
}
