//! Values out of a tree that was judged right: what is not as judged is a bug of the judge, and said by `None`.

use std::time::Duration;

use super::node::{Node, Value};
use crate::base::units::parse_duration;

/// A field with a value that is none.
#[derive(Debug)]
pub(crate) struct NotUnderstood;

/// A field that may be absent and must be understood where it is there.
pub(crate) fn optional<T>(
    node: &Node,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, NotUnderstood> {
    match node.field(name) {
        None => Ok(None),
        Some(field) => field.text().and_then(parse).map(Some).ok_or(NotUnderstood),
    }
}

pub(crate) fn time(node: &Node, name: &str) -> Result<Option<Duration>, NotUnderstood> {
    optional(node, name, |text| parse_duration(text).ok())
}

pub(crate) fn text(node: &Node, name: &str) -> Option<String> {
    node.field(name)?.text().map(str::to_owned)
}

pub(crate) fn texts(node: &Node, name: &str) -> Option<Vec<String>> {
    node.field(name)?.elements().iter().map(|element| element.text().map(str::to_owned)).collect()
}

pub(crate) fn truth(node: &Node, name: &str) -> Option<bool> {
    match node.field(name)?.value {
        Value::Bool(truth) => Some(truth),
        _ => None,
    }
}

/// Names and texts; none where the field is not there.
pub(crate) fn named_texts<C: FromIterator<(String, String)>>(node: &Node, name: &str) -> Option<C> {
    let entries = node.field(name).map(Node::entries).unwrap_or_default();
    entries.iter().map(|(name, node)| Some((name.text.clone(), node.text()?.to_owned()))).collect()
}
