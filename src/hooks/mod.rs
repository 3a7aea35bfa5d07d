//! Hooks: what makes an application hold still while its volume is read or replaced, and lets it go on afterwards, whatever happens in between.
//!
//! Three ways: a command in its container ([`command`]), its workload scaled to zero ([`scale`]), or a handshake by annotations of the claim ([`handshake`]).
//! Each is a plan (data), `begin` and `release`. Before anything is done, the [`journal`] says what it will take to undo it: a `ConfigMap` in our own namespace, one for each run. So [`release::sweep`]
//! can undo what a run has left that was killed, also from another machine.
//!
//! What was held by a change of objects is undone exactly, and only where the object still says that this run holds it. A command to release runs at least once: a run that is
//! killed right after it cannot have written down that it did.

pub mod command;
pub mod handshake;
pub mod held;
pub mod hold;
pub mod journal;
pub mod owner;
pub mod plan;
pub mod release;
pub mod scale;
pub mod unfinished;

use std::time::Duration;

use serde_json::Value;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::cluster::exec::Exec;
use crate::cluster::kinds::pods;
use crate::cluster::list::whole_of;
use crate::cluster::{Cluster, ClusterError, Kind, Which};

pub use crate::cluster::ours::RUN;

/// Why an application does not hold still.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The cluster did not do as it was asked.
    #[error("cannot {what}")]
    Cluster {
        /// What was tried, on what.
        what: String,
        /// Why it did not work.
        #[source]
        source: ClusterError,
    },
    /// It would not hold still, or not for long, by this way.
    #[error("{what} cannot be scaled to zero: {why}")]
    Refused {
        /// The workload or the pod.
        what: String,
        /// Why not.
        why: String,
    },
    /// Somebody changed or deleted an object between the plan and now.
    #[error("{what} is not as it was when this was planned: {why}")]
    Changed {
        /// Which object.
        what: String,
        /// What is different.
        why: String,
    },
    /// A command would run in no container, or in one of several.
    #[error("in pod {pod} no command can run: {why}")]
    Container {
        /// The pod.
        pod: String,
        /// Why not.
        why: String,
    },
    /// What was held goes on, or is another by now.
    #[error("{what} does not hold still any more: {why}")]
    Stirred {
        /// The workload, the pod or the claim.
        what: String,
        /// What tells.
        why: String,
    },
    /// Another run holds it, or a run that is dead.
    #[error("{what} is held by run {run}")]
    Held {
        /// Which object.
        what: String,
        /// Whose it is.
        run: String,
    },
    /// The command ended with another code than 0.
    #[error("the command in {what} ended with {code}: {said}")]
    Failed {
        /// The pod and container.
        what: String,
        /// The exit code.
        code: i32,
        /// The end of what it said.
        said: String,
    },
    /// It took too long.
    #[error("waited {} s in vain until {what}", limit.as_secs())]
    Late {
        /// Until what.
        what: String,
        /// How long.
        limit: Duration,
    },
    /// A journal cannot be understood.
    #[error("the journal {name} cannot be understood: {why}")]
    Journal {
        /// The `ConfigMap`.
        name: String,
        /// Why.
        why: String,
    },
    /// Stopped as asked.
    #[error("stopped")]
    Cancelled,
}

impl HookError {
    pub(crate) fn of(what: impl Into<String>, source: ClusterError) -> Self {
        Self::Cluster { what: what.into(), source }
    }
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Until no pod refers to a claim any more. A database may take minutes to end.
    pub empty: Duration,
    /// Until whoever answers a handshake has done so.
    pub handshake: Duration,
    /// Until a controller has seen that a workload has its replicas again.
    pub observed: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { empty: Duration::from_mins(10), handshake: Duration::from_mins(5), observed: Duration::from_mins(1) }
    }
}

/// What hooks are given.
#[derive(Clone, Copy)]
pub struct Acting<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// Runs commands in it.
    pub exec: &'a dyn Exec,
    /// For the times in journals.
    pub clock: &'a dyn Clock,
    /// How long things are waited for.
    pub waits: Waits,
    /// Whether to go on. Releasing goes on.
    pub cancel: &'a Cancel,
}

/// How often something that is waited for is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

impl Acting<'_> {
    /// Waits a little before the next look at something; the time that is over is counted in looks, so that no clock matters.
    async fn wait(&self, waited: &mut Duration, limit: Duration, what: impl Fn() -> String) -> Result<(), HookError> {
        if self.cancel.is_cancelled() {
            return Err(HookError::Cancelled);
        }
        if *waited >= limit {
            return Err(HookError::Late { what: what(), limit });
        }
        let next = LOOK_AGAIN.min(limit.saturating_sub(*waited)).max(Duration::from_millis(1));
        tokio::time::sleep(next).await;
        *waited += next;
        Ok(())
    }
}

/// All objects of a kind in a namespace, or in all.
pub(crate) async fn all(
    cluster: &dyn Cluster,
    kind: &Kind,
    namespace: Option<&str>,
) -> Result<Vec<Value>, ClusterError> {
    whole_of(cluster, kind, Which::of(namespace), Some).await
}
