//! Doing what was planned: new groups first, then what they take the place of goes.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::base::clock::Clock;
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::parity::make::{Cost, Made, make, passes};
use crate::parity::{Planned, Trouble};
use crate::repo::blame::Blame;
use crate::repo::lock::{self, Extended};
use crate::repo::upload::retain_until;
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Key, StoreError};

/// What a run did, and what is covered now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Outcome {
    /// Packs that are covered now.
    pub covered: u64,
    /// Groups of them.
    pub groups: u64,
    /// Bytes of all parity objects of these groups.
    pub parity_bytes: u64,
    /// Groups that were made.
    pub made: u64,
    /// Parity objects that were stored.
    pub objects_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Packs that were read for it; one that was read twice counts twice.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Parity objects that were removed.
    pub removed: Vec<String>,
    /// Parity objects that go as soon as an object lock lets them.
    pub locked: Vec<String>,
    /// Packs whose bytes are not those of their names: their groups were not made.
    pub damaged: Vec<Trouble>,
    /// Groups that were not made since packs of them were pruned meanwhile: the next run makes others.
    pub vanished: u64,
    /// Locks of the parity that stays.
    pub locks: Extended,
}

/// Runs a plan. Cut off anywhere it leaves nothing wrong, and the next one goes on.
pub async fn run_parity(
    repository: &Arc<Repository>,
    planned: Planned,
    clock: &Arc<dyn Clock>,
    progress: &Progress,
) -> Result<Outcome, RepoError> {
    let Planned { settings, decided, .. } = planned;
    let mut outcome = Outcome { groups: decided.groups, parity_bytes: decided.keep_bytes, ..Outcome::default() };
    let (mut covered, mut keep) = (decided.covered, decided.keep);
    let blame = Blame::default();
    let mut cost = Cost::default();
    progress.begin("making parity", "pack");
    let (mut reads, mut bytes) = (0, 0);
    for group in &decided.make {
        let passes = passes(group, settings.pass_bytes);
        reads += passes * group.members.len() as u64;
        bytes += passes * group.members.iter().map(|member| u64::from(member.length)).sum::<u64>();
    }
    progress.expect(reads, bytes, false);
    for group in &decided.make {
        let retain = retain_until(repository, clock.now());
        match make(repository, group, settings.pass_bytes, retain, &blame, &mut cost, progress).await? {
            Made::Stored { mut objects, written, new } => {
                outcome.made += 1;
                outcome.groups += 1;
                outcome.parity_bytes += u64::from(group.parity) * group.object_bytes();
                outcome.objects_written += new;
                outcome.bytes_written += written;
                covered.extend(group.members.iter().map(|member| member.pack));
                keep.append(&mut objects);
            }
            Made::Vanished => outcome.vanished += 1,
            Made::Damaged { pack, why } => {
                outcome.damaged.push(Trouble { object: layout::pack(&pack).to_string(), what: why });
            }
        }
    }
    (outcome.packs_read, outcome.bytes_read) = (cost.reads, cost.bytes);
    outcome.covered = covered.len() as u64;
    let stay: BTreeSet<&Key> = keep.iter().collect();
    // Without parity on purpose nothing has to be covered otherwise.
    let is_covered = |pack: &ObjectId| settings.share == 0 || covered.contains(pack);
    let replaced = decided.obsolete.iter().filter(|obsolete| obsolete.packs.iter().all(is_covered));
    let mut going: BTreeSet<&Key> = replaced.flat_map(|obsolete| &obsolete.objects).collect();
    // Nobody knows which packs a rotten one is of.
    let all_well =
        decided.lost.is_empty() && outcome.damaged.is_empty() && outcome.vanished == 0 && decided.unclear == 0;
    if all_well {
        going.extend(&decided.rotten);
    }
    for key in going.difference(&stay) {
        match repository.store.delete(key).await {
            Ok(()) => outcome.removed.push(key.to_string()),
            Err(StoreError::Locked { .. }) => outcome.locked.push(key.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    outcome.locks = lock::extend(repository, keep, clock.now()).await?;
    Ok(outcome)
}
