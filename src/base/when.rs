//! Naming a snapshot on the command line, and a path inside it.
//!
//! ```text
//! SNAPSHOT        = ID | "latest" [":" SOURCE] | TIME
//! SNAPSHOT_PATH   = SNAPSHOT [":" PATH]
//! ID              = 4 to 64 hex digits, the start of an id
//! TIME            = 2026-11-01 | 2026-11-01T03:00 | RFC 3339; the newest snapshot at or before the END of that
//!                   day, minute or second
//! ```
//!
//! A `SOURCE` (`pvc/immich/library`) holds no colon and does not begin with `/`; so in `latest:A:B` A is the source and
//! B the path, `latest:A` is a source, and `latest:/A` or `latest::A` is a path in the newest of all. A time takes as
//! much as it can: `2026-11-01:30` is the path `30`, `2026-11-01T03:00:30` is a second; where that is not meant, begin
//! the path with `/`. Paths are bytes and may hold anything, colons too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::base::clock::Time;
use crate::base::id::ObjectId;

/// Fewest digits of an id; with fewer, typing errors hit something too often.
pub const ID_DIGITS_MIN: usize = 4;
/// Candidates that an error names.
const CANDIDATES_SHOWN: usize = 8;
/// Digits of an id that an error shows at least.
const ID_DIGITS_SHOWN: usize = 8;
/// Longest text that is tried as a time; RFC 3339 with nanoseconds has 35 characters.
const TIME_CHARS_MAX: usize = 40;

/// Which snapshot is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The newest, of one source or of all that are listed.
    Latest {
        /// The source, if one was named.
        source: Option<String>,
    },
    /// The start of an id in lower-case hex.
    Id(String),
    /// The newest at or before this time.
    At(Time),
}

/// A snapshot and a path inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPath {
    /// Which snapshot.
    pub snapshot: Selector,
    /// Bytes after the colon, as they were given; `None` without a colon.
    pub path: Option<Vec<u8>>,
}

/// Text that names no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Hex, but too little of it.
    #[error("{text:?} is too short for a snapshot id: at least {ID_DIGITS_MIN} digits are needed")]
    TooShort {
        /// What was given.
        text: String,
    },
    /// Looks like a time but is none, such as the 31st of November.
    #[error("{text:?} is no time: 2026-11-01, 2026-11-01T03:00 or 2026-11-01T03:00:00Z is expected")]
    Time {
        /// What was given.
        text: String,
    },
    /// Neither id nor `latest` nor time.
    #[error("{text:?} names no snapshot: an id, latest, latest:SOURCE or a time is expected")]
    Unknown {
        /// What was given, unprintable bytes replaced.
        text: String,
    },
    /// A path follows where only a snapshot can stand.
    #[error("{text:?} names a path, only a snapshot is expected here")]
    PathGiven {
        /// What was given.
        text: String,
    },
}

impl Selector {
    /// Parses a `SNAPSHOT`. Times without an offset are read in `zone`.
    pub fn parse(text: &str, zone: FixedOffset) -> Result<Self, SelectorError> {
        let parsed = SnapshotPath::parse(OsStr::new(text), zone)?;
        match parsed.path {
            None => Ok(parsed.snapshot),
            Some(_) => Err(SelectorError::PathGiven { text: text.to_owned() }),
        }
    }
}

impl SnapshotPath {
    /// Parses a `SNAPSHOT_PATH`. Times without an offset are read in `zone`.
    pub fn parse(given: &OsStr, zone: FixedOffset) -> Result<Self, SelectorError> {
        let bytes = given.as_bytes();
        let unknown = || SelectorError::Unknown { text: given.to_string_lossy().into_owned() };
        let (head, rest) = split_colon(bytes);
        let head = std::str::from_utf8(head).map_err(|_| unknown())?;
        if head == "latest" {
            return latest(rest).ok_or_else(unknown);
        }
        if begins_like_a_date(bytes) {
            return time_and_path(bytes, zone)
                .ok_or_else(|| SelectorError::Time { text: given.to_string_lossy().into_owned() });
        }
        if head.is_empty() || head.len() > 2 * ObjectId::LEN || !head.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        if head.len() < ID_DIGITS_MIN {
            return Err(SelectorError::TooShort { text: head.to_owned() });
        }
        Ok(Self { snapshot: Selector::Id(head.to_ascii_lowercase()), path: rest.map(<[u8]>::to_vec) })
    }
}

