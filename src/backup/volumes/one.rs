//! One claim, from the copy that is read in its place, if the way makes one, to the end of its mover. Whatever happens in between, pod, policy and copy are taken away.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::claims::{Claim, Read};
use super::hold::Member;
use super::unit::Slots;
use super::{Handed, MoverError, Movers};
use crate::backup::mover::ALWAYS_LEFT_OUT;
use crate::chunker::BlockSize;
use crate::config::VolumesSource;
use crate::volumes::choose::Way;
use crate::volumes::mover::evidence::Evidence;
use crate::volumes::mover::{self, Crew, Made};
use crate::volumes::pod::PodPlan;
use crate::volumes::protocol::{Dump, Job, Task};
use crate::volumes::said::{ProblemLine, Summary};
use crate::volumes::{Context, Cut, Left, Prepared, Run, RunId, VolumesError, clone, snapshot};

pub(super) type Result = std::result::Result<(Summary, Vec<ProblemLine>), MoverError>;

/// What is mounted: the claim itself, or the copy.
#[derive(Clone, Copy)]
struct Mounted<'a> {
    namespace: &'a str,
    claim: &'a str,
    copy: Option<&'a Prepared>,
    /// Who waits for it.
    member: &'a Member<'a>,
    /// All was read while that held still: what it does from then on is its own.
    sure: &'a AtomicBool,
}

/// What became of a claim.
pub(super) struct Ended {
    pub(super) result: Result,
    /// What could not be taken away afterwards.
    pub(super) left: Vec<Left>,
    /// Of a mover that came to no result.
    pub(super) evidence: Evidence,
}

/// Backs up one claim.
pub(super) async fn capture(
    movers: &Movers<'_>,
    run: &RunId,
    slots: &Slots,
    number: usize,
    claim: &Claim,
    read: &Read,
    member: &Member<'_>,
) -> Ended {
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
        Err((error, left)) => return Ended { result: Err(error), left, evidence: Evidence::default() },
    };
    let sure = &AtomicBool::new(false);
    let mounted = match &copy {
        Some(copy) => Mounted { namespace: &copy.namespace, claim: &copy.claim, copy: Some(copy), member, sure },
        None => Mounted { namespace: &claim.namespace, claim: &claim.name, copy: None, member, sure },
    };
    let mut made = Made::default();
    let reading = async {
        still?;
        let _slot = slots.one().await;
        attempt(movers, run, number, claim, read, mounted, &mut made).await
    };
    let stirs = async {
        if let Way::Live { .. } = read.choice.way {
            let error = member.stirs().await;
            if !sure.load(Ordering::SeqCst) {
                return error;
            }
        }
        std::future::pending().await
    };
    let result = tokio::select! {
        result = reading => result,
        () = movers.cancel.cancelled() => Err(MoverError::Cancelled),
        error = stirs => Err(error),
    };
    let result = match (&read.choice.way, result) {
        // A mover that did not ask, as one of an earlier program does not: what comes out is believed only then.
        (Way::Live { .. }, Ok(done)) if !sure.load(Ordering::SeqCst) => member.look().await.map(|()| done),
        (_, result) => result,
    };
    let evidence = made.take_evidence();
    let mut left = made.remove(&movers.crew()).await;
    // After its pod: what is mounted stays.
    if let Some(copy) = copy {
        left.extend(copy.release(movers.cluster, &movers.limits.ways).await.err());
    }
    Ended { result, left, evidence }
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

