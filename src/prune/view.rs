//! What a pruner sees: everything listed in the one order that makes it safe to act upon, and what is needed of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::clock::{Clock, Time};
use crate::base::id::{ObjectId, SessionId};
use crate::crypto::hash::object_id;
use crate::format::pack::IndexedPack;
use crate::prune::reach::Reach;
use crate::prune::{PruneError, Settings};
use crate::repo::doomed::{self, Mark, Marks};
use crate::repo::index::{Index, Indexed, load_segments};
use crate::repo::presence::{Presence, adopt};
use crate::repo::snapshots::Chain;
use crate::repo::witness;
use crate::repo::{Repository, checkpoint, layout};
use crate::store::{Key, StoreError};

/// An index segment as it was found.
pub(crate) struct Segment {
    pub key: Key,
    pub size: u64,
    /// Its packs and how many blobs each has.
    pub packs: Vec<(ObjectId, usize)>,
}

/// See the module.
pub(crate) struct View {
    /// The store's time; never later than it really is.
    pub now: Time,
    pub marks: Marks,
    pub chain: Chain,
    /// Packs that running backups rely on.
    pub protected: BTreeSet<ObjectId>,
    /// Checkpoints and records of the chain that say nothing any more.
    pub expired: Vec<Key>,
    pub segments: Vec<Segment>,
    /// The used bit of the first copy of a blob says that it is needed; `usable` of a pack that it is there and unmarked.
    pub index: Arc<Index>,
    pub presence: Presence,
    /// Packs that no segment named.
    pub adopted: Vec<IndexedPack>,
    /// Index segments, marks and sessions that are there.
    others: HashSet<Key>,
    /// Packs with a session whose object is gone, by number: no writer builds upon them.
    orphaned: HashSet<u32>,
}

/// Asks the store for its time with an empty mark; `None` where nothing may or can be written.
pub(crate) async fn store_time(repository: &Repository, clock: &Arc<dyn Clock>) -> Result<Option<Time>, PruneError> {
    use crate::repo::RepoError::Store;
    match doomed::mark(repository, Vec::new(), clock.now()).await {
        Ok(Mark { key, modified, .. }) => {
            // An empty mark dooms nothing: one that cannot be removed now is removed with the finished ones.
            let _ = repository.store.delete(&key).await;
            Ok(Some(modified))
        }
        Err(Store(StoreError::ReadOnly { .. } | StoreError::Denied { .. })) => Ok(None),
        Err(Store(StoreError::Full { .. })) => Ok(time_of_full(repository).await),
        Err(error) => Err(error.into()),
    }
}

/// The time of a store that is full, by an object of no bytes: most take one, since it needs a name and no space. It is no mark, since it does not open.
async fn time_of_full(repository: &Repository) -> Option<Time> {
    let key = layout::named(layout::DOOMED, &object_id(&[]));
    // One that was left behind would show the time when it was put.
    let _ = repository.store.delete(&key).await;
    let put = repository.store.put_new(&key, Bytes::new(), None).await;
    let found = repository.store.stat(&key).await;
    let _ = repository.store.delete(&key).await;
    put.ok().and(found.ok().flatten()).map(|entry| entry.modified)
}

async fn load_chain(repository: &Repository) -> Result<Chain, PruneError> {
    let mut chain = Chain::load(repository).await?;
    let mut gaps = witness::gaps(repository, &chain).await?;
    if !gaps.is_empty() {
        // Somebody may have forgotten a snapshot between the listing and the reading; then the second look sees the tombstone.
        chain = Chain::load(repository).await?;
        gaps = witness::gaps(repository, &chain).await?;
    }
    if let Some(first) = gaps.first() {
        return Err(PruneError::Gaps { count: gaps.len(), first: *first });
    }
    if let Some((first, reason)) = chain.unreadable.first() {
        let (first, reason) = (*first, reason.clone());
        return Err(PruneError::Unreadable { count: chain.unreadable.len(), first, reason });
    }
    Ok(chain)
}

