//! `${name}` in the texts of steps: what it may be, and what it becomes.
//!
//! A name in the front matter's `parameters`, or `run` (the id of the run). `$${` is a `${` that means nothing. A text that is one variable alone becomes a number
//! or a truth where the parameter is one; anything else becomes text. Nothing is ever taken apart by a shell: a value with blanks stays one word.

use std::collections::BTreeMap;

use crate::language::{Complaint, Judges, Name, Node, Scalar, Value, short};

/// Names that are always there, and what they are in a check.
pub(super) const BUILT_IN: [(&str, &str); 1] = [("run", "5f0c1d2e")];
/// Fields whose texts are names of steps, which no variable makes.
const NEVER: [&str; 4] = ["id", "needs", "on_failure", "until"];

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Text on one line.
    String,
    /// A whole number.
    Int,
    /// `true` or `false`.
    Bool,
    /// A length of time.
    Duration,
    /// Bytes.
    Size,
    /// Which snapshot of a source.
    Snapshot,
    /// A namespace of a cluster.
    Namespace,
    /// An absolute path.
    Path,
    /// One of the parameter's `values`.
    Enum,
}

impl Type {
    /// By its word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "string" => Self::String,
            "int" => Self::Int,
            "bool" => Self::Bool,
            "duration" => Self::Duration,
            "size" => Self::Size,
            "snapshot" => Self::Snapshot,
            "namespace" => Self::Namespace,
            "path" => Self::Path,
            "enum" => Self::Enum,
            _ => return None,
        })
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Snapshot => "snapshot",
            Self::Namespace => "namespace",
            Self::Path => "path",
            Self::Enum => "enum",
        }
    }

    const fn scalar(self) -> Scalar {
        match self {
            Self::String | Self::Enum => Scalar::Line,
            Self::Int => Scalar::Whole,
            Self::Bool => Scalar::Bool,
            Self::Duration => Scalar::Duration,
            Self::Size => Scalar::Size,
            Self::Snapshot => Scalar::Snapshot,
            Self::Namespace => Scalar::Namespace,
            Self::Path => Scalar::Path,
        }
    }

    /// A value for checks, where neither a default nor an example is given.
    const fn sample(self) -> &'static str {
        match self {
            Self::String | Self::Enum => "example",
            Self::Int => "1",
            Self::Bool => "false",
            Self::Duration => "1m",
            Self::Size => "1GiB",
            Self::Snapshot => "latest",
            Self::Namespace => "namespace",
            Self::Path => "/path",
        }
    }
}

/// A parameter of a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub kind: Type,
    /// One sentence.
    pub description: String,
    /// Its value where none is given; without one it has to be given.
    pub default: Option<String>,
    /// What could be meant.
    pub example: Option<String>,
    /// What an enum can be; empty for every other type.
    pub values: Vec<String>,
}

impl Parameter {
    /// Judges a value of it. `None` if it is right.
    pub(super) fn judge(&self, value: &Value, judges: &Judges<'_>) -> Option<Complaint> {
        if let (Type::Enum, Some(text)) = (self.kind, text(value)) {
            let known: Vec<&str> = self.values.iter().map(String::as_str).collect();
            let what = || format!("{:?} is none of the values", short(text));
            return (!known.contains(&text))
                .then(|| Complaint::new(what(), crate::language::suggest(text, &known, "values are")));
        }
        self.kind.scalar().judge(value, judges)
    }

    /// Judges a value that was given as text, such as on a command line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn accept(&self, text: &str, judges: &Judges<'_>) -> Result<(), Complaint> {
        self.judge(&self.typed(text), judges).map_or(Ok(()), Err)
    }

    /// What fields are checked with.
    #[must_use]
    pub fn sample(&self) -> &str {
        let given = self.default.as_deref().or(self.example.as_deref()).or(self.values.first().map(String::as_str));
        given.unwrap_or(self.kind.sample())
    }

    fn typed(&self, text: &str) -> Value {
        match (self.kind, text) {
            (Type::Bool, "true") => Value::Bool(true),
            (Type::Bool, "false") => Value::Bool(false),
            (Type::Int, text) if text.parse::<u64>().is_ok() => Value::Number(text.to_owned()),
            (_, text) => Value::Text(text.to_owned()),
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) | Value::Number(text) => Some(text),
        Value::Bool(true) => Some("true"),
        Value::Bool(false) => Some("false"),
        _ => None,
    }
}

/// A value as text, as a parameter keeps its default.
pub(super) fn as_text(value: &Value) -> Option<String> {
    text(value).map(str::to_owned)
}

/// What variables stand for: of every parameter and of what is always there.
#[derive(Debug, Clone, PartialEq)]
pub struct Values(BTreeMap<String, Value>);

impl Values {
    /// What fields are checked with before anybody gave values.
    pub(super) fn samples(parameters: &[Parameter]) -> Self {
        let own = parameters.iter().map(|parameter| (parameter.name.clone(), parameter.typed(parameter.sample())));
        let always = BUILT_IN.map(|(name, sample)| (name.to_owned(), Value::Text(sample.to_owned())));
        Self(own.chain(always).collect())
    }

    /// The values of a run: given ones, else defaults. `Err` names parameters that have neither. Whether a given value is right says [`Parameter::accept`].
    ///
    /// # Errors
    /// The names of parameters without a value.
    pub fn of(parameters: &[Parameter], given: &BTreeMap<String, String>, run: &str) -> Result<Self, Vec<String>> {
        let value = |parameter: &Parameter| given.get(&parameter.name).or(parameter.default.as_ref()).cloned();
        let missing: Vec<String> = parameters
            .iter()
            .filter(|parameter| value(parameter).is_none())
            .map(|parameter| parameter.name.clone())
            .collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        let own = parameters
            .iter()
            .filter_map(|parameter| value(parameter).map(|text| (parameter.name.clone(), parameter.typed(&text))));
        Ok(Self(own.chain([("run".to_owned(), Value::Text(run.to_owned()))]).collect()))
    }

