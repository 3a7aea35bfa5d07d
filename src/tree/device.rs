//! A raw volume: a block device under a path of a pod's own. It is one file of the snapshot, with neither names nor attributes in it.
//!
//! Its length is where seeking to its end leads; `stat` does not know it. Nobody asks it for holes: what a device says of them is no promise that zeros are
//! read there. What reads as zeros is taken for zeros. A regular file is taken as well, where it stands for a device that nobody can make (an image of a disk,
//! the tests). Nothing is created here, and nothing is cut to a length: a path without a device is an error.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::retry_on_intr;

use super::inode::Inode;

/// The name of the file that a raw volume is in its snapshot.
pub const NAME: &str = "device";
/// What is looked at for zeros, and compared, at once; the smallest block that an image of a disk is cut into (`chunker`).
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// A device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It is not there, or the kernel does not let us.
    #[error("cannot open the device {}", path.display())]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// A directory, or something else without a length.
    #[error("{} is no block device", path.display())]
    Kind {
        /// Where it is.
        path: PathBuf,
    },
    /// Seeking to its end fails, or it ends where it begins.
    #[error("the device {} has no length", path.display())]
    Length {
        /// Where it is.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
}

impl DeviceError {
    /// Whether more rights would open it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Open { cause, .. } if cause.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

/// An open device.
#[derive(Debug)]
pub struct Device {
    pub(super) fd: OwnedFd,
    pub(super) length: u64,
}

impl Device {
    /// Opens what is there.
    pub fn open(path: &Path, write: bool) -> Result<Self, DeviceError> {
        let access = if write { OFlags::RDWR } else { OFlags::RDONLY };
        let opened = retry_on_intr(|| openat(CWD, path, access | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()));
        let fail = |cause: rustix::io::Errno| DeviceError::Open { path: path.to_owned(), cause: cause.into() };
        let fd = match opened {
            Err(rustix::io::Errno::ISDIR) => return Err(DeviceError::Kind { path: path.to_owned() }),
            opened => opened.map_err(fail)?,
        };
        let kind = Inode::of(&fd).map_err(fail)?.file_type;
        if !matches!(kind, FileType::BlockDevice | FileType::RegularFile) {
            return Err(DeviceError::Kind { path: path.to_owned() });
        }
        let none = |cause| DeviceError::Length { path: path.to_owned(), cause };
        match length(&fd) {
            Ok(0) => Err(none(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))),
            Ok(length) => Ok(Self { fd, length }),
            Err(errno) => Err(none(errno.into())),
        }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }
}

/// Where it ends now.
pub(super) fn length(fd: impl AsFd) -> rustix::io::Result<u64> {
    seek(fd, SeekFrom::End(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_length_is_one_and_nothing_is_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("disk"), [7; 5000]).expect("written");
        std::fs::write(at("empty"), "").expect("written");
        for write in [false, true] {
            assert_eq!(Device::open(&at("disk"), write).expect("a file").length(), 5000);
            assert!(matches!(Device::open(&at("empty"), write), Err(DeviceError::Length { .. })));
            assert!(matches!(Device::open(dir.path(), write), Err(DeviceError::Kind { .. })));
            assert!(matches!(Device::open(Path::new("/dev/null"), write), Err(DeviceError::Kind { .. })));
            let error = Device::open(&at("none"), write).expect_err("nothing is there");
            assert!(!error.is_denied() && error.to_string().contains("cannot open the device"), "{error}");
            assert!(!at("none").exists());
        }
        assert_eq!(std::fs::read(at("disk")).expect("as it was"), [7; 5000]);
    }
}
