//! What a mover says of its backup. The mover itself is `volumes::mover`.

use std::time::Duration;

use crate::backup::BackupReport;
use crate::tree::problem::{Problem, Severity};
use crate::volumes::mover::within::Voice;
use crate::volumes::said::{PROBLEMS_TOLD_MAX, ProblemLine, Said, Summary};

/// Says what a backup came to.
pub fn tell_report(voice: &Voice, report: &BackupReport, took: Duration) {
    let problems = report.problems.len();
    // Those that are missing first: of the others some may not be told.
    let (missing, notes): (Vec<&Problem>, Vec<&Problem>) =
        report.problems.iter().partition(|problem| problem.severity == Severity::Problem);
    for problem in missing.into_iter().chain(notes).take(PROBLEMS_TOLD_MAX) {
        let message = format!("{problem}: {}", problem.cause);
        let missing = problem.severity == Severity::Problem;
        voice.say(Said::Problem(ProblemLine::new(&problem.path.display(), &message, missing)));
    }
    voice.say(Said::Done(Box::new(Summary {
        snapshot: report.snapshot.map(|id| id.hex()).unwrap_or_default(),
        statistics: report.record.statistics,
        seconds: took.as_secs_f64(),
        problems: problems as u64,
        emptied: report.emptied(),
        broken_packs: report.broken_packs.len() as u64,
    })));
}
