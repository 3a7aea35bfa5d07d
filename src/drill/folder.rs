//! The folder of a drill on this machine: made anew, locked as long as the drill lives, and removed with all that is in it.
//!
//! It is told by its name and by the file that it was made with; what a killed drill left is a folder of ours that nobody has locked. Nothing else is ever removed.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statvfs};

use crate::base::id::is_run;

/// How the names of such folders begin; the run follows.
const PREFIX: &str = "homelab-dr-drill-";
/// The file that tells them from everything else, and what it begins with.
const MARK: &str = "this-is-a-drill";
const MARKED: &str = "homelab-dr drill";
/// In the mark of one that is kept for a person.
const KEPT: &str = "kept";
/// The mark's name until it is locked: nobody shall take a drill that begins for one that is over.
const UNLOCKED: &str = ".this-is-a-drill.new";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something has its name.
    #[error("{} is there already", path.display())]
    There {
        /// The folder.
        path: PathBuf,
    },
    /// The system does not do it.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

fn failing(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { what, path, source }
}

/// Where the folder of a run is.
#[must_use]
pub fn path_of(parent: &Path, run: &str) -> PathBuf {
    parent.join(format!("{PREFIX}{run}"))
}

/// The folder of a drill that lives.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    mark: File,
}

impl Scratch {
    /// Makes it. Its parent is there, or is made.
    pub fn make(path: &Path, run: &str) -> Result<Self, FolderError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failing("make", parent))?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(FolderError::There { path: path.to_owned() });
            }
            made => made.map_err(failing("make", path))?,
        }
        let file = path.join(UNLOCKED);
        let mark = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&file);
        let mut mark = mark.map_err(failing("write", &file))?;
        let locked = flock(&mark, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from);
        locked.map_err(failing("lock", &file))?;
        writeln!(mark, "{MARKED} {run}").map_err(failing("write", &file))?;
        std::fs::rename(&file, path.join(MARK)).map_err(failing("rename", &file))?;
        Ok(Self { path: path.to_owned(), mark })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away with everything in it.
    pub fn remove(self) -> Result<(), FolderError> {
        remove(&self.path)
    }

    /// Leaves it for a person to look at; no later drill takes it away.
    pub fn keep(mut self) -> Result<PathBuf, FolderError> {
        writeln!(self.mark, "{KEPT}").map_err(failing("write", &self.path))?;
        Ok(self.path)
    }
}

/// The first file system that somebody has mounted below a folder, by the kernel's table of mounts (its text, as proc(5) has it).
fn mounted_below(path: &Path, table: &[u8]) -> Option<PathBuf> {
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let mut points = points.map(|point| PathBuf::from(OsString::from_vec(unescaped(point))));
    points.find(|point| point != path && point.starts_with(path))
}

/// Blanks and backslashes stand there as `\` and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::new(), text);
    while let Some((first, others)) = rest.split_first() {
        let octal = others.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        let escaped = octal.filter(|_| *first == b'\\');
        plain.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { others.get(3..).unwrap_or_default() } else { others };
    }
    plain
}

/// What is restored may be closed even to its owner. The mark goes last: what is cut off in between is found again. What somebody has mounted there is not the drill's.
fn remove(path: &Path) -> Result<(), FolderError> {
    let real = path.canonicalize().map_err(failing("look at", path))?;
    // Where the kernel tells of no mounts nothing is mounted that this process could see either.
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    if let Some(mounted) = mounted_below(&real, &table) {
        let source = io::Error::other(format!("something is mounted at {}: unmount it first", mounted.display()));
        return Err(failing("remove", path)(source));
    }
    let entries = std::fs::read_dir(path).map_err(failing("list", path))?;
    for entry in entries {
        let entry = entry.map_err(failing("list", path))?;
        if entry.file_name() == MARK {
            continue;
        }
        let below = entry.path();
        let kind = entry.file_type().map_err(failing("look at", &below))?;
        if kind.is_dir() {
            open_all(&below);
            std::fs::remove_dir_all(&below).map_err(failing("remove", &below))?;
        } else {
            std::fs::remove_file(&below).map_err(failing("remove", &below))?;
        }
    }
    std::fs::remove_file(path.join(MARK)).map_err(failing("remove", path))?;
    std::fs::remove_dir(path).map_err(failing("remove", path))
}

/// Directories that nobody may write to keep what is in them. What cannot be opened the removal tells.
fn open_all(dir: &Path) {
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(found) = dir.symlink_metadata() else { continue };
        if found.mode() & 0o700 != 0o700 {
            let _ = std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700));
        }
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        open.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
}

/// What became of what killed drills left.
#[derive(Debug, Default)]
pub struct Swept {
    /// Folders that were removed.
    pub removed: Vec<String>,
    /// Folders that are kept for a person.
    pub kept: Vec<String>,
    /// Folders that could not be removed, and why.
    pub left: Vec<String>,
}

/// Takes away folders of drills below a folder that no process has any more; those that are kept for a person only if `kept_too`.
#[must_use]
pub fn sweep(parent: &Path, kept_too: bool) -> Swept {
    let mut swept = Swept::default();
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(run) = run.filter(|run| is_run(run)) else { continue };
        let (path, is_dir) = (entry.path(), entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let Some(mark) = is_dir.then(|| mark_of(&path, run)).flatten() else { continue };
        let shown = path.display().to_string();
        if mark == Mark::Kept && !kept_too {
            swept.kept.push(shown);
            continue;
        }
        match remove(&path) {
            Ok(()) => swept.removed.push(shown),
            Err(error) => swept.left.push(format!("{shown}: {}", crate::base::causes::in_one_line(&error))),
        }
    }
    swept
}

