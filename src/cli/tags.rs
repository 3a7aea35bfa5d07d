//! Tags on the command line: `KEY=VALUE` to set, `KEY` or `KEY=VALUE` to look for.

use std::collections::BTreeMap;
use std::str::FromStr;

/// A tag to look for; without a value any will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagFilter {
    key: String,
    value: Option<String>,
}

impl FromStr for TagFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            Err("a tag needs a name: KEY or KEY=VALUE".into())
        } else {
            Ok(Self { key: key.to_owned(), value })
        }
    }
}

impl TagFilter {
    /// Whether these tags have it.
    pub(crate) fn matches(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(&self.key).is_some_and(|held| self.value.as_ref().is_none_or(|value| held == value))
    }
}

/// A tag to set. Without `=` its value is empty.
pub(crate) fn parse(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() { Err("a tag needs a name: KEY=VALUE".into()) } else { Ok((key.to_owned(), value.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_alone_matches_any_value() {
        let tags = BTreeMap::from([("host".to_owned(), "nas".to_owned()), ("keep".to_owned(), String::new())]);
        for (text, matches) in
            [("host", true), ("host=nas", true), ("host=x", false), ("keep", true), ("keep=", true), ("x", false)]
        {
            assert_eq!(text.parse::<TagFilter>().expect(text).matches(&tags), matches, "{text}");
        }
        assert!("=x".parse::<TagFilter>().is_err());
    }
}