fn split_colon(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |byte| *byte == b':');
    (parts.next().unwrap_or_default(), parts.next())
}

/// What follows `latest`: nothing, a path, or a source and perhaps a path.
fn latest(rest: Option<&[u8]>) -> Option<SnapshotPath> {
    let all = |path: Option<&[u8]>| SnapshotPath {
        snapshot: Selector::Latest { source: None },
        path: path.map(<[u8]>::to_vec),
    };
    match rest {
        None => Some(all(None)),
        Some(path) if path.starts_with(b"/") => Some(all(Some(path))),
        Some(rest) => match split_colon(rest) {
            (b"", path) => path.map(|path| all(Some(path))),
            (source, path) => Some(SnapshotPath {
                snapshot: Selector::Latest { source: Some(std::str::from_utf8(source).ok()?.to_owned()) },
                path: path.map(<[u8]>::to_vec),
            }),
        },
    }
}

/// `dddd-d`: no id has a dash.
fn begins_like_a_date(bytes: &[u8]) -> bool {
    let dash = bytes.get(4) == Some(&b'-');
    dash && bytes.iter().take(6).enumerate().all(|(at, byte)| at == 4 || byte.is_ascii_digit())
}

/// The longest start that is a time and ends at a colon or at the end.
fn time_and_path(bytes: &[u8], zone: FixedOffset) -> Option<SnapshotPath> {
    let ends = (0..=bytes.len().min(TIME_CHARS_MAX)).rev().filter(|at| bytes.get(*at).is_none_or(|byte| *byte == b':'));
    for end in ends {
        let head = bytes.get(..end).and_then(|head| std::str::from_utf8(head).ok());
        if let Some(time) = head.and_then(|head| end_of(head, zone)) {
            let path = bytes.get(end.saturating_add(1)..).map(<[u8]>::to_vec);
            return Some(SnapshotPath { snapshot: Selector::At(time), path });
        }
    }
    None
}

/// The last millisecond of the day, minute or second that the text names; a fraction is taken as it is.
fn end_of(text: &str, zone: FixedOffset) -> Option<Time> {
    if let Ok(exact) = DateTime::parse_from_rfc3339(text) {
        let last = if text.contains('.') { 0 } else { 999 };
        return Some(Time(exact.timestamp_millis().saturating_add(last)));
    }
    let (start, length) = if let Ok(second) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S") {
        (second, TimeDelta::seconds(1))
    } else if let Ok(minute) = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M") {
        (minute, TimeDelta::minutes(1))
    } else {
        (NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN), TimeDelta::days(1))
    };
    let end = start.checked_add_signed(length)?.and_local_timezone(zone).single()?;
    Some(Time(end.timestamp_millis().saturating_sub(1)))
}

/// A snapshot in a list that can be chosen from.
pub trait Listed {
    /// Its id.
    fn id(&self) -> ObjectId;
    /// What it is of.
    fn source(&self) -> &str;
    /// When it was taken, by the clock of who took it.
    fn time(&self) -> Time;
    /// Whether it was made only to go back to, so that nobody means it who does not give its id.
    fn is_aside(&self) -> bool {
        false
    }
    /// Its place in the chain: greater than those of all that its writer saw.
    fn sequence(&self) -> u64;
}

/// What is greatest for the newest: the place in the chain, which no clock can spoil; of two that did not see each other the later by their times.
pub fn newest_first_key<T: Listed>(one: &T) -> (u64, Time, ObjectId) {
    (one.sequence(), one.time(), one.id())
}

