//! The index in memory: which pack holds which blob. One sorted array, 44 bytes a blob; a look-up is one guess and a few steps, since ids are uniform.
//!
//! Loaded once, then read-only but for the marks that a run sets: that a blob is used by it, that a metadata blob opened in it, that a pack is broken.
//!
//! Metadata is built upon only where it opened in this run: rot seldom comes alone, and a tree is little to store anew.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::stream::{self, StreamExt};

use crate::base::id::{BlobId, ObjectId, SessionId};
use crate::format::kind::RecordKind;
use crate::format::pack::{IndexSegment, IndexedPack, PackClass, RECORD_BYTES};
use crate::repo::blame::Blame;
use crate::repo::doomed::Marks;
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::{layout, near};
use crate::store::{Key, Listed};

/// Index segments fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// A blob's place; 44 bytes.
#[derive(Clone, Copy)]
struct Slot {
    id: [u8; 32],
    /// Which entry of `places`.
    place: u32,
    offset: u32,
    length: u32,
}

/// A pack and one of its sessions.
#[derive(Clone, Copy)]
struct Place {
    pack: u32,
    session: u32,
}

/// No session: metadata.
const NO_SESSION: u32 = u32::MAX;

/// A pack as the index knows it.
#[derive(Clone, Debug)]
pub struct PackState {
    /// Its id.
    pub id: ObjectId,
    /// Its stored size.
    pub size: u64,
    /// Content or metadata.
    pub class: PackClass,
    /// Neither doomed nor missing: may be deduplicated to.
    pub usable: bool,
    /// There to be read, though perhaps doomed.
    pub present: bool,
}

/// Where a blob lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Its position in the index; for [`Index::mark_used`].
    pub slot: usize,
    /// Number of its pack in [`Index::packs`].
    pub pack: u32,
    /// Where its sealed bytes begin.
    pub offset: u32,
    /// How many there are.
    pub length: u32,
    /// Number of the session that sealed it in [`Index::sessions`]; `None` for metadata.
    pub session: Option<u32>,
}

/// See the module.
pub struct Index {
    slots: Vec<Slot>,
    places: Vec<Place>,
    /// The packs, by number.
    pub packs: Vec<PackState>,
    /// The sessions, by number.
    pub sessions: Vec<SessionId>,
    by_pack: HashMap<ObjectId, u32>,
    used: Vec<AtomicU64>,
    /// Metadata blobs that opened in this run.
    opened: Vec<AtomicU64>,
    /// Packs with a metadata blob that did not open in this run.
    broken: Vec<AtomicBool>,
    /// The segments it was loaded from.
    pub segments: Vec<Key>,
}

/// Puts an index together from packs in any order.
#[derive(Default)]
pub struct IndexBuilder {
    slots: Vec<Slot>,
    places: Vec<Place>,
    packs: Vec<PackState>,
    sessions: Vec<SessionId>,
    by_pack: HashMap<ObjectId, u32>,
    by_session: HashMap<SessionId, u32>,
}

impl IndexBuilder {
    /// Expects about `blobs` of them, so that memory is taken once.
    #[must_use]
    pub fn with_capacity(blobs: usize) -> Self {
        let mut builder = Self::default();
        builder.slots.reserve_exact(blobs);
        builder
    }

    /// Adds a pack; one that is known already is skipped.
    pub fn add(&mut self, pack: &IndexedPack) {
        let number = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        match self.by_pack.entry(pack.id) {
            Entry::Occupied(_) => return,
            Entry::Vacant(entry) => entry.insert(number),
        };
        let class = if pack.table.sessions.is_empty() { PackClass::Metadata } else { PackClass::Content };
        self.packs.push(PackState { id: pack.id, size: pack.size, class, usable: true, present: true });
        let first_place = self.places.len();
        for session in &pack.table.sessions {
            let next = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
            let session_number = *self.by_session.entry(*session).or_insert(next);
            if session_number == next {
                self.sessions.push(*session);
            }
            self.places.push(Place { pack: number, session: session_number });
        }
        if pack.table.sessions.is_empty() {
            self.places.push(Place { pack: number, session: NO_SESSION });
        }
        for record in pack.table.records() {
            let place = first_place + usize::from(record.session);
            self.slots.push(Slot {
                id: *record.id.as_bytes(),
                place: u32::try_from(place).unwrap_or(u32::MAX),
                offset: record.offset,
                length: record.length,
            });
        }
    }

