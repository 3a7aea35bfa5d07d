//! The end of a backup: everything durable, then the snapshot, and only then success.
//!
//! A pruner may doom what this run builds upon at any moment. It deletes only after having seen, after its marks, every snapshot that is durable. So the
//! run looks at marks and presence twice: before its snapshot, so that this never names what is gone, and after it is durable, since a mark set in
//! between was perhaps set without knowledge of it. What was doomed is copied before success is reported.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::join;

use crate::base::clock::Clock;
use crate::base::id::{BlobId, ObjectId};
use crate::format::record::{ChainRecord, SnapshotRecord};
use crate::repo::error::RepoError;
use crate::repo::index::Index;
use crate::repo::open::Repository;
use crate::repo::presence::look;
use crate::repo::rescue::Rescue;
use crate::repo::snapshots;
use crate::repo::upload::retain_until;
use crate::repo::write::{Writer, Written};
use crate::repo::{layout, lock, tombstone};
use crate::store::Key;

pub use crate::repo::presence::{begin, prepare};

/// So long what the chain was seen to be holds while a run does other things.
const LINK_LASTS: Duration = Duration::from_mins(10);

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

/// What a run relies on.
struct Reliance {
    repository: Arc<Repository>,
    clock: Arc<dyn Clock>,
    /// Their used blobs are relied on.
    indices: Vec<Arc<Index>>,
    /// All blobs of these packs are relied on.
    own: BTreeSet<ObjectId>,
    /// Packs that were found doomed or gone, and whose blobs have other copies by now.
    settled: HashSet<ObjectId>,
    session: (Key, Bytes),
}

/// What of that is not to be relied on any more.
struct Lost {
    packs: HashSet<ObjectId>,
    /// The session's object is gone.
    session: bool,
}

impl Lost {
    fn nothing(&self) -> bool {
        self.packs.is_empty() && !self.session
    }
}

impl Reliance {
    fn of(writer: &Writer, clock: &Arc<dyn Clock>) -> Self {
        Self {
            repository: writer.repository.clone(),
            clock: clock.clone(),
            indices: vec![writer.index.clone()],
            own: BTreeSet::new(),
            settled: HashSet::new(),
            session: writer.session_object(),
        }
    }

    /// Every pack relied on.
    fn packs(&self) -> BTreeSet<ObjectId> {
        let mut packs = self.own.clone();
        for index in &self.indices {
            packs.extend(index.used_packs().into_iter().filter_map(|pack| index.pack(pack)).map(|pack| pack.id));
        }
        packs.retain(|pack| !self.settled.contains(pack));
        packs
    }

    /// Which packs that it relies on are doomed or gone, and whether its session is.
    async fn look(&self) -> Result<Lost, RepoError> {
        // Marks before packs: what is unmarked and listed afterwards was not deleted in between.
        let (marks, presence) = look(&self.repository).await?;
        let session = layout::session_id(&self.session.0).is_none_or(|id| !presence.sessions.contains_key(&id));
        let lost = |pack: &ObjectId| marks.is_pack_doomed(pack) || !presence.packs.contains_key(pack);
        Ok(Lost { packs: self.packs().into_iter().filter(lost).collect(), session })
    }

    /// Makes sure that every blob relied on has a copy that is there and that nobody doomed; returns the bytes that it stored for that.
    async fn secure(&mut self, lost: Lost) -> Result<u64, RepoError> {
        if lost.session {
            self.put_session().await?;
        }
        let lost = lost.packs;
        if lost.is_empty() {
            return Ok(0);
        }
        // Somebody may have copied what is needed already: look at the index anew.
        let fresh = prepare(&self.repository).await?;
        let wanted = self.choose_copies(&lost, &fresh)?;
        let written = self.copy(wanted, &fresh).await?;
        self.own.retain(|pack| !lost.contains(pack));
        self.own.extend(written.packs);
        self.settled.extend(lost);
        self.indices.push(fresh);
        Ok(written.stored_bytes)
    }

    /// Which blobs of the lost packs must be copied, and from where; those with a good copy are noted as used there.
    fn choose_copies(
        &self,
        lost: &HashSet<ObjectId>,
        fresh: &Index,
    ) -> Result<BTreeMap<ObjectId, HashSet<BlobId>>, RepoError> {
        let mut wanted: BTreeMap<ObjectId, HashSet<BlobId>> = BTreeMap::new();
        let mut choose = |id: BlobId, from: ObjectId| -> Result<(), RepoError> {
            if let Some(good) = fresh.find_usable(&id) {
                fresh.mark_used(&good);
                return Ok(());
            }
            let copy = fresh.find(&id).and_then(|copy| fresh.pack(copy.pack));
            let pack = copy.ok_or(RepoError::Vanished { pack: from })?.id;
            wanted.entry(pack).or_default().insert(id);
            Ok(())
        };
        for index in &self.indices {
            for blob in index.iter().filter(|blob| index.is_used(blob.location.slot)) {
                match index.pack(blob.location.pack) {
                    Some(pack) if lost.contains(&pack.id) => choose(blob.id, pack.id)?,
                    _ => {}
                }
            }
        }
        for pack in self.own.intersection(&lost.iter().copied().collect()) {
            let number = fresh.pack_number(pack).ok_or(RepoError::Vanished { pack: *pack })?;
            for blob in fresh.iter().filter(|blob| blob.location.pack == number) {
                choose(blob.id, *pack)?;
            }
        }
        Ok(wanted)
    }

