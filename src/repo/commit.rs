//! The end of a backup: everything durable, then the snapshot, and only then success.

use std::sync::Arc;

use crate::base::clock::Clock;
use crate::base::id::ObjectId;
use crate::format::record::{ChainRecord, SnapshotRecord};
use crate::repo::error::RepoError;
use crate::repo::index::Index;
use crate::repo::open::Repository;
use crate::repo::snapshots::{self, Chain};
use crate::repo::upload::retain_until;
use crate::repo::write::{Writer, Written};

/// A snapshot that is durable.
#[derive(Debug)]
pub struct Committed {
    /// Its id.
    pub id: ObjectId,
    /// Its record as it was stored.
    pub record: SnapshotRecord,
    /// What the run stored.
    pub written: Written,
}

/// The index to write against: what can be relied on.
pub async fn prepare(repository: &Arc<Repository>) -> Result<Arc<Index>, RepoError> {
    Index::load(repository).await.map(Arc::new)
}

/// Finishes the writer and stores the snapshot. `record.link` and `record.statistics.bytes_stored` are filled in here.
pub async fn commit(
    writer: Writer,
    mut record: SnapshotRecord,
    clock: &Arc<dyn Clock>,
) -> Result<Committed, RepoError> {
    let repository = writer.repository.clone();
    let written = writer.finish().await?;
    repository.refuse_if_retired().await?;
    record.link = Chain::load(&repository).await?.next_link();
    record.statistics.bytes_stored = written.stored_bytes;
    let chain_record = ChainRecord::Snapshot(Box::new(record.clone()));
    let (id, _) = snapshots::put(&repository, &chain_record, retain_until(&repository, clock.now())).await?;
    Ok(Committed { id, record, written })
}
