//! Carrying a run out while its target is kept: the lease is renewed, and so is what holds still.

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::cli::context::{Context, host};
use crate::cli::failure::Failure;
use crate::cli::output::Talk;
use crate::cluster::Cluster;
use crate::runs::drive::{Driver, Left};
use crate::runs::hands::World;
use crate::runs::journal::JournalError;
use crate::runs::lease::Lease;
use crate::runs::plan::RunPlan;

/// Has the cluster for this run; says so if it has to wait for that.
pub(crate) async fn take<'a>(
    cluster: &'a dyn Cluster,
    plan: &RunPlan,
    context: &Context,
) -> Result<Lease<'a>, Failure> {
    let talk = context.talk.clone();
    let waits = |holder: &str| talk.put(&format!("waiting up to half a minute to see whether {holder} lives"));
    let machine = host();
    tokio::select! {
        lease = Lease::take(cluster, (&plan.run, &machine), &*context.clock, &waits) => Ok(lease?),
        () = context.cancel.cancelled() => Err(Failure::Interrupted),
    }
}

/// Gives the cluster free.
pub(crate) async fn end(lease: Option<Lease<'_>>, context: &Context) {
    if let Some(lease) = lease
        && let Err(why) = lease.end().await
    {
        context.talk.warn(&format!("the cluster is not given free, and will be in half a minute: {why}"));
    }
}

/// Drives a run to where it is left. Another who takes the cluster over ends it.
pub(crate) async fn drive(
    driver: Driver<'_>,
    (lease, world): (Option<&Lease<'_>>, &World<'_>),
    clock: &dyn Clock,
    (talk, cancel): (&Talk, &Cancel),
) -> Result<Left, JournalError> {
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
            talk.warn(&format!("the cluster was taken over by {other}: this run stops"));
            cancel.cancel();
            all.await
        }
    }
}
