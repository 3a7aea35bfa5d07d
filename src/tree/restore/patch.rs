//! One regular file that is there, or a raw volume, brought to another content by writing only what differs.
//!
//! Who is cut off in the middle leaves a file that is neither the old nor the new one: whoever asks for this knows that it has to be gone on with. A file with
//! further names is only compared: written through one name it would change under all of them.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    Advice, AtFlags, FallocateFlags, FileType, OFlags, SeekFrom, fadvise, fallocate, fsync, ftruncate, seek, unlinkat,
};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::{Target, metadata};
use crate::format::entry::{Entry, TreePath};
use crate::tree::beneath;
use crate::tree::device::Device;
use crate::tree::inode::Inode;
use crate::tree::live::beside::ENDINGS;
use crate::tree::problem::{Cause, Problem};

/// What is compared, and written if it differs, within a piece.
const BLOCK_BYTES: usize = 64 << 10;

/// See the module. Usable from several threads at once.
#[derive(Debug)]
pub struct PatchFile {
    /// `None` for a raw volume, which has its length, owner and times from nobody.
    target: Option<Target>,
    fd: OwnedFd,
    path: TreePath,
    /// Its length as it was found.
    length: u64,
    alone: bool,
    /// Something of its content was written.
    changed: AtomicBool,
}

impl Target {
    /// Opens the regular file that is there; `None` if there is none, or none that may be written to: then it is made anew. `look` opens it for reading only.
    #[must_use]
    pub fn open_file(&self, path: &TreePath, look: bool) -> Option<PatchFile> {
        let access = if look { OFlags::RDONLY } else { OFlags::RDWR };
        let fd = self.open(path, access | OFlags::NONBLOCK).ok()?;
        let now = Inode::of(&fd).ok().filter(|now| now.file_type == FileType::RegularFile)?;
        let (length, alone) = (now.size, now.links == 1);
        let changed = AtomicBool::new(false);
        Some(PatchFile { target: Some(self.clone()), fd, path: path.clone(), length, alone, changed })
    }
}

impl PatchFile {
    /// A raw volume; `path` is what it is called in problems.
    #[must_use]
    pub fn of_device(device: Device, path: TreePath) -> Self {
        let Device { fd, length } = device;
        Self { target: None, fd, path, length, alone: true, changed: AtomicBool::new(false) }
    }

    /// What is read from here on comes from the disk, as far as the kernel can be asked for that.
    pub fn forget_pages(&self) {
        let _ = fadvise(&self.fd, 0, None, Advice::DontNeed);
    }

    /// Whether it has no other name.
    #[must_use]
    pub const fn is_alone(&self) -> bool {
        self.alone
    }

    /// Whether something of its content was written.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    /// Its length as it was found.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Reads so many bytes from a place; `false` if there are not so many, or they cannot be read.
    #[must_use]
    pub fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> bool {
        while !into.is_empty() {
            match retry_on_intr(|| pread(&self.fd, &mut *into, offset)) {
                Ok(0) | Err(_) => return false,
                Ok(count) => {
                    into = into.get_mut(count..).unwrap_or_default();
                    offset += count as u64;
                }
            }
        }
        true
    }

