//! Applications that hold still for the claims of theirs that are read: held once for all claims of one workload, let go when the last of them needs it no more (a
//! snapshot is cut, a clone has its volume, a live read is over), and let go whatever happens.
//!
//! ```text
//! look (which hook) ─ resolve (what it would hold, who is held together) ─ plan anew ─ journal ─ hold ─┬─ member: cut, or read ─ done ─┬─ the last: release
//!                                                                                                  └─ keep (journal), watch ────────┘
//! ```

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::claims::{Claim, Fate};
use super::hooks::Wanted;
use super::{MoverError, Movers, keepers};
use crate::base::cancel::Cancel;
use crate::base::causes::in_one_line;
use crate::cluster::Cluster;
use crate::config::HookWay;
use crate::hooks::hold::{Released, Target};
use crate::hooks::journal::{Journal, RENEW};
use crate::hooks::plan::{For, Plan, Seen, plan};
use crate::hooks::release::{Report, release};
use crate::hooks::{Acting, HookError, Waits};

/// The first wait before something is released again that could not be; each is twice as long as the one before.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a server that answers is asked again to release something: what it does not do then, it does not do soon.
const TRIES_MAX: u32 = 3;

/// What would be held for a claim, as it was seen when the claims were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// `scaled to zero`, `command`, `handshake`.
    pub how: &'static str,
    /// The workloads, pods or claims that hold still, and who is paused for that; none if nobody uses the claim anyway.
    pub what: Vec<String>,
    /// Nobody runs that could be held; whether somebody does when it is read, is seen then.
    pub(crate) idle: bool,
    /// The objects that are changed.
    pub(crate) targets: Vec<Target>,
    /// What a person should know before, such as that a label says that Flux looks after a workload.
    pub(crate) notes: Vec<String>,
    /// Who keeps the workloads as they are in Git, and is paused as well.
    pub(crate) paused: Vec<String>,
    /// Claims of the same number are held together.
    pub(super) group: usize,
}

/// How a claim was held.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldFor {
    /// `scaled to zero`, `command`, `handshake`.
    pub how: &'static str,
    /// The workloads, pods or claims that held still, and who was paused for that; none if nobody used the claim anyway.
    pub what: Vec<String>,
    /// From the first thing that was done to it until all was released.
    pub took: Duration,
}

struct One {
    at: usize,
    namespace: String,
    wanted: Wanted,
    plan: Plan,
    pods: BTreeSet<String>,
    paused: Vec<String>,
}

/// What a hook would do, with who keeps the workloads as they are in Git.
async fn planned(
    cluster: &dyn Cluster,
    seen: &Seen,
    wanted: &Wanted,
    limit: Duration,
    of: For<'_>,
) -> Result<(Plan, Vec<String>), HookError> {
    let mut plan = plan(cluster, seen, &wanted.way, limit, of).await?;
    let paused = keepers::join(cluster, &mut plan).await?;
    Ok((plan, paused))
}

