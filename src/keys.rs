//! Layer 5: the key drill. An identity that was never tried is a hope; a drill is a proof, and it is kept beside the data.
//!
//! It proves that the identity opens the repository's keys, a session's content key, and content that a snapshot needs. It does not read all of it: that is
//! `check --read-data`. What it meets of damage on the way it tells and goes on, and a proof that cannot be recorded where it was held is a proof all the same.

pub mod rotate;

use std::sync::{Arc, Mutex, PoisonError};

use futures::stream::{self, StreamExt};
use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::clock::{Clock, Time};
use crate::base::id::{BlobId, ObjectId};
use crate::format::entry::{self, Piece, TreePath};
use crate::format::kind::RecordKind;
use crate::format::record::KeyDrill;
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::open::Repository;
use crate::repo::snapshots::{Chain, Snapshot};
use crate::repo::tree_read::{TreeReader, pieces};
use crate::repo::upload::retain_until;
use crate::repo::{layout, salvage, sealed, witness};

/// Drills fetched at once.
const FETCH_AT_ONCE: usize = 8;

/// Snapshots of which content is tried, the newest first, when that of one does not open: the next may well share what is damaged.
const DAMAGED_TRIED_MAX: usize = 8;

/// A drill that was held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TriedKey {
    /// Its id; `None` if it was not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<ObjectId>,
    /// When.
    pub at: Time,
    /// The recipient whose identity it was; empty where that cannot be told.
    pub recipient: String,
    /// The machine.
    pub host: String,
    /// The snapshot of which content was opened; `None` if the repository held no content.
    pub snapshot: Option<ObjectId>,
}

/// What a drill proved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Drilled {
    /// The record.
    pub drill: TriedKey,
    /// Why the record could not be stored, such as on a copy that can only be read; `None` if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_recorded: Option<String>,
    /// What was met that does not read, and why: records of snapshots, and snapshots whose content was to be opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// The file of which a chunk was opened.
    pub file: Option<String>,
    /// How many of the file's bytes it holds.
    pub bytes: u64,
    /// Whether the repository's fingerprint was compared with a pinned one.
    pub verified: bool,
    /// Index segments that do not read; the tables inside packs stood in for them.
    pub index_damaged: Vec<String>,
}

impl TriedKey {
    fn of(id: Option<ObjectId>, record: &KeyDrill) -> Self {
        let KeyDrill { at, recipient, host, snapshot, .. } = record.clone();
        Self { id, at, recipient, host, snapshot }
    }
}

/// Opens content of the newest snapshot that has some with the identity that `repository` was opened with, and stores the proof. Where the content of none
/// opens although there should be some, nothing is stored.
pub async fn drill(repository: &Arc<Repository>, host: &str, clock: &dyn Clock) -> Result<Drilled, RepoError> {
    if !repository.has_identity() {
        return Err(RepoError::IdentityNeeded);
    }
    let chain = Chain::load_to_read(repository).await?;
    let mut damaged: Vec<String> = chain
        .unreadable
        .iter()
        .map(|(id, reason)| format!("{} cannot be read: {reason}", layout::named(layout::SNAPSHOTS, id)))
        .collect();
    let lost: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = lost.clone();
    let reader = salvage::reader(repository, move |salvaged| {
        let names = salvaged.lost_segments().map(|(key, _)| key.to_string());
        heard.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    })
    .await?;
    let (opened, closed) = open_content(&reader, &chain).await?;
    let nothing_opened = opened.is_none() && !(closed.is_empty() && damaged.is_empty());
    damaged.extend(closed);
    let now = clock.now();
    let (heads, unseen) = match witness::testimony(repository, &chain).await {
        Ok(heads) => (heads, None),
        Err(error) => (Vec::new(), Some(format!("what witnesses it before cannot be read: {}", in_one_line(&error)))),
    };
    let record = KeyDrill {
        at: now,
        recipient: repository.opened_by.clone().unwrap_or_default(),
        host: host.to_owned(),
        snapshot: opened.as_ref().map(|(snapshot, ..)| *snapshot),
        heads,
    };
    let stored = if nothing_opened {
        Err("no content could be opened".to_owned())
    } else if let Some(why) = unseen {
        Err(why)
    } else {
        let retain = retain_until(repository, now);
        let store = &*repository.store;
        match sealed::put(store, &repository.meta, RecordKind::KeyDrill, layout::KEY_DRILLS, &record, retain).await {
            Ok((id, _)) => Ok(id),
            Err(RepoError::Store(error)) => Err(why(&error)),
            Err(error) => return Err(error),
        }
    };
    let (file, bytes) = opened.map_or((None, 0), |(_, path, bytes)| (Some(path.display()), bytes));
    let index_damaged = std::mem::take(&mut *lost.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Drilled {
        drill: TriedKey::of(stored.as_ref().ok().copied(), &record),
        not_recorded: stored.err(),
        damaged,
        file,
        bytes,
        verified: repository.verified,
        index_damaged,
    })
}