    /// The value of a variable, for people.
    pub(super) fn shown(&self, name: &str) -> String {
        self.0.get(name).and_then(as_text).unwrap_or_else(|| "unknown".to_owned())
    }

    /// A tree with every variable replaced; one that is not known stays as it is written.
    pub(super) fn expand(&self, node: &Node) -> Node {
        let value = match &node.value {
            Value::Text(text) => self.value(text),
            Value::List(elements) => Value::List(elements.iter().map(|element| self.expand(element)).collect()),
            Value::Map(entries) => Value::Map(entries.iter().map(|(name, node)| self.entry(name, node)).collect()),
            single => single.clone(),
        };
        Node { place: node.place, value }
    }

    fn entry(&self, name: &Name, node: &Node) -> (Name, Node) {
        let node =
            if NEVER.contains(&name.text.as_str()) && !holds_checks(node) { node.clone() } else { self.expand(node) };
        let text = match self.value(&name.text) {
            Value::Text(text) | Value::Number(text) => text,
            other => as_text(&other).unwrap_or_default(),
        };
        (Name { place: name.place, text }, node)
    }

    fn value(&self, text: &str) -> Value {
        let parts = parts(text);
        if let [Part::Variable(name)] = parts.as_slice()
            && let Some(value) = self.0.get(*name)
        {
            return value.clone();
        }
        let mut out = String::new();
        for part in parts {
            match part {
                Part::Plain(plain) => out.push_str(plain),
                Part::Variable(name) => {
                    let known = self.0.get(name).and_then(as_text);
                    out.push_str(&known.unwrap_or_else(|| format!("${{{name}}}")));
                }
                Part::Broken => out.push_str("${"),
            }
        }
        Value::Text(out)
    }
}

/// Whether it is the `until` of `wait`, which is no name of a step.
fn holds_checks(node: &Node) -> bool {
    node.elements().iter().any(|element| !element.entries().is_empty())
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// What stands for itself.
    Plain(&'a str),
    /// `${name}`, with whatever stands between the braces.
    Variable(&'a str),
    /// A `${` without an end.
    Broken,
}

/// Takes a text apart.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            parts.push(Part::Plain(before));
            parts.push(Part::Plain("${"));
            rest = after;
            continue;
        }
        if !before.is_empty() {
            parts.push(Part::Plain(before));
        }
        if let Some((name, after)) = after.split_once('}') {
            parts.push(Part::Variable(name));
            rest = after;
        } else {
            parts.push(Part::Broken);
            rest = after;
        }
    }
    if !rest.is_empty() {
        parts.push(Part::Plain(rest));
    }
    parts
}

/// The variables of a text, each with how many `${` stand before it, also such as mean nothing.
pub(super) fn uses(text: &str) -> Vec<(usize, Part<'_>)> {
    let mut before = 0;
    let mut uses = Vec::new();
    for part in parts(text) {
        match part {
            Part::Plain("${") => before += 1,
            Part::Plain(_) => {}
            Part::Variable(name) => {
                uses.push((before, part));
                before += 1 + name.matches("${").count();
            }
            Part::Broken => {
                uses.push((before, part));
                before += 1;
            }
        }
    }
    uses
}

/// Every text of a tree in which variables are looked for, with its place.
pub(super) fn texts(node: &Node, out: &mut impl FnMut(&str, crate::language::Place)) {
    match &node.value {
        Value::Text(text) => out(text, node.place),
        Value::List(elements) => elements.iter().for_each(|element| texts(element, out)),
        Value::Map(entries) => {
            for (name, node) in entries {
                out(&name.text, name.place);
                if !NEVER.contains(&name.text.as_str()) || holds_checks(node) {
                    texts(node, out);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, kind: Type, default: &str) -> Parameter {
        Parameter {
            name: name.into(),
            kind,
            description: String::new(),
            default: Some(default.into()),
            example: None,
            values: Vec::new(),
        }
    }

    #[test]
    fn variables_become_their_values_and_nothing_else_changes() {
        let all = [
            parameter("n", Type::Int, "3"),
            parameter("b", Type::Bool, "true"),
            parameter("s", Type::String, "x; y $(z)"),
        ];
        let values =
            Values::of(&all, &BTreeMap::from([("n".to_owned(), "7".to_owned())]), "abc").expect("all have values");
        for (text, becomes) in [
            ("${n}", Value::Number("7".into())),
            ("${b}", Value::Bool(true)),
            ("a${n}b", Value::Text("a7b".into())),
            ("${s}", Value::Text("x; y $(z)".into())),
            ("$${n} ${run}", Value::Text("${n} abc".into())),
            ("$n $ {n} $", Value::Text("$n $ {n} $".into())),
            ("${other}", Value::Text("${other}".into())),
            ("${n", Value::Text("${n".into())),
        ] {
            assert_eq!(values.value(text), becomes, "{text}");
        }
        let open = Parameter { default: None, ..parameter("open", Type::Path, "") };
        assert_eq!(Values::of(&[open], &BTreeMap::new(), "r"), Err(vec!["open".to_owned()]));
    }

    #[test]
    fn every_use_knows_how_many_marks_stand_before_it() {
        assert_eq!(uses("$${a} ${b}${c} ${d"), [(1, Part::Variable("b")), (2, Part::Variable("c")), (3, Part::Broken)]);
        assert_eq!(uses("${a ${b}"), [(0, Part::Variable("a ${b"))]);
    }
}
