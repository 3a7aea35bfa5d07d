//! Checks of what is in a volume of a cluster, from within a mover: the same looks as at a folder of this machine.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Origin, Programs, Restored, Seen, Surroundings, hold};
use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::runbook::{Answer, Check, Probe};
use crate::volumes::protocol::{Expected, Question, VerifyJob, milliseconds};

/// What a mover is asked for a check, with `against` left out; `None` where it does not look into a volume, or where a mover cannot.
pub(super) fn question(probe: &Probe) -> Option<Question> {
    match probe {
        Probe::Files(share) => Some(Question::Files(*share)),
        Probe::NoEmpty(at_least) => Some(Question::NoEmpty(*at_least)),
        Probe::Sqlite { claim: _, file, query, answer } if file.is_relative() => Some(Question::Sqlite {
            file: file.to_string_lossy().into_owned(),
            query: query.clone(),
            answer: match answer {
                Answer::Any => Expected::Any,
                Answer::AtLeast(number) => Expected::AtLeast(*number),
                Answer::Equals(text) => Expected::Equals(text.clone()),
            },
        }),
        _ => None,
    }
}

fn probe(question: &Question) -> Probe {
    match question {
        Question::Files(share) => Probe::Files(*share),
        Question::NoEmpty(at_least) => Probe::NoEmpty(*at_least),
        Question::Sqlite { file, query, answer } => Probe::Sqlite {
            claim: None,
            file: PathBuf::from(file),
            query: query.clone(),
            answer: match answer {
                Expected::Any => Answer::Any,
                Expected::AtLeast(number) => Answer::AtLeast(*number),
                Expected::Equals(text) => Answer::Equals(text.clone()),
            },
        },
    }
}

/// A job for a check: how often it is tried is the mover's affair.
pub(super) fn job(check: &Check, salt: [u8; 16], run: &str) -> Option<VerifyJob> {
    Some(VerifyJob {
        salt,
        run: run.to_owned(),
        question: question(&check.probe)?,
        retries: check.retries,
        deadline: check.deadline.map(milliseconds),
        every: milliseconds(check.every),
        against: None,
    })
}

/// A mover has no other program than itself, and is asked for none.
struct NoPrograms;

#[async_trait]
impl Programs for NoPrograms {
    async fn run(&self, _argv: &[String], _cancel: &Arc<Cancel>) -> Result<Vec<String>, String> {
        Err("a mover runs no programs".to_owned())
    }
}

/// Looks. `from` is what a comparison is with, and is there if it is one.
pub async fn answer(
    job: &VerifyJob,
    (folder, scratch): (&Path, Option<&Path>),
    from: Option<Origin>,
    (clock, cancel): (Arc<dyn Clock>, Arc<Cancel>),
) -> Seen {
    if let Question::Sqlite { file, .. } = &job.question
        && !Path::new(file).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Seen::Not(format!("{file} leads out of the volume"));
    }
    let check = Check {
        probe: probe(&job.question),
        retries: job.retries,
        deadline: job.deadline.map(Duration::from_millis),
        every: Duration::from_millis(job.every),
    };
    let mut around = Surroundings::new(clock, cancel, Arc::new(NoPrograms));
    around.restored = vec![Restored { folder: folder.to_owned(), from }];
    if let Some(scratch) = scratch {
        scratch.clone_into(&mut around.scratch);
    }
    hold(&check, &around).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;

    fn check(probe: Probe) -> Check {
        Check { probe, retries: Some(0), deadline: None, every: Duration::from_secs(5) }
    }

    #[test]
    fn what_is_asked_is_what_the_runbook_says_and_nothing_else_is_asked() {
        let sqlite = |file: &str, answer| Probe::Sqlite {
            claim: None,
            file: file.into(),
            query: Some("select 1".into()),
            answer,
        };
        for asked in [
            Probe::Files(5),
            Probe::NoEmpty(3),
            sqlite("a/b.db", Answer::Any),
            sqlite("b.db", Answer::AtLeast(7)),
            sqlite("b.db", Answer::Equals("x".into())),
        ] {
            let job = job(&check(asked.clone()), [1; 16], "r").unwrap();
            assert_eq!(probe(&job.question), asked);
        }
        for other in [sqlite("/on/this/machine.db", Answer::Any), Probe::Tcp("a:1".into())] {
            assert!(job(&check(other), [1; 16], "r").is_none());
        }
    }

    #[tokio::test]
    async fn nothing_beside_the_volume_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("volume")).unwrap();
        for file in ["../beside.db", "/etc/passwd", "a/../../beside.db"] {
            let question = Question::Sqlite { file: file.into(), query: None, answer: Expected::Any };
            let job = VerifyJob { question, ..job(&check(Probe::NoEmpty(1)), [1; 16], "r").unwrap() };
            let around = (Arc::new(SystemClock) as Arc<dyn Clock>, Arc::new(Cancel::default()));
            let seen = answer(&job, (&folder.path().join("volume"), None), None, around).await;
            assert_eq!(seen, Seen::Not(format!("{file} leads out of the volume")));
        }
    }
}
