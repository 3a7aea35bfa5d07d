//! Holds a tree against the language, and fills in defaults. Everything wrong is found, not only the first.

use super::Judges;
use super::finding::{Complaint, Finding, short};
use super::language::{Field, Need, ROOT, SOURCE, Shape};
use super::node::{self, Name, Node, Value};
use super::scalar::Scalar;
use super::suggest;
use crate::crypto::secret::holds_secret;

/// Judges the whole file.
pub(super) fn judge(root: &Node, judges: &Judges<'_>, findings: &mut Vec<Finding>) {
    let mut judging = Judging { judges, findings };
    judging.value(root, &ROOT, "the file");
    judging.repositories(root);
    judging.sources(root);
    judging.retention(root);
}

struct Judging<'a> {
    judges: &'a Judges<'a>,
    findings: &'a mut Vec<Finding>,
}

/// `sources` and `photos` become `sources.photos`.
fn below(at: &str, name: &str) -> String {
    if at == "the file" { short(name).into_owned() } else { format!("{at}.{}", short(name)) }
}

impl Judging<'_> {
    fn error(&mut self, node: &Node, what: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::error(node.place, what, help));
    }

    fn complain(&mut self, place: super::Place, at: &str, complaint: Option<Complaint>) {
        if let Some(Complaint { what, help }) = complaint {
            self.findings.push(Finding::error(place, format!("{at}: {what}"), help));
        }
    }

    fn value(&mut self, node: &Node, shape: &Shape, at: &str) {
        match (shape, &node.value) {
            (Shape::One(scalar), value) => self.complain(node.place, at, scalar.judge(value, self.judges)),
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
            (Shape::Each(_), value) => {
                let what = format!("{at}: a list is expected here, and this is {}", value.kind());
                self.error(node, what, "write a line with - before each, and its fields after it");
            }
            (Shape::Named(name, of), Value::Map(entries)) => self.things(entries, *name, of, at),
            (Shape::Record(fields), Value::Map(entries)) => self.record(node, entries, fields, at),
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
            self.value(node, of, &below(at, &name.text));
        }
    }

    fn record(&mut self, node: &Node, entries: &[(Name, Node)], fields: &[Field], at: &str) {
        self.once(entries, at);
        let known = names(fields);
        for (name, value) in entries {
            if let Some(field) = fields.iter().find(|field| field.name == name.text) {
                self.value(value, field.shape, &below(at, &name.text));
            } else {
                let help = suggest::help(&name.text, &known, "fields here are");
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

    fn repositories(&mut self, root: &Node) {
        let known = named(root, "repositories");
        match root.field("default-repository") {
            Some(node) => {
                if let Some(text) = node.text().filter(|text| !known.contains(text)) {
                    let help = suggest::help(text, &known, "there are");
                    self.error(node, format!("there is no repository {:?}", short(text)), help);
                }
            }
            None if known.len() > 1 => {
                if let Some(node) = root.field("repositories") {
                    let what = "there are several repositories, and none is the default";
                    self.error(node, what, format!("write default-repository: {}", known.first().unwrap_or(&"NAME")));
                }
            }
            None => {}
        }
    }

    fn sources(&mut self, root: &Node) {
        let Some(sources) = root.field("sources") else { return };
        for (name, source) in sources.entries() {
            if let Some(path) = source.field("path") {
                if let Some(paths) = path.field("paths") {
                    self.paths(&name.text, paths);
                }
                self.live(&name.text, path, sources);
            }
            if let Some(argv) = source.field("command").and_then(|command| command.field("argv")) {
                self.argv(&format!("sources.{}.command.argv", short(&name.text)), argv);
            }
            if let Some(resources) = source.field("resources") {
                self.folder(&name.text, "resources", resources, &["kubeconfig", "context"]);
            }
            if let Some(volumes) = source.field("volumes") {
                self.folder(&name.text, "volumes", volumes, OF_MOVERS);
                self.volumes(&name.text, volumes, sources);
            }
        }
    }

    /// Several paths lie in the snapshot by their last names, which must differ.
    fn paths(&mut self, source: &str, paths: &Node) {
        let (source, several) = (short(source), paths.elements().len() > 1);
        let mut seen = std::collections::BTreeMap::new();
        for node in paths.elements().iter().filter(|_| several) {
            let Some(path) = node.text() else { continue };
            let Some(name) = std::path::Path::new(path).file_name() else {
                let what = format!("sources.{source}: {path} has no name of its own to lie under beside other paths");
                self.error(node, what, "make a source of it alone");
                continue;
            };
            if let Some(other) = seen.insert(name, path) {
                let what = format!("sources.{source}: {other} and {path} have the same last name");
                self.error(node, what, "make two sources of them, or name the folder above them");
            }
        }
    }

    /// What is said of databases has a meaning in a source that is in use, and a dump is made before.
    fn live(&mut self, source: &str, path: &Node, sources: &Node) {
        let at = format!("sources.{}.path", short(source));
        let is_live = matches!(path.field("live").map(|live| &live.value), Some(Value::Bool(true)));
        for name in ["scratch", "postgres", "postgres-dump"] {
            // The default may be written out.
            if let Some(node) = path.field(name).filter(|node| !is_live && node.text() != Some("refuse")) {
                self.error(node, format!("{at}.{name} means nothing without live"), "add live: true, or leave it out");
            }
        }
        let Some(dump) = path.field("postgres-dump") else { return };
        if path.field("postgres").and_then(Node::text) == Some("crash-consistent") {
            let what = format!("{at}: the data of PostgreSQL is stored and left out at once");
            self.error(dump, what, "postgres: crash-consistent is for snapshots, postgres-dump for a server that runs");
        }
        self.is_command_above(&format!("{at}.postgres-dump"), dump, source, sources);
    }

    /// A source that a dump is taken from has to run before.
    fn is_command_above(&mut self, at: &str, dump: &Node, source: &str, sources: &Node) {
        let Some(text) = dump.text() else { return };
        let above = sources.entries().iter().take_while(|(name, _)| name.text != source);
        let commands = above.filter(|(_, node)| node.field("command").is_some());
        let commands: Vec<&str> = commands.map(|(name, _)| name.text.as_str()).collect();
        if !commands.contains(&text) {
            let what = format!("{at}: no command source above this one is called {:?}", short(text));
            self.error(dump, what, suggest::help(text, &commands, "command sources above are"));
        }
    }

    /// In a folder nothing runs: what is of an API server or of pods has no meaning there. Defaults may be written out.
    fn folder(&mut self, source: &str, kind: &str, node: &Node, meaningless: &[&str]) {
        let at = format!("sources.{}.{kind}", short(source));
        if node.field("folder").is_none() {
            return;
        }
        for name in meaningless {
            let default = |node: &Node| match &node.value {
                Value::List(elements) => elements.is_empty(),
                Value::Text(text) | Value::Number(text) => default_of(kind, name) == Some(text),
                _ => false,
            };
            if let Some(node) = node.field(name).filter(|node| !default(node)) {
                let what = format!("{at}.{name} means nothing beside folder");
                self.error(node, what, "a folder is read by this process, without API server and pods: leave one out");
            }
        }
    }

    /// What is held is written down in our namespace, and a dump that stands for a volume is made before.
    fn volumes(&mut self, source: &str, volumes: &Node, sources: &Node) {
        let at = format!("sources.{}.volumes", short(source));
        let is_map = matches!(volumes.value, Value::Map(_));
        if is_map && volumes.field("image").is_none() && volumes.field("folder").is_none() {
            let help = "add image: the image of homelab-dr that the pods of movers run; or folder, for one that stands for a cluster";
            self.error(volumes, format!("{at} lacks image"), help);
        }
        let hooks = volumes.field("hooks");
        let homeless = volumes.field("namespace").is_none() && volumes.field("folder").is_none();
        if let Some(hooks) = hooks.filter(|hooks| !hooks.elements().is_empty() && homeless) {
            let help = "add namespace: a namespace of homelab-dr's own, where what has to be undone is written down";
            self.error(hooks, format!("{at}.hooks needs a namespace"), help);
        }
        for hook in hooks.map(Node::elements).unwrap_or_default() {
            for name in ["before", "after"] {
                if let Some(argv) = hook.field("command").and_then(|command| command.field(name)) {
                    self.argv(&format!("{at}.hooks.command.{name}"), argv);
                }
            }
        }
        for cnpg in volumes.field("cnpg").map(Node::elements).unwrap_or_default() {
            if let Some(dump) = cnpg.field("covered-by") {
                self.is_command_above(&format!("{at}.cnpg.covered-by"), dump, source, sources);
            }
        }
    }

    fn argv(&mut self, at: &str, argv: &Node) {
        if let Some(first) = argv.elements().first()
            && let Some(program) = first.text()
        {
            if program.is_empty() {
                self.error(first, format!("{at}: the program has no name"), "the first word is the program");
            } else if program.contains('/') && !program.starts_with('/') {
                let what = format!("{at}: {program} is a relative path");
                self.error(first, what, "write it from / on, or its name alone, which is looked for on the PATH");
            } else if program.contains(char::is_whitespace) && argv.elements().len() == 1 {
                let what = format!("{at}: {program:?} would be the name of one program");
                self.error(first, what, "no shell takes it apart: make a list of it, one word each");
            }
        }
        for node in argv.elements() {
            if node.text().is_some_and(holds_password) {
                let what = format!(
                    "{at}: this looks like a password, which everybody on the machine can see in the list of processes"
                );
                let help = "have the program read it from a file or a variable, such as PGPASSFILE";
                self.findings.push(Finding::warning(node.place, what, help));
            }
        }
    }

    fn retention(&mut self, root: &Node) {
        let known = named(root, "sources");
        let rules = root.field("retention").and_then(|retention| retention.field("sources"));
        for (name, _) in rules.map(Node::entries).unwrap_or_default() {
            // A source of volumes makes snapshots of names that only the cluster knows.
            let of_volume = name.text.starts_with("pvc/") && has_volumes(root);
            if !known.contains(&name.text.as_str()) && !of_volume {
                let what = format!("retention.sources: no source here is called {:?}", short(&name.text));
                let help = suggest::help(&name.text, &known, "right if another machine writes it; sources here are");
                self.findings.push(Finding::warning(name.place, what, help));
            }
        }
    }
}

/// Fields of a source of volumes that say something about an API server or pods.
const OF_MOVERS: &[&str] = &[
    "kubeconfig",
    "context",
    "image",
    "namespace",
    "snapshot-class",
    "movers",
    "mode",
    "timeout",
    "start-timeout",
    "hooks",
];

/// What a field of this kind of source is when it is left out.
fn default_of(kind: &str, name: &str) -> Option<&'static str> {
    let field = |fields: &'static [Field], name: &str| fields.iter().find(|field| field.name == name);
    let of = |shape: &'static Shape, name: &str| match shape {
        Shape::Record(fields) => field(fields, name),
        _ => None,
    };
    match of(of(&SOURCE, kind)?.shape, name)?.need {
        Need::Default(text) => Some(text),
        _ => None,
    }
}

