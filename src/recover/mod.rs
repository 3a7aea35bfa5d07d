//! Restoring files of a snapshot below a directory.
//!
//! ```text
//! tree in order ─ select ─ compare with what is there ─┬─ directories, links, devices: made at once
//!                                                      └─ files: writes, gathered into windows
//! window ─ by pack and place ─ fetch runs ─ open, decompress, check id (all cores) ─ write at their places ─ metadata
//! then hard links, then what is too much (`delete`), then the directories' metadata, the deepest first
//! ```
//! What cannot be read, of the tree or of a file, is a problem of its own, and everything else is restored; only a store that is away ends it early.
//! A file is finished, with metadata and name, only when every piece was checked and written; a file with a damaged piece is not left behind.

pub mod cluster;
pub mod device;
pub(crate) mod differ;
mod extra;
mod file;
mod files;
pub mod fill;
pub mod mover;
pub mod opens;
mod patch;
pub mod select;
pub mod sessions;
mod spared;
mod window;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::Context;
use crate::format::entry::{Entry, Kind, TreePath};
use crate::format::record::TreeRoot;
use crate::recover::device::FillDeviceError;
use crate::recover::extra::Extra;
use crate::recover::files::Files;
use crate::recover::select::{Chosen, Selection};
use crate::recover::spared::{Met, Spared};
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read::{self, LostPart, TreeReader};
use crate::tree::problem::Problem;
use crate::tree::restore::{Comparison, Directories, RestoreOptions, Target, TargetError};

/// What to do with a file that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overwrite {
    /// Leave it.
    Never,
    /// Replace it if size or mtime differ; mend its metadata otherwise.
    #[default]
    Changed,
    /// Replace it.
    Always,
    /// Compare all of its bytes, whatever its time says, and write into it only what differs. Cut off, such a file is neither the old nor the new one.
    InPlace,
}

/// What to restore, where and how.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent options of one command")]
pub struct RestorePlan {
    /// The tree.
    pub root: TreeRoot,
    /// The part of it; a directory's contents go into the target itself, a file under its own name.
    pub within: TreePath,
    /// The directory to restore into.
    pub target: PathBuf,
    /// A directory that the target is below, and that no link may lead out of; else links in the target's path are followed.
    pub confined: Option<PathBuf>,
    /// What is neither written nor removed, should it lie in the target: the repository and the keys that this restore needs. Absolute, links resolved.
    pub spared: Vec<PathBuf>,
    /// Which entries.
    pub selection: Selection,
    /// What to do with files that are there.
    pub overwrite: Overwrite,
    /// Remove what the snapshot does not have; with [`Overwrite::InPlace`] before anything is written, since its place may be needed.
    pub delete: bool,
    /// Names right in the target that `delete` leaves.
    pub kept: Vec<&'static [u8]>,
    /// Turn runs of zeros into holes.
    pub sparse: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Restore owners; off for a person's own folder.
    pub owner: bool,
}

impl RestorePlan {
    /// All of a tree, as it was, into a place that is nobody else's; what is right there already is not written again.
    #[must_use]
    pub fn whole(root: TreeRoot, within: TreePath, target: PathBuf) -> Self {
        Self {
            root,
            within,
            target,
            confined: None,
            spared: Vec::new(),
            selection: Selection::default(),
            overwrite: Overwrite::Changed,
            delete: false,
            kept: Vec::new(),
            sparse: false,
            dry_run: false,
            owner: true,
        }
    }
}

