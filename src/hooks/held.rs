//! What is on an object that a run holds, for whoever has the object and not the journal: a backup that was made meanwhile shows the object as it was held, and is restored
//! where there is neither that run nor its journal.
//!
//! ```json
//! {"version": 1, "early": [{"path": ["spec", "replicas"], "set": 0, "was": 3}]}
//! ```
//! It is written by the write that holds the object and goes with the mark of the run. `release` does not read it: the journal is what counts where there is one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RUN;
use super::handshake::{QUIESCE, QUIESCED};
use super::hold::{LATE, undo, unnote};
use super::scale::{KEDA_PAUSED, RECLAIM, REPLICAS, WHEN_SCALED};
use crate::cluster::change::Change;
use crate::cluster::object::{annotation, at, take_fields};

/// The annotation.
pub const HELD: &str = "homelab-dr.io/held";
const VERSION: u32 = 1;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Held {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    early: Vec<Change>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    late: Vec<Change>,
}

impl Held {
    pub(super) fn new(early: &[Change], late: &[Change]) -> Self {
        Self { version: VERSION, early: early.to_vec(), late: late.to_vec() }
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn of(object: &Value) -> Result<Self, String> {
        if at(object, &["metadata", "annotations", HELD]).is_null() {
            return Err(format!("it has no annotation {HELD}"));
        }
        let held: Self = serde_json::from_str(annotation(object, HELD))
            .map_err(|error| format!("its annotation {HELD} cannot be understood: {error}"))?;
        if held.version != VERSION {
            return Err(format!(
                "its annotation {HELD} is of version {}, and this program knows {VERSION}",
                held.version
            ));
        }
        // Only what hooks hold by is ever put back: an annotation is no way to have anything else written.
        match held.early.iter().chain(&held.late).find(|change| !is_ours(change)) {
            Some(foreign) => Err(format!("its annotation {HELD} names {}, by which nothing is held", foreign.field())),
            None => Ok(held),
        }
    }
}

/// Whether a change is one that a hook makes.
fn is_ours(change: &Change) -> bool {
    let [keda, question] = [KEDA_PAUSED, QUIESCE].map(|name| ["metadata", "annotations", name]);
    let fields: [&[&str]; 5] = [&REPLICAS, &WHEN_SCALED, &RECLAIM, &keda, &question];
    fields.iter().any(|field| change.path == **field) && change.made < change.path.len()
}

/// What an object was when a run held it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// No run held it.
    NotHeld,
    /// It is again what it was before that run.
    Known {
        /// The run.
        run: String,
        /// What somebody else has set while it was held, which stays.
        kept: Vec<String>,
    },
    /// The marks are gone, and everything else is as it was held: nobody knows what it was before.
    Unknown {
        /// The run.
        run: String,
        /// Why not.
        why: String,
    },
}

/// Which run holds an object; `None` if none does.
#[must_use]
pub fn holder(object: &Value) -> Option<&str> {
    Some(annotation(object, RUN).trim_end_matches(LATE)).filter(|run| !run.is_empty())
}

/// Makes of an object that was captured while a run held it what it was before, and takes the marks off.
pub fn put_back(object: &mut Value) -> Before {
    let Some(run) = holder(object).map(str::to_owned) else { return Before::NotHeld };
    let held = Held::of(object);
    // What an application has answered to our question means nothing without it.
    let answered = annotation(object, QUIESCED) == run;
    let before = match held {
        Ok(held) => {
            let mut kept = undo(&held.early, object);
            kept.extend(undo(&held.late, object));
            Before::Known { run, kept }
        }
        Err(why) => Before::Unknown { run, why },
    };
    unnote(object);
    if answered {
        take_fields(object, &["metadata", "annotations"], |name| name == QUIESCED);
    }
    before
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(annotation: &Value, replicas: u64) -> Value {
        json!({
            "metadata": {"name": "db", "annotations": {RUN: "0badcafe", HELD: annotation.to_string()}},
            "spec": {"replicas": replicas, "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Retain"}},
        })
    }

    fn early() -> Value {
        json!([{"path": ["spec", "replicas"], "set": 0, "was": 3}])
    }

    #[test]
    fn what_was_held_is_what_it_was() {
        let policy = ["spec", "persistentVolumeClaimRetentionPolicy", "whenScaled"];
        let late = json!([{"path": policy, "set": "Retain", "was": "Delete"}]);
        let mut object = held(&json!({"version": 1, "early": early(), "late": late}), 0);
        assert_eq!(put_back(&mut object), Before::Known { run: "0badcafe".into(), kept: Vec::new() });
        let spec = json!({"replicas": 3, "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}});
        assert_eq!(object, json!({"metadata": {"name": "db"}, "spec": spec}));
        assert_eq!(put_back(&mut object), Before::NotHeld);
    }

    #[test]
    fn what_comes_first_is_not_put_back_twice() {
        let mut object = held(&json!({"version": 1}), 0);
        object["metadata"]["annotations"][RUN] = "0badcafe/late".into();
        assert_eq!(holder(&object), Some("0badcafe"));
        assert_eq!(put_back(&mut object), Before::Known { run: "0badcafe".into(), kept: Vec::new() });
        assert_eq!(object["spec"]["replicas"], 0, "somebody has scaled it to zero since");
    }

    #[test]
    fn what_somebody_set_meanwhile_stays_and_is_told() {
        let mut object = held(&json!({"version": 1, "early": early()}), 5);
        let Before::Known { kept, .. } = put_back(&mut object) else { panic!("known") };
        assert_eq!(kept, ["spec.replicas stays 5, which somebody has set; it was 3"]);
        assert!(object["metadata"]["annotations"].is_null());
    }

    #[test]
    fn without_an_annotation_that_can_be_used_the_marks_go_and_nothing_else_changes() {
        let foreign = json!([{"path": ["spec", "template", "spec", "hostNetwork"], "set": null, "was": true}]);
        let deep = json!([{"path": ["spec", "replicas"], "set": 0, "was": 3, "made": 9}]);
        for (annotation, why) in [
            (json!({"version": 1, "early": foreign}), "spec.template.spec.hostNetwork"),
            (json!({"version": 1, "late": deep}), "spec.replicas"),
            (json!({"version": 2, "early": early()}), "version 2"),
            (json!({"version": 1, "often": early()}), "cannot be understood"),
            (json!("x"), "cannot be understood"),
        ] {
            let mut object = held(&annotation, 0);
            let Before::Unknown { why: said, .. } = put_back(&mut object) else { panic!("{annotation}") };
            assert!(said.contains(why), "{said}");
            assert!(object["metadata"]["annotations"].is_null() && object["spec"]["replicas"] == 0, "{object}");
        }
        let mut object = json!({"metadata": {"annotations": {RUN: "0badcafe", "mine": "1"}}});
        assert!(matches!(put_back(&mut object), Before::Unknown { .. }));
        assert_eq!(object, json!({"metadata": {"annotations": {"mine": "1"}}}));
    }

    #[test]
    fn a_question_goes_with_its_answer() {
        let question = json!([{"path": ["metadata", "annotations", QUIESCE], "set": "0badcafe", "made": 1}]);
        let mut object = held(&json!({"version": 1, "early": question}), 1);
        object["metadata"]["annotations"][QUIESCE] = "0badcafe".into();
        object["metadata"]["annotations"][QUIESCED] = "0badcafe".into();
        assert!(matches!(put_back(&mut object), Before::Known { .. }));
        assert!(object["metadata"]["annotations"].is_null(), "{object}");
    }
}
