//! The chain of snapshots: reading all of it, its heads, and what is missing from it.
//!
//! Every record names the heads that its writer saw. A record that is named and neither there nor in a tombstone was removed by somebody else.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::when::{self, Listed};
use crate::format::kind::RecordKind;
use crate::format::record::{ChainRecord, Link, SnapshotRecord, Tombstone};
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::{layout, near, sealed};
use crate::store;

/// Records fetched at once.
const FETCH_AT_ONCE: usize = 16;

/// A snapshot with its id.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: ObjectId,
    /// Its record.
    pub record: SnapshotRecord,
}

/// The tag of a copy that was made of a volume right before a restore replaced what was in it.
pub const BEFORE_RESTORE: &str = "before-restore";

impl Listed for Snapshot {
    fn id(&self) -> ObjectId {
        self.id
    }

    fn source(&self) -> &str {
        &self.record.source
    }

    fn time(&self) -> Time {
        self.record.started
    }

    fn sequence(&self) -> u64 {
        self.record.link.sequence
    }

    fn is_aside(&self) -> bool {
        self.record.tags.contains_key(BEFORE_RESTORE)
    }
}

/// All records of the chain.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The snapshots, oldest first (by start, then id).
    pub snapshots: Vec<Snapshot>,
    /// The tombstones.
    pub tombstones: BTreeMap<ObjectId, Tombstone>,
    /// Records that do not read: named, with the reason.
    pub unreadable: Vec<(ObjectId, String)>,
    /// Snapshots that are forgotten, or were taken back, and whose records are still there: a lock keeps them, or whoever forgot them was killed. For
    /// everybody but `prune` and `forget` they are gone.
    pub leaving: Vec<Snapshot>,
    /// Records that do not read and that were forgotten all the same.
    pub leaving_unreadable: Vec<ObjectId>,
    /// Records of an epoch whose writer key was retired: they are no part of the chain.
    pub retired: Vec<ObjectId>,
}

impl Link {
    fn of(record: &ChainRecord) -> &Self {
        match record {
            ChainRecord::Snapshot(snapshot) => &snapshot.link,
            ChainRecord::Tombstone(tombstone) => &tombstone.link,
        }
    }
}

impl Chain {
    /// Reads every record. One that does not open is listed in [`Chain::unreadable`], so that the others can be used; one that the store cannot read is
    /// an error, since whoever writes must not act as if it were not there.
    pub async fn load(repository: &Repository) -> Result<Self, RepoError> {
        Self::read(repository, false).await
    }

    /// The same for who only reads: a bad sector under one record does not hide the others.
    pub async fn load_to_read(repository: &Repository) -> Result<Self, RepoError> {
        Self::read(repository, true).await
    }

    async fn read(repository: &Repository, tolerant: bool) -> Result<Self, RepoError> {
        let listed = repository.store.list(layout::SNAPSHOTS).await?;
        Self::of(repository, listed, tolerant).await
    }

    /// Of the records that were listed.
    async fn of(repository: &Repository, listed: Vec<store::Listed>, tolerant: bool) -> Result<Self, RepoError> {
        let records = stream::iter(listed)
            .map(|entry| async move {
                let read = near::read(repository, RecordKind::Snapshot, &entry.key).await;
                (layout::object_id(&entry.key), read)
            })
            .buffer_unordered(FETCH_AT_ONCE)
            .map(Ok::<_, RepoError>)
            .try_collect::<Vec<_>>()
            .await?;
        let mut chain = Self::default();
        let blame = Blame::default();
        for (id, read) in records {
            let Some(id) = id else { continue };
            match read {
                Ok(ChainRecord::Snapshot(record)) => chain.snapshots.push(Snapshot { id, record: *record }),
                Ok(ChainRecord::Tombstone(record)) => {
                    chain.tombstones.insert(id, record);
                }
                // Forgotten between the listing and the reading.
                Err(RepoError::Store(error)) if error.is_not_found() => {}
                // Sealed anew when its key was retired, or made with that key since.
                Err(error) if error.is_retired() => chain.retired.push(id),
                Err(RepoError::Store(error))
                    if !tolerant || !blame.is_the_objects(&*repository.store, &error).await =>
                {
                    return Err(error.into());
                }
                Err(error) => match repository.of_another_key(&error).filter(|_| !tolerant) {
                    // To be forgotten as unreadable by nobody.
                    Some(error) => return Err(error),
                    None => chain.unreadable.push((id, error.to_string())),
                },
            }
        }
        chain.settle();
        Ok(chain)
    }

