//! Layer 5: retiring a writer key that somebody has stolen. A new metadata key makes a new writer key; trees, index and records are sealed anew under it, and content
//! stays where and as it is.
//!
//! **Order.** Nothing has happened before the record of the next epoch is there, and everything read well before that. From then on the old key commits nothing.
//! What there is by then is carried over: marks → index → tree blobs → witnesses and the chain → a tombstone that names every old record. Then a reader
//! that holds nothing but the new key walks all trees; only after that are old index segments and metadata packs marked, and a second epoch says that records of
//! the old key are refused from now on. Last, those are removed; what was marked is for `prune`, after its grace.
//!
//! Promises, held at every cut: whoever holds an identity can read every snapshot all the time; a second run finishes what the first began, with the same key; no
//! content is stored again. Until the old index segments are marked, what holds the new key alone refuses to write, since they do not open for it.
//!
//! What it cannot do: tell what the thief wrote before from what the cluster wrote. `check --read-data` finds what is not what its id says.

mod needs;
mod told;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::base::cancel::Cancel;
use crate::base::clock::{Clock, Time};
use crate::base::id::{BlobId, ObjectId};
use crate::base::progress::Progress;
use crate::base::secret::Secret;
use crate::crypto::recipients::Recipient;
use crate::crypto::writer_key::WriterKey;
use crate::format::kind::{Kind, RecordKind};
use crate::format::pack::PackClass;
use crate::format::record::{
    ChainRecord, KeyDrill, RehearsalRecord, SnapshotRecord, Tombstone, TreeRoot, VerifiedRecord,
};
use crate::repo::create::{Next, advance};
use crate::repo::doomed::{self, Marks, OBJECTS_MAX};
use crate::repo::fetch::Reader;
use crate::repo::reseal::{self, Prefix, Resealer, Segments, Stored};
use crate::repo::snapshots::{self, Chain, Snapshot};
use crate::repo::upload::retain_until;
use crate::repo::witness;
use crate::repo::{RepoError, Repository, layout};
use crate::store::{Key, StoreError};
use needs::Needs;

pub use told::{Renamed, RotateError, Rotated, RotationPlan, Settings};

/// Tree blobs read together.
const BATCH: usize = 64;

/// How often what the store took meanwhile is carried over too.
const ROUNDS_MAX: usize = 3;

/// A plan, and what it was made from. Dropping it changes nothing.
pub struct Planned {
    /// What will be done.
    pub plan: RotationPlan,
    repository: Arc<Repository>,
    /// The key of the next epoch; the current one's where a rotation is finished.
    metadata_key: Secret,
}

/// The chain as it lies in the store.
struct Records {
    all: Prefix<ChainRecord>,
    forgotten: BTreeSet<ObjectId>,
}

impl Records {
    async fn load(repository: &Repository, first: u32) -> Result<Self, RotateError> {
        let all: Prefix<ChainRecord> =
            reseal::read_all(repository, first, RecordKind::Snapshot, layout::SNAPSHOTS).await?;
        let forgotten: BTreeSet<ObjectId> =
            all.found.iter().filter_map(tombstone).flat_map(|t| t.forgotten.clone()).collect();
        if let Some((id, error)) = all.unreadable.iter().find(|(id, _)| !forgotten.contains(id)) {
            let what = layout::named(layout::SNAPSHOTS, id).to_string();
            return Err(RotateError::Damaged { what, why: error.to_string() });
        }
        Ok(Self { all, forgotten })
    }

    /// Snapshots that nobody forgot, by their place in the chain.
    fn snapshots(&self) -> Vec<(&Stored<ChainRecord>, &SnapshotRecord)> {
        let mut found = self.ever();
        found.retain(|(stored, _)| !self.forgotten.contains(&stored.id));
        found
    }

    /// Those that were forgotten and lie there still, too.
    fn ever(&self) -> Vec<(&Stored<ChainRecord>, &SnapshotRecord)> {
        let mut found: Vec<_> = self
            .all
            .found
            .iter()
            .filter_map(|stored| match &stored.record {
                ChainRecord::Snapshot(record) => Some((stored, &**record)),
                ChainRecord::Tombstone(_) => None,
            })
            .collect();
        found.sort_by_key(|(stored, record)| (record.link.sequence, stored.id));
        found
    }

    fn roots(&self) -> Vec<TreeRoot> {
        self.snapshots().into_iter().map(|(_, record)| record.root).collect()
    }
}

