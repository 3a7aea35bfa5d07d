//! What was understood, written out again: as YAML that reads back to the same, and as JSON. Words that look like passwords are masked.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::node::{Name, Node, Value};
use super::password::holds_password;

/// In place of a word that looks like a password.
const MASKED: &str = "(not shown)";

/// As YAML, in blocks; lists of single values on one line, things of a list one below the other.
pub(crate) fn yaml(root: &Node) -> String {
    let mut out = String::new();
    fields(root, 0, &mut out);
    // Nothing at all is no map.
    if out.is_empty() { "{}\n".to_owned() } else { out }
}

fn fields(node: &Node, depth: usize, out: &mut String) {
    for (name, node) in node.entries() {
        let indent = "  ".repeat(depth);
        let _ = write!(out, "{indent}{}:", text(&name.text));
        if node.elements().iter().any(|element| !element.entries().is_empty()) {
            out.push('\n');
            node.elements().iter().for_each(|element| things(element, depth + 1, out));
        } else if node.entries().is_empty() {
            let _ = writeln!(out, " {}", value(node));
        } else {
            out.push('\n');
            fields(node, depth + 1, out);
        }
    }
}

/// Fields as an element of a list: the first after a dash, the others below it.
fn things(node: &Node, depth: usize, out: &mut String) {
    let mut block = String::new();
    fields(node, depth + 1, &mut block);
    let indent = "  ".repeat(depth);
    let _ = write!(out, "{indent}- {}", block.trim_start());
}

fn value(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.clone(),
        Value::Text(word) => text(word),
        Value::List(elements) => format!("[{}]", elements.iter().map(value).collect::<Vec<_>>().join(", ")),
        Value::Map(_) => "{}".to_owned(),
    }
}

/// Plain where nothing in YAML could take it for something else, otherwise quoted as JSON quotes, which YAML understands.
fn text(word: &str) -> String {
    if holds_password(word) {
        return format!("{MASKED:?}");
    }
    let plain = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_'))
        && !["null", "true", "false", "yes", "no", "on", "off"].contains(&word.to_ascii_lowercase().as_str());
    if plain { word.to_owned() } else { Json::from(word).to_string() }
}

/// On one line, for people: the outermost fields without braces, words without quotes where nothing else could be meant.
pub(crate) fn inline(node: &Node) -> String {
    match &node.value {
        Value::Map(entries) => {
            let pair = |(name, node): &(Name, Node)| format!("{}: {}", name.text, inner(node));
            entries.iter().map(pair).collect::<Vec<_>>().join(", ")
        }
        _ => inner(node),
    }
}

fn inner(node: &Node) -> String {
    match &node.value {
        Value::List(elements) => format!("[{}]", elements.iter().map(inner).collect::<Vec<_>>().join(", ")),
        Value::Map(_) => format!("{{{}}}", inline(node)),
        Value::Text(word) if holds_password(word) => MASKED.to_owned(),
        Value::Text(word) if !word.is_empty() && !word.contains([',', '"', '\n', '[', ']', '#']) => word.clone(),
        _ => value(node),
    }
}

/// As JSON.
pub(crate) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(truth) => json!(truth),
        Value::Number(number) => number.parse::<u64>().map_or_else(|_| json!(number), |number| json!(number)),
        Value::Text(word) => json!(if holds_password(word) { MASKED } else { word }),
        Value::List(elements) => elements.iter().map(json).collect(),
        Value::Map(entries) => {
            Json::Object(entries.iter().map(|(name, node)| (name.text.clone(), json(node))).collect::<Map<_, _>>())
        }
    }
}
