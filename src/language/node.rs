//! YAML text as a tree of values that know their places. Nothing here knows what they mean.
//!
//! Stricter than YAML: no anchors, aliases, merge keys or tags (what is meant stands where it is used, and no alias can blow a file up), one document,
//! every name once. Bounded: text, depth and number of values have limits, and each value is made once from its own bytes.

use std::borrow::Cow;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::finding::{Finding, Place};

/// What is read, and what is said where there is nothing or too much of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// `the file`.
    pub name: &'static str,
    /// Most bytes of it.
    pub bytes_max: usize,
    /// Help where it is empty.
    pub empty: &'static str,
    /// Help where it is too long.
    pub long: &'static str,
}

/// Deepest nesting; what is understood has seven levels.
const DEPTH_MAX: usize = 16;
/// Most values of all kinds.
const NODES_MAX: usize = 20_000;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub place: Place,
    pub value: Value,
}

/// A field's or thing's name and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Name {
    pub place: Place,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Name, Node)>),
}

impl Value {
    /// What it is, for people.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "fields",
        }
    }
}

impl Node {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// Its fields or named things, in the order of the file.
    pub fn entries(&self) -> &[(Name, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Its elements.
    pub fn elements(&self) -> &[Self] {
        match &self.value {
            Value::List(elements) => elements,
            _ => &[],
        }
    }

    /// It and everything in it, each with the place that `place` makes of its own.
    pub fn moved(mut self, place: &impl Fn(Place) -> Place) -> Self {
        self.place = place(self.place);
        self.value = match self.value {
            Value::List(elements) => Value::List(elements.into_iter().map(|node| node.moved(place)).collect()),
            Value::Map(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(name, node)| (Name { place: place(name.place), ..name }, node.moved(place)))
                    .collect(),
            ),
            single => single,
        };
        self
    }

    /// Its text, of a number as it is written.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text),
            _ => None,
        }
    }
}

/// Reads one document. `Err` if no tree came of it; findings that leave a tree are added to `findings`.
pub(crate) fn read(bytes: &[u8], subject: Subject, findings: &mut Vec<Finding>) -> Result<Node, Finding> {
    if bytes.len() > subject.bytes_max {
        let what = format!("{} is longer than {} KiB", subject.name, subject.bytes_max >> 10);
        return Err(Finding::error(Place::START, what, subject.long));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.split(|byte| *byte == b'\n').next_back().unwrap_or_default();
        let place = Place {
            line: before.split(|byte| *byte == b'\n').count(),
            column: String::from_utf8_lossy(line).chars().count() + 1,
        };
        Finding::error(place, "this is no text in UTF-8", "save the file as UTF-8")
    })?;
    let mut builder = Builder { findings, open: Vec::new(), root: None, nodes: 0, documents: 0 };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let place = Place { line: error.marker().line().max(1), column: error.marker().col() + 1 };
            let help = "see the indentation, colons and quotes here and in the line above";
            Finding::error(place, format!("this is no YAML: {}", error.info()), help)
        })?;
        builder.take(event, &span)?;
    }
    let empty = || Finding::error(Place::START, format!("{} is empty", subject.name), subject.empty);
    builder.root.filter(|node| node.value != Value::Null).ok_or_else(empty)
}

/// A collection that is not closed yet.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, Vec<(Name, Node)>, Option<Name>),
}

struct Builder<'a> {
    findings: &'a mut Vec<Finding>,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Finding> {
        let place = Place { line: span.start.line().max(1), column: span.start.col() + 1 };
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let help = "leave out the line --- and what follows, or make a file of it";
                    return Err(Finding::error(place, "a second document begins", help));
                }
            }
            Event::Alias(_) => {
                self.refuse(place, "an alias (*name) is not understood", "write the value again");
                self.add(Node { place, value: Value::Null })?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.properties(place, anchor, tag.is_some());
                if self.wants_name() {
                    return self.name(text, place);
                }
                let value = if style == ScalarStyle::Plain { plain(&text) } else { Value::Text(text.into_owned()) };
                self.add(Node { place, value })?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.properties(place, anchor, tag.is_some());
                self.begin(Open::List(place, Vec::new()), place)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.properties(place, anchor, tag.is_some());
                self.begin(Open::Map(place, Vec::new(), None), place)?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(place, elements)) => self.add(Node { place, value: Value::List(elements) })?,
                Some(Open::Map(place, entries, _)) => self.add(Node { place, value: Value::Map(entries) })?,
                None => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn refuse(&mut self, place: Place, what: &str, help: &str) {
        self.findings.push(Finding::error(place, what, help));
    }

    fn properties(&mut self, place: Place, anchor: usize, tag: bool) {
        if anchor != 0 {
            self.refuse(place, "an anchor (&name) is not understood", "leave it out");
        }
        if tag {
            self.refuse(
                place,
                "a tag (!name) is not understood",
                "leave it out; put text that looks like a number in quotes",
            );
        }
    }

    /// Whether the next value is the name of a field.
    fn wants_name(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map(_, _, None)))
    }

    fn begin(&mut self, open: Open, place: Place) -> Result<(), Finding> {
        if self.wants_name() {
            return Err(Finding::error(place, "the name of a field is text", "write NAME: VALUE"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Finding::error(place, "this is nested too deeply", "see the indentation"));
        }
        self.open.push(open);
        Ok(())
    }

    fn name(&mut self, text: Cow<'_, str>, place: Place) -> Result<(), Finding> {
        self.count(place)?;
        if text == "<<" {
            self.refuse(place, "a merge key (<<) is not understood", "write the fields again");
        }
        if let Some(Open::Map(_, _, name)) = self.open.last_mut() {
            *name = Some(Name { place, text: text.into_owned() });
        }
        Ok(())
    }

    fn count(&mut self, place: Place) -> Result<(), Finding> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let what = format!("there are more than {NODES_MAX} values");
            return Err(Finding::error(place, what, "is it the right file?"));
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Finding> {
        self.count(node.place)?;
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, elements)) => elements.push(node),
            Some(Open::Map(_, entries, name)) => {
                let Some(name) = name.take() else {
                    return Err(Finding::error(node.place, "the name of a field is text", "write NAME: VALUE"));
                };
                entries.push((name, node));
            }
        }
        Ok(())
    }
}

