//! After damage: which snapshots and files need what is lost.
//!
//! A blob is lost when no copy of it can be read. Every tree is walked again; leaves that lost nothing are remembered and not read a second time.

use std::collections::BTreeMap;

use crate::base::id::BlobId;
use crate::check::report::{Affected, AffectedSnapshot, EXAMPLES_MAX, Finding, Hint, Problem, SNAPSHOTS_MAX, Severity};
use crate::check::trouble::Troubles;
use crate::check::walk::{Broken, CleanLeaves, Visitor, walk};
use crate::format::entry::{Piece, TreePath};
use crate::format::kind::Kind;
use crate::repo::doomed::Marks;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::layout;
use crate::repo::snapshots::Snapshot;

/// Who is to blame: a pack, or nobody because the blob is in no index segment.
type Culprit = Option<u32>;

struct Tracing<'a> {
    index: &'a Index,
    troubles: &'a Troubles,
    leaves: CleanLeaves,
    /// A part of some tree cannot be read: what it needs is not known.
    broken: bool,
    snapshot: BTreeMap<Culprit, AffectedSnapshot>,
    current: &'a Snapshot,
}

impl Tracing<'_> {
    fn culprits(&self, blob: &BlobId) -> Vec<Culprit> {
        let mut packs: Vec<Culprit> = self.index.copies(blob).map(|copy| Some(copy.pack)).collect();
        if packs.is_empty() {
            packs.push(None);
        }
        packs.dedup();
        packs
    }

    fn affected(&mut self, culprit: Culprit) -> &mut AffectedSnapshot {
        let Snapshot { id, record } = self.current;
        self.snapshot.entry(culprit).or_insert_with(|| AffectedSnapshot {
            id: *id,
            source: record.source.clone(),
            started: record.started,
            files: 0,
            unknown_entries: 0,
            examples: Vec::new(),
        })
    }

    fn lost_file(&mut self, path: &TreePath, blobs: &[BlobId]) {
        self.leaves.lose();
        let mut culprits: Vec<Culprit> = blobs.iter().flat_map(|blob| self.culprits(blob)).collect();
        culprits.sort_unstable();
        culprits.dedup();
        for culprit in culprits {
            let affected = self.affected(culprit);
            let name = path.display();
            // A file with a broken list and a lost chunk is told twice in a row.
            if affected.examples.last() == Some(&name) {
                continue;
            }
            affected.files += 1;
            if affected.examples.len() < EXAMPLES_MAX {
                affected.examples.push(name);
            }
        }
    }
}

impl Visitor for Tracing<'_> {
    fn skip(&mut self, kind: Kind, blob: &BlobId) -> bool {
        self.leaves.skip(kind, blob)
    }

    fn opened(&mut self, kind: Kind, _: &BlobId) {
        self.leaves.begin(kind);
    }

    fn broken(&mut self, broken: &Broken<'_>) {
        self.broken = true;
        if broken.kind == Kind::List {
            self.lost_file(broken.at, &[*broken.blob]);
            return;
        }
        for culprit in self.culprits(broken.blob) {
            let affected = self.affected(culprit);
            affected.unknown_entries += broken.entries;
            if affected.examples.len() < EXAMPLES_MAX {
                let from = if *broken.at == TreePath::root() { "/".to_owned() } else { broken.at.display() };
                affected.examples.push(format!("{from} …"));
            }
        }
    }

    fn file(&mut self, path: &TreePath, pieces: &[Piece]) {
        let lost: Vec<BlobId> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Data { blob, .. } if self.troubles.is_lost(self.index, blob) => Some(*blob),
                _ => None,
            })
            .collect();
        if !lost.is_empty() {
            self.lost_file(path, &lost);
        }
    }

    fn leaf_done(&mut self, leaf: &BlobId) {
        self.leaves.done(leaf);
    }
}

