//! Reading packs whole: their bytes against their names, their blobs against the index, and with an identity against their ids.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{JoinError, JoinSet};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::check::report::{Counts, Finding, Hint, Problem, Severity};
use crate::check::snapshots::{of_error, with_causes};
use crate::check::trouble::Troubles;
use crate::check::{OnProgress, Progress, Stage};
use crate::compress::Unpacking;
use crate::crypto::content::ContentKey;
use crate::crypto::hash::object_id;
use crate::crypto::meta::MetaError;
use crate::format::kind::Kind;
use crate::format::pack::{BlobRecord, IndexedPack, PACK_BYTES_MAX};
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::index::{Index, Location, read_segment};
use crate::repo::layout;
use crate::repo::packer::{TRAILER_BYTES, open_table, open_trailer};

/// Packs in memory at once: one arrives while two are worked on. With 16 MiB each and a few blobs being opened this is what a check needs.
const PACKS_AT_ONCE: usize = 3;
const MILLISECONDS_A_DAY: i64 = 86_400_000;

/// Which packs are read today: those whose ids begin in a window that moves on by its own width every day.
#[derive(Clone, Copy)]
pub(super) struct Slice {
    start: u32,
    percent: u8,
}

impl Slice {
    pub(super) fn of_day(percent: u8, now: Time) -> Self {
        let day = now.0.div_euclid(MILLISECONDS_A_DAY);
        let hundredths = (day.rem_euclid(100) * i64::from(percent)).rem_euclid(100);
        let start = u64::try_from(hundredths).unwrap_or(0) * (1_u64 << 32) / 100;
        Self { start: u32::try_from(start).unwrap_or(0), percent }
    }

    pub(super) fn has(self, id: &ObjectId) -> bool {
        let at = id.as_bytes().first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head));
        u64::from(at.wrapping_sub(self.start)) * 100 < u64::from(self.percent) << 32
    }
}

/// What reading a pack gave.
#[derive(Default)]
struct Verdict {
    number: u32,
    bytes: u64,
    blobs: u64,
    opened: u64,
    /// Of the pack as a whole.
    troubles: Vec<(Problem, String)>,
    /// Of single copies.
    bad: Vec<(usize, String)>,
    /// Nothing of it can be read.
    gone: bool,
}

/// Reads today's slice of the packs that the index names.
pub(super) async fn read(
    reader: &Arc<Reader>,
    slice: Slice,
    troubles: &mut Troubles,
    findings: &mut Vec<Finding>,
    counts: &mut Counts,
    on_progress: OnProgress<'_>,
) -> Result<(), RepoError> {
    let index = &reader.index;
    let chosen = index.packs.iter().filter(|pack| pack.present && slice.has(&pack.id));
    let total = chosen.map(|pack| pack.size).sum();
    let mut seen = HashSet::new();
    let mut running: JoinSet<Verdict> = JoinSet::new();
    for key in &index.segments {
        let segment = match read_segment(&reader.repository, key).await {
            Ok(segment) => segment,
            Err(error) => {
                findings.push(of_error(key, &error));
                continue;
            }
        };
        for pack in segment.packs {
            let Some(number) = index.pack_number(&pack.id) else { continue };
            let present = index.pack(number).is_some_and(|state| state.present);
            if !present || !slice.has(&pack.id) || !seen.insert(number) {
                continue;
            }
            while running.len() >= PACKS_AT_ONCE {
                take(running.join_next().await, index, troubles, counts)?;
                on_progress(Progress { stage: Stage::Data, done: counts.bytes_read, total });
            }
            running.spawn(verify(reader.clone(), number, pack));
        }
    }
    while let Some(verdict) = running.join_next().await {
        take(Some(verdict), index, troubles, counts)?;
        on_progress(Progress { stage: Stage::Data, done: counts.bytes_read, total });
    }
    for (number, pack) in (0_u32..).zip(&index.packs) {
        if pack.present && slice.has(&pack.id) && !seen.contains(&number) {
            let what = "it was not read: its index segment was replaced meanwhile";
            let finding =
                Finding::new(layout::pack(&pack.id), Severity::Warning, Problem::Unreadable, what, Hint::ReadAgain);
            findings.push(finding);
        }
    }
    Ok(())
}

