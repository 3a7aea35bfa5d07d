//! A run, and what everything that it makes in a cluster carries, so that it is found again: labels, an end, and a name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::labels::{EXPIRES, MANAGED_BY, MANAGER, RUN};
use crate::base::clock::Time;
use crate::cluster::object::{annotation, label};
use crate::cluster::ours::{RUN_DIGITS, is_ours, is_run};

/// Names of all objects that we make begin so.
const PREFIX: &str = "homelab-dr-";
/// Digits of a claim in names: enough for the claims of one run.
const CLAIM_DIGITS: usize = 10;
/// The end of the name of a `VolumeSnapshot` in the application's namespace; ours, that it is handed over to, has the name without it.
const TAKEN: &str = "-taken";

/// A run of the program, random: 16 hex digits, as they stand in labels and names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text that is no [`RunId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no run: {RUN_DIGITS} lower-case hex digits are expected")]
pub struct RunIdError(pub String);

impl RunId {
    /// From random bytes.
    #[must_use]
    pub fn new(random: [u8; RUN_DIGITS / 2]) -> Self {
        Self(data_encoding::HEXLOWER.encode(&random))
    }

    /// As in labels and names.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        if is_run(text) { Ok(Self(text.to_owned())) } else { Err(RunIdError(text.to_owned())) }
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<Self, RunIdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A run and when it is over for certain, so that another may clear up after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which.
    pub id: RunId,
    /// Later than the run's own time limit.
    pub expires: Time,
}

impl Run {
    /// The labels and annotations of everything that the run makes.
    #[must_use]
    pub fn metadata(&self) -> Value {
        json!({
            "labels": {MANAGED_BY: MANAGER, RUN: self.id.as_str()},
            "annotations": {EXPIRES: self.expires.to_string()},
        })
    }

    /// The same for an object of a name, in a namespace or in none.
    #[must_use]
    pub fn named(&self, namespace: Option<&str>, name: &str) -> Value {
        let mut metadata = self.metadata();
        if let Some(fields) = metadata.as_object_mut() {
            fields.insert("name".to_owned(), name.into());
            if let Some(namespace) = namespace {
                fields.insert("namespace".to_owned(), namespace.into());
            }
        }
        metadata
    }
}

/// The run that an object says it belongs to.
#[must_use]
pub fn run_of(object: &Value) -> Option<RunId> {
    if is_ours(object) { label(object, RUN).parse().ok() } else { None }
}

/// When the run of an object is over for certain.
#[must_use]
pub fn expires_of(object: &Value) -> Option<Time> {
    Time::parse(annotation(object, EXPIRES))
}

/// The name of what a run makes for a claim: `homelab-dr-<run>-<digits>`. The same at every try, so that a request whose answer was lost is recognised.
#[must_use]
pub fn name_for(run: &RunId, namespace: &str, claim: &str) -> String {
    let hash = blake3::hash(format!("{namespace}/{claim}").as_bytes()).to_hex();
    format!("{PREFIX}{run}-{}", hash.get(..CLAIM_DIGITS).unwrap_or_default())
}

/// The name of the `VolumeSnapshot` in the application's namespace.
#[must_use]
pub fn taken(name: &str) -> String {
    format!("{name}{TAKEN}")
}

/// The run and the name that a name of ours was made from, also of a `VolumeSnapshot` in the application's namespace. `None` for all other names.
#[must_use]
pub fn parse_name(name: &str) -> Option<(RunId, &str)> {
    let base = name.strip_suffix(TAKEN).unwrap_or(name);
    let (run, claim) = base.strip_prefix(PREFIX)?.split_once('-')?;
    let is_ours = claim.len() == CLAIM_DIGITS && claim.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_ours { run.parse().ok().map(|run| (run, base)) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_stable_and_read_back() {
        let run = RunId::new([0xab; 8]);
        let name = name_for(&run, "media", "library");
        assert_eq!(name, name_for(&run, "media", "library"));
        assert_ne!(name, name_for(&run, "media", "librar"));
        assert!(taken(&name).len() <= 63, "it fits into a label");
        assert_eq!(parse_name(&name), Some((run.clone(), name.as_str())));
        assert_eq!(parse_name(&taken(&name)), Some((run, name.as_str())));
        for other in
            ["", "homelab-dr", "homelab-dr-", "homelab-dr-abababababababab", "homelab-dr-abababababababab-xyz", "data"]
        {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn only_hex_of_the_right_length_is_a_run() {
        assert_eq!("0123456789abcdef".parse::<RunId>().map(|run| run.to_string()), Ok("0123456789abcdef".to_owned()));
        for text in ["", "0123", "0123456789ABCDEF", "0123456789abcdeg", "0123456789abcdef0"] {
            let error = text.parse::<RunId>().expect_err(text);
            assert!(error.to_string().contains("hex digits"), "{error}");
            assert!(serde_json::from_value::<RunId>(text.into()).is_err());
        }
    }

    #[test]
    fn an_object_is_ours_only_with_both_labels() {
        let run = Run { id: RunId::new([1; 8]), expires: Time(1_000) };
        let object = json!({"metadata": run.named(Some("ours"), "x")});
        assert_eq!((run_of(&object), expires_of(&object)), (Some(run.id.clone()), Some(Time(1_000))));
        let mut other = object.clone();
        other["metadata"]["labels"][MANAGED_BY] = "Helm".into();
        assert_eq!(run_of(&other), None);
        let mut other = object;
        other["metadata"]["labels"][RUN] = "2026-11-01".into();
        assert_eq!(run_of(&other), None);
    }
}
