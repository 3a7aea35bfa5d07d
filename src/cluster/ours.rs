//! How what we make in a cluster is told from everything else: two labels. Others use the first too, and people write it on claims of their own; only with a run it is ours.

use serde_json::Value;

use super::object::label;

/// Label: who made it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "homelab-dr";
/// Label of what a run makes for itself, and annotation of what it holds: the run.
pub const RUN: &str = "homelab-dr.io/run";
/// Digits of a run in hex.
pub const RUN_DIGITS: usize = 16;

/// Whether a text is the name of a run: 16 lower-case hex digits.
#[must_use]
pub fn is_run(text: &str) -> bool {
    text.len() == RUN_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a run has made an object for itself, such as a mover. What only looks like it is somebody's, and neither passed over nor taken away.
#[must_use]
pub fn is_ours(object: &Value) -> bool {
    label(object, MANAGED_BY) == MANAGER && is_run(label(object, RUN))
}
