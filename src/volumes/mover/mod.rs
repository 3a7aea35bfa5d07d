//! A mover, from outside: its policy and pod are made, it is told its task, heard by its log, and taken away, whatever happens in between; and from within
//! ([`within`]). What it does with the volume is not known here: it reads it for `backup` and fills it for `recover`.
//!
//! ```text
//! policy, pod ─ started ─┬─ talk (attach: the task, heartbeats) ─┐
//!                        └─ listen (log: progress, result) ──────┴─ taken away
//! ```
//! No data passes through here. What is held of a volume is its numbers and its problems, of which there is a bound.

mod away;
pub mod evidence;
mod listen;
mod made;
mod start;
pub mod sweep;
mod talk;
pub mod within;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;

use super::Prepared;
use super::cilium;
use super::kinds::pods;
use super::pod::PodPlan;
use super::policy::{self, Reach};
use super::protocol::{ProtocolError, Task};
use super::said::{Failed, ProblemLine, Restored, Summary};
use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Time};
use crate::base::progress::Progress;
use crate::base::secret::NoRandomness;
use crate::base::units;
use crate::cluster::streams::Streams;
use crate::cluster::{Cluster, ClusterError};
use start::{Pod, started};

pub use made::Made;
pub(crate) use made::evict;

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Between two looks at a pod.
    pub poll: Duration,
    /// Between two heartbeats; also keeps connections from being taken for idle.
    pub heartbeat: Duration,
    /// For the receipt of a task, before it is sent anew.
    pub receipt: Duration,
    /// For a line of the log, before the connection is taken for broken: a mover says something every five seconds.
    pub log_silence: Duration,
    /// For an API server that is away.
    pub away: Duration,
    /// What movers wait for a heartbeat, before they end themselves.
    pub silence: Duration,
    /// After which what we made is nobody's, if we do not say again that it is ours.
    pub expiry: Duration,
    /// Between two times that we say so.
    pub renew: Duration,
    /// Between two looks whether what was made to hold still does so while it is read.
    pub still: Duration,
    /// For a pod that was deleted to be gone: it ends in order, and its policy lets it until then.
    pub gone: Duration,
    /// For snapshots and clones.
    pub ways: super::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            heartbeat: Duration::from_secs(20),
            receipt: Duration::from_secs(15),
            log_silence: Duration::from_mins(1),
            away: Duration::from_mins(30),
            silence: Duration::from_mins(10),
            expiry: Duration::from_hours(1),
            renew: Duration::from_mins(5),
            still: Duration::from_secs(10),
            gone: Duration::from_secs(75),
            ways: super::Limits::default(),
        }
    }
}