fn tombstone(stored: &Stored<ChainRecord>) -> Option<&Tombstone> {
    match &stored.record {
        ChainRecord::Tombstone(tombstone) => Some(tombstone),
        ChainRecord::Snapshot(_) => None,
    }
}

/// Looks at everything that is to be sealed anew, and plans. Nothing is changed.
pub async fn plan_rotation(repository: &Arc<Repository>, progress: &Progress) -> Result<Planned, RotateError> {
    if !repository.has_identity() {
        return Err(RepoError::IdentityNeeded.into());
    }
    repository.refuse_if_removed()?;
    let begun = repository.unfinished_rotation();
    let first = begun.unwrap_or(repository.epoch.number + 1);
    let gaps = witness::gaps(repository, &Chain::load(repository).await?).await?;
    if let Some(found) = gaps.first() {
        return Err(RotateError::Gaps { count: gaps.len(), first: *found });
    }
    let records = Records::load(repository, first).await?;
    let segments = Segments::load(repository, first).await?;
    let reader = Reader::new(repository.clone(), segments.index.clone());
    progress.begin("reading trees", "snapshot");
    let needs = Needs::of(&reader, &records.roots(), progress).await;
    if let Some((what, why)) = needs.broken {
        return Err(RotateError::Damaged { what, why });
    }
    let todo: Vec<&BlobId> = needs.blobs.iter().map(|(_, id)| id).filter(|id| !segments.blobs.contains(id)).collect();
    let lengths = |id: &&BlobId| segments.index.find(id).map_or(0, |found| u64::from(found.length));
    let mut bytes: u64 = todo.iter().map(lengths).sum();
    for prefix in [layout::INDEX, layout::SNAPSHOTS, layout::KEY_DRILLS, layout::VERIFIED, layout::REHEARSALS] {
        bytes += repository.store.list(prefix).await?.iter().map(|entry| entry.size).sum::<u64>();
    }
    let content = segments.index.packs.iter().filter(|pack| pack.class == PackClass::Content && pack.present);
    let (content_packs, content_bytes) = content.fold((0, 0), |(packs, bytes), pack| (packs + 1, bytes + pack.size));
    let plan = RotationPlan {
        store: repository.store.address(),
        epoch: first,
        begun: begun.is_some(),
        snapshots: records.snapshots().iter().filter(|(stored, _)| stored.old).count(),
        blobs: todo.len(),
        bytes,
        content_packs,
        content_bytes,
    };
    let metadata_key = if begun.is_some() {
        repository.writer_key().metadata_key
    } else {
        Secret::random().map_err(RepoError::from)?
    };
    Ok(Planned { plan, repository: repository.clone(), metadata_key })
}

impl Planned {
    /// The writer key that there will be; of a rotation that is finished, the one that there is.
    #[must_use]
    pub fn writer_key(&self) -> WriterKey {
        let metadata_key = self.metadata_key.duplicate();
        WriterKey { epoch: self.plan.epoch, metadata_key, ..self.repository.writer_key() }
    }
}

/// Everything that the steps share once the epoch has begun.
struct Work<'a> {
    repository: Arc<Repository>,
    first: u32,
    /// When the store took the record of the first epoch of the new key.
    begun: Option<Time>,
    clock: &'a Arc<dyn Clock>,
    progress: &'a Progress,
    cancel: &'a Cancel,
    host: &'a str,
}

/// What a round of [`Work::reseal`] leaves.
struct Round {
    /// Old records that nobody needs any more.
    leftover: Vec<Key>,
    segments: Segments,
    /// Snapshots of the old key that the store shows and did not show before.
    more: Vec<ObjectId>,
}

