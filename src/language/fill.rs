//! Defaults, written where their fields were left out.

use super::node::{Name, Node, Value};
use super::{Need, Shape};

/// Writes every default where its field was left out.
pub(crate) fn fill(node: &mut Node, shape: &Shape) {
    let place = node.place;
    if let (Shape::Each(fields), Value::List(elements)) = (shape, &mut node.value) {
        for element in elements {
            fill(element, &Shape::Record(fields));
        }
    }
    if let (Shape::Things(thing), Value::List(elements)) = (shape, &mut node.value) {
        for element in elements {
            fill(element, &Shape::Record(thing.fields));
        }
    }
    let Value::Map(entries) = &mut node.value else { return };
    match shape {
        Shape::One(_) | Shape::List(..) | Shape::Each(_) | Shape::Things(_) => {}
        Shape::Named(_, of) => entries.iter_mut().for_each(|(_, node)| fill(node, of)),
        Shape::Record(fields) | Shape::Rules(fields) | Shape::OneOrRecord(_, fields) => {
            for field in *fields {
                if let Some((_, node)) = entries.iter_mut().find(|(name, _)| name.text == field.name) {
                    fill(node, field.shape);
                } else if let Need::Default(text) = field.need {
                    let value = match (field.shape, text) {
                        (Shape::List(..) | Shape::Each(_), _) => Value::List(Vec::new()),
                        (_, "false") => Value::Bool(false),
                        (_, text) if text.bytes().all(|byte| byte.is_ascii_digit()) => Value::Number(text.to_owned()),
                        (_, text) => Value::Text(text.to_owned()),
                    };
                    entries.push((Name { place, text: field.name.to_owned() }, Node { place, value }));
                }
            }
        }
    }
}