    /// Whether a pack was added.
    #[must_use]
    pub fn knows(&self, pack: &ObjectId) -> bool {
        self.by_pack.contains_key(pack)
    }

    /// The packs that were added.
    pub fn packs(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.packs.iter().map(|pack| pack.id)
    }

    /// Sorts and closes it.
    #[must_use]
    pub fn finish(mut self, segments: Vec<Key>) -> Index {
        self.slots.sort_unstable_by_key(|slot| (slot.id, slot.place));
        let (mut used, mut opened, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        used.resize_with(self.slots.len().div_ceil(64), AtomicU64::default);
        opened.resize_with(used.len(), AtomicU64::default);
        broken.resize_with(self.packs.len(), AtomicBool::default);
        Index {
            slots: self.slots,
            places: self.places,
            packs: self.packs,
            sessions: self.sessions,
            by_pack: self.by_pack,
            used,
            opened,
            broken,
            segments,
        }
    }
}

/// A blob as the index has it, for walking over all of them.
#[derive(Clone, Copy, Debug)]
pub struct Indexed {
    /// The blob.
    pub id: BlobId,
    /// Where it lies.
    pub location: Location,
}

impl Index {
    /// Reads every index segment of the repository. A segment that vanishes meanwhile was superseded and is skipped.
    pub async fn load(repository: &Repository) -> Result<Self, RepoError> {
        let listed = repository.store.list(layout::INDEX).await?;
        let builder = load_segments(repository, &listed, &mut |_, _| ()).await?;
        let keys = listed.into_iter().map(|entry| entry.key).collect();
        Ok(builder.finish(keys))
    }

    /// How many blobs it knows, copies counted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The first position at or after which ids are not less than `id`.
    fn position(&self, id: &[u8; 32]) -> usize {
        let head = id.first_chunk::<8>().map_or(0, |head| u64::from_be_bytes(*head));
        #[expect(clippy::cast_possible_truncation, reason = "a fraction of the length")]
        let guess = ((u128::from(head) * self.slots.len() as u128) >> 64) as usize;
        // Gallop from the guess until the id lies between, then halve.
        let less = |at: usize| self.slots.get(at).is_some_and(|slot| slot.id < *id);
        let (mut low, mut high, mut step) = (guess, guess, 8);
        while low > 0 && !less(low) {
            low = low.saturating_sub(step);
            step *= 2;
        }
        step = 8;
        while high < self.slots.len() && less(high) {
            high = (high + step).min(self.slots.len());
            step *= 2;
        }
        let window = self.slots.get(low..high).unwrap_or_default();
        low + window.partition_point(|slot| slot.id < *id)
    }

    fn location(&self, slot: usize) -> Option<Location> {
        let entry = self.slots.get(slot)?;
        let place = self.places.get(entry.place as usize)?;
        Some(Location {
            slot,
            pack: place.pack,
            offset: entry.offset,
            length: entry.length,
            session: (place.session != NO_SESSION).then_some(place.session),
        })
    }

    /// Every copy of a blob.
    pub fn copies(&self, id: &BlobId) -> impl Iterator<Item = Location> + '_ {
        let start = self.position(id.as_bytes());
        let id = *id.as_bytes();
        (start..self.slots.len())
            .take_while(move |at| self.slots.get(*at).is_some_and(|slot| slot.id == id))
            .filter_map(|at| self.location(at))
    }

    /// A copy that may be deduplicated to.
    #[must_use]
    pub fn find_usable(&self, id: &BlobId) -> Option<Location> {
        self.copies(id).find(|copy| self.is_usable(copy))
    }

    /// Metadata only if it was opened in this run: what nobody has looked at may have rotten, and a list that is built upon unseen (of a dump that is the
    /// same every night) would take the new snapshot with it. Its content may be of any age: files of an old snapshot rest on the same.
    fn is_usable(&self, copy: &Location) -> bool {
        let Some(pack) = self.pack(copy.pack).filter(|pack| pack.usable) else { return false };
        pack.class == PackClass::Content || (self.is_opened(copy.slot) && !self.is_broken(copy.pack))
    }

