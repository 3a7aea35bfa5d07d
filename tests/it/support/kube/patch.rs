//! The three ways to patch that know nothing of owners: JSON patch, merge patch, strategic merge patch.

use serde_json::Value;

use crate::support::kube::schema::{Keys, ListKind, Schema};
use crate::support::kube::status::{Result, Status};

/// RFC 6902.
pub(crate) fn json_patch(document: &mut Value, patch: &Value) -> Result<()> {
    let Some(operations) = patch.as_array() else {
        return Err(Status::bad_request("error decoding patch: json: cannot unmarshal object into Go value"));
    };
    let before = document.clone();
    for operation in operations {
        if one(document, operation).is_none() {
            *document = before;
            return Err(Status::unprocessable());
        }
    }
    Ok(())
}

fn one(document: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    match operation["op"].as_str()? {
        "add" => add(document, path, operation.get("value")?.clone()),
        "remove" => remove(document, path).map(|_| ()),
        "replace" => {
            *document.pointer_mut(path)? = operation.get("value")?.clone();
            Some(())
        }
        "move" => {
            let value = remove(document, operation["from"].as_str()?)?;
            add(document, path, value)
        }
        "copy" => {
            let value = document.pointer(operation["from"].as_str()?)?.clone();
            add(document, path, value)
        }
        "test" => (document.pointer(path)? == operation.get("value")?).then_some(()),
        _ => None,
    }
}

fn parent<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((document.pointer_mut(parent)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(document: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *document = value;
        return Some(());
    }
    match parent(document, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(list), key) => {
            let at = if key == "-" { list.len() } else { key.parse().ok()? };
            if at > list.len() {
                return None;
            }
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(document: &mut Value, path: &str) -> Option<Value> {
    match parent(document, path)? {
        (Value::Object(map), key) => map.remove(&key),
        (Value::Array(list), key) => {
            let at: usize = key.parse().ok()?;
            (at < list.len()).then(|| list.remove(at))
        }
        _ => None,
    }
}

/// RFC 7386.
pub(crate) fn merge_patch(document: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(serde_json::Map::new());
    }
    let map = document.as_object_mut().expect("just made");
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge_patch(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Kubernetes' own: like merge patch, with keyed lists merged by key, and the directives `$patch`, `$retainKeys`,
/// `$deleteFromPrimitiveList`; `$setElementOrder` is accepted and order is left as it is.
pub(crate) fn strategic(document: &mut Value, patch: &Value, schema: Schema<'_>) {
    let Value::Object(patch) = patch else {
        *document = patch.clone();
        return;
    };
    if patch.get("$patch").is_some_and(|how| how == "replace") {
        let mut whole = patch.clone();
        whole.remove("$patch");
        *document = Value::Object(whole);
        return;
    }
    if !document.is_object() {
        *document = Value::Object(serde_json::Map::new());
    }
    let map = document.as_object_mut().expect("just made");
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        map.retain(|key, _| keep.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(list) = map.get_mut(list).and_then(Value::as_array_mut) {
                list.retain(|item| !gone.contains(item));
            }
        } else if key.starts_with('$') {
            // $setElementOrder and $retainKeys.
        } else if value.is_null() {
            map.remove(key);
        } else {
            let schema = schema.child(key);
            let slot = map.entry(key.clone()).or_insert(Value::Null);
            match (value, schema.list()) {
                (Value::Array(items), ListKind::Keyed(_)) => keyed(slot, items, schema),
                (Value::Array(items), ListKind::Set) => {
                    let mut list = slot.as_array().cloned().unwrap_or_default();
                    for item in items {
                        if !list.contains(item) {
                            list.push(item.clone());
                        }
                    }
                    *slot = Value::Array(list);
                }
                (Value::Object(_), _) => strategic(slot, value, schema),
                _ => *slot = value.clone(),
            }
        }
    }
}

/// The merge key of a list is the first of its keys: ports merge by number alone.
fn merge_key(schema: Schema<'_>) -> String {
    match schema.list() {
        ListKind::Keyed(Keys::Fixed(keys)) => keys.first().map_or_else(String::new, |(key, _)| (*key).to_owned()),
        _ => String::new(),
    }
}

fn keyed(slot: &mut Value, items: &[Value], schema: Schema<'_>) {
    let key = merge_key(schema);
    let mut list = slot.as_array().cloned().unwrap_or_default();
    for item in items {
        match item["$patch"].as_str() {
            Some("delete") => list.retain(|have| have[&key] != item[&key]),
            Some("replace") if item.get(&key).is_none() => list.clear(),
            _ => match list.iter_mut().find(|have| have[&key] == item[&key]) {
                Some(have) => strategic(have, item, schema.item()),
                None => {
                    let mut new = Value::Null;
                    strategic(&mut new, item, schema.item());
                    list.push(new);
                }
            },
        }
    }
    *slot = Value::Array(list);
}
