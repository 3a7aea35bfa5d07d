//! Reading and changing objects of Kubernetes as plain JSON: what is not there is empty, and nothing here fails.

use serde_json::{Map, Value};

/// What is at a path of fields; `null` if nothing is.
#[must_use]
pub fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().try_fold(object, |value, field| value.get(*field)).unwrap_or(&Value::Null)
}

/// The same, to be changed.
pub fn at_mut<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(object, |value, field| value.get_mut(*field))
}

/// The text at a path, or the empty one.
#[must_use]
pub fn text<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).as_str().unwrap_or_default()
}

/// The list at a path, or the empty one.
#[must_use]
pub fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path).as_array().map_or(&[], Vec::as_slice)
}

/// The same, to be changed.
pub fn items_mut<'a>(object: &'a mut Value, path: &[&str]) -> &'a mut [Value] {
    at_mut(object, path).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// The list itself, if there is one.
pub fn list_mut<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Vec<Value>> {
    at_mut(object, path).and_then(Value::as_array_mut)
}

/// The fields at a path, if it is an object.
pub fn fields_mut<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    at_mut(object, path).and_then(Value::as_object_mut)
}

/// Takes a field out.
pub fn take(object: &mut Value, path: &[&str]) -> Option<Value> {
    let (field, above) = path.split_last()?;
    fields_mut(object, above)?.remove(*field)
}

/// Takes some fields out of the object at a path, and the object itself if nothing is left of it.
pub fn take_fields(object: &mut Value, path: &[&str], gone: impl Fn(&str) -> bool) {
    let Some(fields) = fields_mut(object, path) else { return };
    let before = fields.len();
    fields.retain(|field, _| !gone(field));
    if fields.is_empty() && before > 0 {
        take(object, path);
    }
}

/// Takes some items out of a list, and the list itself if nothing is left of it.
pub fn take_items(object: &mut Value, path: &[&str], gone: impl Fn(&Value) -> bool) {
    let Some(list) = list_mut(object, path) else { return };
    let before = list.len();
    list.retain(|item| !gone(item));
    if list.is_empty() && before > 0 {
        take(object, path);
    }
}

/// Sets a text that is there and whose new value is another.
pub fn change_text(object: &mut Value, path: &[&str], new: impl Fn(&str) -> Option<String>) {
    let Some(value) = at_mut(object, path) else { return };
    if let Some(new) = value.as_str().and_then(new) {
        *value = Value::String(new);
    }
}

/// The name of an object.
#[must_use]
pub fn name_of(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// The namespace that it is in.
#[must_use]
pub fn namespace_of(object: &Value) -> Option<&str> {
    Some(text(object, &["metadata", "namespace"])).filter(|namespace| !namespace.is_empty())
}

/// Its uid.
#[must_use]
pub fn uid_of(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// One of its annotations.
#[must_use]
pub fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    text(object, &["metadata", "annotations", name])
}

/// One of its labels.
#[must_use]
pub fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    text(object, &["metadata", "labels", name])
}

/// Whether it is being deleted.
#[must_use]
pub fn is_dying(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_string()
}

/// The owner that keeps it alive and makes it anew when it is gone.
#[must_use]
pub fn controller_of(object: &Value) -> Option<&Value> {
    items(object, &["metadata", "ownerReferences"]).iter().find(|owner| at(owner, &["controller"]) == true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_there_is_empty_and_what_becomes_empty_goes() {
        let mut object = json!({"metadata": {"name": "x", "labels": {"a": "1"}, "finalizers": ["f", "g"]}});
        assert_eq!((text(&object, &["spec", "x"]), items(&object, &["spec"]).len()), ("", 0));
        take_fields(&mut object, &["metadata", "labels"], |name| name == "b");
        take_items(&mut object, &["metadata", "finalizers"], |item| item == "f");
        assert_eq!(object, json!({"metadata": {"name": "x", "labels": {"a": "1"}, "finalizers": ["g"]}}));
        take_fields(&mut object, &["metadata", "labels"], |name| name == "a");
        take_items(&mut object, &["metadata", "finalizers"], |item| item == "g");
        assert_eq!(object, json!({"metadata": {"name": "x"}}));
        assert_eq!(take(&mut object, &["spec", "deep"]), None);
        change_text(&mut object, &["metadata", "namespace"], |_| Some("y".into()));
        assert_eq!(object, json!({"metadata": {"name": "x"}}), "what is not there is not made");
    }
}
