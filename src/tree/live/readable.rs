//! Whether SQLite can read a database along with those who write to it, where it lies and as it stands.

use rustix::fs::{Access, AtFlags, accessat, fstatfs};

use super::super::inode::Inode;
use super::still::{Place, State};
use super::trouble::Trouble;

/// Whether another set of files stands beside it by now.
pub(super) fn is_other(place: &Place, before: &State) -> bool {
    let of = |state: &State| (state.beside.wal.is_some(), state.beside.journal.is_some(), state.beside.shm);
    !place.look().is_ok_and(|now| of(&now) == of(before))
}

/// Where its shared memory cannot be written (a mount for reading only), a reader cannot say that it reads, and whoever opens the database just then does not
/// know of it. If nothing was written meanwhile, that did not happen; if something was, somebody who holds the locks is there by now.
pub(super) fn may_be_torn(place: &Place, before: &State) -> bool {
    let Some(wal) = before.beside.wal else { return false };
    let shm = [&place.name, &b"-shm"[..]].concat();
    if accessat(&place.directory, shm.as_slice(), Access::WRITE_OK, AtFlags::EACCESS).is_ok() {
        return false;
    }
    let is = |ending: &[u8], then| {
        let now = Inode::at(&place.directory, [&place.name, ending].concat().as_slice());
        now.is_ok_and(|now| now.trace() == then)
    };
    !is(b"", before.file.trace()) || !is(b"-wal", wal)
}

/// Why the files have to stand still, and SQLite cannot just read along; `None` if it can.
pub(super) fn why_still(place: &Place, is_wal: bool, before: &State) -> Result<Option<&'static str>, Trouble> {
    if !is_wal {
        return Ok(None);
    }
    // SQLite would make the files that are not there, in a directory that is only to be read.
    match (before.beside.wal, before.beside.shm) {
        (None, _) => return Ok(Some("without a log (-wal) as yet")),
        (Some(wal), false) if wal.size == 0 => return Ok(Some("without a log (-wal) as yet")),
        _ => {}
    }
    if let Some(name) = foreign(place) {
        return Err(Trouble::FileSystem(name));
    }
    Ok((!before.beside.shm).then_some("without the shared memory (-shm) by which others read along"))
}

/// A file system on which processes do not share memory, or not all that have the file open: by the numbers of `statfs(2)`.
fn foreign(place: &Place) -> Option<&'static str> {
    let kind = u64::try_from(fstatfs(&place.directory).ok()?.f_type).ok()? & 0xffff_ffff;
    Some(match kind {
        0x6969 => "NFS",
        0x0102_1997 => "9p",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x6573_5546 => "FUSE",
        0x794c_7630 => "overlayfs",
        0x00c3_6400 => "CephFS",
        0x7461_636f => "OCFS2",
        0x0116_1970 => "GFS2",
        0x0bd0_0bd0 => "Lustre",
        0x5346_414f => "AFS",
        _ => return None,
    })
}
