//! One entry as the walk finds it: everything but its content.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, openat};

use super::inode::{Inode, InodeKey};
use super::live::beside::Beside;
use crate::format::entry::{Content, Entry, FileTime, Identity, Kind, TreePath, Xattr};
use crate::format::live::Live;

/// Plain data; holds nothing open, so any number may wait in a queue. Open a file with [`super::source::Source::open`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Where it is in the tree.
    pub path: TreePath,
    /// What it is.
    pub kind: FoundKind,
    /// `st_mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: FileTime,
    /// Extended attributes, sorted.
    pub xattrs: Vec<Xattr>,
    /// Inode and ctime; never marked racy here, since only the caller knows when the scan was.
    pub identity: Identity,
    /// Bytes of a regular file, holes included; 0 for everything else.
    pub size: u64,
    /// Signs of a database; only looked for in a live source.
    pub signs: Option<Box<Signs>>,
    pub(super) key: InodeKey,
}

/// What tells of a database before anything is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Signs {
    /// Files with its name and `-wal`, `-journal` or `-shm` stand beside a file.
    Beside(Beside),
    /// A directory holds the data of a PostgreSQL server; what became of it.
    Postgres(Live),
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FoundKind {
    /// A directory; what is in it comes next.
    Directory,
    /// A regular file, by the first of its names.
    File,
    /// Another name of a file that was found before, with the same metadata.
    HardLink {
        /// The name that was found first.
        target: TreePath,
    },
    /// A symbolic link.
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

impl Found {
    pub(super) fn new(path: TreePath, kind: FoundKind, inode: &Inode, xattrs: Vec<Xattr>) -> Self {
        let is_file = matches!(kind, FoundKind::File | FoundKind::HardLink { .. });
        Self {
            path,
            kind,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            xattrs,
            identity: Identity { inode: inode.number, ctime: inode.ctime, racy: false },
            size: if is_file { inode.size } else { 0 },
            signs: None,
            key: inode.key(),
        }
    }

    /// A raw volume: a file of its length, which is its owner's alone wherever it is restored to.
    pub(super) fn of_device(path: TreePath, node: &Inode, length: u64) -> Self {
        let found = Self::new(path, FoundKind::File, node, Vec::new());
        Self { mode: 0o600, size: length, ..found }
    }

    /// What stands beside it.
    #[must_use]
    pub fn beside(&self) -> Option<&Beside> {
        match self.signs.as_deref() {
            Some(Signs::Beside(beside)) => Some(beside),
            _ => None,
        }
    }

    /// The entry for the tree. `size` and `content` are those of a regular file, as they were read; others ignore them.
    #[must_use]
    pub fn into_entry(self, size: u64, content: Content) -> Entry {
        let kind = match self.kind {
            FoundKind::Directory => Kind::Directory,
            FoundKind::File => Kind::File { size, content },
            FoundKind::HardLink { target } => Kind::HardLink { target },
            FoundKind::Symlink { target } => Kind::Symlink { target: target.into() },
            FoundKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            FoundKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            FoundKind::Fifo => Kind::Fifo,
        };
        Entry {
            path: self.path,
            kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs: self.xattrs,
            identity: Some(self.identity),
            live: match self.signs.map(|signs| *signs) {
                Some(Signs::Postgres(live)) => Some(Box::new(live)),
                _ => None,
            },
        }
    }
}

/// The file that marks a directory as a cache: <https://bford.info/cachedir/>.
pub(super) const CACHE_TAG: &CStr = c"CACHEDIR.TAG";
const CACHE_TAG_BEGIN: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Whether the tag in a directory is a valid one.
pub(super) fn has_cache_tag(directory: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = openat(directory, CACHE_TAG, flags, Mode::empty()) else { return false };
    let mut begin = [0_u8; CACHE_TAG_BEGIN.len()];
    matches!(rustix::io::pread(&fd, &mut begin, 0), Ok(length) if length == begin.len()) && begin == CACHE_TAG_BEGIN
}
