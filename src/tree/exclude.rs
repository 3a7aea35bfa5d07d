//! What to leave out of a backup, by patterns as in a `.gitignore`.

use globset::{Candidate, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::format::entry::TreePath;

/// A pattern that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExcludeError {
    /// Nothing is left after `!` and `/`.
    #[error("the exclude pattern {0:?} is empty")]
    Empty(String),
    /// Wrong syntax of a glob.
    #[error("the exclude pattern {pattern:?} cannot be understood")]
    Glob {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        #[source]
        cause: globset::Error,
    },
}

/// Patterns, the last one that matches decides.
///
/// `cache` leaves out every entry of this name; `/cache` or `a/cache` only the one at that path below the source;
/// `cache/` only directories; `*` and `?` stop at `/`, `**` does not; `!keep.me` takes an entry in again (not below a
/// directory that was left out). Names are matched as raw bytes.
#[derive(Debug, Clone, Default)]
pub struct Excludes {
    set: GlobSet,
    rules: Vec<Rule>,
    /// Also leave out what is in a directory with a valid `CACHEDIR.TAG` (<https://bford.info/cachedir/>), the tag excepted.
    pub caches: bool,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    keep: bool,
    only_directories: bool,
}

impl Excludes {
    /// Understands patterns; none excludes nothing.
    pub fn new(globs: &[String]) -> Result<Self, ExcludeError> {
        let mut set = GlobSetBuilder::new();
        let mut rules = Vec::with_capacity(globs.len());
        for pattern in globs {
            let fail = |cause| ExcludeError::Glob { pattern: pattern.clone(), cause };
            let (keep, rest) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |rest| (true, rest));
            let (only_directories, rest) = rest.strip_suffix('/').map_or((false, rest), |rest| (true, rest));
            let body = rest.strip_prefix('/').unwrap_or(rest);
            if body.is_empty() {
                return Err(ExcludeError::Empty(pattern.clone()));
            }
            let glob = if rest.contains('/') { body.to_owned() } else { format!("**/{body}") };
            set.add(GlobBuilder::new(&glob).literal_separator(true).backslash_escape(true).build().map_err(fail)?);
            rules.push(Rule { keep, only_directories });
        }
        let set = set.build().map_err(|cause| ExcludeError::Glob { pattern: globs.join(" "), cause })?;
        Ok(Self { set, rules, caches: false })
    }

    /// The same, with [`Self::caches`] set.
    #[must_use]
    pub fn with_caches(mut self, caches: bool) -> Self {
        self.caches = caches;
        self
    }

    /// Whether an entry is left out, and with it everything below.
    #[must_use]
    pub fn excludes(&self, path: &TreePath, is_directory: bool) -> bool {
        if self.rules.is_empty() || path.as_bytes().is_empty() {
            return false;
        }
        let matching = self.set.matches_candidate(&Candidate::from_bytes(path.as_bytes()));
        let rules = matching.iter().rev().filter_map(|at| self.rules.get(*at));
        rules.into_iter().find(|rule| is_directory || !rule.only_directories).is_some_and(|rule| !rule.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(globs: &[&str], path: &[u8], is_directory: bool) -> bool {
        let globs: Vec<String> = globs.iter().map(|g| (*g).to_owned()).collect();
        Excludes::new(&globs).expect("valid").excludes(&TreePath::new(path).expect("plain"), is_directory)
    }

    #[test]
    fn a_slash_anchors_and_a_name_matches_everywhere() {
        assert!(excluded(&["cache"], b"cache", false));
        assert!(excluded(&["cache"], b"a/b/cache", false));
        assert!(!excluded(&["cache"], b"a/cached", false));
        assert!(excluded(&["/cache"], b"cache", false));
        assert!(!excluded(&["/cache"], b"a/cache", false));
        assert!(excluded(&["a/cache"], b"a/cache", false));
        assert!(!excluded(&["a/cache"], b"b/a/cache", false));
        assert!(excluded(&["**/a/cache"], b"b/a/cache", false));
    }

    #[test]
    fn stars_stop_at_a_slash_and_two_stars_do_not() {
        assert!(excluded(&["a/*.log"], b"a/x.log", false));
        assert!(!excluded(&["a/*.log"], b"a/b/x.log", false));
        assert!(excluded(&["a/**/x.log"], b"a/b/c/x.log", false));
        assert!(excluded(&["a/**/x.log"], b"a/x.log", false));
        assert!(excluded(&["*.log"], b"a/b/x.log", false));
        assert!(excluded(&["a/**"], b"a/b", false));
        assert!(!excluded(&["a/**"], b"a", true));
    }

    #[test]
    fn a_trailing_slash_means_directories_and_the_last_match_decides() {
        assert!(excluded(&["cache/"], b"a/cache", true));
        assert!(!excluded(&["cache/"], b"a/cache", false));
        assert!(!excluded(&["*.log", "!keep.log"], b"keep.log", false));
        assert!(excluded(&["!keep.log", "*.log"], b"keep.log", false));
        assert!(excluded(&["x", "!x/"], b"x", false), "the second speaks of directories only");
    }

    #[test]
    fn names_are_bytes_and_the_root_is_never_left_out() {
        assert!(excluded(&["*.tmp"], b"\xff\xfe.tmp", false));
        assert!(excluded(&["??.tmp"], b"\xff\xfe.tmp", false));
        assert!(excluded(&["a\\*"], b"a*", false));
        assert!(!excluded(&["**"], b"", true));
    }

    #[test]
    fn patterns_that_cannot_be_understood_are_named() {
        for bad in ["", "/", "!", "!/", "a[", "{a"] {
            let error = Excludes::new(&[bad.to_owned()]).expect_err(bad);
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
    }
}
