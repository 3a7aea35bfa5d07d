//! Sources of the demonstration's configuration, backed up as `backup` does it. Anything that is missing ends the demonstration.

use std::collections::BTreeSet;

use crate::backup::volumes::folder::Reading;
use crate::backup::volumes::{Capture as _, Outcome, Wanted};
use crate::backup::{self, BackupOptions};
use crate::cli::backup::configured;
use crate::cli::backup::configured::reached::Reached;
use crate::cli::backup::configured::volumes::open_folder;
use crate::cli::context::host;
use crate::cli::demo::stage::REPORT;
use crate::cli::demo::told::SnapshotDocument;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::config::{FolderVolumesSource, ResourcesSource};
use crate::format::record::Statistics;
use crate::tree::walk::WalkOptions;

/// A snapshot with anything missing is none here.
fn whole(source: String, snapshot: String, of: Statistics, first: Option<String>) -> Result<SnapshotDocument, Failure> {
    if let (Some(problem), true) = (first, of.problems > 0) {
        let what = format!("the backup of {source} had problems, the first: {problem}");
        return Err(Failure::new(Exit::Problems, what, REPORT));
    }
    let Statistics { files, bytes, files_read, bytes_new, bytes_stored, .. } = of;
    Ok(SnapshotDocument { source, snapshot, files, bytes, files_read, bytes_new, bytes_stored })
}

/// The objects.
pub(super) async fn objects(
    operation: &backup::Context,
    name: &str,
    resources: &ResourcesSource,
) -> Result<Vec<SnapshotDocument>, Failure> {
    let options = BackupOptions { host: host(), ..BackupOptions::of(name) };
    let (report, _) = configured::objects(operation, &options, resources, &mut Reached::default()).await?;
    let first = report.problems.first().map(|problem| format!("{problem}: {}", problem.cause));
    let snapshot = report.snapshot.map(|id| id.hex()).unwrap_or_default();
    Ok(vec![whole(name.to_owned(), snapshot, report.record.statistics, first)?])
}

/// The volumes, one snapshot each.
pub(super) async fn volumes(
    operation: &backup::Context,
    source: &FolderVolumesSource,
) -> Result<Vec<SnapshotDocument>, Failure> {
    let cluster = open_folder(&source.folder)?;
    let reading = Reading {
        cluster: &cluster,
        source,
        others: &[],
        succeeded: &BTreeSet::new(),
        context: operation,
        wanted: Wanted { host: host(), ..Wanted::default() },
        walk: WalkOptions::default(),
    };
    let report = reading.run(&|_| ()).await?;
    let made = report.rows.into_iter().map(|row| match row.outcome {
        Outcome::Captured { summary, problems } => {
            let first = problems.into_iter().next().map(|problem| problem.message);
            whole(row.source, summary.snapshot, summary.statistics, first)
        }
        Outcome::NotStored(error) => Err(error.into()),
        Outcome::Failed(error) => Err(error.into()),
        other => Err(Failure::new(Exit::Error, format!("{} was not backed up: {other:?}", row.source), REPORT)),
    });
    made.collect()
}