/// What went wrong with one entry.
#[derive(Debug, thiserror::Error)]
pub enum RestoreProblem {
    /// The file system refused something, or could not keep something.
    #[error(transparent)]
    Tree(#[from] Problem),
    /// The repository no longer has the file whole; it was not restored.
    #[error("{} is damaged in the repository and was not restored", path.display())]
    Damaged {
        /// The file.
        path: TreePath,
        /// Which part, and why.
        #[source]
        source: RepoError,
    },
    /// A part of the tree cannot be read: nobody knows what was in it. Nothing is deleted in directories that may have had something there.
    #[error("{} from {} on cannot be read in the repository and {} not restored", unknown(*entries), place(path), if *entries == 1 { "was" } else { "were" })]
    Lost {
        /// The first path that may have been there.
        path: TreePath,
        /// How many at most; 0 where nobody knows.
        entries: u64,
        /// Why.
        #[source]
        source: RepoError,
    },
}

fn unknown(entries: u64) -> String {
    match entries {
        0 => "entries".to_owned(),
        1 => "up to 1 entry".to_owned(),
        more => format!("up to {more} entries"),
    }
}

fn place(path: &TreePath) -> String {
    if path.as_bytes().is_empty() { "/".to_owned() } else { path.display() }
}

/// What a restore did, or of a dry run would do.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// Regular files written.
    pub files: u64,
    /// Of those, files that something else is in the place of; told by a dry run only.
    pub replaced: u64,
    /// Their bytes, holes included.
    pub bytes: u64,
    /// Bytes of content that were written, or would be at most.
    pub written: u64,
    /// Directories, links, devices and fifos made or mended.
    pub others: u64,
    /// Entries that were as they should be, or left alone as asked.
    pub unchanged: u64,
    /// Entries removed because the snapshot does not have them, spelled out.
    pub deleted: Vec<TreePath>,
    /// What went wrong with single entries.
    pub problems: Vec<RestoreProblem>,
    /// Entries of the snapshot that were chosen at all.
    pub chosen: u64,
    /// Every content blob of the snapshot was read, decrypted and compared with its id: nothing was left out, no file was there already, nothing went wrong.
    pub verified: bool,
}

impl RestoreReport {
    /// Whether the repository was found damaged.
    #[must_use]
    pub fn found_damage(&self) -> bool {
        self.problems.iter().any(|problem| !matches!(problem, RestoreProblem::Tree(_)))
    }
}

/// Why a restore ended early.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target directory cannot be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] RepoError),
    /// No such path in the snapshot.
    #[error("the snapshot has no {}", .0.display())]
    NoSuchPath(TreePath),
    /// With `delete` everything else in the target would go.
    #[error("{} is no directory: to restore it with --delete would remove everything else in the target", .0.display())]
    DeleteBesideFile(TreePath),
    /// It is to be filled, and something is in it that no restore of this snapshot put there.
    #[error("{} is not empty: it holds {}", target.display(), .first.display())]
    NotEmpty {
        /// The target.
        target: PathBuf,
        /// Something that is in it.
        first: PathBuf,
    },
    /// It is a raw volume, and not written, or not as it should be.
    #[error(transparent)]
    Device(#[from] FillDeviceError),
    /// The target cannot be marked as being filled.
    #[error("cannot begin to fill {}", target.display())]
    Mark {
        /// The target.
        target: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The target's disk is full: going on would fail for every file.
    #[error("{} is full: writing {} failed", target.display(), path.display())]
    Full {
        /// The target.
        target: PathBuf,
        /// The file.
        path: TreePath,
    },
}

/// Restores, or with `dry_run` says what would be restored. The reader needs an identity, or content keys that were handed over.
pub async fn run_restore(
    context: &Context,
    reader: &Arc<Reader>,
    plan: &RestorePlan,
) -> Result<RestoreReport, RestoreError> {
    if !reader.reads_content() {
        return Err(RepoError::IdentityNeeded.into());
    }
    let base = base_of(reader, plan.root, &plan.within, plan.delete).await?;
    let mut restore = Restore {
        context,
        reader,
        plan,
        target: open_target(plan)?,
        spared: Spared::of(plan),
        base,
        report: RestoreReport::default(),
        directories: Directories::new(),
        links: Vec::new(),
        lost: Vec::new(),
        left_out: plan.dry_run || plan.within != TreePath::root(),
    };
    context.progress.enter(if plan.dry_run { "comparing" } else { "restoring" });
    restore.run().await?;
    Ok(restore.report)
}

/// How many bytes at the start of a path are not repeated in the target.
pub(crate) async fn base_of(
    reader: &Reader,
    root: TreeRoot,
    within: &TreePath,
    delete: bool,
) -> Result<usize, RestoreError> {
    if *within == TreePath::root() {
        return Ok(0);
    }
    let length = within.as_bytes().len();
    let entry = match tree_read::lookup(reader, root, within).await {
        Ok(entry) => entry.ok_or_else(|| RestoreError::NoSuchPath(within.clone()))?,
        Err(error) => {
            // Its own entry is damaged. If it was a directory, what is in it may well be readable.
            reader.blame(error).await?;
            return Ok(length + 1);
        }
    };
    if entry.kind == Kind::Directory {
        return Ok(length + 1);
    }
    if delete {
        return Err(RestoreError::DeleteBesideFile(within.clone()));
    }
    Ok(length - within.name().len())
}

/// `None` for a dry run into a directory that is not there yet.
fn open_target(plan: &RestorePlan) -> Result<Option<Target>, RestoreError> {
    if plan.dry_run && !plan.target.exists() {
        return Ok(None);
    }
    let options = RestoreOptions { delete: plan.delete, sparse: plan.sparse, owner: plan.owner };
    Ok(Some(match &plan.confined {
        Some(root) => Target::create_or_open_below(root, &plan.target, options)?,
        None => Target::create_or_open(&plan.target, options)?,
    }))
}

struct Restore<'a> {
    context: &'a Context,
    reader: &'a Arc<Reader>,
    plan: &'a RestorePlan,
    target: Option<Target>,
    spared: Spared,
    base: usize,
    report: RestoreReport,
    directories: Directories,
    /// Hard links, made when their files are there.
    links: Vec<Entry>,
    /// Parts of the tree that could not be read.
    lost: Vec<LostPart>,
    /// Something of the snapshot is not read.
    left_out: bool,
}