/// A chunk that was opened: of which snapshot and file, and how many of the file's bytes it holds.
type OpenedChunk = (ObjectId, TreePath, u64);

/// The first content that opens, and what does not before it.
async fn open_content(reader: &Arc<Reader>, chain: &Chain) -> Result<(Option<OpenedChunk>, Vec<String>), RepoError> {
    let mut closed = Vec::new();
    for snapshot in chain.snapshots.iter().rev() {
        match open_first(reader, snapshot).await {
            Ok(None) => {}
            Ok(Some((path, bytes))) => return Ok((Some((snapshot.id, path, bytes)), closed)),
            Err(error) => {
                let error = reader.blame(error).await?;
                closed.push(format!("content of snapshot {} does not open: {}", snapshot.id.short(), why(&error)));
                if closed.len() >= DAMAGED_TRIED_MAX {
                    break;
                }
            }
        }
    }
    Ok((None, closed))
}

/// Unwraps the session of the first chunk of a snapshot, opens it, decompresses it and compares it with its id.
async fn open_first(reader: &Arc<Reader>, snapshot: &Snapshot) -> Result<Option<(TreePath, u64)>, RepoError> {
    let Some((path, blob, length)) = first_chunk(reader, snapshot).await? else { return Ok(None) };
    // Other files may be in it too.
    reader.data(&blob).await?;
    Ok(Some((path, length)))
}

/// An error and its causes in one line.
fn why(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string()).chain(causes.map(ToString::to_string)).collect::<Vec<_>>().join(": ")
}

/// The first chunk of the first file of a snapshot that has any, and how many bytes of the file are in it.
async fn first_chunk(reader: &Arc<Reader>, snapshot: &Snapshot) -> Result<Option<(TreePath, BlobId, u64)>, RepoError> {
    let mut tree = TreeReader::open(reader.clone(), snapshot.record.root, TreePath::root())?;
    while let Some(entries) = tree.next().await? {
        for found in entries {
            let entry::Kind::File { size, content } = found.kind else { continue };
            for piece in pieces(reader, &content, size).await? {
                if let Piece::Data { blob, length, .. } = piece {
                    return Ok(Some((found.path, blob, u64::from(length))));
                }
            }
        }
    }
    Ok(None)
}

/// The drills that were held, newest first; and the names of records that do not read. The writer key suffices.
pub async fn list_key_drills(repository: &Repository) -> Result<(Vec<TriedKey>, Vec<String>), RepoError> {
    let listed = repository.store.list(layout::KEY_DRILLS).await?;
    let mut reads = stream::iter(listed)
        .map(|entry| async move {
            let read = sealed::read(&*repository.store, &repository.meta, RecordKind::KeyDrill, &entry.key).await;
            (entry.key, read)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    let (mut drills, mut unreadable) = (Vec::new(), Vec::new());
    let blame = Blame::default();
    while let Some((key, read)) = reads.next().await {
        match (layout::object_id(&key), read) {
            (Some(id), Ok(record)) => drills.push(TriedKey::of(Some(id), &record)),
            (_, Err(RepoError::Store(error))) if !blame.is_the_objects(&*repository.store, &error).await => {
                return Err(error.into());
            }
            (None, _) => {}
            (_, Err(RepoError::Store(error))) if error.is_not_found() => {}
            (_, Err(error)) if error.is_retired() => {}
            (_, Err(_)) => unreadable.push(key.to_string()),
        }
    }
    drills.sort_by_key(|drill| std::cmp::Reverse((drill.at, drill.id)));
    Ok((drills, unreadable))
}
