//! Sets of fields, and what can be said of an object with them: which fields it has, which differ, what remains without some.
//!
//! The rules are those of Kubernetes' structured merge and diff; the form is that of `FieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::support::kube::schema::{ListKind, Schema};

/// A set of paths, as a tree of path elements (`f:name`, `k:{…}`, `v:…`).
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) member: bool,
    pub(crate) below: BTreeMap<String, Fields>,
}

impl Fields {
    pub(crate) fn parse(value: &Value) -> Self {
        let Some(map) = value.as_object() else { return Self::default() };
        let mut fields = Self { member: map.is_empty(), below: BTreeMap::new() };
        for (key, value) in map {
            if key == "." {
                fields.member = true;
            } else {
                fields.below.insert(key.clone(), Self::parse(value));
            }
        }
        fields
    }

    pub(crate) fn json(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.below.is_empty() {
            map.insert(".".into(), json!({}));
        }
        for (key, below) in &self.below {
            map.insert(key.clone(), below.json());
        }
        Value::Object(map)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    fn insert(&mut self, path: &[String]) {
        path.iter().fold(self, |at, element| at.below.entry(element.clone()).or_default()).member = true;
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.member |= other.member;
        for (key, below) in &other.below {
            let merged = all.below.get(key).map_or_else(|| below.clone(), |mine| mine.union(below));
            all.below.insert(key.clone(), merged);
        }
        all
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && !theirs, true)
    }

    pub(crate) fn common(&self, other: &Self) -> Self {
        self.combine(other, |mine, theirs| mine && theirs, false)
    }

    fn combine(&self, other: &Self, member: fn(bool, bool) -> bool, keep_unmatched: bool) -> Self {
        let mut result = Self { member: member(self.member, other.member), below: BTreeMap::new() };
        for (key, below) in &self.below {
            let left = match other.below.get(key) {
                Some(theirs) => below.combine(theirs, member, keep_unmatched),
                None if keep_unmatched => below.clone(),
                None => continue,
            };
            if !left.is_empty() {
                result.below.insert(key.clone(), left);
            }
        }
        result
    }

    /// Forgets a path and all below it.
    pub(crate) fn forget(&mut self, path: &[&str]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut at = self;
        for element in parents {
            let Some(below) = at.below.get_mut(*element) else { return };
            at = below;
        }
        at.below.remove(*last);
    }

    /// The same without branches that hold nothing.
    pub(crate) fn pruned(&self) -> Self {
        self.minus(&Self::default())
    }

    /// Every path, in words: `.spec.containers[name="c"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect(String::new(), &mut found);
        found
    }

    fn collect(&self, at: String, found: &mut Vec<String>) {
        if self.member {
            found.push(at.clone());
        }
        for (key, below) in &self.below {
            below.collect(format!("{at}{}", in_words(key)), found);
        }
    }
}