impl Restore<'_> {
    async fn run(&mut self) -> Result<(), RestoreError> {
        let mut files = Files::new(self.context, self.reader, self.target.clone(), self.plan.target.clone());
        if let (Some(target), false) = (&self.target, self.plan.dry_run) {
            let _ = target.sweep(&TreePath::root());
        }
        let done = self.contents(&mut files).await;
        // Also when it ends early: directories that were made must not stay as they are while they are filled.
        if let (Some(target), false) = (&self.target, self.plan.dry_run) {
            let directories = std::mem::take(&mut self.directories);
            self.report.problems.extend(directories.finish(target).into_iter().map(RestoreProblem::from));
            self.report.problems.extend(target.sync().err().map(RestoreProblem::from));
        }
        let there = done?;
        self.report.verified = !self.left_out && self.report.chosen == there && self.report.problems.is_empty();
        Ok(())
    }

    /// Everything but the directories' metadata. Returns how many entries there were.
    async fn contents(&mut self, files: &mut Files<'_>) -> Result<u64, RestoreError> {
        let early = self.plan.delete && self.plan.overwrite == Overwrite::InPlace;
        if early {
            let (extra, problems) = self.extra().await?;
            self.report.problems.extend(problems);
            self.delete(extra);
        }
        let mut tree = self.tree()?;
        let mut chosen = Chosen::new(self.plan.selection.clone());
        let mut extra = (self.plan.delete && !early).then(|| self.nothing_extra());
        let mut there = 0;
        loop {
            let entries = tree.next().await?;
            self.lost.extend(tree.take_lost());
            let Some(entries) = entries else { break };
            there += entries.len() as u64;
            for mut entry in entries {
                entry.xattrs.retain(|xattr| !xattr.is_own());
                if let Some(extra) = &mut extra {
                    extra.entry(&entry, &self.lost, self.target.as_ref());
                }
                for entry in chosen.take(entry) {
                    self.entry(files, entry).await?;
                }
            }
        }
        let extra = extra.map(|extra| extra.finish(&self.lost, self.target.as_ref()));
        for LostPart { at, entries, source, .. } in std::mem::take(&mut self.lost) {
            let path = self.relative(&at);
            self.report.problems.push(RestoreProblem::Lost { path, entries, source });
        }
        files.finish(&mut self.report).await?;
        self.links(files).await?;
        files.finish(&mut self.report).await?;
        if let Some((extra, problems)) = extra {
            self.report.problems.extend(problems);
            self.delete(extra);
        }
        Ok(there)
    }

    fn tree(&self) -> Result<TreeReader, RestoreError> {
        Ok(TreeReader::open(self.reader.clone(), self.plan.root, self.plan.within.clone())?.tolerant())
    }

    fn nothing_extra(&self) -> Extra {
        Extra::new(self.plan.within.clone(), self.base, self.plan.selection.clone())
    }

    /// What is in the target and not in the snapshot, by a look at the whole tree of its own.
    async fn extra(&mut self) -> Result<(Vec<TreePath>, Vec<RestoreProblem>), RestoreError> {
        let (mut tree, mut extra, mut lost) = (self.tree()?, self.nothing_extra(), Vec::new());
        loop {
            let entries = tree.next().await?;
            lost.extend(tree.take_lost());
            let Some(entries) = entries else { break };
            for entry in &entries {
                extra.entry(entry, &lost, self.target.as_ref());
            }
        }
        Ok(extra.finish(&lost, self.target.as_ref()))
    }

    /// The entry under the name that it gets in the target.
    fn relative(&self, path: &TreePath) -> TreePath {
        TreePath::new(path.as_bytes().get(self.base..).unwrap_or_default()).unwrap_or_else(|_| TreePath::root())
    }

    async fn entry(&mut self, files: &mut Files<'_>, mut entry: Entry) -> Result<(), RestoreError> {
        self.report.chosen += 1;
        entry.path = self.relative(&entry.path);
        if let Kind::HardLink { .. } = entry.kind {
            self.links.push(entry);
            return Ok(());
        }
        self.place(files, entry).await
    }

    /// A file, if it is one, is dealt with and its content was not read.
    fn passed(&mut self, size: Option<u64>) {
        if let Some(size) = size {
            self.left_out = true;
            self.context.progress.add_file(size);
        }
    }

    /// Whether an entry stays as it is in the target, since this restore needs what is there.
    fn spares(&mut self, path: &TreePath, is_directory: bool) -> bool {
        match self.spared.meets(path, is_directory) {
            Met::Nothing => return false,
            Met::First(problem) => self.report.problems.push(problem.into()),
            Met::Again => {}
        }
        true
    }

    /// Decides by what is there, and acts.
    async fn place(&mut self, files: &mut Files<'_>, entry: Entry) -> Result<(), RestoreError> {
        let size = if let Kind::File { size, .. } = entry.kind { Some(size) } else { None };
        if self.spares(&entry.path, entry.kind == Kind::Directory) {
            self.passed(size);
            return Ok(());
        }
        let comparison = match self.target.as_ref().map(|target| target.compare(&entry)) {
            None => Comparison::Missing,
            Some(Ok(comparison)) => comparison,
            Some(Err(problem)) => {
                self.report.problems.push(problem.into());
                self.passed(size);
                return Ok(());
            }
        };
        let is_directory = entry.kind == Kind::Directory;
        if let (Some(target), true, false) = (&self.target, is_directory, self.plan.dry_run) {
            let _ = target.sweep(&entry.path);
        }
        let missing = comparison == Comparison::Missing;
        let leave = match self.plan.overwrite {
            Overwrite::Never => !missing && !is_directory,
            Overwrite::Changed => comparison == Comparison::Same,
            Overwrite::Always | Overwrite::InPlace => {
                comparison == Comparison::Same && !matches!(entry.kind, Kind::File { .. })
            }
        };
        if size.is_some()
            && self.plan.overwrite == Overwrite::InPlace
            && !matches!(comparison, Comparison::Missing | Comparison::OtherType)
        {
            // What is equal is not fetched.
            self.left_out = true;
            return files.patch(entry, comparison, self.plan.dry_run, &mut self.report).await;
        }
        if leave {
            self.passed(size);
            // The target itself is nothing of the snapshot that a person would count.
            self.report.unchanged += u64::from(!entry.path.as_bytes().is_empty());
            if is_directory {
                self.directories.add(entry); // its mtime changes when something in it does
            }
            return Ok(());
        }
        let only_metadata = comparison == Comparison::MetadataDiffers && self.plan.overwrite != Overwrite::Always;
        if let (Kind::File { size, .. }, false) = (&entry.kind, only_metadata) {
            if self.plan.dry_run {
                self.report.files += 1;
                self.report.replaced += u64::from(!missing);
                self.report.bytes = self.report.bytes.saturating_add(*size);
                self.report.written = self.report.written.saturating_add(*size);
                self.context.progress.add_file(*size);
                return Ok(());
            }
            return files.add(entry, &mut self.report).await;
        }
        self.passed(size);
        self.report.others += 1;
        let Some(target) = self.target.as_ref().filter(|_| !self.plan.dry_run) else { return Ok(()) };
        if is_directory {
            match target.ensure_directory(&entry.path) {
                Ok(()) if missing || self.plan.overwrite != Overwrite::Never => self.directories.add(entry),
                Ok(()) => {}
                Err(problem) => self.report.problems.push(problem.into()),
            }
            return Ok(());
        }
        let made = if only_metadata { Ok(()) } else { target.create(&entry) };
        match made {
            Ok(()) => {
                self.report.problems.extend(target.apply_metadata(&entry).into_iter().map(RestoreProblem::from));
            }
            Err(problem) => self.report.problems.push(problem.into()),
        }
        Ok(())
    }

    /// Hard links whose file was chosen are linked; the first of those whose file was not gets its content, the others are linked to that one.
    async fn links(&mut self, files: &mut Files<'_>) -> Result<(), RestoreError> {
        let mut stand_ins: HashMap<TreePath, TreePath> = HashMap::new();
        let mut left = Vec::new();
        for mut link in std::mem::take(&mut self.links) {
            let Kind::HardLink { target } = link.kind.clone() else { continue };
            if self.is_restored(&target) {
                link.kind = Kind::HardLink { target: self.relative(&target) };
                left.push(link);
            } else if let Some(stand_in) = stand_ins.get(&target) {
                link.kind = Kind::HardLink { target: stand_in.clone() };
                left.push(link);
            } else {
                let found = tree_read::lookup(self.reader, self.plan.root, &target).await;
                let found = match found {
                    Ok(found) => found,
                    Err(error) => {
                        let source = self.reader.blame(error).await?;
                        self.report.problems.push(RestoreProblem::Damaged { path: link.path, source });
                        continue;
                    }
                };
                match found {
                    Some(file) if matches!(file.kind, Kind::File { .. }) => {
                        stand_ins.insert(target, link.path.clone());
                        link.kind = file.kind;
                        self.place(files, link).await?;
                    }
                    _ => {
                        let reason = "a hard link leads to no file".to_owned();
                        let at = target.display();
                        let source = RepoError::Tree { at, reason };
                        self.report.problems.push(RestoreProblem::Damaged { path: link.path, source });
                    }
                }
            }
        }
        files.finish(&mut self.report).await?;
        for link in left {
            self.place(files, link).await?;
        }
        Ok(())
    }

    /// Whether the first name of a file was chosen too. No part of the tree is remembered for this: the selection says it.
    fn is_restored(&self, path: &TreePath) -> bool {
        path.is_within(&self.plan.within) && self.plan.selection.takes(path, false)
    }

    /// Removes what the snapshot does not have.
    fn delete(&mut self, extra: Vec<TreePath>) {
        let Some(target) = self.target.clone() else { return };
        for path in extra {
            if self.plan.kept.contains(&path.as_bytes()) || self.spares(&path, false) {
                continue;
            }
            if !self.plan.dry_run {
                self.report.problems.extend(target.remove(&path).into_iter().map(RestoreProblem::from));
            }
            self.report.deleted.push(path);
        }
    }
}