fn has_volumes(root: &Node) -> bool {
    let sources = root.field("sources").map(Node::entries).unwrap_or_default();
    sources.iter().any(|(_, source)| source.field("volumes").is_some())
}

fn names(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|field| field.name).collect()
}

fn named<'a>(root: &'a Node, field: &str) -> Vec<&'a str> {
    root.field(field).map(Node::entries).unwrap_or_default().iter().map(|(name, _)| name.text.as_str()).collect()
}

/// Whether a word of a command line seems to hold a password: `--password=…`, `token=…`, `postgres://user:secret@host`.
pub(super) fn holds_password(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let assigned = lower.split_once('=').is_some_and(|(name, value)| {
        let named =
            ["password", "passwd", "secret", "token", "api-key", "apikey"].iter().any(|mark| name.ends_with(mark));
        named && !value.is_empty()
    });
    let in_address = lower.split_once("://").is_some_and(|(_, rest)| {
        let host = rest.split('/').next().unwrap_or_default();
        host.rsplit_once('@').is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
    });
    assigned || in_address
}

/// Writes every default where its field was left out, and the only repository as the default one.
pub(super) fn fill(root: &mut Node) {
    fill_in(root, &ROOT);
    let only = match named(root, "repositories").as_slice() {
        [only] => Some((*only).to_owned()),
        _ => None,
    };
    if let (Some(only), None) = (only, root.field("default-repository"))
        && let Value::Map(entries) = &mut root.value
    {
        let name = Name { place: root.place, text: "default-repository".into() };
        entries.insert(0, (name, Node { place: root.place, value: Value::Text(only) }));
    }
}

fn fill_in(node: &mut Node, shape: &Shape) {
    let place = node.place;
    if let (Shape::Each(fields), Value::List(elements)) = (shape, &mut node.value) {
        for element in elements {
            fill_in(element, &Shape::Record(fields));
        }
    }
    let Value::Map(entries) = &mut node.value else { return };
    match shape {
        Shape::One(_) | Shape::List(..) | Shape::Each(_) => {}
        Shape::Named(_, of) => entries.iter_mut().for_each(|(_, node)| fill_in(node, of)),
        Shape::Record(fields) | Shape::Rules(fields) => {
            for field in *fields {
                if let Some((_, node)) = entries.iter_mut().find(|(name, _)| name.text == field.name) {
                    fill_in(node, field.shape);
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
/// One text as the list that was probably meant: a command's words, or the one element.
fn list_of(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [] | [_] => format!("write [{text:?}]"),
        words => format!("write [{}], each word for itself, or [{text:?}] for one with blanks", words.join(", ")),
    }
}
