//! What `statx` says of a file, in our own types and the same on every processor.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp, statx};
use rustix::io::Result;

use crate::format::entry::FileTime;
use crate::format::live::Trace;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inode {
    /// Major and minor number of the device it is on.
    pub device: (u32, u32),
    pub number: u64,
    pub file_type: FileType,
    /// `st_mode & 0o7777`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub size: u64,
    pub mtime: FileTime,
    pub ctime: FileTime,
    /// Which device it stands for, if it is a device node.
    pub stands_for: (u32, u32),
}

impl Inode {
    /// Of `name` in a directory, not following a symbolic link.
    pub(crate) fn at(directory: impl AsFd, name: impl rustix::path::Arg) -> Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        statx(directory, name, flags, StatxFlags::BASIC_STATS).map(|raw| Self::from(&raw))
    }

    /// Of an open file, also one opened with `O_PATH`.
    pub(crate) fn of(fd: impl AsFd) -> Result<Self> {
        statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(|raw| Self::from(&raw))
    }

    /// Whether both are the same file, whatever was written to it in between.
    pub(crate) fn is_same_file(&self, other: &Self) -> bool {
        self.key() == other.key() && self.file_type == other.file_type
    }

    /// What tells whether it was written to.
    pub(crate) const fn trace(&self) -> Trace {
        Trace { size: self.size, mtime: self.mtime, inode: self.number }
    }

    pub(crate) const fn key(&self) -> InodeKey {
        (self.device, self.number)
    }
}

/// Names an inode on this machine: device and number.
pub type InodeKey = ((u32, u32), u64);

impl From<&Statx> for Inode {
    fn from(raw: &Statx) -> Self {
        let mode = u32::from(raw.stx_mode);
        Self {
            device: (raw.stx_dev_major, raw.stx_dev_minor),
            number: raw.stx_ino,
            file_type: FileType::from_raw_mode(mode),
            mode: mode & 0o7777,
            uid: raw.stx_uid,
            gid: raw.stx_gid,
            links: raw.stx_nlink,
            size: raw.stx_size,
            mtime: time(&raw.stx_mtime),
            ctime: time(&raw.stx_ctime),
            stands_for: (raw.stx_rdev_major, raw.stx_rdev_minor),
        }
    }
}

const fn time(raw: &StatxTimestamp) -> FileTime {
    FileTime { seconds: raw.tv_sec, nanos: raw.tv_nsec }
}
