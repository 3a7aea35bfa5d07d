//! What a mover says: numbered lines of JSON in its log, which outlives connections. Progress now and then, problems as they are known at the end, and last
//! the result. None is so long that a container runtime would cut it in two.

use serde::{Deserialize, Serialize};

use crate::format::record::Statistics;

/// Longest line that is taken; containerd cuts at 16 KiB.
pub const LINE_BYTES_MAX: usize = 16 << 10;
/// Longest text within one: six of them as JSON writes them, where every byte is a quote, stay below.
const TEXT_BYTES_MAX: usize = 1 << 10;
/// Problems that are told one by one; the result has their number.
pub const PROBLEMS_TOLD_MAX: usize = 200;
/// Causes of a failure that are told.
const CAUSES_MAX: usize = 4;

/// What a mover ends with that was told to end.
pub const STOPPED: u8 = 130;

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The run; also marks the line as one of ours among whatever a runtime says.
    pub run: String,
    /// Counts up from 0: a line that is read twice is taken once.
    pub n: u64,
    /// What is said.
    #[serde(flatten)]
    pub said: Said,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Said {
    /// It runs and waits for its job.
    Waiting {
        /// The program's version.
        version: String,
    },
    /// The job arrived.
    Accepted {
        /// [`Job::receipt`](super::protocol::Job::receipt) of it.
        receipt: String,
    },
    /// What came was no message; the job should be sent anew.
    Rejected {
        /// Why.
        why: String,
    },
    /// How far it is.
    Progress(Progress),
    /// Something is wrong with one file.
    Problem(ProblemLine),
    /// The store was reached, and the repository in it is the one of the writer key: all that was asked for.
    Reached,
    /// Whether an address was reached that it was to try.
    Tried {
        /// It was, at last.
        reached: bool,
        /// What came of the last attempt.
        why: String,
    },
    /// All was read, and nothing is committed before somebody says that it held still until then.
    Read,
    /// There is a snapshot.
    Done(Box<Summary>),
    /// The volume is filled, as far as this says.
    Restored(Box<Restored>),
    /// What was to be looked at was.
    Verified {
        /// Whether it is as it should be.
        holds: bool,
        /// What was seen.
        seen: String,
    },
    /// It came to nothing.
    Failed(Failed),
}

impl Said {
    /// What was seen, cut so that it fits.
    #[must_use]
    pub fn verified(holds: bool, seen: &str) -> Self {
        Self::Verified { holds, seen: cut(seen) }
    }
}

/// How far a backup is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// What it does.
    pub phase: String,
    /// Files dealt with.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Bytes that were stored.
    pub stored: u64,
    /// Heartbeats that arrived: whoever sends them sees whether they do.
    pub heard: u64,
}

/// A problem with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemLine {
    /// The file, for people.
    pub path: String,
    /// What is wrong, with its causes.
    pub message: String,
    /// Whether something is missing that was asked for; otherwise it is worth a line.
    pub missing: bool,
}

/// What a backup came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The snapshot's id.
    pub snapshot: String,
    /// Its numbers.
    pub statistics: Statistics,
    /// How long it took.
    pub seconds: f64,
    /// Problems and notes in all, of which the first were told.
    pub problems: u64,
    /// Of an earlier snapshot, if this one holds nothing and that did.
    pub emptied: Option<Statistics>,
    /// Packs with metadata that did not open.
    pub broken_packs: u64,
}

/// What a restore came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restored {
    /// Regular files written.
    pub files: u64,
    /// Their bytes, holes included.
    pub bytes: u64,
    /// Bytes of content that were written: less, where only what differs was.
    pub written: u64,
    /// Entries that were removed, with everything below each.
    pub removed: u64,
    /// Directories, links, devices and fifos made or mended.
    pub others: u64,
    /// Entries that were as they should be.
    pub unchanged: u64,
    /// How long it took.
    pub seconds: f64,
    /// Problems in all, of which the first were told.
    pub problems: u64,
    /// Those of them that leave an entry out, or without its content.
    pub missing: u64,
    /// Those of these for which the repository is damaged.
    pub damaged: u64,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What happened.
    pub error: String,
    /// Because of what.
    pub causes: Vec<String>,
    /// What to do about it.
    pub help: String,
    /// The exit code that goes with it.
    pub exit: u8,
}

