//! Moving sealed blobs as they are, with the wraps of their sessions, into new packs: needs no key to content.
//!
//! Every blob is checked against the hash of its sealed bytes on the way. Nothing counts before [`Rescue::finish`] has returned.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::base::clock::Clock;
use crate::base::id::{BlobId, ObjectId};
use crate::crypto::hash::object_id;
use crate::format::kind::RecordKind;
use crate::format::pack::{self, BlobRecord, PACK_BYTES_MAX, PackClass, PackTable, Wrap};
use crate::format::record::SessionRecord;
use crate::repo::error::RepoError;
use crate::repo::index::read_segment;
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::repo::packer::{PackBuilder, table_in};
use crate::repo::sealed::{self, get_within};
use crate::repo::upload::{PackSender, Uploads};
use crate::repo::write::Written;

/// Copies blobs into new packs; see the module.
pub struct Rescue {
    repository: Arc<Repository>,
    uploads: Uploads,
    sender: PackSender,
    content: PackBuilder,
    metadata: PackBuilder,
}

impl Rescue {
    /// Starts; nothing is stored until there is something to store.
    #[must_use]
    pub fn start(repository: Arc<Repository>, clock: Arc<dyn Clock>) -> Self {
        let uploads = Uploads::start(repository.clone(), clock);
        let sender = uploads.sender();
        let content = PackBuilder::new(PackClass::Content, uploads.buffers());
        let metadata = PackBuilder::new(PackClass::Metadata, uploads.buffers());
        Self { repository, uploads, sender, content, metadata }
    }

    /// Copies the blobs of `pack` that are wanted; [`RepoError::Vanished`] if the pack is gone or lacks one of them. Returns those that are damaged.
    pub async fn copy(&mut self, pack: &ObjectId, wanted: &HashSet<BlobId>) -> Result<Vec<BlobId>, RepoError> {
        let own = self.repository.clone();
        self.copy_from(&own, pack, wanted).await
    }

    /// The same out of a pack of another store of this repository.
    pub(crate) async fn copy_from(
        &mut self,
        from: &Repository,
        pack: &ObjectId,
        wanted: &HashSet<BlobId>,
    ) -> Result<Vec<BlobId>, RepoError> {
        let key = layout::pack(pack);
        let bytes = match get_within(&*from.store, &key, PACK_BYTES_MAX as u64).await {
            Err(RepoError::Store(error)) if error.is_not_found() => return Err(RepoError::Vanished { pack: *pack }),
            other => other?,
        };
        let table = table_of(from, pack, &bytes).await?;
        self.copy_bytes(from, pack, &table, bytes, wanted).await
    }

    /// All blobs of a pack of which the bytes are at hand, wherever they lie.
    pub(crate) async fn copy_all(&mut self, pack: &ObjectId, bytes: Bytes) -> Result<(), RepoError> {
        let own = self.repository.clone();
        let table = table_of(&own, pack, &bytes).await?;
        let all: HashSet<BlobId> = table.records().map(|record| record.id).collect();
        let damaged = self.copy_bytes(&own, pack, &table, bytes, &all).await?;
        if damaged.is_empty() { Ok(()) } else { Err(RepoError::Damaged { key: layout::pack(pack) }) }
    }

    async fn copy_bytes(
        &mut self,
        from: &Repository,
        pack: &ObjectId,
        table: &PackTable,
        bytes: Bytes,
        wanted: &HashSet<BlobId>,
    ) -> Result<Vec<BlobId>, RepoError> {
        let key = layout::pack(pack);
        let fail = |source| RepoError::Pack { key: key.clone(), source };
        let hashed = bytes.clone();
        let found = tokio::task::spawn_blocking(move || object_id(&hashed)).await;
        let sound = found.map_err(|_| RepoError::Worker { what: "the check of a pack" })? == *pack;
        let wraps = if sound {
            let (_, wraps) = pack::parse_header(&bytes).map_err(fail)?;
            wraps.into_iter().map(Some).collect()
        } else {
            // What a wrap holds is proven by nothing but the hash of the pack; the session's own object is sealed.
            wraps_of(from, table, &bytes).await?
        };
        if wraps.len() != table.sessions.len() {
            return Err(fail(pack::PackError::Table));
        }
        let mut left = wanted.clone();
        let mut damaged = Vec::new();
        for record in table.records().filter(|record| wanted.contains(&record.id)) {
            if !left.remove(&record.id) {
                continue;
            }
            let wrap = wraps.get(usize::from(record.session)).copied().flatten();
            match slice(&bytes, &record) {
                Some(sealed) if record.kind.is_metadata() || wrap.is_some() => {
                    self.add(&record, &sealed, table, wrap).await?;
                }
                _ => damaged.push(record.id),
            }
        }
        if left.is_empty() { Ok(damaged) } else { Err(RepoError::Vanished { pack: *pack }) }
    }