fn add(affected: &mut Affected, snapshot: AffectedSnapshot) {
    affected.snapshots_total += 1;
    if affected.snapshots.len() < SNAPSHOTS_MAX {
        affected.snapshots.push(snapshot);
    }
}

/// A pack that is gone and that nobody needs was pruned: index segments which name it go a grace period after it. One that is marked and that nobody needs
/// goes too.
fn pruned(finding: &mut Finding) {
    if finding.hint == Hint::BackUpAgain && finding.affected.snapshots_total == 0 {
        finding.severity = Severity::Note;
        finding.hint = Hint::Prune;
        finding.what = format!("{}; it is marked, and no snapshot lacks anything by it", finding.what);
    }
    if finding.problem == Problem::Missing && finding.affected.snapshots_total == 0 {
        finding.severity = Severity::Note;
        finding.hint = Hint::Prune;
        finding.what =
            "it is not there and no snapshot needs it: an index segment still names a pack that was pruned".into();
    }
}

/// Turns the troubles into findings that say what they cost. `marks`: what was doomed already. `complete`: every snapshot that there should be is among `snapshots`. `broken_index` is an index segment that did not read: what is in no other is put down to it.
pub(super) async fn tell(
    reader: &Reader,
    snapshots: &[Snapshot],
    complete: bool,
    troubles: &Troubles,
    broken_index: Option<&str>,
    marks: &Marks,
    findings: &mut Vec<Finding>,
) {
    let mut packs: BTreeMap<u32, Finding> = troubles.findings(&reader.index).into_iter().collect();
    for (number, finding) in &mut packs {
        let marked = reader.index.pack(*number).is_some_and(|pack| marks.is_pack_doomed(&pack.id));
        if marked && finding.problem != Problem::Missing {
            finding.hint = Hint::BackUpAgain;
        }
    }
    let mut nowhere = Affected::default();
    let mut senseless: Vec<Finding> = Vec::new();
    let Some(first) = snapshots.first() else {
        if complete {
            packs.values_mut().for_each(pruned);
        }
        findings.extend(packs.into_values());
        return;
    };
    let mut tracing = Tracing {
        index: &reader.index,
        troubles,
        leaves: CleanLeaves::default(),
        broken: false,
        snapshot: BTreeMap::new(),
        current: first,
    };
    // The newest first: they are the ones that are spelled out.
    for snapshot in snapshots.iter().rev() {
        tracing.current = snapshot;
        walk(&reader.into(), snapshot.record.root, &mut tracing).await;
        for (culprit, affected) in std::mem::take(&mut tracing.snapshot) {
            match culprit.map(|pack| packs.get_mut(&pack)) {
                Some(Some(finding)) => add(&mut finding.affected, affected),
                Some(None) => senseless.push(unexplained(snapshot, affected)),
                None => add(&mut nowhere, affected),
            }
        }
    }
    if complete && !tracing.broken {
        packs.values_mut().for_each(pruned);
    }
    findings.extend(packs.into_values());
    findings.extend(senseless);
    if nowhere.snapshots_total > 0 {
        let broken = broken_index.and_then(|name| findings.iter_mut().find(|finding| finding.object == name));
        if let Some(finding) = broken {
            finding.affected = nowhere;
        } else {
            let what = "what snapshots need is in no index segment: a segment is gone";
            let finding = Finding::damage(&layout::INDEX, Problem::NotIndexed, what, Hint::RebuildIndex);
            findings.push(Finding { affected: nowhere, ..finding });
        }
    }
}

/// A tree that contradicts itself although every pack seemed fine (the walk without `structure` met it first).
fn unexplained(snapshot: &Snapshot, affected: AffectedSnapshot) -> Finding {
    let object = layout::named(layout::SNAPSHOTS, &snapshot.id);
    let what = "parts of its tree cannot be read";
    let finding = Finding::damage(&object, Problem::Unopened, what, Hint::ReadAgain);
    Finding { affected: Affected { snapshots_total: 1, snapshots: vec![affected] }, ..finding }
}
