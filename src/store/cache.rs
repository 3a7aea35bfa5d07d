//! A directory of copies of immutable bytes, near at hand: what came over a slow line once is read from here the next time.
//!
//! Nothing depends on it: it may be deleted at any time, be full, read-only, or shared by processes and people who do not trust one another. Each copy begins with a
//! hash over its name and its bytes, under a key that only who holds the repository's keys can derive, so that what rots in here, or is planted, is not
//! there. Copies are as sealed as what the store holds.
//!
//! Its size is bounded without any book-keeping that processes would have to share: 16 folders by the first digit of a copy's name, each with a 16th of
//! the limit; who adds to one removes what was not used for longest. A process looks into a folder before it adds the first copy, and again whenever it has added a 16th
//! of what the folder may have; it leaves room for three others that do the same at once.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

/// Folders that the limit is shared out to.
const FOLDERS: usize = 16;
/// A process adds no more than this part of a folder's limit unless it looks what others added.
const UNSEEN_PART: u64 = 16;
/// Processes that may add at once without passing the limit.
const AT_ONCE: u64 = 4;
/// Bytes of the hash that a copy begins with.
const HASH_BYTES: usize = 32;
/// See the module.
#[derive(Debug)]
pub struct Cache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    key: [u8; 32],
    /// Bytes that one folder may have.
    folder_bytes_max: u64,
    /// Adding failed once (full, read-only, not ours): this process adds nothing any more.
    closed: AtomicBool,
    /// Numbers unfinished files of this process.
    next: AtomicU64,
    /// What this process has added to each folder since it looked into it; `None` before the first time.
    unseen: [Mutex<Option<u64>>; FOLDERS],
    /// How often it looked.
    looks: AtomicU64,
}

impl Cache {
    /// Copies below `directory`, which is made with the first of them; together no more than `bytes_max`. `key` is derived from a key of the repository.
    #[must_use]
    pub fn new(directory: PathBuf, key: [u8; 32], bytes_max: u64) -> Self {
        let folder_bytes_max = bytes_max / FOLDERS as u64;
        let (closed, next, unseen, looks) = Default::default();
        Self { inner: Arc::new(Inner { directory, key, folder_bytes_max, closed, next, unseen, looks }) }
    }

    /// The copies of these names, each as it was added; `None` for what is not there.
    pub async fn get(&self, names: Vec<String>) -> Vec<Option<Bytes>> {
        let (inner, count) = (self.inner.clone(), names.len());
        let read = tokio::task::spawn_blocking(move || names.iter().map(|name| inner.get(name)).collect());
        // A reader that was cancelled with its runtime has found nothing.
        read.await.unwrap_or_else(|_| vec![None; count])
    }