/// Finds out what the hooks of some claims would hold, and which claims are held together. Refuses those whose hook would not work.
pub(crate) async fn resolve(cluster: &dyn Cluster, claims: &mut [Claim]) -> Result<(), HookError> {
    let hooked = |claim: &Claim| matches!(&claim.fate, Fate::Read(read) if read.hook.is_some());
    if !claims.iter().any(hooked) {
        return Ok(());
    }
    let seen = Seen::read(cluster).await?;
    let mut all: Vec<One> = Vec::new();
    for (at, claim) in claims.iter_mut().enumerate() {
        let Fate::Read(read) = &mut claim.fate else { continue };
        let Some(wanted) = read.hook.clone() else { continue };
        let of = For { namespace: &claim.namespace, claims: std::slice::from_ref(&claim.name), run: "" };
        match planned(cluster, &seen, &wanted, wanted.limit, of).await {
            Ok((plan, paused)) => {
                read.choice.cautions.extend(plan.notes().iter().cloned());
                let pods = plan.pods();
                all.push(One { at, namespace: claim.namespace.clone(), wanted, plan, pods, paused });
            }
            Err(error) => {
                let mend = "see docs/hooks.md: another hook, or homelab-dr.io/hook: none for no hook".to_owned();
                claim.fate = Fate::Refused { why: in_one_line(&error), mend };
            }
        }
    }
    for (at, group) in grouped(&all).into_iter().enumerate() {
        let Some(one) = all.get(at) else { continue };
        let Some(claim) = claims.get_mut(one.at) else { continue };
        match (group, &mut claim.fate) {
            (Some(group), Fate::Read(read)) => {
                let targets = one.plan.targets().into_iter().cloned().collect();
                let (how, notes, idle) = (one.plan.how(), one.plan.notes().to_vec(), one.plan.is_idle());
                let (what, paused) = ([one.plan.what(), one.paused.clone()].concat(), one.paused.clone());
                read.held = Some(Foreseen { how, what, idle, targets, notes, paused, group });
            }
            (None, fate) => {
                let why = format!(
                    "another claim has {} scaled to zero, where nothing else can hold",
                    one.plan.what().join(", ")
                );
                *fate = Fate::Refused { why, mend: "give all claims of one workload the same hook".to_owned() };
            }
            _ => {}
        }
    }
    Ok(())
}

/// For each its group; `None` for what would be asked of pods that are at zero for another claim.
fn grouped(all: &[One]) -> Vec<Option<usize>> {
    let meets = |a: &One, b: &One| a.namespace == b.namespace && !a.pods.is_disjoint(&b.pods);
    // Where no pod runs now nobody knows whose pods will when it is read: the same command once too long is better than let go while another claim is read.
    let may_meet = |a: &One, b: &One| a.namespace == b.namespace && (a.plan.is_idle() || b.plan.is_idle());
    let mut groups: Vec<Option<usize>> = (0..all.len()).map(Some).collect();
    for (at, one) in all.iter().enumerate() {
        for (before, other) in all.iter().enumerate().take(at) {
            if one.wanted.way != other.wanted.way || one.wanted.way == HookWay::Handshake {
                continue;
            }
            if !meets(one, other) && !may_meet(one, other) {
                continue;
            }
            // Two groups become one, also where each has several already.
            let (Some(&keep), Some(&gone)) = (groups.get(before), groups.get(at)) else { continue };
            groups.iter_mut().filter(|group| **group == gone).for_each(|group| *group = keep);
        }
    }
    let stops = |one: &One| one.plan.is_still();
    let clash = |one: &One| !stops(one) && all.iter().any(|other| stops(other) && meets(one, other));
    all.iter().zip(groups).map(|(one, group)| group.filter(|_| !clash(one))).collect()
}

/// Claims that are dealt with together: one that nothing is held for, or all that hold still together. With their places in the list.
pub(super) type Unit = Vec<(usize, Claim)>;

/// All claims in units.
pub(super) fn units(claims: Vec<Claim>) -> Vec<Unit> {
    let mut units: Vec<(Option<usize>, Unit)> = Vec::new();
    for (number, claim) in claims.into_iter().enumerate() {
        let group = match &claim.fate {
            Fate::Read(read) => read.held.as_ref().map(|held| held.group),
            _ => None,
        };
        match units.iter_mut().find(|(known, _)| group.is_some() && *known == group) {
            Some((_, unit)) => unit.push((number, claim)),
            None => units.push((group, vec![(number, claim)])),
        }
    }
    units.into_iter().map(|(_, unit)| unit).collect()
}

pub(super) fn acting<'a>(movers: &'a Movers<'_>, limit: Duration) -> Acting<'a> {
    let waits = Waits { empty: limit, handshake: limit, ..Waits::default() };
    Acting { cluster: movers.cluster, exec: movers.exec, clock: &*movers.clock, waits, cancel: &movers.cancel }
}

/// Flux and ArgoCD are paused for one unit at a time: two may be kept by the same, which goes on when the first of them is done.
pub(super) type Turn = tokio::sync::OwnedMutexGuard<()>;

/// Whether somebody is to be paused for a claim.
pub(super) fn pauses(claim: &Claim) -> bool {
    matches!(&claim.fate, Fate::Read(read) if read.held.as_ref().is_some_and(|held| !held.paused.is_empty()))
}

