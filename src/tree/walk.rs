//! Finds every entry of a source in tree order, with its metadata.
//!
//! Memory is bounded by the names of the directories from the root down to where the walk is, and by hard-linked files
//! whose other names are yet to come. An entry costs one `statx` and one `llistxattr`.

use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, readlinkat};
use rustix::io::Errno;

use super::exclude::Excludes;
use super::found::{self, Found, FoundKind, Signs};
use super::inode::Inode;
pub use super::inode::InodeKey;
use super::listing::Names;
use super::live::beside::{Beside, ENDINGS};
use super::live::postgres::{self, Postgres, PostgresTrouble};
use super::problem::{Cause, Problem};
use super::source::{Source, open_reading};
use super::xattrs;
use crate::format::entry::TreePath;
use crate::format::live::How;

/// How many directories are held open at once; those above are opened anew when the walk comes back to them.
const OPEN_MAX: usize = 64;

/// What to find.
#[derive(Debug, Clone, Default)]
pub struct WalkOptions {
    /// What to leave out.
    pub exclude: Excludes,
    /// Keep mount points below the source as empty directories.
    pub one_file_system: bool,
    /// A directory that is skipped wherever it is met: the repository itself. See [`directory_key`].
    pub repository: Option<InodeKey>,
    /// The source is in use: look for signs of databases, and do this with data of PostgreSQL.
    pub live: Option<Postgres>,
}

/// What tells a directory from all others on this machine; `None` if it is not there. Waits as long as its file system does, for ever on a mount whose
/// server is away: a walk must not ask for it.
#[must_use]
pub fn directory_key(path: &Path) -> Option<InodeKey> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(rustix::fs::CWD, path, flags, rustix::fs::Mode::empty()).ok()?;
    Inode::of(&directory).ok().map(|inode| inode.key())
}

/// Iterates over a source, see [`Source::walk`]. A problem with one entry is an item, and the walk goes on.
pub struct Walk {
    source: Source,
    options: WalkOptions,
    roots_seen: usize,
    /// The directories from the root down to here.
    stack: Vec<Frame>,
    /// What was found and not yet handed out: an entry, then problems with parts of it.
    ready: VecDeque<Result<Found, Problem>>,
    /// A directory that was handed out and is to be entered next.
    enter: Option<Enter>,
    /// Files with several names: the first one, and how many are still to come.
    links: HashMap<InodeKey, (TreePath, u32)>,
    xattrs: xattrs::Reader,
}

struct Frame {
    path: TreePath,
    key: InodeKey,
    /// `None` if it was closed because too many were open.
    fd: Option<OwnedFd>,
    names: Names,
    /// What is on another device is on another file system.
    device: (u32, u32),
    /// It holds data of PostgreSQL, whose server was stopped.
    stopped: bool,
}

struct Enter {
    path: TreePath,
    inode: Inode,
    device: (u32, u32),
    stopped: bool,
}

impl Walk {
    pub(super) fn new(source: Source, options: WalkOptions) -> Self {
        Self {
            source,
            options,
            roots_seen: 0,
            stack: Vec::new(),
            ready: VecDeque::new(),
            enter: None,
            links: HashMap::new(),
            xattrs: xattrs::Reader::new(),
        }
    }

    /// Takes one step; `false` at the end.
    fn step(&mut self) -> bool {
        if let Some(enter) = self.enter.take() {
            match self.open_directory(&enter) {
                Ok(frame) => self.push(frame),
                Err(problem) => self.ready.push_back(Err(problem)),
            }
            return true;
        }
        let Some(mut frame) = self.stack.pop() else {
            let source = self.source.clone();
            let Some(root) = source.roots.get(self.roots_seen) else { return false };
            self.roots_seen += 1;
            if let Some(device) = &root.device {
                let operation = "looking at";
                let looking = |errno| Problem::looking(root.path.clone(), operation, errno);
                let node = Inode::of(&device.fd).map_err(looking);
                self.ready.push_back(node.map(|node| Found::of_device(root.path.clone(), &node, device.length())));
                return true;
            }
            self.visit(root.directory.as_fd(), (&root.name, [true; 3]), root.path.clone(), None);
            return true;
        };
        if let Err(problem) = self.reopen(&mut frame) {
            self.ready.push_back(Err(problem));
            return true;
        }
        // The name is taken out of the frame before anything is done with it, so whatever fails, the walk goes on.
        let Frame { path, fd, names, device, stopped, .. } = &mut frame;
        let next = match self.options.live {
            Some(_) => names.next_with(ENDINGS),
            None => names.next().map(|name| (name, [false; 3])),
        };
        let Some(fd) = fd.as_ref() else { return true };
        let Some((name, beside)) = next else {
            if *stopped && postgres::look(fd, b".").is_none_or(|data| data.in_use.is_some()) {
                let cause = Cause::Postgres(PostgresTrouble::Started);
                self.ready.push_back(Err(Problem::new(path.clone(), "backing up", cause)));
            }
            return true;
        };
        match path.join(name.to_bytes()) {
            Ok(path) => self.visit(fd.as_fd(), (name, beside), path, Some(*device)),
            Err(_) => self.ready.push_back(Err(Problem::new(path.clone(), "listing", Cause::PathTooLong))),
        }
        self.stack.push(frame);
        true
    }