    /// Adds copies. What cannot be added is not there the next time; that is all.
    pub async fn put(&self, copies: Vec<(String, Bytes)>) {
        if self.inner.closed.load(Ordering::Relaxed) {
            return;
        }
        let inner = self.inner.clone();
        let write = move || {
            for (name, bytes) in copies {
                if inner.put(&name, &bytes).is_err() {
                    inner.closed.store(true, Ordering::Relaxed);
                    return;
                }
            }
        };
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

impl Inner {
    fn hash(&self, name: &str, bytes: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        // The length keeps a name and its bytes apart.
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(bytes);
        hasher.finalize()
    }

    /// `<directory>/<digit>/<hash of the name>`.
    fn path(&self, name: &str) -> PathBuf {
        let hex = blake3::keyed_hash(&self.key, name.as_bytes()).to_hex();
        let digit = hex.get(..1).unwrap_or_default();
        self.directory.join(digit).join(hex.as_str())
    }

    fn get(&self, name: &str) -> Option<Bytes> {
        let path = self.path(name);
        let bytes = Bytes::from(read(&path, self.folder_bytes_max).ok()?);
        let (hash, copy) = (bytes.get(..HASH_BYTES)?, bytes.slice(HASH_BYTES..));
        let hash: [u8; HASH_BYTES] = hash.try_into().ok()?;
        if self.hash(name, &copy) != blake3::Hash::from(hash) {
            // It would be wrong for ever: the next reader's copy goes in its place.
            let _ = fs::remove_file(&path);
            return None;
        }
        mark_used(&path);
        Some(copy)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let needed = (bytes.len() + HASH_BYTES) as u64;
        // One that large would drive everything else out of its folder.
        if needed > self.folder_bytes_max / 2 {
            return Ok(());
        }
        let path = self.path(name);
        let Some(folder) = path.parent() else { return Ok(()) };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        self.reserve(folder, needed)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // One that a process left by dying gets old and goes as all others do.
        let unfinished = folder.join(format!("{}-{number}.tmp", std::process::id()));
        let written = write_new(&unfinished, &[self.hash(name, bytes).as_bytes(), bytes]);
        match written.and_then(|()| fs::rename(&unfinished, &path)) {
            // Somebody made room, or deleted the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let _ = fs::remove_file(&unfinished);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Room for a copy in a folder. Each of [`AT_ONCE`] processes may have added its share since the others looked.
    fn reserve(&self, folder: &Path, needed: u64) -> io::Result<()> {
        let digit = folder.file_name().and_then(|name| usize::from_str_radix(name.to_str()?, 16).ok());
        let Some(unseen) = digit.and_then(|digit| self.unseen.get(digit)) else { return Ok(()) };
        // Held while it looks: another thread of this process waits for what it finds.
        let mut unseen = unseen.lock().unwrap_or_else(PoisonError::into_inner);
        let share = self.folder_bytes_max / UNSEEN_PART;
        match *unseen {
            Some(added) if added + needed <= share => *unseen = Some(added + needed),
            _ => {
                let left_free = share.max(needed) + share * (AT_ONCE - 1);
                make_room(folder, self.folder_bytes_max.saturating_sub(left_free))?;
                self.looks.fetch_add(1, Ordering::Relaxed);
                *unseen = Some(needed);
            }
        }
        Ok(())
    }
}

/// What somebody has planted may be a pipe that nobody writes to, a link, or without end: only a file of a copy's length is read.
fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn write_new(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}

/// Marks a copy as used now, by its time of modification. Where that cannot be done it goes a little earlier.
fn mark_used(path: &Path) {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: now };
    let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
}

/// Removes what was not used for longest until no more than `bytes_max` are left in a folder.
fn make_room(folder: &Path, bytes_max: u64) -> io::Result<()> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may remove at the same time.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            copies.push((metadata.modified()?, metadata.len(), entry.path()));
        }
    }
    let mut bytes: u64 = copies.iter().map(|(_, bytes, _)| bytes).sum();
    if bytes > bytes_max {
        copies.sort();
    }
    for (_, length, path) in copies {
        if bytes <= bytes_max {
            break;
        }
        fs::remove_file(path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        bytes -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{FileType, Mode, mknodat};

    use super::*;

    const LIMIT: u64 = 16 << 20;

    fn cache(directory: &Path, key: u8) -> Inner {
        let cache = Cache::new(directory.to_owned(), [key; 32], LIMIT);
        Arc::into_inner(cache.inner).expect("nobody else has it")
    }

    fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        for folder in fs::read_dir(directory).expect("it was made").flatten() {
            for file in fs::read_dir(folder.path()).expect("a folder").flatten() {
                found.push((file.path(), file.metadata().expect("a file").len()));
            }
        }
        found
    }

    #[test]
    fn what_was_added_is_there_under_its_name_and_key_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let ours = cache(directory.path(), 1);
        assert_eq!(ours.get("a"), None);
        ours.put("a", b"one").expect("room");
        ours.put("b", b"").expect("room");
        assert_eq!(ours.get("a").as_deref(), Some(&b"one"[..]));
        assert_eq!(ours.get("b").as_deref(), Some(&b""[..]));
        assert_eq!(cache(directory.path(), 1).get("a").as_deref(), Some(&b"one"[..]), "another process has it too");
        assert_eq!(cache(directory.path(), 2).get("a"), None, "another repository does not");
        for (path, _) in files(directory.path()) {
            let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }

    #[test]
    fn what_rots_is_planted_or_renamed_is_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = cache(directory.path(), 1);
        cache.put("a", b"one two three").expect("room");
        let path = cache.path("a");
        let whole = fs::read(&path).expect("it is there");
        for at in 0..whole.len() {
            let mut rotten = whole.clone();
            rotten[at] ^= 0x10;
            fs::write(&path, rotten).expect("ours");
            assert_eq!(cache.get("a"), None, "byte {at}");
            assert!(!path.exists(), "it does not stay wrong");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("ours");
            assert_eq!(cache.get("a"), None, "cut at {length}");
        }
        let other = cache.path("b");
        fs::create_dir_all(other.parent().expect("a folder")).expect("ours");
        fs::write(&other, &whole).expect("ours");
        assert_eq!(cache.get("b"), None, "a copy is bound to its name");
        let pipe = cache.path("c");
        fs::create_dir_all(pipe.parent().expect("a folder")).expect("ours");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("ours");
        assert_eq!(cache.get("c"), None, "nobody writes to it, and nobody waits");
    }

