//! A restore within a mover: the ordinary one, with the keys that were handed over, and what it says of it.

use std::time::Duration;

use crate::recover::{RestoreProblem, RestoreReport};
use crate::tree::restore::metadata::is_about_metadata;
use crate::volumes::mover::within::Voice;
use crate::volumes::said::{PROBLEMS_TOLD_MAX, ProblemLine, Restored, Said};

/// Whether an entry is missing, or has not its content. Owners, times and attributes that could not be set leave it usable.
#[must_use]
pub fn leaves_out(problem: &RestoreProblem) -> bool {
    match problem {
        RestoreProblem::Tree(problem) => !is_about_metadata(problem.operation),
        RestoreProblem::Damaged { .. } | RestoreProblem::Lost { .. } => true,
    }
}

/// What a restore came to, in numbers.
#[must_use]
pub fn summary(report: &RestoreReport, took: Duration) -> Restored {
    let count =
        |is: &dyn Fn(&RestoreProblem) -> bool| report.problems.iter().filter(|problem| is(problem)).count() as u64;
    Restored {
        files: report.files,
        bytes: report.bytes,
        written: report.written,
        removed: report.deleted.len() as u64,
        others: report.others,
        unchanged: report.unchanged,
        seconds: took.as_secs_f64(),
        problems: report.problems.len() as u64,
        missing: count(&leaves_out),
        damaged: count(&|problem| !matches!(problem, RestoreProblem::Tree(_))),
    }
}

/// The first problems, those first that leave something out.
#[must_use]
pub fn problem_lines(report: &RestoreReport) -> Vec<ProblemLine> {
    let (missing, others): (Vec<_>, Vec<_>) = report.problems.iter().partition(|problem| leaves_out(problem));
    let line = |problem: &RestoreProblem| {
        let path = match problem {
            RestoreProblem::Tree(problem) => &problem.path,
            RestoreProblem::Damaged { path, .. } | RestoreProblem::Lost { path, .. } => path,
        };
        let message = crate::base::causes::in_one_line(problem);
        ProblemLine::new(&path.display(), &message, leaves_out(problem))
    };
    missing.into_iter().chain(others).take(PROBLEMS_TOLD_MAX).map(line).collect()
}

/// Says what a restore came to.
pub fn tell_report(voice: &Voice, report: &RestoreReport, took: Duration) {
    for problem in problem_lines(report) {
        voice.say(Said::Problem(problem));
    }
    voice.say(Said::Restored(Box::new(summary(report, took))));
}
