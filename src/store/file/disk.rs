//! The blocking half of the file store: every system call, in the order that makes an object durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

use crate::base::clock::Time;
use crate::base::pool::Pool;
use crate::store::file::error::translate;
use crate::store::file::publish::{Publish, Published, publish};
use crate::store::{Key, Listed, Operation, Put, StoreError};

/// Directory of temporary files, out of the way of objects: no part of a [`Key`] begins with a dot.
const TEMP_DIR: &str = ".tmp";

/// Age at which a temporary file is taken to be left over; longer than any write may last.
const TEMP_AGE_MAX: Duration = Duration::from_hours(24);

/// Reads from here on get a buffer that was used before.
const LARGE_READ_BYTES: u64 = 256 << 10;

/// Buffers of large reads that are kept: as many as there are such reads at once.
const BUFFERS_KEPT: usize = 6;

/// Bytes compared at a time.
const COMPARE_BYTES: usize = 1024 * 1024;

/// The directory.
pub(super) struct Disk {
    /// For reads of packs and large parts of them.
    buffers: Arc<Pool<Vec<u8>>>,
    root: PathBuf,
    publish: Publish,
    temp_made: AtomicU64,
    swept: AtomicBool,
}

impl Disk {
    pub(super) fn new(root: PathBuf, publish: Publish) -> Self {
        Self {
            buffers: Pool::new(BUFFERS_KEPT),
            root,
            publish,
            temp_made: AtomicU64::new(0),
            swept: AtomicBool::new(false),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn address(&self) -> String {
        self.root.display().to_string()
    }

    /// That the root is a directory.
    pub(super) fn check_root(&self) -> Result<(), StoreError> {
        let gone = |source| StoreError::Gone { store: self.address(), source };
        match fs::metadata(&self.root) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(gone("it is no directory".into())),
            Err(error) if is_absent(&error) => Err(gone(error.into())),
            Err(error) => Err(translate(self.address(), "open", "", error)),
        }
    }

    pub(super) fn create_root(&self) -> Result<(), StoreError> {
        make_dirs(&self.root, None).map_err(|error| translate(self.address(), "create", "", error))?;
        self.check_root()
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn failed(&self, operation: &'static str, key: &Key, error: io::Error) -> StoreError {
        translate(self.address(), operation, key.as_str(), error)
    }

    pub(super) fn put_new(&self, key: &Key, bytes: &[u8]) -> Result<Put, StoreError> {
        self.check_root()?;
        let fail = |error| self.failed("write", key, error);
        let dest = self.path(key);
        if fs::symlink_metadata(&dest).is_ok() {
            return self.already_there(key, bytes);
        }
        let (temp_dir, temp) = self.beside(&dest, bytes).map_err(fail)?;
        let claim = temp_dir.join(format!("{}.claim", key.as_str().replace('/', "+")));
        if publish(self.publish, &temp.0, &dest, &claim).map_err(fail)? == Published::Taken {
            return self.already_there(key, bytes);
        }
        self.published(key, &dest, bytes.len() as u64, fail).map(|()| Put::Created)
    }

    /// The same in the place of whatever is there: a rename is atomic on every file system.
    pub(super) fn put_over(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_root()?;
        let fail = |error| self.failed(Operation::PutOver.verb(), key, error);
        let dest = self.path(key);
        let (_, temp) = self.beside(&dest, bytes).map_err(fail)?;
        fs::rename(&temp.0, &dest).map_err(fail)?;
        self.published(key, &dest, bytes.len() as u64, fail)
    }

    /// Writes a temporary file for `dest`, and makes the directory that it will lie in. Returns the directory of temporary files too.
    fn beside(&self, dest: &Path, bytes: &[u8]) -> io::Result<(PathBuf, Temp)> {
        make_dirs(dest.parent().unwrap_or(&self.root), Some(&self.root))?;
        let temp_dir = self.root.join(TEMP_DIR);
        make_dirs(&temp_dir, Some(&self.root))?;
        let temp = self.write_temp(&temp_dir, bytes)?;
        self.sweep_once(&temp_dir, &temp.0);
        Ok((temp_dir, temp))
    }

    /// Makes the name of a new file durable and looks at it once more.
    fn published(
        &self,
        key: &Key,
        dest: &Path,
        expected: u64,
        fail: impl Fn(io::Error) -> StoreError,
    ) -> Result<(), StoreError> {
        sync_dir(dest.parent().unwrap_or(&self.root)).map_err(&fail)?;
        let found = fs::symlink_metadata(dest).map_err(fail)?.len();
        if found == expected {
            Ok(())
        } else {
            Err(StoreError::ShortWrite { store: self.address(), key: key.clone(), expected, found })
        }
    }

    /// Writes and syncs a new temporary file. It is removed again whatever fails.
    fn write_temp(&self, dir: &Path, bytes: &[u8]) -> io::Result<Temp> {
        let number = self.temp_made.fetch_add(1, Ordering::Relaxed);
        // Unlike a process id, a random part also tells apart two machines (or containers) on one share.
        let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let path = dir.join(format!("{random:016x}-{number}"));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let temp = Temp(path);
        file.write_all(bytes)?;
        // Once: after a failed fsync the kernel forgets the pages, and the next fsync reports success for lost bytes.
        // The error drops `temp`; a retry writes everything anew.
        file.sync_all()?;
        Ok(temp)
    }

    /// `put_new` met a file of that name.
    fn already_there(&self, key: &Key, bytes: &[u8]) -> Result<Put, StoreError> {
        let fail = |error| self.failed("compare", key, error);
        let dest = self.path(key);
        if !holds(&dest, bytes).map_err(fail)? {
            return Err(StoreError::Conflict { store: self.address(), key: key.clone() });
        }
        // Whoever wrote it may have died between giving it the name and making the name durable.
        sync_dir(dest.parent().unwrap_or(&self.root)).map_err(fail)?;
        Ok(Put::AlreadyThere)
    }

    /// Removes left-over temporary files, once in the life of this value. "Now" is the time of the file just written,
    /// so this machine's clock does not matter. What fails is left to the next sweep.
    fn sweep_once(&self, dir: &Path, newest: &Path) {
        if self.swept.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(now) = fs::symlink_metadata(newest).and_then(|found| found.modified()) else { return };
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|found| found.modified());
            if modified.is_ok_and(|then| now.duration_since(then).is_ok_and(|age| age > TEMP_AGE_MAX)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub(super) fn read(&self, key: &Key, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        let fail = |error: io::Error| {
            if !is_absent(&error) {
                return self.failed("read", key, error);
            }
            match self.check_root() {
                Ok(()) => StoreError::NotFound { store: self.address(), key: key.clone() },
                Err(gone) => gone,
            }
        };
        let mut file = File::open(self.path(key)).map_err(fail)?;
        let found = file.metadata().map_err(fail)?;
        if !found.is_file() {
            return Err(StoreError::NotFound { store: self.address(), key: key.clone() });
        }
        let range = range.unwrap_or(0..found.len());
        let start = range.start.min(found.len());
        let len = range.end.min(found.len()).saturating_sub(start);
        if start > 0 {
            file.seek(SeekFrom::Start(start)).map_err(fail)?;
        }
        let capacity = usize::try_from(len).unwrap_or(0);
        let (read, bytes) = if len >= LARGE_READ_BYTES {
            let mut buffer = self.buffers.buffer(capacity);
            (file.take(len).read_to_end(&mut buffer), Bytes::from_owner(buffer))
        } else {
            let mut buffer = Vec::with_capacity(capacity);
            (file.take(len).read_to_end(&mut buffer), buffer.into())
        };
        read.map_err(fail)?;
        if bytes.len() as u64 == len {
            Ok(bytes)
        } else {
            // Objects never change: somebody else cut it while it was read.
            Err(fail(io::ErrorKind::UnexpectedEof.into()))
        }
    }

    pub(super) fn stat(&self, key: &Key) -> Result<Option<Listed>, StoreError> {
        match fs::symlink_metadata(self.path(key)) {
            Ok(found) if found.is_file() => {
                listed(key.clone(), &found).map(Some).map_err(|error| self.failed("look up", key, error))
            }
            Ok(_) => Ok(None),
            Err(error) if is_absent(&error) => self.check_root().map(|()| None),
            Err(error) => Err(self.failed("look up", key, error)),
        }
    }

    pub(super) fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let fail = |error| self.failed("delete", key, error);
        let path = self.path(key);
        if self.stat(key)?.is_none() {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Ok(()) => sync_dir(path.parent().unwrap_or(&self.root)).map_err(fail),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(fail(error)),
        }
    }

    /// Whether no part of the path below the root is a link: links are foreign and not followed out of the store.
    fn is_plain_dir(&self, dir: &str) -> bool {
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        let mut parts = ends.filter_map(|end| dir.get(..end));
        // What cannot be looked at is left to the reading, which tells why.
        parts.all(|part| fs::symlink_metadata(self.root.join(part)).map_or(true, |found| found.is_dir()))
    }

    /// Lists, and calls `answered` for each entry that was read.
    pub(super) fn list(&self, prefix: &str, answered: impl Fn()) -> Result<Vec<Listed>, StoreError> {
        self.check_root()?;
        let fail = |error| translate(self.address(), "list", prefix, error);
        let mut found = Vec::new();
        // The longest directory within the prefix; what is no plain name can name no object (and must not climb out).
        let (dir, _) = prefix.rsplit_once('/').unwrap_or(("", prefix));
        let is_ours = dir.is_empty() || (Key::new(dir).is_ok() && self.is_plain_dir(dir));
        if !is_ours {
            return Ok(found);
        }
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            let entries = match fs::read_dir(self.root.join(&dir)) {
                Ok(entries) => entries,
                // It was never there, or is no directory; that the root is there was seen above.
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(fail(error)),
            };
            for entry in entries {
                let entry = entry.map_err(fail)?;
                answered();
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
                let name = if dir.is_empty() { name } else { format!("{dir}/{name}") };
                let Ok(key) = Key::new(name.as_str()) else { continue };
                let kind = entry.file_type().map_err(fail)?;
                if kind.is_dir() {
                    dirs.push(name);
                } else if kind.is_file() && name.starts_with(prefix) {
                    match entry.metadata().and_then(|meta| listed(key, &meta)) {
                        Ok(object) => found.push(object),
                        // Deleted since the directory was read.
                        Err(error) if is_absent(&error) => {}
                        Err(error) => return Err(fail(error)),
                    }
                }
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

/// A temporary file that is removed when it has not been given its name; a name that is gone is no error.
struct Temp(PathBuf);

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn listed(key: Key, found: &fs::Metadata) -> io::Result<Listed> {
    Ok(Listed { key, size: found.len(), modified: Time::from_system(found.modified()?) })
}

/// A part of the path is not there, or is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether the file holds exactly these bytes.
fn holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() != bytes.len() as u64 {
        return Ok(false);
    }
    let mut file = File::open(path)?;
    let mut buffer = vec![0; COMPARE_BYTES.min(bytes.len())];
    for expected in bytes.chunks(COMPARE_BYTES) {
        let Some(part) = buffer.get_mut(..expected.len()) else { return Ok(false) };
        file.read_exact(part)?;
        if part != expected {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a directory and what is missing above it, each name durable in its parent; never `floor` itself or what is above,
/// so that a share unmounted in the middle does not come back as an empty directory.
fn make_dirs(dir: &Path, floor: Option<&Path>) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if floor == Some(dir) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dirs(parent, floor)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => sync_dir(parent.unwrap_or(Path::new("."))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the names in a directory durable. Some file systems refuse this with EINVAL; they have no more to offer.
fn sync_dir(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::OPNOTSUPP)) => Ok(()),
        other => other,
    }
}
