//! One claim, from the copy that is read in its place, if the way makes one, to the end of its mover. Whatever happens in between, pod, policy and copy are taken away.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::claims::{Claim, Read};
use super::start::{Pod, started};
use super::{MoverError, Movers, Share, expires, listen, talk};
use crate::cluster::error::told;
use crate::cluster::object::{name_of, namespace_of, uid_of};
use crate::cluster::{Cluster, ClusterError, Created, Deleted, How, Kind};
use crate::config::VolumesSource;
use crate::crypto::secret::random;
use crate::volumes::choose::Way;
use crate::volumes::kinds::pods;
use crate::volumes::pod::{PodPlan, reaching};
use crate::volumes::protocol::{Credential, Job};
use crate::volumes::said::{ProblemLine, Summary};
use crate::volumes::{Context, Prepared, Run, RunId, VolumesError, cilium, clone, policy, snapshot};

/// What every volume has that is no data: the place of what `fsck` finds, which only root may read.
const ALWAYS_LEFT_OUT: &str = "/lost+found/";

pub(super) type Result = std::result::Result<(Summary, Vec<ProblemLine>), MoverError>;

/// What was made, or may have been, to be taken away.
#[derive(Default)]
struct Made(Vec<Thing>);

struct Thing {
    kind: Kind,
    namespace: String,
    name: String,
    /// Empty until the answer came: then whatever has the random name is ours.
    uid: String,
}

impl Made {
    async fn create(
        &mut self,
        cluster: &dyn Cluster,
        what: &'static str,
        kind: Kind,
        object: &Value,
    ) -> std::result::Result<String, MoverError> {
        let namespace = namespace_of(object).unwrap_or_default().to_owned();
        // Before it is made: whoever is stopped in between has made it perhaps.
        let name = name_of(object).to_owned();
        self.0.push(Thing { kind: kind.clone(), namespace, name, uid: String::new() });
        // Its name is random: one that is there is ours, made by a request whose answer got lost.
        match cluster.create(&kind, object, How::Really).await {
            Ok(Created::New(made) | Created::Found(made)) => {
                let uid = uid_of(&made).to_owned();
                if let Some(thing) = self.0.last_mut() {
                    thing.uid.clone_from(&uid);
                }
                Ok(uid)
            }
            Err(source) => Err(MoverError::Create { what, source }),
        }
    }

    /// The pod first, and its policy when it is gone, since a pod that is told to end stores what it has read. What stays is named.
    async fn remove(self, movers: &Movers<'_>) -> Vec<String> {
        let mut left = Vec::new();
        for thing in self.0.iter().rev() {
            if let Err(error) = remove(movers, thing).await {
                left.push(format!("{} {}/{}: {error}", thing.kind, thing.namespace, thing.name));
            }
        }
        left
    }
}

async fn remove(movers: &Movers<'_>, thing: &Thing) -> std::result::Result<(), ClusterError> {
    let Thing { kind, namespace, name, uid } = thing;
    let look = || movers.cluster.get(kind, Some(namespace), name);
    let ours = |object: &Value| uid.is_empty() || uid_of(object) == uid;
    let Some(object) = look().await?.filter(ours) else { return Ok(()) };
    let begun = Instant::now();
    let mut deleted = movers.cluster.delete(kind, Some(namespace), name, uid_of(&object)).await?;
    // One that does not go is on its way all the same; nobody waits for a node that is dead.
    while deleted == Deleted::Going && begun.elapsed() < movers.limits.gone {
        sleep(movers.limits.poll).await;
        if look().await?.is_none_or(|there| uid_of(&there) != uid_of(&object)) {
            deleted = Deleted::Gone;
        }
    }
    Ok(())
}

/// What is mounted: the claim itself, or the copy.
#[derive(Clone, Copy)]
struct Mounted<'a> {
    namespace: &'a str,
    claim: &'a str,
    copy: Option<&'a Prepared>,
}

/// Backs up one claim. Also what could not be taken away afterwards.
pub(super) async fn capture(
    movers: &Movers<'_>,
    run: &RunId,
    number: usize,
    claim: &Claim,
    read: &Read,
) -> (Result, Vec<String>) {
    let copy = match prepare(movers, run, read).await {
        Ok(copy) => copy,
        Err((error, left)) => return (Err(error), left),
    };
    let mounted = match &copy {
        Some(copy) => Mounted { namespace: &copy.namespace, claim: &copy.claim, copy: Some(copy) },
        None => Mounted { namespace: &claim.namespace, claim: &claim.name, copy: None },
    };
    let mut made = Made::default();
    let result = tokio::select! {
        result = attempt(movers, run, number, claim, read, mounted, &mut made, false) => result,
        () = movers.cancel.cancelled() => Err(MoverError::Cancelled),
    };
    let mut left = made.remove(movers).await;
    // After its pod: what is mounted stays.
    if let Some(copy) = copy {
        let what = format!("PersistentVolumeClaim {}/{} and what it was made from", copy.namespace, copy.claim);
        if let Err(error) = copy.release(movers.cluster, &movers.limits.ways).await {
            left.push(format!("{what}: {}", told(&error)));
        }
    }
    (result, left)
}

