//! The way of finished packs to the store: a few at once, and what was stored goes into index segments.
//!
//! Promise: a pack is named by an index segment only after the store has reported it durable; [`Uploads::finish`] returns after all of that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
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

/// Packs on their way at once. With one being filled of each class and the store's copy, this is what bounds memory.
const IN_FLIGHT: usize = 3;
/// An index segment is written after so many blobs, so that a killed run loses little and a segment stays small (about 4 MiB).
pub(crate) const SEGMENT_BLOBS: usize = 50_000;
/// … or after this long.
const SEGMENT_EVERY: Duration = Duration::from_mins(5);

/// Takes finished packs; see the module.
pub struct Uploads {
    sender: mpsc::Sender<FinishedPack>,
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

/// The sending half, for worker threads.
#[derive(Clone)]
pub struct PackSender(mpsc::Sender<FinishedPack>);

impl PackSender {
    /// Hands a pack over; blocks while too many are on their way. An error means that the uploads failed; [`Uploads::finish`] says why.
    pub fn send_blocking(&self, pack: FinishedPack) -> Result<(), RepoError> {
        self.0.blocking_send(pack).map_err(|_| RepoError::Worker { what: "the upload of packs" })
    }

    /// The same for asynchronous callers.
    pub async fn send(&self, pack: FinishedPack) -> Result<(), RepoError> {
        self.0.send(pack).await.map_err(|_| RepoError::Worker { what: "the upload of packs" })
    }
}

impl Uploads {
    /// Starts the task.
    #[must_use]
    pub fn start(repository: Arc<Repository>, clock: Arc<dyn Clock>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let stored = Arc::new(AtomicU64::new(0));
        let packs = Arc::new(Mutex::default());
        let task = tokio::spawn(run(repository, clock, receiver, stored.clone(), packs.clone()));
        Self { sender, task: Ends(task), stored, packs, buffers: Pool::new(IN_FLIGHT + 1) }
    }

    /// A handle for worker threads; all of them must be dropped before [`Uploads::finish`] can return.
    #[must_use]
    pub fn sender(&self) -> PackSender {
        PackSender(self.sender.clone())
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
    mut receiver: mpsc::Receiver<FinishedPack>,
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
        // A place first, then what takes it: else one more pack waits here.
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
        let Some(pack) = pack else { return Ok(done) };
        let (repository, stored, packs) = (repository.clone(), stored.clone(), packs.clone());
        let retain = retain_until(&repository, clock.now());
        flying.spawn(async move {
            let size = pack.bytes.len() as u64;
            repository.store.put_new(&layout::pack(&pack.indexed.id), pack.bytes, retain).await?;
            stored.fetch_add(size, Ordering::Relaxed);
            packs.lock().unwrap_or_else(PoisonError::into_inner).push(pack.indexed.id);
            Ok(pack.indexed)
        });
    }
}
