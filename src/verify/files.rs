//! What came back is what the snapshot has: names, kinds, links and lengths of all of it, and as much of the content as is asked for, by the snapshot's ids.
//!
//! Which share is read changes with the time, so that a check that reads a part each month reads all in the end. Files whose length or time is not the snapshot's are read
//! as a whole. Owners, modes and times are not judged: they hang on who restored. What is there beside the snapshot is not judged either.

use std::path::Path;

use super::{Look, NOTHING_HERE, Origin, Restored, Surroundings};
use crate::base::causes::in_one_line;
use crate::base::random::mix;
use crate::base::units;
use crate::format::entry::{Entry, Kind, Piece, TreePath};
use crate::recover::differ::{Compared, compare as differing, placed, really_differing};
use crate::recover::select::Chosen;
use crate::recover::{RestoreError, base_of};
use crate::repo::tree_read::{self, TreeReader};
use crate::tree::restore::{Comparison, RestoreOptions, Target, is_temporary};

/// Differences that are told by name.
const TOLD_MAX: usize = 5;

/// What was found so far.
struct Comparing<'a> {
    from: &'a Origin,
    target: Target,
    base: usize,
    /// Percent of the content, and what decides which.
    share: u64,
    seed: u64,
    entries: u64,
    bytes: u64,
    read: u64,
    different: u64,
    told: Vec<String>,
}

/// Entries and bytes that were compared, and how many bytes of them were read.
#[derive(Default)]
struct Sum {
    entries: u64,
    bytes: u64,
    read: u64,
}

impl Sum {
    fn content(&self) -> String {
        format!("{} of {} of content were read", units::bytes(self.read), units::bytes(self.bytes))
    }
}

/// All that was restored, one directory after another; the first that is not as it should be is what is told.
pub(super) async fn compare(share: u8, around: &Surroundings) -> Look {
    let mut all = Sum::default();
    for restored in &around.restored {
        let one = compare_one(share, restored, around).await.map_err(|why| match around.restored.as_slice() {
            [_] => why,
            _ => format!("{}: {why}", restored.folder.display()),
        })?;
        all = Sum { entries: all.entries + one.entries, bytes: all.bytes + one.bytes, read: all.read + one.read };
    }
    let entries = all.entries;
    match around.restored.len() {
        0 => Err(NOTHING_HERE.to_owned()),
        _ if entries == 0 => Err("the snapshot has nothing of it: there is nothing to compare".to_owned()),
        1 => Ok(format!("{entries} entries are as in the snapshot; {}", all.content())),
        volumes => Ok(format!("{entries} entries of {volumes} volumes are as in their snapshots; {}", all.content())),
    }
}

async fn compare_one(share: u8, restored: &Restored, around: &Surroundings) -> Result<Sum, String> {
    let Restored { folder, from: Some(from) } = restored else {
        return Err("nobody says what it was restored from".to_owned());
    };
    if !folder.is_dir() {
        return Err(format!("{} is not there", folder.display()));
    }
    let failed = |error: RestoreError| format!("it cannot be compared: {}", in_one_line(&error));
    let target = Target::create_or_open(folder, RestoreOptions { delete: false, sparse: false, owner: false });
    let base = base_of(&from.reader, from.root, &from.within, false).await.map_err(failed)?;
    let mut comparing = Comparing {
        from,
        target: target.map_err(|error| failed(error.into()))?,
        base,
        share: u64::from(share),
        seed: around.clock.now().0.unsigned_abs(),
        entries: 0,
        bytes: 0,
        read: 0,
        different: 0,
        told: Vec::new(),
    };
    comparing.run().await.map_err(failed)?;
    let Comparing { entries, bytes, read, different, told, .. } = comparing;
    let sum = Sum { entries, bytes, read };
    if different > 0 {
        let more = if different > told.len() as u64 { ", …" } else { "" };
        return Err(format!(
            "{different} of {entries} entries are not as in the snapshot ({}): {}{more}",
            sum.content(),
            told.join(", ")
        ));
    }
    Ok(sum)
}

