//! The chain of snapshots: every record must open, and none may be gone without a tombstone.

use futures::stream::{self, StreamExt};

use crate::base::causes::in_one_line;
use crate::check::report::{Finding, Hint, Problem};
use crate::format::kind::RecordKind;
use crate::format::record::ChainRecord;
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::witness::Witnesses;
use crate::repo::{layout, sealed};

/// Records fetched at once.
const FETCH_AT_ONCE: usize = 16;

/// What a finding says of an object that did not read.
pub(super) fn of_error(object: &crate::store::Key, error: &RepoError) -> Finding {
    match error {
        RepoError::Store(error) if error.is_not_found() => {
            Finding::damage(object, Problem::Missing, "it was listed and is not there", Hint::ReadAgain)
        }
        RepoError::Store(error) => Finding::damage(object, Problem::Unreadable, in_one_line(error), Hint::ReadAgain),
        RepoError::Damaged { .. } => {
            Finding::damage(object, Problem::Name, "its bytes do not match its name", Hint::CopyFromReplica)
        }
        other => Finding::damage(object, Problem::Unopened, in_one_line(other), Hint::CopyFromReplica),
    }
}

/// Reads every record; what does not read is a finding, and so is every gap.
pub(super) async fn load(repository: &Repository, findings: &mut Vec<Finding>) -> Result<Chain, RepoError> {
    let listed = repository.store.list(layout::SNAPSHOTS).await?;
    let mut reads = stream::iter(listed)
        .map(|entry| async move {
            let read = sealed::read(&*repository.store, &repository.meta, RecordKind::Snapshot, &entry.key).await;
            (entry.key, read)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let mut chain = Chain::default();
    while let Some((key, read)) = reads.next().await {
        let Some(id) = layout::object_id(&key) else { continue }; // a foreign object: noted with the others
        match read {
            Ok(ChainRecord::Snapshot(record)) => chain.snapshots.push(Snapshot { id, record: *record }),
            Ok(ChainRecord::Tombstone(record)) => {
                chain.tombstones.insert(id, record);
            }
            // Forgotten since it was listed.
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            Err(error) if error.is_retired() => {
                let what = "it was sealed with a writer key that was retired, and counts for nothing";
                findings.push(Finding::note(&key, Problem::Retired, what, Hint::Nothing));
                chain.retired.push(id);
            }
            Err(error) => {
                findings.push(of_error(&key, &error));
                chain.unreadable.push((id, error.to_string()));
            }
        }
    }
    chain.settle();
    let witnesses = Witnesses::load(repository).await?;
    // A verified record that does not read is told with the small objects, and is no damage: nothing else is lost with it.
    let drills = witnesses.unreadable.iter().filter(|(key, _)| key.as_str().starts_with(layout::KEY_DRILLS));
    findings.extend(drills.map(|(key, error)| of_error(key, error)));
    let gone = witnesses.gaps(&chain);
    findings.extend(gone.into_iter().map(|id| {
        let what = "a record of the chain of snapshots is gone, and nobody forgot it";
        Finding::damage(&layout::named(layout::SNAPSHOTS, &id), Problem::Gap, what, Hint::Lost)
    }));
    Ok(chain)
}