    async fn add(
        &mut self,
        record: &BlobRecord,
        sealed: &[u8],
        table: &PackTable,
        wrap: Option<Wrap>,
    ) -> Result<(), RepoError> {
        let session = table.sessions.get(usize::from(record.session)).copied().zip(wrap);
        let (open, class, session) = if record.kind.is_metadata() {
            (&mut self.metadata, PackClass::Metadata, None)
        } else {
            (&mut self.content, PackClass::Content, session)
        };
        if open.is_full_for(sealed.len()) {
            let place = self.sender.place().await?;
            let full = std::mem::replace(open, PackBuilder::new(class, self.uploads.buffers()));
            self.sender.hand_over(full.finish(&self.repository.meta)?, place)?;
        }
        open.add(record.kind, record.id, sealed, record.plain_length, session);
        Ok(())
    }

    /// What [`Self::copy`] failed of: where the uploads had ended before, of what ended them.
    pub async fn why_failed(self, error: RepoError) -> RepoError {
        match error {
            RepoError::Worker { .. } => self.finish().await.err().unwrap_or(error),
            error => error,
        }
    }

    /// Waits until everything is stored and indexed.
    pub async fn finish(self) -> Result<Written, RepoError> {
        for open in [self.content, self.metadata] {
            if !open.is_empty() && self.sender.send(open.finish(&self.repository.meta)?).await.is_err() {
                break; // the uploads failed, and say below why
            }
        }
        drop(self.sender);
        let stored = self.uploads.stored_bytes();
        let packs = self.uploads.finish().await?;
        Ok(Written { packs, stored_bytes: stored.load(Ordering::Relaxed) })
    }
}

fn slice(bytes: &Bytes, record: &BlobRecord) -> Option<Bytes> {
    let end = usize::try_from(record.end()).ok().filter(|end| *end <= bytes.len())?;
    let sealed = bytes.slice(record.offset as usize..end);
    (*blake3::hash(&sealed).as_bytes() == record.sealed_hash).then_some(sealed)
}

/// The wraps of the sessions of a damaged pack: from the sessions' objects, else from its header where that still names the session.
async fn wraps_of(repository: &Repository, table: &PackTable, bytes: &[u8]) -> Result<Vec<Option<Wrap>>, RepoError> {
    let header = pack::parse_header(bytes).map(|(_, wraps)| wraps).unwrap_or_default();
    let mut wraps = Vec::with_capacity(table.sessions.len());
    for (at, session) in table.sessions.iter().enumerate() {
        let names = |wrap: &[u8]| wrap.get(32..64) == Some(&session.as_bytes()[..]);
        let key = layout::session(session);
        let read = sealed::read_at::<SessionRecord>(&*repository.store, &repository.meta, RecordKind::Session, &key);
        let stored = match read.await {
            Ok(record) if names(&record.wrap) => record.wrap.try_into().ok().map(|wrap| (record.epoch, wrap)),
            Err(RepoError::Store(error)) if !error.is_not_found() => return Err(error.into()),
            Ok(_) | Err(_) => None,
        };
        wraps.push(stored.or_else(|| header.get(at).copied().filter(|(_, wrap)| names(wrap))));
    }
    Ok(wraps)
}

/// The table at the end of a pack; if it does not open (an earlier epoch's), the one in the index.
async fn table_of(repository: &Repository, id: &ObjectId, bytes: &Bytes) -> Result<PackTable, RepoError> {
    let error = match table_in(&repository.meta, id, bytes) {
        Ok(table) => return Ok(table),
        Err(error) => error,
    };
    for listed in repository.store.list(layout::INDEX).await? {
        // One that does not read has nothing to say.
        let segment = match read_segment(repository, &listed.key).await {
            Err(error @ RepoError::Store(_)) => return Err(error),
            read => read.unwrap_or_default(),
        };
        if let Some(found) = segment.packs.into_iter().find(|pack| pack.id == *id) {
            return Ok(found.table);
        }
    }
    Err(error)
}
