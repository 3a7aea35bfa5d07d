//! Gives a finished temporary file its final name without replacing anything, by the best way the file system has.
//!
//! 1. `renameat2(RENAME_NOREPLACE)`: atomic; local Linux file systems. NFS, FUSE and others answer EINVAL or ENOSYS.
//! 2. `link` and `unlink`: atomic too; NFS. An answer lost on the way makes the client's second `link` fail with EEXIST although
//!    the first worked, so the temporary file's link count is looked at. Some servers and FAT have no links.
//! 3. A claim, an `O_EXCL` file beside the temporary one, named after the object; whoever made it looks whether the object is there and renames. It
//!    excludes other writers of this program only. A claim left by a crash is taken over after ten minutes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// When a claim is taken to be left over: a rename takes seconds at most, and a hung one has hung its process.
const CLAIM_AGE_MAX: Duration = Duration::from_mins(10);

/// The best way that may be tried; the worse ones follow where it is not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Publish {
    /// Rename that refuses to replace.
    NoReplace,
    /// Hard link, then removal of the temporary name.
    Link,
    /// An exclusive claim file around look and rename.
    Claim,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// The file has its name.
    Done,
    /// Somebody else's file has the name; ours is still under the temporary one.
    Taken,
}

/// Names `temp` as `dest`; `claim` is a name in the directory of temporary files that stands for `dest`.
pub(super) fn publish(best: Publish, temp: &Path, dest: &Path, claim: &Path) -> io::Result<Published> {
    if best <= Publish::NoReplace {
        match renameat_with(CWD, temp, CWD, dest, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(Published::Done),
            Err(Errno::EXIST) => return Ok(Published::Taken),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(other) => return Err(other.into()),
        }
    }
    if best <= Publish::Link {
        match rustix::fs::link(temp, dest) {
            Ok(()) => return unlink(temp).map(|()| Published::Done),
            Err(Errno::EXIST) if is_same_file(temp, dest) => return unlink(temp).map(|()| Published::Done),
            Err(Errno::EXIST) => return Ok(Published::Taken),
            Err(Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP | Errno::MLINK | Errno::INVAL | Errno::XDEV) => {}
            Err(other) => return Err(other.into()),
        }
    }
    by_claim(temp, dest, claim)
}

/// Whether both names are links to one file.
fn is_same_file(a: &Path, b: &Path) -> bool {
    match (fs::symlink_metadata(a), fs::symlink_metadata(b)) {
        (Ok(a), Ok(b)) => a.ino() == b.ino() && a.dev() == b.dev() && a.nlink() > 1,
        _ => false,
    }
}

/// The object is there; a temporary name that stays behind is the sweep's work, not a failure of the write.
#[expect(clippy::unnecessary_wraps, reason = "reads as a step in the chain above")]
fn unlink(temp: &Path) -> io::Result<()> {
    let _ = fs::remove_file(temp);
    Ok(())
}

/// Holds a claim file; its removal is best effort, since a claim left behind only delays.
struct Claim(PathBuf);

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn by_claim(temp: &Path, dest: &Path, claim: &Path) -> io::Result<Published> {
    if let Err(error) = fs::OpenOptions::new().write(true).create_new(true).open(claim) {
        if error.kind() == io::ErrorKind::AlreadyExists {
            take_over_if_stale(temp, claim);
            // Transient: the retry finds the object, or a free claim.
            return Err(Errno::BUSY.into());
        }
        return Err(error);
    }
    let _claim = Claim(claim.to_owned());
    match fs::symlink_metadata(dest) {
        Ok(_) => Ok(Published::Taken),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(temp, dest).map(|()| Published::Done),
        Err(error) => Err(error),
    }
}

/// Removes a claim much older than our temporary file; both times are the file system's.
fn take_over_if_stale(temp: &Path, claim: &Path) {
    let modified = |path: &Path| fs::symlink_metadata(path).and_then(|found| found.modified());
    if let (Ok(now), Ok(claimed)) = (modified(temp), modified(claim))
        && now.duration_since(claimed).is_ok_and(|age| age > CLAIM_AGE_MAX)
    {
        let _ = fs::remove_file(claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_publishing_replaces_a_file() {
        for best in [Publish::NoReplace, Publish::Link, Publish::Claim] {
            let dir = tempfile::tempdir().expect("a directory");
            let at = |name: &str| dir.path().join(name);
            fs::write(at("one"), b"one").expect("write");
            fs::write(at("two"), b"two").expect("write");
            assert_eq!(
                publish(best, &at("one"), &at("dest"), &at("claim")).expect("free"),
                Published::Done,
                "{best:?}"
            );
            assert_eq!(
                publish(best, &at("two"), &at("dest"), &at("claim")).expect("taken"),
                Published::Taken,
                "{best:?}"
            );
            assert_eq!(fs::read(at("dest")).expect("read"), b"one");
            assert!(!at("one").exists() && at("two").exists() && !at("claim").exists(), "{best:?}");
        }
    }

    #[test]
    fn a_link_whose_answer_was_lost_is_known_as_ours() {
        let dir = tempfile::tempdir().expect("a directory");
        let (temp, dest) = (dir.path().join("temp"), dir.path().join("dest"));
        fs::write(&temp, b"one").expect("write");
        fs::hard_link(&temp, &dest).expect("the link that worked");
        let again = publish(Publish::Link, &temp, &dest, &dir.path().join("claim")).expect("ours");
        assert_eq!(again, Published::Done);
        assert!(!temp.exists());
    }

    #[test]
    fn a_fresh_claim_is_respected_and_a_stale_one_taken_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("temp"), b"one").expect("write");
        let claim = fs::File::create(at("claim")).expect("somebody's claim");
        let busy = publish(Publish::Claim, &at("temp"), &at("dest"), &at("claim")).expect_err("claimed");
        assert_eq!(Errno::from_io_error(&busy), Some(Errno::BUSY));
        assert!(at("claim").exists());
        let old = fs::metadata(at("temp")).and_then(|found| found.modified()).expect("a time") - CLAIM_AGE_MAX * 2;
        claim.set_modified(old).expect("made old");
        publish(Publish::Claim, &at("temp"), &at("dest"), &at("claim")).expect_err("this try frees it");
        let third = publish(Publish::Claim, &at("temp"), &at("dest"), &at("claim")).expect("free now");
        assert_eq!(third, Published::Done);
    }
}
