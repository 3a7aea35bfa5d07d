//! Owner, extended attributes, mode and time, in the only order that works.
//!
//! chown clears set-id bits and capabilities, so it is first; attributes may need the write permission that the final mode
//! takes away, and ACLs rewrite the mode, so the mode comes after them; everything changes times, so they are last.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chownat, removexattr,
    setxattr, utimensat,
};
use rustix::io::{Errno, Result};

use super::Target;
use crate::format::entry::{Entry, Kind, TreePath};
use crate::tree::inode::Inode;
use crate::tree::problem::{Cause, Problem};
use crate::tree::xattrs::{self, proc_path};

/// The operation of which everybody but root has a problem.
pub const SETTING_THE_OWNER: &str = "setting the owner of";
const METADATA: &str = "setting the metadata of";
const READING_ATTRIBUTES: &str = "reading the extended attributes of";
const REMOVING_AN_ATTRIBUTE: &str = "removing an extended attribute of";
const SETTING_AN_ATTRIBUTE: &str = "setting an extended attribute of";
const PERMISSIONS: &str = "setting the permissions of";
const TIME: &str = "setting the time of";

/// Whether an operation that failed left an entry with its content, and without some of its metadata.
#[must_use]
pub fn is_about_metadata(operation: &str) -> bool {
    [SETTING_THE_OWNER, METADATA, READING_ATTRIBUTES, REMOVING_AN_ATTRIBUTE, SETTING_AN_ATTRIBUTE, PERMISSIONS, TIME]
        .contains(&operation)
}

impl Target {
    /// Gives an entry on the disk the metadata it shall have. Hard links are passed over: they have their file's.
    ///
    /// Do not use it for a directory before everything in it is done: see [`Directories`].
    #[must_use]
    pub fn apply_metadata(&self, entry: &Entry) -> Vec<Problem> {
        if matches!(entry.kind, Kind::HardLink { .. }) {
            return Vec::new();
        }
        match self.open(&entry.path, OFlags::PATH) {
            Ok(fd) => apply(fd, entry, self.options().owner),
            Err(errno) => vec![Problem::new(entry.path.clone(), METADATA, Cause::System(errno))],
        }
    }
}

/// Directories whose metadata waits until everything in them is done.
#[derive(Debug, Default)]
pub struct Directories(Vec<Entry>);

impl Directories {
    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Remembers a directory.
    pub fn add(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    /// Gives each its metadata, the deepest first.
    #[must_use]
    pub fn finish(mut self, target: &Target) -> Vec<Problem> {
        self.0.sort_unstable_by(|a, b| b.path.cmp(&a.path));
        self.0.iter().flat_map(|entry| target.apply_metadata(entry)).collect()
    }
}

/// What the disk has for a kind of entry.
pub(super) const fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File { .. } | Kind::HardLink { .. } => FileType::RegularFile,
        Kind::Symlink { .. } => FileType::Symlink,
        Kind::CharDevice { .. } => FileType::CharacterDevice,
        Kind::BlockDevice { .. } => FileType::BlockDevice,
        Kind::Fifo => FileType::Fifo,
    }
}

/// Works on any open file, also one opened with `O_PATH`.
pub(super) fn apply(fd: impl AsFd, entry: &Entry, owner: bool) -> Vec<Problem> {
    let mut apply = Apply { fd: fd.as_fd(), entry, problems: Vec::new() };
    match Inode::of(apply.fd) {
        Ok(now) if now.file_type == file_type(&entry.kind) => {
            if owner {
                apply.owner(&now);
            }
            apply.attributes();
            if now.file_type != FileType::Symlink {
                apply.mode();
            }
            apply.mtime();
        }
        Ok(_) => apply.problem(METADATA, Cause::OtherKind),
        Err(errno) => apply.problem(METADATA, Cause::System(errno)),
    }
    apply.problems
}

/// Changes the mode of any open file but a symbolic link, also if it was opened with `O_PATH`.
pub(super) fn chmod(fd: BorrowedFd<'_>, mode: u32) -> Result<()> {
    rustix::fs::chmod(proc_path(fd), Mode::from_raw_mode(mode & 0o7777))
}

