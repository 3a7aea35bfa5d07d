//! Whether the answer to a query is what it has to be. An answer is the first column of the first row, as text.

use super::Look;
use crate::runbook::Answer;

/// Characters of an answer that are shown.
const SHOWN_CHARS_MAX: usize = 200;

/// What a query gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// No row.
    Nothing,
    /// A row that begins with NULL.
    Null,
    /// A row that begins with this.
    Text(String),
}

impl Given {
    pub(super) fn of(bytes: Option<&[u8]>) -> Self {
        bytes.map_or(Self::Null, |bytes| Self::Text(String::from_utf8_lossy(bytes).into_owned()))
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// A truth is written differently by each database.
fn means(truth: &str, text: &str) -> bool {
    match truth {
        "true" => matches!(text, "t" | "1"),
        "false" => matches!(text, "f" | "0"),
        _ => false,
    }
}

/// Whether a number in a text is at least another; `None` if there is none in it.
#[expect(clippy::cast_precision_loss, reason = "only of what is written with a fraction")]
fn reaches(text: &str, least: u64) -> Option<bool> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i128>() {
        return Some(number >= i128::from(least));
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number >= least as f64)
}

pub(super) fn judge(given: Given, wanted: &Answer) -> Look {
    let text = match given {
        Given::Nothing => return Err("the query gives no row".to_owned()),
        Given::Null => return Err("the query gives NULL".to_owned()),
        Given::Text(text) => text,
    };
    let said = format!("the query gives {:?}", shown(&text));
    match wanted {
        Answer::Any => Ok(said),
        Answer::AtLeast(least) => match reaches(&text, *least) {
            Some(true) => Ok(said),
            Some(false) => Err(format!("{said}, which is less than {least}")),
            None => Err(format!("{said}, which is no number; it should be {least} at least")),
        },
        Answer::Equals(wanted) if *wanted == text || means(wanted, &text) => Ok(said),
        Answer::Equals(wanted) => Err(format!("{said}, not {wanted:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_as_numbers_or_as_they_are() {
        let text = |text: &str| Given::Text(text.to_owned());
        for (given, wanted, holds) in [
            (text("x"), Answer::Any, true),
            (text(""), Answer::Any, true),
            (Given::Null, Answer::Any, false),
            (Given::Nothing, Answer::Any, false),
            (text("5"), Answer::AtLeast(5), true),
            (text("4"), Answer::AtLeast(5), false),
            (text("-9"), Answer::AtLeast(0), false),
            (text("18446744073709551615"), Answer::AtLeast(u64::MAX), true),
            (text("99999999999999999999999999"), Answer::AtLeast(5), true),
            (text("5.5"), Answer::AtLeast(5), true),
            (text("4.9"), Answer::AtLeast(5), false),
            (text("NaN"), Answer::AtLeast(0), false),
            (text("inf"), Answer::AtLeast(0), false),
            (text("five"), Answer::AtLeast(5), false),
            (Given::Null, Answer::AtLeast(0), false),
            (text("a"), Answer::Equals("a".to_owned()), true),
            (text("a "), Answer::Equals("a".to_owned()), false),
            (text("t"), Answer::Equals("true".to_owned()), true),
            (text("0"), Answer::Equals("false".to_owned()), true),
            (text("f"), Answer::Equals("true".to_owned()), false),
            (text("t"), Answer::Equals("t".to_owned()), true),
        ] {
            assert_eq!(judge(given.clone(), &wanted).is_ok(), holds, "{given:?} {wanted:?}");
        }
        let long = judge(text(&"ä".repeat(500)), &Answer::Equals("x".to_owned())).expect_err("not it");
        assert!(long.chars().count() < 300, "{long}");
    }
}