    /// Notes that a metadata blob of this pack did not open: nothing in it is built upon in this run.
    pub fn mark_broken(&self, pack: u32) {
        if let Some(broken) = self.broken.get(pack as usize) {
            broken.store(true, Ordering::Relaxed);
        }
    }

    fn is_broken(&self, pack: u32) -> bool {
        self.broken.get(pack as usize).is_some_and(|broken| broken.load(Ordering::Relaxed))
    }

    /// The packs that [`Index::mark_broken`] was called for.
    #[must_use]
    pub fn broken_packs(&self) -> Vec<ObjectId> {
        (0_u32..).zip(&self.packs).filter(|(number, _)| self.is_broken(*number)).map(|(_, pack)| pack.id).collect()
    }

    /// Notes that the metadata blob at a position opened to its id.
    pub fn mark_opened(&self, slot: usize) {
        if let Some(word) = self.opened.get(slot / 64) {
            word.fetch_or(1 << (slot % 64), Ordering::Relaxed);
        }
    }

    /// Whether [`Index::mark_opened`] was called for a position.
    #[must_use]
    pub fn is_opened(&self, slot: usize) -> bool {
        self.opened.get(slot / 64).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (slot % 64)) != 0)
    }

    /// A copy that can be read: a usable one if there is one.
    #[must_use]
    pub fn find(&self, id: &BlobId) -> Option<Location> {
        let whole =
            |copy: &Location| self.pack(copy.pack).is_some_and(|pack| pack.usable) && !self.is_broken(copy.pack);
        self.find_usable(id)
            .or_else(|| self.copies(id).find(whole))
            .or_else(|| self.copies(id).find(|copy| self.pack(copy.pack).is_some_and(|pack| pack.present)))
    }

    /// The pack of this number.
    #[must_use]
    pub fn pack(&self, number: u32) -> Option<&PackState> {
        self.packs.get(number as usize)
    }

    /// The number of a pack.
    #[must_use]
    pub fn pack_number(&self, id: &ObjectId) -> Option<u32> {
        self.by_pack.get(id).copied()
    }

    /// The session of this number.
    #[must_use]
    pub fn session(&self, number: u32) -> Option<SessionId> {
        self.sessions.get(number as usize).copied()
    }

    /// Every pair of a pack and one of its sessions, by number; `None` for a metadata pack.
    pub fn places(&self) -> impl Iterator<Item = (u32, Option<u32>)> + '_ {
        self.places.iter().map(|place| (place.pack, (place.session != NO_SESSION).then_some(place.session)))
    }

    /// Notes that this run relies on the blob at a location; tells whether it did not before.
    pub fn mark_used(&self, location: &Location) -> bool {
        let bit = 1_u64 << (location.slot % 64);
        self.used.get(location.slot / 64).is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    /// Whether [`Index::mark_used`] was called for a position.
    #[must_use]
    pub fn is_used(&self, slot: usize) -> bool {
        self.used.get(slot / 64).is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (slot % 64)) != 0)
    }

    /// The packs, by number, that hold a used blob.
    #[must_use]
    pub fn used_packs(&self) -> BTreeSet<u32> {
        self.iter().filter(|blob| self.is_used(blob.location.slot)).map(|blob| blob.location.pack).collect()
    }

    /// Every blob, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = Indexed> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some(Indexed { id: BlobId::new(slot.id), location: self.location(at)? }))
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
            + self.places.capacity() * size_of::<Place>()
            + self.packs.capacity() * size_of::<PackState>()
            + (self.used.capacity() + self.opened.capacity()) * size_of::<AtomicU64>()
            + self.broken.capacity()
            + self.by_pack.capacity() * (size_of::<(ObjectId, u32)>() + 1)
            + self.sessions.capacity() * size_of::<SessionId>()
    }
}

