//! Volumes of a cluster are filled by movers: each gets the keys of its own snapshot and no others. Which these are is found here, from metadata alone; no content
//! comes by. A pod that uses the claim meanwhile ends it: it would read what is not whole, and write into it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::data::{SOURCE, unlike};
use super::volumes::{Filled, Filling, Outcome, Volumes};
use crate::backup::mover::ALWAYS_LEFT_OUT;
use crate::backup::volumes::Handed;
use crate::backup::volumes::claims::{Namespace, is_device, rights};
use crate::base::causes::in_one_line;
use crate::base::secret::{NoRandomness, random};
use crate::cluster::Cluster;
use crate::cluster::object::{annotation, at, name_of, text};
use crate::config::MoverMode;
use crate::format::entry::TreePath;
use crate::hooks::HookError;
use crate::hooks::scale::consumers;
use crate::recover::sessions;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::volumes::facts::{self, Facts};
use crate::volumes::labels::{FILLING, MOVER_MODE};
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::mover::{self, Crew, Made, MoverError, evict};
use crate::volumes::pod::{PodPlan, Rights};
use crate::volumes::protocol::{Credential, Job, RestoreJob, Task};
use crate::volumes::run::name_for;
use crate::volumes::said::{ProblemLine, Summary};
use crate::volumes::{RunId, kinds};

/// What a provisioner notes in a volume that it has made.
const PROVISIONED: &str = "pv.kubernetes.io/provisioned-by";

/// See the module.
pub struct ByMovers<'a> {
    /// What starts and hears them.
    pub crew: Crew<'a>,
    /// What they need of the repository.
    pub handed: &'a Handed,
    /// Reads the repository with an identity.
    pub reader: Arc<Reader>,
    /// Their image.
    pub image: String,
    /// The run that they belong to.
    pub run: RunId,
    /// At once.
    pub movers: usize,
    /// The part of the snapshot that becomes the top of the volume.
    pub within: TreePath,
    /// What is in the volumes makes way.
    pub in_place: bool,
}

/// How movers run that fill volumes.
#[derive(Debug, Clone)]
pub struct Running {
    /// Their image.
    pub image: String,
    /// How long a pod may take to start.
    pub start_timeout: Duration,
    /// When a mover is ended.
    pub timeout: Duration,
    /// At once.
    pub movers: usize,
}

impl<'a> ByMovers<'a> {
    /// Fills with what is at and below `within` of the snapshots, by movers of a run of their own.
    ///
    /// # Errors
    /// The system gives no randomness for the run.
    pub fn new(
        crew: Crew<'a>,
        handed: &'a Handed,
        running: &Running,
        reader: Arc<Reader>,
        within: TreePath,
    ) -> Result<Self, NoRandomness> {
        let run = RunId::new(random()?);
        let (image, movers) = (running.image.clone(), running.movers);
        Ok(Self { crew, handed, reader, image, run, movers, within, in_place: false })
    }
}

/// Why there is no safety copy.
pub(super) struct NotCopied {
    pub(super) outcome: Outcome,
    /// What there was to see of its mover.
    pub(super) mover: Evidence,
}

/// Why a volume is not filled, or not looked at.
pub(super) enum Not {
    Mover(MoverError),
    /// A pod, by its name, uses the claim.
    Used(String),
    Other {
        why: String,
        mend: &'static str,
        damaged: bool,
        exit: Option<u8>,
    },
}

impl Not {
    pub(super) fn other(why: impl Into<String>, mend: &'static str) -> Self {
        Self::Other { why: why.into(), mend, damaged: false, exit: None }
    }

    /// The keys of its snapshot cannot be found.
    pub(super) fn unreadable(error: &RepoError) -> Self {
        Self::Other {
            why: format!("its snapshot cannot be read: {}", in_one_line(error)),
            mend: "see the repository: `homelab-dr check --read-data`",
            damaged: !matches!(error, RepoError::Store(_) | RepoError::Cancelled),
            exit: None,
        }
    }
}

impl From<MoverError> for Not {
    fn from(error: MoverError) -> Self {
        Self::Mover(error)
    }
}

