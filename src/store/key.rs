//! Names of objects: a path of plain lower-case parts, the same on every store.

use std::fmt;

/// Longest name in bytes; the longest of format 1 is `leases/<64>/<64>`.
const KEY_BYTES_MAX: usize = 200;

/// Text that may not name an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name an object: parts of a-z, 0-9, '.', '-' and '_' are joined by '/', none begins with '.'")]
pub struct KeyError(pub String);

/// The name of an object within a store, such as `packs/3f/3f9a…`. Never absolute, never climbing (`..`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Checks and wraps a name.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        let part_is_plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
        };
        if text.len() <= KEY_BYTES_MAX && text.split('/').all(part_is_plain) {
            Ok(Self(text.into_boxed_str()))
        } else {
            Err(KeyError(text))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last `/`.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        for good in ["format.json", "packs/3f/3f9a", "access/ab.age", "leases/gc/0"] {
            assert_eq!(Key::new(good).expect(good).as_str(), good);
        }
        for bad in ["", "/", "/etc", "a//b", "a/", "../a", "a/..", "A", "a b", "a\0", ".hidden", "ä"] {
            assert_eq!(Key::new(bad), Err(KeyError(bad.to_owned())));
        }
        assert!(Key::new("a".repeat(KEY_BYTES_MAX + 1)).is_err());
    }
}
