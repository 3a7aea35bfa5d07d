//! Doing what was planned: copy, mark; then look anew, copy what is needed after all, and delete what was marked long enough ago.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::Serialize;

use crate::base::clock::{Clock, Time};
use crate::prune::plan::{Waiting, WhyWait};
use crate::prune::secure::{Also, irreplaceable, secure};
use crate::prune::view::View;
use crate::prune::{Planned, PruneError, Settings};
use crate::repo::doomed::{self, OBJECTS_MAX};
use crate::repo::lock::{self, Extended};
use crate::repo::presence::put_segments;
use crate::repo::{Repository, layout};
use crate::store::{Key, StoreError};

/// Deletions at once.
const DELETE_AT_ONCE: usize = 8;

/// What a prune did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// Objects marked.
    pub doomed: u64,
    /// Packs written with what was copied.
    pub packs_written: u64,
    /// Their bytes and those of their index.
    pub bytes_written: u64,
    /// Objects deleted.
    pub deleted: Vec<String>,
    /// What was due and had to wait.
    pub wait: Vec<Waiting>,
    /// Locks of what is needed.
    pub locks: Extended,
    /// The store's words when it had no space for what was to be marked or copied: only the deletions were done, and another run does the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
}

/// Runs a plan. Cut off anywhere it leaves nothing wrong, and the next one goes on. Where the store turns out to be full, what earlier prunes marked is
/// deleted all the same: see [`Outcome::full`].
pub async fn run_prune(
    repository: &Arc<Repository>,
    planned: Planned,
    clock: &Arc<dyn Clock>,
) -> Result<Outcome, PruneError> {
    let keys = |names: Vec<String>| names.into_iter().filter_map(|name| Key::new(name).ok()).collect::<Vec<_>>();
    let Planned { plan, settings, view } = planned;
    let doom = keys(plan.doom.into_iter().map(|doom| doom.object).collect());
    let mut due: HashSet<Key> = keys(plan.delete.into_iter().map(|due| due.object).collect()).into_iter().collect();
    if settings.grace.is_zero() {
        due.extend(doom.iter().cloned());
    }
    let run = Run { repository, clock, settings, due };
    let mut outcome = Outcome::default();
    match run.all(view, doom, &mut outcome).await {
        Ok(()) => Ok(outcome),
        Err(full) if full.is_full() => {
            run.delete_without_writing(&mut outcome).await?;
            if outcome.deleted.is_empty() {
                return Err(full);
            }
            outcome.full = Some(full.to_string());
            Ok(outcome)
        }
        Err(error) => Err(error),
    }
}

/// What all steps are given.
struct Run<'a> {
    repository: &'a Arc<Repository>,
    clock: &'a Arc<dyn Clock>,
    settings: Settings,
    /// What may be deleted; a mark that is old enough must name it as well.
    due: HashSet<Key>,
}

impl Run<'_> {
    async fn all(&self, mut view: View, mut doom: Vec<Key>, outcome: &mut Outcome) -> Result<(), PruneError> {
        let Self { repository, clock, settings, due } = self;
        let expired = std::mem::take(&mut view.expired);
        put_segments(repository, view.adopted.clone(), view.now).await?;
        mark_all(repository, clock, &view, &mut doom, outcome).await?;
        let going: HashSet<Key> = doom.into_iter().collect();
        if !due.is_empty() {
            view = View::load(repository, settings, clock, usize::MAX).await?;
            put_segments(repository, view.adopted.clone(), view.now).await?;
            let secured = secure(repository, clock, &view, &Also::default()).await?;
            outcome.packs_written += secured.packs.len() as u64;
            outcome.bytes_written += secured.stored_bytes;
            // What was copied and indexed is seen by a rotation of the writer key that begins from now on; under one that has begun it counts for nothing.
            repository.refuse_if_replaced().await?;
            let damaged: HashSet<Key> = secured.damaged.iter().map(layout::pack).collect();
            self.delete_all(&view, &damaged, WhyWait::Damaged, outcome).await?;
        }
        for key in expired {
            if delete(repository, &key).await?.is_none() {
                outcome.deleted.push(key.to_string());
            }
        }
        outcome.locks = extend_locks(repository, &view, &going, clock.now().max(view.now)).await?;
        Ok(())
    }

    /// Phase two of a run that can store nothing: looked at anew, like that of any other, and as if whatever this run wrote had been written by one that was
    /// killed. What it would have had to copy from stays. Packs that no segment names count for nothing, since they cannot be indexed now.
    async fn delete_without_writing(&self, outcome: &mut Outcome) -> Result<(), PruneError> {
        if self.due.is_empty() {
            return Ok(());
        }
        let view = View::load(self.repository, &self.settings, self.clock, 0).await?;
        let stay = irreplaceable(&view);
        self.repository.refuse_if_replaced().await?;
        self.delete_all(&view, &stay, WhyWait::NoSpace, outcome).await
    }

    /// Phase two, with a view that was loaded after this run's marks were durable. What is in `stay` waits for the reason given.
    async fn delete_all(
        &self,
        view: &View,
        stay: &HashSet<Key>,
        why_stay: WhyWait,
        outcome: &mut Outcome,
    ) -> Result<(), PruneError> {
        let in_use = view.sessions_in_use();
        let past = view.marks.marks.iter().filter(|mark| mark.modified.after(self.settings.grace) <= view.now);
        let due: BTreeSet<&Key> = past.flat_map(|mark| &mark.objects).filter(|key| self.due.contains(key)).collect();
        let mut free: Vec<Key> = Vec::new();
        for key in due {
            let why = match doomed::pack_of(key) {
                Some(pack) if view.protected.contains(&pack) => Some(WhyWait::Checkpoint),
                _ if stay.contains(key) => Some(why_stay.clone()),
                Some(_) => None,
                None if key.as_str().starts_with(layout::SESSIONS) => {
                    let used = key.file_name().parse().is_ok_and(|session| in_use.contains(&session));
                    (used || view.strangers().next().is_some()).then_some(WhyWait::InUse)
                }
                None => {
                    let mark = view.marks.marks.iter().find(|mark| mark.key == *key);
                    mark.is_some_and(|mark| mark.objects.iter().any(|object| view.is_there(object)))
                        .then_some(WhyWait::InUse)
                }
            };
            match why {
                Some(why) => outcome.wait.push(Waiting { object: key.to_string(), why }),
                None => free.push(key.clone()),
            }
        }
        free.sort();
        let mut deleted = stream::iter(free)
            .map(|key| async move { delete(self.repository, &key).await.map(|wait| (key, wait)) })
            .buffered(DELETE_AT_ONCE);
        while let Some((key, wait)) = deleted.try_next().await? {
            match wait {
                Some(why) => outcome.wait.push(Waiting { object: key.to_string(), why }),
                None => outcome.deleted.push(key.to_string()),
            }
        }
        Ok(())
    }
}

