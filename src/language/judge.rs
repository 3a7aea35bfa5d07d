//! Holds a tree against a shape. Everything wrong is found, not only the first.

use super::finding::{Complaint, Finding, Place, short};
use super::node::{self, Name, Node, Value};
use super::{Field, Judges, Need, Scalar, Shape, names, suggest};
use crate::base::secret::holds_secret;

/// Judges one document.
pub(crate) struct Judging<'a> {
    /// What only higher layers know.
    pub judges: &'a Judges<'a>,
    /// What the document as a whole is called; fields directly in it are called by their names alone.
    pub whole: &'static str,
    /// What was found so far.
    pub findings: &'a mut Vec<Finding>,
}

impl Judging<'_> {
    /// `sources` and `photos` become `sources.photos`.
    fn below(&self, at: &str, name: &str) -> String {
        if at == self.whole { short(name).into_owned() } else { format!("{at}.{}", short(name)) }
    }

    /// Adds an error at a value.
    pub fn error(&mut self, node: &Node, what: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::error(node.place, what, help));
    }

    /// Adds what a value's judge said.
    fn complain(&mut self, place: Place, at: &str, complaint: Option<Complaint>) {
        if let Some(Complaint { what, help }) = complaint {
            self.findings.push(Finding::error(place, format!("{at}: {what}"), help));
        }
    }

    /// Holds a value against what may stand there. `at` is what it is called.
    pub fn value(&mut self, node: &Node, shape: &Shape, at: &str) {
        match (shape, &node.value) {
            (Shape::Record(fields) | Shape::OneOrRecord(_, fields), Value::Map(entries)) => {
                self.record(node, entries, fields, at);
            }
            (Shape::One(scalar) | Shape::OneOrRecord(scalar, _), value) => {
                self.complain(node.place, at, scalar.judge(value, self.judges));
            }
            (Shape::List(scalar, least), Value::List(elements)) => {
                if elements.len() < *least {
                    self.error(node, format!("{at} is empty"), format!("write at least one: {}", scalar.expected()));
                }
                for element in elements {
                    self.complain(element.place, at, scalar.judge(&element.value, self.judges));
                }
            }
            (Shape::List(scalar, _), value) => {
                let what = format!("{at}: a list is expected here, and this is {}", value.kind());
                let help = match value {
                    Value::Text(text) if scalar.judge_text(text, self.judges).is_none() => list_of(text),
                    _ => "write [one, two], or a line with - before each".to_owned(),
                };
                self.error(node, what, help);
            }
            (Shape::Each(fields), Value::List(elements)) => {
                for element in elements {
                    self.value(element, &Shape::Record(fields), at);
                }
            }
            (Shape::Things(thing), Value::List(elements)) => {
                if elements.is_empty() {
                    self.error(node, format!("{at} is empty"), format!("write at least one {}", thing.name));
                }
                for element in elements {
                    self.value(element, &Shape::Record(thing.fields), at);
                }
            }
            (Shape::Each(_) | Shape::Things(_), value) => {
                let what = format!("{at}: a list is expected here, and this is {}", value.kind());
                self.error(node, what, "write a line with - before each, and its fields after it");
            }
            (Shape::Named(name, of), Value::Map(entries)) => self.things(entries, *name, of, at),
            (Shape::Rules(fields), Value::Map(entries)) => {
                if entries.is_empty() {
                    self.error(node, format!("{at} keeps nothing"), "write at least one rule, such as daily: 7");
                }
                self.record(node, entries, fields, at);
            }
            (Shape::Named(..) | Shape::Record(_) | Shape::Rules(_), value) => {
                let what = format!("{at}: fields are expected here, and this is {}", value.kind());
                let help = match (shape, value) {
                    (Shape::Record([]), _) => "it has none: write {}".to_owned(),
                    (_, Value::Null) => "write them below, indented, or leave out the line".to_owned(),
                    (Shape::Record(fields) | Shape::Rules(fields), _) => {
                        format!("fields here are: {}", names(fields).join(", "))
                    }
                    _ => "write NAME: and what belongs to it below, indented".to_owned(),
                };
                self.error(node, what, help);
            }
        }
    }

    fn once(&mut self, entries: &[(Name, Node)], at: &str) {
        for (name, first) in node::repeated(entries) {
            let what = format!("{:?} is there twice in {at}", short(&name.text));
            let help = format!("the first is in line {}: leave out one of the two", first.line);
            self.findings.push(Finding::error(name.place, what, help));
        }
    }

    fn things(&mut self, entries: &[(Name, Node)], scalar: Scalar, of: &Shape, at: &str) {
        self.once(entries, at);
        for (name, node) in entries {
            self.complain(name.place, at, scalar.judge_text(&name.text, self.judges));
            let at = self.below(at, &name.text);
            self.value(node, of, &at);
        }
    }

    fn record(&mut self, node: &Node, entries: &[(Name, Node)], fields: &[Field], at: &str) {
        self.once(entries, at);
        let known = names(fields);
        for (name, value) in entries {
            if let Some(field) = fields.iter().find(|field| field.name == name.text) {
                let at = self.below(at, &name.text);
                self.value(value, field.shape, &at);
            } else {
                let help = suggest(&name.text, &known, "fields here are");
                let named = if holds_secret(&name.text) { "(a secret, not shown)".into() } else { short(&name.text) };
                self.findings.push(Finding::error(name.place, format!("unknown field {named:?} in {at}"), help));
            }
        }
        let is_there = |field: &&Field| entries.iter().any(|(name, _)| name.text == field.name);
        for field in fields.iter().filter(|field| field.need == Need::Required && !is_there(field)) {
            self.error(node, format!("{at} lacks {}", field.name), format!("add {}: {}", field.name, field.doc));
        }
        let kinds: Vec<&Field> = fields.iter().filter(|field| field.need == Need::OneOf).collect();
        let given: Vec<&str> = kinds.iter().copied().filter(is_there).map(|field| field.name).collect();
        if !kinds.is_empty() && given.len() != 1 {
            let all: Vec<&str> = kinds.iter().map(|field| field.name).collect();
            if given.is_empty() {
                self.error(node, format!("{at} has no kind"), format!("give it one of: {}", all.join(", ")));
            } else {
                let what = format!("{at} is {} at once", given.join(" and "));
                self.error(node, what, "make one of each");
            }
        }
    }
}

/// One text as the list that was probably meant: a command's words, or the one element.
fn list_of(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [] | [_] => format!("write [{text:?}]"),
        words => format!("write [{}], each word for itself, or [{text:?}] for one with blanks", words.join(", ")),
    }
}
