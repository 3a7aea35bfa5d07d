//! Objects that our own runs held or paused while they were captured, as they were before: a workload at zero, or a Kustomization that is suspended, would stand still for ever
//! where there is neither the run nor its journal.

use serde_json::Value;

use crate::cluster::api::objects::MANAGER;
use crate::cluster::object::{take_items, text};
use crate::gitops::note::{self, NOTE};
use crate::hooks::held::{Before, put_back};

/// What has to be known of an object that was brought back.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Brought {
    /// For people.
    pub(super) notes: Vec<String>,
    /// Nobody knows what it was: why.
    pub(super) unknown: Option<String>,
}

/// Makes of a captured object what it was before a run of ours held or paused it.
pub(super) fn bring_back(captured: &mut Value) -> Brought {
    let mut brought = Brought::default();
    let before = put_back(captured);
    let mut was_changed = before != Before::NotHeld;
    match before {
        Before::NotHeld => {}
        Before::Known { run, kept } => {
            brought.notes.push(format!("as it was before run {run} held it"));
            brought.notes.extend(kept);
        }
        Before::Unknown { run, why } => {
            brought.unknown = Some(format!(
                "run {run} held it when it was captured, and nobody knows what it was before, such as how many replicas it had: {why}"
            ));
        }
    }
    match note::Note::of(captured) {
        Ok(None) => {}
        Ok(Some(note)) => {
            was_changed = true;
            brought.notes.push(format!("as it was before run {} paused it", note.run));
            let kept = note::resume(captured).unwrap_or_default();
            let kept = kept
                .into_iter()
                .map(|kept| format!("{} stays {}, which somebody has set; it was {}", kept.field, kept.now, kept.was));
            brought.notes.extend(kept);
        }
        // It stays paused, with its note: who resumes it is told the same.
        Err(why) => {
            let unknown = format!(
                "homelab-dr had paused it, and its annotation {NOTE} cannot be understood: {why}; it stays paused"
            );
            brought.unknown =
                Some(brought.unknown.map_or_else(|| unknown.clone(), |held| format!("{held}; {unknown}")));
        }
    }
    if was_changed {
        take_items(captured, &["metadata", "managedFields"], |entry| text(entry, &["manager"]) == MANAGER);
    }
    brought
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hooks::RUN;
    use crate::hooks::held::HELD;

    #[test]
    fn what_was_held_and_paused_is_neither_and_its_fields_are_not_ours() {
        let held = json!({"version": 1, "early": [{"path": ["spec", "replicas"], "set": 0, "was": 2}]});
        let paused = json!({
            "version": 1, "run": "5f0c1d2e", "time": "2026-11-01T03:00:00Z",
            "fields": [{"path": ["spec", "suspend"], "set": true, "was": false}],
        });
        let mut object = json!({
            "metadata": {
                "annotations": {RUN: "0badcafe", HELD: held.to_string(), NOTE: paused.to_string()},
                "managedFields": [{"manager": "homelab-dr", "operation": "Update"}, {"manager": "flux", "operation": "Apply"}],
            },
            "spec": {"replicas": 0, "suspend": true},
        });
        let brought = bring_back(&mut object);
        let flux = json!([{"manager": "flux", "operation": "Apply"}]);
        assert_eq!(object, json!({"metadata": {"managedFields": flux}, "spec": {"replicas": 2, "suspend": false}}));
        assert_eq!((brought.notes.len(), &brought.unknown), (2, &None), "{brought:?}");
        let again = object.clone();
        assert_eq!((bring_back(&mut object), object), (Brought::default(), again));
    }

    #[test]
    fn what_nobody_knows_is_told() {
        let mut object = json!({"metadata": {"annotations": {RUN: "0badcafe", NOTE: "{"}}, "spec": {"replicas": 0}});
        let unknown = bring_back(&mut object).unknown.unwrap();
        assert!(unknown.contains("run 0badcafe held it") && unknown.contains("it stays paused"), "{unknown}");
        assert_eq!(object["spec"]["replicas"], 0);
    }
}
