//! What of a file that is there is not what the snapshot has: by ids, and where a blob has more in it, by its bytes.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::format::entry::Piece;
use crate::recover::RestoreError;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read;
use crate::tree::restore::PatchFile;

/// Pieces with their places.
pub(crate) fn placed(pieces: Vec<Piece>) -> Vec<(u64, Piece)> {
    let place = |offset: &mut u64, piece: Piece| {
        let at = *offset;
        *offset += piece.length();
        Some((at, piece))
    };
    pieces.into_iter().scan(0, place).collect()
}

/// A file that is there, and what of it is not as it should be.
pub(crate) struct Compared {
    /// `None` if it cannot be brought to it: it is made anew.
    pub(crate) file: Option<PatchFile>,
    pub(crate) differing: Vec<(u64, Piece)>,
}

/// Compares by ids, without fetching anything. A piece that is only a part of a blob has no id of its own: it counts as different, and what is there already
/// is not written again when its bytes are there.
pub(crate) async fn compare(
    reader: Arc<Reader>,
    file: PatchFile,
    pieces: Vec<(u64, Piece)>,
) -> Result<Compared, RestoreError> {
    let compared = spawn_blocking(move || {
        let mut buffer = Vec::new();
        let mut differs = |(offset, piece): &(u64, Piece)| match piece {
            Piece::Hole { length } => !file.is_zeros(*offset, *length),
            Piece::Data { blob, skip, length } => {
                buffer.resize(usize::try_from(*length).unwrap_or_default(), 0);
                *skip != 0 || !file.read_at(*offset, &mut buffer) || !reader.is_data(blob, &buffer)
            }
        };
        let differing = pieces.into_iter().filter(|piece| differs(piece)).collect();
        Compared { file: Some(file), differing }
    });
    compared.await.map_err(|_| RepoError::Worker { what: "comparing files" }.into())
}

/// Compares parts of blobs by their bytes: a file that cannot be written to where it is has to be known to differ before it is made anew.
pub(crate) async fn really_differing(
    reader: &Reader,
    file: &PatchFile,
    differing: Vec<(u64, Piece)>,
) -> Result<Vec<(u64, Piece)>, RestoreError> {
    let mut left = Vec::new();
    for (offset, piece) in differing {
        if let Piece::Data { blob, skip, length } = piece {
            match reader.data(&blob).await {
                Ok(plain) => {
                    let wanted = tree_read::part_of(&plain, skip, length, || format!("blob {}", blob.short())).ok();
                    let mut there = vec![0; usize::try_from(length).unwrap_or_default()];
                    if file.read_at(offset, &mut there) && wanted == Some(&*there) {
                        continue;
                    }
                }
                // Whoever writes it tells of it.
                Err(error) => drop(reader.blame(error).await?),
            }
        }
        left.push((offset, piece));
    }
    Ok(left)
}
