//! A volume that is filled: an empty directory, or one that an earlier try began with. Whatever else is in one is somebody's, and nothing is written there.
//!
//! A file with the snapshot's name in it says that it is being filled; it goes when all is there. Only [`in_place`] writes over what somebody has.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backup::Context;
use crate::base::id::ObjectId;
use crate::format::entry::TreePath;
use crate::recover::{Overwrite, RestoreError, RestorePlan, RestoreReport, run_restore};
use crate::repo::fetch::Reader;
use crate::volumes::filling::{MARK, mark_of, marks};

/// What a file system of its own brings along.
const OF_THE_DISK: &str = "lost+found";

/// Something in a directory that is neither the disk's nor the mark; `None` also if it is not there.
fn first_of(target: &Path, mark: &Path) -> std::io::Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(target) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let name = entry?.file_name();
        if name != OsStr::new(OF_THE_DISK) && Some(name.as_os_str()) != mark.file_name() {
            return Ok(Some(PathBuf::from(name)));
        }
    }
    Ok(None)
}

/// Whether something that a snapshot does not have is somebody's: neither our mark nor the disk's own.
pub(crate) fn is_stranger(name: &[u8]) -> bool {
    !name.starts_with(MARK.as_bytes()) && name != OF_THE_DISK.as_bytes()
}

/// What a restore would do, and what is there that the snapshot does not have.
async fn compared(
    context: &Context,
    reader: &Arc<Reader>,
    plan: &RestorePlan,
) -> Result<(RestoreReport, Vec<TreePath>), RestoreError> {
    let would = run_restore(context, reader, &RestorePlan { dry_run: true, delete: true, ..plan.clone() }).await?;
    let strangers = would.deleted.iter().filter(|path| is_stranger(path.as_bytes())).cloned().collect();
    Ok((would, strangers))
}

/// Restores into a volume that is empty, or goes on where an earlier try was cut off. One that holds exactly the snapshot is left as it is; what holds
/// something that the snapshot does not have is refused, also where a try was cut off.
pub async fn fill(
    context: &Context,
    reader: &Arc<Reader>,
    snapshot: &ObjectId,
    plan: RestorePlan,
) -> Result<RestoreReport, RestoreError> {
    let target = plan.target.clone();
    let fail = |source| RestoreError::Mark { target: target.clone(), source };
    let mark = mark_of(&target, snapshot);
    if mark.exists() {
        // Whoever used it since the try before may have left what does not belong to it, such as the journal of another database.
        if let Some(first) = compared(context, reader, &plan).await?.1.first() {
            let first = PathBuf::from(OsStr::from_bytes(first.as_bytes()));
            return Err(RestoreError::NotEmpty { target, first });
        }
    } else {
        if let Some(first) = first_of(&target, &mark).map_err(fail)? {
            // The try before may have come to its end, and nobody have heard of it.
            let (would, strangers) = compared(context, reader, &plan).await?;
            let is_equal = would.files == 0 && would.others == 0 && would.problems.is_empty();
            let is_whole = is_equal && strangers.is_empty();
            return if is_whole { Ok(would) } else { Err(RestoreError::NotEmpty { target, first }) };
        }
        std::fs::create_dir_all(&target).map_err(fail)?;
        std::fs::File::create_new(&mark).map_err(fail)?;
    }
    finish(context, reader, &mark, &plan).await
}

/// Restores over what is in a directory: what is equal is not written, and what the snapshot does not have stays. Also what that is; the database of a journal
/// among it is no longer the one that it belongs to.
pub async fn update(
    context: &Context,
    reader: &Arc<Reader>,
    snapshot: &ObjectId,
    plan: RestorePlan,
) -> Result<(RestoreReport, Vec<TreePath>), RestoreError> {
    let (_, strangers) = compared(context, reader, &plan).await?;
    let mark = mark_of(&plan.target, snapshot);
    let fail = |source| RestoreError::Mark { target: plan.target.clone(), source };
    // From here on it is a part of this snapshot, and of no other that was begun before.
    for begun in marks(&plan.target).map_err(fail)?.into_iter().filter(|begun| *begun != mark) {
        std::fs::remove_file(begun).map_err(fail)?;
    }
    std::fs::write(&mark, "").map_err(fail)?;
    Ok((finish(context, reader, &mark, &plan).await?, strangers))
}

/// Restores, and takes the mark away if all is there.
async fn finish(
    context: &Context,
    reader: &Arc<Reader>,
    mark: &Path,
    plan: &RestorePlan,
) -> Result<RestoreReport, RestoreError> {
    let report = run_restore(context, reader, plan).await?;
    if !report.problems.iter().any(super::mover::leaves_out) {
        let fail = |source| RestoreError::Mark { target: plan.target.clone(), source };
        unmark(&plan.target, mark).map_err(fail)?;
    }
    Ok(report)
}

/// Brings a volume with data in it to the snapshot: what is not in that goes first, then only what differs is written. Cut off, it is gone on with by the
/// same; nothing in the volume says how far it came.
pub async fn in_place(
    context: &Context,
    reader: &Arc<Reader>,
    plan: RestorePlan,
) -> Result<RestoreReport, RestoreError> {
    let kept = vec![OF_THE_DISK.as_bytes()];
    run_restore(context, reader, &RestorePlan { overwrite: Overwrite::InPlace, delete: true, kept, ..plan }).await
}

/// Takes the mark away and leaves the directory's times as the restore has set them.
fn unmark(target: &Path, mark: &Path) -> std::io::Result<()> {
    let before = std::fs::metadata(target)?;
    std::fs::remove_file(mark)?;
    let directory = std::fs::File::open(target)?;
    let times = std::fs::FileTimes::new().set_accessed(before.accessed()?).set_modified(before.modified()?);
    // Only its owner may: where it is another's, its time was not set before either.
    let _ = directory.set_times(times);
    directory.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::filling::is_begun;

    #[test]
    fn only_what_is_nobodys_counts_as_empty() {
        let dir = tempfile::tempdir().expect("a folder");
        let mark = mark_of(dir.path(), &ObjectId::new([7; 32]));
        assert_eq!(first_of(&dir.path().join("none"), &mark).expect("read"), None);
        std::fs::create_dir(dir.path().join(OF_THE_DISK)).expect("made");
        std::fs::write(&mark, "").expect("written");
        assert_eq!(first_of(dir.path(), &mark).expect("read"), None);
        assert!(is_begun(dir.path()));
        unmark(dir.path(), &mark).expect("taken away");
        assert!(!mark.exists() && !is_begun(dir.path()));
        let other = mark_of(dir.path(), &ObjectId::new([8; 32]));
        std::fs::write(&other, "").expect("written");
        assert_eq!(first_of(dir.path(), &mark).expect("read").as_deref(), other.file_name().map(Path::new));
    }
}
