//! The annotation that says that we paused an object, and what was there before; and what an object's state is by it.
//!
//! ```json
//! {"version": 1, "run": "5f0c…", "time": "2026-11-01T03:00:00Z", "fields": [{"path": ["spec", "suspend"], "set": true, "was": false}]}
//! ```
//! It is written by the same patch that sets the fields, so an object is never paused by us without it, nor has it one without being paused.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::tool::{Automated, Role};
use crate::base::clock::Time;
use crate::cluster::change::Change;
use crate::cluster::object::{annotation, at};

/// The annotation.
pub const NOTE: &str = "homelab-dr.io/paused";
const VERSION: u32 = 1;

/// Who paused an object, when, and what was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    version: u32,
    /// The id of the run.
    pub run: String,
    /// When, by the clock of the machine that did it; RFC 3339.
    time: String,
    /// What it changed.
    pub fields: Vec<Change>,
}

/// What an object is, as far as we can tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// Its controller works on it.
    Active,
    /// We paused it, and it still is.
    Ours {
        /// When, by the clock of the machine that did it.
        since: Time,
        /// In which run.
        run: String,
    },
    /// It is paused, and not by us.
    Others,
    /// We paused it, and somebody has set these fields to something else since.
    Undone {
        /// When we did.
        since: Time,
        /// In which run.
        run: String,
        /// The fields.
        fields: Vec<String>,
    },
    /// It has our annotation, and what is in it cannot be understood.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// A field that somebody changed after we had paused the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Which.
    pub field: String,
    /// What it is, and stays.
    pub now: Value,
    /// What it was before we paused it.
    pub was: Value,
}

impl Note {
    /// A note without fields yet.
    #[must_use]
    pub fn new(run: &str, now: Time) -> Self {
        // The years that RFC 3339 can write: a clock that is wrong must not make a note that nobody can read.
        const YEARS: (i64, i64) = (0, 253_402_300_799_000);
        let now = Time(now.0.clamp(YEARS.0, YEARS.1));
        Self { version: VERSION, run: run.to_owned(), time: now.to_string(), fields: Vec::new() }
    }

    /// The note of an object; the error says why there is one that cannot be used.
    pub fn of(object: &Value) -> Result<Option<Self>, String> {
        if at(object, &["metadata", "annotations", NOTE]).is_null() {
            return Ok(None);
        }
        let note: Self = serde_json::from_str(annotation(object, NOTE)).map_err(|error| error.to_string())?;
        if note.version != VERSION {
            return Err(format!("it is of version {}, and this program knows version {VERSION}", note.version));
        }
        Time::parse(&note.time).ok_or_else(|| format!("{:?} is no time", note.time))?;
        // Only what this program pauses by is ever taken back: an annotation is no way to have it write anything else.
        if let Some(foreign) = note.fields.iter().find(|change| !is_ours(change)) {
            return Err(format!("it names the field {}, by which nothing is paused", foreign.field()));
        }
        Ok(Some(note))
    }

    fn since(&self) -> Time {
        Time::parse(&self.time).unwrap_or(Time(0))
    }
}

/// Whether a change is one of those that [`Role::wanted`] can ask for.
fn is_ours(change: &Change) -> bool {
    let automated = serde_json::json!({"spec": {"syncPolicy": {"automated": {}}}});
    let ways = [Automated::Disabled, Automated::TakenOut];
    let roles = [Role::Application, Role::ApplicationSet, Role::Suspended, Role::Operated];
    let mut all = roles.iter().flat_map(|role| ways.iter().flat_map(|way| role.wanted(&automated, *way)));
    all.any(|(path, set)| change.path == path && change.set == set && change.made < path.len())
}

/// What the state of an object is.
#[must_use]
pub fn state_of(role: Role, object: &Value) -> State {
    let note = match Note::of(object) {
        Err(why) => return State::Unreadable { why },
        Ok(None) if role.is_paused(object) => return State::Others,
        Ok(None) => return State::Active,
        Ok(Some(note)) => note,
    };
    let (since, run) = (note.since(), note.run.clone());
    let mut fields: Vec<String> = note.fields.iter().filter(|field| !field.holds(object)).map(Change::field).collect();
    // What would have to be set now, such as an automatic sync that somebody has added since.
    let missing = wanted_changes(role, object, &note);
    fields.extend(missing.iter().map(Change::field).filter(|field| !fields.contains(field)).collect::<Vec<_>>());
    if fields.is_empty() { State::Ours { since, run } } else { State::Undone { since, run, fields } }
}

