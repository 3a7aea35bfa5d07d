//! Layer 5: how much there is, and what deduplication and compression save. The writer key suffices.
//!
//! Index segments are read one at a time and not kept; of every pack only its id is remembered.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::repo::blame::Blame;
use crate::repo::error::RepoError;
use crate::repo::index::read_segment;
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::repo::snapshots::Chain;

/// Objects below one prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Stored {
    /// How many.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

/// Blobs that the index names; one that lies in two packs counts twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Blobs {
    /// How many.
    pub blobs: u64,
    /// Bytes of their plaintexts.
    pub plain_bytes: u64,
    /// Bytes of them as they are stored: compressed and sealed.
    pub sealed_bytes: u64,
}

/// Numbers of one source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SourceStats {
    /// Its name.
    pub source: String,
    /// How many snapshots it has.
    pub snapshots: u64,
    /// Bytes of the files of all of them.
    pub logical_bytes: u64,
    /// When the newest began.
    pub newest: Time,
    /// Bytes of the files of the newest.
    pub newest_bytes: u64,
    /// Files in the newest.
    pub newest_files: u64,
}

/// Numbers of a repository.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Stats {
    /// How many snapshots there are.
    pub snapshots: u64,
    /// Snapshot records that did not read; their bytes are not among the logical ones.
    pub unreadable_snapshots: u64,
    /// Index segments that could not be read: what only they name is not counted among blobs.
    pub unreadable_segments: Vec<String>,
    /// Bytes of the files of all snapshots: what restoring each of them would write.
    pub logical_bytes: u64,
    /// Bytes of all objects.
    pub stored_bytes: u64,
    /// All objects.
    pub objects: u64,
    /// By prefix (`packs/`, `index/` …; `format.json` under its own name).
    pub by_prefix: BTreeMap<String, Stored>,
    /// Content.
    pub data: Blobs,
    /// Nodes, leaves and lists.
    pub metadata: Blobs,
    /// Logical bytes for a byte of distinct content; `None` without content.
    pub dedup_ratio: Option<f64>,
    /// Bytes of distinct content for a byte of it as it is stored.
    pub compression_ratio: Option<f64>,
    /// Logical bytes for a byte in the store, everything counted.
    pub total_ratio: Option<f64>,
    /// By source, sorted by name.
    pub sources: Vec<SourceStats>,
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

/// Counts everything.
pub async fn stats(repository: &Repository) -> Result<Stats, RepoError> {
    let mut stats = Stats::default();
    let chain = Chain::load_to_read(repository).await?;
    stats.snapshots = chain.snapshots.len() as u64;
    stats.unreadable_snapshots = chain.unreadable.len() as u64;
    let mut sources: BTreeMap<&str, SourceStats> = BTreeMap::new();
    for snapshot in &chain.snapshots {
        let record = &snapshot.record;
        stats.logical_bytes += record.statistics.bytes;
        let source = sources.entry(&record.source).or_insert_with(|| SourceStats {
            source: record.source.clone(),
            snapshots: 0,
            logical_bytes: 0,
            newest: record.started,
            newest_bytes: 0,
            newest_files: 0,
        });
        // Oldest first: the last one stays.
        source.snapshots += 1;
        source.logical_bytes += record.statistics.bytes;
        source.newest = record.started;
        source.newest_bytes = record.statistics.bytes;
        source.newest_files = record.statistics.files;
    }
    stats.sources = sources.into_values().collect();
    let mut segments = Vec::new();
    for entry in repository.store.list("").await? {
        let name = entry.key.as_str();
        let prefix = name.find('/').and_then(|at| name.get(..=at)).unwrap_or(name);
        let stored = stats.by_prefix.entry(prefix.to_owned()).or_default();
        stored.objects += 1;
        stored.bytes += entry.size;
        stats.objects += 1;
        stats.stored_bytes += entry.size;
        if prefix == layout::INDEX {
            segments.push(entry.key);
        }
    }
    let mut seen: HashSet<ObjectId> = HashSet::new();
    let blame = Blame::default();
    for key in segments {
        let segment = match read_segment(repository, &key).await {
            Ok(segment) => segment,
            Err(RepoError::Store(error)) if !blame.is_the_objects(&*repository.store, &error).await => {
                return Err(error.into());
            }
            Err(_) => {
                stats.unreadable_segments.push(key.to_string());
                continue;
            }
        };
        for pack in segment.packs {
            if !seen.insert(pack.id) {
                continue;
            }
            for record in pack.table.records() {
                let blobs = if record.kind.is_metadata() { &mut stats.metadata } else { &mut stats.data };
                blobs.blobs += 1;
                blobs.plain_bytes += u64::from(record.plain_length);
                blobs.sealed_bytes += u64::from(record.length);
            }
        }
    }
    stats.dedup_ratio = ratio(stats.logical_bytes, stats.data.plain_bytes);
    stats.compression_ratio = ratio(stats.data.plain_bytes, stats.data.sealed_bytes);
    stats.total_ratio = ratio(stats.logical_bytes, stats.stored_bytes);
    Ok(stats)
}
