//! Makes files again below a target directory, and never outside: no symbolic link in the target is followed, whatever
//! the tree or whoever can write to the target says.
//!
//! The caller's order for one entry: [`Target::compare`], then [`Target::ensure_directory`], [`Target::create_file`] or
//! [`Target::create`]; then [`Target::apply_metadata`] (a file gets it in [`FileWriter::finish`], a directory through
//! [`Directories`] when everything in it is done). A file is written under another name and renamed when it is whole, so
//! that a crash leaves what was there or the new one; one that is there can be brought to another content instead, by
//! writing only what differs ([`PatchFile`]). What stands in the way is replaced; but a directory that is not
//! empty only with [`RestoreOptions::delete`].

mod compare;
mod leftover;
pub mod metadata;
mod patch;
mod remove;
mod write;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, openat, renameat, symlinkat, unlinkat,
};
use rustix::io::Errno;

pub use self::compare::Comparison;
pub use self::leftover::is_temporary;
pub use self::metadata::Directories;
pub use self::patch::PatchFile;
pub use self::write::FileWriter;
use super::beneath::{self, Parent};
use super::inode::Inode;
use super::problem::{Cause, Problem};
use crate::format::entry::{Entry, Kind, TreePath};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// How to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreOptions {
    /// A directory with something in it makes way for a file.
    pub delete: bool,
    /// Blocks of zeros become holes, also where the source had none.
    pub sparse: bool,
    /// Give files their owner and group; off for a restore into a user's own folder.
    pub owner: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self { delete: false, sparse: false, owner: true }
    }
}

/// The target directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot create or open the folder {}", path.display())]
pub struct TargetError {
    /// Which directory.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub cause: std::io::Error,
}

/// The directory that is restored into. Cheap to clone; clones may be used from several threads at once.
#[derive(Debug, Clone)]
pub struct Target(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: OwnedFd,
    options: RestoreOptions,
    /// In all temporary names, so that no other run has the same: process ids repeat, in containers at once.
    run: u64,
    /// Numbers temporary names.
    counter: AtomicU64,
}

/// How many temporary names that somebody else took are passed over.
const TEMPORARY_TRIES_MAX: usize = 100;

