//! One claim, from the copy that is read in its place, if the way makes one, to the end of its mover. Whatever happens in between, pod, policy and copy are taken away.

use super::claims::{Claim, Read};
use super::{MoverError, Movers};
use crate::crypto::secret::random;
use crate::volumes::choose::Way;
use crate::volumes::mover::{self, Made};
use crate::volumes::pod::PodPlan;
use crate::volumes::protocol::{Credential, Job, Task};
use crate::volumes::said::{ProblemLine, Summary};
use crate::volumes::{Context, Left, Prepared, Run, RunId, VolumesError, clone, snapshot};

/// What every volume has that is no data: the place of what `fsck` finds, which only root may read.
const ALWAYS_LEFT_OUT: &str = "/lost+found/";

pub(super) type Result = std::result::Result<(Summary, Vec<ProblemLine>), MoverError>;

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
    let mut left = made.remove(&movers.crew()).await;
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
    let (name, crew) = (format!("homelab-dr-{run}-{number}"), movers.crew());
    let plan = PodPlan {
        name: name.clone(),
        namespace: mounted.namespace.to_owned(),
        claim: mounted.claim.to_owned(),
        run: run.to_string(),
        expires: crew.expires(),
        image: movers.source.image.clone(),
        rights: read.rights.clone(),
        fills: false,
        node: read.node().map(str::to_owned),
        tolerations: read.tolerations.clone(),
        pull_secrets: read.pull_secrets.clone(),
        deadline: crew.deadline(),
        silence: movers.limits.silence,
    };
    let task = Task::backup(&name, &job(movers, &name, claim, read)?)?;
    match crew.attend(&plan, &movers.handed.reach, &task, mounted.copy, made).await? {
        (mover::Result::Done(summary), problems) => Ok((*summary, problems)),
        (mover::Result::Restored(_), _) => Err(MoverError::Ended { why: "it says that it restored".to_owned() }),
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
