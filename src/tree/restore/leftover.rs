//! Temporary names, and what a killed restore left under them.
//!
//! `.homelab-dr-<16 hex digits drawn by the run>-<number>.part`. A file that is being written is locked (`flock`); one that
//! can be locked is nobody's.

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, openat, unlinkat};

use super::Target;
use crate::format::entry::TreePath;
use crate::tree::inode::Inode;
use crate::tree::listing::Names;

const BEGIN: &[u8] = b".homelab-dr-";
const END: &[u8] = b".part";
const RUN_DIGITS: usize = 16;

pub(super) fn temporary_name(run: u64, number: u64) -> Vec<u8> {
    format!(".homelab-dr-{run:016x}-{number}.part").into_bytes()
}

/// Whether a name has exactly the form under which files are written.
#[must_use]
pub fn is_temporary(name: &[u8]) -> bool {
    let inner = name.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let Some((run, rest)) = inner.and_then(|inner| inner.split_at_checked(RUN_DIGITS)) else { return false };
    let hex = run.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = rest.strip_prefix(b"-").unwrap_or_default();
    hex && !number.is_empty() && number.iter().all(u8::is_ascii_digit)
}

impl Target {
    /// Removes from a directory the files that killed restores left half-written; returns how many. What cannot be looked
    /// at or removed stays: it harms nobody.
    #[must_use]
    pub fn sweep(&self, directory: &TreePath) -> u64 {
        let Ok(fd) = self.open(directory, OFlags::RDONLY | OFlags::DIRECTORY) else { return 0 };
        let Ok(mut names) = Names::list(&fd) else { return 0 };
        let mut swept = 0;
        while let Some(name) = names.next() {
            if !is_temporary(name.to_bytes()) {
                continue;
            }
            // Without waiting, should it be a fifo.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let Ok(file) = openat(&fd, name, flags, Mode::empty()) else { continue };
            let is_file = Inode::of(&file).is_ok_and(|inode| inode.file_type == FileType::RegularFile);
            if is_file && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                swept += u64::from(unlinkat(&fd, name, AtFlags::empty()).is_ok());
            }
        }
        swept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_our_form_are_ours() {
        for number in [0, 7, u64::MAX] {
            assert!(is_temporary(&temporary_name(number, number)));
        }
        for other in [
            &b".homelab-dr-0123456789abcdef-.part"[..],
            b".homelab-dr-0123456789abcdef-1.part2",
            b".homelab-dr-0123456789abcdeF-1.part",
            b".homelab-dr-0123456789abcde-1.part",
            b".homelab-dr-0123456789abcdef1.part",
            b".homelab-dr-4711-1.part",
            b"x.homelab-dr-0123456789abcdef-1.part",
            b".homelab-dr-.part",
            b"",
        ] {
            assert!(!is_temporary(other), "{}", String::from_utf8_lossy(other));
        }
    }
}
