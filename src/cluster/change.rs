//! Changes of single fields that can be taken back exactly: what was set, what was there before, and which levels above it had to be made for it.
//!
//! Plain data, so that whoever makes a change can write it down where it survives them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One field of an object, as it was and as it was set. A field that is not there and one that is `null` are the same to Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The names from the top of the object to the field.
    pub path: Vec<String>,
    /// The new value; nothing if the field was taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Value>,
    /// The value before; nothing if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was: Option<Value>,
    /// How many levels right above the field were not there before. They go again with it, if nothing else is in them by then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub made: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What is at a path.
fn value_at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, field| value.get(field)).filter(|value| !value.is_null())
}

fn take(object: &mut Value, path: &[String]) {
    let Some((field, above)) = path.split_last() else { return };
    let above = above.iter().try_fold(object, |value, field| value.get_mut(field));
    if let Some(fields) = above.and_then(Value::as_object_mut) {
        fields.remove(field);
    }
}

fn put(object: &mut Value, path: &[String], value: Value) {
    let Some((field, above)) = path.split_last() else { return };
    let mut at = object;
    for field in above {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        // A level that is no object is left: the server has the last word on what it takes.
        let Some(fields) = at.as_object_mut() else { return };
        at = fields.entry(field.clone()).or_insert(Value::Null);
    }
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    if let Some(fields) = at.as_object_mut() {
        fields.insert(field.clone(), value);
    }
}

fn write(object: &mut Value, path: &[String], value: Option<&Value>) {
    match value {
        Some(value) => put(object, path, value.clone()),
        None => take(object, path),
    }
}

impl Change {
    /// The change that gives a field a value, or takes it out; nothing if it is so already.
    #[must_use]
    pub fn of(object: &Value, path: &[&str], set: Option<Value>) -> Option<Self> {
        let path: Vec<String> = path.iter().map(|field| (*field).to_owned()).collect();
        let was = value_at(object, &path).cloned();
        let missing = |length: &usize| path.get(..*length).is_some_and(|above| value_at(object, above).is_none());
        let made = (1..path.len()).filter(missing).count();
        (was != set).then_some(Self { path, set, was, made })
    }

    /// What the field is now.
    #[must_use]
    pub fn value<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        value_at(object, &self.path)
    }

    /// Whether the field is as it was set.
    #[must_use]
    pub fn holds(&self, object: &Value) -> bool {
        self.value(object) == self.set.as_ref()
    }

    /// Whether the field is as it was before.
    #[must_use]
    pub fn is_undone(&self, object: &Value) -> bool {
        self.value(object) == self.was.as_ref()
    }

    /// Sets the field.
    pub fn make(&self, object: &mut Value) {
        write(object, &self.path, self.set.as_ref());
    }

    /// Puts the field back, if it is as it was set; says whether it was that, or is back already. What somebody else has set meanwhile stays.
    pub fn undo(&self, object: &mut Value) -> bool {
        if !self.holds(object) {
            return self.is_undone(object);
        }
        write(object, &self.path, self.was.as_ref());
        if self.was.is_none() {
            for above in (1..self.path.len()).rev().take(self.made) {
                let Some(above) = self.path.get(..above) else { break };
                match value_at(object, above) {
                    Some(Value::Object(fields)) if fields.is_empty() => take(object, above),
                    _ => break,
                }
            }
        }
        true
    }

    /// The field for people: `spec.suspend`, or the annotation by its name.
    #[must_use]
    pub fn field(&self) -> String {
        match self.path.as_slice() {
            [metadata, annotations, name] if metadata == "metadata" && annotations == "annotations" => name.clone(),
            path => path.join("."),
        }
    }
}

/// The JSON merge patch (RFC 7386) that makes one object of another, with the version of the object it is for; nothing if they are the same. The server then refuses it if
/// the object has changed since it was read.
#[must_use]
pub fn patch_of(from: &Value, to: &Value) -> Option<Value> {
    let mut patch = difference(from, to)?;
    let version = from.pointer("/metadata/resourceVersion").filter(|version| version.is_string());
    if let (Some(version), Some(fields)) = (version, patch.as_object_mut())
        && let Some(metadata) = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new())).as_object_mut()
    {
        metadata.insert("resourceVersion".to_owned(), version.clone());
    }
    Some(patch)
}

fn difference(from: &Value, to: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (from, to) else {
        return (from != to).then(|| to.clone());
    };
    let mut patch = Map::new();
    for (field, value) in new {
        let part = match old.get(field) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        if let Some(part) = part {
            patch.insert(field.clone(), part);
        }
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_taken_back_with_all_that_was_made_for_it() {
        let before = json!({"metadata": {"resourceVersion": "7"}, "spec": {"a": 1}});
        let change = Change::of(&before, &["spec", "policy", "deep", "mode"], Some(json!("off"))).expect("a change");
        assert_eq!((change.made, &change.was), (2, &None));
        let mut object = before.clone();
        change.make(&mut object);
        assert_eq!(object["spec"], json!({"a": 1, "policy": {"deep": {"mode": "off"}}}));
        assert!(
            change.holds(&object)
                && Change::of(&object, &["spec", "policy", "deep", "mode"], change.set.clone()).is_none()
        );
        let patch = patch_of(&before, &object).expect("a patch");
        assert_eq!(patch, json!({"metadata": {"resourceVersion": "7"}, "spec": {"policy": {"deep": {"mode": "off"}}}}));
        let mut shared = object.clone();
        shared["spec"]["policy"]["other"] = json!(true);
        assert!(change.undo(&mut object));
        assert_eq!(object, before);
        assert!(change.undo(&mut shared));
        assert_eq!(shared["spec"], json!({"a": 1, "policy": {"other": true}}), "what somebody put beside it stays");
    }

    #[test]
    fn what_somebody_set_meanwhile_stays_and_is_told() {
        let before = json!({"spec": {"suspend": false}});
        let change = Change::of(&before, &["spec", "suspend"], Some(json!(true))).expect("a change");
        let mut theirs = json!({"spec": {"suspend": "x"}});
        assert!(!change.undo(&mut theirs));
        assert_eq!(theirs, json!({"spec": {"suspend": "x"}}));
        let mut back = before.clone();
        assert!(change.undo(&mut back) && back == before, "back already is as good");
        let written: Change = serde_json::from_str(&serde_json::to_string(&change).expect("json")).expect("a change");
        assert_eq!(written, change);
        assert!(serde_json::from_str::<Change>(r#"{"path": ["a"], "sett": 1}"#).is_err());
    }

    #[test]
    fn a_field_that_was_taken_out_comes_back_whole() {
        let before = json!({"spec": {"automated": {"prune": true}}});
        let change = Change::of(&before, &["spec", "automated"], None).expect("a change");
        let mut object = before.clone();
        change.make(&mut object);
        assert_eq!(patch_of(&before, &object), Some(json!({"spec": {"automated": null}})));
        assert!(change.undo(&mut object) && object == before);
        assert_eq!(patch_of(&object, &before), None);
    }

    #[test]
    fn levels_that_are_no_objects_are_left() {
        for mut object in [json!({"spec": 5}), json!([1]), json!("x"), json!({"spec": null})] {
            let change = Change::of(&object, &["spec", "suspend"], Some(json!(true))).expect("a change");
            change.make(&mut object);
            change.undo(&mut object);
        }
    }
}
