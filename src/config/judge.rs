//! What the language's tables cannot say of a configuration: names that have to be there, fields that mean something only together.

use super::language::{ROOT, SOURCE};
use crate::language::{
    Field, Finding, Judges, Judging, Name, Need, Node, Shape, Value, fill as fill_in, judge_argv, judge_passwords,
    short, suggest,
};

/// Judges the whole file.
pub(super) fn judge(root: &Node, judges: &Judges<'_>, findings: &mut Vec<Finding>) {
    let mut judging = Judging { judges, whole: "the file", findings };
    judging.value(root, &ROOT, "the file");
    judging.repositories(root);
    judging.sources(root);
    judging.retention(root);
}

impl Judging<'_> {
    fn repositories(&mut self, root: &Node) {
        let known = named(root, "repositories");
        match root.field("default-repository") {
            Some(node) => {
                if let Some(text) = node.text().filter(|text| !known.contains(text)) {
                    let help = suggest(text, &known, "there are");
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
            let place = source.field("command").and_then(|command| command.field("in"));
            if let Some(labels) = place.and_then(|place| place.field("labels"))
                && matches!(&labels.value, Value::Map(labels) if labels.is_empty())
            {
                let what = format!("sources.{}.command.in.labels is empty", short(&name.text));
                self.error(labels, what, "write at least one label of the pod, or its name as pod");
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
            self.error(dump, what, suggest(text, &commands, "command sources above are"));
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
        for field in ["cnpg", "postgres-dump"] {
            for covered in volumes.field(field).map(Node::elements).unwrap_or_default() {
                if let Some(dump) = covered.field("covered-by") {
                    self.is_command_above(&format!("{at}.{field}.covered-by"), dump, source, sources);
                }
            }
        }
    }

    fn argv(&mut self, at: &str, argv: &Node) {
        judge_argv(at, argv, self.findings);
        judge_passwords(at, argv, self.findings);
    }

    fn retention(&mut self, root: &Node) {
        let known = named(root, "sources");
        let rules = root.field("retention").and_then(|retention| retention.field("sources"));
        for (name, _) in rules.map(Node::entries).unwrap_or_default() {
            // A source of volumes makes snapshots of names that only the cluster knows.
            let of_volume = name.text.starts_with("pvc/") && has_volumes(root);
            if !known.contains(&name.text.as_str()) && !of_volume {
                let what = format!("retention.sources: no source here is called {:?}", short(&name.text));
                let help = suggest(&name.text, &known, "right if another machine writes it; sources here are");
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

fn named<'a>(root: &'a Node, field: &str) -> Vec<&'a str> {
    root.field(field).map(Node::entries).unwrap_or_default().iter().map(|(name, _)| name.text.as_str()).collect()
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
