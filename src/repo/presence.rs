//! What is really there: which packs of the index can be relied on, and packs that no index names because the run that stored them was killed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use futures::try_join;

use crate::base::clock::Time;
use crate::base::id::{ObjectId, SessionId};
use crate::crypto::meta::{MetaError, epoch_of_record};
use crate::format::kind::RecordKind;
use crate::format::pack::{IndexSegment, IndexedPack, PACK_BYTES_MAX, PackTable};
use crate::repo::doomed::Marks;
use crate::repo::error::RepoError;
use crate::repo::index::{Index, IndexBuilder, load_segments};
use crate::repo::open::Repository;
use crate::repo::packer::{TRAILER_BYTES, open_table, open_trailer};
use crate::repo::snapshots::Chain;
use crate::repo::upload::{SEGMENT_BLOBS, retain_until};
use crate::repo::{layout, sealed};
use crate::store::Listed;

/// Pack tables fetched at once.
const FETCH_AT_ONCE: usize = 6;
/// Packs that one run adopts: 48 GiB of them; the next run takes the rest.
const ADOPT_MAX: usize = 4096;

/// Packs and sessions as the store lists them.
#[derive(Debug, Default)]
pub struct Presence {
    /// The packs.
    pub packs: BTreeMap<ObjectId, Listed>,
    /// The sessions.
    pub sessions: BTreeMap<SessionId, Listed>,
}

impl Presence {
    /// Lists both; what lies anywhere but in its place is not there, since nobody would find it. Whoever compares with marks must have read those *before*: a pack without a mark that is listed later was not deleted in between.
    pub async fn load(repository: &Repository) -> Result<Self, RepoError> {
        let store = &repository.store;
        let (packs, sessions) = try_join!(store.list(layout::PACKS), store.list(layout::SESSIONS))?;
        Ok(Self {
            packs: packs.into_iter().filter_map(|entry| Some((layout::pack_id(&entry.key)?, entry))).collect(),
            sessions: sessions.into_iter().filter_map(|entry| Some((layout::session_id(&entry.key)?, entry))).collect(),
        })
    }

    /// Whether the pack is there at the size that the index has.
    #[must_use]
    pub fn has(&self, pack: &ObjectId, size: u64) -> bool {
        self.packs.get(pack).is_some_and(|entry| entry.size == size)
    }

    /// The latest time that the store has told: its clock shows at least this.
    #[must_use]
    pub fn latest(&self) -> Time {
        self.packs.values().chain(self.sessions.values()).map(|entry| entry.modified).max().unwrap_or_default()
    }

    /// Sets what the packs of `index` are good for. A pack is built upon only if it is there, nobody doomed it, and every session in it is there.
    pub fn apply(&self, index: &mut Index, marks: &Marks) {
        let mut orphaned: HashSet<u32> = HashSet::new();
        for (pack, session) in index.places() {
            let there = session.is_none_or(|session| {
                index.session(session).is_some_and(|session| self.sessions.contains_key(&session))
            });
            if !there {
                orphaned.insert(pack);
            }
        }
        for (number, pack) in (0..).zip(&mut index.packs) {
            pack.present = self.packs.contains_key(&pack.id);
            pack.usable =
                self.has(&pack.id, pack.size) && !marks.is_pack_doomed(&pack.id) && !orphaned.contains(&number);
        }
    }
}

/// The index to write against: what can be relied on. Packs that a killed run left behind are indexed first.
pub async fn prepare(repository: &Arc<Repository>) -> Result<Arc<Index>, RepoError> {
    // Beside each other: only marks must be known before packs are listed. A pack that the one listing shows and not the other is not built upon, or adopted.
    let (indexed, (marks, presence)) = try_join!(listed_index(repository), look(repository))?;
    let (segments, mut builder) = indexed;
    let adopted = adopt(repository, &mut builder, &marks, &presence, ADOPT_MAX).await?;
    put_segments(repository, adopted, presence.latest()).await?;
    let mut index = builder.finish(segments.into_iter().map(|entry| entry.key).collect());
    presence.apply(&mut index, &marks);
    Ok(Arc::new(index))
}

async fn listed_index(repository: &Repository) -> Result<(Vec<Listed>, IndexBuilder), RepoError> {
    let segments = repository.store.list(layout::INDEX).await?;
    let builder = load_segments(repository, &segments, &mut |_, _| ()).await?;
    Ok((segments, builder))
}