/// Every name once: reported for a map as a whole, so that a file of one map costs no square of its names.
pub(crate) fn repeated(entries: &[(Name, Node)]) -> Vec<(&Name, Place)> {
    let mut first = std::collections::BTreeMap::new();
    let mut repeated = Vec::new();
    for (name, _) in entries {
        match first.entry(name.text.as_str()) {
            std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(name.place)),
            std::collections::btree_map::Entry::Occupied(taken) => repeated.push((name, *taken.get())),
        }
    }
    repeated
}

/// A plain scalar by the core schema of YAML 1.2: `yes` and `on` are text.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "-.inf" | ".nan" | ".NaN" | ".NAN" => {
            return Value::Number(text.to_owned());
        }
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let radix = |prefix: &str, digits: fn(char) -> bool| {
        text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(digits))
    };
    let decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && unsigned.parse::<f64>().is_ok();
    if decimal || radix("0x", |c| c.is_ascii_hexdigit()) || radix("0o", |c| ('0'..='7').contains(&c)) {
        Value::Number(text.to_owned())
    } else {
        Value::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Subject = Subject { name: "the file", bytes_max: 256 << 10, empty: "write it", long: "cut it" };

    fn one(text: &str) -> Value {
        read(format!("a: {text}").as_bytes(), FILE, &mut Vec::new())
            .expect(text)
            .field("a")
            .expect("there")
            .value
            .clone()
    }

    #[test]
    fn plain_values_are_those_of_yaml_1_2() {
        for text in ["~", "null", ""] {
            assert_eq!(one(text), Value::Null, "{text}");
        }
        assert_eq!(one("true"), Value::Bool(true));
        for text in ["yes", "on", "no", "1.2.3", "10%", "0x", "2026-11-01", "1_000", "inf", "'7'", "\"true\"", "|\n  7"]
        {
            assert!(matches!(one(text), Value::Text(_)), "{text}: {:?}", one(text));
        }
        for text in ["7", "-7", "+1.5", ".5", "1e3", "0x1F", "0o17", ".inf"] {
            assert_eq!(one(text), Value::Number(text.to_owned()));
        }
    }

    #[test]
    fn values_know_their_places() {
        let node = read("a:\n  - ü: 1\n    b: x\n".as_bytes(), FILE, &mut Vec::new()).expect("valid");
        let list = node.field("a").expect("there");
        let (name, value) = &list.elements()[0].entries()[1];
        assert_eq!((name.place.to_string(), value.place.to_string()), ("3:5".into(), "3:8".into()));
        assert_eq!(list.elements()[0].entries()[0].1.place.to_string(), "2:8");
    }

    #[test]
    fn what_could_blow_up_or_mislead_is_refused() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
        let mut findings = Vec::new();
        read(bomb.as_bytes(), FILE, &mut findings).expect("a tree is left");
        assert_eq!(findings.iter().filter(|f| f.what.contains("alias")).count(), 4);
        assert_eq!(findings.iter().filter(|f| f.what.contains("anchor")).count(), 3);
        for (text, says) in [
            ("", "empty"),
            ("# nothing\n", "empty"),
            ("~", "empty"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("[a]: 1\n", "name of a field"),
            ("{a: 1}: 1\n", "name of a field"),
            ("a: [1\n", "no YAML"),
            ("a:\n\tb: 1\n", "no YAML"),
            ("a: *x\n", "no YAML"),
        ] {
            let error = read(text.as_bytes(), FILE, &mut Vec::new()).expect_err(text);
            assert!(error.what.contains(says), "{text:?}: {error:?}");
        }
        for text in ["a: !!int '7'\n", "<<: 1\n", "a: &x 1\n"] {
            let mut findings = Vec::new();
            read(text.as_bytes(), FILE, &mut findings).expect(text);
            assert_eq!(findings.len(), 1, "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        assert!(read(deep.as_bytes(), FILE, &mut Vec::new()).expect_err("deep").what.contains("deeply"));
        let many = format!("a: [{}]", "1,".repeat(NODES_MAX));
        assert!(read(many.as_bytes(), FILE, &mut Vec::new()).expect_err("many").what.contains("more than"));
        let long = vec![b' '; FILE.bytes_max + 1];
        assert!(read(&long, FILE, &mut Vec::new()).expect_err("long").what.contains("longer"));
        let error = read(b"a: 1\nb: \xff\n", FILE, &mut Vec::new()).expect_err("not UTF-8");
        assert_eq!((error.place.to_string(), error.what.contains("UTF-8")), ("2:4".into(), true));
    }
}