    /// Whether a range reads as zeros, be it a hole or not; what lies behind the end will be a hole.
    #[must_use]
    pub fn is_zeros(&self, offset: u64, length: u64) -> bool {
        let end = offset.saturating_add(length).min(self.length);
        let mut at = offset;
        let mut block = vec![0; BLOCK_BYTES];
        while at < end {
            // Where there are no holes it says that all is data. What a device says of them is no promise.
            match seek(&self.fd, SeekFrom::Data(at)) {
                _ if self.target.is_none() => {}
                Ok(data) if data >= end => return true,
                Ok(data) => at = at.max(data),
                Err(Errno::NXIO) => return true,
                Err(_) => {}
            }
            let wanted = usize::try_from(end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            let Some(block) = block.get_mut(..wanted) else { return false };
            if !self.read_at(at, block) || block.iter().any(|byte| *byte != 0) {
                return false;
            }
            at += wanted as u64;
        }
        true
    }

    /// Gives it its length; what it gets more is a hole. The journals of a database that is brought to another state go before its first byte changes: they
    /// would be applied to what they do not belong to.
    pub fn begin(&self, entry: &Entry, size: u64) -> Result<(), Problem> {
        let Some(target) = &self.target else { return Ok(()) };
        if entry.live.as_ref().is_some_and(|live| live.how.is_capture()) {
            let parent = target.parent(&self.path)?;
            for ending in ENDINGS {
                match unlinkat(&parent, [beneath::name(&self.path), ending].concat().as_slice(), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(self.problem("removing the journal beside", errno)),
                }
            }
        }
        if size == self.length {
            return Ok(());
        }
        self.changed.store(true, Ordering::Release);
        retry_on_intr(|| ftruncate(&self.fd, size)).map_err(|errno| self.problem("changing the length of", errno))
    }

    /// Makes a range a hole.
    pub fn clear(&self, offset: u64, length: u64) -> Result<(), Problem> {
        self.changed.store(true, Ordering::Release);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match retry_on_intr(|| fallocate(&self.fd, punch, offset, length)) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(errno) => return Err(self.problem("clearing a part of", errno)),
        }
        let zeros = vec![0; BLOCK_BYTES];
        let (mut at, end) = (offset, offset.saturating_add(length));
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
            self.write_at(at, zeros.get(..wanted).unwrap_or_default())?;
            at += wanted as u64;
        }
        Ok(())
    }

    /// Writes what is not there already; returns how many bytes that were.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<u64, Problem> {
        let (mut at, mut written) = (offset, 0);
        let mut there = vec![0; BLOCK_BYTES.min(bytes.len())];
        for block in bytes.chunks(BLOCK_BYTES) {
            let there = there.get_mut(..block.len()).unwrap_or_default();
            if !self.read_at(at, there) || there != block {
                self.changed.store(true, Ordering::Release);
                self.write_all(at, block)?;
                written += block.len() as u64;
            }
            at += block.len() as u64;
        }
        Ok(written)
    }

    fn write_all(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Problem> {
        while !bytes.is_empty() {
            match retry_on_intr(|| pwrite(&self.fd, bytes, offset)) {
                Ok(0) => return Err(self.problem("writing", Errno::IO)),
                Ok(count) => {
                    bytes = bytes.get(count..).unwrap_or_default();
                    offset += count as u64;
                }
                Err(errno) => return Err(self.problem("writing", errno)),
            }
        }
        Ok(())
    }

    /// Gives it its metadata. What is missing of that is returned. It is on the disk after [`Target::sync`]; a raw volume is when this returns.
    pub fn finish(self, entry: &Entry) -> Result<Vec<Problem>, Problem> {
        let Some(target) = &self.target else {
            return match retry_on_intr(|| fsync(&self.fd)) {
                Ok(()) => Ok(Vec::new()),
                Err(errno) => Err(self.problem("writing to the disk", errno)),
            };
        };
        Ok(metadata::apply(self.fd.as_fd(), entry, target.options().owner))
    }

    fn problem(&self, operation: &'static str, errno: Errno) -> Problem {
        Problem::new(self.path.clone(), operation, Cause::System(errno))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::tree::restore::RestoreOptions;

    fn opened(folder: &std::path::Path) -> (Target, TreePath) {
        let target = Target::create_or_open(folder, RestoreOptions::default()).expect("a folder");
        (target, TreePath::new("file").expect("a path"))
    }

    #[test]
    fn only_blocks_that_differ_are_written_and_holes_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes = vec![7_u8; 4 * BLOCK_BYTES + 100];
        std::fs::write(folder.path().join("file"), &bytes).expect("written");
        let (target, path) = opened(folder.path());
        let file = target.open_file(&path, false).expect("a file");
        assert!(file.is_alone());
        assert_eq!(file.write_at(0, &bytes).expect("written"), 0);
        bytes[BLOCK_BYTES + 5] = 8;
        assert_eq!(file.write_at(0, &bytes).expect("written"), BLOCK_BYTES as u64);
        *bytes.last_mut().expect("a byte") = 9;
        assert_eq!(file.write_at(0, &bytes).expect("written"), 100);
        assert_eq!(std::fs::read(folder.path().join("file")).expect("read"), bytes);
        let (at, block) = (2 * BLOCK_BYTES as u64, BLOCK_BYTES as u64);
        assert!(!file.is_zeros(at, block));
        let before = std::fs::metadata(folder.path().join("file")).expect("there").blocks();
        file.clear(at, block).expect("cleared");
        assert!(file.is_zeros(at, block) && !file.is_zeros(at, block + 1) && !file.is_zeros(at - 1, 2));
        assert!(std::fs::metadata(folder.path().join("file")).expect("there").blocks() < before);
        assert!(file.is_zeros(1 << 40, 10), "behind the end");
    }

    #[test]
    fn what_is_no_file_is_not_opened_and_what_has_other_names_says_so() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, path) = opened(folder.path());
        assert!(target.open_file(&path, false).is_none());
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("file")).expect("linked");
        assert!(target.open_file(&path, false).is_none(), "no link is followed");
        std::fs::remove_file(folder.path().join("file")).expect("removed");
        std::fs::write(folder.path().join("file"), "x").expect("written");
        std::fs::hard_link(folder.path().join("file"), folder.path().join("other")).expect("linked");
        assert!(!target.open_file(&path, false).expect("a file").is_alone());
    }
}
