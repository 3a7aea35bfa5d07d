//! Writing: a session that adds blobs, each once.
//!
//! Any number of threads add through a [`Writer`]; the blobs that are not there yet are compressed, sealed and put into packs. Whoever [`Writer::claim`]s a
//! blob first must add it. Nothing counts before [`Writer::finish`] has returned.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::base::clock::Clock;
use crate::base::id::{BlobId, ObjectId};
use crate::compress::{LEVEL_DEFAULT, Packing};
use crate::crypto::content::{CONTENT_HEAD, ContentSealer};
use crate::crypto::meta::Subject;
use crate::format::kind::{Kind, RecordKind};
use crate::format::pack::{BLOB_BYTES_MAX, PackClass, Wrap};
use crate::format::record::SessionRecord;
use crate::repo::error::RepoError;
use crate::repo::index::Index;
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::repo::packer::PackBuilder;
use crate::repo::sealed;
use crate::repo::snapshots::{Chain, Links};
use crate::repo::upload::{PackSender, Uploads, retain_until};
use crate::store::Key;

/// A session that writes; see the module.
pub struct Writer {
    /// The repository written to.
    pub repository: Arc<Repository>,
    /// What was there before.
    pub index: Arc<Index>,
    sealer: ContentSealer,
    wrap: Wrap,
    /// Blobs of this run.
    fresh: Mutex<HashSet<BlobId>>,
    content: Mutex<PackBuilder>,
    metadata: Mutex<PackBuilder>,
    uploads: Uploads,
    new_bytes: AtomicU64,
    level: i32,
    /// The session's object as it was stored: put again at the end if it is gone by then.
    session: (Key, Bytes),
    /// Records of the chain that were read in this run: they need not be read again at its end.
    links: Links,
}

/// A session whose object is durable.
pub struct Session {
    repository: Arc<Repository>,
    clock: Arc<dyn Clock>,
    sealer: ContentSealer,
    wrap: Wrap,
    stored: (Key, Bytes),
}

impl Session {
    /// Draws its key, stores the wrapped key and reads it back before anything is sealed with it.
    pub async fn begin(repository: Arc<Repository>, clock: Arc<dyn Clock>) -> Result<Self, RepoError> {
        let epoch = repository.epoch.number;
        let (sealer, wrap) = ContentSealer::new(repository.id, epoch, &repository.epoch.public)?;
        let record = SessionRecord { epoch, wrap: wrap.to_vec(), created: clock.now() };
        let key = layout::session(&sealer.id());
        let stored = sealed::seal(&repository.meta, RecordKind::Session, &record)?;
        repository.store.put_new(&key, stored.clone(), retain_until(&repository, clock.now())).await?;
        let back: SessionRecord =
            sealed::read_at(&*repository.store, &repository.meta, RecordKind::Session, &key).await?;
        if back != record {
            return Err(RepoError::Damaged { key });
        }
        Ok(Self { repository, clock, sealer, wrap: (epoch, wrap), stored: (key, stored) })
    }
}

/// What one thread needs to seal blobs; made by [`Writer::lane`].
pub struct Lane {
    packing: Packing,
    buffer: Vec<u8>,
    sender: PackSender,
}

