//! Reads one regular file as data and holes. Holes are never read, and a file that changes meanwhile is told. A raw volume is read whole; blocks of zeros in it
//! count as holes.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread, retry_on_intr};

use super::device::{self, BLOCK_BYTES};
use super::inode::Inode;
use super::problem::{Cause, Problem};
use crate::format::entry::{FileTime, Identity, TreePath};

/// Zeros of a raw volume that are told at once: whoever reads looks in between whether it should stop.
const ZEROS_BYTES_MAX: u64 = 64 << 20;

/// A part of the file, right behind the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// So many bytes of the buffer were filled; at least 1.
    Data(usize),
    /// So many bytes were never written; at least 1.
    Hole(u64),
}

/// How the reading ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// How many bytes the parts added up to: the size to put into the tree.
    pub size: u64,
    /// Set if size, mtime or ctime changed since the file was opened: mark its identity racy, so that it is read next time.
    pub changed: Option<Problem>,
}

/// An open file. Reads as far as its size was when it was opened, or less if it shrank.
#[derive(Debug)]
pub struct FileReader {
    fd: OwnedFd,
    path: TreePath,
    before: Inode,
    offset: u64,
    /// Where the file ends: its size when it was opened, or less once it is known to have shrunk.
    end: u64,
    /// Up to where data is known to go on.
    data_end: u64,
    /// The file that this one, a copy, stands in for: its times and its inode are told.
    original: Option<Inode>,
    /// A raw volume, which has no holes.
    device: bool,
}

impl FileReader {
    pub(super) const fn new(fd: OwnedFd, before: Inode, path: TreePath) -> Self {
        let end = before.size;
        Self { fd, path, before, offset: 0, end, data_end: 0, original: None, device: false }
    }

    /// Of a raw volume; its size is the device's.
    pub(super) const fn of_device(fd: OwnedFd, before: Inode, path: TreePath) -> Self {
        let end = before.size;
        Self { fd, path, before, offset: 0, end, data_end: end, original: None, device: true }
    }

    /// Of a copy that has the bytes, and the file that has the name, the times and the inode.
    pub(super) const fn standing_in(fd: OwnedFd, before: Inode, path: TreePath, original: Inode) -> Self {
        let end = before.size;
        Self { fd, path, before, offset: 0, end, data_end: 0, original: Some(original), device: false }
    }

    fn shown(&self) -> &Inode {
        self.original.as_ref().unwrap_or(&self.before)
    }

    /// The first bytes of the file, as many as it has, wherever the reading is.
    pub(super) fn head(&self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        retry_on_intr(|| pread(&self.fd, &mut *buffer, 0))
    }

