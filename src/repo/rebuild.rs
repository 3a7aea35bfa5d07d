//! Making the index whole again from the tables that packs carry inside.
//!
//! Packs that no readable segment names get into new segments; then the segments that do not read are doomed, so that writers and pruners pass over them and
//! a later `prune` takes them away. Promise: a segment is set aside only after what can be known of its packs is durable; nothing is deleted.
//!
//! Doomed packs are indexed too: until they are deleted theirs may be the only copy of something. A table proves that whoever made the pack held the
//! metadata key, as a segment does; no more is promised of either.

use std::collections::HashSet;

use futures::stream::{self, StreamExt};

use crate::base::clock::Clock;
use crate::base::id::ObjectId;
use crate::format::pack::IndexedPack;
use crate::repo::blame::Blame;
use crate::repo::doomed::{self, Marks};
use crate::repo::error::RepoError;
use crate::repo::index::{IndexBuilder, read_segment};
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::repo::presence::{Presence, put_segments, read_table};
use crate::store::{Key, Listed};

/// Segments and tables fetched at once.
const FETCH_AT_ONCE: usize = 6;

/// What was done.
#[derive(Debug, Default)]
pub struct Rebuilt {
    /// Segments that do not read and are now doomed.
    pub set_aside: Vec<Key>,
    /// Packs that are in new segments.
    pub packs: u64,
    /// Packs that no segment names and whose own table does not read either, with the reason.
    pub lost: Vec<(Key, RepoError)>,
    /// Every pack that the index names now.
    pub known: HashSet<ObjectId>,
}

/// What the index says of packs.
pub struct Named {
    builder: IndexBuilder,
    /// Segments that do not read.
    unreadable: Vec<Key>,
}

impl Named {
    /// Reads all segments.
    pub async fn read(repository: &Repository) -> Result<Self, RepoError> {
        let (mut builder, mut unreadable) = (IndexBuilder::default(), Vec::new());
        let blame = Blame::default();
        let listed = repository.store.list(layout::INDEX).await?;
        let mut segments = stream::iter(listed)
            .filter(|entry| std::future::ready(layout::belongs(&entry.key)))
            .map(|entry| async move {
                let read = read_segment(repository, &entry.key).await;
                (entry.key, read)
            })
            .buffer_unordered(FETCH_AT_ONCE);
        while let Some((key, read)) = segments.next().await {
            match read {
                Ok(segment) => segment.packs.iter().for_each(|pack| builder.add(pack)),
                Err(RepoError::Store(error)) if !blame.is_the_objects(&*repository.store, &error).await => {
                    return Err(error.into());
                }
                Err(error) => match repository.of_another_key(&error) {
                    // It names packs that nothing else names yet, and whose tables this key does not open.
                    Some(error) => return Err(error),
                    None => unreadable.push(key),
                },
            }
        }
        Ok(Named { builder, unreadable })
    }

    /// The packs that readable segments name.
    #[must_use]
    pub fn packs(&self) -> HashSet<ObjectId> {
        self.builder.packs().collect()
    }

    /// Packs that no readable segment names.
    pub async fn unnamed(&self, repository: &Repository) -> Result<Vec<Listed>, RepoError> {
        let presence = Presence::load(repository).await?;
        Ok(presence.packs.into_iter().filter(|(id, _)| !self.builder.knows(id)).map(|(_, entry)| entry).collect())
    }

    /// Names what is not named; see the module.
    pub async fn rebuild(self, repository: &Repository, clock: &dyn Clock) -> Result<Rebuilt, RepoError> {
        let Self { builder, unreadable } = self;
        let mut rebuilt = Rebuilt { set_aside: unreadable, ..Rebuilt::default() };
        let blame = Blame::default();
        let marks = Marks::load(repository).await?;
        rebuilt.set_aside.retain(|key| !marks.is_doomed(key));
        let presence = Presence::load(repository).await?;
        let unnamed: Vec<_> = presence.packs.iter().filter(|(id, _)| !builder.knows(id)).collect();
        let mut tables = stream::iter(unnamed)
            .map(|(id, entry)| async move { (*id, entry, read_table(repository, id, entry.size).await) })
            .buffer_unordered(FETCH_AT_ONCE);
        let mut found = Vec::new();
        while let Some((id, entry, read)) = tables.next().await {
            match read {
                Ok(table) => found.push(IndexedPack { id, size: entry.size, table }),
                Err(RepoError::Store(error)) if error.is_not_found() => {} // pruned meanwhile
                Err(RepoError::Store(error)) if !blame.is_the_objects(&*repository.store, &error).await => {
                    return Err(error.into());
                }
                Err(error) => rebuilt.lost.push((entry.key.clone(), error)),
            }
        }
        drop(tables);
        rebuilt.packs = found.len() as u64;
        rebuilt.known = builder.packs().chain(found.iter().map(|pack| pack.id)).collect();
        put_segments(repository, found, presence.latest()).await?;
        for segments in rebuilt.set_aside.chunks(doomed::OBJECTS_MAX) {
            doomed::mark(repository, segments.to_vec(), clock.now()).await?;
        }
        Ok(rebuilt)
    }
}

/// See the module. Needs the writer key only.
pub async fn rebuild_index(repository: &Repository, clock: &dyn Clock) -> Result<Rebuilt, RepoError> {
    Named::read(repository).await?.rebuild(repository, clock).await
}