    fn push(&mut self, frame: Frame) {
        self.stack.push(frame);
        if let Some(far) = self.stack.len().checked_sub(OPEN_MAX + 1).and_then(|at| self.stack.get_mut(at)) {
            far.fd = None;
        }
    }

    fn open_directory(&self, enter: &Enter) -> Result<Frame, Problem> {
        let operation = "reading the directory";
        let looking = |errno| match errno {
            Errno::LOOP | Errno::NOTDIR => Problem::new(enter.path.clone(), operation, Cause::Replaced),
            errno => Problem::looking(enter.path.clone(), operation, errno),
        };
        let fd = self.open_again(&enter.path, enter.inode.key(), operation)?;
        let mut names = Names::list(&fd).map_err(looking)?;
        if self.options.exclude.caches && names.contains(found::CACHE_TAG) && found::has_cache_tag(fd.as_fd()) {
            names = Names::only(found::CACHE_TAG);
        }
        let Enter { path, inode, device, stopped } = enter;
        let (path, key, device, stopped) = (path.clone(), inode.key(), *device, *stopped);
        Ok(Frame { path, key, fd: Some(fd), names, device, stopped })
    }

    fn reopen(&self, frame: &mut Frame) -> Result<(), Problem> {
        if frame.fd.is_none() {
            frame.fd = Some(self.open_again(&frame.path, frame.key, "going back to the directory")?);
        }
        Ok(())
    }

    /// Opens a directory of the tree and makes sure that it is the one that was seen.
    fn open_again(&self, path: &TreePath, key: InodeKey, operation: &'static str) -> Result<OwnedFd, Problem> {
        let fail = |cause| Problem::new(path.clone(), operation, cause);
        let looking = |errno| match errno {
            Errno::LOOP | Errno::NOTDIR => fail(Cause::Replaced),
            errno => Problem::looking(path.clone(), operation, errno),
        };
        let above = self.stack.last().and_then(|frame| Some((frame.fd.as_ref()?, &frame.path)));
        let fd = match above {
            Some((fd, above)) if path.parent().as_ref() == Some(above) => {
                open_reading(fd.as_fd(), path.name(), OFlags::DIRECTORY)
            }
            _ => {
                let (root, rest) = self.source.locate(path).ok_or_else(|| fail(Cause::Vanished))?;
                open_reading(root.directory.as_fd(), rest, OFlags::DIRECTORY)
            }
        };
        let fd = fd.map_err(looking)?;
        if Inode::of(&fd).map_err(looking)?.key() == key { Ok(fd) } else { Err(fail(Cause::Replaced)) }
    }

