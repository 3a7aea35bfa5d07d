//! `restore.files`.

use std::path::PathBuf;
use std::sync::Arc;

use super::{World, because, failed, reported};
use crate::base::cancel::Cancel;
use crate::base::id::short_hex;
use crate::base::units;
use crate::format::entry::TreePath;
use crate::format::record::TreeRoot;
use crate::recover::select::Selection;
use crate::recover::{Overwrite, RestorePlan, run_restore};
use crate::runbook::{self, RestoreFiles, Step};
use crate::runs::drive::Undone;
use crate::tree::exclude::Excludes;

/// Problems that a step tells one by one.
const PROBLEMS_TOLD_MAX: usize = 20;

/// Which entries.
pub(super) fn selection(files: &RestoreFiles) -> Result<Selection, Undone> {
    let wrong = |error| because(&error, "see the patterns in the runbook");
    let include = match files.include.as_slice() {
        [] => None,
        patterns => Some(Excludes::new(patterns).map_err(wrong)?),
    };
    Ok(Selection { include, exclude: Excludes::new(&files.exclude).map_err(wrong)? })
}

/// The part of the snapshot.
pub(super) fn within(files: &RestoreFiles) -> Result<TreePath, Undone> {
    let wrong = |_| failed(format!("{:?} is no path in a snapshot", files.path), "see the runbook");
    let path = files.path.as_deref().unwrap_or_default().trim_matches('/');
    TreePath::new(path.as_bytes()).map_err(wrong)
}

/// What is done in the directory.
pub(crate) fn restore_plan(files: &RestoreFiles, root: TreeRoot, spared: &[PathBuf]) -> Result<RestorePlan, Undone> {
    Ok(RestorePlan {
        selection: selection(files)?,
        spared: spared.to_vec(),
        overwrite: match files.overwrite {
            runbook::Overwrite::Never => Overwrite::Never,
            runbook::Overwrite::Changed => Overwrite::Changed,
            runbook::Overwrite::Always => Overwrite::Always,
        },
        delete: files.delete,
        owner: !files.no_owner,
        ..RestorePlan::whole(root, within(files)?, files.target.clone())
    })
}

impl World<'_> {
    pub(super) async fn restore_files(
        &self,
        step: &Step,
        files: &RestoreFiles,
        cancel: &Arc<Cancel>,
    ) -> Result<Vec<String>, Undone> {
        let (chosen, snapshot) = self.snapshot(step)?;
        let plan =
            RestorePlan { confined: self.confined.clone(), ..restore_plan(files, snapshot.record.root, &self.spared)? };
        self.have(&files.target)?;
        let (operation, reader) = (self.operation(step, cancel)?, &self.source()?.reader);
        operation.progress.begin("restoring", "file");
        if files.path.is_none() && files.include.is_empty() && files.exclude.is_empty() {
            let statistics = snapshot.record.statistics;
            operation.progress.expect(statistics.files, statistics.bytes, false);
        }
        let report = reported(run_restore(&operation, reader, &plan).await, cancel)?;
        if !report.problems.is_empty() {
            let told: Vec<String> = report
                .problems
                .iter()
                .take(PROBLEMS_TOLD_MAX)
                .map(|problem| crate::base::causes::in_one_line(problem))
                .collect();
            let why = format!("{} of what was to be restored had problems: {}", report.problems.len(), told.join("; "));
            return Err(failed(
                why,
                "see what is wrong with them; `homelab-dr check --read-data` looks at the repository",
            ));
        }
        let gone =
            if report.deleted.is_empty() { String::new() } else { format!(", {} removed", report.deleted.len()) };
        let there = match report.unchanged {
            0 => String::new(),
            1 => ", 1 was there".to_owned(),
            some => format!(", {some} were there"),
        };
        let (files_done, noun) = (report.files, if report.files == 1 { "file" } else { "files" });
        Ok(vec![format!(
            "{files_done} {noun} ({}) written into {} from snapshot {}{there}{gone}",
            units::bytes(report.bytes),
            files.target.display(),
            short_hex(&chosen.snapshot),
        )])
    }
}