/// What to do about a mover that came to nothing.
pub(super) fn mend_of(error: &MoverError) -> String {
    let mend = match error {
        MoverError::Failed(failed) => return failed.help.clone(),
        MoverError::Create { .. } => {
            "see what the API server says: rights that are missing (docs/recover-cluster.md has them), Pod Security that refuses the pod \
             (homelab-dr.io/mover-mode: app on the claim runs it as the application), or a quota that is full"
        }
        MoverError::NeverStarted { .. } => {
            "mend what the cluster says, such as an image that cannot be pulled, or a node without room, and run it again"
        }
        MoverError::Stirred(_) => {
            "see who started what uses it (another person, GitOps, an operator), and run it again"
        }
        MoverError::TimedOut { .. } => "run it again: what is there is not written again",
        MoverError::Stopped { why } if why.contains("Evicted") => {
            "make room on its node for what the node says it is short of, and run it again: what is there is not written again"
        }
        _ => "see the cluster, and run it again: what is there is not written again",
    };
    mend.to_owned()
}

impl From<Not> for Outcome {
    fn from(not: Not) -> Self {
        match not {
            Not::Mover(error) => {
                let mend = mend_of(&error);
                let exit = if let MoverError::Failed(failed) = &error { Some(failed.exit) } else { None };
                Self::Unknown { why: in_one_line(&error), mend, damaged: exit == Some(4), exit }
            }
            Not::Used(pod) => Self::unknown(
                format!("pod {pod} uses the claim, which is not filled yet"),
                "see who made that pod, scale it to zero, and run this again; files that it has made in the volume have to go first",
            ),
            Not::Other { why, mend, damaged, exit } => Self::Unknown { why, mend: mend.to_owned(), damaged, exit },
        }
    }
}

/// With whose rights a claim is filled: root where Pod Security lets it in, since only root gives files their owners; the application's where it does not, or where
/// the claim asks for that. An error is why not, and what to do about it.
pub(crate) fn rights_of(filling: &Filling, space: &Namespace) -> Result<Rights, (String, &'static str)> {
    let claim = space.speaks_for(&filling.object);
    let said = annotation(&claim, MOVER_MODE);
    let mode = match MoverMode::parse(said) {
        Some(mode) => mode,
        None if said.is_empty() && !space.restricted => MoverMode::Root,
        None if said.is_empty() => MoverMode::App,
        None => {
            let why = format!("the annotation {MOVER_MODE} of the claim or its namespace is {said:?}");
            return Err((why, "write app, root or privileged"));
        }
    };
    let home = filling.claim.namespace.as_deref().unwrap_or_default();
    rights(&claim, mode, filling.used().as_ref(), (home, space))
}

/// The pod of the mover that fills a claim, by its own name, its run, and when it is nobody's; `limits`: when the kubelet ends it, and how long it works on unheard.
pub(crate) fn pod_of(
    filling: &Filling,
    rights: Rights,
    image: &str,
    (name, run, expires): (&str, &str, String),
    (deadline, silence): (Duration, Duration),
) -> PodPlan {
    let used = filling.used();
    PodPlan {
        name: name.to_owned(),
        namespace: filling.claim.namespace.clone().unwrap_or_default(),
        claim: filling.claim.name.clone(),
        run: run.to_owned(),
        expires,
        image: image.to_owned(),
        rights,
        fills: true,
        device: is_device(&filling.object),
        reaches: false,
        node: filling.node.clone(),
        tolerations: used.as_ref().map(|used| used.tolerations.clone()).unwrap_or_default(),
        pull_secrets: used.map(|used| used.pull_secrets).unwrap_or_default(),
        deadline,
        silence,
    }
}

/// Whether the volume of a claim that is being filled was made for it by its provisioner: nobody had it before.
async fn is_fresh(cluster: &dyn Cluster, namespace: &str, name: &str) -> Result<bool, MoverError> {
    let found = cluster.get(&kinds::claims(), Some(namespace), name).await.map_err(MoverError::Unreachable)?;
    let Some(claim) = found.filter(|claim| !annotation(claim, FILLING).is_empty()) else { return Ok(false) };
    let volume = text(&claim, &["spec", "volumeName"]);
    let found = cluster.get(&kinds::volumes(), None, volume).await.map_err(MoverError::Unreachable)?;
    Ok(found.is_some_and(|volume| is_made_for(&volume, &claim)))
}