/// What hold still, for as long as its members need it.
pub(super) struct Held<'a> {
    movers: &'a Movers<'a>,
    plan: Plan,
    paused: Vec<String>,
    limit: Duration,
    journal: tokio::sync::Mutex<Journal>,
    begun: Instant,
    /// Members that still need it.
    needed: AtomicUsize,
    /// Whose turn it is to have Flux and ArgoCD paused; given on when they go on.
    turn: Mutex<Option<Turn>>,
    /// Nothing is held any more, or nothing more can be done about it.
    over: Cancel,
    ended: Mutex<Ended>,
}

/// How it came to its end.
#[derive(Debug, Clone, Default)]
pub(super) struct Ended {
    pub(super) took: Duration,
    /// What is still held, and why.
    pub(super) still_held: Vec<String>,
    /// What is released but not as it was.
    pub(super) except: Vec<String>,
}

impl<'a> Held<'a> {
    /// Makes the application of these claims hold still; `id` is one of its own in the cluster. `None` if there is nobody to hold. After an error nothing is held, or it is
    /// said what is.
    pub(super) async fn begin(
        movers: &'a Movers<'a>,
        id: &str,
        unit: &[(usize, Claim)],
        turn: Option<Turn>,
    ) -> Result<Option<Self>, (HookError, Ended)> {
        let hooks = unit.iter().filter_map(|(_, claim)| match &claim.fate {
            Fate::Read(read) => read.held.as_ref().and(read.hook.as_ref()),
            _ => None,
        });
        let hooks: Vec<&Wanted> = hooks.collect();
        let Some((first, (_, claim))) = hooks.first().zip(unit.first()) else { return Ok(None) };
        let limit = hooks.iter().map(|hook| hook.limit).max().unwrap_or(first.limit);
        let acting = acting(movers, limit);
        let names: Vec<String> = unit.iter().map(|(_, claim)| claim.name.clone()).collect();
        let asked = async {
            // By what is there now: it may have waited for others for hours.
            let seen = Seen::read(movers.cluster).await?;
            let of = For { namespace: &claim.namespace, claims: &names, run: id };
            let (plan, paused) = planned(movers.cluster, &seen, first, limit, of).await?;
            if let (false, None) = (paused.is_empty(), &turn) {
                let why = format!("{} keeps it as it is in Git by now; run it again", paused.join(", "));
                return Err(HookError::Changed { what: plan.what().join(", "), why });
            }
            Ok((plan, paused))
        };
        let (plan, paused) = asked.await.map_err(|error| (error, Ended::default()))?;
        if plan.is_idle() {
            return Ok(None);
        }
        let namespace = movers.source.namespace.as_deref().unwrap_or_default();
        let mut journal = Journal::new(namespace, id, &movers.wanted.host, movers.clock.now());
        let begun = Instant::now();
        let result = plan.begin(&acting, &mut journal).await;
        let held = Self {
            movers,
            plan,
            paused,
            limit,
            journal: tokio::sync::Mutex::new(journal),
            begun,
            needed: AtomicUsize::new(unit.len()),
            turn: Mutex::new(turn),
            over: Cancel::default(),
            ended: Mutex::default(),
        };
        match result {
            Ok(()) => Ok(Some(held)),
            Err(error) => {
                held.release().await;
                let ended = held.ended();
                Err((error, ended))
            }
        }
    }

