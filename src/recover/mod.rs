//! Restoring files of a snapshot below a directory.
//!
//! ```text
//! tree in order ─ select ─ compare with what is there ─┬─ directories, links, devices: made at once
//!                                                      └─ files: writes, gathered into windows
//! window ─ by pack and place ─ fetch runs ─ open, decompress, check id (all cores) ─ write at their places ─ metadata
//! then hard links, then what is too much (`delete`), then the directories' metadata, the deepest first
//! ```
//! A file is finished, with metadata and name, only when every piece was checked and written; a file with a damaged piece is not left behind.

mod files;
pub mod select;
mod window;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::Context;
use crate::format::entry::{Entry, Kind, TreePath};
use crate::format::record::TreeRoot;
use crate::recover::files::Files;
use crate::recover::select::{Chosen, Selection};
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read::{self, TreeReader};
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
    /// Which entries.
    pub selection: Selection,
    /// What to do with files that are there.
    pub overwrite: Overwrite,
    /// Remove what the snapshot does not have.
    pub delete: bool,
    /// Turn runs of zeros into holes.
    pub sparse: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Restore owners; off for a person's own folder.
    pub owner: bool,
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
}

/// What a restore did, or of a dry run would do.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// Regular files written.
    pub files: u64,
    /// Their bytes, holes included.
    pub bytes: u64,
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
        self.problems.iter().any(|problem| matches!(problem, RestoreProblem::Damaged { .. }))
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
    /// The target's disk is full: going on would fail for every file.
    #[error("{} is full: writing {} failed", target.display(), path.display())]
    Full {
        /// The target.
        target: PathBuf,
        /// The file.
        path: TreePath,
    },
}

/// Restores, or with `dry_run` says what would be restored. Needs an identity.
pub async fn run_restore(
    context: &Context,
    reader: &Arc<Reader>,
    plan: &RestorePlan,
) -> Result<RestoreReport, RestoreError> {
    if !context.repository.has_identity() {
        return Err(RepoError::IdentityNeeded.into());
    }
    let base = base_of(reader, plan).await?;
    let mut restore = Restore {
        context,
        reader,
        plan,
        target: open_target(plan)?,
        base,
        report: RestoreReport::default(),
        directories: Directories::new(),
        links: Vec::new(),
        names: HashMap::new(),
        restored: HashSet::new(),
        left_out: plan.dry_run || plan.within != TreePath::root(),
    };
    context.progress.enter(if plan.dry_run { "comparing" } else { "restoring" });
    restore.run().await?;
    Ok(restore.report)
}

/// How many bytes at the start of a path are not repeated in the target.
async fn base_of(reader: &Arc<Reader>, plan: &RestorePlan) -> Result<usize, RestoreError> {
    if plan.within == TreePath::root() {
        return Ok(0);
    }
    let entry = tree_read::lookup(reader, plan.root, &plan.within).await?;
    let entry = entry.ok_or_else(|| RestoreError::NoSuchPath(plan.within.clone()))?;
    let length = plan.within.as_bytes().len();
    Ok(if entry.kind == Kind::Directory { length + 1 } else { length - plan.within.name().len() })
}

/// `None` for a dry run into a directory that is not there yet.
fn open_target(plan: &RestorePlan) -> Result<Option<Target>, RestoreError> {
    if plan.dry_run && !plan.target.exists() {
        return Ok(None);
    }
    let options = RestoreOptions { delete: plan.delete, sparse: plan.sparse, owner: plan.owner };
    Ok(Some(Target::create_or_open(&plan.target, options)?))
}

struct Restore<'a> {
    context: &'a Context,
    reader: &'a Arc<Reader>,
    plan: &'a RestorePlan,
    target: Option<Target>,
    base: usize,
    report: RestoreReport,
    directories: Directories,
    /// Hard links, made when their files are there.
    links: Vec<Entry>,
    /// With `delete`: what each directory holds.
    names: HashMap<TreePath, HashSet<Vec<u8>>>,
    /// Files that hard links may point to: the first names of files that were chosen.
    restored: HashSet<TreePath>,
    /// Something of the snapshot is not read.
    left_out: bool,
}

