//! Custom resources: what their schema fills in, takes out and refuses.
//!
//! Patterns and formats are not checked; of CEL only what `cel` understands, and a definition with any other rule is refused, so that no
//! rule is silently passed over.

pub(crate) mod cel;

use serde_json::{Value, json};

use crate::support::kube::status::Cause;

/// Fills in defaults.
pub(crate) fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = schema.get("default")
                    && map.get(key).is_none_or(|value| value.is_null() && schema["nullable"] != true)
                {
                    map.insert(key.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(key) {
                    fill(schema, value);
                }
            }
            if schema["additionalProperties"].is_object() {
                map.values_mut().for_each(|value| fill(&schema["additionalProperties"], value));
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| fill(&schema["items"], item)),
        _ => {}
    }
}

/// Takes out what the schema does not name, and says what.
pub(crate) fn prune(schema: &Value, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    prune_at(schema, object, "", true, &mut unknown);
    unknown
}

fn prune_at(schema: &Value, value: &mut Value, path: &str, resource: bool, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let free = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let others = &schema["additionalProperties"];
            map.retain(|key, value| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    return true;
                }
                if let Some(schema) = schema["properties"].get(key) {
                    let resource = schema["x-kubernetes-embedded-resource"] == true;
                    prune_at(schema, value, &path, resource, unknown);
                    return true;
                }
                if others.is_object() {
                    prune_at(others, value, &path, false, unknown);
                    return true;
                }
                if free || *others == true {
                    return true;
                }
                unknown.push(path);
                false
            });
        }
        Value::Array(list) => {
            for (at, item) in list.iter_mut().enumerate() {
                prune_at(&schema["items"], item, &format!("{path}[{at}]"), false, unknown);
            }
        }
        _ => {}
    }
}

/// What the schema refuses. `old` is the state before, for rules about transitions.
pub(crate) fn validate(schema: &Value, value: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    structure(schema, value, "", &mut causes);
    if causes.is_empty() {
        rules(schema, value, old, "", &mut causes);
    } else if has_rules(schema) {
        let text = "some validation rules were not checked because the object was invalid; \
                    correct the existing errors to complete validation";
        causes.push(Cause::invalid("<nil>", format!("null: {text}")));
    }
    causes
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn structure(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    let is = type_of(value);
    let int_or_string = schema["x-kubernetes-int-or-string"] == true && matches!(is, "integer" | "string");
    if let Some(wanted) = schema["type"].as_str()
        && wanted != is
        && !(wanted == "number" && is == "integer")
        && !int_or_string
    {
        let text = format!("Invalid value: \"{is}\": {path} in body must be of type {wanted}: \"{is}\"");
        causes.push(Cause::new("FieldValueTypeInvalid", path, text));
        return;
    }
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(required).is_none() {
            causes.push(Cause::required(below(path, required), ""));
        }
    }
    let limit = |field: &str, wrong: &dyn Fn(f64) -> bool| schema[field].as_f64().filter(|limit| wrong(*limit));
    let number = value.as_f64();
    let mut refuse = |text: String| {
        causes.push(Cause::invalid(path, format!("{value}: {path} in body {text}")));
    };
    if let Some(limit) = number.and_then(|number| limit("minimum", &|limit| number < limit)) {
        refuse(format!("should be greater than or equal to {limit}"));
    }
    if let Some(limit) = number.and_then(|number| limit("maximum", &|limit| number > limit)) {
        refuse(format!("should be less than or equal to {limit}"));
    }
    let length = value.as_str().map(|text| text.chars().count()).or_else(|| value.as_array().map(Vec::len));
    for (least, most) in [("minLength", "maxLength"), ("minItems", "maxItems")] {
        if let Some(limit) = length.and_then(|length| limit(least, &|limit| (length as f64) < limit)) {
            refuse(format!("should be at least {limit} long"));
        }
        if let Some(limit) = length.and_then(|length| limit(most, &|limit| length as f64 > limit)) {
            refuse(format!("should be at most {limit} long"));
        }
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        let allowed: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let text = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        causes.push(Cause::new("FieldValueNotSupported", path, text));
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let known = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
                if let Some(schema) = known.filter(|schema| schema.is_object()) {
                    structure(schema, value, &below(path, key), causes);
                }
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                structure(&schema["items"], item, &format!("{path}[{at}]"), causes);
            }
        }
        _ => {}
    }
}

fn rules(schema: &Value, value: &Value, old: Option<&Value>, path: &str, causes: &mut Vec<Cause>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap_or_default();
        if old.is_none() && text.contains("oldSelf") {
            continue;
        }
        let holds = cel::holds(text, &json!({"self": value, "oldSelf": old})).unwrap_or(false);
        if !holds {
            let message = rule["message"].as_str().map_or_else(|| format!("failed rule: {text}"), str::to_owned);
            causes.push(Cause::invalid(path, message));
        }
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let known = schema["properties"].get(key).or_else(|| schema.get("additionalProperties"));
                if let Some(schema) = known.filter(|schema| schema.is_object()) {
                    rules(schema, value, old.and_then(|old| old.get(key)), &below(path, key), causes);
                }
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                rules(&schema["items"], item, None, &format!("{path}[{at}]"), causes);
            }
        }
        _ => {}
    }
}

fn has_rules(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => map.contains_key("x-kubernetes-validations") || map.values().any(has_rules),
        Value::Array(list) => list.iter().any(has_rules),
        _ => false,
    }
}

/// Rules of a definition that cannot be judged here.
pub(crate) fn unknown_rules(schema: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    match schema {
        Value::Object(map) => {
            for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                let text = rule["rule"].as_str().unwrap_or_default();
                if !cel::understands(text) {
                    unknown.push(text.to_owned());
                }
            }
            unknown.extend(map.values().flat_map(unknown_rules));
        }
        Value::Array(list) => unknown.extend(list.iter().flat_map(unknown_rules)),
        _ => {}
    }
    unknown
}
