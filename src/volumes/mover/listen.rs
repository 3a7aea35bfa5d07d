//! What a mover says, heard by its log: a connection that ends, an API server that restarts or a line that comes twice changes nothing. The result is in the
//! log as long as the pod is there, so the pod is looked at only where the log ends without one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::start::{Pod, disruption, ending, has_ended};
use super::talk::Heard;
use super::{Crew, Ending, MoverError, Result, Share, away};
use crate::cluster::object::is_dying;
use crate::volumes::pod::CONTAINER;
use crate::volumes::said::{Failed, Line, PROBLEMS_TOLD_MAX, ProblemLine, STOPPED, Said};

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
}

impl Ear<'_> {
    /// Takes a line; the result, if it is the last.
    fn take(&mut self, raw: &str, crew: &Crew<'_>, share: &mut Share) -> Option<Ending> {
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
                share.show(crew.progress, now.files, now.bytes, now.stored);
            }
            Said::Problem(problem) => {
                if self.problems.len() < PROBLEMS_TOLD_MAX {
                    self.problems.push(problem);
                }
            }
            Said::Done(summary) => {
                let statistics = summary.statistics;
                share.show(crew.progress, statistics.files, statistics.bytes, statistics.bytes_stored);
                return Some(Ok((Result::Done(summary), std::mem::take(&mut self.problems))));
            }
            Said::Restored(restored) => {
                share.show(crew.progress, restored.files + restored.unchanged, restored.bytes, 0);
                return Some(Ok((Result::Restored(restored), std::mem::take(&mut self.problems))));
            }
            Said::Verified { holds, seen } => {
                return Some(Ok((Result::Verified(holds, seen), std::mem::take(&mut self.problems))));
            }
            Said::Read => self.heard.all_read(),
            Said::Tried { reached, why } => {
                return Some(Ok((Result::Tried { reached, why }, std::mem::take(&mut self.problems))));
            }
            Said::Reached => return Some(Ok((Result::Reached, std::mem::take(&mut self.problems)))),
            Said::Failed(failed) => return Some(Err(MoverError::Failed(failed))),
        }
        None
    }
}

/// A mover only says that it was told to end. Why, its pod says, soon after.
async fn stopped(crew: &Crew<'_>, pod: Pod<'_>, failed: Failed) -> MoverError {
    let begun = Instant::now();
    while begun.elapsed() < crew.limits.receipt {
        match pod.look(crew.cluster).await {
            Ok(None) => return MoverError::Vanished,
            Ok(Some(now)) if is_dying(&now) && disruption(&now).is_none() => return MoverError::Vanished,
            Ok(Some(now)) if is_dying(&now) || has_ended(&now) => {
                return MoverError::Stopped { why: ending(&now) };
            }
            Ok(Some(_)) | Err(_) => sleep(crew.limits.poll).await,
        }
    }
    MoverError::Failed(failed)
}

/// Listens until there is a result, or can be none any more.
pub(super) async fn listen(crew: &Crew<'_>, pod: Pod<'_>, heard: Arc<Heard>, share: &mut Share) -> Ending {
    let mut ear = Ear { name: pod.name, heard, next: 0, since: None, problems: Vec::new(), stray: Vec::new() };
    let (mut wait, mut reached, mut ended) = (WAIT_FIRST, Instant::now(), false);
    loop {
        let followed = crew.streams.follow(pod.namespace, pod.name, CONTAINER, ear.since.as_deref()).await;
        match followed {
            Ok(mut lines) => {
                while let Ok(Ok(Some(line))) = timeout(crew.limits.log_silence, lines.next()).await {
                    (wait, reached) = (WAIT_FIRST, Instant::now());
                    match ear.take(&line, crew, share) {
                        Some(Err(MoverError::Failed(failed))) if failed.exit == STOPPED => {
                            return Err(stopped(crew, pod, failed).await);
                        }
                        Some(result) => return result,
                        None => {}
                    }
                }
            }
            // Once it was heard, rights are there: a server that is coming up may refuse for a while what it permitted before.
            Err(error) if error.is_denied() && ear.next == 0 => return Err(MoverError::Unreachable(error)),
            Err(_) => {}
        }
        // It had ended before the log was read to its end, and there was no result in it.
        if ended {
            let last = pod.look(crew.cluster).await.ok().flatten();
            let mut why = last.as_ref().map_or_else(|| "its pod is gone".to_owned(), ending);
            for stray in &ear.stray {
                why.push_str(" | ");
                why.push_str(stray);
            }
            return Err(MoverError::Ended { why });
        }
        match pod.look(crew.cluster).await {
            Ok(Some(now)) => {
                reached = Instant::now();
                ended = has_ended(&now);
                // By then a mover that hears nothing has ended itself, whatever its node says later.
                let quiet = ear.heard.quiet();
                if !ended
                    && quiet >= crew.limits.silence
                    && let Some(away) = away::node(crew.cluster, &now).await
                {
                    return Err(MoverError::NodeAway { node: away.node, why: away.why, quiet });
                }
            }
            Ok(None) => return Err(MoverError::Vanished),
            Err(error) if reached.elapsed() >= crew.limits.away => {
                return Err(MoverError::Unreachable(error));
            }
            Err(_) => {}
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}