    /// Copies blobs; one whose copy is gone or damaged is taken from another pack that has it.
    async fn copy(&self, mut wanted: BTreeMap<ObjectId, HashSet<BlobId>>, fresh: &Index) -> Result<Written, RepoError> {
        let mut rescue = Rescue::start(self.repository.clone(), self.clock.clone());
        let mut tried: HashSet<(BlobId, ObjectId)> = HashSet::new();
        while !wanted.is_empty() {
            let mut again: BTreeMap<ObjectId, HashSet<BlobId>> = BTreeMap::new();
            for (pack, blobs) in wanted {
                let (failed, gone) = match rescue.copy(&pack, &blobs).await {
                    Ok(damaged) => (damaged, false),
                    Err(RepoError::Vanished { .. }) => (blobs.into_iter().collect(), true),
                    Err(error) => return Err(rescue.why_failed(error).await),
                };
                for blob in failed {
                    tried.insert((blob, pack));
                    let packs = fresh.copies(&blob).filter_map(|copy| fresh.pack(copy.pack));
                    match packs.map(|pack| pack.id).find(|other| !tried.contains(&(blob, *other))) {
                        Some(other) => _ = again.entry(other).or_default().insert(blob),
                        None if gone => return Err(RepoError::Vanished { pack }),
                        None => {
                            let reason = "its sealed bytes do not match the index".to_owned();
                            return Err(RepoError::Blob { blob, pack, reason });
                        }
                    }
                }
            }
            wanted = again;
        }
        rescue.finish().await
    }

    /// The session's object must be there at the end too, or nobody would build upon this run's blobs.
    async fn put_session(&self) -> Result<(), RepoError> {
        let (key, stored) = &self.session;
        let retain = retain_until(&self.repository, self.clock.now());
        self.repository.store.put_new(key, stored.clone(), retain).await?;
        Ok(())
    }

    /// Locks what this run builds upon for as long as its own objects.
    async fn lock(&self) -> Result<(), RepoError> {
        let keys = self.packs().iter().map(layout::pack).collect();
        lock::extend(&self.repository, keys, self.clock.now()).await.map(|_| ())
    }
}

/// The snapshot is there, and whoever reads the error must know of it.
fn unconfirmed(snapshot: ObjectId, error: RepoError) -> RepoError {
    RepoError::Unconfirmed { snapshot, source: Box::new(error) }
}

/// Finishes the writer and stores the snapshot. `record.link` and `record.statistics.bytes_stored` are filled in here.
pub async fn commit(
    writer: Writer,
    mut record: SnapshotRecord,
    clock: &Arc<dyn Clock>,
) -> Result<Committed, RepoError> {
    let repository = writer.repository.clone();
    let mut reliance = Reliance::of(&writer, clock);
    let links = writer.links().clone();
    let mut written = writer.finish().await?;
    reliance.own.extend(&written.packs);
    // Beside each other: none of the three says anything of the others.
    let asked = clock.now();
    let (retired, lost, link) =
        join!(repository.refuse_if_retired(), reliance.look(), snapshots::next_link(&repository, &links));
    retired?;
    let (lost, mut link) = (lost?, link?);
    let copying = !lost.nothing();
    written.stored_bytes += reliance.secure(lost).await?;
    reliance.lock().await?;
    if copying || clock.now().since(asked) > LINK_LASTS {
        // That took its time, and others went on: what would be named as a parent may be forgotten, and the tombstone that says so forgotten too.
        link = snapshots::next_link(&repository, &links).await?;
    }
    record.link = link;
    record.statistics.bytes_stored = written.stored_bytes;
    let chain_record = ChainRecord::Snapshot(Box::new(record.clone()));
    let (id, _) = snapshots::put(&repository, &chain_record, retain_until(&repository, clock.now())).await?;
    let (mut retired, lost) = join!(repository.refuse_if_retired(), reliance.look());
    let lost = lost.map_err(|error| unconfirmed(id, error))?;
    let copying = !lost.nothing();
    match reliance.secure(lost).await {
        Ok(bytes) => written.stored_bytes += bytes,
        Err(RepoError::Vanished { pack }) => {
            // This run slept for longer than a grace. The snapshot rests on nothing and must not lie about.
            return Err(match tombstone::retract(&repository, id, &record.host, clock.now()).await {
                Ok(()) => RepoError::Vanished { pack },
                Err(source) => RepoError::NotRetracted { pack, snapshot: id, source: Box::new(source) },
            });
        }
        Err(error) => return Err(unconfirmed(id, error)),
    }
    reliance.lock().await.map_err(|error| unconfirmed(id, error))?;
    if copying {
        // What was stored just now must not be of a retired epoch either.
        retired = repository.refuse_if_retired().await;
    }
    retired.map_err(|error| match error {
        retired @ RepoError::Retired { .. } => retired,
        error => unconfirmed(id, error),
    })?;
    Ok(Committed { id, record, written })
}
