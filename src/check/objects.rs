//! Everything but packs, index and snapshots: what must be there, what should not be, and that the small objects are whole.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::base::causes::in_one_line;
use crate::base::id::SessionId;
use crate::check::report::{Finding, Hint, Problem, Severity};
use crate::check::snapshots::of_error;
use crate::crypto::content::ContentError;
use crate::crypto::hash::object_id;
use crate::crypto::meta::MetaError;
use crate::crypto::recipients::AGE_BYTES_MAX;
use crate::drill::record;
use crate::format::kind::RecordKind;
use crate::format::record::SessionRecord;
use crate::repo::error::RepoError;
use crate::repo::index::{Index, Location};
use crate::repo::open::{Repository, read_format};
use crate::repo::sealed::get_within;
use crate::repo::{layout, sealed};
use crate::store::{Listed, Store};
use crate::verified;

/// Objects fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// Names that no repository has.
pub(super) fn foreign(inventory: &[Listed]) -> impl Iterator<Item = Finding> + '_ {
    inventory.iter().filter(|entry| !layout::belongs(&entry.key)).map(|entry| {
        match layout::place_of_misplaced(&entry.key) {
            Some(place) => {
                let what = format!("it lies in the wrong place, where it counts as absent; its place is {place}");
                Finding::new(&entry.key, Severity::Warning, Problem::Misplaced, what, Hint::PutInPlace)
            }
            None => Finding::note(&entry.key, Problem::Foreign, "it is no object of a repository", Hint::Nothing),
        }
    })
}

/// `format.json` as it lies there; without a repository to compare with, only that it makes sense.
pub(super) async fn format_file(store: &dyn Store, findings: &mut Vec<Finding>) {
    match read_format(store).await {
        Ok(_) => {}
        Err(RepoError::NoRepository { .. }) => {
            findings.push(Finding::damage(&layout::FORMAT, Problem::Missing, "it is not there", Hint::CopyFromReplica));
        }
        Err(error) => findings.push(of_error(&layout::format(), &error)),
    }
}

/// The access objects: each must match its name, and there must be one that does.
pub(crate) async fn access(store: &dyn Store, inventory: &[Listed], findings: &mut Vec<Finding>) {
    let mut whole = 0;
    let mut seen = false;
    for entry in inventory.iter().filter(|entry| entry.key.as_str().starts_with(layout::ACCESS)) {
        let Some(id) = layout::object_id(&entry.key) else { continue };
        seen = true;
        let problem = match get_within(store, &entry.key, AGE_BYTES_MAX as u64).await {
            Ok(bytes) if object_id(&bytes) == id => {
                whole += 1;
                continue;
            }
            Ok(_) => RepoError::Damaged { key: entry.key.clone() },
            Err(error) => error,
        };
        findings.push(Finding { hint: Hint::WriteAccess, ..of_error(&entry.key, &problem) });
    }
    if whole == 0 {
        let what = if seen { "no access object is whole" } else { "there is no access object" };
        let what = format!("{what}: no identity can open the repository");
        findings.push(Finding::damage(&layout::ACCESS, Problem::Missing, what, Hint::CopyFromReplica));
    }
}

/// The whole stage; see the module.
pub(super) async fn look(
    repository: &Arc<Repository>,
    index: &Index,
    inventory: &[Listed],
    findings: &mut Vec<Finding>,
) {
    let store = &*repository.store;
    format_file(store, findings).await;
    access(store, inventory, findings).await;
    findings.extend(foreign(inventory));
    findings.extend(unindexed(index, inventory));
    if let Err(error) = repository.reread_epoch().await {
        findings.push(of_error(&layout::epoch(repository.epoch.number), &error));
    }
    // Epochs are numbered without gaps from 1.
    let epochs: BTreeSet<u32> =
        inventory.iter().filter_map(|entry| entry.key.as_str().strip_prefix(layout::EPOCHS)?.parse().ok()).collect();
    for number in (1..repository.epoch.number).filter(|number| !epochs.contains(number)) {
        let what = "the record of an earlier epoch is not there";
        findings.push(Finding::damage(&layout::epoch(number), Problem::Missing, what, Hint::CopyFromReplica));
    }
    sessions(repository, index, inventory, findings).await;
    verified_records(repository, findings).await;
    rehearsals(repository, findings).await;
}

/// Nothing needs what drills came to but who reads it.
async fn rehearsals(repository: &Repository, findings: &mut Vec<Finding>) {
    match record::load(repository).await {
        Ok(found) => findings.extend(found.unreadable.iter().map(|(key, error)| {
            let finding = of_error(key, error);
            Finding { severity: Severity::Warning, hint: Hint::DrillAgain, ..finding }
        })),
        Err(error) => {
            let what = in_one_line(&error);
            let key = layout::REHEARSALS;
            findings.push(Finding::new(&key, Severity::Warning, Problem::Unreadable, what, Hint::ReadAgain));
        }
    }
}