/// Carries a plan out. The caller has brought [`Planned::writer_key`] to safety: a key that nobody has would stop all backups.
pub async fn run_rotation(
    planned: Planned,
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Rotated, RotateError> {
    let Planned { plan, repository, metadata_key } = planned;
    let first = plan.epoch;
    let recipients = recipients(&repository)?;
    let repository = if plan.begun {
        repository
    } else {
        let next = Next { metadata_key, accepted_from: repository.epoch.accepted_from };
        Arc::new(advance(&repository, &recipients, Some(next), &**clock).await?)
    };
    let begun = repository.store.stat(&layout::epoch(first)).await?.map(|entry| entry.modified);
    let work = Work { repository, first, begun, clock, progress, cancel, host: &settings.host };
    let mut rotated = Rotated { epoch: first, ..Rotated::default() };
    if !settings.settle.is_zero() {
        progress.begin("waiting for writers that have not seen the new epoch", "");
        tokio::select! {
            () = tokio::time::sleep(settings.settle) => {}
            () = cancel.cancelled() => return Err(RepoError::Cancelled.into()),
        }
    }
    let mut leftover = BTreeSet::new();
    for round in 1.. {
        let done = work.reseal(&mut rotated).await?;
        leftover.extend(done.leftover);
        if done.more.is_empty() || round == ROUNDS_MAX {
            rotated.not_carried = done.more;
            rotated.doomed = work.doom(&done.segments).await?;
            break;
        }
    }
    // From here on records of the old key are refused by everybody.
    let metadata_key = work.repository.writer_key().metadata_key;
    let next = Next { metadata_key, accepted_from: Some(first) };
    let repository = advance(&work.repository, &recipients, Some(next), &**clock).await?;
    for key in leftover {
        match repository.store.delete(&key).await {
            Ok(()) => rotated.removed += 1,
            Err(StoreError::Locked { .. }) => rotated.locked += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rotated)
}

fn recipients(repository: &Repository) -> Result<Vec<Recipient>, RotateError> {
    let texts = repository.recipients().unwrap_or_default();
    Ok(texts.iter().map(|text| Recipient::parse(text)).collect::<Result<_, _>>()?)
}

impl Work<'_> {
    fn now(&self) -> Time {
        self.clock.now()
    }

    /// Seals everything anew, and proves it.
    async fn reseal(&self, rotated: &mut Rotated) -> Result<Round, RotateError> {
        let (repository, first) = (&self.repository, self.first);
        // Listed after the epoch began: a snapshot that was reported was durable before.
        let records = Records::load(repository, first).await?;
        let mut leftover = reseal::marks(repository, first, self.now()).await?;
        self.progress.begin("sealing the index anew", "");
        let mut segments = Segments::load(repository, first).await?;
        segments.reseal(repository).await?;
        let missing = self.trees(&records, &segments, rotated).await?;
        self.progress.begin("sealing records anew", "");
        let renamed = self.chain(&records, &mut rotated.snapshots).await?;
        leftover.extend(self.witnesses(&renamed).await?);
        self.tombstone(&records).await?;
        leftover.extend(records.all.found.iter().filter(|stored| stored.old).map(|stored| stored.key.clone()));
        let (segments, more) = self.prove(&missing).await?;
        Ok(Round { leftover, segments, more })
    }

    /// Tree blobs into new packs. Returns the chunks that were missing before.
    async fn trees(
        &self,
        records: &Records,
        segments: &Segments,
        rotated: &mut Rotated,
    ) -> Result<BTreeSet<BlobId>, RotateError> {
        let reader = Reader::new(self.repository.clone(), segments.index.clone());
        self.progress.begin("reading trees", "snapshot");
        let needs = Needs::of(&reader, &records.roots(), self.progress).await;
        if let Some((what, why)) = needs.broken {
            return Err(RotateError::Damaged { what, why });
        }
        let done = self.done(&needs, segments).await?;
        let mut by_kind: BTreeMap<Kind, Vec<BlobId>> = BTreeMap::new();
        for (kind, id) in needs.blobs.iter().filter(|(_, id)| !done.contains(id)) {
            by_kind.entry(*kind).or_default().push(*id);
        }
        self.progress.begin("sealing trees anew", "blob");
        self.progress.expect(by_kind.values().map(|ids| ids.len() as u64).sum(), 0, false);
        let mut resealer = Resealer::start(self.repository.clone(), self.clock.clone())?;
        let mut failed = None;
        'all: for (kind, ids) in &by_kind {
            for batch in ids.chunks(BATCH) {
                let read = if self.cancel.is_cancelled() {
                    Err(RepoError::Cancelled)
                } else {
                    reader.metadata_many(*kind, batch).await
                };
                let plains = match read {
                    Ok(plains) => plains,
                    Err(error) => {
                        failed = Some(error);
                        break 'all;
                    }
                };
                for (id, plain) in batch.iter().zip(plains) {
                    if let Err(error) = resealer.add(*kind, *id, &plain).await {
                        failed = Some(error);
                        break 'all;
                    }
                    rotated.blobs += 1;
                    self.progress.add_file(0);
                }
            }
        }
        // Uploads that ended before say why.
        let written = resealer.finish().await?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        rotated.bytes_stored += written.stored_bytes;
        Ok(needs.missing)
    }

    /// What an earlier run sealed anew, as far as the new key alone opens it: a repair copies sealed blobs as they are, under whichever key.
    async fn done(&self, needs: &Needs<'_>, segments: &Segments) -> Result<HashSet<BlobId>, RotateError> {
        let mut done = HashSet::new();
        let there: Vec<(Kind, BlobId)> =
            needs.blobs.iter().filter(|(_, id)| segments.blobs.contains(id)).copied().collect();
        if there.is_empty() {
            return Ok(done);
        }
        let reader = self.alone(&segments.new).await?;
        for (kind, id) in there {
            if reader.metadata(kind, &id).await.is_ok() {
                done.insert(id);
            }
        }
        Ok(done)
    }

    /// Reads through these segments with the new key alone.
    async fn alone(&self, segments: &[Key]) -> Result<Reader, RotateError> {
        let key = WriterKey { epoch: self.first, ..self.repository.writer_key() };
        let alone = Arc::new(Repository::open_with_writer(self.repository.store.clone(), &key).await?);
        let index = Arc::new(reseal::index_of(&alone, segments).await?);
        Ok(Reader::new(alone, index))
    }

    /// Snapshots under the new key, parents before children. Returns what each is called now.
    async fn chain(
        &self,
        records: &Records,
        told: &mut Vec<Renamed>,
    ) -> Result<HashMap<ObjectId, ObjectId>, RotateError> {
        let mut renamed: HashMap<ObjectId, ObjectId> = HashMap::new();
        for (stored, record) in records.ever().into_iter().filter(|(stored, _)| stored.old) {
            // What was forgotten keeps its name: the tombstone has it.
            let name = |id: &ObjectId| *renamed.get(id).unwrap_or(id);
            let mut record = record.clone();
            record.link.parents = record.link.parents.iter().map(name).collect();
            record.link.parents.sort_unstable();
            record.based_on = record.based_on.as_ref().map(name);
            let record = ChainRecord::Snapshot(Box::new(record));
            let (kind, there) = (RecordKind::Snapshot, &records.all.found);
            // A tombstone of an earlier round, or of a run that was cut off, names what was carried over by then: records still go by those names.
            if records.forgotten.contains(&stored.id) {
                let twin = there.iter().find(|twin| !twin.old && twin.record == record);
                renamed.extend(twin.map(|twin| (stored.id, twin.id)));
                continue;
            }
            let to = reseal::put_once(&self.repository, kind, layout::SNAPSHOTS, &record, there, self.now()).await?;
            renamed.insert(stored.id, to);
            let late = self.begun.is_some_and(|begun| stored.modified > begun);
            told.push(Renamed { from: stored.id, to, late });
        }
        Ok(renamed)
    }

    /// Records that name snapshots by their ids. Returns the old ones' names.
    async fn witnesses(&self, renamed: &HashMap<ObjectId, ObjectId>) -> Result<Vec<Key>, RotateError> {
        let name = |id: &mut ObjectId| *id = *renamed.get(id).unwrap_or(id);
        let drills = self.carry(RecordKind::KeyDrill, layout::KEY_DRILLS, |drill: &mut KeyDrill| {
            drill.heads.iter_mut().chain(drill.snapshot.as_mut()).for_each(name);
        });
        let mut old = drills.await?;
        let verified = self.carry(RecordKind::Verified, layout::VERIFIED, |verified: &mut VerifiedRecord| {
            let VerifiedRecord { snapshots, damaged, chain, .. } = verified;
            for ids in [Some(snapshots), damaged.as_mut(), chain.as_mut()].into_iter().flatten() {
                ids.iter_mut().for_each(name);
                ids.sort_unstable();
            }
        });
        old.extend(verified.await?);
        let rehearsals = self.carry(RecordKind::Rehearsal, layout::REHEARSALS, |rehearsal: &mut RehearsalRecord| {
            rehearsal.sources.iter_mut().for_each(|source| name(&mut source.snapshot));
        });
        old.extend(rehearsals.await?);
        Ok(old)
    }

    /// One prefix of records that nothing names. What does not read is left to lie: nothing needs it.
    async fn carry<T>(
        &self,
        kind: RecordKind,
        prefix: &'static str,
        rename: impl Fn(&mut T),
    ) -> Result<Vec<Key>, RotateError>
    where
        T: for<'b> minicbor::Decode<'b, ()> + minicbor::Encode<()> + PartialEq + Clone,
    {
        let all: Prefix<T> = reseal::read_all(&self.repository, self.first, kind, prefix).await?;
        let mut old = Vec::new();
        for stored in all.found.iter().filter(|stored| stored.old) {
            let mut record = stored.record.clone();
            rename(&mut record);
            reseal::put_once(&self.repository, kind, prefix, &record, &all.found, self.now()).await?;
            old.push(stored.key.clone());
        }
        Ok(old)
    }

    /// Names every record that was carried over and all that was forgotten before, so that neither counts as gone.
    async fn tombstone(&self, records: &Records) -> Result<(), RotateError> {
        // As it is by now, of the new key alone.
        let all = Records::load(&self.repository, self.first).await?;
        let mut chain = Chain::default();
        for stored in all.all.found.into_iter().filter(|stored| !stored.old) {
            match stored.record {
                ChainRecord::Snapshot(record) => chain.snapshots.push(Snapshot { id: stored.id, record: *record }),
                ChainRecord::Tombstone(record) => _ = chain.tombstones.insert(stored.id, record),
            }
        }
        let there = records.all.found.iter().filter(|stored| stored.old).map(|stored| stored.id);
        let gone = records.all.vanished.iter().copied().chain(records.all.unreadable.iter().map(|(id, _)| *id));
        let mut named: BTreeSet<ObjectId> = there.chain(gone).chain(records.forgotten.iter().copied()).collect();
        if named.is_subset(&chain.forgotten()) {
            return Ok(());
        }
        named.extend(chain.tombstones.keys());
        let now = self.now();
        let link = chain.next_link();
        // The first record of a chain says how old that is.
        let began = if link.parents.is_empty() { all_began(records).unwrap_or(now) } else { now };
        let forgotten = named.into_iter().collect();
        let record = Tombstone { link, created: began, forgotten, host: self.host.to_owned() };
        let record = ChainRecord::Tombstone(record);
        snapshots::put(&self.repository, &record, retain_until(&self.repository, now)).await?;
        Ok(())
    }

    /// Reads everything as one does who holds the new key alone: all snapshots are there, their trees open, and no chunk is missing that was there before.
    /// Tells too which snapshots of the old key are there that were not carried over.
    async fn prove(&self, missing: &BTreeSet<BlobId>) -> Result<(Segments, Vec<ObjectId>), RotateError> {
        let fail = |why: String| RotateError::NotProven { why };
        let segments = Segments::load(&self.repository, self.first).await?;
        let reader = self.alone(&segments.new).await?;
        let all = Records::load(&self.repository, self.first).await?;
        let (mut roots, mut more) = (Vec::new(), Vec::new());
        for (stored, _) in all.snapshots() {
            if stored.old {
                more.push(stored.id);
                continue;
            }
            let record =
                snapshots::read_one(&reader.repository, stored.id).await.map_err(|error| fail(error.to_string()))?;
            roots.push(record.root);
        }
        self.progress.begin("reading with the new key alone", "snapshot");
        let needs = Needs::of(&reader, &roots, self.progress).await;
        if let Some((what, why)) = needs.broken {
            return Err(fail(format!("{what}: {why}")));
        }
        match needs.missing.difference(missing).next() {
            Some(chunk) => Err(fail(format!("chunk {} is in no pack that is there", chunk.short()))),
            None => Ok((segments, more)),
        }
    }

    /// Marks what the new segments and packs replace.
    async fn doom(&self, segments: &Segments) -> Result<usize, RotateError> {
        let marks = Marks::load(&self.repository).await?;
        let packs = segments.old_packs.iter().map(layout::pack);
        // Marks of the old key are none for who holds the new one; those were made again by now.
        let objects: Vec<Key> = segments.old.iter().cloned().chain(packs).filter(|key| !marks.is_doomed(key)).collect();
        for some in objects.chunks(OBJECTS_MAX) {
            doomed::mark(&self.repository, some.to_vec(), self.now()).await?;
        }
        Ok(objects.len())
    }
}

/// When the chain began, by the records that there are.
fn all_began(records: &Records) -> Option<Time> {
    let time = |stored: &Stored<ChainRecord>| match &stored.record {
        ChainRecord::Snapshot(record) => record.started,
        ChainRecord::Tombstone(record) => record.created,
    };
    records.all.found.iter().map(time).min()
}
