//! The datastore of a cluster's control plane, as files on its node: what of them makes it usable again, and whether that is all there.
//!
//! k3s keeps it in `DATA/server/db`: SQLite (`state.db`), or snapshots of an embedded etcd. Neither is worth anything without the token that encrypts what is
//! confidential in it, and the certificates and keys beside it. It only looks: reading the files is `backup`, as of any folder, with databases in use
//! captured whole. Nothing here runs a program or speaks to a cluster.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock::Time;
use crate::base::units;
use crate::crypto::hash::Sha256;

/// What encrypts confidential parts of the datastore; wrong or lost, nothing of it can be used.
const TOKEN: &str = "token";
/// What has to be there besides: encryption keys and passwords of components; certificate authorities.
const FOLDERS: [&str; 2] = ["cred", "tls"];
/// What is taken where it is there.
const BESIDES: [&str; 2] = ["agent-token", "node-token"];
const SQLITE: &str = "db/state.db";
const ETCD: &str = "db/etcd";
const SNAPSHOTS: &str = "db/snapshots";
/// Entries of the folder of snapshots that are looked at; k3s keeps five for each node by default.
const ENTRIES_MAX: usize = 10_000;
const BUFFER_BYTES: usize = 1 << 16;

/// Why it was not backed up: nothing of it is stored.
#[derive(Debug, thiserror::Error)]
pub enum DatastoreError {
    /// Neither SQLite nor an embedded etcd.
    #[error("{} holds no datastore of k3s: neither {SQLITE} nor {ETCD} is there", .0.display())]
    NoDatastore(PathBuf),
    /// Something without which it could not be used.
    #[error("{} is missing, without which the datastore cannot be used", .0.display())]
    Missing(PathBuf),
    /// The same, with nothing in it.
    #[error("{} is empty, without which the datastore cannot be used", .0.display())]
    Empty(PathBuf),
    /// It cannot be looked at.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An etcd of which nobody has taken a snapshot.
    #[error("{} holds no complete snapshot of etcd{}", folder.display(), if *broken > 0 { format!(", but {broken} that are not") } else { String::new() })]
    NoSnapshot {
        /// Where they would be.
        folder: PathBuf,
        /// Those that are cut off or altered.
        broken: usize,
    },
    /// The newest snapshot is too old.
    #[error("the newest complete snapshot of etcd, {}, is {} old, and {} is the limit", path.display(), units::duration(*age), units::duration(*limit))]
    Old {
        /// Which.
        path: PathBuf,
        /// How old.
        age: Duration,
        /// How old it may be.
        limit: Duration,
    },
}

/// What is to be backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The top of the snapshot.
    pub folder: PathBuf,
    /// Patterns of what is left out below it, the last that matches decides.
    pub exclude: Vec<String>,
    /// Whether a database in use is in it.
    pub live: bool,
    /// For people: what it is.
    pub told: String,
}

/// Looks what the data directory of a k3s server holds. Reads a whole snapshot of etcd: for a pool of blocking threads.
pub fn find_k3s(data_dir: &Path, max_age: Duration, now: Time) -> Result<Found, DatastoreError> {
    let folder = data_dir.join("server");
    let etcd = look(&folder.join(ETCD))?.is_some();
    if !etcd && look(&folder.join(SQLITE))?.is_none() {
        return Err(DatastoreError::NoDatastore(data_dir.to_owned()));
    }
    for name in FOLDERS {
        let path = folder.join(name);
        let mut entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => return Err(failed(path, error)),
        };
        if entries.next().is_none() {
            return Err(DatastoreError::Empty(path));
        }
    }
    let token = folder.join(TOKEN);
    let read = std::fs::read(&token).map_err(|error| failed(token.clone(), error))?;
    if read.iter().all(u8::is_ascii_whitespace) {
        return Err(DatastoreError::Empty(token));
    }
    let mut wanted: Vec<String> =
        [TOKEN].iter().chain(&FOLDERS).chain(&BESIDES).map(|name| (*name).to_owned()).collect();
    let told = if etcd {
        let (name, age) = newest(&folder.join(SNAPSHOTS), max_age, now)?;
        wanted.push(format!("{SNAPSHOTS}/{}", literal(&name)));
        format!("k3s with an embedded etcd: its snapshot {name}, {} old", units::duration(age))
    } else {
        // Its journals are looked for by whoever captures it.
        wanted.extend(["", "-wal", "-shm", "-journal"].map(|end| format!("{SQLITE}{end}")));
        "k3s with SQLite".to_owned()
    };
    Ok(Found { exclude: all_but(&wanted), folder, live: !etcd, told })
}

/// What a snapshot of k3s may have at its top: what makes way when it is put back.
pub const PARTS: [&str; 6] = [TOKEN, "agent-token", "node-token", "cred", "tls", "db"];