/// Marks, and then what is there. Every mark has been read before packs are listed: what is unmarked in the first and there in the second was not deleted in
/// between, however long this process slept.
pub(crate) async fn look(repository: &Repository) -> Result<(Marks, Presence), RepoError> {
    let marks = Marks::load(repository).await?;
    Ok((marks, Presence::load(repository).await?))
}

/// What a writer begins with: the index to write against, and the chain that its snapshot will stand in.
pub async fn begin(repository: &Arc<Repository>) -> Result<(Arc<Index>, Chain), RepoError> {
    try_join!(prepare(repository), Chain::load(repository))
}

/// Adds to `builder` the packs that no segment names, nobody doomed, and whose sessions are there. Another run's packs that are just not indexed yet may
/// be among them: being named twice does no harm. What it returns must be put into segments before it counts for others.
pub(crate) async fn adopt(
    repository: &Repository,
    builder: &mut IndexBuilder,
    marks: &Marks,
    presence: &Presence,
    at_most: usize,
) -> Result<Vec<IndexedPack>, RepoError> {
    let orphans: Vec<(ObjectId, u64)> = presence
        .packs
        .iter()
        .filter(|(id, _)| !builder.knows(id) && !marks.is_pack_doomed(id))
        .map(|(id, entry)| (*id, entry.size))
        .take(at_most)
        .collect();
    let mut tables = stream::iter(orphans)
        .map(|(id, size)| async move {
            match read_table_of(repository, &id, size, |epoch| repository.accepts(epoch)).await {
                Ok(table) => Ok(Some(IndexedPack { id, size, table })),
                Err(RepoError::Store(error)) if !error.is_not_found() => Err(RepoError::Store(error)),
                // Not ours or broken: of no use to a writer, and `check` speaks of it.
                Err(_) => Ok(None),
            }
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let mut adopted = Vec::new();
    while let Some(pack) = tables.try_next().await? {
        let Some(pack) = pack else { continue };
        if pack.table.sessions.iter().all(|session| presence.sessions.contains_key(session)) {
            builder.add(&pack);
            adopted.push(pack);
        }
    }
    Ok(adopted)
}

/// Stores packs in index segments of the usual size.
pub(crate) async fn put_segments(repository: &Repository, packs: Vec<IndexedPack>, now: Time) -> Result<(), RepoError> {
    let mut segment = IndexSegment::default();
    let mut blobs = 0;
    for pack in packs {
        blobs += pack.table.len();
        segment.packs.push(pack);
        if blobs >= SEGMENT_BLOBS {
            put_segment(repository, &std::mem::take(&mut segment), now).await?;
            blobs = 0;
        }
    }
    if !segment.packs.is_empty() {
        put_segment(repository, &segment, now).await?;
    }
    Ok(())
}

/// Stores an index segment.
pub(crate) async fn put_segment(
    repository: &Repository,
    segment: &IndexSegment,
    now: Time,
) -> Result<ObjectId, RepoError> {
    let retain = retain_until(repository, now);
    let (id, _) =
        sealed::put(&*repository.store, &repository.meta, RecordKind::Index, layout::INDEX, segment, retain).await?;
    Ok(id)
}

/// The table of a pack, from its own end.
pub(crate) async fn read_table(repository: &Repository, id: &ObjectId, size: u64) -> Result<PackTable, RepoError> {
    read_table_of(repository, id, size, |_| true).await
}

/// The same of a pack of an epoch that is wanted.
async fn read_table_of(
    repository: &Repository,
    id: &ObjectId,
    size: u64,
    wanted: impl Fn(u32) -> bool,
) -> Result<PackTable, RepoError> {
    let key = layout::pack(id);
    let start = match size.checked_sub(TRAILER_BYTES as u64) {
        Some(start) if size <= PACK_BYTES_MAX as u64 => start,
        _ => return Err(RepoError::Damaged { key }),
    };
    let trailer = repository.store.get_range(&key, start..size).await?;
    if let Some(epoch) = epoch_of_record(&trailer).filter(|epoch| !wanted(*epoch)) {
        return Err(RepoError::Sealed { key, source: MetaError::Retired(epoch) });
    }
    let place = open_trailer(&repository.meta, id, &trailer)?;
    if place.range.end > start {
        return Err(RepoError::Damaged { key });
    }
    let sealed = repository.store.get_range(&key, place.range.clone()).await?;
    let table = open_table(&repository.meta, id, &place, &sealed)?;
    if table.records().any(|record| record.end() > place.range.start) {
        return Err(RepoError::Pack { key, source: crate::format::pack::PackError::Table });
    }
    Ok(table)
}
