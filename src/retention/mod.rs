//! Which snapshots to keep: a policy and a list give a verdict for each, with every reason to keep it. Pure; removing is
//! done elsewhere, by a plan that somebody has seen.
//!
//! Rules, all counted in groups of the same source and the same tags unless said otherwise:
//! - `last`: the n newest. `hourly` to `yearly`: one snapshot for each of the n newest periods that have any.
//! - `within`: all that are at most so much older than the *newest of the group*, not than now: where backups have
//!   stopped, nothing goes away because time passes.
//! - A period is represented by its newest complete snapshot, by an incomplete one (with problems, exit 3) only if it
//!   has no other. `last` and `within` take both, or a source with a lasting problem could never be thinned out.
//! - Whatever the policy says, these stay: the newest snapshot of each source, its newest complete one, its last
//!   verified-good one, and everything dated in the future, which means that a clock was or is wrong.
//! - What is aside (a safety copy) is none of the backups of its source: it is never the newest, complete or verified one. All of a source that are aside are
//!   one group, whatever their tags.
//! - A policy that names nothing is an error: it would mean "remove everything".

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::units;

pub use plan::plan_retention;

/// How many to keep; 0 or `None` is "this rule keeps nothing".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Policy {
    /// The newest, however close together.
    pub last: u32,
    /// One an hour.
    pub hourly: u32,
    /// One a day.
    pub daily: u32,
    /// One an ISO week, which begins on Monday.
    pub weekly: u32,
    /// One a month.
    pub monthly: u32,
    /// One a year.
    pub yearly: u32,
    /// All that are at most so much older than the newest.
    pub within: Option<Duration>,
}

impl Policy {
    /// Whether no rule keeps anything.
    pub fn is_empty(&self) -> bool {
        let Self { last, hourly, daily, weekly, monthly, yearly, within } = *self;
        [last, hourly, daily, weekly, monthly, yearly].iter().all(|n| *n == 0) && within.is_none_or(|d| d.is_zero())
    }

    /// How many periods of this length are kept.
    pub(crate) fn count(&self, every: Every) -> u32 {
        match every {
            Every::Hour => self.hourly,
            Every::Day => self.daily,
            Every::Week => self.weekly,
            Every::Month => self.monthly,
            Every::Year => self.yearly,
        }
    }
}

/// What retention needs to know of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: ObjectId,
    /// What it is of.
    pub source: String,
    /// Its tags; another set of tags is another group.
    pub tags: BTreeSet<String>,
    /// When it was taken.
    pub time: Time,
    /// Taken without problems.
    pub complete: bool,
    /// Read back and found good.
    pub verified: bool,
    /// Made only to go back to, before something was replaced: none of the backups of its source.
    pub aside: bool,
}

/// The length of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Every {
    /// `2026-11-01T03`
    Hour,
    /// `2026-11-01`
    Day,
    /// `2026-W44`
    Week,
    /// `2026-11`
    Month,
    /// `2026`
    Year,
}

impl Every {
    /// All, from short to long.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    const fn adverb(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Reason {
    /// The newest of its source.
    Newest,
    /// The newest of its source that has no problems.
    NewestComplete,
    /// The newest of its source that was verified.
    LastVerified,
    /// Dated after now; not counted by any rule.
    Future,
    /// Among the newest of its group.
    Last {
        /// 1 is the newest.
        rank: u32,
    },
    /// Stands for a period of its group.
    Period {
        /// The period's length.
        every: Every,
        /// The period, in the time zone of the policy.
        period: String,
    },
    /// Not much older than the newest of its group.
    Within {
        /// The policy's duration in seconds.
        seconds: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::NewestComplete => f.write_str("newest complete"),
            Self::LastVerified => f.write_str("last verified"),
            Self::Future => f.write_str("dated in the future"),
            Self::Last { rank } => write!(f, "last #{rank}"),
            Self::Period { every, period } => write!(f, "{} {period}", every.adverb()),
            Self::Within { seconds } => write!(f, "within {}", units::duration(Duration::from_secs(*seconds))),
        }
    }
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// Stays, for at least one reason.
    Keep {
        /// All of them.
        reasons: Vec<Reason>,
    },
    /// No rule keeps it.
    Remove,
}

/// One snapshot and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Its id.
    pub id: ObjectId,
    /// What it is of.
    pub source: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// When it was taken.
    pub time: Time,
    /// Keep or remove.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl Decision {
    /// Whether it stays.
    pub const fn is_kept(&self) -> bool {
        matches!(self.verdict, Verdict::Keep { .. })
    }
}

/// Why nothing was decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionError {
    /// Every count is zero.
    #[error("the retention policy keeps nothing")]
    EmptyPolicy,
    /// The list names the same snapshot twice; a verdict would be ambiguous.
    #[error("snapshot {0} is listed twice")]
    Twice(ObjectId),
}