    /// Looks at one entry, with what may stand beside it; `device` is that of the root, `None` if this is the root.
    fn visit(
        &mut self,
        directory: BorrowedFd<'_>,
        (name, beside): (&CStr, [bool; 3]),
        path: TreePath,
        device: Option<(u32, u32)>,
    ) {
        let is_root = device.is_none();
        // Most patterns need no look at the entry.
        if !is_root && self.options.exclude.excludes(&path, false) && self.options.exclude.excludes(&path, true) {
            return;
        }
        let inode = match Inode::at(directory, name) {
            Ok(inode) => inode,
            Err(errno) => return self.ready.push_back(Err(Problem::looking(path, "looking at", errno))),
        };
        let is_directory = inode.file_type == FileType::Directory;
        if !is_root && self.options.exclude.excludes(&path, is_directory) {
            return;
        }
        if !is_root && is_directory && self.options.repository == Some(inode.key()) {
            return self.ready.push_back(Err(Problem::new(path, "skipping", Cause::Repository)));
        }
        let device = device.unwrap_or(inode.device);
        let elsewhere = self.options.one_file_system && inode.device != device;
        if elsewhere && !is_directory {
            return self.ready.push_back(Err(Problem::new(path, "backing up", Cause::OtherFileSystem)));
        }
        let kind = match self.kind(directory, name, &path, &inode) {
            Ok(kind) => kind,
            Err(problem) => return self.ready.push_back(Err(problem)),
        };
        let (xattrs, unread) = match self.xattrs.read_at(directory, name.to_bytes()) {
            Ok(xattrs) => (xattrs, None),
            Err(Errno::NOENT) => {
                return self.ready.push_back(Err(Problem::new(path, "looking at", Cause::Vanished)));
            }
            Err(errno) => {
                (Vec::new(), Some(Problem::looking(path.clone(), "reading the extended attributes of", errno)))
            }
        };
        let mut found = Found::new(path, kind, &inode, xattrs);
        let mut problems: Vec<Problem> = unread.into_iter().collect();
        let mut enter = is_directory && !elsewhere;
        let mut stopped = false;
        if let Some(policy) = &self.options.live {
            if enter && let Some(data) = postgres::look(directory, name.to_bytes()) {
                let (live, trouble) = policy.decide(data);
                stopped = live.how == How::POSTGRES_STOPPED;
                enter = live.how != How::POSTGRES_LEFT_OUT;
                problems.extend(
                    trouble.map(|trouble| Problem::new(found.path.clone(), "backing up", Cause::Postgres(trouble))),
                );
                found.signs = Some(Box::new(Signs::Postgres(live)));
            } else if beside.contains(&true) && matches!(found.kind, FoundKind::File | FoundKind::HardLink { .. }) {
                let beside = Beside::look(directory, name.to_bytes(), beside);
                found.signs = beside.map(|beside| Box::new(Signs::Beside(beside)));
            }
        }
        if enter {
            self.enter = Some(Enter { path: found.path.clone(), inode, device, stopped });
        }
        self.ready.push_back(Ok(found));
        self.ready.extend(problems.into_iter().map(Err));
    }

    fn kind(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &CStr,
        path: &TreePath,
        inode: &Inode,
    ) -> Result<FoundKind, Problem> {
        let (major, minor) = inode.stands_for;
        match inode.file_type {
            FileType::Directory => Ok(FoundKind::Directory),
            FileType::RegularFile if inode.links > 1 => Ok(self.link(path, inode)),
            FileType::RegularFile => Ok(FoundKind::File),
            FileType::Symlink => readlinkat(directory, name, Vec::new())
                .map(|target| FoundKind::Symlink { target: target.into_bytes() })
                .map_err(|errno| match errno {
                    Errno::INVAL => Problem::new(path.clone(), "reading the link", Cause::Replaced),
                    errno => Problem::looking(path.clone(), "reading the link", errno),
                }),
            FileType::CharacterDevice => Ok(FoundKind::CharDevice { major, minor }),
            FileType::BlockDevice => Ok(FoundKind::BlockDevice { major, minor }),
            FileType::Fifo => Ok(FoundKind::Fifo),
            FileType::Socket => Err(Problem::new(path.clone(), "skipping", Cause::Socket)),
            FileType::Unknown => Err(Problem::new(path.clone(), "skipping", Cause::UnknownKind)),
        }
    }

    /// A file with several names: its content the first time, then links, until all names were seen.
    fn link(&mut self, path: &TreePath, inode: &Inode) -> FoundKind {
        let Some((first, left)) = self.links.get_mut(&inode.key()) else {
            self.links.insert(inode.key(), (path.clone(), inode.links - 1));
            return FoundKind::File;
        };
        let target = first.clone();
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.links.remove(&inode.key());
        }
        FoundKind::HardLink { target }
    }
}

impl Iterator for Walk {
    type Item = Result<Found, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if !self.step() {
                return None;
            }
        }
    }
}
