//! How what we make in a cluster is told from everything else: two labels. Others use the first too, and people write it on claims of their own; only with a run it is ours.
//! The journals outlive their runs, and are told by their names as well.

use serde_json::Value;

use super::Kind;
use super::object::{label, name_of};

/// Label: who made it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "homelab-dr";
/// Label of what a run makes for itself, and annotation of what it holds: the run.
pub const RUN: &str = "homelab-dr.io/run";
/// Digits of a run in hex.
pub const RUN_DIGITS: usize = 16;

/// Label of the journals of hooks: what it is.
pub const KIND: &str = "homelab-dr.io/kind";
/// The value of [`KIND`].
pub const HOOKS: &str = "hooks";
/// Beginning of the names of the journals of hooks, each with a run behind it.
pub const HOOKS_PREFIX: &str = "homelab-dr-hooks-";
/// The name of the journal of what is made for the capture of volumes.
pub const VOLUMES_JOURNAL: &str = "homelab-dr-volumes";

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

/// Whether an object means something to our runs in this cluster only, and nothing to a backup: what a run has made for itself, and the journals.
#[must_use]
pub fn is_of_a_run(kind: &Kind, object: &Value) -> bool {
    is_ours(object) || (kind.is("", "ConfigMap") && is_journal(object))
}

fn is_journal(object: &Value) -> bool {
    let name = name_of(object);
    (name.starts_with(HOOKS_PREFIX) && label(object, KIND) == HOOKS)
        || (name == VOLUMES_JOURNAL && label(object, MANAGED_BY) == MANAGER)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::kinds::{claims, config_maps};

    #[test]
    fn journals_and_what_runs_make_are_ours_and_what_looks_like_it_is_not() {
        let map = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
        let run = "0badcafe0badcafe";
        for (kind, object, ours) in [
            (config_maps(), map("homelab-dr-hooks-0badcafe", json!({KIND: HOOKS})), true),
            (config_maps(), map("homelab-dr-volumes", json!({MANAGED_BY: MANAGER})), true),
            (claims(), map("copy", json!({MANAGED_BY: MANAGER, RUN: run})), true),
            (config_maps(), map("homelab-dr-hooks-0badcafe", json!({})), false),
            (config_maps(), map("mine", json!({KIND: HOOKS})), false),
            (config_maps(), map("homelab-dr-volumes", json!({})), false),
            (config_maps(), map("homelab-dr", json!({MANAGED_BY: MANAGER})), false),
            (claims(), map("homelab-dr-volumes", json!({MANAGED_BY: MANAGER})), false),
            (claims(), map("data", json!({MANAGED_BY: MANAGER, RUN: "mine"})), false),
        ] {
            assert_eq!(is_of_a_run(&kind, &object), ours, "{object}");
        }
    }
}
