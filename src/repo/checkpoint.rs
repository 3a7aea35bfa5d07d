//! Checkpoints: what a long backup relies on, said before it has a snapshot, so that no pruner takes it away.
//!
//! They save work, not data: a writer looks at marks and presence before and after its snapshot whatever checkpoints say.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::{Clock, Time};
use crate::base::id::ObjectId;
use crate::format::kind::RecordKind;
use crate::format::record::Checkpoint;
use crate::repo::error::RepoError;
use crate::repo::index::Index;
use crate::repo::open::Repository;
use crate::repo::write::Writer;
use crate::repo::{layout, sealed};
use crate::store::Key;

/// How long after being marked an object is deleted, unless the pruner is told otherwise.
pub const GRACE: Duration = Duration::from_hours(48);
/// A checkpoint is published at least this often: a quarter of the grace.
pub const EVERY: Duration = Duration::from_hours(12);
/// How often the task looks at the clock: a machine that slept must not wait a whole period more. A failure is tried again as often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Publishes checkpoints of one writer; see the module.
pub struct Checkpointer {
    repository: Arc<Repository>,
    index: Arc<Index>,
    stored: Arc<Mutex<Vec<ObjectId>>>,
    clock: Arc<dyn Clock>,
    last: Time,
    published: Vec<Key>,
}

impl Checkpointer {
    /// For `writer`, which began just now.
    #[must_use]
    pub fn new(writer: &Writer, clock: Arc<dyn Clock>) -> Self {
        Self {
            repository: writer.repository.clone(),
            index: writer.index.clone(),
            stored: writer.packs_stored(),
            last: clock.now(),
            clock,
            published: Vec::new(),
        }
    }

    /// Publishes if a quarter of the grace has passed since the last one; tells whether it did.
    pub async fn tick(&mut self) -> Result<bool, RepoError> {
        let due = self.clock.now().since(self.last) >= EVERY;
        if due {
            self.publish().await?;
        }
        Ok(due)
    }

    /// Publishes now: the packs written and deduplicated to so far. Then the checkpoint before it goes.
    pub async fn publish(&mut self) -> Result<(), RepoError> {
        let mut packs: BTreeSet<ObjectId> =
            self.stored.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        packs.extend(self.index.used_packs().into_iter().filter_map(|pack| self.index.pack(pack)).map(|pack| pack.id));
        let record = Checkpoint { packs: packs.into_iter().collect(), created: self.clock.now() };
        let store = &*self.repository.store;
        let (id, _) =
            sealed::put(store, &self.repository.meta, RecordKind::Checkpoint, layout::CHECKPOINTS, &record, None)
                .await?;
        self.last = self.clock.now();
        let earlier = std::mem::replace(&mut self.published, vec![layout::named(layout::CHECKPOINTS, &id)]);
        for key in earlier {
            if store.delete(&key).await.is_err() {
                self.published.push(key); // tried again the next time; it expires anyway
            }
        }
        Ok(())
    }

    /// Publishes whenever it is due, in a task of its own, until it is told that the run ended.
    #[must_use]
    pub fn start(mut self) -> Checkpoints {
        let (ended, mut stop) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    committed = &mut stop => {
                        // What a run that failed has stored helps the next one, for as long as its checkpoint lives.
                        if committed.is_ok() {
                            self.clear().await;
                        }
                        return;
                    }
                    () = tokio::time::sleep(LOOK_EVERY) => {
                        let _ = self.tick().await; // tried again at the next look
                    }
                }
            }
        });
        Checkpoints { ended, task }
    }

    /// Removes what was published, after the commit. What cannot be removed expires.
    pub async fn clear(self) {
        for key in self.published {
            let _ = self.repository.store.delete(&key).await;
        }
    }
}

/// Checkpoints that are published while a run goes on. Dropped without [`Checkpoints::committed`], the last one stays until it expires.
pub struct Checkpoints {
    ended: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Checkpoints {
    /// The run has its snapshot: removes what was published.
    pub async fn committed(self) {
        if self.ended.send(()).is_ok() {
            let _ = self.task.await;
        }
    }
}

/// What checkpoints say at one moment.
#[derive(Debug, Default)]
pub(crate) struct Protected {
    /// Packs that running backups rely on.
    pub packs: BTreeSet<ObjectId>,
    /// Checkpoints of runs that were killed: nobody else removes them.
    pub expired: Vec<Key>,
}

/// The packs named by checkpoints that are younger than `expiry` at the store's time `now`. One that does not open says nothing.
pub(crate) async fn protected(repository: &Repository, now: Time, expiry: Duration) -> Result<Protected, RepoError> {
    let store = &*repository.store;
    let mut protected = Protected::default();
    for entry in store.list(layout::CHECKPOINTS).await? {
        let age = now.since(entry.modified);
        if age >= expiry {
            // However short a grace somebody asked for.
            if age >= GRACE * 2 && layout::belongs(&entry.key) {
                protected.expired.push(entry.key);
            }
            continue;
        }
        match sealed::read::<Checkpoint>(store, &repository.meta, RecordKind::Checkpoint, &entry.key).await {
            Ok(checkpoint) => protected.packs.extend(checkpoint.packs),
            Err(RepoError::Store(error)) if !error.is_not_found() => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(protected)
}
