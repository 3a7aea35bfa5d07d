//! One regular file being restored.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, fdatasync, flock, ftruncate, openat, renameat, unlinkat};
use rustix::io::{Errno, pwrite, retry_on_intr};

use super::{Target, metadata};
use crate::format::entry::{Entry, TreePath};
use crate::tree::beneath;
use crate::tree::live::beside::ENDINGS;
use crate::tree::problem::{Cause, Problem};

/// The block in which zeros are looked for; the size of a page and of most file systems' blocks.
const BLOCK_BYTES: u64 = 4096;

/// Takes the bytes of a file in any order and from any thread; what is not written stays a hole. Dropped without
/// [`Self::finish`] it takes itself away again.
#[derive(Debug)]
pub struct FileWriter {
    target: Target,
    fd: OwnedFd,
    path: TreePath,
    /// The name it has until it is finished: under its own name a file is whole, also after a crash.
    temporary: Vec<u8>,
    /// There was something in its place.
    replaces: bool,
    finished: bool,
}

impl FileWriter {
    pub(super) fn create(target: &Target, path: &TreePath, size: u64) -> Result<Self, Problem> {
        let fail = |errno| Problem::new(path.clone(), "making", Cause::System(errno));
        let parent = target.parent(path)?;
        let name = beneath::name(path);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let replaces = target.clear_directory(path, parent.as_fd(), name)?;
        let make = |name: &[u8]| retry_on_intr(|| openat(&parent, name, flags, Mode::RUSR | Mode::WUSR));
        let (temporary, fd) = target.with_temporary(make).map_err(fail)?;
        // Tells whoever sweeps that it is being written. Where there are no such locks, nothing is swept either.
        let _ = flock(&fd, FlockOperation::NonBlockingLockExclusive);
        let writer = Self { target: target.clone(), fd, path: path.clone(), temporary, replaces, finished: false };
        retry_on_intr(|| ftruncate(&writer.fd, size)).map_err(fail)?;
        Ok(writer)
    }

    /// Writes bytes at an offset. With the sparse option whole blocks of zeros stay holes.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), Problem> {
        if !self.target.options().sparse {
            return self.write_all(offset, bytes);
        }
        let (mut at, mut rest) = (offset, bytes);
        // What is not all zeros is gathered, so that dense files are written in long runs.
        let (mut from, mut run) = (offset, 0_usize);
        while !rest.is_empty() {
            let to_edge = usize::try_from(BLOCK_BYTES - at % BLOCK_BYTES).unwrap_or(rest.len());
            let (block, after) = rest.split_at(to_edge.min(rest.len()));
            if block.len() as u64 == BLOCK_BYTES && block.iter().all(|byte| *byte == 0) {
                self.write_run(offset, bytes, from, run)?;
                (from, run) = (at + BLOCK_BYTES, 0);
            } else {
                run += block.len();
            }
            at += block.len() as u64;
            rest = after;
        }
        self.write_run(offset, bytes, from, run)
    }

    fn write_run(&self, offset: u64, bytes: &[u8], from: u64, length: usize) -> Result<(), Problem> {
        let start = usize::try_from(from - offset).unwrap_or(usize::MAX);
        self.write_all(from, bytes.get(start..start.saturating_add(length)).unwrap_or_default())
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

    /// Gives it its metadata and its name. What is missing of the metadata is returned; an error means the file is not there.
    ///
    /// What replaces an old file is on the disk before it does; a new file is only after [`Target::sync`].
    pub fn finish(mut self, entry: &Entry) -> Result<Vec<Problem>, Problem> {
        let problems = metadata::apply(&self.fd, entry, self.target.options().owner);
        if self.replaces {
            retry_on_intr(|| fdatasync(&self.fd)).map_err(|errno| self.problem("writing to the disk", errno))?;
        }
        let parent = self.target.parent(&self.path)?;
        if entry.live.as_ref().is_some_and(|live| live.how.is_capture()) {
            // The log of another state of the database would be applied to this one by whoever opens it. Before the rename: never both.
            for ending in ENDINGS {
                match unlinkat(&parent, [beneath::name(&self.path), ending].concat().as_slice(), AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(self.problem("removing the journal beside", errno)),
                }
            }
        }
        renameat(&parent, self.temporary.as_slice(), &parent, beneath::name(&self.path))
            .map_err(|errno| self.problem("giving its name to", errno))?;
        self.finished = true;
        Ok(problems)
    }

    fn problem(&self, operation: &'static str, errno: Errno) -> Problem {
        Problem::new(self.path.clone(), operation, Cause::System(errno))
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Ok(parent) = beneath::parent(self.target.root(), &self.path)
        {
            let _ = unlinkat(&parent, self.temporary.as_slice(), AtFlags::empty());
        }
    }
}
