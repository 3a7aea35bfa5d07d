//! An index for reading when the index itself is damaged: what is left of the segments, and of packs that no segment names the table they carry inside.
//!
//! For restoring only. A pack that no segment names may be one that a pruner has given up, so nothing may be deduplicated to what is found here: every pack
//! that came from its own table is marked not usable. Segments win over tables.

use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::crypto::content::HandedKey;
use crate::format::pack::IndexedPack;
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::index::{Index, IndexBuilder, read_segment};
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::repo::presence::read_table;
use crate::store::{Key, Listed};

/// Segments and tables fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// What could be read.
pub struct Salvaged {
    /// An index to read through.
    pub index: Index,
    /// Packs that are known from their own tables only.
    pub from_tables: usize,
    /// Segments and packs that could not be read.
    pub lost: Vec<(Key, RepoError)>,
}

impl Salvaged {
    /// The index segments among what could not be read.
    pub fn lost_segments(&self) -> impl Iterator<Item = (&Key, &RepoError)> {
        self.lost.iter().filter(|(key, _)| key.as_str().starts_with(layout::INDEX)).map(|(key, error)| (key, error))
    }
}

/// A reader that goes on where the index is damaged or a part of it is gone; `told` hears of it, at once or when the first blob is missed.
pub async fn reader(
    repository: &Arc<Repository>,
    told: impl Fn(&Salvaged) + Send + Sync + 'static,
) -> Result<Arc<Reader>, RepoError> {
    Ok(Arc::new(open(repository, told).await?))
}

/// The same without an identity, for who was handed these keys.
pub async fn reader_with_keys(
    repository: &Arc<Repository>,
    keys: Vec<HandedKey>,
    told: impl Fn(&Salvaged) + Send + Sync + 'static,
) -> Result<Arc<Reader>, RepoError> {
    Ok(Arc::new(open(repository, told).await?.with_keys(keys)))
}

async fn open(
    repository: &Arc<Repository>,
    told: impl Fn(&Salvaged) + Send + Sync + 'static,
) -> Result<Reader, RepoError> {
    match Index::load(repository).await {
        Ok(index) => Ok(Reader::new(repository.clone(), Arc::new(index)).salvaging(told)),
        Err(error) => {
            if let RepoError::Store(cause) = &error
                && !Blame::default().is_the_objects(&*repository.store, cause).await
            {
                return Err(error);
            }
            let salvaged = load(repository).await?;
            told(&salvaged);
            Ok(Reader::new(repository.clone(), Arc::new(salvaged.index)))
        }
    }
}

/// Reads all of the index that reads, then the tables of packs that it does not name.
pub async fn load(repository: &Repository) -> Result<Salvaged, RepoError> {
    let mut builder = IndexBuilder::default();
    let mut lost = Vec::new();
    let mut readable = Vec::new();
    let listed = repository.store.list(layout::INDEX).await?;
    let mut segments = stream::iter(listed)
        .map(|entry| async move {
            let segment = read_segment(repository, &entry.key).await;
            (entry.key, segment)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    while let Some((key, segment)) = segments.next().await {
        match segment {
            Ok(segment) => {
                segment.packs.iter().for_each(|pack| builder.add(pack));
                readable.push(key);
            }
            Err(error) => lost.push((key, error)),
        }
    }
    let packs = repository.store.list(layout::PACKS).await?;
    let unnamed: Vec<Listed> = packs
        .into_iter()
        .filter(|entry| layout::belongs(&entry.key))
        .filter(|entry| layout::object_id(&entry.key).is_some_and(|id| !builder.knows(&id)))
        .collect();
    let mut tables = stream::iter(unnamed)
        .map(|entry| async move {
            let table = table_of(repository, &entry).await;
            (entry.key, table)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let mut found = Vec::new();
    while let Some((key, table)) = tables.next().await {
        match table {
            Ok(pack) => {
                builder.add(&pack);
                found.push(pack.id);
            }
            Err(error) => lost.push((key, error)),
        }
    }
    let mut index = builder.finish(readable);
    for pack in &mut index.packs {
        pack.usable &= !found.contains(&pack.id);
    }
    Ok(Salvaged { index, from_tables: found.len(), lost })
}

/// A pack as its own table describes it.
async fn table_of(repository: &Repository, entry: &Listed) -> Result<IndexedPack, RepoError> {
    let id = layout::object_id(&entry.key).ok_or_else(|| RepoError::Damaged { key: entry.key.clone() })?;
    Ok(IndexedPack { id, size: entry.size, table: read_table(repository, &id, entry.size).await? })
}
