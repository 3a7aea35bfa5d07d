//! Volumes of a cluster are filled by movers: each gets the keys of its own snapshot and no others. Which these are is found here, from metadata alone; no content
//! comes by.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::volumes::{Filled, Filling, Outcome, Volumes};
use crate::backup::volumes::Handed;
use crate::backup::volumes::claims::{Namespace, rights};
use crate::cluster::error::told;
use crate::cluster::object::annotation;
use crate::config::MoverMode;
use crate::crypto::secret::random;
use crate::format::entry::TreePath;
use crate::recover::sessions;
use crate::repo::fetch::Reader;
use crate::volumes::facts::{self, Facts};
use crate::volumes::labels::{MOVER_MODE, PRIVILEGED_MOVERS};
use crate::volumes::mover::{self, Crew, Made, MoverError, evict};
use crate::volumes::pod::{PodPlan, Rights};
use crate::volumes::protocol::{Credential, RestoreJob, Task};
use crate::volumes::{RunId, kinds};

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
}

/// Why a volume is not filled, before a mover is.
enum Not {
    Mover(MoverError),
    Other { why: String, mend: &'static str, damaged: bool, exit: Option<u8> },
}

impl From<MoverError> for Not {
    fn from(error: MoverError) -> Self {
        Self::Mover(error)
    }
}

/// What to do about a mover that came to nothing.
fn mend_of(error: &MoverError) -> String {
    let mend = match error {
        MoverError::Failed(failed) => return failed.help.clone(),
        MoverError::Create { .. } => {
            "see what the API server says: rights that are missing (docs/recover-cluster.md has them), Pod Security that refuses the pod \
             (homelab-dr.io/mover-mode: app on the claim runs it as the application), or a quota that is full"
        }
        MoverError::NeverStarted { .. } => {
            "mend what the cluster says, such as an image that cannot be pulled, or a node without room, and run it again"
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
                Self::Unknown { why: told(&error), mend, damaged: exit == Some(4), exit }
            }
            Not::Other { why, mend, damaged, exit } => Self::Unknown { why, mend: mend.to_owned(), damaged, exit },
        }
    }
}

/// With whose rights a claim is filled: root where Pod Security lets it in, since only root gives files their owners; the application's where it does not, or where
/// the claim asks for that. An error is why not, and what to do about it.
pub(crate) fn rights_of(filling: &Filling, space: &Namespace) -> Result<Rights, (String, &'static str)> {
    let said = annotation(&filling.object, MOVER_MODE);
    let mode = match MoverMode::parse(said) {
        Some(mode) => mode,
        None if said.is_empty() && !space.restricted => MoverMode::Root,
        None if said.is_empty() => MoverMode::App,
        None => {
            let why = format!("the annotation {MOVER_MODE} of the claim is {said:?}");
            return Err((why, "write app, root or privileged"));
        }
    };
    rights(&filling.object, mode, filling.used().as_ref(), space).ok_or_else(|| {
        let why = format!("it needs a privileged mover, and the namespace does not permit one by {PRIVILEGED_MOVERS}");
        (why, "annotate the namespace, or use the mode app or root")
    })
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
        reaches: false,
        node: filling.node.clone(),
        tolerations: used.as_ref().map(|used| used.tolerations.clone()).unwrap_or_default(),
        pull_secrets: used.map(|used| used.pull_secrets).unwrap_or_default(),
        deadline,
        silence,
    }
}

impl ByMovers<'_> {
    async fn attempt(&self, filling: &Filling, made: &mut Made) -> Result<mover::Ending, Not> {
        let namespace = filling.claim.namespace.clone().unwrap_or_default();
        let name = crate::volumes::run::name_for(&self.run, &namespace, &filling.claim.name);
        let rights = self.rights(filling, &namespace).await?;
        let keys = sessions::keys(&self.reader, filling.data.root, &self.within, self.crew.cancel).await;
        let keys = keys.map_err(|error| Not::Other {
            why: format!("its snapshot cannot be read: {}", told(&error)),
            mend: "see the repository: `homelab-dr check --read-data`",
            damaged: !matches!(error, crate::repo::RepoError::Store(_) | crate::repo::RepoError::Cancelled),
            exit: None,
        })?;
        let task = Task::restore(&name, self.job(&name, filling)?, keys).map_err(MoverError::from)?;
        // One that an earlier run left may still be writing.
        evict(&self.crew, &namespace, &filling.claim.name).await.map_err(MoverError::Unreachable)?;
        let names = (name.as_str(), self.run.as_str(), self.crew.expires());
        let limits = (self.crew.deadline(), self.crew.limits.silence);
        let plan = pod_of(filling, rights, &self.image, names, limits);
        Ok(self.crew.attend(&plan, &self.handed.reach, async { Ok(task) }, None, made).await)
    }

    async fn rights(&self, filling: &Filling, namespace: &str) -> Result<Rights, Not> {
        let found = self.crew.cluster.get(&kinds::namespaces(), None, namespace).await;
        let space = found.map_err(MoverError::Unreachable)?.map(|object| Namespace::of(&object)).unwrap_or_default();
        rights_of(filling, &space).map_err(|(why, mend)| Not::Other { why, mend, damaged: false, exit: None })
    }

    fn job(&self, name: &str, filling: &Filling) -> Result<RestoreJob, MoverError> {
        let handed = self.handed;
        let credentials = handed.credentials.iter();
        Ok(RestoreJob {
            salt: random()?,
            run: name.to_owned(),
            address: handed.address.clone(),
            credentials: credentials
                .map(|(name, value)| Credential { name: name.clone(), value: value.duplicate() })
                .collect(),
            writer_key: handed.writer_key.duplicate(),
            snapshot: filling.data.snapshot,
            within: self.within.as_bytes().to_vec(),
            parts: 0,
            limit_download: handed.limit_download,
        })
    }
}

#[async_trait]
impl Volumes for ByMovers<'_> {
    async fn facts(&self) -> Result<Option<Facts>, String> {
        facts::read(self.crew.cluster).await.map(Some).map_err(|error| told(&error))
    }

    async fn fill(&self, filling: &Filling) -> Filled {
        let mut made = Made::default();
        let ending = tokio::select! {
            ending = self.attempt(filling, &mut made) => ending,
            () = self.crew.cancel.cancelled() => Err(Not::Mover(MoverError::Cancelled)),
        };
        let left = made.remove(&self.crew).await.iter().map(ToString::to_string).collect();
        let filled = match ending.and_then(|ending| ending.map_err(Not::Mover)) {
            Ok((mover::Result::Restored(restored), problems)) => Filled::with(filling, *restored, problems),
            Ok((mover::Result::Done(_) | mover::Result::Reached, _)) => {
                Filled::without(filling, Outcome::unknown("the mover says that it did something else", "run it again"))
            }
            Err(not) => Filled::without(filling, not.into()),
        };
        Filled { left, ..filled }
    }

    fn at_once(&self) -> usize {
        self.movers.max(1)
    }
}