fn take(
    joined: Option<Result<Verdict, JoinError>>,
    index: &Index,
    troubles: &mut Troubles,
    counts: &mut Counts,
) -> Result<(), RepoError> {
    let Some(joined) = joined else { return Ok(()) };
    let verdict = joined.map_err(|_| RepoError::Worker { what: "the check of a pack" })?;
    counts.objects_read += u64::from(verdict.bytes > 0);
    counts.bytes_read += verdict.bytes;
    counts.blobs_read += verdict.blobs;
    counts.blobs_opened += verdict.opened;
    for (problem, reason) in verdict.troubles {
        troubles.pack(verdict.number, problem, reason);
    }
    for (slot, reason) in verdict.bad {
        troubles.blob(verdict.number, slot, reason);
    }
    if verdict.gone {
        troubles.cut(index, verdict.number, 0);
    }
    Ok(())
}

/// Fetches a pack and checks it; never fails, what is wrong is in the verdict.
async fn verify(reader: Arc<Reader>, number: u32, pack: IndexedPack) -> Verdict {
    let mut verdict = Verdict { number, ..Verdict::default() };
    let key = layout::pack(&pack.id);
    if pack.size > PACK_BYTES_MAX as u64 {
        verdict.gone = true;
        verdict.troubles.push((Problem::Size, format!("{} bytes are more than any pack has", pack.size)));
        return verdict;
    }
    let bytes = match reader.repository.store.get(&key).await {
        Ok(bytes) => bytes,
        Err(error) => {
            verdict.gone = true;
            let problem = if error.is_not_found() { Problem::Missing } else { Problem::Unreadable };
            verdict.troubles.push((problem, with_causes(&error)));
            return verdict;
        }
    };
    verdict.bytes = bytes.len() as u64;
    let blobs = place(&reader, number, &pack, &mut verdict);
    let keys = content_keys(&reader, &blobs, &mut verdict).await;
    let job = Arc::new(Job { reader, number, pack, bytes, blobs, keys });
    // The machine has more cores than packs are in memory: the blobs of a pack are dealt out.
    let lanes = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).div_ceil(2);
    let mut working = JoinSet::new();
    for lane in 0..lanes {
        let job = job.clone();
        working.spawn_blocking(move || job.blobs_of(lane, lanes));
    }
    let whole = job.clone();
    working.spawn_blocking(move || whole.whole());
    while let Some(part) = working.join_next().await {
        match part {
            Ok(part) => {
                verdict.blobs += part.blobs;
                verdict.opened += part.opened;
                verdict.troubles.extend(part.troubles);
                verdict.bad.extend(part.bad);
            }
            Err(_) => {
                verdict.troubles.push((Problem::Unreadable, "the check of it ended unexpectedly".to_owned()));
            }
        }
    }
    // Which lane came first must not show.
    verdict.troubles.sort();
    verdict.bad.sort();
    verdict
}

/// Where the index in memory has the blobs of the pack.
fn place(reader: &Reader, number: u32, pack: &IndexedPack, verdict: &mut Verdict) -> Vec<(BlobRecord, Location)> {
    let mut blobs = Vec::with_capacity(pack.table.len());
    for record in pack.table.records() {
        let found = reader.index.copies(&record.id).find(|copy| copy.pack == number && copy.offset == record.offset);
        match found {
            Some(location) => blobs.push((record, location)),
            None => {
                let reason = format!("two index segments describe it differently (blob {})", record.id.short());
                verdict.troubles.push((Problem::Blobs, reason));
            }
        }
    }
    blobs
}

/// The content keys of the pack's sessions, if an identity is held; where one does not open, all its blobs are bad.
async fn content_keys(
    reader: &Reader,
    blobs: &[(BlobRecord, Location)],
    verdict: &mut Verdict,
) -> BTreeMap<u32, Arc<ContentKey>> {
    let mut keys = BTreeMap::new();
    if !reader.repository.has_identity() {
        return keys;
    }
    let mut failed: BTreeMap<u32, String> = BTreeMap::new();
    for (record, location) in blobs.iter().filter(|(record, _)| !record.kind.is_metadata()) {
        let Some(session) = location.session else { continue };
        if !keys.contains_key(&session) && !failed.contains_key(&session) {
            match reader.content_key(location).await {
                Ok(key) => {
                    keys.insert(session, key);
                }
                Err(error) => {
                    failed.insert(session, with_causes(&error));
                }
            }
        }
        if let Some(why) = failed.get(&session) {
            verdict.bad.push((location.slot, format!("blob {}: {why}", record.id.short())));
        }
    }
    keys
}

/// A pack in memory with all that is needed to check it.
struct Job {
    reader: Arc<Reader>,
    number: u32,
    pack: IndexedPack,
    bytes: Bytes,
    blobs: Vec<(BlobRecord, Location)>,
    keys: BTreeMap<u32, Arc<ContentKey>>,
}

