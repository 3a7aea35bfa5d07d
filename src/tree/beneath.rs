//! Opening something below a directory without ever leaving it: no symbolic link is followed, at no place of the path.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::{Errno, Result, retry_on_intr};

use super::inode::Inode;
use crate::format::entry::TreePath;

/// Longest path handed to the kernel in one call: it takes 4095 bytes.
const ONE_CALL_BYTES_MAX: usize = 4000;

const STEP: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `path` below `root`. A symbolic link on the way is `ELOOP` or `ENOTDIR`; as the last name it can be opened with `O_PATH`.
pub(crate) fn open(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let root = root.as_fd();
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if path.is_empty() {
        return openat(root, c".", flags, Mode::empty());
    }
    if path.len() <= ONE_CALL_BYTES_MAX {
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match retry_on_intr(|| openat2(root, path, flags, Mode::empty(), beneath)) {
            // Before Linux 5.6, or a seccomp filter that does not know the call.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {}
            done => return done,
        }
    }
    step_by_step(root, path, flags)
}

fn step_by_step(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut held: Option<OwnedFd> = None;
    let mut names = path.split(|b| *b == b'/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = names.next() {
        let at = held.as_ref().map_or(root, AsFd::as_fd);
        let flags = if names.peek().is_some() { STEP } else { flags };
        held = Some(retry_on_intr(|| openat(at, name, flags, Mode::empty()))?);
    }
    held.ok_or(Errno::NOENT)
}

/// The directory that an entry is in: the root itself, or one opened for this.
pub(crate) enum Parent<'a> {
    Root(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => *fd,
            Self::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Parent<'_> {
    pub(crate) fn look(&self, name: &[u8]) -> Result<Inode> {
        Inode::at(self, name)
    }
}

/// Opens the directory that holds `path`. The root is its own parent under the name `.`; see [`name`].
pub(crate) fn parent<'a>(root: BorrowedFd<'a>, path: &TreePath) -> Result<Parent<'a>> {
    match path.parent() {
        Some(parent) if !parent.as_bytes().is_empty() => open(root, parent.as_bytes(), STEP).map(Parent::Opened),
        _ => Ok(Parent::Root(root)),
    }
}

/// The name of `path` within what [`parent`] opens.
pub(crate) fn name(path: &TreePath) -> &[u8] {
    if path.as_bytes().is_empty() { b"." } else { path.name() }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, fstat, mkdirat, symlinkat};

    use super::*;

    #[test]
    fn links_are_not_followed_with_either_way_of_opening() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("just made");
        std::fs::create_dir_all(dir.path().join("a/b")).expect("fresh");
        symlinkat("a", &root, "link").expect("fresh");
        for way in [|r, p: &[u8], f| open(r, p, f), step_by_step] {
            assert!(way(root.as_fd(), b"a/b", STEP).is_ok());
            assert!(way(root.as_fd(), b"link/b", STEP).is_err());
            assert!(way(root.as_fd(), b"link", OFlags::RDONLY | OFlags::NOFOLLOW).is_err());
            assert!(way(root.as_fd(), b"link", OFlags::PATH | OFlags::NOFOLLOW).is_ok(), "the link itself");
        }
    }

    #[test]
    fn paths_longer_than_one_call_takes_are_opened() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = openat(CWD, dir.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("just made");
        let name = vec![b'n'; 250];
        let mut path = TreePath::root();
        for _ in 0..20 {
            path = path.join(&name).expect("short enough");
            let parent = parent(root.as_fd(), &path).expect("made in the step before");
            mkdirat(&parent, name.as_slice(), Mode::RWXU).expect("fresh");
        }
        assert!(path.as_bytes().len() > ONE_CALL_BYTES_MAX);
        let fd = open(&root, path.as_bytes(), STEP).expect("made above");
        assert!(fstat(&fd).is_ok());
    }
}