/// Why no snapshot of the list is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The list is empty.
    #[error("there are no snapshots")]
    NoSnapshots,
    /// No id begins so.
    #[error("no snapshot id begins with {prefix}")]
    NoSuchId {
        /// What was asked for.
        prefix: String,
    },
    /// More than one id begins so.
    #[error("{prefix} is the start of {} snapshot ids: {}{}", .count, candidates.join(", "), if *count > candidates.len() { ", …" } else { "" })]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// How many there are.
        count: usize,
        /// The first of them: start of the id, time, source.
        candidates: Vec<String>,
    },
    /// No snapshot of this source.
    #[error("there is no snapshot of source {source_name:?}")]
    NoSuchSource {
        /// What was asked for.
        source_name: String,
        /// The sources that there are.
        known: Vec<String>,
    },
    /// All are newer.
    #[error("no snapshot is as old as {at}; the oldest is of {oldest}")]
    NothingBefore {
        /// What was asked for.
        at: Time,
        /// The oldest that there is.
        oldest: Time,
    },
}

/// Chooses from a list in any order; of equal times the greater id, so that the answer is always the same. What is aside is meant by its id only. `latest` goes by the order of the chain: a
/// snapshot that a wrong clock dated years ahead is not the latest for years.
pub fn select<'a, T: Listed>(selector: &Selector, list: &'a [T]) -> Result<&'a T, SelectError> {
    let meant = || list.iter().filter(|s| !s.is_aside());
    let newest = |wanted: &dyn Fn(&T) -> bool| meant().filter(|s| wanted(s)).max_by_key(|s| (s.time(), s.id()));
    let of_chain = |wanted: &dyn Fn(&T) -> bool| meant().filter(|s| wanted(s)).max_by_key(|s| newest_first_key(*s));
    let oldest = list.iter().map(Listed::time).min().ok_or(SelectError::NoSnapshots)?;
    match selector {
        Selector::Latest { source: None } => of_chain(&|_| true).ok_or(SelectError::NoSnapshots),
        Selector::Latest { source: Some(source) } => of_chain(&|s| s.source() == source).ok_or_else(|| {
            let known: std::collections::BTreeSet<_> = list.iter().map(|s| s.source().to_owned()).collect();
            SelectError::NoSuchSource { source_name: source.clone(), known: known.into_iter().collect() }
        }),
        Selector::At(at) => newest(&|s| s.time() <= *at).ok_or(SelectError::NothingBefore { at: *at, oldest }),
        Selector::Id(prefix) => by_prefix(prefix, list),
    }
}

fn by_prefix<'a, T: Listed>(prefix: &str, list: &'a [T]) -> Result<&'a T, SelectError> {
    let mut found: Vec<&T> = list.iter().filter(|s| s.id().hex().starts_with(prefix)).collect();
    found.sort_unstable_by_key(|s| (s.time(), s.id()));
    match found.as_slice() {
        [] => Err(SelectError::NoSuchId { prefix: prefix.to_owned() }),
        [one] => Ok(one),
        many => {
            // As many digits as tell them apart, so that one can be typed.
            let hex: Vec<String> = many.iter().map(|s| s.id().hex()).collect();
            let distinct = |digits: &usize| {
                let starts: std::collections::BTreeSet<_> = hex.iter().map(|id| id.get(..*digits)).collect();
                starts.len() == hex.len()
            };
            let digits = (ID_DIGITS_SHOWN..2 * ObjectId::LEN).find(distinct).unwrap_or(2 * ObjectId::LEN);
            let shown = many.iter().zip(&hex).take(CANDIDATES_SHOWN);
            Err(SelectError::Ambiguous {
                prefix: prefix.to_owned(),
                count: many.len(),
                candidates: shown.map(|(s, id)| format!("{id:.digits$} ({}, {})", s.time(), s.source())).collect(),
            })
        }
    }
}

#[cfg(test)]
#[path = "when_tests.rs"]
mod tests;