impl Comparing<'_> {
    async fn run(&mut self) -> Result<(), RestoreError> {
        let Origin { reader, root, within, selection } = self.from;
        let mut tree = TreeReader::open(reader.clone(), *root, within.clone())?;
        let mut chosen = Chosen::new(selection.clone());
        while let Some(entries) = tree.next().await? {
            for entry in entries {
                for entry in chosen.take(entry) {
                    self.entry(entry).await?;
                }
            }
        }
        Ok(())
    }

    fn relative(&self, path: &TreePath) -> TreePath {
        TreePath::new(path.as_bytes().get(self.base..).unwrap_or_default()).unwrap_or_else(|_| TreePath::root())
    }

    fn differs(&mut self, path: &TreePath, how: &str) {
        self.different += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(format!("{} ({how})", path.display()));
        }
    }

    async fn entry(&mut self, mut entry: Entry) -> Result<(), RestoreError> {
        self.entries += 1;
        if let Kind::HardLink { target } = entry.kind.clone() {
            let Origin { reader, root, within, selection } = self.from;
            if target.is_within(within) && selection.takes(&target, false) {
                entry.kind = Kind::HardLink { target: self.relative(&target) };
            } else if let Some(file) = tree_read::lookup(reader, *root, &target).await? {
                // The file itself was not chosen: this name got its content.
                entry.kind = file.kind;
            }
        }
        entry.path = self.relative(&entry.path);
        let comparison = match self.target.compare(&entry) {
            Ok(comparison) => comparison,
            Err(problem) => {
                self.differs(&entry.path, &in_one_line(&problem));
                return Ok(());
            }
        };
        match (comparison, &entry.kind) {
            (Comparison::Missing, _) => self.differs(&entry.path, "it is not there"),
            (Comparison::OtherType, _) => self.differs(&entry.path, "it is of another kind"),
            (comparison, Kind::File { .. }) => return self.file(&entry, comparison).await,
            (Comparison::ContentMayDiffer, _) => self.differs(&entry.path, "it leads elsewhere"),
            (Comparison::Same | Comparison::MetadataDiffers, _) => {}
        }
        Ok(())
    }

    async fn file(&mut self, entry: &Entry, comparison: Comparison) -> Result<(), RestoreError> {
        let Kind::File { size, content } = &entry.kind else { return Ok(()) };
        self.bytes += size;
        let Some(file) = self.target.open_file(&entry.path, true) else {
            self.differs(&entry.path, "it cannot be read");
            return Ok(());
        };
        if file.length() != *size {
            self.differs(&entry.path, &format!("{} bytes, not {size}", file.length()));
            return Ok(());
        }
        let share = if comparison == Comparison::ContentMayDiffer { 100 } else { self.share };
        let mut pieces = placed(tree_read::pieces(&self.from.reader, content, *size).await?);
        pieces.retain(|(_, piece)| match piece {
            Piece::Hole { .. } => true,
            Piece::Data { blob, .. } => {
                let [first, ..] = blob.as_bytes().as_chunks::<8>().0 else { return true };
                mix(u64::from_le_bytes(*first) ^ self.seed) % 100 < share
            }
        });
        let length = |piece: &Piece| if let Piece::Data { length, .. } = piece { u64::from(*length) } else { 0 };
        self.read += pieces.iter().map(|(_, piece)| length(piece)).sum::<u64>();
        let compared = differing(self.from.reader.clone(), file, pieces).await?;
        let Compared { file: Some(file), differing } = compared else { return Ok(()) };
        let differing = really_differing(&self.from.reader, &file, differing).await?;
        if let Some((offset, _)) = differing.first() {
            self.differs(&entry.path, &format!("other content from byte {offset} on"));
        }
        Ok(())
    }
}

fn files(number: u64) -> String {
    if number == 1 { "1 file".to_owned() } else { format!("{number} files") }
}

/// Whether there are so many files.
pub(super) async fn count(at_least: u64, around: &Surroundings) -> Look {
    let folder = around.folder()?.to_owned();
    let shown = folder.display().to_string();
    let counted = tokio::task::spawn_blocking(move || counted(&folder, at_least)).await;
    let found = counted.map_err(|error| format!("counting failed: {error}"))?;
    let found = found.map_err(|error| format!("{shown} cannot be read: {error}"))?;
    if found >= at_least {
        Ok(format!("it has {} or more", files(at_least)))
    } else {
        Err(format!("it has {}, and should have {at_least} at least", files(found)))
    }
}

/// Files below a directory, no more than are wanted. No link is followed, and what a restore has not finished does not count.
fn counted(folder: &Path, at_least: u64) -> std::io::Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let (mut found, mut open) = (0, vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && !is_temporary(entry.file_name().as_bytes()) {
                found += 1;
            }
            if found >= at_least {
                return Ok(found);
            }
        }
    }
    Ok(found)
}
