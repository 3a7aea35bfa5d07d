//! Locks of open files (`flock`): had, somebody else's, or never to be had there. A lock ends with whoever has the file open.
//!
//! Who only looks whether somebody has a file locks it for a moment too, so whoever wants it tries a few times before it is taken for somebody's.

use std::fs::File;
use std::io;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// So often is a lock tried, and so long is waited in between.
const TRIES: usize = 5;
const BETWEEN: Duration = Duration::from_millis(50);

/// What came of a lock.
#[derive(Debug)]
pub enum Tried {
    /// It is ours until the file is closed.
    Has,
    /// Somebody else has it.
    Taken,
    /// Nobody can have it, as on some file systems of a network: whether somebody is at work there is not known.
    Never(io::Error),
}

fn tried(file: &File, how: FlockOperation) -> Tried {
    for tried in 1..=TRIES {
        match flock(file, how) {
            Ok(()) => return Tried::Has,
            Err(Errno::WOULDBLOCK) if tried < TRIES => std::thread::sleep(BETWEEN),
            Err(Errno::WOULDBLOCK) => break,
            Err(error) => return Tried::Never(error.into()),
        }
    }
    Tried::Taken
}

/// Has a file alone.
#[must_use]
pub fn alone(file: &File) -> Tried {
    tried(file, FlockOperation::NonBlockingLockExclusive)
}

/// Has it in common with others who have it so, and keeps out who wants it alone.
#[must_use]
pub fn in_common(file: &File) -> Tried {
    tried(file, FlockOperation::NonBlockingLockShared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_had_by_one_or_in_common_and_one_that_cannot_be_locked_is_nobodys() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("lock");
        let open = || File::options().create(true).append(true).open(&path).expect("opened");
        let (one, other) = (open(), open());
        assert!(matches!(alone(&one), Tried::Has));
        assert!(matches!(alone(&other), Tried::Taken));
        assert!(matches!(in_common(&other), Tried::Taken));
        assert!(matches!(in_common(&one), Tried::Has), "who has it may have less of it");
        assert!(matches!(in_common(&other), Tried::Has));
        assert!(matches!(alone(&other), Tried::Taken));
        drop(one);
        assert!(matches!(alone(&other), Tried::Has));
        let path = rustix::fs::open(dir.path(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).expect("opened");
        assert!(matches!(alone(&File::from(path)), Tried::Never(_)), "a path without a file cannot be locked");
    }
}