#[derive(PartialEq, Eq)]
enum Mark {
    Dead,
    Kept,
}

/// What a folder's mark says; `None` if it is not ours, or its drill lives.
fn mark_of(path: &Path, run: &str) -> Option<Mark> {
    let mark = path.join(MARK);
    let ours = |path: &Path| path.symlink_metadata().ok().map(|found| found.uid());
    let me = rustix::process::geteuid().as_raw();
    if ours(path) != Some(me) || ours(&mark) != Some(me) || !mark.symlink_metadata().ok()?.is_file() {
        return None;
    }
    let file = File::open(&mark).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let text = std::fs::read_to_string(&mark).ok()?;
    let mut lines = text.lines();
    // One that a power cut emptied is ours by its name.
    let is_whole = lines.next().is_none_or(|line| line == format!("{MARKED} {run}"));
    let is_kept = lines.any(|line| line == KEPT);
    is_whole.then_some(if is_kept { Mark::Kept } else { Mark::Dead })
}

/// What is free where a folder is, or will be, in bytes; `None` where the system does not say.
#[must_use]
pub fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|above| above.exists())?;
    let found = statvfs(there).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(parent: &Path, run: &str) -> Scratch {
        Scratch::make(&path_of(parent, run), run).expect("made")
    }

    #[test]
    fn what_a_killed_drill_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        drop(made(dir.path(), "00000001"));
        std::fs::create_dir_all(at("homelab-dr-drill-00000001/files/closed/deep")).expect("made");
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(at("homelab-dr-drill-00000001/files/closed"), closed).expect("ours");
        let lives = made(dir.path(), "00000002");
        made(dir.path(), "00000003").keep().expect("kept");
        for other in ["homelab-dr-drill-00000004", "homelab-dr-drill-x", "homelab-dr-drill-0000000500", "files"] {
            std::fs::create_dir_all(at(other).join("mine")).expect("made");
        }
        std::fs::write(at("homelab-dr-drill-x").join(MARK), format!("{MARKED} x\n")).expect("written");
        std::fs::create_dir(at("homelab-dr-drill-00000006")).expect("made");
        std::fs::write(at("homelab-dr-drill-00000006").join(MARK), "of somebody\n").expect("written");
        std::os::unix::fs::symlink(at("files"), at("homelab-dr-drill-00000007")).expect("made");
        let swept = sweep(dir.path(), false);
        assert_eq!(swept.removed, [at("homelab-dr-drill-00000001").display().to_string()]);
        assert_eq!(swept.kept, [at("homelab-dr-drill-00000003").display().to_string()]);
        assert!(swept.left.is_empty() && lives.path().exists());
        let swept = sweep(dir.path(), true);
        assert_eq!(swept.removed, [at("homelab-dr-drill-00000003").display().to_string()]);
        for other in ["homelab-dr-drill-00000004", "homelab-dr-drill-x", "homelab-dr-drill-00000006", "files/mine"] {
            assert!(at(other).exists(), "{other}");
        }
        lives.remove().expect("removed");
        assert!(!at("homelab-dr-drill-00000002").exists());
    }

    /// Another machine's or another cluster's drill may sweep at any moment: the mark is locked from when it has its name.
    #[test]
    fn a_drill_that_begins_is_not_taken_for_one_that_is_over() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = path_of(dir.path(), "00000001");
        std::fs::create_dir(&path).expect("made");
        std::fs::write(path.join(UNLOCKED), format!("{MARKED} 00000001\n")).expect("written");
        let swept = sweep(dir.path(), true);
        assert!(path.exists() && swept.removed.is_empty() && swept.left.is_empty());
        std::fs::rename(path.join(UNLOCKED), path.join(MARK)).expect("renamed");
        assert_eq!(sweep(dir.path(), true).removed.len(), 1);
        let lives = made(dir.path(), "00000002");
        assert!(!lives.path().join(UNLOCKED).exists() && sweep(dir.path(), true).removed.is_empty());
    }

    #[test]
    fn what_somebody_has_mounted_in_it_is_not_the_drills() {
        let table = b"22 1 0:20 / /proc rw - proc proc rw\n36 25 98:0 /mnt1 /tmp/a\\040b/drill/files/mnt rw - ext3 /dev/root rw\n";
        assert_eq!(mounted_below(Path::new("/tmp/a b/drill"), table), Some("/tmp/a b/drill/files/mnt".into()));
        assert_eq!(mounted_below(Path::new("/tmp/a b/drill/files/mnt"), table), None, "it is itself a mount");
        assert_eq!(mounted_below(Path::new("/tmp/a b/dri"), table), None);
        assert_eq!(mounted_below(Path::new("/tmp/other"), table), None);
    }

    #[test]
    fn a_folder_that_is_there_is_not_taken() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = path_of(dir.path(), "00000001");
        std::fs::create_dir(&path).expect("made");
        assert!(matches!(Scratch::make(&path, "00000001"), Err(FolderError::There { .. })));
        assert!(free(&path.join("not/there")).is_some_and(|free| free > 0));
    }
}
