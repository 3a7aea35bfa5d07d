//! What a repair did, and what is lost: plain data.

use serde::Serialize;

use crate::base::id::ObjectId;
use crate::check::{Loss, Report};
use crate::store::Key;

/// How an object was put right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Its very bytes came from a replica, or from an older version.
    Copied,
    /// It was made anew from what is here.
    Made,
    /// It lay whole under the name of another.
    PutBack,
    /// It does not read; what it said is known from elsewhere, and it was marked for `prune`.
    SetAside,
    /// It was a mark that nobody could read; it was taken away.
    Removed,
}

/// An object that was put right.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Healed {
    /// Its name.
    pub object: String,
    /// How.
    pub how: How,
    /// Where its bytes came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl Healed {
    pub(super) fn here(key: &Key, how: How) -> Self {
        Self { object: key.to_string(), how, from: None }
    }

    pub(super) fn copied(key: &Key, from: &str) -> Self {
        Self { object: key.to_string(), how: How::Copied, from: Some(from.to_owned()) }
    }
}

/// What was left as it is, since what lies there may be needed, or nobody could tell whether it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Kept {
    /// Its name.
    pub object: String,
    /// Why.
    pub why: String,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Outcome {
    /// Objects that were put right.
    pub healed: Vec<Healed>,
    /// Packs that are in new index segments.
    pub packs_indexed: u64,
    /// Blobs that were copied out of packs that are marked now.
    pub blobs_moved: u64,
    /// Blobs that came from replicas one by one.
    pub blobs_brought: u64,
    /// New packs with them.
    pub packs_written: Vec<ObjectId>,
    /// Packs that nothing puts right: they are marked, and nobody builds upon them any more.
    pub marked: Vec<String>,
    /// What is damaged and was left as it is: no mark names it, and nothing took its place.
    pub kept: Vec<Kept>,
    /// What could not be read in replicas, at most a few.
    pub passed_over: Vec<String>,
    /// What is still wrong; none only if nothing could be looked at without a key.
    pub report: Option<Report>,
    /// What is lost, file by file.
    pub losses: Vec<Loss>,
}

impl Outcome {
    pub(super) fn keep(&mut self, key: &Key, why: String) {
        if !self.kept.iter().any(|kept| kept.object == key.as_str()) {
            self.kept.push(Kept { object: key.to_string(), why });
        }
    }

    /// What was kept at first and put right later in the same run is not kept.
    pub(super) fn settle(&mut self) {
        let healed = &self.healed;
        self.kept.retain(|kept| !healed.iter().any(|one| one.object == kept.object));
    }

    /// Whether anything was changed.
    #[must_use]
    pub fn changed(&self) -> bool {
        !self.healed.is_empty() || self.packs_indexed > 0 || !self.packs_written.is_empty() || !self.marked.is_empty()
    }
}