/// Whether what lies in the folder of a server is a datastore that could be used, by its names alone: the first thing that is missing.
#[must_use]
pub fn lacks(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    let needed = [&[TOKEN][..], &FOLDERS].concat().into_iter().find(|name| !has(name));
    needed.or_else(|| (!has(SQLITE) && !has(SNAPSHOTS)).then_some(SQLITE))
}

/// The process that has something below a folder open, by its number; `None` if none that can be seen does.
pub fn user_of(folder: &Path) -> io::Result<Option<u32>> {
    let folder = match folder.canonicalize() {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for process in std::fs::read_dir("/proc")? {
        let process = process?;
        let Some(number) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended since, or that is not ours to look at.
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for file in open.flatten() {
            if std::fs::read_link(file.path()).is_ok_and(|path| path.starts_with(&folder)) {
                return Ok(Some(number));
            }
        }
    }
    Ok(None)
}

/// Patterns that leave out everything but these paths.
fn all_but(wanted: &[String]) -> Vec<String> {
    let mut patterns = vec!["/*".to_owned()];
    for path in wanted {
        let mut above = String::new();
        for (parent, _) in path.match_indices('/') {
            let folder = path.get(..parent).unwrap_or_default();
            if folder.len() > above.len() && !patterns.contains(&format!("!/{folder}")) {
                patterns.extend([format!("!/{folder}"), format!("/{folder}/*")]);
            }
            folder.clone_into(&mut above);
        }
        patterns.push(format!("!/{path}"));
    }
    patterns
}

/// A name as a pattern that matches only it.
fn literal(name: &str) -> String {
    name.chars().flat_map(|c| if "*?[]{}!\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

fn failed(path: PathBuf, source: io::Error) -> DatastoreError {
    if source.kind() == io::ErrorKind::NotFound {
        DatastoreError::Missing(path)
    } else {
        DatastoreError::Unreadable { path, source }
    }
}

fn look(path: &Path) -> Result<Option<Metadata>, DatastoreError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DatastoreError::Unreadable { path: path.to_owned(), source }),
    }
}

/// The newest snapshot that is whole: its name and age.
fn newest(folder: &Path, max_age: Duration, now: Time) -> Result<(String, Duration), DatastoreError> {
    let unreadable = |path: &Path, source| DatastoreError::Unreadable { path: path.to_owned(), source };
    let mut found: Vec<(i64, String)> = Vec::new();
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            for entry in entries.take(ENTRIES_MAX) {
                let entry = entry.map_err(|source| unreadable(folder, source))?;
                // k3s names them in plain letters; what is being written ends in .part.
                let Ok(name) = entry.file_name().into_string() else { continue };
                let about = entry.metadata().map_err(|source| unreadable(&entry.path(), source))?;
                if about.is_file() && !name.starts_with('.') && !has_end(&name, "part") {
                    found.push((about.mtime().saturating_mul(1000), name));
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(unreadable(folder, source)),
    }
    found.sort_unstable();
    let mut broken = 0;
    for (time, name) in found.into_iter().rev() {
        let path = folder.join(&name);
        if !is_complete(&path, &name).map_err(|source| unreadable(&path, source))? {
            broken += 1;
            continue;
        }
        let age = now.since(Time(time));
        if age > max_age {
            return Err(DatastoreError::Old { path, age, limit: max_age });
        }
        return Ok((name, age));
    }
    Err(DatastoreError::NoSnapshot { folder: folder.to_owned(), broken })
}

fn has_end(name: &str, end: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case(end))
}

/// etcd ends a snapshot with the SHA-256 of what is before, beyond its pages of at least 512 bytes. Of one that k3s has packed only the end of a zip is looked for.
fn is_complete(path: &Path, name: &str) -> io::Result<bool> {
    const HASH_BYTES: u64 = 32;
    const ZIP_END: [u8; 4] = *b"PK\x05\x06";
    const ZIP_END_BYTES: u64 = 22;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if has_end(name, "zip") {
        let Some(at) = length.checked_sub(ZIP_END_BYTES) else { return Ok(false) };
        file.seek(SeekFrom::Start(at))?;
        let mut end = [0; 4];
        file.read_exact(&mut end)?;
        return Ok(end == ZIP_END);
    }
    if length <= HASH_BYTES || length % 512 != HASH_BYTES {
        return Ok(false);
    }
    let (mut hash, mut left) = (Sha256::new(), length - HASH_BYTES);
    let mut buffer = vec![0; BUFFER_BYTES];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let Some(part) = buffer.get_mut(..most) else { break };
        let read = file.read(part)?;
        if read == 0 {
            return Ok(false);
        }
        hash.update(part.get(..read).unwrap_or_default());
        left -= read as u64;
    }
    let mut said = [0; 32];
    file.read_exact(&mut said)?;
    Ok(hash.finish() == said)
}
