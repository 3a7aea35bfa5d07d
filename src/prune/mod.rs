//! Layer 5: removing what no snapshot needs, in two phases, without ever stopping a writer. Works with the writer key alone.
//!
//! Phase one marks objects as doomed; from then on nobody builds upon them. Phase two deletes them when the mark is older than the grace *by the store's
//! clock*. Repacking is the same: a partly used pack is doomed, and whatever is needed in a doomed object is copied before.
//!
//! Why this is safe, whoever is paused where:
//! 1. A mark is never withdrawn, and every writer and pruner takes a marked object for absent, however old the mark.
//! 2. A pruner deletes only what it saw marked, and between the mark and the deletion it lists, in this order, marks, snapshots, checkpoints, index and
//!    packs, and makes sure that every needed blob has a copy in a pack that is there and unmarked.
//! 3. So a snapshot that was durable by then is safe. A later one was checked by its writer *after* it was durable, when the mark was there to be seen.
//! 4. Of two pruners that doom the two copies of a blob, the one that lists later sees both marks and copies the blob; it lists before it deletes.
//!
//! 5. Where nothing can be stored (a full disk), what was marked before is deleted all the same, but for every object that holds something needed of which
//!    no copy stays: nothing can be copied out of those, so they wait.
//!
//! What it does not do: decide which snapshots go (`forget`), repair, or check content.

mod decide;
mod error;
mod plan;
mod reach;
mod run;
mod secure;
mod view;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Clock;
use crate::repo::Repository;
use crate::repo::checkpoint::GRACE;

pub use error::PruneError;
pub use plan::{Doom, Due, PrunePlan, Waiting, Why, WhyWait};
pub use run::{Outcome, run_prune};

/// How to prune.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a mark must have stood. Writers count on [`GRACE`]: less is for repositories that nobody writes to meanwhile.
    pub grace: Duration,
    /// Most of what a pack holds that may be unused, in percent, before the rest is copied elsewhere and the pack goes.
    pub max_unused_percent: u8,
    /// Most bytes that are copied to repack partly used and small packs.
    pub repack_bytes_max: u64,
    /// Go on although there is no snapshot and everything would be removed.
    pub allow_empty: bool,
    /// Go on although packs that no snapshot needs are older than the chain of snapshots.
    pub allow_older: bool,
    /// Go on although chunks that snapshots need are missing already.
    pub allow_missing: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            grace: GRACE,
            max_unused_percent: decide::UNUSED_PERCENT,
            repack_bytes_max: u64::MAX,
            allow_empty: false,
            allow_older: false,
            allow_missing: false,
        }
    }
}

/// A plan, and what it was made from. Dropping it changes nothing.
pub struct Planned {
    /// What would be done: plain data to print or keep.
    pub plan: PrunePlan,
    settings: Settings,
    view: view::View,
}

/// What `forget` let go of is younger than the chain, and so is what an interrupted run left, give or take a grace. Packs that are older and needed by
/// nobody were needed once, by records that somebody removed together with all tombstones: the next backup began a new chain, and a prune would
/// finish what the thief began.
fn older_than_chain(view: &view::View, plan: &PrunePlan) -> Option<PruneError> {
    let begun = view.chain.begun()?;
    let before = begun.before(GRACE);
    let unneeded = plan.doom.iter().filter(|doom| doom.bytes_needed == 0);
    let marked = plan.delete.iter().map(|due| &due.object);
    let gone: HashSet<&String> = unneeded.map(|doom| &doom.object).chain(marked).collect();
    let older =
        view.presence.packs.values().filter(|pack| pack.modified < before && gone.contains(&pack.key.to_string()));
    let (mut packs, mut bytes) = (0, 0);
    for pack in older {
        packs += 1;
        bytes += pack.size;
    }
    (packs > 0).then_some(PruneError::OlderThanChain { packs, bytes, begun })
}

/// Looks at everything and plans. Nothing is changed but a probe, put and removed at once, that asks the store for its time.
pub async fn plan_prune(
    repository: &Arc<Repository>,
    settings: Settings,
    clock: &Arc<dyn Clock>,
) -> Result<Planned, PruneError> {
    repository.refuse_if_unfinished()?;
    let view = view::View::load(repository, &settings, clock, usize::MAX).await?;
    let mut plan = decide::decide(&repository.store.address(), &view, &settings);
    if let Some(refusal) = older_than_chain(&view, &plan).filter(|_| !settings.allow_older) {
        return Err(refusal);
    }
    plan::sort_out_locked(repository, &mut plan, view.now).await?;
    Ok(Planned { plan, settings, view })
}
