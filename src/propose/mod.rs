//! A runbook proposed from what is in a cluster, or in a snapshot of one: in which order it would come back, with what it has to be verified by. Pure: objects in, Markdown out.
//!
//! ```text
//! objects ─ survey (what is restored, what is in which namespace, who serves whom) ─ steps (order, checks, time) ─ Markdown
//! ```
//! What is restored and in which order says `cluster::rewrite::skip` and `cluster::order`, as for every restore. It is a proposal: a person reads it, corrects it, and keeps it beside the others.

mod steps;
mod survey;
mod write;

use std::collections::BTreeMap;

use crate::recover::cluster::manifests::Captured;

/// What a runbook is proposed from.
#[derive(Debug)]
pub struct About<'a> {
    /// The objects.
    pub objects: &'a [Captured],
    /// Where they were seen, for people: a cluster or a snapshot.
    pub seen: String,
    /// The source that has them in the repository.
    pub source: String,
    /// Only these namespaces; empty for the whole cluster.
    pub namespaces: Vec<String>,
    /// Bytes that are known to be in claims, by namespace and name.
    pub bytes: BTreeMap<(String, String), u64>,
}

/// The text of the runbook; `None` where nothing is there that it could bring back.
#[must_use]
pub fn propose(about: &About<'_>) -> Option<String> {
    let survey = survey::Survey::of(about);
    if survey.spaces.is_empty() {
        return None;
    }
    let steps = steps::steps(&survey, about);
    Some(write::markdown(&survey, about, &steps))
}

#[cfg(test)]
mod tests;
