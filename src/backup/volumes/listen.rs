//! What a mover says, heard by its log: a connection that ends, an API server that restarts or a line that comes twice changes nothing. The result is in the
//! log as long as the pod is there, so the pod is looked at only where the log ends without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::one;
use super::start::{Pod, ending, has_ended};
use super::talk::Heard;
use super::{MoverError, Movers, Share};
use crate::format::record::Statistics;
use crate::volumes::pod::CONTAINER;
use crate::volumes::said::{Line, PROBLEMS_TOLD_MAX, ProblemLine, Said, Summary};

/// The first wait before the log is opened again; each is twice as long as the one before.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Lines that are not ours and are kept for the report, the last ones: what a runtime or a panic says.
const STRAY_MAX: usize = 5;
/// The longest of them.
const STRAY_CHARS_MAX: usize = 300;

/// What was heard so far.
struct Ear<'a> {
    name: &'a str,
    heard: Arc<Heard>,
    /// The number of the next line that is news.
    next: u64,
    /// The time of the last line, as the log has it.
    since: Option<String>,
    problems: Vec<ProblemLine>,
    stray: Vec<String>,
    /// It only looks for the store.
    reach: bool,
}

impl Ear<'_> {
    /// Takes a line; the result, if it is the last.
    fn take(&mut self, raw: &str, movers: &Movers<'_>, share: &mut Share) -> Option<one::Result> {
        self.heard.line();
        let (time, text) = raw.split_once(' ').unwrap_or(("", raw));
        if chrono::DateTime::parse_from_rfc3339(time).is_ok() {
            self.since = Some(time.to_owned());
        }
        let Some(line) = Line::parse(text, self.name) else {
            self.stray.push(text.chars().take(STRAY_CHARS_MAX).collect());
            if self.stray.len() > STRAY_MAX {
                self.stray.remove(0);
            }
            return None;
        };
        if line.n < self.next {
            return None;
        }
        self.next = line.n + 1;
        match line.said {
            Said::Waiting { .. } => {}
            Said::Accepted { receipt } => {
                self.heard.accepted(&receipt);
            }
            Said::Rejected { .. } => self.heard.rejected(),
            Said::Progress(now) => {
                self.heard.heartbeats(now.heard);
                share.show(&movers.progress, now.files, now.bytes, now.stored);
            }
            Said::Problem(problem) => {
                if self.problems.len() < PROBLEMS_TOLD_MAX {
                    self.problems.push(problem);
                }
            }
            Said::Done(summary) => {
                let statistics = summary.statistics;
                share.show(&movers.progress, statistics.files, statistics.bytes, statistics.bytes_stored);
                return Some(Ok((*summary, std::mem::take(&mut self.problems))));
            }
            Said::Reached if self.reach => return Some(Ok(nothing())),
            Said::Reached => {
                let why = "it only looked for the store, and was not asked to".to_owned();
                return Some(Err(MoverError::Ended { why }));
            }
            Said::Failed(failed) => return Some(Err(MoverError::Failed(failed))),
        }
        None
    }
}

/// What comes of a mover that only looks.
fn nothing() -> (Summary, Vec<ProblemLine>) {
    let summary = Summary {
        snapshot: String::new(),
        statistics: Statistics::default(),
        seconds: 0.0,
        problems: 0,
        emptied: None,
        broken_packs: 0,
    };
    (summary, Vec::new())
}

/// Listens until there is a result, or can be none any more. `reach`: it was asked for nothing but a look for the store.
pub(super) async fn listen(
    movers: &Movers<'_>,
    pod: Pod<'_>,
    heard: Arc<Heard>,
    share: &mut Share,
    reach: bool,
) -> one::Result {
    let mut ear = Ear { name: pod.name, heard, next: 0, since: None, problems: Vec::new(), stray: Vec::new(), reach };
    let (mut wait, mut reached, mut ended) = (WAIT_FIRST, Instant::now(), false);
    loop {
        let followed = movers.streams.follow(pod.namespace, pod.name, CONTAINER, ear.since.as_deref()).await;
        match followed {
            Ok(mut lines) => {
                while let Ok(Ok(Some(line))) = timeout(movers.limits.log_silence, lines.next()).await {
                    (wait, reached) = (WAIT_FIRST, Instant::now());
                    if let Some(result) = ear.take(&line, movers, share) {
                        return result;
                    }
                }
            }
            // Once it was heard, rights are there: a server that is coming up may refuse for a while what it permitted before.
            Err(error) if error.is_denied() && ear.next == 0 => return Err(MoverError::Unreachable(error)),
            Err(_) => {}
        }
        // It had ended before the log was read to its end, and there was no result in it.
        if ended {
            let last = pod.look(movers.cluster).await.ok().flatten();
            let mut why = last.as_ref().map_or_else(|| "its pod is gone".to_owned(), ending);
            for stray in &ear.stray {
                why.push_str(" | ");
                why.push_str(stray);
            }
            return Err(MoverError::Ended { why });
        }
        match pod.look(movers.cluster).await {
            Ok(Some(now)) => {
                reached = Instant::now();
                ended = has_ended(&now);
            }
            Ok(None) => return Err(MoverError::Vanished),
            Err(error) if reached.elapsed() >= movers.limits.away => {
                return Err(MoverError::Unreachable(error));
            }
            Err(_) => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}
