//! The index, read segment by segment so that a broken one does not hide the others, and the packs it names against the packs that are there.

use std::collections::HashMap;

use futures::stream::{self, StreamExt};

use crate::base::id::ObjectId;
use crate::check::report::{Counts, Finding, Hint, Problem, Severity};
use crate::check::snapshots::of_error;
use crate::check::trouble::Troubles;
use crate::repo::doomed::Marks;
use crate::repo::error::RepoError;
use crate::repo::index::{Index, IndexBuilder, read_segment};
use crate::repo::layout;
use crate::repo::open::Repository;
use crate::store::{Key, Listed};

/// Segments fetched at once.
const FETCH_AT_ONCE: usize = 4;
/// How often the index is read anew because a pruner replaced segments meanwhile.
const ROUNDS_MAX: usize = 3;

/// What is left of the index.
pub(super) struct Loaded {
    /// What could be read; packs that are not there are marked so.
    pub(super) index: Index,
    /// What is wrong with packs.
    pub(super) troubles: Troubles,
    /// Name of a segment that did not read.
    pub(super) broken: Option<String>,
}

/// Reads the index, then lists everything. Returns what is left of the index, and the listing.
pub(super) async fn load(
    repository: &Repository,
    findings: &mut Vec<Finding>,
    counts: &mut Counts,
) -> Result<(Loaded, Vec<Listed>), RepoError> {
    let mut round = 1;
    loop {
        let mut broken = Vec::new();
        let (mut index, segments) = read(repository, &mut broken).await?;
        let inventory = repository.store.list("").await?;
        let there: HashMap<ObjectId, u64> =
            inventory.iter().filter_map(|entry| Some((layout::pack_id(&entry.key)?, entry.size))).collect();
        let now = inventory.iter().filter(|entry| entry.key.as_str().starts_with(layout::INDEX));
        let moved = !now.map(|entry| &entry.key).eq(segments.iter());
        let short = index.packs.iter().any(|pack| !there.contains_key(&pack.id));
        if (short || !broken.is_empty()) && moved && round < ROUNDS_MAX {
            round += 1;
            continue;
        }
        let troubles = compare(&mut index, &there);
        counts.objects = inventory.len() as u64;
        counts.bytes = inventory.iter().map(|entry| entry.size).sum();
        counts.packs = index.packs.len() as u64;
        counts.blobs = index.len() as u64;
        counts.index_segments = segments.len() as u64;
        if !broken.is_empty() {
            let marks = Marks::load(repository).await?;
            for finding in broken
                .iter_mut()
                .filter(|finding| Key::new(finding.object.as_str()).is_ok_and(|key| marks.is_doomed(&key)))
            {
                let what = "it cannot be read and was set aside: other segments name its packs";
                *finding = Finding::new(&finding.object, Severity::Note, finding.problem, what, Hint::Prune);
            }
        }
        let damaged = broken.iter().find(|finding| finding.severity == Severity::Damage);
        let first = damaged.map(|finding| finding.object.clone());
        findings.append(&mut broken);
        return Ok((Loaded { index, troubles, broken: first }, inventory));
    }
}

async fn read(repository: &Repository, broken: &mut Vec<Finding>) -> Result<(Index, Vec<Key>), RepoError> {
    let keys: Vec<Key> = repository.store.list(layout::INDEX).await?.into_iter().map(|entry| entry.key).collect();
    let mut builder = IndexBuilder::default();
    let mut readable = Vec::new();
    let mut segments = stream::iter(keys.clone())
        .map(|key| async move {
            let segment = read_segment(repository, &key).await;
            (key, segment)
        })
        .buffer_unordered(FETCH_AT_ONCE);
    while let Some((key, segment)) = segments.next().await {
        match segment {
            Ok(segment) => {
                for pack in &segment.packs {
                    builder.add(pack);
                }
                readable.push(key);
            }
            Err(_) if layout::object_id(&key).is_none() => {} // foreign: noted with the others
            Err(error) => broken.push(Finding { hint: Hint::RebuildIndex, ..of_error(&key, &error) }),
        }
    }
    Ok((builder.finish(readable), keys))
}

/// Every pack of the index must be there with its size.
fn compare(index: &mut Index, there: &HashMap<ObjectId, u64>) -> Troubles {
    let mut troubles = Troubles::default();
    let mut cut = Vec::new();
    for (number, pack) in (0_u32..).zip(&mut index.packs) {
        match there.get(&pack.id) {
            Some(size) if *size == pack.size => {}
            Some(size) => {
                let what = format!("it has {size} bytes instead of {}", pack.size);
                troubles.pack(number, Problem::Size, what);
                pack.usable = false;
                cut.push((number, *size));
            }
            None => {
                troubles.pack(number, Problem::Missing, "it is not there".to_owned());
                pack.usable = false;
                pack.present = false;
            }
        }
    }
    for (number, size) in cut {
        troubles.cut(index, number, size);
    }
    troubles
}