impl View {
    /// Lists, reads and walks everything; refuses what must not be acted upon. Of the packs that no segment names at most `adopt_max` are taken in, which
    /// the caller must put into segments before anything is deleted; the others are strangers, on which nothing rests.
    pub(crate) async fn load(
        repository: &Arc<Repository>,
        settings: &Settings,
        clock: &Arc<dyn Clock>,
        adopt_max: usize,
    ) -> Result<Self, PruneError> {
        let now = store_time(repository, clock).await?;
        // The order matters. Snapshots before the index: what a snapshot needs was indexed before it. The index before packs: a pack was stored before
        // it was indexed, so one that is not listed is gone. Marks before packs: one that is listed and unmarked was not deleted meanwhile.
        let marks = Marks::load(repository).await?;
        let chain = load_chain(repository).await?;
        let now = now.unwrap_or_else(|| marks.marks.iter().map(|mark| mark.modified).max().unwrap_or_default());
        let checkpoints = checkpoint::protected(repository, now, settings.grace.saturating_mul(2)).await?;
        let (protected, mut expired) = (checkpoints.packs, checkpoints.expired);
        // Where a rotation could not remove them, and in a copy of the repository.
        expired.extend(chain.retired.iter().map(|id| layout::named(layout::SNAPSHOTS, id)));
        let listed = repository.store.list(layout::INDEX).await?;
        let mut packs_of: HashMap<Key, Vec<(ObjectId, usize)>> = HashMap::new();
        let mut builder = load_segments(repository, &listed, &mut |key, segment| {
            let packs = segment.packs.iter().map(|pack| (pack.id, pack.table.len())).collect();
            packs_of.insert(key.clone(), packs);
        })
        .await?;
        let presence = Presence::load(repository).await?;
        let adopted = adopt(repository, &mut builder, &marks, &presence, adopt_max).await?;
        let mut index = builder.finish(Vec::new());
        for pack in &mut index.packs {
            pack.present = presence.packs.contains_key(&pack.id);
            pack.usable = presence.has(&pack.id, pack.size) && !marks.is_pack_doomed(&pack.id);
        }
        let gone = |session: Option<u32>| {
            let session = session.and_then(|session| index.session(session));
            session.is_some_and(|session| !presence.sessions.contains_key(&session))
        };
        let orphaned = index.places().filter(|(_, session)| gone(*session)).map(|(pack, _)| pack).collect();
        let others = listed.iter().map(|entry| &entry.key).chain(marks.marks.iter().map(|mark| &mark.key));
        let others = others.chain(presence.sessions.values().map(|entry| &entry.key)).cloned().collect();
        let segments = listed
            .into_iter()
            .map(|entry| {
                let packs = packs_of.remove(&entry.key).unwrap_or_default();
                Segment { key: entry.key, size: entry.size, packs }
            })
            .collect();
        let index = Arc::new(index);
        let view = Self { now, marks, chain, protected, expired, segments, index, presence, adopted, others, orphaned };
        view.mark_needed(repository, settings).await?;
        Ok(view)
    }

    async fn mark_needed(&self, repository: &Arc<Repository>, settings: &Settings) -> Result<(), PruneError> {
        let (gone, kept) = (&self.chain.leaving, &self.chain.snapshots);
        if kept.is_empty() && !self.presence.packs.is_empty() && !settings.allow_empty {
            return Err(PruneError::NoSnapshots { packs: self.presence.packs.len() });
        }
        let mut reach = Reach::new(repository.clone(), self.index.clone());
        for snapshot in kept {
            let walked = reach.walk(snapshot.record.root).await;
            walked.map_err(|source| PruneError::Tree { snapshot: snapshot.id, source })?;
        }
        if let Some(first) = reach.first_missing.filter(|_| !settings.allow_missing) {
            return Err(PruneError::MissingData { count: reach.missing, first });
        }
        // A forgotten snapshot whose record is still there (a lock keeps it, or `forget` was killed) is spared while it can be read. It must come last:
        // a walk that breaks off leaves bits for blobs whose children it never saw.
        for snapshot in gone {
            let _ = reach.walk(snapshot.record.root).await;
        }
        Ok(())
    }

    /// Calls `each` with all copies of every needed blob.
    pub(crate) fn for_needed(&self, mut each: impl FnMut(&[Indexed])) {
        let mut copies: Vec<Indexed> = Vec::new();
        let mut flush = |copies: &mut Vec<Indexed>| {
            if copies.first().is_some_and(|first| self.index.is_used(first.location.slot)) {
                each(copies);
            }
            copies.clear();
        };
        for blob in self.index.iter() {
            if copies.last().is_some_and(|last| last.id != blob.id) {
                flush(&mut copies);
            }
            copies.push(blob);
        }
        flush(&mut copies);
    }

    /// Of all copies of a needed blob those that can be relied on: in packs that `usable` takes. Metadata was opened on the way; where a copy of it did, the
    /// others are not counted on, since the one that did not open must not be the one that stays. Nor are those in a pack whose session is gone (of a run that slept for
    /// days and then failed) where another copy is whole: no writer builds upon such a pack, and each would store the blob anew.
    pub(crate) fn good<'c>(
        &'c self,
        copies: &'c [Indexed],
        usable: &'c dyn Fn(u32) -> bool,
    ) -> impl Iterator<Item = &'c Indexed> + 'c {
        let opened = |copy: &Indexed| self.index.is_opened(copy.location.slot);
        let any_opened = copies.iter().any(opened);
        let counts = move |copy: &Indexed| usable(copy.location.pack) && (!any_opened || opened(copy));
        let whole = |copy: &Indexed| !self.orphaned.contains(&copy.location.pack);
        let any_whole = copies.iter().any(|copy| counts(copy) && whole(copy));
        copies.iter().filter(move |copy| counts(copy) && (!any_whole || whole(copy)))
    }

    /// Sessions that a pack which is there was sealed by.
    pub(crate) fn sessions_in_use(&self) -> HashSet<SessionId> {
        let there = |pack: u32| self.index.pack(pack).is_some_and(|pack| pack.present);
        self.index
            .places()
            .filter(|(pack, _)| there(*pack))
            .filter_map(|(_, session)| session.and_then(|session| self.index.session(session)))
            .collect()
    }

    /// Packs that are there and that nothing names, so that nobody knows what is in them.
    pub(crate) fn strangers(&self) -> impl Iterator<Item = &ObjectId> {
        self.presence.packs.keys().filter(|id| self.index.pack_number(id).is_none())
    }

    /// Whether a markable object is there.
    pub(crate) fn is_there(&self, key: &Key) -> bool {
        match doomed::pack_of(key) {
            Some(pack) => self.presence.packs.contains_key(&pack),
            None => self.others.contains(key),
        }
    }
}