fn in_words(element: &str) -> String {
    let (kind, rest) = element.split_at(2);
    match kind {
        "f:" => format!(".{rest}"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        _ => format!("[={rest}]"),
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

/// The fields that an applied object names.
pub(crate) fn of(object: &Value, schema: Schema<'_>) -> Fields {
    let mut fields = Fields::default();
    name_fields(object, schema, &mut Vec::new(), &mut fields);
    fields
}

fn name_fields(value: &Value, schema: Schema<'_>, path: &mut Vec<String>, found: &mut Fields) {
    match value {
        Value::Object(map) if !schema.atomic_map() => {
            for (key, value) in map {
                path.push(format!("f:{key}"));
                name_fields(value, schema.child(key), path, found);
                if value.is_null() || value.as_object().is_some_and(Map::is_empty) {
                    found.insert(path);
                }
                path.pop();
            }
        }
        Value::Array(list) if schema.list() != ListKind::Atomic => {
            for item in list {
                path.push(schema.list().element(item).unwrap_or_default());
                name_fields(item, schema.item(), path, found);
                found.insert(path);
                path.pop();
            }
        }
        _ => found.insert(path),
    }
}

/// What a change did.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    pub(crate) added: Fields,
    pub(crate) removed: Fields,
    pub(crate) modified: Fields,
}

pub(crate) fn compare(old: &Value, new: &Value, schema: Schema<'_>) -> Difference {
    let mut difference = Difference::default();
    walk(Some(old), Some(new), schema, &mut Vec::new(), &mut difference);
    difference
}

fn walk(old: Option<&Value>, new: Option<&Value>, schema: Schema<'_>, path: &mut Vec<String>, out: &mut Difference) {
    let either = new.filter(|value| !value.is_null()).or(old).or(new);
    let empty = is_empty(old) && is_empty(new);
    match either {
        Some(Value::Object(_)) if !schema.atomic_map() && !empty => {
            let none = Map::new();
            let of =
                |value: Option<&'_ Value>| value.and_then(Value::as_object).cloned().unwrap_or_else(|| none.clone());
            let (old_map, new_map) = (of(old), of(new));
            let keys: std::collections::BTreeSet<&String> = old_map.keys().chain(new_map.keys()).collect();
            for key in keys {
                path.push(format!("f:{key}"));
                walk(old_map.get(key), new_map.get(key), schema.child(key), path, out);
                path.pop();
            }
        }
        Some(Value::Array(_)) if schema.list() != ListKind::Atomic && !empty => {
            let items = |value: Option<&Value>| -> BTreeMap<String, Value> {
                let list = value.and_then(Value::as_array).cloned().unwrap_or_default();
                list.into_iter().map(|item| (schema.list().element(&item).unwrap_or_default(), item)).collect()
            };
            let (old_items, new_items) = (items(old), items(new));
            let keys: std::collections::BTreeSet<&String> = old_items.keys().chain(new_items.keys()).collect();
            for key in keys {
                path.push(key.clone());
                walk(old_items.get(key), new_items.get(key), schema.item(), path, out);
                path.pop();
            }
        }
        _ => {
            if old.is_some() && new.is_some() {
                if old != new {
                    out.modified.insert(path);
                }
                return;
            }
        }
    }
    if path.is_empty() {
        return;
    }
    if old.is_none() {
        out.added.insert(path);
    } else if new.is_none() {
        out.removed.insert(path);
    }
}

/// The live object with the applied one laid over it.
pub(crate) fn merge(live: Option<&Value>, applied: &Value, schema: Schema<'_>) -> Value {
    match (live, applied) {
        (Some(Value::Object(live)), Value::Object(applied)) if !schema.atomic_map() => {
            let mut merged = live.clone();
            for (key, value) in applied {
                let value = merge(live.get(key), value, schema.child(key));
                merged.insert(key.clone(), value);
            }
            Value::Object(merged)
        }
        (Some(Value::Array(live)), Value::Array(applied)) if schema.list() != ListKind::Atomic => {
            let kind = schema.list();
            let mut merged = live.clone();
            for item in applied {
                let element = kind.element(item);
                match merged.iter_mut().find(|have| kind.element(have) == element) {
                    Some(have) => *have = merge(Some(have), item, schema.item()),
                    None => merged.push(item.clone()),
                }
            }
            Value::Array(merged)
        }
        _ => applied.clone(),
    }
}

/// Takes the fields of a set out of an object, except where one of `keep` is the field itself or below it.
pub(crate) fn remove(object: &mut Value, gone: &Fields, keep: &Fields, schema: Schema<'_>) {
    let keeps = |keep: Option<&Fields>| keep.is_some_and(|keep| !keep.is_empty());
    let nothing = Fields::default();
    match object {
        Value::Object(map) => {
            for (element, below) in &gone.below {
                let Some(key) = element.strip_prefix("f:") else { continue };
                let kept = keep.below.get(element);
                if below.member && !keeps(kept) {
                    map.remove(key);
                } else if let Some(value) = map.get_mut(key) {
                    remove(value, below, kept.unwrap_or(&nothing), schema.child(key));
                }
            }
        }
        Value::Array(list) => {
            let kind = schema.list();
            list.retain_mut(|item| {
                let Some(element) = kind.element(item) else { return true };
                let Some(below) = gone.below.get(&element) else { return true };
                let kept = keep.below.get(&element);
                if below.member && !keeps(kept) {
                    return false;
                }
                remove(item, below, kept.unwrap_or(&nothing), schema.item());
                true
            });
        }
        _ => {}
    }
}
