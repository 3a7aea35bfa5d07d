//! What a mover does and says of its backup, and whoever reads a volume in its stead. The mover itself is `volumes::mover`.

use std::path::PathBuf;
use std::time::Duration;

use crate::backup::{BackupOptions, BackupReport};
use crate::tree::live::LiveOptions;
use crate::tree::live::postgres::Postgres;
use crate::tree::problem::{Problem, Severity};
use crate::volumes::mover::within::Voice;
use crate::volumes::protocol::Dump;
use crate::volumes::said::{PROBLEMS_TOLD_MAX, ProblemLine, Said, Summary};

/// What every volume has that is no data: the place of what `fsck` finds, which only root may read.
pub const ALWAYS_LEFT_OUT: &str = "/lost+found/";

/// What is known of whoever uses a volume that is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InUse {
    /// Nobody writes to it: all is as if the node had lost its power.
    pub still: bool,
    /// Whoever writes may have locks that are not seen here.
    pub apart: bool,
    /// The source whose dump stands for data of `PostgreSQL`.
    pub dumped: Option<Dump>,
}

/// How a volume is read: its databases are captured, and data of a `PostgreSQL` server that nobody shut down is left out, as a problem where no dump stands for it; but not where the volume is still.
/// Tags and the rest are the caller's.
#[must_use]
pub fn options(source: &str, volume: PathBuf, scratch: Option<PathBuf>, in_use: InUse) -> BackupOptions {
    let InUse { still, apart, dumped } = in_use;
    let postgres = match dumped {
        // What may not fit together is in the dump.
        Some(Dump { succeeded: true, .. }) if still => Postgres::CrashConsistent,
        _ if still => Postgres::OneMoment,
        Some(Dump { source, succeeded: true }) => Postgres::Dumped(source),
        Some(Dump { source, succeeded: false }) => Postgres::NotDumped(source),
        None => Postgres::Refuse,
    };
    let live = Some(LiveOptions { scratch, postgres, apart: apart && !still, ..LiveOptions::default() });
    BackupOptions { paths: vec![volume], live, ..BackupOptions::of(source) }
}

/// How a raw volume is read: as it is, without a look at what is on it.
#[must_use]
pub fn device_options(source: &str, device: PathBuf) -> BackupOptions {
    BackupOptions { paths: vec![device], device: true, ..BackupOptions::of(source) }
}

/// What a backup came to, in numbers, with the first problems: those first that leave something out.
#[must_use]
pub fn summary(report: &BackupReport, took: Duration) -> (Summary, Vec<ProblemLine>) {
    // Of the others some may not be told.
    let (missing, notes): (Vec<&Problem>, Vec<&Problem>) =
        report.problems.iter().partition(|problem| problem.severity == Severity::Problem);
    let line = |problem: &Problem| {
        let message = format!("{problem}: {}", problem.cause);
        ProblemLine::new(&problem.path.display(), &message, problem.severity == Severity::Problem)
    };
    let summary = Summary {
        snapshot: report.snapshot.map(|id| id.hex()).unwrap_or_default(),
        statistics: report.record.statistics,
        seconds: took.as_secs_f64(),
        problems: report.problems.len() as u64,
        emptied: report.emptied(),
        broken_packs: report.broken_packs.len() as u64,
    };
    (summary, missing.into_iter().chain(notes).take(PROBLEMS_TOLD_MAX).map(line).collect())
}

/// Says what a backup came to.
pub fn tell_report(voice: &Voice, report: &BackupReport, took: Duration) {
    let (summary, problems) = summary(report, took);
    for problem in problems {
        voice.say(Said::Problem(problem));
    }
    voice.say(Said::Done(Box::new(summary)));
}
