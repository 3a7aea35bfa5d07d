//! Reading through copies near at hand: records named by their hash, and metadata blobs, that were read before.
//!
//! Only for who looks (see [`Repository::near`]). Whoever writes, checks, or says that something can be read reads from the store itself: a copy hides that the
//! object is gone or rotten. Content is never copied.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use minicbor::Decode;

use crate::base::id::BlobId;
use crate::format::kind::{Kind, RecordKind};
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::sealed;
use crate::store::Key;
use crate::store::cache::Cache;

/// Longest blob that is copied: a leaf has some tens of KiB.
const BLOB_BYTES_MAX: usize = 4 << 20;

impl Repository {
    /// The same repository, read through copies in a folder of its own below `directory`, together no more than `bytes_max`.
    #[must_use]
    pub fn near(mut self, directory: &Path, bytes_max: u64) -> Self {
        let key = self.cache_key();
        self.cache = Some(Cache::new(directory.join(self.id.to_string()), key, bytes_max));
        self
    }
}

/// Reads a record named by its hash: from its copy, or from the store.
pub(super) async fn read<T: for<'b> Decode<'b, ()>>(
    repository: &Repository,
    kind: RecordKind,
    key: &Key,
) -> Result<T, RepoError> {
    let Some(cache) = &repository.cache else {
        return sealed::read(&*repository.store, &repository.meta, kind, key).await;
    };
    if let Some(Some(copy)) = cache.get(vec![key.to_string()]).await.pop()
        && let Ok(record) = sealed::open_named(&repository.meta, kind, key, &copy)
    {
        return Ok(record);
    }
    let stored = sealed::get_of(&*repository.store, kind, key).await?;
    let record = sealed::open_named(&repository.meta, kind, key, &stored)?;
    cache.put(vec![(key.to_string(), stored)]).await;
    Ok(record)
}

fn name(kind: Kind, id: &BlobId) -> String {
    format!("blob/{}/{id}", kind.number())
}

/// The sealed bytes of those metadata blobs that there is a copy of.
pub(super) async fn blobs(repository: &Repository, kind: Kind, ids: &[BlobId]) -> HashMap<BlobId, Bytes> {
    let Some(cache) = &repository.cache else { return HashMap::new() };
    let copies = cache.get(ids.iter().map(|id| name(kind, id)).collect()).await;
    ids.iter().zip(copies).filter_map(|(id, copy)| Some((*id, copy?))).collect()
}

/// Keeps copies of sealed metadata blobs that opened to their ids.
pub(super) async fn keep(repository: &Repository, kind: Kind, opened: Vec<(BlobId, Bytes)>) {
    let Some(cache) = &repository.cache else { return };
    let fits = |(_, sealed): &(BlobId, Bytes)| sealed.len() <= BLOB_BYTES_MAX;
    let copies: Vec<_> = opened.into_iter().filter(fits).map(|(id, sealed)| (name(kind, &id), sealed)).collect();
    if !copies.is_empty() {
        cache.put(copies).await;
    }
}
