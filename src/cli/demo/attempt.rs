//! The attempt to read a backup with the key that wrote it.
//!
//! `restore` would refuse before it begins; this goes as far as the key carries: the file is found by its name, its sealed bytes are fetched,
//! and there is nothing to open them with.

use std::path::Path;
use std::sync::Arc;

use crate::format::entry::{Kind, Piece, TreePath};
use crate::format::record::TreeRoot;
use crate::repo::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::tree_read;

/// How an attempt ended.
pub(super) enum Attempt {
    /// As it must: the name is known, the content is not.
    Refused(RepoError),
    /// This many bytes were read.
    Read(usize),
}

/// Tries to read the file at `path`.
pub(super) async fn read(reader: &Arc<Reader>, root: TreeRoot, path: &TreePath) -> Result<Attempt, RepoError> {
    let missing = || RepoError::Tree { at: path.display(), reason: "the file is not in the snapshot".to_owned() };
    let entry = tree_read::lookup(reader, root, path).await?.ok_or_else(missing)?;
    let Kind::File { size, content } = entry.kind else { return Err(missing()) };
    let pieces = tree_read::pieces(reader, &content, size).await?;
    let blobs = pieces.iter().filter_map(|piece| match piece {
        Piece::Data { blob, .. } => Some(blob),
        Piece::Hole { .. } => None,
    });
    let mut bytes = 0;
    for blob in blobs {
        match reader.data(blob).await {
            Ok(plain) => bytes += plain.len(),
            Err(error @ RepoError::IdentityNeeded) => return Ok(Attempt::Refused(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(Attempt::Read(bytes))
}

/// How many files lie below `dir`, and how many of them hold `secret`.
pub(super) fn search(dir: &Path, secret: &[u8]) -> std::io::Result<(u64, u64)> {
    let (mut files, mut found) = (0, 0);
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(path)?;
            found += u64::from(memchr::memmem::find(&bytes, secret).is_some());
        }
    }
    Ok((files, found))
}
