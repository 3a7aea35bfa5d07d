//! One claim, from the copy that is read in its place, if the way makes one, to the end of its mover. Whatever happens in between, pod, policy and copy are taken away.

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::claims::{Claim, Read};
use super::start::{Pod, started};
use super::{MoverError, Movers, Share, away, expires, listen, talk};
use crate::cluster::error::told;
use crate::cluster::object::{name_of, namespace_of, uid_of};
use crate::cluster::{Cluster, Created, Deleted, How, Kind};
use crate::crypto::secret::random;
use crate::volumes::choose::Way;
use crate::volumes::kinds::pods;
use crate::volumes::pod::PodPlan;
use crate::volumes::protocol::{Credential, Job};
use crate::volumes::said::{ProblemLine, Summary};
use crate::volumes::{Context, Left, Prepared, Run, RunId, VolumesError, clone, policy, snapshot};

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
    async fn remove(self, movers: &Movers<'_>) -> Vec<Left> {
        let mut left = Vec::new();
        for thing in self.0.iter().rev() {
            left.extend(remove(movers, thing).await.err());
        }
        left
    }
}

async fn remove(movers: &Movers<'_>, thing: &Thing) -> std::result::Result<(), Left> {
    let Thing { kind, namespace, name, uid } = thing;
    let look = async || {
        let found = movers.cluster.get(kind, Some(namespace), name).await;
        found.map_err(|error| Left::object(kind, namespace, name, told(&error)))
    };
    let ours = |object: &Value| uid.is_empty() || uid_of(object) == uid;
    let Some(mut object) = look().await?.filter(ours) else { return Ok(()) };
    let begun = Instant::now();
    let deleted = movers.cluster.delete(kind, Some(namespace), name, uid_of(&object)).await;
    let mut deleted = deleted.map_err(|error| Left::object(kind, namespace, name, told(&error)))?;
    while deleted == Deleted::Going && begun.elapsed() < movers.limits.gone {
        sleep(movers.limits.poll).await;
        match look().await?.filter(|there| uid_of(there) == uid_of(&object)) {
            Some(there) => object = there,
            None => deleted = Deleted::Gone,
        }
    }
    // It may be on its way all the same, but nobody waits for a node that is dead.
    if deleted == Deleted::Going { Err(away::still_there(movers.cluster, kind, &object).await) } else { Ok(()) }
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
) -> (Result, Vec<Left>) {
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
        result = attempt(movers, run, number, claim, read, mounted, &mut made) => result,
        () = movers.cancel.cancelled() => Err(MoverError::Cancelled),
    };
    let mut left = made.remove(movers).await;
    // After its pod: what is mounted stays.
    if let Some(copy) = copy {
        left.extend(copy.release(movers.cluster, &movers.limits.ways).await.err());
    }
    (result, left)
}

/// Makes what is read in the claim's place, if its way does. It listens to the stop itself, and never stops without clearing up. With an error comes what is left.
async fn prepare(
    movers: &Movers<'_>,
    run: &RunId,
    read: &Read,
) -> std::result::Result<Option<Prepared>, (MoverError, Vec<Left>)> {
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
        Err(VolumesError::NotCleared { left, why }) => (*why, vec![*left]),
        Err(error) => (error, Vec::new()),
    };
    Err(match error {
        VolumesError::Cancelled => (MoverError::Cancelled, left),
        source => (MoverError::Prepare { way, source }, left),
    })
}

async fn attempt(
    movers: &Movers<'_>,
    run: &RunId,
    number: usize,
    claim: &Claim,
    read: &Read,
    mounted: Mounted<'_>,
    made: &mut Made,
) -> Result {
    let name = format!("homelab-dr-{run}-{number}");
    let expires = expires(movers.clock.now(), movers.source.start_timeout + movers.limits.expiry);
    let policy = policy::manifest(mounted.namespace, &name, run.as_str(), &expires, &movers.handed.reach);
    let policies = Kind::known("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", true);
    made.create(movers.cluster, "network policy", policies, &policy).await?;
    let plan = PodPlan {
        name: name.clone(),
        namespace: mounted.namespace.to_owned(),
        claim: mounted.claim.to_owned(),
        run: run.to_string(),
        expires,
        image: movers.source.image.clone(),
        rights: read.rights.clone(),
        node: read.node().map(str::to_owned),
        tolerations: read.tolerations.clone(),
        pull_secrets: read.pull_secrets.clone(),
        deadline: movers.source.start_timeout + movers.source.timeout,
        silence: movers.limits.silence,
    };
    let uid = made.create(movers.cluster, "pod", pods(), &plan.manifest()).await?;
    let pod = Pod { namespace: mounted.namespace, name: &name, uid: &uid };
    started(movers, pod).await?;
    let job = job(movers, &name, claim, read)?;
    let talk = talk::Talk::new(movers, pod, &job, mounted.copy)?;
    let limit = movers.source.timeout;
    let mut share = Share::default();
    tokio::select! {
        result = listen::listen(movers, pod, talk.heard(), &mut share) => result,
        error = talk.run() => Err(error),
        () = sleep(limit) => Err(MoverError::TimedOut { limit }),
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
