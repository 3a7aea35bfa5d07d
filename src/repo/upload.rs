//! The way of finished packs to the store: a few at once, and what was stored goes into index segments.
//!
//! Promise: a pack is named by an index segment only after the store has reported it durable; [`Uploads::finish`] returns after all of that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use crate::base::clock::{Clock, Time};
use crate::base::id::ObjectId;
use crate::base::pool::Pool;
use crate::format::kind::RecordKind;
use crate::format::pack::{IndexSegment, IndexedPack};
use crate::repo::error::RepoError;
use crate::repo::open::Repository;
use crate::repo::packer::{FinishedPack, PackBuffers};
use crate::repo::{layout, sealed};

/// Packs that are finished and not yet stored: all of them may be on their way at once. With one being filled of each class, however many threads fill them, and the store's
/// copy, this is what bounds memory.
const IN_FLIGHT: usize = 3;
/// An index segment is written after so many blobs, so that a killed run loses little and a segment stays small (about 4 MiB).
pub(crate) const SEGMENT_BLOBS: usize = 50_000;
/// … or after this long.
const SEGMENT_EVERY: Duration = Duration::from_mins(5);

/// Takes finished packs; see the module.
pub struct Uploads {
    sender: PackSender,
    task: Ends<Result<Vec<ObjectId>, RepoError>>,
    stored: Arc<AtomicU64>,
    packs: Arc<Mutex<Vec<ObjectId>>>,
    buffers: PackBuffers,
}

/// A task that ends with who started it: what is given up stores nothing more.
struct Ends<T>(JoinHandle<T>);

impl<T> Drop for Ends<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The sending half.
#[derive(Clone)]
pub struct PackSender {
    sender: mpsc::Sender<Finished>,
    places: Arc<Semaphore>,
    runtime: Handle,
}

/// A place among the packs that are finished and not yet stored; free again when it is dropped.
pub struct PackPlace {
    _place: OwnedSemaphorePermit,
}

type Finished = (FinishedPack, PackPlace);

const FAILED: RepoError = RepoError::Worker { what: "the upload of packs" };

impl PackSender {
    /// Waits until fewer are on their way. To be asked for before another pack is begun.
    pub async fn place(&self) -> Result<PackPlace, RepoError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| FAILED)?;
        Ok(PackPlace { _place: place })
    }

    /// The same for worker threads.
    pub fn place_blocking(&self) -> Result<PackPlace, RepoError> {
        self.runtime.block_on(self.place())
    }

    /// Hands a pack over. An error means that the uploads failed; [`Uploads::finish`] says why.
    pub fn hand_over(&self, pack: FinishedPack, place: PackPlace) -> Result<(), RepoError> {
        // There is room for every place.
        self.sender.try_send((pack, place)).map_err(|_| FAILED)
    }

    /// Both, for asynchronous callers.
    pub async fn send(&self, pack: FinishedPack) -> Result<(), RepoError> {
        let place = self.place().await?;
        self.hand_over(pack, place)
    }
}

impl Uploads {
    /// Starts the task.
    #[must_use]
    pub fn start(repository: Arc<Repository>, clock: Arc<dyn Clock>) -> Self {
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let sender = PackSender { sender, places: Arc::new(Semaphore::new(IN_FLIGHT)), runtime: Handle::current() };
        let stored = Arc::new(AtomicU64::new(0));
        let packs = Arc::new(Mutex::default());
        let task = tokio::spawn(run(repository, clock, receiver, stored.clone(), packs.clone()));
        Self { sender, task: Ends(task), stored, packs, buffers: Pool::new(IN_FLIGHT + 1) }
    }

    /// A handle for whoever makes packs; all of them must be dropped before [`Uploads::finish`] can return.
    #[must_use]
    pub fn sender(&self) -> PackSender {
        self.sender.clone()
    }

    /// Where the packs to be sent get their buffers.
    #[must_use]
    pub const fn buffers(&self) -> &PackBuffers {
        &self.buffers
    }

    /// Bytes stored so far: packs and index segments.
    #[must_use]
    pub fn stored_bytes(&self) -> Arc<AtomicU64> {
        self.stored.clone()
    }

    /// The packs stored so far; for checkpoints.
    #[must_use]
    pub fn packs(&self) -> Arc<Mutex<Vec<ObjectId>>> {
        self.packs.clone()
    }

    /// Waits until every pack is stored and indexed; returns the packs.
    pub async fn finish(self) -> Result<Vec<ObjectId>, RepoError> {
        let Self { sender, mut task, .. } = self;
        drop(sender);
        (&mut task.0).await.map_err(|_| RepoError::Worker { what: "the upload of packs" })?
    }
}

/// Until when an object that is stored now must be locked.
pub(crate) fn retain_until(repository: &Repository, now: Time) -> Option<Time> {
    let lock = repository.lock_period();
    (!lock.is_zero()).then(|| now.after(lock))
}

type Flying = JoinSet<Result<IndexedPack, RepoError>>;

/// Waits until `at_most` packs are on their way; those that are stored are added to `landed`.
async fn land(flying: &mut Flying, at_most: usize, landed: &mut Vec<IndexedPack>) -> Result<(), RepoError> {
    while flying.len() > at_most {
        match flying.join_next().await {
            Some(Ok(stored)) => landed.push(stored?),
            Some(Err(_)) => return Err(RepoError::Worker { what: "the upload of a pack" }),
            None => break,
        }
    }
    Ok(())
}

async fn run(
    repository: Arc<Repository>,
    clock: Arc<dyn Clock>,
    mut receiver: mpsc::Receiver<Finished>,
    stored: Arc<AtomicU64>,
    packs: Arc<Mutex<Vec<ObjectId>>>,
) -> Result<Vec<ObjectId>, RepoError> {
    let mut flying = Flying::new();
    let mut segment = IndexSegment::default();
    let mut blobs = 0;
    let mut last_segment = clock.now();
    let mut done = Vec::new();
    let mut landed = Vec::new();
    loop {
        land(&mut flying, IN_FLIGHT - 1, &mut landed).await?;
        let pack = receiver.recv().await;
        if pack.is_none() {
            land(&mut flying, 0, &mut landed).await?;
        }
        for pack in landed.drain(..) {
            done.push(pack.id);
            blobs += pack.table.len();
            segment.packs.push(pack);
        }
        let late = clock.now().since(last_segment) >= SEGMENT_EVERY;
        if !segment.packs.is_empty() && (pack.is_none() || late || blobs >= SEGMENT_BLOBS) {
            let full = std::mem::take(&mut segment);
            let retain = retain_until(&repository, clock.now());
            let (_, size) =
                sealed::put(&*repository.store, &repository.meta, RecordKind::Index, layout::INDEX, &full, retain)
                    .await?;
            stored.fetch_add(size, Ordering::Relaxed);
            blobs = 0;
            last_segment = clock.now();
        }
        let Some((pack, place)) = pack else { return Ok(done) };
        let (repository, stored, packs) = (repository.clone(), stored.clone(), packs.clone());
        let retain = retain_until(&repository, clock.now());
        flying.spawn(async move {
            let size = pack.bytes.len() as u64;
            repository.store.put_new(&layout::pack(&pack.indexed.id), pack.bytes, retain).await?;
            drop(place);
            stored.fetch_add(size, Ordering::Relaxed);
            packs.lock().unwrap_or_else(PoisonError::into_inner).push(pack.indexed.id);
            Ok(pack.indexed)
        });
    }
}
