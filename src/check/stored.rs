//! Stored bytes against names: all that can be checked of a repository without any key, and of small objects with one.

use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt};

use crate::base::clock::Time;
use crate::base::progress::Progress;
use crate::check::data::Slice;
use crate::check::objects;
use crate::check::report::{Counts, Depth, Finding, Hint, Problem, Report, Severity};
use crate::check::snapshots::of_error;
use crate::repo::index::Index;
use crate::repo::layout;
use crate::repo::named::{is_pack, is_parity, read_as_named};
use crate::repo::open::Repository;
use crate::store::{Key, Listed, Store, StoreError};

/// Objects in memory at once.
const AT_ONCE: usize = 3;

/// Checks what lies in a store without any key, for a repository that does not open or belongs to somebody else: `format.json`, access objects, and with
/// `read_percent` that packs (and with more than 0 everything else that is named by its hash) match their names. It cannot know what is missing.
pub async fn check_stored(
    store: &dyn Store,
    read_percent: u8,
    now: Time,
    progress: &Progress,
) -> Result<Report, StoreError> {
    progress.begin("reading objects", "object");
    let inventory = store.list("").await?;
    let mut findings: Vec<Finding> = objects::foreign(&inventory).collect();
    objects::format_file(store, &mut findings).await;
    objects::access(store, &inventory, &mut findings).await;
    if !inventory.iter().any(|entry| entry.key.as_str().starts_with(layout::EPOCHS)) {
        let what = "there is no epoch record";
        findings.push(Finding::damage(&layout::EPOCHS, Problem::Missing, what, Hint::CopyFromReplica));
    }
    let bytes = inventory.iter().map(|entry| entry.size).sum();
    let mut counts = Counts { objects: inventory.len() as u64, bytes, ..Counts::default() };
    let read_percent = read_percent.min(100);
    if read_percent > 0 {
        let slice = Slice::of_day(read_percent, now);
        let chosen: Vec<&Listed> = inventory
            .iter()
            .filter(|entry| layout::is_hash_named(&entry.key) && !entry.key.as_str().starts_with(layout::ACCESS))
            .filter(|entry| !is_large(&entry.key) || layout::object_id(&entry.key).is_some_and(|id| slice.has(&id)))
            .collect();
        read_names(store, chosen, &mut counts, &mut findings, progress).await;
        for finding in findings.iter_mut().filter(|finding| finding.object.starts_with(layout::PARITY)) {
            (finding.severity, finding.hint) = (Severity::Warning, Hint::MakeParity);
        }
    }
    let depth = Depth { keyed: false, structure: false, read_percent, decrypted: false, verified: false };
    let mut report = Report {
        store: store.address(),
        depth,
        counts,
        cover: None,
        findings,
        unsound: Vec::new(),
        verified: Vec::new(),
    };
    report.sort();
    Ok(report)
}

/// As long as a pack, and read in slices as packs are.
fn is_large(key: &Key) -> bool {
    is_pack(key) || is_parity(key)
}

/// What the other stages of a check with a key do not read: packs that the index does not name, checkpoints, marks and parity. Nothing that is needed, so
/// damage is but a warning.
pub(super) async fn read_small(
    repository: &Repository,
    inventory: &[Listed],
    index: &Index,
    slice: &Slice,
    findings: &mut Vec<Finding>,
    counts: &mut Counts,
    progress: &Progress,
) {
    let chosen = inventory.iter().filter(|entry| {
        let name = entry.key.as_str();
        let marks = [layout::CHECKPOINTS, layout::DOOMED].iter().any(|prefix| name.starts_with(prefix));
        let stray = is_pack(&entry.key)
            && layout::object_id(&entry.key).is_some_and(|id| index.pack_number(&id).is_none() && slice.has(&id));
        let parity = is_parity(&entry.key) && layout::object_id(&entry.key).is_some_and(|id| slice.has(&id));
        (marks || stray || parity) && layout::belongs(&entry.key)
    });
    let mut found = Vec::new();
    read_names(&*repository.store, chosen.collect(), counts, &mut found, progress).await;
    // What is not needed may be pruned while it is read.
    found.retain(|finding| finding.problem != Problem::Missing);
    // A parity object that has a bad header as well is told of once.
    found.retain(|finding| !findings.iter().any(|other| other.object == finding.object));
    findings.extend(found.into_iter().map(|finding| {
        let parity = finding.object.starts_with(layout::PARITY);
        let hint = if parity { Hint::MakeParity } else { finding.hint };
        Finding { severity: Severity::Warning, hint, ..finding }
    }));
}

async fn read_names(
    store: &dyn Store,
    chosen: Vec<&Listed>,
    counts: &mut Counts,
    findings: &mut Vec<Finding>,
    progress: &Progress,
) {
    progress.files_total.fetch_add(chosen.len() as u64, Ordering::Relaxed);
    progress.bytes_total.fetch_add(chosen.iter().map(|entry| entry.size).sum(), Ordering::Relaxed);
    let mut reads = stream::iter(chosen)
        .map(|entry| async move { (&entry.key, entry.size, read_as_named(store, entry).await) })
        .buffer_unordered(AT_ONCE);
    while let Some((key, size, read)) = reads.next().await {
        progress.add_file(size);
        match read {
            Ok(bytes) => {
                counts.objects_read += 1;
                counts.bytes_read += bytes;
            }
            Err(error) => findings.push(of_error(key, &error)),
        }
    }
}