impl Target {
    /// Opens the directory, made with its parents if need be. Links in this path (not below) are followed.
    pub fn create_or_open(path: &Path, options: RestoreOptions) -> Result<Self, TargetError> {
        let fail = |cause| TargetError { path: path.to_owned(), cause };
        std::fs::create_dir_all(path).map_err(fail)?;
        let root = openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|errno| fail(errno.into()))?;
        Self::opened(path, root, options)
    }

    /// The same for a directory below another one, which is there: no link on the way from there is followed.
    pub fn create_or_open_below(root: &Path, path: &Path, options: RestoreOptions) -> Result<Self, TargetError> {
        let fail = |cause| TargetError { path: path.to_owned(), cause };
        let outside = || fail(std::io::Error::other(format!("it is not below {}", root.display())));
        let below = path.strip_prefix(root).map_err(|_| outside())?;
        let mut at = openat(CWD, root, DIRECTORY, Mode::empty()).map_err(|errno| fail(errno.into()))?;
        for part in below.components() {
            let Component::Normal(name) = part else { return Err(outside()) };
            match mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(fail(errno.into())),
            }
            at = openat(&at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(|errno| match errno {
                Errno::LOOP | Errno::NOTDIR => fail(std::io::Error::other(format!(
                    "{} is a link, or no directory: what is behind it is not below {}",
                    name.display(),
                    root.display()
                ))),
                errno => fail(errno.into()),
            })?;
        }
        Self::opened(path, at, options)
    }

    fn opened(path: &Path, root: OwnedFd, options: RestoreOptions) -> Result<Self, TargetError> {
        let fail = |cause| TargetError { path: path.to_owned(), cause };
        let run = getrandom::u64().map_err(|error| fail(std::io::Error::other(error.to_string())))?;
        Ok(Self(Arc::new(Inner { root, options, run, counter: AtomicU64::new(0) })))
    }

    /// How it restores.
    pub fn options(&self) -> RestoreOptions {
        self.0.options
    }

    /// Makes a directory with the parents it needs, or takes the one that is there; in both cases its owner may write to
    /// it until [`Directories::finish`] gives it the mode it shall have.
    pub fn ensure_directory(&self, path: &TreePath) -> Result<(), Problem> {
        let mut above = TreePath::root();
        self.ensure_one_directory(&above)?;
        if let Some(parent) = path.parent()
            && self.open(&parent, OFlags::PATH | OFlags::DIRECTORY).is_ok()
        {
            return self.ensure_one_directory(path);
        }
        for name in path.names() {
            above =
                above.join(name).map_err(|_| Problem::new(path.clone(), "making the directory", Cause::PathTooLong))?;
            self.ensure_one_directory(&above)?;
        }
        Ok(())
    }

    fn ensure_one_directory(&self, path: &TreePath) -> Result<(), Problem> {
        let fail = |errno| Problem::new(path.clone(), "making the directory", Cause::System(errno));
        let parent = beneath::parent(self.root(), path).map_err(fail)?;
        let name = beneath::name(path);
        match Inode::at(&parent, name) {
            Ok(inode) if inode.file_type == FileType::Directory => {
                if inode.mode & 0o700 != 0o700 {
                    let fd = self.open(path, OFlags::PATH | OFlags::DIRECTORY).map_err(fail)?;
                    metadata::chmod(fd.as_fd(), inode.mode | 0o700).map_err(fail)?;
                }
                return Ok(());
            }
            Ok(_) => unlinkat(&parent, name, AtFlags::empty()).map_err(fail)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(fail(errno)),
        }
        mkdirat(&parent, name, Mode::RWXU).map_err(fail)
    }

    /// Begins a regular file of `size` bytes, all holes as yet. It appears, or takes the place of what was there,
    /// only when it is finished.
    pub fn create_file(&self, path: &TreePath, size: u64) -> Result<FileWriter, Problem> {
        FileWriter::create(self, path, size)
    }

    /// Makes a hard link, symbolic link, fifo or device node in place of what is there; a directory is ensured.
    /// A regular file is not made here: see [`Self::create_file`].
    pub fn create(&self, entry: &Entry) -> Result<(), Problem> {
        let node = |kind, device| {
            self.install(&entry.path, "making", move |fd, name| {
                mknodat(fd, name, kind, Mode::RUSR | Mode::WUSR, device)
            })
        };
        match &entry.kind {
            Kind::Directory => self.ensure_directory(&entry.path),
            Kind::File { .. } => Err(Problem::new(entry.path.clone(), "making", Cause::OtherKind)),
            Kind::HardLink { target } => self.hard_link(&entry.path, target),
            Kind::Symlink { target } => {
                self.install(&entry.path, "making the link", |fd, name| symlinkat(target.as_slice(), fd, name))
            }
            Kind::CharDevice { major, minor } => node(FileType::CharacterDevice, makedev(*major, *minor)),
            Kind::BlockDevice { major, minor } => node(FileType::BlockDevice, makedev(*major, *minor)),
            Kind::Fifo => node(FileType::Fifo, 0),
        }
    }

    fn hard_link(&self, path: &TreePath, target: &TreePath) -> Result<(), Problem> {
        let operation = "making the hard link";
        let fail = |errno| Problem::new(path.clone(), operation, Cause::System(errno));
        let from = beneath::parent(self.root(), target).map_err(fail)?;
        let wanted = Inode::at(&from, beneath::name(target)).map_err(fail)?;
        // Renaming one name of a file over another does nothing and would leave the temporary name.
        if self.parent(path)?.look(beneath::name(path)).is_ok_and(|there| there.is_same_file(&wanted)) {
            return Ok(());
        }
        self.install(path, operation, |fd, name| {
            rustix::fs::linkat(&from, beneath::name(target), fd, name, AtFlags::empty())
        })
    }

    /// Makes something under its name, or under a temporary one and renames it over what is there.
    fn install(
        &self,
        path: &TreePath,
        operation: &'static str,
        make: impl Fn(BorrowedFd<'_>, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<(), Problem> {
        let fail = |errno| Problem::new(path.clone(), operation, Cause::System(errno));
        let parent = self.parent(path)?;
        let name = beneath::name(path);
        match make(parent.as_fd(), name) {
            Err(Errno::EXIST) => {}
            done => return done.map_err(fail),
        }
        self.clear_directory(path, parent.as_fd(), name)?;
        let temporary = self.with_temporary(|temporary| make(parent.as_fd(), temporary)).map_err(fail)?.0;
        renameat(&parent, temporary.as_slice(), &parent, name).map_err(|errno| {
            let _ = unlinkat(&parent, temporary.as_slice(), AtFlags::empty());
            fail(errno)
        })
    }

    /// A directory cannot be renamed over: removes it if it is empty or may be deleted. Leaves anything else, and tells whether there is something.
    fn clear_directory(&self, path: &TreePath, parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Problem> {
        let operation = "clearing the way for";
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(false),
            Err(Errno::NOTDIR) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) if self.0.options.delete => {
                self.remove(path).into_iter().next().map_or(Ok(false), Err)
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Problem::new(path.clone(), operation, Cause::DirectoryInTheWay)),
            Err(errno) => Err(Problem::new(path.clone(), operation, Cause::System(errno))),
        }
    }

    /// Tries temporary names until one is free.
    fn with_temporary<T>(&self, make: impl Fn(&[u8]) -> rustix::io::Result<T>) -> rustix::io::Result<(Vec<u8>, T)> {
        for _ in 0..TEMPORARY_TRIES_MAX {
            let number = self.0.counter.fetch_add(1, Ordering::Relaxed);
            let name = leftover::temporary_name(self.0.run, number);
            match make(&name) {
                Ok(result) => return Ok((name, result)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }

    /// The directory that an entry belongs into, made if it is not there.
    fn parent(&self, path: &TreePath) -> Result<Parent<'_>, Problem> {
        let fail = |errno| Problem::new(path.clone(), "opening the directory of", Cause::System(errno));
        match beneath::parent(self.root(), path) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {
                self.ensure_directory(&path.parent().unwrap_or_else(TreePath::root))?;
                beneath::parent(self.root(), path).map_err(fail)
            }
            done => done.map_err(fail),
        }
    }

    fn open(&self, path: &TreePath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        beneath::open(self.root(), path.as_bytes(), flags)
    }

    fn root(&self) -> BorrowedFd<'_> {
        self.0.root.as_fd()
    }

    /// Waits until everything that was restored is on the disk.
    pub fn sync(&self) -> Result<(), Problem> {
        let fail = |errno| Problem::new(TreePath::root(), "writing to the disk", Cause::System(errno));
        rustix::fs::syncfs(self.root()).map_err(fail)
    }
}
