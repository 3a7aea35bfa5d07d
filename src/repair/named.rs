//! Objects by their names: the bytes that a name stands for take the place of what lies there.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::base::causes::in_one_line;
use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::check::{self, Problem, check_stored};
use crate::crypto::hash::object_id;
use crate::format::pack::{PACK_BYTES_MAX, parse_header};
use crate::repair::{Healed, How, Outcome, RepairError, Sources, Work, moved};
use crate::repo::RepoError;
use crate::repo::blame::Blame;
use crate::repo::checkpoint::GRACE;
use crate::repo::doomed;
use crate::repo::layout;
use crate::repo::named::read_as_named;
use crate::repo::sealed::get_within;
use crate::store::{Key, Listed, Store, StoreError};

/// Objects read at once.
const AT_ONCE: usize = 8;
/// After this many graces no prune is still at work that read a mark before it was damaged.
const MARK_GRACES: u32 = 2;

/// Puts proven bytes under a name and reads them back.
pub(crate) async fn put_right(
    store: &dyn Store,
    key: &Key,
    bytes: &Bytes,
    retain: Option<Time>,
) -> Result<(), RepoError> {
    // What is there may not read at all, so it is not asked for.
    let put = match store.stat(key).await? {
        Some(_) => Err(StoreError::Conflict { store: store.address(), key: key.clone() }),
        None => store.put_new(key, bytes.clone(), retain).await,
    };
    match put {
        Ok(_) => {}
        Err(StoreError::Conflict { .. }) => store.put_over(key, bytes.clone(), retain).await?,
        Err(error) => return Err(error.into()),
    }
    if get_within(store, key, bytes.len() as u64).await? == *bytes {
        Ok(())
    } else {
        Err(RepoError::Damaged { key: key.clone() })
    }
}

