//! Sessions: nobody builds upon a pack whose session is not there. Each pack that a session sealed carries the same wrapped key, so the object is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::id::{ObjectId, SessionId};
use crate::check::Survey;
use crate::format::kind::RecordKind;
use crate::format::record::SessionRecord;
use crate::repair::named::put;
use crate::repair::{Healed, How, Outcome, RepairError, Work};
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::presence::Presence;
use crate::repo::sealed::{self, RECORD_BYTES_MAX, get_within};
use crate::repo::{RepoError, Repository, layout};

/// Whether a record is that session's: by the id in the wrap, and with an identity by the key itself.
fn is_of(repository: &Repository, id: &SessionId, record: &SessionRecord) -> bool {
    let names = record.wrap.get(32..64) == Some(&id.as_bytes()[..]);
    let opens = || match repository.unwrap_session(record.epoch, &record.wrap) {
        Ok(opened) => opened.is_ok_and(|key| key.id() == *id),
        Err(_) => false,
    };
    names && (!repository.has_identity() || opens())
}

/// See the module.
pub(super) async fn heal(work: &Work<'_>, survey: &Survey, outcome: &mut Outcome) -> Result<(), RepairError> {
    let repository = work.repository;
    let store = &*repository.store;
    let index = Arc::new(Index::load(repository).await?);
    let presence = Presence::load(repository).await?;
    let mut packs_of: BTreeMap<SessionId, BTreeSet<ObjectId>> = BTreeMap::new();
    for (pack, session) in index.places() {
        let (Some(pack), Some(session)) = (index.pack(pack), session.and_then(|session| index.session(session))) else {
            continue;
        };
        if presence.packs.contains_key(&pack.id) {
            packs_of.entry(session).or_default().insert(pack.id);
        }
    }
    let reader = Reader::new(repository.clone(), index);
    for (id, packs) in packs_of {
        let key = layout::session(&id);
        match sealed::read_at::<SessionRecord>(store, &repository.meta, RecordKind::Session, &key).await {
            Ok(record) if is_of(repository, &id, &record) => continue,
            Err(RepoError::Store(error)) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        // A pack whose bytes are not those of its name may hold any wrap.
        let sound = packs.iter().filter(|pack| !survey.packs.contains_key(*pack) || is_healed(outcome, pack));
        let mut made: Option<(Bytes, Healed)> = None;
        for pack in sound {
            let Ok(wraps) = reader.wraps_in(pack).await else { continue };
            let records =
                wraps.into_iter().map(|(epoch, wrap)| SessionRecord { epoch, wrap, created: work.clock.now() });
            if let Some(record) = records.into_iter().find(|record| is_of(repository, &id, record)) {
                let bytes = sealed::seal(&repository.meta, RecordKind::Session, &record).map_err(RepoError::from)?;
                made = Some((bytes, Healed::here(&key, How::Made)));
                break;
            }
        }
        if made.is_none() {
            made = elsewhere(work, &id).await;
        }
        if let Some((bytes, healed)) = made
            && put(work, &key, &bytes, work.retain(), outcome).await?
        {
            outcome.healed.push(healed);
        }
    }
    Ok(())
}

fn is_healed(outcome: &Outcome, pack: &ObjectId) -> bool {
    let key = layout::pack(pack);
    outcome.healed.iter().any(|healed| healed.object == key.as_str())
}

async fn elsewhere(work: &Work<'_>, id: &SessionId) -> Option<(Bytes, Healed)> {
    let key = layout::session(id);
    for source in &work.sources.list {
        let Ok(bytes) = get_within(&*source.store, &key, RECORD_BYTES_MAX).await else { continue };
        let opened = sealed::open::<SessionRecord>(&work.repository.meta, RecordKind::Session, &key, &bytes);
        if opened.is_ok_and(|record| is_of(work.repository, id, &record)) {
            return Some((bytes, Healed::copied(&key, &source.name)));
        }
    }
    None
}
