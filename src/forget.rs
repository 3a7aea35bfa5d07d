//! Layer 5: forgetting snapshots. Which ones is `retention`'s to say; what they needed is `prune`'s to remove.
//!
//! A tombstone that names them is durable before the first goes, so that a gap in the chain always means that somebody else removed something.

use std::sync::Arc;

use serde::Serialize;

use crate::base::clock::{Clock, Time};
use crate::base::id::ObjectId;
use crate::repo::snapshots::Chain;
use crate::repo::{RepoError, Repository, layout, tombstone, witness};
use crate::retention::Decision;
use crate::store::StoreError;

/// What a forget did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Forgotten {
    /// Every snapshot that was decided about, with the reasons to keep it.
    pub decisions: Vec<Decision>,
    /// Snapshots whose records are gone.
    pub removed: Vec<ObjectId>,
    /// Snapshots that are forgotten and whose records a lock keeps.
    pub locked: Vec<Locked>,
    /// The tombstone that was written, if there was anything to forget.
    pub tombstone: Option<ObjectId>,
}

/// A record that cannot be removed yet.
#[derive(Debug, Clone, Serialize)]
pub struct Locked {
    /// The record.
    pub id: ObjectId,
    /// Until when, if the store says.
    pub until: Option<Time>,
}

/// Forgets what the decisions do not keep. What an earlier run was killed over is finished.
pub async fn run_forget(
    repository: &Arc<Repository>,
    decisions: Vec<Decision>,
    host: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Forgotten, RepoError> {
    repository.refuse_if_unfinished()?;
    let chain = Chain::load(repository).await?;
    let known = chain.forgotten();
    let there = |id: &ObjectId| chain.snapshots.iter().any(|snapshot| snapshot.id == *id);
    let decided = decisions.iter().filter(|decision| !decision.is_kept()).map(|decision| decision.id);
    let new: Vec<ObjectId> = decided.filter(|id| there(id) && !known.contains(id)).collect();
    let mut outcome = Forgotten { decisions, ..Forgotten::default() };
    let mut superseded: Vec<ObjectId> = chain.tombstones.keys().copied().filter(|id| known.contains(id)).collect();
    if !new.is_empty() {
        outcome.tombstone = Some(tombstone::put(repository, &chain, &new, host, clock.now()).await?);
        // It names every tombstone that was there and all that they forgot.
        superseded = chain.tombstones.keys().copied().collect();
    }
    let unfinished = chain.leaving.iter().map(|snapshot| snapshot.id).chain(chain.leaving_unreadable.iter().copied());
    for id in unfinished.chain(new.iter().copied()) {
        match remove(repository, &id).await? {
            None => outcome.removed.push(id),
            Some(until) => outcome.locked.push(Locked { id, until }),
        }
    }
    for id in superseded {
        remove(repository, &id).await?; // a locked one goes another time
    }
    Ok(outcome)
}

/// Takes note that records of the chain are gone for good or cannot be read, and that their owner knows it: a tombstone that names them closes the gap, and
/// what is left of an unreadable one is removed. Ids that are neither are passed over. What the lost snapshots needed is `prune`'s to remove from then on.
pub async fn acknowledge_lost(
    repository: &Arc<Repository>,
    ids: &[ObjectId],
    host: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Forgotten, RepoError> {
    let chain = Chain::load(repository).await?;
    let unreadable = |id: &ObjectId| chain.unreadable.iter().any(|(unreadable, _)| unreadable == id);
    let gaps = witness::gaps(repository, &chain).await?;
    let lost: Vec<ObjectId> = ids.iter().copied().filter(|id| unreadable(id) || gaps.contains(id)).collect();
    let mut outcome = Forgotten::default();
    if lost.is_empty() {
        return Ok(outcome);
    }
    outcome.tombstone = Some(tombstone::put(repository, &chain, &lost, host, clock.now()).await?);
    for id in lost {
        match remove(repository, &id).await? {
            None => outcome.removed.push(id),
            Some(until) => outcome.locked.push(Locked { id, until }),
        }
    }
    Ok(outcome)
}

/// Removes a record; the inner value is until when a lock keeps it.
async fn remove(repository: &Repository, id: &ObjectId) -> Result<Option<Option<Time>>, RepoError> {
    match repository.store.delete(&layout::named(layout::SNAPSHOTS, id)).await {
        Ok(()) => Ok(None),
        Err(StoreError::Locked { until, .. }) => Ok(Some(until)),
        Err(error) => Err(error.into()),
    }
}