    /// How it ended; only when it is over.
    pub(super) fn ended(&self) -> Ended {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For the record.
    pub(super) fn record(&self) -> HeldFor {
        HeldFor {
            how: self.plan.how(),
            what: [self.plan.what(), self.paused.clone()].concat(),
            took: self.ended().took,
        }
    }

    /// Whether no process has the claims open.
    pub(super) const fn is_still(&self) -> bool {
        self.plan.is_still()
    }

    /// Says again and again that this run is alive, so that nobody else releases it. Never returns.
    pub(super) async fn keep(&self) {
        loop {
            tokio::select! {
                () = sleep(RENEW) => {}
                () = self.over.cancelled() => std::future::pending().await,
            }
            let mut journal = self.journal.lock().await;
            let _ = journal.renew(self.movers.cluster, self.movers.clock.now()).await;
        }
    }

    /// Whether it still holds still, as far as can be seen.
    async fn look(&self) -> Result<(), HookError> {
        let journal = self.journal.lock().await.clone();
        self.plan.look(&acting(self.movers, self.limit), &journal).await
    }

    /// The same; a server that does not answer says nothing about it and is asked again, for as long as a mover waits to hear of it.
    async fn surely(&self) -> Result<(), HookError> {
        let (asking, mut wait) = (Instant::now(), WAIT_FIRST);
        loop {
            match self.look().await {
                Err(HookError::Cluster { source, .. })
                    if source.is_of_the_cluster() && asking.elapsed() < self.movers.limits.silence => {}
                looked => return looked,
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.movers.cancel.cancelled() => return Err(HookError::Cancelled),
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Returns when it does not any more. A server that does not answer says nothing about it.
    pub(super) async fn stirs(&self) -> HookError {
        loop {
            sleep(self.movers.limits.still).await;
            match self.look().await {
                Ok(()) | Err(HookError::Cluster { .. }) => {}
                Err(error) => return error,
            }
        }
    }

    /// Lets it go, also when everything else was stopped. As long as the server is away it is tried again.
    async fn release(&self) {
        let movers = self.movers;
        let acting = acting(movers, self.limit);
        let (trying, mut wait, mut answered) = (Instant::now(), WAIT_FIRST, 0);
        let mut journal = self.journal.lock().await;
        let mut ended = Ended::default();
        loop {
            let report = release(&acting, &mut journal).await;
            note(&mut ended, &report);
            let stopped = movers.cancel.is_cancelled() || trying.elapsed() >= movers.limits.away;
            if ended.still_held.is_empty() || stopped {
                break;
            }
            answered += u32::from(movers.cluster.version().await.is_ok());
            if answered >= TRIES_MAX {
                break;
            }
            sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        ended.took = self.begun.elapsed();
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = ended;
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.over.cancel();
    }
}

fn note(ended: &mut Ended, report: &Report) {
    ended.still_held.clear();
    for row in &report.rows {
        match &row.outcome {
            Released::Failed { why } => ended.still_held.push(format!("{}: {why}", row.what)),
            Released::Except { why } => ended.except.push(format!("{}: {}", row.what, why.join("; "))),
            Released::Done | Released::NotHeld | Released::Gone => {}
        }
    }
    if let Some(why) = report.journal.as_ref().filter(|_| ended.still_held.is_empty()) {
        ended.still_held.push(format!("nothing but the journal of run {}: {why}", report.run));
    }
}

/// A claim that needs something to be held.
pub(super) struct Member<'a> {
    held: Option<&'a Held<'a>>,
    done: AtomicBool,
}

impl<'a> Member<'a> {
    pub(super) const fn of(held: Option<&'a Held<'a>>) -> Self {
        Self { held, done: AtomicBool::new(false) }
    }

    /// Whether what it reads is read while no process has it open.
    pub(super) fn is_still(&self) -> bool {
        self.held.is_some_and(Held::is_still)
    }

    /// Whether anything is held for it.
    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// It needs it no more; the last one lets it go. Once is enough.
    pub(super) async fn done(&self) {
        let Some(held) = self.held else { return };
        if !self.done.swap(true, Ordering::SeqCst) && held.needed.fetch_sub(1, Ordering::SeqCst) == 1 {
            held.release().await;
        }
    }

    /// An error if it does not hold still any more.
    pub(super) async fn look(&self) -> Result<(), MoverError> {
        match self.held {
            None => Ok(()),
            Some(held) => held.surely().await.map_err(|error| MoverError::Stirred(error.into())),
        }
    }

    /// Returns when it does not hold still any more.
    pub(super) async fn stirs(&self) -> MoverError {
        match self.held {
            None => std::future::pending().await,
            Some(held) => MoverError::Stirred(held.stirs().await.into()),
        }
    }
}