impl Restore<'_> {
    async fn run(&mut self) -> Result<(), RestoreError> {
        let mut tree = TreeReader::open(self.reader.clone(), self.plan.root, self.plan.within.clone())?;
        let mut chosen = Chosen::new(self.plan.selection.clone());
        let mut files = Files::new(self.context, self.reader, self.target.clone(), self.plan.target.clone());
        let mut there = 0;
        while let Some(entries) = tree.next().await? {
            there += entries.len() as u64;
            for entry in entries {
                for entry in chosen.take(entry) {
                    self.entry(&mut files, entry).await?;
                }
            }
        }
        files.finish(&mut self.report).await?;
        self.links(&mut files).await?;
        files.finish(&mut self.report).await?;
        self.delete_extra();
        if let (Some(target), false) = (&self.target, self.plan.dry_run) {
            let directories = std::mem::take(&mut self.directories);
            self.report.problems.extend(directories.finish(target).into_iter().map(RestoreProblem::from));
            self.report.problems.extend(target.sync().err().map(RestoreProblem::from));
        }
        self.report.verified = !self.left_out && self.report.chosen == there && self.report.problems.is_empty();
        Ok(())
    }

    /// The entry under the name that it gets in the target.
    fn relative(&self, path: &TreePath) -> TreePath {
        TreePath::new(path.as_bytes().get(self.base..).unwrap_or_default()).unwrap_or_else(|_| TreePath::root())
    }

    async fn entry(&mut self, files: &mut Files<'_>, mut entry: Entry) -> Result<(), RestoreError> {
        self.report.chosen += 1;
        let source_path = std::mem::replace(&mut entry.path, TreePath::root());
        entry.path = self.relative(&source_path);
        if self.plan.delete {
            if let Some(parent) = entry.path.parent() {
                self.names.entry(parent).or_default().insert(entry.path.name().to_vec());
            }
            if entry.kind == Kind::Directory {
                self.names.entry(entry.path.clone()).or_default();
            }
        }
        if let Kind::HardLink { .. } = entry.kind {
            self.links.push(entry);
            return Ok(());
        }
        if let Kind::File { .. } = entry.kind {
            self.restored.insert(source_path);
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

    /// Decides by what is there, and acts.
    async fn place(&mut self, files: &mut Files<'_>, entry: Entry) -> Result<(), RestoreError> {
        let size = if let Kind::File { size, .. } = entry.kind { Some(size) } else { None };
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
        let missing = comparison == Comparison::Missing;
        let leave = match self.plan.overwrite {
            Overwrite::Never => !missing && !is_directory,
            Overwrite::Changed => comparison == Comparison::Same,
            Overwrite::Always => comparison == Comparison::Same && !matches!(entry.kind, Kind::File { .. }),
        };
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
                self.report.bytes = self.report.bytes.saturating_add(*size);
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
            if self.restored.contains(&target) {
                link.kind = Kind::HardLink { target: self.relative(&target) };
                left.push(link);
            } else if let Some(stand_in) = stand_ins.get(&target) {
                link.kind = Kind::HardLink { target: stand_in.clone() };
                left.push(link);
            } else {
                match tree_read::lookup(self.reader, self.plan.root, &target).await? {
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

    /// Removes what the snapshot does not have, in the directories that it has.
    fn delete_extra(&mut self) {
        let Some(target) = &self.target else { return };
        let mut directories: Vec<_> = std::mem::take(&mut self.names).into_iter().collect();
        directories.sort_by(|a, b| a.0.cmp(&b.0));
        for (directory, names) in directories {
            match target.extra_entries(&directory, |name| names.contains(name)) {
                Ok(extra) => {
                    for path in extra {
                        if !self.plan.dry_run {
                            self.report.problems.extend(target.remove(&path).into_iter().map(RestoreProblem::from));
                        }
                        self.report.deleted.push(path);
                    }
                }
                Err(problem) => self.report.problems.push(problem.into()),
            }
        }
    }
}