    /// Bytes when it was opened.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.before.size
    }

    /// Whether it is a raw volume.
    #[must_use]
    pub const fn is_device(&self) -> bool {
        self.device
    }

    /// mtime when it was opened; later than the walk's if the file was written to in between.
    #[must_use]
    pub fn mtime(&self) -> FileTime {
        self.shown().mtime
    }

    /// Inode and ctime when it was opened.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity { inode: self.shown().number, ctime: self.shown().ctime, racy: false }
    }

    /// The next part; `None` at the end. The buffer must not be empty; it is filled unless the data ends before.
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<Option<Part>, Problem> {
        if self.before.size == 0 {
            let mut byte = [0];
            // An empty answer is what an empty file gives; EAGAIN, and any other refusal, is none.
            return match retry_on_intr(|| pread(&self.fd, &mut byte, 0)) {
                Ok(0) => Ok(None),
                Ok(_) => match Inode::of(&self.fd) {
                    Ok(now) if now.size == 0 => Err(self.problem("reading", Cause::Sizeless)),
                    _ => Ok(None), // written to since it was opened, which `finish` tells
                },
                Err(errno) => Err(self.problem("reading", Cause::System(errno))),
            };
        }
        if self.offset >= self.end {
            return Ok(None);
        }
        if self.device {
            return self.next_of_device(buffer);
        }
        if self.offset >= self.data_end
            && let Some(hole) = self.find_data()?
        {
            return Ok(Some(Part::Hole(hole)));
        }
        let left = usize::try_from(self.data_end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..wanted).filter(|rest| !rest.is_empty()) {
            match retry_on_intr(|| pread(&self.fd, &mut *rest, self.offset)) {
                // It shrank: what is there ends here.
                Ok(0) => {
                    self.end = self.offset;
                    break;
                }
                Ok(count) => {
                    filled += count;
                    self.offset += count as u64;
                }
                Err(errno) => return Err(self.problem("reading", Cause::System(errno))),
            }
        }
        Ok(if filled == 0 { None } else { Some(Part::Data(filled)) })
    }

    /// A block, or as many zeros as there are. An end before the length that it had is an error: a device does not shrink.
    fn next_of_device(&mut self, buffer: &mut [u8]) -> Result<Option<Part>, Problem> {
        let mut zeros = 0_u64;
        while self.offset < self.end && zeros < ZEROS_BYTES_MAX {
            let into = usize::try_from(self.offset % BLOCK_BYTES as u64).unwrap_or(0);
            let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
            let whole = (BLOCK_BYTES - into).min(left);
            let wanted = whole.min(buffer.len());
            let block = buffer.get_mut(..wanted).unwrap_or_default();
            let mut filled = 0;
            while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match retry_on_intr(|| pread(&self.fd, &mut *rest, self.offset + filled as u64)) {
                    Ok(0) => return Err(self.problem("reading", Cause::System(Errno::IO))),
                    Ok(count) => filled += count,
                    Err(errno) => return Err(self.problem("reading", Cause::System(errno))),
                }
            }
            if into == 0 && wanted == whole && block.iter().all(|byte| *byte == 0) {
                zeros += wanted as u64;
                self.offset += wanted as u64;
            } else if zeros > 0 {
                // Read again next time; its pages are at hand.
                break;
            } else {
                self.offset += wanted as u64;
                return Ok(Some(Part::Data(wanted)));
            }
        }
        Ok(Some(Part::Hole(zeros)))
    }

    /// Looks where data goes on. Returns the hole before it and passes over it, or finds the end of the data right here.
    fn find_data(&mut self) -> Result<Option<u64>, Problem> {
        let start = match retry_on_intr(|| seek(&self.fd, SeekFrom::Data(self.offset))) {
            Ok(start) => start.min(self.end),
            // Nothing but a hole up to the end, which may have moved.
            Err(Errno::NXIO) => {
                let now = Inode::of(&self.fd).map_err(|errno| self.problem("reading", Cause::System(errno)))?;
                self.end = self.end.min(now.size).max(self.offset);
                self.end
            }
            // A file system without holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
                self.data_end = self.end;
                return Ok(None);
            }
            Err(errno) => return Err(self.problem("looking for holes in", Cause::System(errno))),
        };
        if start > self.offset {
            let hole = start - self.offset;
            self.offset = start;
            return Ok(Some(hole));
        }
        // Whatever the answer, go on by at least what is wanted: the end of the file is always a possible answer.
        let end = retry_on_intr(|| seek(&self.fd, SeekFrom::Hole(self.offset))).unwrap_or(self.end);
        self.data_end = if end > self.offset { end.min(self.end) } else { self.end };
        Ok(None)
    }

    /// Tells how much there was and whether it stood still.
    pub fn finish(&self) -> Result<Ending, Problem> {
        if self.device {
            // Its node has times, and they say nothing of its content.
            let now =
                device::length(&self.fd).map_err(|errno| self.problem("looking again at", Cause::System(errno)))?;
            let changed = (now != self.before.size).then(|| self.problem("reading", Cause::Changed));
            return Ok(Ending { size: self.offset, changed });
        }
        let now = Inode::of(&self.fd).map_err(|errno| self.problem("looking again at", Cause::System(errno)))?;
        let then = &self.before;
        // A rename, a new link or a chmod changes the ctime as well; that is one needless reading next time.
        let whole = self.end == then.size;
        let cause = if whole && (now.size, now.mtime, now.ctime) == (then.size, then.mtime, then.ctime) {
            None
        } else if whole && (now.size, now.mtime) == (then.size, then.mtime) {
            Some(Cause::Touched)
        } else if whole && now.size > then.size {
            Some(Cause::Grew)
        } else {
            Some(Cause::Changed)
        };
        let changed = cause.map(|cause| self.problem("reading", cause));
        Ok(Ending { size: self.offset, changed })
    }

    fn problem(&self, operation: &'static str, cause: Cause) -> Problem {
        Problem::new(self.path.clone(), operation, cause)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::tree::problem::Severity;

    fn reader(file: &File) -> FileReader {
        let fd = OwnedFd::from(file.try_clone().expect("an open file"));
        let inode = Inode::of(&fd).expect("an open file");
        FileReader::new(fd, inode, TreePath::new("f").expect("plain"))
    }

    fn parts(reader: &mut FileReader, buffer: usize) -> Vec<Part> {
        let mut buffer = vec![0; buffer];
        std::iter::from_fn(|| reader.next(&mut buffer).expect("readable")).collect()
    }

    #[test]
    fn holes_at_both_ends_and_in_the_middle_are_passed_over() {
        let file = tempfile::tempfile().expect("a temporary file");
        let mib = 1 << 20;
        file.write_all_at(b"data", mib).expect("room");
        file.write_all_at(&[7; 5000], 2 * mib).expect("room");
        file.set_len(4 * mib + 1).expect("room");
        let mut reader = reader(&file);
        let found = parts(&mut reader, 4096);
        let sum: u64 = found.iter().map(|p| if let Part::Hole(n) = p { *n } else { 0 }).sum();
        assert!(
            matches!(found.first(), Some(Part::Hole(_))) && matches!(found.last(), Some(Part::Hole(_))),
            "{found:?}"
        );
        assert!(sum > 3 * mib, "{found:?}");
        let end = reader.finish().expect("still open");
        assert_eq!(end, Ending { size: 4 * mib + 1, changed: None });
    }

    #[test]
    fn the_buffer_is_filled_and_an_empty_file_has_no_parts() {
        let file = tempfile::tempfile().expect("a temporary file");
        assert_eq!(parts(&mut reader(&file), 8), []);
        file.write_all_at(&[1; 20], 0).expect("room");
        assert_eq!(parts(&mut reader(&file), 8), [Part::Data(8), Part::Data(8), Part::Data(4)]);
    }

    #[test]
    fn growing_shrinking_and_rewriting_are_told() {
        let grow = |mut file: &File| file.write_all(b"more");
        let cut = |file: &File| file.set_len(3);
        let rewrite = |file: &File| file.write_all_at(b"X", 0);
        let chmod = |file: &File| {
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(std::fs::Permissions::from_mode(0o640))
        };
        for (change, size, cause) in [
            (&grow as &dyn Fn(&File) -> std::io::Result<()>, 10, Cause::Grew),
            (&cut, 3, Cause::Changed),
            (&rewrite, 10, Cause::Changed),
            (&chmod, 10, Cause::Touched),
        ] {
            let mut file = tempfile::tempfile().expect("a temporary file");
            file.write_all(b"0123456789").expect("room");
            let mut reader = reader(&file);
            // The kernel counts file times in ticks of up to 10 ms.
            std::thread::sleep(std::time::Duration::from_millis(20));
            change(&file).expect("room");
            parts(&mut reader, 100);
            let end = reader.finish().expect("still open");
            assert_eq!(end.size, size);
            assert_eq!(end.changed.map(|problem| problem.cause), Some(cause));
        }
    }

    #[test]
    fn a_file_of_the_kernel_that_says_it_is_empty_is_told() {
        let mut reader = reader(&File::open("/proc/self/status").expect("Linux"));
        let problem = reader.next(&mut [0; 10]).expect_err("it gives bytes");
        assert_eq!((problem.cause, problem.severity), (Cause::Sizeless, Severity::Problem));
    }

    #[test]
    fn a_hole_that_is_cut_off_ends_the_file() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(1 << 20).expect("room");
        let mut reader = reader(&file);
        file.set_len(4096).expect("room");
        assert_eq!(parts(&mut reader, 100), [Part::Hole(4096)]);
        let end = reader.finish().expect("still open");
        assert_eq!((end.size, end.changed.is_some()), (4096, true));
    }

    /// A device whose file system has holes, and knows of them, is read whole; its zeros are told as such.
    #[test]
    fn zeros_of_a_device_are_found_by_reading_and_one_that_ends_early_fails() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let (mib, block) = (1_u64 << 20, BLOCK_BYTES as u64);
        file.as_file().set_len(100 * mib + 300).expect("sparse");
        file.as_file().write_all_at(&[7; 10], 3 * block + 5).expect("written");
        file.as_file().write_all_at(&[0; 4096], 9 * block).expect("zeros that are no hole");
        file.as_file().write_all_at(&[8; 1], 100 * mib + 299).expect("written");
        let source = crate::tree::source::Source::device(file.path()).expect("it stands for a device");
        let found: Vec<_> =
            source.walk(crate::tree::walk::WalkOptions::default()).collect::<Result<_, _>>().expect("one");
        let [found] = &found[..] else { unreachable!("{found:?}") };
        assert_eq!((found.path.as_bytes(), found.size), (&b"device"[..], 100 * mib + 300));
        let mut reader = source.open(found).expect("open");
        let all = parts(&mut reader, 1 << 20);
        let rest = 100 * mib - 4 * block;
        let expected = [
            Part::Hole(3 * block),
            Part::Data(BLOCK_BYTES),
            Part::Hole(64 * mib),
            Part::Hole(rest - 64 * mib),
            Part::Data(300),
        ];
        assert_eq!(all, expected);
        assert_eq!(reader.finish().expect("looked at"), Ending { size: 100 * mib + 300, changed: None });
        // Pieces of any length are put together alike.
        let mut again = source.open(found).expect("open");
        let lengths = parts(&mut again, 5000).into_iter().map(|part| match part {
            Part::Data(length) => length as u64,
            Part::Hole(length) => length,
        });
        assert_eq!(lengths.sum::<u64>(), 100 * mib + 300);
        let mut short = source.open(found).expect("open");
        file.as_file().set_len(mib).expect("cut");
        let mut buffer = vec![0; 1 << 20];
        let ended = std::iter::from_fn(|| short.next(&mut buffer).transpose()).find(Result::is_err);
        assert!(ended.is_some(), "what is gone is not taken for zeros");
    }
}