    #[test]
    fn it_never_has_more_than_its_limit_and_keeps_what_is_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = cache(directory.path(), 1);
        let copy = vec![7; 100 << 10];
        cache.put("used", &copy).expect("room");
        let old = Timestamps {
            last_access: Timespec { tv_sec: 1, tv_nsec: 0 },
            last_modification: Timespec { tv_sec: 1, tv_nsec: 0 },
        };
        for number in 0..400 {
            let name = format!("copy {number}");
            cache.put(&name, &copy).expect("room");
            utimensat(CWD, cache.path(&name), &old, AtFlags::empty()).expect("ours");
            assert!(cache.get("used").is_some(), "after {number}");
            let bytes: u64 = files(directory.path()).iter().map(|(_, bytes)| bytes).sum();
            assert!(bytes <= LIMIT, "{bytes} after {number}");
        }
        let bytes: u64 = files(directory.path()).iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes > LIMIT / 2, "{bytes}: the limit is used");
        cache.put("huge", &vec![0; 600 << 10]).expect("it is left out");
        assert_eq!(cache.get("huge"), None);
    }

    #[test]
    fn a_folder_is_not_looked_into_for_every_copy() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = cache(directory.path(), 1);
        let (copies, copy) = (2000, vec![7; 4000]);
        for number in 0..copies {
            cache.put(&format!("copy {number}"), &copy).expect("room");
        }
        let bytes = copies * (copy.len() + HASH_BYTES) as u64;
        let shares = bytes / (LIMIT / 16 / UNSEEN_PART);
        let looks = cache.looks.load(Ordering::Relaxed);
        assert!((16..=16 + shares).contains(&looks), "{looks} looks, {shares} shares");
        assert!(looks < copies / 10, "{looks}");
        let there = (0..copies).filter(|number| cache.get(&format!("copy {number}")).is_some()).count() as u64;
        assert_eq!(there, copies, "all of them fit");
    }

    #[test]
    fn processes_that_add_at_once_stay_within_the_limit_together() {
        for processes in 1..=AT_ONCE {
            let directory = tempfile::tempdir().expect("a directory");
            let all: Vec<Inner> = (0..processes).map(|_| cache(directory.path(), 1)).collect();
            // Two and a half times what fits, in sizes below, at and above a share.
            let mut added = 0;
            for number in 0.. {
                let copy = vec![7; [900, 30_000, 65_504, 200_000][number % 4]];
                all[number % all.len()].put(&format!("copy {number}"), &copy).expect("room");
                added += copy.len() as u64;
                if number % 50 == 0 || added > LIMIT * 5 / 2 {
                    let bytes: u64 = files(directory.path()).iter().map(|(_, bytes)| bytes).sum();
                    assert!(bytes <= LIMIT, "{bytes} by {processes} after {number}");
                }
                if added > LIMIT * 5 / 2 {
                    break;
                }
            }
            // What another process took away meanwhile is no trouble.
            fs::remove_dir_all(directory.path()).expect("ours");
            all[0].put("after", b"one").expect("room");
            assert_eq!(all[0].get("after").as_deref(), Some(&b"one"[..]));
        }
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_written_or_goes_away_is_no_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a file");
        fs::write(&file, b"").expect("ours");
        let cache = Cache::new(file.join("below"), [1; 32], LIMIT);
        cache.put(vec![("a".into(), Bytes::from_static(b"one"))]).await;
        assert!(cache.inner.closed.load(Ordering::Relaxed), "it does not try again for every blob");
        assert_eq!(cache.get(vec!["a".into()]).await, [None]);

        let below = directory.path().join("below");
        let cache = Cache::new(below.clone(), [1; 32], LIMIT);
        let copies = || ["a", "b"].map(|name| (name.to_owned(), Bytes::from_static(b"one"))).to_vec();
        cache.put(copies()).await;
        fs::remove_dir_all(&below).expect("ours");
        assert_eq!(cache.get(vec!["a".into()]).await, [None]);
        cache.put(copies()).await;
        let there = cache.get(vec!["b".into(), "c".into(), "a".into()]).await;
        assert_eq!(
            there.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false, true],
            "in the order asked for"
        );
    }
}
