//! Label and field selectors.

use serde_json::Value;

use crate::support::kube::registry::Resource;
use crate::support::kube::status::{Result, Status};

#[derive(Debug, Clone, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    /// Pointer, value, whether it is to be equal.
    fields: Vec<(String, String, bool)>,
}

impl Selector {
    pub(crate) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(resource, fields)? })
    }

    /// A `LabelSelector` of an object; an empty one matches everything.
    pub(crate) fn of(selector: &Value) -> Self {
        let mut labels = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            labels.push(Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            labels.push(requirement(expression));
        }
        Self { labels, fields: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| holds(requirement, labels))
            && self.fields.iter().all(|(path, value, equal)| (field(object, path) == *value) == *equal)
    }

    pub(crate) fn matches_labels(&self, labels: &Value) -> bool {
        self.labels.iter().all(|requirement| holds(requirement, labels))
    }
}

/// A `matchExpressions` entry, of labels or of nodes.
fn requirement(expression: &Value) -> Requirement {
    let key = expression["key"].as_str().unwrap_or_default().to_owned();
    let values: Vec<String> =
        expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    match expression["operator"].as_str() {
        Some("NotIn") => Requirement::NotIn(key, values),
        Some("Exists") => Requirement::Exists(key),
        Some("DoesNotExist") => Requirement::Absent(key),
        _ => Requirement::In(key, values),
    }
}

fn holds(requirement: &Requirement, labels: &Value) -> bool {
    let has = |key: &String| labels.get(key).and_then(Value::as_str);
    match requirement {
        Requirement::In(key, values) => has(key).is_some_and(|value| values.iter().any(|one| one == value)),
        Requirement::NotIn(key, values) => has(key).is_none_or(|value| values.iter().all(|one| one != value)),
        Requirement::Exists(key) => has(key).is_some(),
        Requirement::Absent(key) => has(key).is_none(),
    }
}

fn field(object: &Value, path: &str) -> String {
    let pointer = format!("/{}", path.replace('.', "/"));
    match object.pointer(&pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>> {
    split(text).into_iter().map(|part| parse_label(part.trim())).collect()
}

/// At commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

fn parse_label(part: &str) -> Result<Requirement> {
    let wrong = |found: &str, expected: &str| {
        Status::bad_request(format!("unable to parse requirement: found '{found}', expected: {expected}"))
    };
    let name = |text: &str| text.trim().to_owned();
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(name(key)));
    }
    for (word, negated) in [(" notin ", true), (" in ", false)] {
        if let Some((key, values)) = part.split_once(word) {
            let values = values.trim().strip_prefix('(').and_then(|values| values.strip_suffix(')'));
            let values = values.ok_or_else(|| wrong("", "'('"))?.split(',').map(name).collect();
            return Ok(if negated {
                Requirement::NotIn(name(key), values)
            } else {
                Requirement::In(name(key), values)
            });
        }
    }
    for (sign, negated) in [("!=", true), ("==", false), ("=", false)] {
        if let Some((key, value)) = part.split_once(sign) {
            if value.contains('=') {
                return Err(wrong("=", "identifier"));
            }
            let (key, values) = (name(key), vec![name(value)]);
            return Ok(if negated { Requirement::NotIn(key, values) } else { Requirement::In(key, values) });
        }
    }
    if part.is_empty() {
        return Err(wrong("", "!, identifier, or 'end of string'"));
    }
    Ok(Requirement::Exists(name(part)))
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<(String, String, bool)>> {
    split(text)
        .into_iter()
        .map(|part| {
            let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
                (path, value, false)
            } else {
                let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) else {
                    return Err(Status::bad_request(format!("invalid selector: '{part}'; can't understand '{part}'")));
                };
                (path, value, true)
            };
            if !selectable(resource).contains(&path) {
                let known = "only \"metadata.name\", \"metadata.namespace\"";
                let text = if resource.custom.is_some() || extra_fields(resource).is_empty() {
                    format!("\"{path}\" is not a known field selector: {known}")
                } else {
                    format!("field label not supported: {path}")
                };
                return Err(Status::bad_request(text));
            }
            Ok((path.to_owned(), value.to_owned(), equal))
        })
        .collect()
}

fn selectable(resource: &Resource) -> Vec<&'static str> {
    let mut known = vec!["metadata.name"];
    if resource.namespaced {
        known.push("metadata.namespace");
    }
    known.extend(extra_fields(resource));
    known
}

fn extra_fields(resource: &Resource) -> &'static [&'static str] {
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => {
            &["spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase"]
        }
        ("" | "events.k8s.io", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "Node") => &["spec.unschedulable"],
        ("batch", "Job") => &["status.successful"],
        _ => &[],
    }
}

/// Whether a node's labels satisfy a list of node selector terms (any of them).
pub(crate) fn node_terms(terms: &Value, labels: &Value) -> bool {
    terms.as_array().into_iter().flatten().any(|term| {
        let expressions = term["matchExpressions"].as_array().into_iter().flatten();
        expressions.map(requirement).all(|requirement| holds(&requirement, labels))
    })
}
