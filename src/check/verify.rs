//! One pack in memory: its bytes against its name, its blobs against the index, and with an identity against their ids.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::base::causes::in_one_line;
use crate::check::report::Problem;
use crate::crypto::content::ContentKey;
use crate::crypto::hash::object_id;
use crate::crypto::meta::MetaError;
use crate::format::kind::Kind;
use crate::format::pack::{BlobRecord, IndexedPack, PACK_BYTES_MAX};
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::index::Location;
use crate::repo::layout;
use crate::repo::opener::Opener;
use crate::repo::packer::table_in;
use crate::repo::sealed::get_within;

/// What reading a pack gave.
#[derive(Default)]
pub(super) struct Verdict {
    pub(super) number: u32,
    pub(super) bytes: u64,
    pub(super) blobs: u64,
    /// Copies that were decrypted and are what their ids say.
    pub(super) opened: Vec<usize>,
    /// Of the pack as a whole.
    pub(super) troubles: Vec<(Problem, String)>,
    /// Of single copies.
    pub(super) bad: Vec<(usize, String)>,
    /// One of [`Verdict::bad`] was opened and is something else: whoever stored it lied, and no key that is lacking is to blame.
    pub(super) lies: bool,
    /// Nothing of it can be read.
    pub(super) gone: bool,
}

/// Fetches a pack and checks it; never fails, what is wrong is in the verdict.
pub(super) async fn verify(reader: Arc<Reader>, number: u32, pack: IndexedPack) -> Verdict {
    let mut verdict = Verdict { number, ..Verdict::default() };
    let key = layout::pack(&pack.id);
    if pack.size > PACK_BYTES_MAX as u64 {
        verdict.gone = true;
        verdict.troubles.push((Problem::Size, format!("{} bytes are more than any pack has", pack.size)));
        return verdict;
    }
    let bytes = match get_within(&*reader.repository.store, &key, PACK_BYTES_MAX as u64).await {
        Ok(bytes) => bytes,
        Err(error) => {
            verdict.gone = true;
            let problem = match &error {
                RepoError::Store(error) if error.is_not_found() => Problem::Missing,
                RepoError::TooLarge { .. } => Problem::Size,
                _ => Problem::Unreadable,
            };
            verdict.troubles.push((problem, in_one_line(&error)));
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
                verdict.opened.extend(part.opened);
                verdict.troubles.extend(part.troubles);
                verdict.bad.extend(part.bad);
                verdict.lies |= part.lies;
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
        if let Some(location) = found {
            blobs.push((record, location));
        } else {
            let reason = format!("two index segments describe it differently (blob {})", record.id.short());
            verdict.troubles.push((Problem::Blobs, reason));
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
                    failed.insert(session, in_one_line(&error));
                }
            }
        }
        if let Some(why) = failed.get(&session) {
            verdict.bad.push((location.slot, format!("blob {}: {why}", record.id.short())));
        }
    }
    keys
}

/// Why a copy cannot be relied on.
struct Bad {
    reason: String,
    lies: bool,
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
            Err(error) => verdict.troubles.push((Problem::Unopened, in_one_line(&error))),
        }
        verdict
    }

    fn own_table(&self) -> Result<bool, RepoError> {
        Ok(table_in(&self.reader.repository.meta, &self.pack.id, &self.bytes)? == self.pack.table)
    }

    /// Every `lanes`-th blob, from the `lane`-th on.
    fn blobs_of(&self, lane: usize, lanes: usize) -> Verdict {
        let mut verdict = Verdict { number: self.number, ..Verdict::default() };
        let mut opener = self.reader.opener();
        for (record, location) in self.blobs.iter().skip(lane).step_by(lanes) {
            verdict.blobs += 1;
            match self.blob(record, location, &mut opener) {
                Ok(true) => verdict.opened.push(location.slot),
                Ok(false) => {}
                Err(Bad { reason, lies }) => {
                    verdict.lies |= lies;
                    verdict.bad.push((location.slot, format!("blob {}: {reason}", record.id.short())));
                }
            }
        }
        verdict
    }

    /// Checks one blob; tells whether it was opened.
    fn blob(&self, record: &BlobRecord, location: &Location, opener: &mut Opener) -> Result<bool, Bad> {
        let rotten = |reason: String| Bad { reason, lies: false };
        let end = usize::try_from(record.end()).unwrap_or(usize::MAX);
        let beyond = || rotten("it lies beyond the pack's end".to_owned());
        let sealed = self.bytes.get(record.offset as usize..end).ok_or_else(beyond)?;
        if *blake3::hash(sealed).as_bytes() != record.sealed_hash {
            return Err(rotten("its sealed bytes are not those that were stored".to_owned()));
        }
        let reader = &self.reader;
        let result = match (record.kind, location.session.and_then(|session| self.keys.get(&session))) {
            (Kind::Data, Some(key)) => reader.open_data(key, &record.id, location, opener, sealed),
            (Kind::Data, None) => return Ok(false), // no identity, or its session is told of already
            (kind, _) => reader.open_metadata(kind, &record.id, location, opener, sealed),
        };
        // Its session's id proves the content key, and whoever holds an identity holds the metadata keys of all epochs.
        let plain = result.map_err(|error| match error {
            RepoError::Blob { reason, .. } => Bad { reason, lies: reader.repository.has_identity() },
            other => rotten(in_one_line(&other)),
        })?;
        if plain.len() == record.plain_length as usize {
            Ok(true)
        } else {
            Err(rotten(format!("it has {} bytes, and the index says {}", plain.len(), record.plain_length)))
        }
    }
}