/// A lock whose holder panicked still guards usable data here: what changes something is a single step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writer {
    /// Begins a session and writes in it.
    pub async fn begin(
        repository: Arc<Repository>,
        index: Arc<Index>,
        clock: Arc<dyn Clock>,
        level: Option<i32>,
    ) -> Result<Self, RepoError> {
        Ok(Self::within(Session::begin(repository, clock).await?, index, level))
    }

    /// Writes in a session, building upon what `index` has.
    #[must_use]
    pub fn within(session: Session, index: Arc<Index>, level: Option<i32>) -> Self {
        let Session { repository, clock, sealer, wrap, stored } = session;
        let uploads = Uploads::start(repository.clone(), clock);
        Self {
            repository,
            index,
            sealer,
            wrap,
            fresh: Mutex::default(),
            content: Mutex::new(PackBuilder::new(PackClass::Content, uploads.buffers())),
            metadata: Mutex::new(PackBuilder::new(PackClass::Metadata, uploads.buffers())),
            uploads,
            new_bytes: AtomicU64::new(0),
            level: level.unwrap_or(LEVEL_DEFAULT),
            session: stored,
            links: Links::default(),
        }
    }

    /// Remembers the records of the chain that this run has read.
    #[must_use]
    pub fn after(mut self, chain: &Chain) -> Self {
        self.links = chain.links_by_id();
        self
    }

    /// What a thread needs to add blobs: one that may block, no task of the runtime, since whoever fills a pack waits for the uploads. All lanes must be dropped before
    /// [`Writer::finish`] can return.
    pub fn lane(&self) -> Result<Lane, RepoError> {
        let packing = Packing::new(self.level).map_err(RepoError::Compression)?;
        Ok(Lane { packing, buffer: Vec::new(), sender: self.uploads.sender() })
    }

    /// Whether the caller must add this blob: it is in no pack that can be relied on, and nobody in this run has claimed it.
    pub fn claim(&self, id: &BlobId) -> bool {
        match self.index.find_usable(id) {
            Some(location) => {
                self.index.mark_used(&location);
                false
            }
            None => lock(&self.fresh).insert(*id),
        }
    }

    /// Whether the blob is there or was added in this run; notes that this run relies on it.
    pub fn relies_on(&self, id: &BlobId) -> bool {
        if let Some(location) = self.index.find_usable(id) {
            self.index.mark_used(&location);
            return true;
        }
        lock(&self.fresh).contains(id)
    }

    /// Adds a chunk of content unless it is there; returns its id.
    pub fn add_data(&self, lane: &mut Lane, plain: &[u8]) -> Result<BlobId, RepoError> {
        let id = self.repository.hasher.blob_id(Kind::Data, plain);
        if self.claim(&id) {
            lane.buffer.clear();
            lane.buffer.resize(CONTENT_HEAD, 0);
            lane.packing.append(plain, &mut lane.buffer);
            self.sealer.seal(&id, &mut lane.buffer)?;
            let session = Some((self.sealer.id(), self.wrap));
            self.put(
                &self.content,
                PackClass::Content,
                &lane.sender,
                |pack| {
                    pack.add(Kind::Data, id, &lane.buffer, length(plain), session);
                },
                lane.buffer.len(),
            )?;
            self.new_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
        }
        Ok(id)
    }

    /// Adds a metadata blob unless it is there; returns its id.
    pub fn add_metadata(&self, lane: &mut Lane, kind: Kind, plain: &[u8]) -> Result<BlobId, RepoError> {
        if plain.len() > BLOB_BYTES_MAX {
            let reason = format!("it needs a blob of {} bytes, the limit is {BLOB_BYTES_MAX}", plain.len());
            return Err(RepoError::Tree { at: "a file or path".to_owned(), reason });
        }
        let id = self.repository.hasher.blob_id(kind, plain);
        if self.claim(&id) {
            lane.buffer.clear();
            lane.packing.append(plain, &mut lane.buffer);
            let sealed = self.repository.meta.seal(Subject::Blob(kind, &id), &lane.buffer)?;
            self.put(
                &self.metadata,
                PackClass::Metadata,
                &lane.sender,
                |pack| {
                    pack.add(kind, id, &sealed, length(plain), None);
                },
                sealed.len(),
            )?;
            self.new_bytes.fetch_add(plain.len() as u64, Ordering::Relaxed);
        }
        Ok(id)
    }

    /// Adds to the open pack. A full one is closed outside of the lock; within it another is begun when there is a place for this one, so that no thread holds
    /// one more. That wait ends also where uploads fail: their places are free then, and handing over says so.
    fn put(
        &self,
        open: &Mutex<PackBuilder>,
        class: PackClass,
        sender: &PackSender,
        add: impl FnOnce(&mut PackBuilder),
        bytes: usize,
    ) -> Result<(), RepoError> {
        let mut pack = lock(open);
        let mut full = None;
        if pack.is_full_for(bytes) {
            let place = sender.place_blocking()?;
            let empty = PackBuilder::new(class, self.uploads.buffers());
            full = Some((std::mem::replace(&mut *pack, empty), place));
        }
        add(&mut pack);
        drop(pack);
        match full {
            Some((full, place)) => sender.hand_over(full.finish(&self.repository.meta)?, place),
            None => Ok(()),
        }
    }

    /// Plaintext bytes of blobs that were new.
    #[must_use]
    pub fn new_bytes(&self) -> u64 {
        self.new_bytes.load(Ordering::Relaxed)
    }

    /// Bytes stored so far.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.uploads.stored_bytes().load(Ordering::Relaxed)
    }

    /// Counts them while it is finished.
    pub(crate) fn stored_counter(&self) -> Arc<AtomicU64> {
        self.uploads.stored_bytes()
    }

    /// The session's object, as it was stored.
    pub(crate) fn session_object(&self) -> (Key, Bytes) {
        self.session.clone()
    }

    /// The records of the chain that this run has read.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    /// The packs stored so far, kept up to date.
    pub(crate) fn packs_stored(&self) -> Arc<Mutex<Vec<ObjectId>>> {
        self.uploads.packs()
    }

    /// Closes the open packs early: a simulation has no 16 MiB to fill one with.
    #[cfg(test)]
    pub(crate) async fn flush(&self) -> Result<(), RepoError> {
        for (open, class) in [(&self.content, PackClass::Content), (&self.metadata, PackClass::Metadata)] {
            let empty = PackBuilder::new(class, self.uploads.buffers());
            let full = std::mem::replace(&mut *lock(open), empty);
            if !full.is_empty() {
                self.uploads.sender().send(full.finish(&self.repository.meta)?).await?;
            }
        }
        Ok(())
    }

    /// Closes the open packs and waits until everything is stored and indexed. Returns the packs of this run and the bytes stored.
    pub async fn finish(self) -> Result<Written, RepoError> {
        let sender = self.uploads.sender();
        for open in [self.content, self.metadata] {
            let pack = open.into_inner().unwrap_or_else(PoisonError::into_inner);
            if !pack.is_empty() && sender.send(pack.finish(&self.repository.meta)?).await.is_err() {
                break; // the uploads failed, and say below why
            }
        }
        drop(sender);
        let stored = self.uploads.stored_bytes();
        let packs = self.uploads.finish().await?;
        Ok(Written { packs, stored_bytes: stored.load(Ordering::Relaxed) })
    }
}

/// What a finished [`Writer`] stored.
#[derive(Debug, Clone)]
pub struct Written {
    /// The packs.
    pub packs: Vec<ObjectId>,
    /// Bytes of packs and index segments.
    pub stored_bytes: u64,
}

fn length(plain: &[u8]) -> u32 {
    u32::try_from(plain.len()).unwrap_or(u32::MAX)
}