struct Apply<'a> {
    fd: BorrowedFd<'a>,
    entry: &'a Entry,
    problems: Vec<Problem>,
}

impl Apply<'_> {
    fn problem(&mut self, operation: &'static str, cause: Cause) {
        self.problems.push(Problem::new(self.entry.path.clone(), operation, cause));
    }

    fn owner(&mut self, now: &Inode) {
        let (uid, gid) = (self.entry.uid, self.entry.gid);
        if (now.uid, now.gid) == (uid, gid) {
            return;
        }
        let uid = Some(Uid::from_raw_unchecked(uid));
        let gid = Some(Gid::from_raw_unchecked(gid));
        let chown = |uid, gid| chownat(self.fd, c"", uid, gid, AtFlags::EMPTY_PATH);
        if let Err(errno) = chown(uid, gid) {
            // Who may not give it away may still give it to a group of their own.
            let _ = chown(None, gid);
            self.problem(SETTING_THE_OWNER, Cause::System(errno));
        }
    }

    fn attributes(&mut self) {
        let there = match xattrs::of(self.fd) {
            Ok(there) => there,
            Err(errno) if self.entry.xattrs.is_empty() => {
                return self.problem(READING_ATTRIBUTES, Cause::System(errno));
            }
            Err(_) => Vec::new(),
        };
        for extra in there.iter().filter(|x| !self.entry.xattrs.iter().any(|wanted| wanted.name == x.name)) {
            let result = removexattr(proc_path(self.fd), extra.name.as_slice());
            self.attribute(REMOVING_AN_ATTRIBUTE, &extra.name, result);
        }
        for wanted in self.entry.xattrs.iter().filter(|wanted| !there.contains(wanted)) {
            let set = || setxattr(proc_path(self.fd), wanted.name.as_slice(), &wanted.value, XattrFlags::empty());
            let result = match set() {
                // Attributes of a read-only file can be set by nobody but root.
                Err(Errno::ACCESS) => chmod(self.fd, 0o600).and_then(|()| set()),
                done => done,
            };
            self.attribute(SETTING_AN_ATTRIBUTE, &wanted.name, result);
        }
    }

    fn attribute(&mut self, operation: &'static str, name: &[u8], result: Result<()>) {
        if let Err(cause) = result {
            let name = crate::format::entry::escape(name);
            self.problem(operation, Cause::Attribute { name, cause });
        }
    }

    fn mode(&mut self) {
        let operation = PERMISSIONS;
        let mut mode = self.entry.mode & 0o7777;
        let Ok(now) = Inode::of(self.fd) else { return self.problem(operation, Cause::Vanished) };
        let lends = mode & 0o6000 != 0 && now.file_type == FileType::RegularFile;
        if lends && (now.uid, now.gid) != (self.entry.uid, self.entry.gid) {
            mode &= 0o1777;
            self.problem(operation, Cause::SetIdDropped);
        }
        if now.mode == mode {
            return;
        }
        match chmod(self.fd, mode) {
            Err(errno) => self.problem(operation, Cause::System(errno)),
            // The kernel drops set-gid without a word if the group is none of ours.
            Ok(()) if Inode::of(self.fd).is_ok_and(|now| now.mode != mode) => {
                self.problem(operation, Cause::ModeNotKept);
            }
            Ok(()) => {}
        }
    }

    fn mtime(&mut self) {
        let time = self.entry.mtime;
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        // More nanoseconds than a second has mean "now" and "leave it" to the kernel.
        let last_modification = Timespec { tv_sec: time.seconds, tv_nsec: time.nanos.min(999_999_999).into() };
        let times = Timestamps { last_access, last_modification };
        match utimensat(CWD, proc_path(self.fd), &times, AtFlags::empty()) {
            // The directory that all is put into was there before, and may be another's, as that of a volume on a node's disk is its provisioner's: only its owner may set its time.
            Err(Errno::PERM) if self.entry.path == TreePath::root() => {}
            Err(errno) => self.problem(TIME, Cause::System(errno)),
            Ok(()) => {}
        }
    }
}