/// A text that fits into a line. JSON writes six bytes for a control character, which no person reads anyway.
fn cut(text: &str) -> String {
    let text = text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}

impl ProblemLine {
    /// Cut so that it fits.
    #[must_use]
    pub fn new(path: &str, message: &str, missing: bool) -> Self {
        Self { path: cut(path), message: cut(message), missing }
    }
}

impl Failed {
    /// What happened and because of what, in one line.
    #[must_use]
    pub fn told(&self) -> String {
        [std::slice::from_ref(&self.error), &self.causes].concat().join(": ")
    }

    /// Cut so that it fits.
    #[must_use]
    pub fn new(error: &str, causes: &[String], help: &str, exit: u8) -> Self {
        let causes = causes.iter().take(CAUSES_MAX).map(|cause| cut(cause)).collect();
        Self { error: cut(error), causes, help: cut(help), exit }
    }
}

impl Line {
    /// As it stands in the log, without its end.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// A line of a log, if the mover of this run said it.
    #[must_use]
    pub fn parse(text: &str, run: &str) -> Option<Self> {
        if text.len() > LINE_BYTES_MAX {
            return None;
        }
        serde_json::from_str(text).ok().filter(|line: &Self| line.run == run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Said> {
        let long = "\u{1}".repeat(100_000);
        let summary = Summary {
            snapshot: "ab".repeat(32),
            statistics: Statistics { files: u64::MAX, bytes_new: 1, ..Statistics::default() },
            seconds: 1.5,
            problems: 3,
            emptied: Some(Statistics::default()),
            broken_packs: 0,
        };
        vec![
            Said::Waiting { version: "0.1.0".into() },
            Said::Accepted { receipt: "00".into() },
            Said::Rejected { why: "no".into() },
            Said::Progress(Progress { phase: "backing up".into(), files: 1, bytes: 2, stored: 3, heard: 4 }),
            Said::Problem(ProblemLine::new("a\n\"b", "denied", true)),
            Said::Read,
            Said::verified(true, &long),
            Said::Done(Box::new(summary)),
            Said::Failed(Failed::new(&long.replace('\u{1}', "é"), &["x".into()], "", 5)),
        ]
    }

    #[test]
    fn every_line_goes_both_ways_and_is_one_line() {
        for (n, said) in (0..).zip(all()) {
            let line = Line { run: "r".into(), n, said };
            let text = line.text();
            assert!(!text.contains('\n') && text.len() < LINE_BYTES_MAX, "{text}");
            assert_eq!(Line::parse(&text, "r"), Some(line), "{text}");
            assert_eq!(Line::parse(&text, "another"), None);
        }
    }

    #[test]
    fn no_line_is_longer_than_a_runtime_takes() {
        for worst in ["\u{1}", "\"", "\n", "é", "\u{7f}"].map(|text| text.repeat(100_000)) {
            let causes = vec![worst.clone(); 9];
            for said in [
                Said::Problem(ProblemLine::new(&worst, &worst, true)),
                Said::Failed(Failed::new(&worst, &causes, &worst, 5)),
            ] {
                let text = Line { run: "r".into(), n: u64::MAX, said }.text();
                assert!(text.len() <= LINE_BYTES_MAX, "{}", text.len());
            }
        }
    }

    #[test]
    fn what_is_no_line_is_none() {
        for text in ["", "{", "null", "{\"run\":\"r\"}", "{\"run\":\"r\",\"n\":1,\"say\":\"sing\"}", "[1]"] {
            assert_eq!(Line::parse(text, "r"), None, "{text}");
        }
    }
}