/// Reads the listed segments into a builder and shows each to `each`. A segment that vanished meanwhile was superseded and is empty. One that does not
/// read is an error, unless it is doomed: then others name its packs (`repo::rebuild`, and a pruner before it marks).
pub(crate) async fn load_segments(
    repository: &Repository,
    listed: &[Listed],
    each: &mut (dyn FnMut(&Key, &IndexSegment) + Send),
) -> Result<IndexBuilder, RepoError> {
    // What lies in the wrong place is no segment.
    let listed: Vec<&Listed> = listed.iter().filter(|entry| layout::object_id(&entry.key).is_some()).collect();
    let bytes: u64 = listed.iter().map(|entry| entry.size).sum();
    let blobs = usize::try_from(bytes).unwrap_or(usize::MAX) / RECORD_BYTES;
    let mut builder = IndexBuilder::with_capacity(blobs);
    let keys: Vec<Key> = listed.iter().map(|entry| entry.key.clone()).collect();
    let mut segments = stream::iter(keys)
        .map(|key| async move {
            let read = read_segment(repository, &key).await;
            (key, read)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let blame = Blame::default();
    let mut broken = Vec::new();
    while let Some((key, read)) = segments.next().await {
        let segment = match read {
            Ok(segment) => segment,
            Err(RepoError::Store(error)) if !blame.is_the_objects(&*repository.store, &error).await => {
                return Err(error.into());
            }
            Err(error) => {
                broken.push((key, error));
                continue;
            }
        };
        for pack in &segment.packs {
            builder.add(pack);
        }
        each(&key, &segment);
    }
    if !broken.is_empty() {
        let marks = Marks::load(repository).await?;
        if let Some((key, error)) = broken.into_iter().find(|(key, _)| !marks.is_doomed(key)) {
            // What the store says of it is told as it is.
            return Err(match repository.of_another_key(&error).unwrap_or(error) {
                error @ (RepoError::Store(_) | RepoError::Retired { .. } | RepoError::Unfinished { .. }) => error,
                error => RepoError::Index { key, source: Box::new(error) },
            });
        }
    }
    Ok(builder)
}

/// Reads and checks one segment. One that is gone, or of a retired epoch, was superseded and names nothing.
pub async fn read_segment(repository: &Repository, key: &Key) -> Result<IndexSegment, RepoError> {
    let read = near::read(repository, RecordKind::Index, key).await;
    let segment: IndexSegment = match read {
        Err(RepoError::Store(error)) if error.is_not_found() => return Ok(IndexSegment::default()),
        Err(error) if error.is_retired() => return Ok(IndexSegment::default()),
        other => other?,
    };
    for pack in &segment.packs {
        pack.table.check().map_err(|source| RepoError::Pack { key: key.clone(), source })?;
    }
    Ok(segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::kind::Kind;
    use crate::format::pack::{BlobRecord, PackTable};

    /// A pack of `count` blobs whose ids come from a seeded hash.
    fn pack(seed: u32, count: u32) -> IndexedPack {
        let records: Vec<BlobRecord> = (0..count)
            .map(|n| BlobRecord {
                id: id(seed, n),
                kind: Kind::Data,
                session: 0,
                offset: 200 + n * 10,
                length: 10,
                plain_length: 5,
                sealed_hash: [0; 32],
            })
            .collect();
        let id = ObjectId::new(*blake3::hash(&seed.to_le_bytes()).as_bytes());
        IndexedPack { id, size: 1 << 24, table: PackTable::new(vec![SessionId::new([1; 32])], &records) }
    }

    fn id(seed: u32, n: u32) -> BlobId {
        let text = [seed.to_le_bytes(), n.to_le_bytes()].concat();
        BlobId::new(*blake3::hash(&text).as_bytes())
    }

    #[test]
    fn every_blob_is_found_and_no_other() {
        let mut builder = IndexBuilder::default();
        for seed in 0..50 {
            builder.add(&pack(seed, 100));
        }
        builder.add(&pack(7, 100)); // the same pack in a second segment
        let index = builder.finish(vec![]);
        assert_eq!(index.len(), 5000);
        for seed in 0..50 {
            for n in 0..100 {
                let found = index.find_usable(&id(seed, n)).expect("it was added");
                assert_eq!((found.offset, found.length), (200 + n * 10, 10));
                assert_eq!(index.pack(found.pack).map(|p| p.id), Some(pack(seed, 0).id));
            }
            assert_eq!(index.find_usable(&id(seed, 100)), None);
        }
        assert_eq!(index.find_usable(&BlobId::new([0; 32])), None);
        assert_eq!(index.find_usable(&BlobId::new([255; 32])), None);
    }

    #[test]
    fn ids_that_are_not_uniform_are_found_all_the_same() {
        let mut builder = IndexBuilder::default();
        let records: Vec<BlobRecord> = (0..200_u8)
            .map(|n| BlobRecord {
                id: BlobId::new({
                    let mut raw = [0; 32];
                    raw[31] = n;
                    raw
                }),
                kind: Kind::Leaf,
                session: 0,
                offset: 4 + u32::from(n),
                length: 1,
                plain_length: 1,
                sealed_hash: [0; 32],
            })
            .collect();
        let table = PackTable::new(vec![], &records);
        builder.add(&IndexedPack { id: ObjectId::new([1; 32]), size: 1, table });
        let index = builder.finish(vec![]);
        for record in records {
            assert_eq!(index.find(&record.id).map(|l| l.offset), Some(record.offset));
        }
    }

    #[test]
    fn a_doomed_copy_is_read_but_not_built_upon() {
        let mut builder = IndexBuilder::default();
        builder.add(&pack(1, 10));
        let mut index = builder.finish(vec![]);
        index.packs[0].usable = false;
        assert_eq!(index.find_usable(&id(1, 3)), None);
        assert!(index.find(&id(1, 3)).is_some());
        index.packs[0].present = false;
        assert_eq!(index.find(&id(1, 3)), None);
    }

    #[test]
    fn of_metadata_only_what_opened_is_built_upon() {
        let mut builder = IndexBuilder::default();
        let meta = |seed: u32| {
            let IndexedPack { id, size, table } = pack(seed, 2);
            let records: Vec<BlobRecord> =
                table.records().map(|record| BlobRecord { kind: Kind::Leaf, ..record }).collect();
            IndexedPack { id, size, table: PackTable::new(vec![], &records) }
        };
        builder.add(&pack(1, 10));
        builder.add(&meta(2));
        builder.add(&meta(3));
        let index = builder.finish(vec![]);
        let [broken, opened] = [id(2, 0), id(3, 0)].map(|id| index.find(&id).expect("it can be read"));
        assert_eq!(index.find_usable(&id(3, 0)), None, "nobody opened it yet");
        index.mark_opened(broken.slot);
        index.mark_opened(opened.slot);
        assert!(index.find_usable(&id(2, 0)).is_some());
        index.mark_broken(broken.pack);
        assert_eq!(index.broken_packs(), [pack(2, 0).id]);
        assert_eq!(index.find_usable(&id(2, 0)), None, "its pack is broken");
        assert_eq!(index.find_usable(&id(3, 1)), None, "nobody opened it");
        assert_eq!(index.find_usable(&id(3, 0)), Some(opened));
        assert!(index.find_usable(&id(1, 4)).is_some(), "content");
        assert!(index.find(&id(2, 0)).is_some(), "may still be read");
    }

    #[test]
    fn used_marks_are_told_once() {
        let mut builder = IndexBuilder::default();
        builder.add(&pack(1, 100));
        let index = builder.finish(vec![]);
        let found = index.find(&id(1, 70)).expect("it was added");
        assert!(index.mark_used(&found) && !index.mark_used(&found));
        assert_eq!((0..100).filter(|slot| index.is_used(*slot)).count(), 1);
    }

    #[test]
    fn ten_million_chunks_cost_at_most_48_bytes_each() {
        const PACKS: u32 = 20_000;
        const EACH: u32 = 500;
        let mut builder = IndexBuilder::with_capacity(usize::try_from(PACKS * EACH).unwrap());
        for seed in 0..PACKS {
            builder.add(&pack(seed, EACH));
        }
        let index = builder.finish(vec![]);
        assert_eq!(index.len(), 10_000_000);
        let bytes = index.memory_bytes();
        assert!(bytes <= 480_000_000, "{bytes} bytes for ten million chunks");
        let found = index.find(&id(19_999, 499)).expect("it was added");
        assert_eq!(found.offset, 200 + 499 * 10);
    }
}