/// Nothing needs what was verified but `forget`, so that a record which is damaged is no damage to the repository.
async fn verified_records(repository: &Repository, findings: &mut Vec<Finding>) {
    match verified::load(repository).await {
        Ok(found) => findings.extend(found.unreadable.iter().map(|(key, error)| {
            let finding = of_error(key, error);
            Finding { severity: Severity::Warning, hint: Hint::VerifyAgain, ..finding }
        })),
        Err(error) => {
            let what = in_one_line(&error);
            let key = layout::VERIFIED;
            findings.push(Finding::new(&key, Severity::Warning, Problem::Unreadable, what, Hint::ReadAgain));
        }
    }
}

fn unindexed<'a>(index: &'a Index, inventory: &'a [Listed]) -> impl Iterator<Item = Finding> + 'a {
    let unknown =
        inventory.iter().filter(|entry| layout::pack_id(&entry.key).is_some_and(|id| index.pack_number(&id).is_none()));
    unknown.map(|entry| {
        let what = "no index segment names it: a backup was cut off or is running";
        Finding::note(&entry.key, Problem::Unindexed, what, Hint::Prune)
    })
}

/// Every session that the index names must be there; every one that is there must be the one that its name says.
async fn sessions(repository: &Arc<Repository>, index: &Index, inventory: &[Listed], findings: &mut Vec<Finding>) {
    let there: Vec<SessionId> =
        inventory.iter().filter_map(|entry| entry.key.as_str().strip_prefix(layout::SESSIONS)?.parse().ok()).collect();
    let known: HashSet<SessionId> = there.iter().copied().collect();
    // A segment may still name packs that were pruned, and a session goes when its last pack has.
    let present = |location: &Location| index.pack(location.pack).is_some_and(|pack| pack.present);
    let used = index.iter().filter(|blob| present(&blob.location)).filter_map(|blob| blob.location.session);
    let used: HashSet<u32> = used.collect();
    let needed: HashSet<SessionId> = used.into_iter().filter_map(|session| index.session(session)).collect();
    for id in needed.iter().filter(|id| !known.contains(*id)) {
        let what = "it is not there; its packs carry the same wrapped key";
        findings.push(Finding::damage(&layout::session(id), Problem::Missing, what, Hint::CopyFromReplica));
    }
    let mut reads = stream::iter(there)
        .map(|id| async move { (id, session(repository, &id).await) })
        .buffer_unordered(FETCH_AT_ONCE);
    while let Some((id, read)) = reads.next().await {
        if let Err(mut finding) = read {
            if !needed.contains(&id) {
                if finding.problem == Problem::Missing {
                    continue; // pruned since it was listed
                }
                finding.severity = Severity::Warning;
                finding.hint = Hint::Prune;
            }
            findings.push(*finding);
        }
    }
}

/// Opens a session. Its seal does not say which session it is, but the wrapped key inside does, and with an identity the key itself.
async fn session(repository: &Repository, id: &SessionId) -> Result<(), Box<Finding>> {
    let key = layout::session(id);
    let read: Result<SessionRecord, RepoError> =
        sealed::read_at(&*repository.store, &repository.meta, RecordKind::Session, &key).await;
    let record = match read {
        Ok(record) => record,
        // Sealed with a writer key that was retired: an identity has it.
        Err(RepoError::Sealed { source: MetaError::Epoch(_), .. }) if !repository.has_identity() => return Ok(()),
        Err(error) => return Err(Box::new(of_error(&key, &error))),
    };
    let other = || {
        let what = "it holds the key of another session";
        Err(Box::new(Finding::damage(&key, Problem::Unopened, what, Hint::CopyFromReplica)))
    };
    if record.wrap.get(32..64) != Some(&id.as_bytes()[..]) {
        return other();
    }
    if !repository.has_identity() {
        return Ok(());
    }
    match repository.unwrap_session(record.epoch, &record.wrap) {
        Ok(Ok(content)) if content.id() == *id => Ok(()),
        Ok(Ok(_) | Err(ContentError::Commitment)) => other(),
        Ok(Err(error)) => {
            let what = format!("its content key does not unwrap: {error}");
            Err(Box::new(Finding::damage(&key, Problem::Unopened, what, Hint::CopyFromReplica)))
        }
        Err(error) => Err(Box::new(of_error(&key, &error))),
    }
}
