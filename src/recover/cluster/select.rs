//! Which objects are restored: patterns of `namespace/kind/name`, or of a kind alone.

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::cluster::Kind;
use crate::cluster::kind::CLUSTER_SCOPED;

/// A pattern that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither a kind nor all three parts.
    #[error("the pattern {0:?} is neither a kind nor namespace/kind/name")]
    Parts(String),
    /// Wrong syntax of a glob.
    #[error("the pattern {pattern:?} cannot be understood")]
    Glob {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        #[source]
        cause: globset::Error,
    },
}

#[derive(Debug, Clone, Default)]
struct Patterns {
    kinds: GlobSet,
    objects: GlobSet,
}

fn glob(pattern: &str) -> Result<Glob, PatternError> {
    let fail = |cause| PatternError::Glob { pattern: pattern.to_owned(), cause };
    GlobBuilder::new(pattern).literal_separator(true).build().map_err(fail)
}

impl Patterns {
    fn new(globs: &[String]) -> Result<Self, PatternError> {
        let (mut kinds, mut objects) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in globs {
            let glob = glob(pattern)?;
            match pattern.split('/').count() {
                1 => kinds.add(glob),
                3 => objects.add(glob),
                _ => return Err(PatternError::Parts(pattern.clone())),
            };
        }
        let fail = |cause| PatternError::Glob { pattern: globs.join(" "), cause };
        Ok(Self { kinds: kinds.build().map_err(fail)?, objects: objects.build().map_err(fail)? })
    }

    fn mean(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> bool {
        let text = kind.to_string();
        self.kinds.is_match(&text) || self.objects.is_match(whole_name(&text, namespace, name))
    }
}

fn whole_name(kind: &str, namespace: Option<&str>, name: &str) -> String {
    format!("{}/{kind}/{name}", namespace.unwrap_or(CLUSTER_SCOPED))
}

/// Which patterns of `include` mean nothing of a snapshot: slips of the pen, beside others that mean something.
#[derive(Debug, Clone, Default)]
pub struct Unmatched(Vec<(String, GlobMatcher)>);

impl Unmatched {
    /// Another object of the snapshot.
    pub fn see(&mut self, kind: &Kind, namespace: Option<&str>, name: &str) {
        if self.0.is_empty() {
            return;
        }
        let kind = kind.to_string();
        let whole = whole_name(&kind, namespace, name);
        self.0.retain(|(pattern, glob)| !glob.is_match(if pattern.contains('/') { &whole } else { &kind }));
    }

    /// Those that are left.
    #[must_use]
    pub fn patterns(self) -> Vec<String> {
        self.0.into_iter().map(|(pattern, _)| pattern).collect()
    }
}

/// Patterns; without `include` everything is taken that is not excluded.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    include: Option<Patterns>,
    exclude: Patterns,
    unmatched: Unmatched,
}

impl Selection {
    /// Understands patterns such as `media/*/*`, `_cluster/clusterroles.rbac.authorization.k8s.io/acme*`, `secrets`, `*.cert-manager.io`.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        let mut unmatched = Unmatched::default();
        for pattern in include {
            unmatched.0.push((pattern.clone(), glob(pattern)?.compile_matcher()));
        }
        let include = if include.is_empty() { None } else { Some(Patterns::new(include)?) };
        Ok(Self { include, exclude: Patterns::new(exclude)?, unmatched })
    }

    /// All patterns of `include`, for whoever shows them every object.
    #[must_use]
    pub fn unmatched(&self) -> Unmatched {
        self.unmatched.clone()
    }

    /// Whether an object is chosen, by its namespace and name in the snapshot.
    #[must_use]
    pub fn takes(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> bool {
        let included = self.include.as_ref().is_none_or(|patterns| patterns.mean(kind, namespace, name));
        included && !self.excludes(kind, namespace, name)
    }

    /// Whether only what is named is chosen.
    #[must_use]
    pub const fn names_what_is_chosen(&self) -> bool {
        self.include.is_some()
    }

    /// Whether an object is left out by name.
    #[must_use]
    pub fn excludes(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> bool {
        self.exclude.mean(kind, namespace, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::kind::example;

    fn kind(group: &str, resource: &str) -> Kind {
        example(group, resource, "X")
    }

    #[test]
    fn patterns_mean_kinds_or_whole_names() {
        let takes = |include: &[&str], exclude: &[&str], kind: &Kind, namespace: Option<&str>, name: &str| {
            let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
            Selection::new(&owned(include), &owned(exclude)).expect("patterns").takes(kind, namespace, name)
        };
        let (secret, deployment, role) =
            (kind("", "secrets"), kind("apps", "deployments"), kind("rbac.authorization.k8s.io", "clusterroles"));
        assert!(takes(&[], &[], &secret, Some("media"), "x"));
        assert!(takes(&["secrets"], &[], &secret, Some("media"), "x"));
        assert!(!takes(&["secrets"], &[], &deployment, Some("media"), "x"));
        assert!(takes(&["deployments.apps"], &[], &deployment, Some("media"), "x"));
        assert!(!takes(&["deployments"], &[], &deployment, Some("media"), "x"), "a kind alone is of the core group");
        assert!(takes(&["*.apps"], &[], &deployment, Some("media"), "x"));
        assert!(takes(&["media/*/*"], &[], &deployment, Some("media"), "x"));
        assert!(!takes(&["media/*/*"], &[], &deployment, Some("other"), "x"));
        assert!(takes(&["_cluster/clusterroles.*/acme:*"], &[], &role, None, "acme:reader"));
        assert!(!takes(&["media/*/*"], &["*/secrets/login*"], &secret, Some("media"), "login2"));
        assert!(!takes(&[], &["secrets"], &secret, Some("media"), "x"));
    }

    #[test]
    fn patterns_that_mean_nothing_are_known() {
        let include = ["secrets", "media/*/*", "deployments", "other/secrets/login"].map(str::to_owned);
        let mut unmatched = Selection::new(&include, &[]).expect("patterns").unmatched();
        unmatched.see(&kind("", "secrets"), Some("media"), "x");
        unmatched.see(&kind("apps", "deployments"), Some("home"), "x");
        unmatched.see(&kind("rbac.authorization.k8s.io", "clusterroles"), None, "x");
        assert_eq!(unmatched.patterns(), ["deployments", "other/secrets/login"]);
        assert!(Selection::default().unmatched().patterns().is_empty());
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for wrong in ["media/secrets", "a/b/c/d", "{a", "[x"] {
            assert!(Selection::new(&[wrong.to_owned()], &[]).is_err(), "{wrong}");
        }
    }
}
