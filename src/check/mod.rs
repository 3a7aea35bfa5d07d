//! Layer 5: is the repository whole? Four questions, each dearer than the one before.
//!
//! 1. *Objects*: everything that must be there is there with the right size, and every small object opens.
//! 2. *Structure*: every tree of every snapshot can be read, and every blob it names is in a pack that is there.
//! 3. *Data* ([`Options::read_percent`]): the stored bytes match their names, and every blob matches the index. No identity is needed.
//! 4. With an identity, what is read in 3 is also decrypted, decompressed and compared with its id: the only answer to a writer that stored rubbish
//!    under a proper seal.
//!
//! Promises: what could not be read is a finding, never skipped; it changes nothing; three packs at most are in memory. Deliberately absent: repairing (`repair`);
//! but [`mark_damaged`] takes damaged packs out of what writers build upon, so that the next backup stores anew what its files still hold.
//!
//! Snapshots are listed before the index and the index before the packs, so that a backup that runs meanwhile cannot look like damage.

mod affected;
mod cover;
mod data;
mod index;
mod losses;
mod objects;
mod report;
mod snapshots;
mod stored;
mod structure;
mod trouble;
mod verify;
mod walk;
mod whole;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::clock::Time;
use crate::base::id::{BlobId, ObjectId};
use crate::base::progress::Progress;
pub(crate) use crate::check::data::Slice;
pub(crate) use crate::check::objects::access;
pub(crate) use crate::check::walk::{Broken, Trees, Visitor, walk};
use crate::check::whole::Opened;
use crate::repo::doomed::{self, Marks, OBJECTS_MAX};
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::layout;
use crate::repo::lies::{Lies, lies};
use crate::repo::open::Repository;
use crate::repo::rebuild::Named;
use crate::store::Key;

pub use losses::{Loss, LostPart};
pub use report::{
    Affected, AffectedSnapshot, Counts, Cover, Depth, EXAMPLES_MAX, Finding, Hint, Problem, Report, SNAPSHOTS_MAX,
    Severity,
};
pub use stored::check_stored;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Follow the trees.
    pub structure: bool,
    /// How many percent of the packs to read, 0 to 100. Which ones depends on the day: after 100 / N days all were read.
    pub read_percent: u8,
    /// The time; only its day counts.
    pub now: Time,
}

/// Dooms the packs that a report found [`Report::unsound`]; returns the names of the marks. Writers take them for absent from now on, and `prune` copies out
/// of them what still reads before they go. Not so those in whose places another pack lies whole, or of which nobody can tell what lies there: they are
/// for a repair.
pub async fn mark_damaged(repository: &Repository, report: &Report, now: Time) -> Result<MarkedDamaged, RepoError> {
    let mut marked = MarkedDamaged::default();
    if report.unsound.is_empty() {
        return Ok(marked);
    }
    let known = Named::read(repository).await?.packs();
    let mut doom = Vec::new();
    for pack in &report.unsound {
        match lies(repository, &known, pack).await? {
            Lies::Other(..) | Lies::Unread(_) => marked.kept.push(*pack),
            Lies::Nothing | Lies::Own | Lies::Rot => doom.push(layout::pack(pack)),
        }
    }
    for packs in doom.chunks(OBJECTS_MAX) {
        let mark = doomed::mark(repository, packs.to_vec(), now).await?;
        marked.marks.push(mark.key);
        marked.packs += packs.len();
    }
    Ok(marked)
}

/// What [`mark_damaged`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MarkedDamaged {
    /// The marks.
    pub marks: Vec<Key>,
    /// How many packs they name.
    pub packs: usize,
    /// Packs that were not marked: what lies there may be the only copy of another.
    pub kept: Vec<ObjectId>,
}

/// Checks a repository that could be opened. An error means that nothing can be said; what is wrong with single objects is in the report.
pub async fn check(repository: &Arc<Repository>, options: &Options, progress: &Progress) -> Result<Report, RepoError> {
    let slice = Slice::of_day(options.read_percent.min(100), options.now);
    Ok(survey(repository, options, &slice, false, progress).await?.report)
}

