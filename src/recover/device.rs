//! A raw volume that is filled: what is on it is compared with the snapshot, what differs is written, and afterwards all of it is read back. Where the snapshot has
//! zeros there are zeros then, also behind its end: what a new device holds nobody knows.
//!
//! One that was made for the claim, and for nobody before, is written to whatever is on it, and so is one that is restored in place. Of any other every piece has to be
//! zeros, or already what the snapshot has: so another try goes on, and what somebody has there is left.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::backup::Context;
use crate::format::entry::{Entry, Kind, Piece, TreePath};
use crate::recover::differ::{Compared, compare, placed, really_differing};
use crate::recover::files::Files;
use crate::recover::{RestoreError, RestorePlan, RestoreReport};
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read::TreeReader;
use crate::tree::device::{Device, DeviceError, NAME};
use crate::tree::restore::PatchFile;

/// Why a raw volume is not filled.
#[derive(Debug, thiserror::Error)]
pub enum FillDeviceError {
    /// It cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The snapshot holds something else than what was on a device.
    #[error("the snapshot holds files, not what was on a device")]
    Files,
    /// It does not fit.
    #[error("the device {} has {length} bytes, and the snapshot {needed}", target.display())]
    Small {
        /// The device.
        target: PathBuf,
        /// Its length.
        length: u64,
        /// What it should have at least.
        needed: u64,
    },
    /// It holds something that is not of the snapshot, and nobody knows whose it is.
    #[error("the device {} holds something at byte {offset} that is not of the snapshot", target.display())]
    Taken {
        /// The device.
        target: PathBuf,
        /// Where.
        offset: u64,
    },
    /// It takes what is written, and gives back something else.
    #[error("the device {} does not hold what was written to it, at byte {offset}", target.display())]
    ReadBack {
        /// The device.
        target: PathBuf,
        /// Where first.
        offset: u64,
    },
}

/// The one file of a snapshot of a raw volume.
async fn content(reader: &Arc<Reader>, plan: &RestorePlan) -> Result<(Entry, u64), RestoreError> {
    let mut tree = TreeReader::open(reader.clone(), plan.root, TreePath::root())?;
    let mut found = Vec::new();
    while let Some(entries) = tree.next().await? {
        found.extend(entries);
        if found.len() > 1 {
            break;
        }
    }
    let is_asked = plan.within == TreePath::root() || plan.within.as_bytes() == NAME.as_bytes();
    match (found.pop(), found.is_empty()) {
        (Some(entry), true) if entry.path.as_bytes() == NAME.as_bytes() => match entry.kind {
            Kind::File { size, .. } if is_asked => Ok((entry, size)),
            Kind::File { .. } => Err(RestoreError::NoSuchPath(plan.within.clone())),
            _ => Err(FillDeviceError::Files.into()),
        },
        _ => Err(FillDeviceError::Files.into()),
    }
}

/// Fills it; `over`: what is on it makes way, since it is nobody's, or since its owner says so.
pub async fn device(
    context: &Context,
    reader: &Arc<Reader>,
    plan: RestorePlan,
    over: bool,
) -> Result<RestoreReport, RestoreError> {
    let (entry, size) = content(reader, &plan).await?;
    let target = plan.target;
    let file = PatchFile::of_device(Device::open(&target, true).map_err(FillDeviceError::from)?, entry.path.clone());
    let length = file.length();
    if length < size {
        return Err(FillDeviceError::Small { target, length, needed: size }.into());
    }
    context.progress.enter("comparing");
    let mut report = RestoreReport { chosen: 1, ..RestoreReport::default() };
    let mut files = Files::new(context, reader, None, target.clone());
    let Some(pieces) = files.pieces(&entry, &mut report).await? else { return Ok(report) };
    let mut pieces = placed(pieces);
    if length > size {
        pieces.push((size, Piece::Hole { length: length - size }));
    }
    let Compared { file, differing } = compare(reader.clone(), file, pieces.clone()).await?;
    let mut file = file.ok_or(RepoError::Worker { what: "comparing a device" })?;
    if !over {
        let taken;
        (file, taken) = not_zeros(file, differing.clone()).await?;
        if let Some((offset, _)) = really_differing(reader, &file, taken).await?.first() {
            return Err(FillDeviceError::Taken { target, offset: *offset }.into());
        }
    }
    context.progress.enter("restoring");
    let zeros = differing.clone();
    let cleared = spawn_blocking(move || {
        let mut holes = zeros.iter().filter(|(_, piece)| matches!(piece, Piece::Hole { .. }));
        let cleared = holes.try_for_each(|(offset, piece)| file.clear(*offset, piece.length()));
        cleared.map(|()| file)
    });
    let file = match cleared.await.map_err(|_| RepoError::Worker { what: "clearing a device" })? {
        Ok(file) => file,
        Err(problem) => {
            report.problems.push(problem.into());
            return Ok(report);
        }
    };
    files.write_device(entry, size, differing, file).await?;
    files.finish(&mut report).await?;
    if report.problems.is_empty() {
        context.progress.enter("reading back");
        let written = Device::open(&target, false).map_err(FillDeviceError::from)?;
        let written = PatchFile::of_device(written, TreePath::root());
        written.forget_pages();
        let Compared { file, differing } = compare(reader.clone(), written, pieces).await?;
        let written = file.ok_or(RepoError::Worker { what: "comparing a device" })?;
        if let Some((offset, _)) = really_differing(reader, &written, differing).await?.first() {
            return Err(FillDeviceError::ReadBack { target, offset: *offset }.into());
        }
    }
    Ok(report)
}

/// Those of the pieces where something else than zeros is.
async fn not_zeros(file: PatchFile, pieces: Vec<(u64, Piece)>) -> Result<(PatchFile, Vec<(u64, Piece)>), RestoreError> {
    let looked = spawn_blocking(move || {
        let found = pieces.into_iter().filter(|(offset, piece)| !file.is_zeros(*offset, piece.length())).collect();
        (file, found)
    });
    looked.await.map_err(|_| RepoError::Worker { what: "looking at a device" }.into())
}
