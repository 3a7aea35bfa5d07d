//! Files that are there and are brought to what the snapshot has: read, compared piece by piece, and written where they differ.

use crate::format::entry::{Entry, Kind, Piece};
use crate::recover::differ::{Compared, compare, placed, really_differing};
use crate::recover::files::Files;
use crate::recover::{RestoreError, RestoreProblem, RestoreReport};
use crate::tree::restore::{Comparison, PatchFile};

impl Files<'_> {
    /// Brings a file that is there to what the snapshot has, by what differs; of a dry run says what that would be. All of it is read.
    pub async fn patch(
        &mut self,
        entry: Entry,
        comparison: Comparison,
        dry_run: bool,
        report: &mut RestoreReport,
    ) -> Result<(), RestoreError> {
        let Kind::File { size, .. } = entry.kind else { return Ok(()) };
        let Some(target) = self.target.clone() else { return Ok(()) };
        let Some(pieces) = self.pieces(&entry, report).await? else { return Ok(()) };
        let pieces = placed(pieces);
        let opened = target.open_file(&entry.path, dry_run);
        let compared = match opened {
            Some(file) => compare(self.reader.clone(), file, pieces.clone()).await?,
            None => Compared { file: None, differing: pieces.clone() },
        };
        let Compared { file, mut differing } = compared;
        let is_alone = file.as_ref().is_some_and(PatchFile::is_alone);
        if let Some(file) = file.as_ref().filter(|file| !file.is_alone()) {
            differing = really_differing(self.reader, file, differing).await?;
        }
        if differing.is_empty() && file.as_ref().is_some_and(|file| file.length() == size) {
            self.context.progress.add_file(size);
            if comparison == Comparison::Same {
                report.unchanged += 1;
                return Ok(());
            }
            if is_alone || comparison == Comparison::MetadataDiffers {
                report.others += 1;
                if !dry_run {
                    report.problems.extend(target.apply_metadata(&entry).into_iter().map(RestoreProblem::from));
                }
                return Ok(());
            }
        }
        if dry_run {
            report.files += 1;
            report.bytes = report.bytes.saturating_add(size);
            let wanted = if is_alone { &differing } else { &pieces };
            let data =
                wanted.iter().map(|(_, piece)| if matches!(piece, Piece::Data { .. }) { piece.length() } else { 0 });
            report.written = report.written.saturating_add(data.sum());
            self.context.progress.add_file(size);
            return Ok(());
        }
        let Some(file) = file.filter(PatchFile::is_alone) else {
            return self.queue(entry, size, Some(target), pieces, None).await;
        };
        let cleared = file.begin(&entry, size).and_then(|()| {
            let mut holes = differing.iter().filter(|(_, piece)| matches!(piece, Piece::Hole { .. }));
            holes.try_for_each(|(offset, piece)| file.clear(*offset, piece.length()))
        });
        match cleared {
            Ok(()) => self.queue(entry, size, Some(target), differing, Some((file, comparison))).await,
            Err(problem) => {
                report.problems.push(problem.into());
                self.context.progress.add_file(size);
                Ok(())
            }
        }
    }
}
