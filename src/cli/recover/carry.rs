//! Carrying a run out while its target is kept: the lease is renewed, and so is what holds still.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;

use async_trait::async_trait;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::cli::context::{Context, host};
use crate::cli::failure::Failure;
use crate::cli::output::Talk;
use crate::cli::recover::person::account;
use crate::cluster::Cluster;
use crate::runbook::{Action, Step};
use crate::runs::drive::{Driver, Hands, Left, Undone};
use crate::runs::event::Event;
use crate::runs::folders::Folders;
use crate::runs::hands::{Target, World};
use crate::runs::journal::JournalError;
use crate::runs::lease::{self, Lease, ThisMachine};

/// Has the cluster for this; says so if it has to wait for that.
async fn take<'a>(cluster: &'a dyn Cluster, what: &str, context: &Context) -> Result<Lease<'a>, Failure> {
    let talk = context.talk.clone();
    let waits = |holder: &str| talk.put(&format!("waiting up to half a minute to see whether {holder} lives"));
    let machine = host();
    tokio::select! {
        lease = Lease::take(cluster, (what, &machine), &*context.clock, &waits) => Ok(lease?),
        () = context.cancel.cancelled() => Err(Failure::Interrupted),
    }
}

/// Gives the cluster free.
async fn end(lease: Option<Lease<'_>>, context: &Context) {
    if let Some(lease) = lease
        && let Err(why) = lease.end().await
    {
        context.talk.warn(&format!("the cluster is not given free, and will be in half a minute: {why}"));
    }
}

/// What a run has to itself: its cluster, or, where there is none that lives, this machine.
pub(crate) struct Had<'a> {
    pub(crate) lease: Option<Lease<'a>>,
    _machine: Option<ThisMachine>,
}

impl<'a> Had<'a> {
    /// Has it for `what`, such as `run 5f0c1d2e`. It is to be ended on every way out: a Lease that is only dropped keeps others waiting.
    pub(crate) async fn take(
        target: &'a Target,
        what: &str,
        journals: &Path,
        context: &Context,
    ) -> Result<Self, Failure> {
        Ok(match target.cluster().filter(|cluster| cluster.lives()) {
            Some(cluster) => Self { lease: Some(take(cluster, what, context).await?), _machine: None },
            None => Self { lease: None, _machine: Some(lease::machine(journals)?) },
        })
    }

    /// Gives it free.
    pub(crate) async fn end(self, context: &Context) {
        end(self.lease, context).await;
    }
}

/// What a journal has first, each time that a process takes the run up: who, and which key opened the repository.
pub(crate) fn first_events(world: &World<'_>) -> Vec<Event> {
    let taken_up = Event::TakenUp { host: host(), by: account(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let opened = world.opened_by().map(|recipient| Event::Opened { recipient });
    std::iter::once(taken_up).chain(opened).collect()
}

/// Does something with a cluster, which nobody else recovers meanwhile. Another who takes it over ends it. In a folder nothing lives that could be asked.
pub(crate) async fn keeping<T>(
    (cluster, what): (&dyn Cluster, &str),
    context: &Context,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    if !cluster.lives() {
        return Ok(work.await);
    }
    let lease = take(cluster, what, context).await?;
    tokio::pin!(work);
    let done = tokio::select! {
        done = &mut work => done,
        other = lease.keep(&*context.clock) => {
            lost(&other, (&context.talk, &context.cancel));
            work.await
        }
    };
    end(Some(lease), context).await;
    Ok(done)
}

/// Has a folder to itself, made if it is not there, until what is returned is dropped.
pub(crate) fn folder(target: &Path, context: &Context) -> Result<Folders, Failure> {
    let folders = Folders::default();
    if let Some(warning) = folders.make(target)? {
        context.talk.warn(&warning);
    }
    Ok(folders)
}

fn lost(to: &str, (talk, cancel): (&Talk, &Cancel)) {
    talk.warn(&format!("the cluster was taken over by {to}: this run stops"));
    cancel.cancel();
}

/// The hands of a run whose cluster somebody else may take.
struct Watching<'a> {
    hands: &'a dyn Hands,
    lease: Option<&'a Lease<'a>>,
    clock: &'a dyn Clock,
    talk: &'a Talk,
    cancel: &'a Cancel,
    taken_by: RefCell<Option<String>>,
}

impl Watching<'_> {
    fn lost(&self, to: String) {
        if self.taken_by.borrow().is_some() {
            return;
        }
        lost(&to, (self.talk, self.cancel));
        self.taken_by.replace(Some(to));
    }
}

#[async_trait(?Send)]
impl Hands for Watching<'_> {
    async fn act(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        if let (Some(lease), Action::RestoreDatastore { .. }) = (self.lease, &step.action) {
            lease.sets_back();
        }
        self.hands.act(step, cancel).await
    }

    async fn verify(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        self.hands.verify(step, cancel).await
    }

    fn seen(&self, step: &Step) -> Option<String> {
        self.hands.seen(step)
    }

    fn checked(&self, step: &Step) -> Vec<Event> {
        self.hands.checked(step)
    }

    async fn let_go(&self, step: &Step) -> (Vec<String>, bool) {
        self.hands.let_go(step).await
    }

    async fn look(&self) {
        let Some(lease) = self.lease else { return };
        if let Some(other) = lease.lost_to(self.clock).await {
            self.lost(other);
        }
    }

    fn taken_by(&self) -> Option<String> {
        self.taken_by.borrow().clone()
    }
}

/// Drives a run to where it is left. Another who takes the cluster over ends it.
pub(crate) async fn drive(
    driver: Driver<'_>,
    (lease, world): (Option<&Lease<'_>>, &World<'_>),
    clock: &dyn Clock,
    (talk, cancel): (&Talk, &Cancel),
) -> Result<Left, JournalError> {
    let is_of_before = |step: &&Step| world.begun_before.contains(&step.id);
    let mut begun = driver.steps.iter().filter(is_of_before);
    if let (Some(lease), true) = (lease, begun.any(|step| matches!(step.action, Action::RestoreDatastore { .. }))) {
        lease.sets_back();
    }
    let watching = Watching { hands: driver.hands, lease, clock, talk, cancel, taken_by: RefCell::default() };
    let Driver { steps, machine, log, person, cancel, .. } = driver;
    let driver = Driver { steps, machine, log, hands: &watching, person, cancel };
    let kept = async {
        match lease {
            Some(lease) => lease.keep(clock).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(kept);
    let all = driver.run();
    tokio::pin!(all);
    tokio::select! {
        left = &mut all => left,
        never = world.keep() => match never {},
        other = &mut kept => {
            watching.lost(other);
            all.await
        }
    }
}