/// Starts the mover of a plan, which only looks whether the store is reached, and does nothing else of what it was planned for. Also what could not be taken away
/// afterwards.
pub(super) async fn reach(
    crew: &Crew<'_>,
    run: &RunId,
    plan: &PodPlan,
    handed: &Handed,
) -> (std::result::Result<(), MoverError>, Vec<Left>) {
    let name = format!("homelab-dr-{run}-0");
    let mut made = Made::default();
    let attempt = async {
        let plan = PodPlan {
            name: name.clone(),
            run: run.to_string(),
            expires: crew.expires(),
            deadline: crew.deadline(),
            silence: crew.limits.silence,
            reaches: true,
            ..plan.clone()
        };
        let task = async { Ok(Task::backup(&name, &handed.job(&name)?)?) };
        match crew.attend(&plan, &handed.reach, task, None, &mut made).await? {
            (mover::Result::Reached, _) => Ok(()),
            _ => Err(MoverError::Ended { why: "it did more than to look for the store".to_owned() }),
        }
    };
    let result = tokio::select! {
        result = attempt => result,
        () = crew.cancel.cancelled() => Err(MoverError::Cancelled),
    };
    (result, made.remove(crew).await)
}

/// Makes what is read in the claim's place, if its way does. It listens to the stop itself, and never stops without clearing up. With an error comes what is left.
async fn prepare(
    movers: &Movers<'_>,
    run: &RunId,
    read: &Read,
    cut: &Cut,
) -> std::result::Result<Option<Prepared>, (MoverError, Vec<Left>)> {
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
    let names = (name.as_str(), run.as_str(), crew.expires());
    let plan = pod_of(movers.source, read, (mounted.namespace, mounted.claim), names, movers.limits.silence);
    let task = async {
        if is_made_late(&read.choice.way) {
            // Its volume is there, or it would not have started.
            let still = mounted.member.look().await;
            mounted.member.done().await;
            still?;
        }
        Ok(Task::backup(&name, &job(movers, &name, claim, read, mounted.member)?)?)
    };
    let still = async {
        mounted.member.look().await?;
        mounted.sure.store(true, Ordering::SeqCst);
        Ok(())
    };
    match crew.attend_held(&plan, &movers.handed.reach, task, mounted.copy, still, made).await? {
        (mover::Result::Done(summary), problems) => Ok((*summary, problems)),
        _ => Err(MoverError::Ended { why: "it says that it did something else than a backup".to_owned() }),
    }
}

/// The pod of the mover that reads a claim, in a namespace and of a name there; by its own name, its run, and when it is nobody's.
pub(crate) fn pod_of(
    source: &VolumesSource,
    read: &Read,
    (namespace, claim): (&str, &str),
    (name, run, expires): (&str, &str, String),
    silence: Duration,
) -> PodPlan {
    PodPlan {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        claim: claim.to_owned(),
        run: run.to_owned(),
        expires,
        image: source.image.clone(),
        rights: read.rights.clone(),
        fills: false,
        device: read.device,
        reaches: false,
        node: read.node().map(str::to_owned),
        tolerations: read.tolerations.clone(),
        pull_secrets: read.pull_secrets.clone(),
        deadline: source.start_timeout + source.timeout,
        silence,
    }
}

/// What a mover is told of a dump.
pub(super) fn dump(source: &str, succeeded: &BTreeSet<String>) -> Dump {
    Dump { source: source.to_owned(), succeeded: succeeded.contains(source) }
}

fn job(
    movers: &Movers<'_>,
    name: &str,
    claim: &Claim,
    read: &Read,
    member: &Member<'_>,
) -> std::result::Result<Job, MoverError> {
    Ok(Job {
        source: claim.source(),
        host: read.node().map_or_else(|| movers.wanted.host.clone(), str::to_owned),
        tags: movers.wanted.tags.clone(),
        together: movers.wanted.run.clone(),
        exclude: vec![ALWAYS_LEFT_OUT.to_owned()],
        reread: movers.wanted.reread,
        blocks: movers.wanted.blocks.map(BlockSize::bytes),
        // Nobody writes to it: it is a copy, or all who had it open have ended.
        still: !matches!(read.choice.way, Way::Live { .. }) || member.is_still(),
        // A copy is of the moment at which that was looked at.
        held: matches!(read.choice.way, Way::Live { .. }) && member.is_held(),
        dumped: read.dumped_by.as_ref().map(|source| dump(source, movers.succeeded)),
        apart: read.is_apart(),
        ..movers.handed.job(name)?
    })
}
