//! Tombstones: what says that a record of the chain was forgotten on purpose. Durable before the record goes.

use std::collections::BTreeSet;

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::format::record::{ChainRecord, Tombstone};
use crate::repo::error::RepoError;
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::repo::snapshots::{self, Chain};
use crate::repo::upload::retain_until;
use crate::repo::witness::Witnesses;

impl Chain {
    /// Every record that a tombstone says was forgotten; one of them may still be there, where a lock keeps it.
    #[must_use]
    pub fn forgotten(&self) -> BTreeSet<ObjectId> {
        self.tombstones.values().flat_map(|tombstone| tombstone.forgotten.iter().copied()).collect()
    }
}

/// Writes a tombstone for `ids` and for everything forgotten earlier that is still named, there or witnessed; it covers the tombstones that `chain` has, which may go then.
pub async fn put(
    repository: &Repository,
    chain: &Chain,
    ids: &[ObjectId],
    host: &str,
    now: Time,
) -> Result<ObjectId, RepoError> {
    let named = chain.named();
    let there = |id: &ObjectId| {
        chain.leaving.iter().any(|snapshot| snapshot.id == *id) || chain.leaving_unreadable.contains(id)
    };
    let mut forgotten = chain.forgotten();
    // What nobody names and is not there needs no explanation any more, unless a witness remembers it.
    let witnesses = Witnesses::load(repository).await?.all_shown()?;
    forgotten.retain(|id| named.contains(id) || there(id) || witnesses.seen.contains(id));
    forgotten.extend(ids);
    forgotten.extend(chain.tombstones.keys());
    let record = Tombstone {
        link: chain.next_link(),
        created: now,
        forgotten: forgotten.into_iter().collect(),
        host: host.to_owned(),
    };
    let record = ChainRecord::Tombstone(record);
    Ok(snapshots::put(repository, &record, retain_until(repository, now)).await?.0)
}

/// Takes back a snapshot that was stored and turned out to rest on data that is gone. It was never reported.
pub(crate) async fn retract(repository: &Repository, id: ObjectId, host: &str, now: Time) -> Result<(), RepoError> {
    let chain = Chain::load(repository).await?;
    put(repository, &chain, &[id], host, now).await?;
    repository.store.delete(&layout::named(layout::SNAPSHOTS, &id)).await?;
    Ok(())
}
