//! Files that are being restored: their pieces are gathered into windows, and written window by window.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backup::Context;
use crate::format::entry::{Entry, Kind, Piece};
use crate::recover::differ::placed;
use crate::recover::file::{OpenFile, Results};
use crate::recover::window::{Window, Write};
use crate::recover::{RestoreError, RestoreProblem, RestoreReport};
use crate::repo::fetch::Reader;
use crate::repo::tree_read;
use crate::tree::restore::{Comparison, PatchFile, Target};

/// Writes gathered before they are carried out; about 12 MiB of memory with the files that they go to.
const WINDOW_WRITES: usize = 25_000;
/// Files with several pieces in a window: so many may be open at once.
const WINDOW_OPEN_FILES: usize = 200;

/// Gathers writes and carries them out window by window.
pub struct Files<'a> {
    pub(super) context: &'a Context,
    pub(super) reader: &'a Arc<Reader>,
    pub(super) target: Option<Target>,
    target_path: PathBuf,
    results: Arc<Results>,
    window: Window,
    open: usize,
}

impl<'a> Files<'a> {
    /// Restores into `target`.
    pub fn new(context: &'a Context, reader: &'a Arc<Reader>, target: Option<Target>, target_path: PathBuf) -> Self {
        let results = Results::new(context.progress.clone());
        Self { context, reader, target, target_path, results, window: Window::default(), open: 0 }
    }

    /// Adds a file; carries out the window when it is full.
    pub async fn add(&mut self, entry: Entry, report: &mut RestoreReport) -> Result<(), RestoreError> {
        let Kind::File { size, .. } = entry.kind else { return Ok(()) };
        let Some(target) = self.target.clone() else { return Ok(()) };
        let Some(pieces) = self.pieces(&entry, report).await? else { return Ok(()) };
        let pieces = placed(pieces);
        self.queue(entry, size, Some(target), pieces, None).await
    }

    /// Has the pieces of a raw volume written that are not there.
    pub(super) async fn write_device(
        &mut self,
        entry: Entry,
        size: u64,
        differing: Vec<(u64, Piece)>,
        device: PatchFile,
    ) -> Result<(), RestoreError> {
        // Also where nothing differs: then it has to be seen that all is on the disk.
        self.queue(entry, size, None, differing, Some((device, Comparison::ContentMayDiffer))).await
    }

    /// What a file is made of; `None` if that cannot be read, which is told.
    pub(super) async fn pieces(
        &self,
        entry: &Entry,
        report: &mut RestoreReport,
    ) -> Result<Option<Vec<Piece>>, RestoreError> {
        let Kind::File { size, content } = &entry.kind else { return Ok(None) };
        match tree_read::pieces(self.reader, content, *size).await {
            Ok(pieces) => Ok(Some(pieces)),
            Err(source) => {
                let source = self.reader.blame(source).await?;
                report.problems.push(RestoreProblem::Damaged { path: entry.path.clone(), source });
                self.context.progress.add_file(*size);
                Ok(None)
            }
        }
    }

    /// Has pieces written: into a new file, or into the one that is there.
    pub(super) async fn queue(
        &mut self,
        entry: Entry,
        size: u64,
        target: Option<Target>,
        pieces: Vec<(u64, Piece)>,
        there: Option<(PatchFile, Comparison)>,
    ) -> Result<(), RestoreError> {
        let (is_patch, mut data) = (there.is_some(), 0);
        let file = OpenFile::new((entry, size), target, there, self.results.clone());
        self.open += usize::from(is_patch || pieces.len() > 1);
        for (offset, piece) in pieces {
            match piece {
                Piece::Hole { length } if !is_patch => self.context.progress.add_bytes(length),
                Piece::Hole { .. } => {}
                Piece::Data { blob, skip, length } => {
                    data += u64::from(length);
                    file.awaits();
                    self.window.push(Write { blob, file: file.clone(), offset, skip, length });
                    if self.window.len() >= WINDOW_WRITES {
                        self.carry_out().await?;
                    }
                }
            }
        }
        if is_patch {
            // What is there already is dealt with.
            self.context.progress.add_bytes(size.saturating_sub(data));
        }
        file.done();
        if self.open >= WINDOW_OPEN_FILES {
            self.carry_out().await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self) -> Result<(), RestoreError> {
        self.open = 0;
        std::mem::take(&mut self.window).carry_out(self.context, self.reader).await?;
        match self.results.take_full() {
            Some(path) => Err(RestoreError::Full { target: self.target_path.clone(), path }),
            None => Ok(()),
        }
    }

    /// Carries out what is left and adds what happened to the report.
    pub async fn finish(&mut self, report: &mut RestoreReport) -> Result<(), RestoreError> {
        self.carry_out().await?;
        self.results.hand_over(report);
        Ok(())
    }
}