impl Job {
    /// Name, and the table inside: the index is made again from it when it is lost.
    fn whole(&self) -> Verdict {
        let mut verdict = Verdict { number: self.number, ..Verdict::default() };
        if object_id(&self.bytes) != self.pack.id {
            verdict.troubles.push((Problem::Name, "its bytes do not match its name".to_owned()));
            return verdict;
        }
        match self.own_table() {
            Ok(same) if same => {}
            Ok(_) => {
                let reason = "the table inside it is not what the index says".to_owned();
                verdict.troubles.push((Problem::Unopened, reason));
            }
            // Sealed in an epoch whose key this writer no longer has: an identity has it.
            Err(RepoError::Sealed { source: MetaError::Epoch(_), .. }) => {}
            Err(error) => verdict.troubles.push((Problem::Unopened, with_causes(&error))),
        }
        verdict
    }

    fn own_table(&self) -> Result<bool, RepoError> {
        let meta = &self.reader.repository.meta;
        let trailer =
            self.bytes.len().checked_sub(TRAILER_BYTES).and_then(|at| self.bytes.get(at..)).unwrap_or_default();
        let range = open_trailer(meta, &self.pack.id, trailer)?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let table = self.bytes.get(at(range.start)..at(range.end)).unwrap_or_default();
        Ok(open_table(meta, &self.pack.id, table)? == self.pack.table)
    }

    /// Every `lanes`-th blob, from the `lane`-th on.
    fn blobs_of(&self, lane: usize, lanes: usize) -> Verdict {
        let mut verdict = Verdict { number: self.number, ..Verdict::default() };
        let mut unpacking = match Unpacking::new() {
            Ok(unpacking) => unpacking,
            Err(error) => {
                verdict.troubles.push((Problem::Unreadable, with_causes(&error)));
                return verdict;
            }
        };
        for (record, location) in self.blobs.iter().skip(lane).step_by(lanes) {
            verdict.blobs += 1;
            match self.blob(record, location, &mut unpacking) {
                Ok(opened) => verdict.opened += u64::from(opened),
                Err(reason) => verdict.bad.push((location.slot, format!("blob {}: {reason}", record.id.short()))),
            }
        }
        verdict
    }

    /// Checks one blob; tells whether it was opened.
    fn blob(&self, record: &BlobRecord, location: &Location, unpacking: &mut Unpacking) -> Result<bool, String> {
        let end = usize::try_from(record.end()).unwrap_or(usize::MAX);
        let sealed = self.bytes.get(record.offset as usize..end).ok_or("it lies beyond the pack's end")?;
        if *blake3::hash(sealed).as_bytes() != record.sealed_hash {
            return Err("its sealed bytes are not those that were stored".to_owned());
        }
        let reader = &self.reader;
        let opened = match (record.kind, location.session.and_then(|session| self.keys.get(&session))) {
            (Kind::Data, Some(key)) => reader.open_data(key, &record.id, location, unpacking, sealed),
            (Kind::Data, None) => return Ok(false), // no identity, or its session is told of already
            (kind, _) => reader.open_metadata(kind, &record.id, location, sealed),
        };
        let plain = opened.map_err(|error| match error {
            RepoError::Blob { reason, .. } => reason,
            other => with_causes(&other),
        })?;
        if plain.len() == record.plain_length as usize {
            Ok(true)
        } else {
            Err(format!("it has {} bytes, and the index says {}", plain.len(), record.plain_length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days_of(percent: u8, id: &ObjectId, days: i64) -> usize {
        (0..days).filter(|day| Slice::of_day(percent, Time(day * MILLISECONDS_A_DAY)).has(id)).count()
    }

    #[test]
    fn every_pack_is_read_within_its_round_and_some_every_day() {
        let ids: Vec<ObjectId> =
            (0..500_u32).map(|n| ObjectId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
        for (percent, round) in [(100, 1), (50, 2), (30, 4), (7, 15), (1, 100)] {
            for id in &ids {
                assert!(days_of(percent, id, round) >= 1, "{percent} % within {round} days");
            }
            let today = Slice::of_day(percent, Time(20_000 * MILLISECONDS_A_DAY));
            let share = ids.iter().filter(|id| today.has(id)).count() * 100 / ids.len();
            assert!(share.abs_diff(usize::from(percent)) <= 5, "{percent} % was {share} %");
        }
        for edge in [[0; 32], [255; 32]] {
            assert_eq!(days_of(1, &ObjectId::new(edge), 100), 1);
            assert_eq!(days_of(0, &ObjectId::new(edge), 100), 0);
        }
    }
}