/// By what both say. The times of one API server are compared as they are written.
fn is_made_for(volume: &Value, claim: &Value) -> bool {
    let made = |object: &Value| text(object, &["metadata", "creationTimestamp"]).to_owned();
    let (uid, source) = (text(claim, &["metadata", "uid"]), ["dataSource", "dataSourceRef"]);
    !uid.is_empty()
        && text(volume, &["spec", "claimRef", "uid"]) == uid
        && !annotation(volume, PROVISIONED).is_empty()
        && made(volume) >= made(claim)
        && source.iter().all(|field| at(claim, &["spec", field]).is_null())
}

impl ByMovers<'_> {
    async fn attempt(&self, filling: &Filling, made: &mut Made) -> Result<mover::Ending, Not> {
        let (namespace, claim) = (filling.claim.namespace.clone().unwrap_or_default(), &filling.claim.name);
        if let Some((why, mend)) = unlike(&filling.object, &filling.data) {
            return Err(Not::other(why, mend));
        }
        let plan = self.pod(filling, name_for(&self.run, &namespace, claim), true).await?;
        let keys = sessions::keys(&self.reader, filling.data.root, &self.within, self.crew.cancel).await;
        let keys = keys.map_err(|error| Not::unreadable(&error))?;
        let job = self.job(&plan.name, filling)?;
        let task = async {
            // Not before its pod runs: where a volume waits for its consumer there is none until then.
            let fresh = plan.device && is_fresh(self.crew.cluster, &namespace, claim).await?;
            Ok(Task::restore(&plan.name, RestoreJob { fresh, ..job }, keys)?)
        };
        // One that an earlier run left may still be writing.
        evict(&self.crew, &namespace, claim).await.map_err(MoverError::Unreachable)?;
        self.nobody_uses(filling).await?;
        Ok(self.crew.attend(&plan, &self.handed.reach, task, None, made).await)
    }

    /// The pods that use the claim now.
    pub(super) async fn users(&self, filling: &Filling) -> Result<Vec<Value>, HookError> {
        let (namespace, claims) = (filling.claim.namespace.as_deref(), BTreeSet::from([filling.claim.name.clone()]));
        consumers(self.crew.cluster, namespace.unwrap_or_default(), &claims).await
    }

    async fn user(&self, filling: &Filling) -> Result<Option<String>, HookError> {
        Ok(self.users(filling).await?.first().map(|pod| name_of(pod).to_owned()))
    }

    /// No pod but movers refers to the claim. What cannot be seen is not taken for granted.
    async fn nobody_uses(&self, filling: &Filling) -> Result<(), Not> {
        match self.user(filling).await {
            Ok(None) => Ok(()),
            Ok(Some(pod)) => Err(Not::Used(pod)),
            Err(error) => Err(Not::other(
                format!("whether a pod uses it cannot be seen: {}", in_one_line(&error)),
                "see the cluster, and run it again: what is there is not written again",
            )),
        }
    }

    /// Looks again and again, until some pod uses the claim. A server that does not answer says nothing yet.
    async fn until_used(&self, filling: &Filling) -> Not {
        loop {
            tokio::time::sleep(self.crew.limits.still).await;
            if let Ok(Some(pod)) = self.user(filling).await {
                return Not::Used(pod);
            }
        }
    }

    /// Backs up what is in a volume that nobody uses; it becomes a snapshot only when `still` says that nobody did until all was read. Also what could not be taken
    /// away afterwards.
    pub(super) async fn back_up(
        &self,
        filling: &Filling,
        tags: BTreeMap<String, String>,
        host: &str,
        still: impl Future<Output = Result<(), MoverError>>,
    ) -> (Result<(Summary, Vec<ProblemLine>), NotCopied>, Vec<String>) {
        let mut made = Made::default();
        let attempt = async {
            let (namespace, claim) = (filling.claim.namespace.clone().unwrap_or_default(), &filling.claim.name);
            let plan = self.pod(filling, name_for(&self.run, &namespace, &format!("{claim}/before")), false).await?;
            let handed = self.handed;
            let job = Job {
                salt: random().map_err(MoverError::from)?,
                run: plan.name.clone(),
                address: handed.address.clone(),
                credentials: self.credentials(),
                writer_key: handed.writer_key.duplicate(),
                source: format!("{SOURCE}{namespace}/{claim}"),
                host: host.to_owned(),
                tags,
                exclude: vec![ALWAYS_LEFT_OUT.to_owned()],
                reread: false,
                limit_upload: handed.limit_upload,
                limit_download: handed.limit_download,
                still: true,
                held: true,
                dumped: None,
                apart: false,
                together: None,
                blocks: None,
            };
            let task = Task::backup(&plan.name, &job).map_err(MoverError::from)?;
            evict(&self.crew, &namespace, claim).await.map_err(MoverError::Unreachable)?;
            match self.crew.attend_held(&plan, &handed.reach, async { Ok(task) }, None, still, &mut made).await? {
                (mover::Result::Done(summary), problems) => Ok((*summary, problems)),
                _ => Err(Not::Mover(MoverError::Ended { why: "it did something else than a backup".to_owned() })),
            }
        };
        let ending = tokio::select! {
            ending = attempt => ending,
            () = self.crew.cancel.cancelled() => Err(Not::Mover(MoverError::Cancelled)),
        };
        let mover = made.take_evidence();
        let left = made.remove(&self.crew).await.iter().map(ToString::to_string).collect();
        (ending.map_err(|not| NotCopied { outcome: not.into(), mover }), left)
    }

    pub(super) async fn pod(&self, filling: &Filling, name: String, fills: bool) -> Result<PodPlan, Not> {
        let namespace = filling.claim.namespace.clone().unwrap_or_default();
        let rights = self.rights(filling, &namespace).await?;
        let names = (name.as_str(), self.run.as_str(), self.crew.expires());
        let limits = (self.crew.deadline(), self.crew.limits.silence);
        Ok(PodPlan { fills, ..pod_of(filling, rights, &self.image, names, limits) })
    }

    fn credentials(&self) -> Vec<Credential> {
        let credentials = self.handed.credentials.iter();
        credentials.map(|(name, value)| Credential { name: name.clone(), value: value.duplicate() }).collect()
    }

    async fn rights(&self, filling: &Filling, namespace: &str) -> Result<Rights, Not> {
        let found = self.crew.cluster.get(&kinds::namespaces(), None, namespace).await;
        let space = found.map_err(MoverError::Unreachable)?.map(|object| Namespace::of(&object)).unwrap_or_default();
        rights_of(filling, &space).map_err(|(why, mend)| Not::other(why, mend))
    }

    pub(super) fn job(&self, name: &str, filling: &Filling) -> Result<RestoreJob, MoverError> {
        let handed = self.handed;
        Ok(RestoreJob {
            salt: random()?,
            run: name.to_owned(),
            address: handed.address.clone(),
            credentials: self.credentials(),
            writer_key: handed.writer_key.duplicate(),
            snapshot: filling.data.snapshot,
            within: self.within.as_bytes().to_vec(),
            parts: 0,
            limit_download: handed.limit_download,
            in_place: self.in_place,
            fresh: false,
        })
    }
}