/// Phase one. What is needed is copied first, so that writers find a copy to build upon as soon as the old one is marked.
async fn mark_all(
    repository: &Arc<Repository>,
    clock: &Arc<dyn Clock>,
    view: &View,
    doom: &mut Vec<Key>,
    outcome: &mut Outcome,
) -> Result<(), PruneError> {
    let mut also = Also::default();
    for key in doom.iter() {
        match doomed::pack_of(key) {
            Some(pack) => {
                also.packs.insert(pack);
            }
            None => {
                also.segments.insert(key.clone());
            }
        }
    }
    if doom.is_empty() {
        return Ok(());
    }
    let secured = secure(repository, clock, view, &also).await?;
    outcome.packs_written += secured.packs.len() as u64;
    outcome.bytes_written += secured.stored_bytes;
    doom.retain(|key| !doomed::pack_of(key).is_some_and(|pack| secured.damaged.contains(&pack)));
    for objects in doom.chunks(OBJECTS_MAX) {
        doomed::mark(repository, objects.to_vec(), clock.now()).await?;
    }
    outcome.doomed = doom.len() as u64;
    Ok(())
}

async fn delete(repository: &Repository, key: &Key) -> Result<Option<WhyWait>, PruneError> {
    match repository.store.delete(key).await {
        Ok(()) => Ok(None),
        Err(StoreError::Locked { until, .. }) => Ok(Some(WhyWait::Locked { until })),
        Err(error) => Err(error.into()),
    }
}

/// Everything that a kept snapshot needs stays locked, but for `going`, which this run doomed and whose needed parts lie elsewhere by now.
async fn extend_locks(
    repository: &Arc<Repository>,
    view: &View,
    going: &HashSet<Key>,
    now: Time,
) -> Result<Extended, PruneError> {
    if repository.lock_period().is_zero() {
        return Ok(Extended::default());
    }
    let forgotten = view.chain.forgotten();
    let stays = |key: &Key| !view.marks.is_doomed(key) && !going.contains(key);
    let mut keys = vec![layout::format()];
    for prefix in [layout::ACCESS, layout::EPOCHS, layout::INDEX] {
        let listed = repository.store.list(prefix).await?;
        keys.extend(listed.into_iter().map(|entry| entry.key).filter(|key| stays(key)));
    }
    let records = view.chain.snapshots.iter().map(|snapshot| snapshot.id).chain(view.chain.tombstones.keys().copied());
    keys.extend(records.filter(|id| !forgotten.contains(id)).map(|id| layout::named(layout::SNAPSHOTS, &id)));
    let mut packs = HashSet::new();
    view.for_needed(|copies| packs.extend(copies.iter().map(|copy| copy.location.pack)));
    packs.retain(|pack| view.index.pack(*pack).is_some_and(|pack| pack.usable && stays(&layout::pack(&pack.id))));
    keys.extend(packs.iter().filter_map(|pack| view.index.pack(*pack)).map(|pack| layout::pack(&pack.id)));
    let sessions: HashSet<Key> = view
        .index
        .places()
        .filter(|(pack, _)| packs.contains(pack))
        .filter_map(|(_, session)| session.and_then(|session| view.index.session(session)))
        .map(|session| layout::session(&session))
        .collect();
    keys.extend(sessions);
    Ok(lock::extend(repository, keys, now).await?)
}
