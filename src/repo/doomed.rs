//! Marks of the two-phase deletion: which objects nobody may build upon any more.
//!
//! A mark is honoured wherever it is found, and never withdrawn. What it names may still be read while it is there; it must not be relied on.
//! A mark may name packs, index segments, sessions and other marks; anything else in it is ignored, so that no mark can take a snapshot or a key away.

use std::collections::HashSet;

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::format::kind::RecordKind;
use crate::format::record::DoomMark;
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::{layout, sealed};
use crate::store::{Key, Listed};

/// Marks fetched at once.
const FETCH_AT_ONCE: usize = 8;
/// Most objects that one mark names: about 1 MiB.
pub const OBJECTS_MAX: usize = 10_000;

/// One mark.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Its own name.
    pub key: Key,
    /// When it was stored, by the store's clock: its age counts from here.
    pub modified: Time,
    /// What it dooms.
    pub objects: Vec<Key>,
}

/// All marks of a repository.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// The marks.
    pub marks: Vec<Mark>,
    names: HashSet<Key>,
    packs: HashSet<ObjectId>,
}

/// Whether a mark may name this object at all.
fn may_be_doomed(key: &Key) -> bool {
    [layout::PACKS, layout::INDEX, layout::SESSIONS, layout::DOOMED]
        .iter()
        .any(|prefix| key.as_str().starts_with(prefix))
}

/// The pack that a name names.
#[must_use]
pub fn pack_of(key: &Key) -> Option<ObjectId> {
    layout::pack_id(key)
}

impl Marks {
    /// Reads every mark. One that this repository's key did not seal is not a mark; one whose bytes are rotten is an error, since nobody knows what it
    /// dooms.
    pub async fn load(repository: &Repository) -> Result<Self, RepoError> {
        let mut listed = repository.store.list(layout::DOOMED).await?;
        // What lies in the wrong place is no mark.
        listed.retain(|entry| layout::object_id(&entry.key).is_some());
        let mut read = stream::iter(listed)
            .map(|entry| async move { read_mark(repository, entry).await })
            .buffer_unordered(FETCH_AT_ONCE);
        let mut marks = Self::default();
        while let Some(mark) = read.try_next().await? {
            if let Some(mark) = mark {
                marks.add(mark);
            }
        }
        Ok(marks)
    }

    /// Adds a mark that was just made.
    pub fn add(&mut self, mark: Mark) {
        for key in &mark.objects {
            self.names.insert(key.clone());
            self.packs.extend(pack_of(key));
        }
        self.marks.push(mark);
    }

    /// Whether any mark names this object.
    #[must_use]
    pub fn is_doomed(&self, key: &Key) -> bool {
        self.names.contains(key)
    }

    /// Whether any mark names this pack.
    #[must_use]
    pub fn is_pack_doomed(&self, pack: &ObjectId) -> bool {
        self.packs.contains(pack)
    }
}

async fn read_mark(repository: &Repository, entry: Listed) -> Result<Option<Mark>, RepoError> {
    let read = sealed::read::<DoomMark>(&*repository.store, &repository.meta, RecordKind::Doomed, &entry.key).await;
    let record = match read {
        Ok(record) => record,
        Err(RepoError::Store(error)) if error.is_not_found() => return Ok(None),
        // Rot makes nothing longer: what is too large was planted.
        Err(RepoError::Sealed { .. } | RepoError::Record { .. } | RepoError::TooLarge { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let objects = record.objects.into_iter().filter_map(|name| Key::new(name).ok()).filter(may_be_doomed).collect();
    Ok(Some(Mark { key: entry.key, modified: entry.modified, objects }))
}

/// Writes a mark and reads back when the store says it was stored. With no objects it is a probe: it tells what time the store has.
pub async fn mark(repository: &Repository, objects: Vec<Key>, now: Time) -> Result<Mark, RepoError> {
    let names = objects.iter().map(|key| key.as_str().to_owned()).collect();
    let record = DoomMark { objects: names, created: now };
    let store = &*repository.store;
    // Never locked: a mark must go when its work is done, and whoever could remove it early could remove the data itself.
    let (id, _) = sealed::put(store, &repository.meta, RecordKind::Doomed, layout::DOOMED, &record, None).await?;
    let key = layout::named(layout::DOOMED, &id);
    let listed = store.stat(&key).await?.ok_or_else(|| RepoError::Damaged { key: key.clone() })?;
    Ok(Mark { key, modified: listed.modified, objects })
}