/// A report and what a repair needs to know beyond it.
pub(crate) struct Survey {
    pub report: Report,
    /// The packs in trouble, with the first problem of each.
    pub packs: BTreeMap<ObjectId, Problem>,
    /// Copies of blobs that cannot be relied on.
    pub bad: HashSet<(ObjectId, BlobId)>,
    /// Packs whose bytes are those that were stored, and of which a blob was proven not to be what its id says.
    pub poisoned: BTreeSet<ObjectId>,
    /// Everything that cannot be read, if it was asked for.
    pub losses: Vec<Loss>,
}

/// The whole check, reading the packs of `slice`; with `losses` it names every file that is not whole.
pub(crate) async fn survey(
    repository: &Arc<Repository>,
    options: &Options,
    slice: &Slice,
    losses: bool,
    progress: &Progress,
) -> Result<Survey, RepoError> {
    let mut counts = Counts::default();
    let mut findings = Vec::new();
    let chain = snapshots::load(repository, &mut findings).await?;
    counts.snapshots = chain.snapshots.len() as u64;
    progress.begin("looking at objects", "");
    let (index, inventory) = index::load(repository, &mut findings, &mut counts).await?;
    let mut troubles = index.troubles;
    let index_broken = index.broken;
    let index = Arc::new(index.index);
    objects::look(repository, &index, &inventory, &mut findings).await;
    let reader = Arc::new(Reader::new(repository.clone(), index));
    let read_percent = options.read_percent.min(100);
    let reading = !slice.is_empty();
    let mut lacking = false;
    let mut opened = Opened::new(reader.index.len());
    if options.structure {
        progress.begin("following trees", "snapshot");
        lacking = structure::look(&reader, &chain.snapshots, &mut troubles, &mut counts, progress).await;
    }
    if reading {
        progress.begin("reading packs", "object");
        data::read(&reader, slice, &mut troubles, &mut findings, &mut counts, &mut opened, progress).await?;
        stored::read_small(repository, &inventory, &reader.index, slice, &mut findings, &mut counts, progress).await;
    }
    // A mark that does not read is a finding of the stage that reads the small objects; here it only costs a hint.
    let marks = Marks::load(repository).await.unwrap_or_default();
    if lacking || !troubles.is_empty() || index_broken.is_some() {
        progress.begin("finding out what is affected", "");
        let complete = chain.unreadable.is_empty() && chain.gaps().is_empty();
        let broken = index_broken.as_deref();
        affected::tell(&reader, &chain.snapshots, complete, &troubles, broken, &marks, &mut findings).await;
    }
    let cover = cover::look(repository, &reader.index, &marks, &inventory, &mut findings).await?;
    let depth = Depth {
        keyed: true,
        structure: options.structure,
        read_percent,
        decrypted: repository.has_identity() && reading,
        verified: repository.verified,
    };
    let mut verified = Vec::new();
    let all = matches!(slice, Slice::Window { percent: 100, .. });
    if options.structure && depth.decrypted && all {
        progress.begin("telling which snapshots are whole", "");
        verified = whole::snapshots(&reader, &chain.snapshots, &opened, lacking).await;
    }
    let mut unsound = troubles.unsound(&reader.index);
    unsound.retain(|pack| !marks.is_pack_doomed(pack));
    let lost = losses && (lacking || !troubles.is_empty());
    let losses = if lost { losses::of(&reader, &chain.snapshots, &troubles).await } else { Vec::new() };
    let mut report = Report { store: repository.store.address(), depth, counts, cover, findings, unsound, verified };
    report.sort();
    let index = &reader.index;
    let (packs, bad, poisoned) = (troubles.problems(index), troubles.bad_copies(index), troubles.poisoned_packs(index));
    Ok(Survey { report, packs, bad, poisoned, losses })
}