    /// Sorts the snapshots, and sets aside what a tombstone says was forgotten; to be called when all records were added.
    pub fn settle(&mut self) {
        let forgotten = self.forgotten();
        let (leaving, staying) =
            std::mem::take(&mut self.snapshots).into_iter().partition(|snapshot| forgotten.contains(&snapshot.id));
        (self.leaving, self.snapshots) = (leaving, staying);
        self.snapshots.sort_by_key(|snapshot| (snapshot.record.started, snapshot.id));
        let (leaving, unreadable): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unreadable).into_iter().partition(|(id, _)| forgotten.contains(id));
        self.leaving_unreadable = leaving.into_iter().map(|(id, _)| id).collect();
        self.unreadable = unreadable;
    }

    fn links(&self) -> impl Iterator<Item = (ObjectId, &Link)> + Clone {
        let snapshots = self.snapshots.iter().chain(&self.leaving);
        let snapshots = snapshots.map(|snapshot| (snapshot.id, &snapshot.record.link));
        snapshots.chain(self.tombstones.iter().map(|(id, tombstone)| (*id, &tombstone.link)))
    }

    /// Every record that reads, with its place in the chain.
    pub(crate) fn places(&self) -> impl Iterator<Item = (ObjectId, u64)> + '_ {
        self.links().map(|(id, link)| (id, link.sequence))
    }

    /// The last place in the chain; 0 if there is no record.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.places().map(|(_, sequence)| sequence).max().unwrap_or(0)
    }

    /// The place of a record that is written now.
    #[must_use]
    pub fn next_link(&self) -> Link {
        next_after(self.links())
    }

    /// The places of all records that read, for [`next_link`] later on.
    pub(crate) fn links_by_id(&self) -> Links {
        self.links().map(|(id, link)| (id, link.clone())).collect()
    }

    /// Whether a record is there, whatever became of it.
    #[must_use]
    pub fn has(&self, id: &ObjectId) -> bool {
        self.links().any(|(there, _)| there == *id)
            || self.unreadable.iter().any(|(there, _)| there == id)
            || self.leaving_unreadable.contains(id)
    }

    /// When the chain began, if its first record is still there: the earliest of those that name no parent.
    #[must_use]
    pub fn begun(&self) -> Option<Time> {
        let snapshots = self.snapshots.iter().chain(&self.leaving).map(|one| (&one.record.link, one.record.started));
        let records = snapshots.chain(self.tombstones.values().map(|one| (&one.link, one.created)));
        records.filter(|(link, _)| link.parents.is_empty()).map(|(_, time)| time).min()
    }

    /// Every record that one which is there names as a parent.
    #[must_use]
    pub fn named(&self) -> BTreeSet<ObjectId> {
        self.links().flat_map(|(_, link)| link.parents.iter().copied()).collect()
    }

    /// Records that another names and that are neither there nor forgotten on purpose: lost or removed by somebody.
    #[must_use]
    pub fn gaps(&self) -> Vec<ObjectId> {
        let forgotten: BTreeSet<&ObjectId> = self.tombstones.values().flat_map(|t| &t.forgotten).collect();
        let there: BTreeSet<ObjectId> =
            self.links().map(|(id, _)| id).chain(self.unreadable.iter().map(|(id, _)| *id)).collect();
        self.named().into_iter().filter(|id| !there.contains(id) && !forgotten.contains(id)).collect()
    }

    /// The newest snapshot of a source: the last in the chain, whatever the clocks said (docs/decisions/0014).
    #[must_use]
    pub fn newest_of(&self, source: &str) -> Option<&Snapshot> {
        let of_source = self.snapshots.iter().filter(|snapshot| snapshot.record.source == source);
        of_source.max_by_key(|snapshot| when::newest_first_key(*snapshot))
    }

    /// The same of those that are meant by `latest`.
    #[must_use]
    pub fn latest_of(&self, source: &str) -> Option<&Snapshot> {
        let of_source = self.snapshots.iter().filter(|one| one.record.source == source && !one.is_aside());
        of_source.max_by_key(|snapshot| when::newest_first_key(*snapshot))
    }

    /// Snapshots that are dated in the future: some clock was wrong.
    pub fn from_the_future(&self, now: Time) -> impl Iterator<Item = &Snapshot> {
        self.snapshots.iter().filter(move |snapshot| snapshot.record.started.is_future(now))
    }
}

/// The places of records, by their ids.
pub(crate) type Links = BTreeMap<ObjectId, Link>;

/// The place after all of these.
fn next_after<'l>(links: impl Iterator<Item = (ObjectId, &'l Link)> + Clone) -> Link {
    let named: BTreeSet<&ObjectId> = links.clone().flat_map(|(_, link)| &link.parents).collect();
    let heads: BTreeMap<ObjectId, u64> =
        links.filter(|(id, _)| !named.contains(id)).map(|(id, link)| (id, link.sequence)).collect();
    Link {
        sequence: heads.values().max().map_or(1, |highest| highest.saturating_add(1)),
        parents: heads.into_keys().collect(),
    }
}

/// The place of a record that is written now: after all that are listed now. Those in `known` were read in this run, and a record never changes; only the others
/// are read.
pub(crate) async fn next_link(repository: &Repository, known: &Links) -> Result<Link, RepoError> {
    let listed = repository.store.list(layout::SNAPSHOTS).await?;
    let (mut links, mut unread) = (Links::default(), Vec::new());
    for entry in listed {
        match layout::object_id(&entry.key).and_then(|id| Some((id, known.get(&id)?))) {
            Some((id, link)) => _ = links.insert(id, link.clone()),
            None => unread.push(entry),
        }
    }
    let chain = Chain::of(repository, unread, false).await?;
    links.extend(chain.links_by_id());
    Ok(next_after(links.iter().map(|(id, link)| (*id, link))))
}

/// The record of one snapshot; its name proves it.
pub async fn read_one(repository: &Repository, id: ObjectId) -> Result<SnapshotRecord, RepoError> {
    let key = layout::named(layout::SNAPSHOTS, &id);
    let record = near::read(repository, RecordKind::Snapshot, &key).await?;
    match record {
        ChainRecord::Snapshot(record) => Ok(*record),
        ChainRecord::Tombstone(_) => {
            Err(RepoError::Tree { at: key.to_string(), reason: "it is the record of something forgotten".to_owned() })
        }
    }
}

/// Puts a record of the chain; returns its id and stored size.
pub async fn put(
    repository: &Repository,
    record: &ChainRecord,
    retain_until: Option<Time>,
) -> Result<(ObjectId, u64), RepoError> {
    debug_assert!(Link::of(record).sequence > 0, "a link comes from next_link");
    sealed::put(&*repository.store, &repository.meta, RecordKind::Snapshot, layout::SNAPSHOTS, record, retain_until)
        .await
}
