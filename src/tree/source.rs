//! What is backed up: one directory, one file, several of either, or a raw volume; and the safe way to open a file found in it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::beneath;
use super::device::{self, Device, DeviceError};
use super::found::{Found, FoundKind};
use super::inode::Inode;
use super::problem::{Cause, Problem};
use super::read::FileReader;
use super::walk::{Walk, WalkOptions};
use crate::format::entry::{FileTime, Identity, PathError, TreePath};

/// A source that cannot be walked at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No path was given.
    #[error("no path was given to back up")]
    Nothing,
    /// It does not exist, or may not be opened.
    #[error("cannot open {}", path.display())]
    Open {
        /// As it was given.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// A device, a fifo or a socket: in a directory one is kept as what it is, but as the thing to back up it is not what was meant.
    #[error("{} is {what}, neither a directory nor a file", path.display())]
    Kind {
        /// As it was given.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// One of several paths, such as `/` or `..`, has no name to be put under.
    #[error("{} has no name of its own to put it under beside other paths", path.display())]
    NoName {
        /// As it was given.
        path: PathBuf,
        /// Why the name is none.
        #[source]
        cause: PathError,
    },
    /// A raw volume cannot be read.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Two paths would be put under the same name.
    #[error("{} and {} have the same name", first.display(), second.display())]
    SameName {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
}

/// Opened roots. Cheap to clone; a clone can open files in other threads.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) roots: Arc<[Root]>,
}

#[derive(Debug)]
pub(super) struct Root {
    /// The root itself if it is a directory, else the directory that holds it.
    pub directory: OwnedFd,
    /// `.` for a directory, else the name of the file.
    pub name: CString,
    /// Where it is put in the tree.
    pub path: TreePath,
    given: PathBuf,
    /// It is a raw volume, open since the beginning.
    pub device: Option<Device>,
}

impl Source {
    /// Opens the paths; symbolic links in these (not below) are followed.
    ///
    /// One directory becomes the root of the tree. One file, and each of several paths, is put under its base name;
    /// then no entry for the root itself is found.
    pub fn new(paths: &[PathBuf]) -> Result<Self, SourceError> {
        let mut roots = paths.iter().map(|path| Root::open(path, paths.len() == 1)).collect::<Result<Vec<_>, _>>()?;
        roots.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some([first, second]) = roots.array_windows().find(|[a, b]| a.path == b.path) {
            return Err(SourceError::SameName { first: first.given.clone(), second: second.given.clone() });
        }
        if roots.is_empty() { Err(SourceError::Nothing) } else { Ok(Self { roots: roots.into() }) }
    }

    /// A raw volume, as the one file [`device::NAME`].
    pub fn device(path: &Path) -> Result<Self, SourceError> {
        let device = Some(Device::open(path, false)?);
        let fail = |cause: Errno| SourceError::Open { path: path.to_owned(), cause: cause.into() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = openat(CWD, above, flags, Mode::empty()).map_err(fail)?;
        let name = CString::new(path.file_name().unwrap_or_default().as_bytes()).map_err(|_| fail(Errno::INVAL))?;
        let no_name = |cause| SourceError::NoName { path: path.to_owned(), cause };
        let root = TreePath::new(device::NAME).map_err(no_name)?;
        Ok(Self { roots: [Root { directory, name, path: root, given: path.to_owned(), device }].into() })
    }

    /// Finds everything, in tree order.
    #[must_use]
    pub fn walk(&self, options: WalkOptions) -> Walk {
        Walk::new(self.clone(), options)
    }

    /// Opens a regular file for reading, only if it is still the one that was found: a symbolic link, a fifo or another
    /// file that took its place is neither followed nor waited for nor read.
    pub fn open(&self, found: &Found) -> Result<FileReader, Problem> {
        let fail = |cause| Problem::new(found.path.clone(), "opening", cause);
        let looking = |errno| match errno {
            // It was a file: a link now, or a directory on the way is one.
            Errno::LOOP | Errno::NOTDIR | Errno::NXIO => fail(Cause::Replaced),
            errno => Problem::looking(found.path.clone(), "opening", errno),
        };
        if found.kind != FoundKind::File {
            return Err(fail(Cause::OtherKind));
        }
        let (root, path) = self.locate(&found.path).ok_or_else(|| fail(Cause::Vanished))?;
        if let Some(device) = &root.device {
            let fd = device
                .fd
                .try_clone()
                .map_err(|error| fail(Errno::from_io_error(&error).map_or(Cause::Vanished, Cause::System)))?;
            let node = Inode::of(&fd).map_err(looking)?;
            return Ok(FileReader::of_device(fd, Inode { size: device.length, ..node }, found.path.clone()));
        }
        let fd = open_reading(root.directory.as_fd(), path, OFlags::empty()).map_err(looking)?;
        let inode = Inode::of(&fd).map_err(looking)?;
        if inode.key() != found.key || inode.file_type != FileType::RegularFile {
            return Err(fail(Cause::Replaced));
        }
        Ok(FileReader::new(fd, inode, found.path.clone()))
    }

    /// The directory that holds an entry, opened, and the entry's name in it.
    pub(super) fn directory_of(&self, path: &TreePath) -> rustix::io::Result<(OwnedFd, CString)> {
        let (root, rest) = self.locate(path).ok_or(Errno::NOENT)?;
        let at = rest.iter().rposition(|byte| *byte == b'/');
        let (above, name) = (rest.get(..at.unwrap_or(0)), rest.get(at.map_or(0, |at| at + 1)..));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = beneath::open(root.directory.as_fd(), above.unwrap_or_default(), flags)?;
        Ok((directory, CString::new(name.unwrap_or_default()).map_err(|_| Errno::INVAL)?))
    }

    /// What lies at a path of the tree now: size, mtime and identity; `None` if that cannot be told.
    #[must_use]
    pub fn look(&self, path: &TreePath) -> Option<(u64, FileTime, Identity)> {
        let (root, rest) = self.locate(path)?;
        let fd = beneath::open(root.directory.as_fd(), rest, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
        let inode = Inode::of(&fd).ok()?;
        Some((inode.size, inode.mtime, Identity { inode: inode.number, ctime: inode.ctime, racy: false }))
    }

    /// The root that a path lies in, and the rest of the path below [`Root::directory`].
    pub(super) fn locate<'a>(&'a self, path: &'a TreePath) -> Option<(&'a Root, &'a [u8])> {
        let root = self.roots.iter().find(|root| path.is_within(&root.path))?;
        let rest = path.as_bytes().get(root.path.as_bytes().len()..)?;
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        Some((root, if root.name.as_bytes() == b"." { rest } else { root.name.as_bytes() }))
    }
}

/// Opens without changing the access time where that is allowed, and without waiting for the other end of a fifo.
pub(super) fn open_reading(directory: BorrowedFd<'_>, path: &[u8], more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | more;
    match beneath::open(directory, path, flags | OFlags::NOATIME) {
        // Only the owner may leave the access time alone.
        Err(Errno::PERM) => beneath::open(directory, path, flags),
        // A lease (Samba, an NFS server) is being broken: wait for it, having made sure that it is a regular file.
        Err(Errno::AGAIN) => {
            let fd = beneath::open(directory, path, OFlags::PATH)?;
            if Inode::of(&fd)?.file_type != FileType::RegularFile {
                return Err(Errno::LOOP);
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | more;
            openat(CWD, super::xattrs::proc_path(fd.as_fd()), flags, Mode::empty())
        }
        done => done,
    }
}

impl Root {
    fn open(given: &Path, alone: bool) -> Result<Self, SourceError> {
        let fail = |cause: std::io::Error| SourceError::Open { path: given.to_owned(), cause };
        let real = given.canonicalize().map_err(fail)?;
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = |path: &Path| openat(CWD, path, flags, Mode::empty()).map_err(|errno| fail(errno.into()));
        let own_name = || {
            let name = given.file_name().or_else(|| real.file_name()).unwrap_or_default();
            let no_name = |cause| SourceError::NoName { path: given.to_owned(), cause };
            match TreePath::new(name.as_bytes()) {
                Ok(path) if path.as_bytes().is_empty() => Err(no_name(PathError(Vec::new()))),
                other => other.map_err(no_name),
            }
        };
        let kind = real.metadata().map_err(fail)?.file_type();
        let what = match kind {
            kind if kind.is_fifo() => Some("a fifo"),
            kind if kind.is_socket() => Some("a socket"),
            kind if kind.is_block_device() || kind.is_char_device() => Some("a device"),
            _ => None,
        };
        if let Some(what) = what {
            return Err(SourceError::Kind { path: given.to_owned(), what });
        }
        let is_directory = kind.is_dir();
        let (directory, name) = if is_directory {
            (directory(&real)?, CString::from(c"."))
        } else {
            let name = real.file_name().unwrap_or_default().as_bytes().to_vec();
            (directory(real.parent().unwrap_or(Path::new("/")))?, CString::new(name).unwrap_or_default())
        };
        let path = if is_directory && alone { TreePath::root() } else { own_name()? };
        Ok(Self { directory, name, path, given: given.to_owned(), device: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_paths_with_one_name_are_both_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [a, b] = ["x/same", "y/same"].map(|p| dir.path().join(p));
        std::fs::create_dir_all(&a).expect("fresh");
        std::fs::create_dir_all(&b).expect("fresh");
        let error = Source::new(&[a.clone(), b.clone()]).expect_err("they collide").to_string();
        assert!(error.contains(&*a.to_string_lossy()) && error.contains(&*b.to_string_lossy()), "{error}");
    }

    #[test]
    fn sources_that_cannot_be_opened_are_named() {
        assert!(matches!(Source::new(&[]), Err(SourceError::Nothing)));
        let error = Source::new(&["/no/such".into()]).expect_err("it does not exist");
        assert_eq!(error.to_string(), "cannot open /no/such");
        let error = Source::new(&["/dev/null".into()]).expect_err("no file").to_string();
        assert_eq!(error, "/dev/null is a device, neither a directory nor a file");
        assert!(matches!(Source::new(&["/".into(), "/tmp".into()]), Err(SourceError::NoName { .. })));
    }
}
