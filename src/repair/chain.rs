//! The chain of snapshots: records that others name, or that witnesses saw, and that are gone; and its end, where a replica knows more of it.
//!
//! What was forgotten does not come back. A record that is gone counts as lost only if something here says so: another record or a witness that names it, or its
//! place in the chain, behind everything that is here (whoever forgets writes a record that stands behind what is forgotten).

use std::collections::{BTreeMap, BTreeSet};

use crate::base::id::ObjectId;
use crate::format::kind::RecordKind;
use crate::format::record::ChainRecord;
use crate::repair::{Outcome, RepairError, Work, named};
use crate::repo::snapshots::Chain;
use crate::repo::witness::Witnesses;
use crate::repo::{layout, sealed};

/// See the module. What comes back may name more that is gone: until nothing comes any more.
pub(super) async fn heal(work: &Work<'_>, outcome: &mut Outcome) -> Result<(), RepairError> {
    let repository = work.repository;
    let mut in_vain: BTreeSet<ObjectId> = BTreeSet::new();
    let behind = records_elsewhere(work).await;
    loop {
        let chain = Chain::load_to_read(repository).await?;
        let (last, forgotten) = (chain.last_sequence(), chain.forgotten());
        let mut gone: BTreeSet<ObjectId> = Witnesses::load(repository).await?.gaps(&chain).into_iter().collect();
        let unknown = |id: &ObjectId| !chain.has(id) && !forgotten.contains(id);
        gone.extend(behind.iter().filter(|(id, sequence)| **sequence > last && unknown(id)).map(|(id, _)| *id));
        gone.retain(|id| !in_vain.contains(id));
        if gone.is_empty() {
            return Ok(());
        }
        for id in gone {
            in_vain.insert(id);
            let key = layout::named(layout::SNAPSHOTS, &id);
            let Some((bytes, _)) = work.sources.whole(&key).await else { continue };
            // Anybody can plant an object; only a record of this repository opens.
            if sealed::open::<ChainRecord>(&repository.meta, RecordKind::Snapshot, &key, &bytes).is_ok() {
                named::by_name(work, &key, outcome).await?;
            }
        }
    }
}

/// The records that sources hold, with their places in the chain. Those of them that were forgotten here are of no interest, nor those that do not read.
async fn records_elsewhere(work: &Work<'_>) -> BTreeMap<ObjectId, u64> {
    let mut found = BTreeMap::new();
    for source in work.sources.list.iter().filter(|source| !source.packs_only) {
        let through = work.repository.through(source.store.clone());
        match Chain::load_to_read(&through).await {
            Ok(chain) => found.extend(chain.places()),
            Err(error) => work.sources.trouble(source, &layout::format(), &error),
        }
    }
    found
}
