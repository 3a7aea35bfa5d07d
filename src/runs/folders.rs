//! Folders of this machine as targets: whoever writes into one has it to itself, wherever its journal is and whoever it runs as.
//!
//! Nothing is put into a folder for that: the folder itself is locked (`flock`), the ones above it are held in common, so that nobody has one of them to itself meanwhile. A lock ends with
//! the process. A folder that is not there yet is had as soon as it is made: nobody makes it before its time, since it may be about to be mounted or made by something else. On a share of
//! a network only processes of this machine see one another.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

use super::lease::LeaseError;
use super::process::{is_locked_above, locked_by};
use crate::base::lock::{Tried, alone, in_common};

/// Device and inode: one folder may have several names.
type Key = (u64, u64);

/// One folder that is held.
#[derive(Debug)]
struct Held {
    file: File,
    alone: bool,
}

/// Everything that is held; free again when it is dropped.
#[derive(Debug, Default)]
pub struct Folders {
    held: Mutex<BTreeMap<Key, Held>>,
}

fn open(path: &Path) -> Option<(Key, File)> {
    let directory = i32::try_from(OFlags::DIRECTORY.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(directory).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    Some(((metadata.dev(), metadata.ino()), file))
}

/// What has started this process, and has it, waits for it.
fn of_our_own(tried: Tried, file: &File) -> Tried {
    if matches!(tried, Tried::Taken) && is_locked_above(file) { Tried::Has } else { tried }
}

impl Folders {
    /// Has a folder, if it is there, until this is dropped; of one that is not, what it will lie in is held in common. Returns a warning where its file system cannot lock it.
    pub fn take(&self, folder: &Path) -> Result<Option<String>, LeaseError> {
        let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let Some((named, real)) = whole.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?))) else {
            return Ok(None);
        };
        // What cannot be opened cannot be restored into either, and that is told in its place.
        let own = if named == whole { open(&real) } else { None };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if own.as_ref().and_then(|(key, _)| held.get(key)).is_some_and(|held| held.alone) {
            return Ok(None);
        }
        let mut more = BTreeMap::new();
        for above in real.ancestors().skip(usize::from(named == whole)) {
            let Some((key, file)) = open(above).filter(|(key, _)| !held.contains_key(key)) else { continue };
            match of_our_own(in_common(&file), &file) {
                Tried::Has => drop(more.insert(key, Held { file, alone: false })),
                Tried::Never(_) => {}
                Tried::Taken => {
                    let target = format!("{}, in which {} lies,", above.display(), folder.display());
                    return Err(LeaseError::Taken { target, holder: locked_by(&file) });
                }
            }
        }
        let Some((key, file)) = own else {
            held.append(&mut more);
            return Ok(None);
        };
        // It may be held already, since another target lies in it.
        let own = held.remove(&key).map_or(file, |held| held.file);
        match of_our_own(alone(&own), &own) {
            Tried::Taken => {
                let target = format!("{}, or something in it,", folder.display());
                Err(LeaseError::Taken { target, holder: locked_by(&own) })
            }
            tried => {
                held.append(&mut more);
                held.insert(key, Held { file: own, alone: true });
                let never = || {
                    let shown = folder.display();
                    format!(
                        "{shown} cannot be locked on its file system: see that nothing else restores into it meanwhile"
                    )
                };
                Ok(matches!(tried, Tried::Never(_)).then(never))
            }
        }
    }

    /// The same with a folder that is made if it is not there, and if nobody has what it will lie in.
    pub fn make(&self, folder: &Path) -> Result<Option<String>, LeaseError> {
        if let Some(warning) = self.take(folder)? {
            return Ok(Some(warning));
        }
        // Why it cannot be made is told by whoever restores into it.
        if std::fs::create_dir_all(folder).is_err() {
            return Ok(None);
        }
        self.take(folder)
    }

    /// Several, of which those count that are there.
    pub fn take_all<'a>(&self, folders: impl IntoIterator<Item = &'a PathBuf>) -> Result<Vec<String>, LeaseError> {
        folders.into_iter().filter_map(|folder| self.take(folder).transpose()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locks of another process, as far as the system knows: opened anew.
    fn refused(folder: &Path) -> String {
        let error = Folders::default().take(folder).expect_err("somebody has it");
        assert!(matches!(error, LeaseError::Taken { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn a_folder_has_one_target_whatever_it_is_called() {
        let dir = tempfile::tempdir().expect("a folder");
        let (photos, below, beside) = (dir.path().join("photos"), dir.path().join("photos/new"), dir.path().join("b"));
        for folder in [&below, &beside] {
            std::fs::create_dir_all(folder).expect("fresh");
        }
        std::os::unix::fs::symlink("photos", dir.path().join("link")).expect("fresh");
        let first = Folders::default();
        assert_eq!(first.take(&photos).expect("nobody has it"), None);
        assert_eq!(first.take(&photos).expect("it is ours"), None);
        assert_eq!(first.take(&below).expect("what lies in it is ours too"), None);
        assert!(refused(&photos).contains("photos, or something in it, is being recovered by another run"));
        assert!(refused(&dir.path().join("link/../photos")).contains("is being recovered"));
        assert!(refused(&below).contains("photos, in which"));
        // What lies above cannot be had either, what lies beside can.
        assert!(refused(dir.path()).contains("or something in it"));
        assert_eq!(Folders::default().take(&beside).expect("nobody has it"), None);
        drop(first);
        assert_eq!(Folders::default().take(dir.path()).expect("free again"), None);
        let names = |path: &Path| std::fs::read_dir(path).expect("it is there").count();
        assert_eq!((names(&below), names(&beside)), (0, 0), "nothing is left in a folder");
    }

    #[test]
    fn what_is_held_in_common_can_be_had_alone_when_nobody_else_holds_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let below = dir.path().join("a/b");
        std::fs::create_dir_all(&below).expect("fresh");
        let (one, other) = (Folders::default(), Folders::default());
        assert_eq!(one.take(&below).expect("nobody has it"), None);
        assert_eq!(one.take(&dir.path().join("a")).expect("only we hold it"), None);
        drop(one);
        assert_eq!(other.take(&below).expect("free again"), None);
        let third = Folders::default();
        assert_eq!(
            third.take(&dir.path().join("a/b/../../a")).map_err(|_| ()),
            Err(()),
            "somebody has what lies in it"
        );
    }

    #[test]
    fn what_is_not_there_is_nobodys_until_it_is_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let later = dir.path().join("mnt/disk");
        let (one, other) = (Folders::default(), Folders::default());
        assert_eq!(one.take(&later).expect("it is not there"), None);
        assert!(!later.exists(), "a lock makes nothing");
        assert_eq!(one.make(&later).expect("nobody has it"), None);
        assert!(other.make(&later).is_err() && other.make(&later.join("new")).is_err());
        assert!(!later.join("new").exists(), "nothing is made in what is somebody's");
        std::fs::write(dir.path().join("file"), "").expect("written");
        assert_eq!(other.take(&dir.path().join("file")).expect("that is no folder"), None);
        assert_eq!(other.make(&dir.path().join("file/x")).expect("nothing can be made there"), None);
    }
}