/// What has to be set to pause an object, in the way in which it was switched off before.
fn wanted_changes(role: Role, object: &Value, note: &Note) -> Vec<Change> {
    let taken_out = note.fields.iter().any(|field| field.set.is_none());
    let way = if taken_out { Automated::TakenOut } else { Automated::Disabled };
    changes(role, object, way)
}

fn changes(role: Role, object: &Value, way: Automated) -> Vec<Change> {
    let wanted = role.wanted(object, way).into_iter();
    wanted.filter_map(|(path, set)| Change::of(object, &path, set)).collect()
}

/// Pauses an object. Called again it changes nothing: of fields that are still as we set them, what was there first stays remembered.
pub fn pause(role: Role, object: &mut Value, mut note: Note, way: Automated) {
    let earlier = Note::of(object).ok().flatten();
    // Those that still hold; what somebody has set since is what resuming has to bring back now.
    let mut fields: Vec<Change> = earlier.map(|note| note.fields).unwrap_or_default();
    let known = fields.len();
    fields.retain(|field| field.holds(object));
    let more = changes(role, object, way);
    if more.is_empty() && fields.len() == known {
        return;
    }
    for change in more {
        fields.retain(|known| known.path != change.path);
        change.make(object);
        fields.push(change);
    }
    note.fields = fields;
    let text = serde_json::to_string(&note).unwrap_or_default();
    if let Some(change) = Change::of(object, &["metadata", "annotations", NOTE], Some(Value::String(text))) {
        change.make(object);
    }
}

/// What becomes of a pause when `object` takes the place of `live`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// There is none.
    Active,
    /// It is ours, of this run, and `object` is paused as well.
    Stays {
        /// The run.
        run: String,
    },
    /// It is not ours, and `object` is not paused.
    Ends,
    /// Nobody can tell what it would be: why.
    Unclear {
        /// Why.
        why: String,
    },
}

/// Has what takes the place of a paused object be paused by the same note: resumed, it is what it would be if nobody had paused anything.
pub fn replace(role: Role, object: &mut Value, live: &Value) -> Replaced {
    let unclear = |why: String| Replaced::Unclear { why };
    match (state_of(role, live), Note::of(live)) {
        (State::Active, _) => Replaced::Active,
        (State::Others, _) if role.is_paused(object) => Replaced::Active,
        (State::Others, _) => Replaced::Ends,
        (State::Ours { run, .. }, Ok(Some(note))) => {
            let taken_out = note.fields.iter().any(|field| field.set.is_none());
            let way = if taken_out { Automated::TakenOut } else { Automated::Disabled };
            pause(role, object, Note { fields: Vec::new(), ..note }, way);
            // What was paused before anybody of us came has no note, and stays paused as well.
            let is_noted = Note::of(object).is_ok_and(|note| note.is_some());
            if is_noted { Replaced::Stays { run } } else { Replaced::Active }
        }
        (State::Undone { fields, .. }, _) => {
            unclear(format!("we paused it, and somebody has changed {} since", fields.join(", ")))
        }
        (State::Unreadable { why }, _) => unclear(format!("its note of a pause cannot be read: {why}")),
        (State::Ours { .. }, _) => unclear("its note of a pause cannot be read".to_owned()),
    }
}

/// Takes the pause back: every field that is as we set it is what it was before. Returns what somebody has changed meanwhile, which stays. Does nothing without a note.
pub fn resume(object: &mut Value) -> Result<Vec<Kept>, String> {
    let Some(note) = Note::of(object)? else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    // The last first: a level that two changes share goes with the first one of them.
    for field in note.fields.iter().rev() {
        if !field.undo(object) {
            let value = |value: Option<&Value>| value.cloned().unwrap_or(Value::Null);
            kept.push(Kept { field: field.field(), now: value(field.value(object)), was: value(field.was.as_ref()) });
        }
    }
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(NOTE);
        if annotations.is_empty()
            && let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("annotations");
        }
    }
    kept.reverse();
    Ok(kept)
}

#[cfg(test)]
#[path = "note_tests.rs"]
mod tests;