/// Starts a mover that only looks whether the store is reached from a namespace, with the rights and neighbours that the one for this claim would have. Also what
/// could not be taken away afterwards.
pub(super) async fn reach(
    movers: &Movers<'_>,
    run: &RunId,
    number: usize,
    (claim, read): (&Claim, &Read),
    namespace: &str,
) -> (std::result::Result<(), MoverError>, Vec<String>) {
    let mounted = Mounted { namespace, claim: &claim.name, copy: None };
    let mut made = Made::default();
    let result = tokio::select! {
        result = attempt(movers, run, number, claim, read, mounted, &mut made, true) => result,
        () = movers.cancel.cancelled() => Err(MoverError::Cancelled),
    };
    let left = made.remove(movers).await;
    (result.map(drop), left)
}

/// Makes what is read in the claim's place, if its way does. It listens to the stop itself, and never stops without clearing up. With an error comes what is left.
async fn prepare(
    movers: &Movers<'_>,
    run: &RunId,
    read: &Read,
) -> std::result::Result<Option<Prepared>, (MoverError, Vec<String>)> {
    let Some(namespace) = movers.source.namespace.as_deref() else { return Ok(None) };
    let limits = &movers.limits.ways;
    // From then on a mover that lives says again and again that it is not over.
    let before = limits.taken + limits.handed + limits.bound + movers.source.start_timeout;
    let run = Run { id: run.clone(), expires: movers.clock.now().after(before + movers.limits.expiry) };
    let context = Context { cluster: movers.cluster, namespace, run: &run, limits, cancel: &movers.cancel };
    let (way, prepared) = match &read.choice.way {
        Way::Snapshot { .. } => ("VolumeSnapshot", snapshot::prepare(&context, &read.choice).await),
        Way::Clone { .. } => ("clone", clone::prepare(&context, &read.choice).await),
        _ => return Ok(None),
    };
    let (error, left) = match prepared {
        Ok(prepared) => return Ok(Some(prepared)),
        Err(VolumesError::NotCleared { left, reason, why }) => (*why, vec![format!("{left}: {reason}")]),
        Err(error) => (error, Vec::new()),
    };
    Err(match error {
        VolumesError::Cancelled => (MoverError::Cancelled, left),
        source => (MoverError::Prepare { way, source }, left),
    })
}

#[expect(clippy::too_many_arguments, reason = "who, what, where and how of one mover")]
async fn attempt(
    movers: &Movers<'_>,
    run: &RunId,
    number: usize,
    claim: &Claim,
    read: &Read,
    mounted: Mounted<'_>,
    made: &mut Made,
    reach: bool,
) -> Result {
    let name = format!("homelab-dr-{run}-{number}");
    let expires = expires(movers.clock.now(), movers.source.start_timeout + movers.limits.expiry);
    let cilium = cilium::is_there(movers.cluster).await.map_err(MoverError::Unreachable)?;
    let store = &movers.handed.reach;
    for (kind, policy) in policy::manifests(mounted.namespace, &name, run.as_str(), &expires, store, cilium) {
        made.create(movers.cluster, "network policy", kind, &policy).await?;
    }
    let plan = pod_of(
        movers.source,
        read,
        (mounted.namespace, mounted.claim),
        (&name, run.as_str(), &expires),
        movers.limits.silence,
    );
    let manifest = if reach { reaching(plan.manifest()) } else { plan.manifest() };
    let uid = made.create(movers.cluster, "pod", pods(), &manifest).await?;
    let pod = Pod { namespace: mounted.namespace, name: &name, uid: &uid };
    started(movers, pod).await?;
    let job = job(movers, &name, claim, read)?;
    let talk = talk::Talk::new(movers, pod, &job, mounted.copy)?;
    let limit = movers.source.timeout;
    let mut share = Share::default();
    tokio::select! {
        result = listen::listen(movers, pod, talk.heard(), &mut share, reach) => result,
        error = talk.run() => Err(error),
        () = sleep(limit) => Err(MoverError::TimedOut { limit }),
    }
}

/// The pod of the mover that reads a claim, in a namespace and of a name there; by its own name, its run, and when it is nobody's.
pub(crate) fn pod_of(
    source: &VolumesSource,
    read: &Read,
    (namespace, claim): (&str, &str),
    (name, run, expires): (&str, &str, &str),
    silence: Duration,
) -> PodPlan {
    PodPlan {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        claim: claim.to_owned(),
        run: run.to_owned(),
        expires: expires.to_owned(),
        image: source.image.clone(),
        rights: read.rights.clone(),
        node: read.node().map(str::to_owned),
        tolerations: read.tolerations.clone(),
        pull_secrets: read.pull_secrets.clone(),
        deadline: source.start_timeout + source.timeout,
        silence,
    }
}

fn job(movers: &Movers<'_>, name: &str, claim: &Claim, read: &Read) -> std::result::Result<Job, MoverError> {
    let handed = movers.handed;
    let credential = |(name, value): &(String, crate::volumes::protocol::SecretText)| Credential {
        name: name.clone(),
        value: value.duplicate(),
    };
    Ok(Job {
        salt: random()?,
        run: name.to_owned(),
        address: handed.address.clone(),
        credentials: handed.credentials.iter().map(credential).collect(),
        writer_key: handed.writer_key.duplicate(),
        source: claim.source(),
        host: read.node().map_or_else(|| movers.wanted.host.clone(), str::to_owned),
        tags: movers.wanted.tags.clone(),
        exclude: vec![ALWAYS_LEFT_OUT.to_owned()],
        reread: movers.wanted.reread,
        limit_upload: handed.limit_upload,
        limit_download: handed.limit_download,
        still: !matches!(read.choice.way, Way::Live { .. }),
    })
}
