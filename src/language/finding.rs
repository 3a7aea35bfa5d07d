//! What is wrong with a document, and where.

use std::fmt;

use serde::Serialize;

/// A place in the file; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// Where a file begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The document is not used.
    Error,
    /// It is used; somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One finding: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Finding {
    pub(crate) fn error(place: Place, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place, severity: Severity::Error, what: what.into(), help: help.into() }
    }

    pub(crate) fn warning(place: Place, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place, severity: Severity::Warning, what: what.into(), help: help.into() }
    }

    /// `file:line:column: error: what`, and the help in a second line.
    #[must_use]
    pub fn shown(&self, file: &str) -> String {
        format!("{file}:{}: {}: {}\n  help: {}", self.place, self.severity, self.what, self.help)
    }
}

/// What is wrong with a value, and what would be right; the place is known to whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Complaint {
    /// A complaint.
    pub fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { what: what.into(), help: help.into() }
    }
}

/// Longest part of the file that a finding repeats.
const REPEATED_CHARS_MAX: usize = 80;

/// A text as a finding repeats it: shortened, or findings about a long one would take its length each.
pub(crate) fn short(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(REPEATED_CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
    }
}
