//! A place on a disk for copies of databases: checked for room, empty after every run, swept after a kill.
//!
//! A run has a directory of its own, held by a lock on it: a directory without one belongs to a run that was killed, and the next run removes it.
//! A copy loses its name as soon as it is whole and opened, so what a kill leaves behind is what was being copied at that moment.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, openat, statvfs};

use super::super::inode::Inode;
use super::trouble::Trouble;

/// What the directories of runs begin with.
const PREFIX: &str = "homelab-dr-live-";
/// Room that stays free: a twentieth of the disk, but no more than this. A node whose disk runs full evicts pods.
const SPARED_BYTES_MAX: u64 = 256 << 20;
/// Times that a sweeper of another run may get in between.
const TRIES_MAX: usize = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct Scratch {
    dir: PathBuf,
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    own: Option<Own>,
    /// Bytes that were promised and are not all written.
    promised: u64,
    /// Rooms in use.
    rooms: usize,
    /// Numbers rooms.
    next: u64,
}

/// The directory of this run; removed with the value.
#[derive(Debug)]
struct Own {
    path: PathBuf,
    lock: OwnedFd,
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Where copies go if nothing is said: `TMPDIR`, else where large temporary files belong by convention (`/tmp` often is memory), else the system's choice.
pub(crate) fn usual() -> PathBuf {
    let given = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    given.unwrap_or_else(|| {
        let large = Path::new("/var/tmp");
        if large.is_dir() { large.to_owned() } else { std::env::temp_dir() }
    })
}

impl Scratch {
    /// In `dir`, which is swept; nothing is made there before it is needed.
    pub fn new(dir: PathBuf) -> Arc<Self> {
        sweep(&dir);
        Arc::new(Self { dir, state: Mutex::default(), left: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn failed(&self, why: impl std::fmt::Display) -> Trouble {
        Trouble::Scratch { dir: self.dir.clone(), why: why.to_string() }
    }

    /// Room for so many bytes. Waits for others to leave if that would help.
    pub fn room(self: &Arc<Self>, bytes: u64) -> Result<Room, Trouble> {
        let mut state = self.lock();
        if state.own.is_none() {
            state.own = Some(own(&self.dir).map_err(|error| self.failed(error))?);
        }
        loop {
            match self.lacks(state.promised.saturating_add(bytes))? {
                None => break,
                Some(full) if state.rooms == 0 => return Err(full),
                Some(_) => state = self.left.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let number = state.next;
        let path = state.own.as_ref().map_or_else(|| self.dir.clone(), |own| own.path.join(number.to_string()));
        fs::create_dir(&path).map_err(|error| self.failed(error))?;
        state.next += 1;
        state.rooms += 1;
        state.promised += bytes;
        drop(state);
        Ok(Room { scratch: self.clone(), path, bytes })
    }

    /// Why so many bytes, promised and wanted, are too many.
    fn lacks(&self, bytes: u64) -> Result<Option<Trouble>, Trouble> {
        let disk = statvfs(&self.dir).map_err(|errno| self.failed(errno))?;
        let spared = (disk.f_blocks.saturating_mul(disk.f_frsize) / 20).min(SPARED_BYTES_MAX);
        let (needed, free) = (bytes.saturating_add(spared), disk.f_bavail.saturating_mul(disk.f_frsize));
        Ok((needed > free).then(|| Trouble::Full { dir: self.dir.clone(), needed, free }))
    }
}

/// A directory for one copy; removed with the value, whose bytes are then free.
#[derive(Debug)]
pub(super) struct Room {
    scratch: Arc<Scratch>,
    path: PathBuf,
    /// What of it is promised and not all written.
    bytes: u64,
}

impl Room {
    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Room for so many bytes in all; does not wait, for whoever asks holds a lock on a database.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Trouble> {
        let more = bytes.saturating_sub(self.bytes);
        let mut state = self.scratch.lock();
        if let Some(full) = self.scratch.lacks(state.promised.saturating_add(more))? {
            return Err(full);
        }
        state.promised += more;
        self.bytes += more;
        Ok(())
    }

    /// Opens the finished copy and takes every name in the room away. The room counts as used until it is dropped.
    pub fn take(&mut self, name: &str) -> Result<OwnedFd, Trouble> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, self.file(name), flags, Mode::empty()).map_err(|errno| self.scratch.failed(errno))?;
        fs::remove_dir_all(&self.path).map_err(|error| self.scratch.failed(error))?;
        let mut state = self.scratch.lock();
        state.promised = state.promised.saturating_sub(self.bytes);
        self.bytes = 0;
        Ok(fd)
    }

    pub fn failed(&self, why: impl std::fmt::Display) -> Trouble {
        self.scratch.failed(why)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        let mut state = self.scratch.lock();
        state.promised = state.promised.saturating_sub(self.bytes);
        state.rooms = state.rooms.saturating_sub(1);
        drop(state);
        self.scratch.left.notify_all();
    }
}

fn open_dir(path: &Path) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes the directory of this run: the lock first, then a look whether it is still there.
fn own(dir: &Path) -> std::io::Result<Own> {
    for _ in 0..TRIES_MAX {
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(dir)?.keep();
        let lock = open_dir(&path)?;
        let held = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        let own = Own { path, lock };
        match held {
            Ok(()) if open_dir(&own.path).and_then(Inode::of)?.key() == Inode::of(&own.lock)?.key() => return Ok(own),
            // No such locks there: then nobody sweeps there either.
            Err(rustix::io::Errno::NOLCK | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => return Ok(own),
            _ => {}
        }
    }
    Err(std::io::Error::other("its directories are taken away"))
}

/// Removes what killed runs of the same user left.
fn sweep(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        let path = entry.path();
        let Ok(fd) = open_dir(&path) else { continue };
        let mine = Inode::of(&fd).is_ok_and(|inode| inode.uid == rustix::process::geteuid().as_raw());
        if mine && flock(&fd, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> usize {
        fs::read_dir(dir).expect("readable").count()
    }

    #[test]
    fn a_killed_run_is_swept_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("homelab-dr-live-dead/3")).expect("fresh");
        fs::create_dir_all(dir.path().join("homelab-dr-other")).expect("fresh");
        let living = Scratch::new(dir.path().to_owned());
        assert_eq!(names(dir.path()), 1, "swept at the beginning, and nothing made");
        let mut room = living.room(10).expect("there is room");
        fs::write(room.file("db"), b"copy").expect("room");
        assert_eq!(names(dir.path()), 2);
        let other = Scratch::new(dir.path().to_owned());
        assert!(room.file("db").is_file(), "a living run was swept");
        let fd = room.take("db").expect("just written");
        assert!(!room.file("db").exists());
        let mut bytes = [0; 4];
        rustix::io::pread(&fd, &mut bytes, 0).expect("open");
        assert_eq!(&bytes, b"copy");
        drop((room, living, other));
        assert_eq!(names(dir.path()), 1, "only what is not ours");
    }

    #[test]
    fn too_much_is_refused_when_nobody_would_leave() {
        let dir = tempfile::tempdir().expect("a folder");
        let scratch = Scratch::new(dir.path().to_owned());
        assert!(matches!(scratch.room(u64::MAX / 2), Err(Trouble::Full { .. })));
        let mut room = scratch.room(10).expect("there is room");
        assert!(matches!(room.grow(u64::MAX / 2), Err(Trouble::Full { .. })));
        room.grow(100).expect("there is room");
        drop(room);
        let state = scratch.lock();
        assert_eq!((state.promised, state.rooms), (0, 0));
    }
}