/// The same, but what a single object does not let happen (a folder lies in its place) is told and holds nothing else up. Tells whether it is there.
pub(super) async fn put(
    work: &Work<'_>,
    key: &Key,
    bytes: &Bytes,
    retain: Option<Time>,
    outcome: &mut Outcome,
) -> Result<bool, RepairError> {
    match put_right(&*work.repository.store, key, bytes, retain).await {
        Ok(()) => Ok(true),
        Err(error) if work.blame_is_its_own(&error).await => {
            outcome.keep(key, format!("its bytes are at hand and cannot be put here: {}", in_one_line(&error)));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Brings an object that its name proves; tells whether anybody had it.
pub(super) async fn by_name(work: &Work<'_>, key: &Key, outcome: &mut Outcome) -> Result<bool, RepairError> {
    let Some((bytes, from)) = work.sources.whole(key).await else { return Ok(false) };
    if let Some(name) = layout::pack_id(key)
        && !moved::save(work, &name, outcome).await?
    {
        return Ok(false);
    }
    if key.as_str().starts_with(layout::SNAPSHOTS) && !moved::save_record(work, key, outcome).await? {
        return Ok(false);
    }
    if !put(work, key, &bytes, work.retain_for(key), outcome).await? {
        return Ok(false);
    }
    outcome.healed.push(Healed::copied(key, from));
    Ok(true)
}

impl Work<'_> {
    /// Whether a call failed of one object alone, while the store is there.
    pub(super) async fn blame_is_its_own(&self, error: &RepoError) -> bool {
        match error {
            RepoError::Store(error @ StoreError::Failed { .. }) => {
                self.blame.is_the_objects(&*self.repository.store, error).await
            }
            _ => false,
        }
    }

    /// Marks and checkpoints must be able to go.
    fn retain_for(&self, key: &Key) -> Option<Time> {
        let passing = [layout::DOOMED, layout::CHECKPOINTS].iter().any(|prefix| key.as_str().starts_with(prefix));
        if passing { None } else { self.retain() }
    }
}

/// Those of `listed` whose bytes are not what their names say.
pub(super) async fn damaged(store: &dyn Store, listed: Vec<Listed>) -> Result<Vec<Listed>, RepoError> {
    let blame = Blame::default();
    let mut reads = stream::iter(listed)
        .map(|entry| async move {
            let read = read_as_named(store, &entry).await;
            (entry, read)
        })
        .buffer_unordered(AT_ONCE);
    let mut found = Vec::new();
    while let Some((entry, read)) = reads.next().await {
        match read {
            Ok(_) => blame.read_well(),
            Err(RepoError::Store(error)) if error.is_not_found() => {}
            Err(RepoError::Store(error)) if !blame.is_the_objects(store, &error).await => return Err(error.into()),
            Err(_) => found.push(entry),
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// Reads every small object and puts right those that are damaged and that somebody has.
pub(super) async fn small(work: &Work<'_>, outcome: &mut Outcome) -> Result<(), RepairError> {
    let store = &*work.repository.store;
    // Packs come later, and parity is made anew by who makes it.
    let small = layout::HASH_NAMED.into_iter().filter(|prefix| ![layout::PACKS, layout::PARITY].contains(prefix));
    for prefix in small {
        let mut listed = store.list(prefix).await?;
        listed.retain(|entry| layout::object_id(&entry.key).is_some());
        for entry in damaged(store, listed).await? {
            by_name(work, &entry.key, outcome).await?;
        }
    }
    Ok(())
}

/// A mark that nobody can read stops writers and pruners. A prune that has read it before it was damaged may still delete what it named; when none can be at
/// work any more it is taken away, and what it named counts as unmarked.
pub(super) async fn marks(work: &Work<'_>, outcome: &mut Outcome) -> Result<(), RepairError> {
    let store = &*work.repository.store;
    let mut listed = store.list(layout::DOOMED).await?;
    listed.retain(|entry| layout::object_id(&entry.key).is_some());
    for entry in damaged(store, listed).await? {
        // The store's clock, as everywhere with marks.
        let probe = doomed::mark(work.repository, Vec::new(), work.clock.now()).await?;
        store.delete(&probe.key).await?;
        let until = entry.modified.after(GRACE * MARK_GRACES);
        if probe.modified < until {
            return Err(RepairError::Mark { key: entry.key, until });
        }
        store.delete(&entry.key).await?;
        outcome.healed.push(Healed::here(&entry.key, How::Removed));
    }
    Ok(())
}

/// Whether a pack may take its place, of which no key tells what lies in it. A pack that was moved here may be the only copy of it, so what may be one is put under its own
/// name first; at worst that costs space until the next prune.
async fn save_unread(
    store: &dyn Store,
    sources: &Sources,
    place: &Key,
    proven: &Bytes,
    outcome: &mut Outcome,
) -> Result<bool, RepairError> {
    let lying = match get_within(store, place, PACK_BYTES_MAX as u64).await {
        Ok(lying) => lying,
        Err(RepoError::TooLarge { .. }) => return Ok(true),
        Err(RepoError::Store(error)) if error.is_not_found() => return Ok(true),
        Err(error) => {
            let why = in_one_line(&error);
            outcome.keep(place, format!("it does not read, and nothing takes its place meanwhile: {why}"));
            return Ok(false);
        }
    };
    if !may_be_another(&lying, proven) {
        return Ok(true);
    }
    let own = layout::pack(&hash_of(&lying).await?);
    match get_within(store, &own, PACK_BYTES_MAX as u64).await {
        Ok(there) => {
            let there = layout::pack(&hash_of(&there).await?);
            if there == own || sources.whole(&own).await.is_some() {
                return Ok(true);
            }
            // These bytes are at hand.
            if there != *place {
                outcome.keep(place, format!("{own} may lie here, and something else lies in its place"));
                return Ok(false);
            }
        }
        Err(RepoError::Store(error)) if error.is_not_found() => {}
        Err(error) => {
            let why = in_one_line(&error);
            outcome.keep(place, format!("{own} may lie here, and what lies in its place does not read: {why}"));
            return Ok(false);
        }
    }
    put_right(store, &own, &lying, None).await?;
    outcome.healed.push(Healed::here(&own, How::PutBack));
    Ok(true)
}

async fn hash_of(bytes: &Bytes) -> Result<ObjectId, RepoError> {
    let bytes = bytes.clone();
    tokio::task::spawn_blocking(move || object_id(&bytes)).await.map_err(|_| RepoError::Worker { what: "the hashing" })
}

/// Whether bytes may be another pack, whole: they begin as one, and have less than half in common with what belongs in their place. Packs are sealed, so that two of them are
/// alike in no more than their first bytes.
fn may_be_another(lying: &[u8], proven: &[u8]) -> bool {
    let alike = lying.iter().zip(proven).filter(|(a, b)| a == b).count();
    parse_header(lying).is_ok() && alike * 2 < lying.len()
}

/// The repair that needs no key: every object that is named by its hash and damaged is replaced from a source that has it whole. What is missing cannot be known
/// without a key, nor what else is damaged be put right.
pub async fn repair_names(
    store: &Arc<dyn Store>,
    sources: &Sources,
    now: Time,
    progress: &Progress,
) -> Result<Outcome, RepairError> {
    let mut report = check_stored(&**store, 100, now, progress).await?;
    let (mut outcome, blame) = (Outcome::default(), Blame::default());
    let wrong = |problem: Problem| matches!(problem, Problem::Name | Problem::Unreadable | Problem::Unopened);
    let names: Vec<Key> = report
        .findings
        .iter()
        .filter(|finding| wrong(finding.problem))
        .filter_map(|finding| Key::new(finding.object.as_str()).ok())
        .filter(layout::is_hash_named)
        .collect();
    for key in names {
        // It lay under another name, and is back by now.
        if outcome.healed.iter().any(|healed| healed.object == key.as_str()) {
            continue;
        }
        let Some((bytes, from)) = sources.whole(&key).await else { continue };
        if layout::pack_id(&key).is_some() && !save_unread(&**store, sources, &key, &bytes, &mut outcome).await? {
            continue;
        }
        match put_right(&**store, &key, &bytes, None).await {
            Ok(()) => outcome.healed.push(Healed::copied(&key, from)),
            Err(RepoError::Store(error @ StoreError::Failed { .. }))
                if blame.is_the_objects(&**store, &error).await =>
            {
                let why = in_one_line(&error);
                outcome.keep(&key, format!("its bytes are at hand and cannot be put here: {why}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    report.findings.retain(|finding| !outcome.healed.iter().any(|healed| healed.object == finding.object));
    if outcome.healed.iter().any(|healed| healed.object.starts_with(layout::ACCESS)) {
        // That none was whole is not true any more.
        report.findings.retain(|finding| finding.object != layout::ACCESS);
        let inventory = store.list(layout::ACCESS).await?;
        check::access(&**store, &inventory, &mut report.findings).await;
    }
    outcome.settle();
    outcome.passed_over = sources.passed_over();
    outcome.report = Some(report);
    Ok(outcome)
}