/// Why a mover came to no result.
#[derive(Debug, thiserror::Error)]
pub enum MoverError {
    /// The cluster does not take what a mover is made of.
    #[error("the {what} of the mover was not created")]
    Create {
        /// `pod` or `network policy`.
        what: &'static str,
        /// What the API server said.
        #[source]
        source: ClusterError,
    },
    /// There is nothing that it could read.
    #[error("the {way} of the claim was not made")]
    Prepare {
        /// `VolumeSnapshot` or `clone`.
        way: &'static str,
        /// Why not.
        #[source]
        source: super::VolumesError,
    },
    /// Its application could not be made to hold still; of all claims that it has.
    #[error("its application was not made to hold still")]
    Hook(#[source] Arc<dyn Error + Send + Sync>),
    /// Its application went on before all was read, or nobody can say that it did not: a snapshot of it is none of one moment.
    #[error("it is not certain that its application held still until all was read")]
    Stirred(#[source] Box<dyn Error + Send + Sync>),
    /// The API server cannot be asked about it any more, or refuses to be.
    #[error("the mover cannot be reached")]
    Unreachable(#[source] ClusterError),
    /// Its pod is not running in time.
    #[error("the mover's pod did not start within {}: {why}", units::duration(*limit))]
    NeverStarted {
        /// How long it was waited for.
        limit: Duration,
        /// The pod's conditions, what its container waits for, and its last events.
        why: String,
    },
    /// Somebody deleted it.
    #[error("the mover's pod was deleted by somebody else")]
    Vanished,
    /// It ended and said nothing of a result.
    #[error("the mover ended without a result: {why}")]
    Ended {
        /// What the cluster says of it, and its last words.
        why: String,
    },
    /// Its node says nothing any more, and neither does it.
    #[error("the mover's node {node} does not answer, and nothing was heard of the mover for {}: {why}", units::duration(*quiet))]
    NodeAway {
        /// Which.
        node: String,
        /// In the cluster's words.
        why: String,
        /// For how long.
        quiet: Duration,
    },
    /// It takes longer than it may.
    #[error("the mover was not done after {}", units::duration(*limit))]
    TimedOut {
        /// How long it had.
        limit: Duration,
    },
    /// It was told to end, and not by us.
    #[error("the mover was stopped: {why}")]
    Stopped {
        /// What the cluster says of its pod.
        why: String,
    },
    /// What it says is wrong.
    #[error("the mover says: {}", .0.told())]
    Failed(Failed),
    /// A task that does not fit into messages.
    #[error("the job of the mover cannot be sent")]
    Job(#[from] ProtocolError),
    /// Nothing can be named without.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// Stopped as asked.
    #[error("stopped as asked")]
    Cancelled,
}

/// What a mover came to.
#[derive(Debug)]
pub enum Result {
    /// There is a new snapshot.
    Done(Box<Summary>),
    /// The volume is filled, as far as this says.
    Restored(Box<Restored>),
    /// A check of what is in the volume: whether it holds, and what was seen.
    Verified(bool, String),
    /// The store is reached from there, and the repository opened; nothing more was asked.
    Reached,
    /// Whether an address was reached.
    Tried {
        /// It was.
        reached: bool,
        /// What came of it.
        why: String,
    },
}

/// The result, with what is wrong with single files, up to a bound.
pub type Ending = std::result::Result<(Result, Vec<ProblemLine>), MoverError>;

/// Who starts movers and hears them: what all of a run have in common.
#[derive(Clone, Copy)]
pub struct Crew<'a> {
    /// The cluster.
    pub cluster: &'a dyn Cluster,
    /// What runs in it.
    pub streams: &'a dyn Streams,
    /// The time.
    pub clock: &'a dyn Clock,
    /// What is shown: the sum of all movers.
    pub progress: &'a Progress,
    /// Whether to go on.
    pub cancel: &'a Cancel,
    /// How long things are waited for.
    pub limits: Limits,
    /// How long a pod may take to start.
    pub start_timeout: Duration,
    /// When a mover is ended.
    pub timeout: Duration,
}

/// From when on something made now is nobody's.
#[must_use]
pub fn expires(now: Time, after: Duration) -> String {
    now.after(after).to_string()
}

impl Crew<'_> {
    /// When what is made for a mover now is nobody's, unless it is said again that it is.
    #[must_use]
    pub fn expires(&self) -> String {
        expires(self.clock.now(), self.start_timeout + self.limits.expiry)
    }

    /// When the kubelet ends a mover.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.start_timeout + self.timeout
    }

    /// Starts the mover of a plan, gives it its task, which is asked for when its pod runs, and hears it to its end. What was made is in `made`, to be taken away by the
    /// caller, also when this is dropped; `copy` is kept alive with it.
    pub async fn attend(
        &self,
        plan: &PodPlan,
        reach: &Reach,
        task: impl Future<Output = std::result::Result<Task, MoverError>>,
        copy: Option<&Prepared>,
        made: &mut Made,
    ) -> Ending {
        self.attend_held(plan, reach, task, copy, std::future::pending(), made).await
    }

    /// Starts a pod that tries an address and nothing else, and hears what came of it: whether it is reached, or, if it is to be denied, whether it still is. It gets no policy of
    /// its own and no credentials.
    pub async fn tries(
        &self,
        plan: &PodPlan,
        (address, time): (&str, Duration),
        denied: bool,
        made: &mut Made,
    ) -> std::result::Result<(bool, String), MoverError> {
        let uid = made.create(self.cluster, "pod", pods(), &plan.trying(address, time, denied)).await?;
        let pod = Pod { namespace: &plan.namespace, name: &plan.name, uid: &uid };
        started(self, pod).await?;
        let (mut share, heard, limit) =
            (Share::default(), talk::Heard::of_nothing_said(), time + self.limits.log_silence);
        let ending = tokio::select! {
            ending = listen::listen(self, pod, heard, &mut share) => ending,
            () = sleep(limit) => Err(MoverError::TimedOut { limit }),
        };
        match ending? {
            (Result::Tried { reached, why }, _) => Ok((reached, why)),
            _ => Err(MoverError::Ended { why: "it did something else than to try an address".to_owned() }),
        }
    }

    /// The same of a mover whose job says that what it reads is held still: when all was read it asks, and commits nothing before `still` says that it held until then.
    pub async fn attend_held(
        &self,
        plan: &PodPlan,
        reach: &Reach,
        task: impl Future<Output = std::result::Result<Task, MoverError>>,
        copy: Option<&Prepared>,
        still: impl Future<Output = std::result::Result<(), MoverError>>,
        made: &mut Made,
    ) -> Ending {
        let PodPlan { namespace, name, run, expires, .. } = plan;
        let cilium = cilium::is_there(self.cluster).await.map_err(MoverError::Unreachable)?;
        for (kind, policy) in policy::manifests(namespace, name, run, expires, reach, cilium) {
            made.create(self.cluster, "network policy", kind, &policy).await?;
        }
        let uid = made.create(self.cluster, "pod", pods(), &plan.manifest()).await?;
        let pod = Pod { namespace, name, uid: &uid };
        // Of its own: whoever waits for this one has many of them.
        let ending = Box::pin(self.hear(pod, task, copy, still)).await;
        if let Err(error) = &ending
            && !matches!(error, MoverError::Vanished | MoverError::Unreachable(_) | MoverError::Cancelled)
        {
            made.evidence = Box::pin(evidence::gather(self, pod)).await;
        }
        ending
    }

    /// From the start of its pod to its end.
    async fn hear(
        &self,
        pod: Pod<'_>,
        task: impl Future<Output = std::result::Result<Task, MoverError>>,
        copy: Option<&Prepared>,
        still: impl Future<Output = std::result::Result<(), MoverError>>,
    ) -> Ending {
        started(self, pod).await?;
        let task = task.await?;
        let speaker = talk::Talk::new(self, pod, &task, copy);
        let limit = self.timeout;
        let (mut share, heard) = (Share::default(), speaker.heard());
        let answer = async {
            heard.has_read().await;
            if let Err(error) = still.await {
                return error;
            }
            heard.commit();
            std::future::pending().await
        };
        tokio::select! {
            result = listen::listen(self, pod, speaker.heard(), &mut share) => result,
            error = speaker.run() => Err(error),
            error = answer => Err(error),
            () = sleep(limit) => Err(MoverError::TimedOut { limit }),
        }
    }
}

/// The part of one mover in what is shown.
#[derive(Default)]
struct Share {
    files: u64,
    bytes: u64,
    stored: u64,
}

impl Share {
    fn show(&mut self, progress: &Progress, files: u64, bytes: u64, stored: u64) {
        for (counter, before, now) in [
            (&progress.files_done, &mut self.files, files),
            (&progress.bytes_done, &mut self.bytes, bytes),
            (&progress.bytes_stored, &mut self.stored, stored),
        ] {
            counter.fetch_add(now.saturating_sub(*before), Ordering::Relaxed);
            *before = now.max(*before);
        }
    }
}