#[async_trait]
impl Volumes for ByMovers<'_> {
    async fn facts(&self) -> Result<Option<Facts>, String> {
        facts::read(self.crew.cluster).await.map(Some).map_err(|error| in_one_line(&error))
    }

    async fn fill(&self, filling: &Filling) -> Filled {
        let mut made = Made::default();
        let ending = tokio::select! {
            ending = self.attempt(filling, &mut made) => ending,
            not = self.until_used(filling) => Err(not),
            () = self.crew.cancel.cancelled() => Err(Not::Mover(MoverError::Cancelled)),
        };
        // Also whoever came after the last look, and may have written.
        let ending = match ending {
            Ok(Ok(ending)) => self.nobody_uses(filling).await.map(|()| Ok(ending)),
            other => other,
        };
        let mover = made.take_evidence();
        let left = made.remove(&self.crew).await.iter().map(ToString::to_string).collect();
        let filled = match ending.and_then(|ending| ending.map_err(Not::Mover)) {
            Ok((mover::Result::Restored(restored), problems)) => Filled::with(filling, *restored, problems),
            Ok((
                mover::Result::Done(_)
                | mover::Result::Verified(..)
                | mover::Result::Reached
                | mover::Result::Tried { .. },
                _,
            )) => {
                Filled::without(filling, Outcome::unknown("the mover says that it did something else", "run it again"))
            }
            Err(not) => Filled::without(filling, not.into()),
        };
        Filled { left, mover, ..filled }
    }

    fn at_once(&self) -> usize {
        self.movers.max(1)
    }
}
