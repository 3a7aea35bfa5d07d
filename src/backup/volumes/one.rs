//! One claim, from the copy that is read in its place, if the way makes one, to the end of its mover. Whatever happens in between, pod, policy and copy are taken away.

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::claims::{Claim, Read};
use super::hold::Member;
use super::start::{Pod, started};
use super::unit::Slots;
use super::{MoverError, Movers, Share, expires, listen, talk};
use crate::cluster::error::told;
use crate::cluster::object::{name_of, namespace_of, uid_of};
use crate::cluster::{Cluster, ClusterError, Created, Deleted, How, Kind};
use crate::crypto::secret::random;
use crate::volumes::choose::Way;
use crate::volumes::kinds::pods;
use crate::volumes::pod::PodPlan;
use crate::volumes::protocol::{Credential, Job};
use crate::volumes::said::{ProblemLine, Summary};
use crate::volumes::{Context, Cut, Prepared, Run, RunId, VolumesError, clone, policy, snapshot};

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
    /// Who waits for it.
    member: &'a Member<'a>,
}

/// Backs up one claim. Also what could not be taken away afterwards.
pub(super) async fn capture(
    movers: &Movers<'_>,
    run: &RunId,
    slots: &Slots,
    number: usize,
    claim: &Claim,
    read: &Read,
    member: &Member<'_>,
) -> (Result, Vec<String>) {
    let cut = Cut::default();
    let (copy, still) = tokio::join!(
        async {
            let copy = prepare(movers, run, read, &cut).await;
            // Also where it came to an end before anything was begun.
            cut.reach();
            copy
        },
        until_cut(read, &cut, member),
    );
    let copy = match copy {
        Ok(copy) => copy,
        Err((error, left)) => return (Err(error), left),
    };
    let mounted = match &copy {
        Some(copy) => Mounted { namespace: &copy.namespace, claim: &copy.claim, copy: Some(copy), member },
        None => Mounted { namespace: &claim.namespace, claim: &claim.name, copy: None, member },
    };
    let mut made = Made::default();
    let reading = async {
        still?;
        let _slot = slots.one().await;
        attempt(movers, run, number, claim, read, mounted, &mut made).await
    };
    let stirs = async {
        match read.choice.way {
            Way::Live { .. } => member.stirs().await,
            _ => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = reading => result,
        () = movers.cancel.cancelled() => Err(MoverError::Cancelled),
        error = stirs => Err(error),
    };
    let result = match (&read.choice.way, result) {
        // As long as it was read; what comes out is believed only then.
        (Way::Live { .. }, Ok(done)) => member.look().await.map(|()| done),
        (_, result) => result,
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

/// Whether the clone is made only when its mover's pod needs it.
const fn is_made_late(way: &Way) -> bool {
    matches!(way, Way::Clone { copy } if copy.waits_for_consumer)
}

/// Lets the application go on as soon as the copy is of one moment: it does not stand still for what comes then. An error if it did not until then.
async fn until_cut(read: &Read, cut: &Cut, member: &Member<'_>) -> std::result::Result<(), MoverError> {
    if matches!(read.choice.way, Way::Live { .. }) || is_made_late(&read.choice.way) {
        return Ok(());
    }
    cut.reached().await;
    let still = member.look().await;
    member.done().await;
    still
}

/// Makes what is read in the claim's place, if its way does. It listens to the stop itself, and never stops without clearing up. With an error comes what is left.
async fn prepare(
    movers: &Movers<'_>,
    run: &RunId,
    read: &Read,
    cut: &Cut,
) -> std::result::Result<Option<Prepared>, (MoverError, Vec<String>)> {
    let Some(namespace) = movers.source.namespace.as_deref() else { return Ok(None) };
    let limits = &movers.limits.ways;
    // From then on a mover that lives says again and again that it is not over.
    let before = limits.taken + limits.handed + limits.bound + movers.source.start_timeout;
    let run = Run { id: run.clone(), expires: movers.clock.now().after(before + movers.limits.expiry) };
    let context = Context { cluster: movers.cluster, namespace, run: &run, limits, cancel: &movers.cancel, cut };
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
    if is_made_late(&read.choice.way) {
        // Its volume is there, or it would not have started.
        let still = mounted.member.look().await;
        mounted.member.done().await;
        still?;
    }
    let job = job(movers, &name, claim, read, mounted.member)?;
    let talk = talk::Talk::new(movers, pod, &job, mounted.copy)?;
    let limit = movers.source.timeout;
    let mut share = Share::default();
    tokio::select! {
        result = listen::listen(movers, pod, talk.heard(), &mut share) => result,
        error = talk.run() => Err(error),
        () = sleep(limit) => Err(MoverError::TimedOut { limit }),
    }
}

fn job(
    movers: &Movers<'_>,
    name: &str,
    claim: &Claim,
    read: &Read,
    member: &Member<'_>,
) -> std::result::Result<Job, MoverError> {
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
        // Nobody writes to it: it is a copy, or all who had it open have ended.
        still: !matches!(read.choice.way, Way::Live { .. }) || member.is_still(),
    })
}
