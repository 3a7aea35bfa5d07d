//! Holds the front matter and each step against the language, and says what its tables cannot: fields that mean something only together.

use std::collections::BTreeSet;

use super::language::{self, STEP, kinds};
use super::step::Step;
use super::variables::{self, BUILT_IN, Parameter, Part, Type, Values};
use super::{Written, understand};
use crate::base::units::{duration, parse_duration};
use crate::language::{Finding, Judges, Judging, Node, Place, Scalar, Severity, Shape, Value, fill, judge_argv, short};

/// Words that say no: a person who types one does not mean that a step is done. `stop` ends every question of a run.
const REFUSALS: [&str; 12] =
    ["stop", "no", "n", "nein", "abort", "cancel", "quit", "exit", "refuse", "decline", "never", "false"];
/// What runs a text as a program of its own.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "zsh", "ksh"];

/// Judges the front matter; its parameters if it is right.
pub(super) fn front(front: &Node, judges: &Judges<'_>, findings: &mut Vec<Finding>) -> Option<Vec<Parameter>> {
    let before = findings.len();
    Judging { judges, whole: WHOLE_FRONT, findings }.value(front, &language::FRONT, WHOLE_FRONT);
    if findings.len() > before {
        return None;
    }
    let parameters = understand::parameters(front)?;
    let nodes = front.field("parameters").map(Node::entries).unwrap_or_default();
    for (parameter, (name, node)) in parameters.iter().zip(nodes) {
        let at = format!("parameters.{}", short(&parameter.name));
        if BUILT_IN.iter().any(|(built_in, _)| *built_in == parameter.name) {
            let what = format!("{at}: ${{{}}} is always there, and means something else", parameter.name);
            findings.push(Finding::error(name.place, what, "give it another name"));
        }
        match (parameter.kind, node.field("values")) {
            (Type::Enum, None) => {
                let what = format!("{at} is an enum without values");
                findings.push(Finding::error(node.place, what, "add values: [one, two]"));
            }
            (Type::Enum, Some(_)) | (_, None) => {}
            (kind, Some(values)) => {
                let what = format!("{at}: a {} has no list of values", kind.word());
                findings.push(Finding::error(values.place, what, "write type: enum, or leave them out"));
            }
        }
        for field in ["default", "example"] {
            let given = node.field(field);
            if let Some((given, complaint)) =
                given.and_then(|given| Some((given, parameter.judge(&given.value, judges)?)))
            {
                let what = format!("{at}.{field}: {}", complaint.what);
                findings.push(Finding::error(given.place, what, complaint.help));
            }
        }
    }
    Some(parameters)
}

const WHOLE_FRONT: &str = "the front matter";
const WHOLE_STEP: &str = "the step";

/// Judges a step with its variables replaced; the step if it is right, its needs not known yet.
pub(super) fn step(
    written: &Written,
    values: &Values,
    are_samples: bool,
    judges: &Judges<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Step> {
    let mut node = values.expand(&written.node);
    let mut found = Vec::new();
    Judging { judges, whole: WHOLE_STEP, findings: &mut found }.value(&node, &Shape::Record(STEP), WHOLE_STEP);
    if found.is_empty() {
        fill(&mut node, &Shape::Record(STEP));
        Together { node: &node, judges, findings: &mut found }.judge();
    }
    if are_samples {
        mention_samples(&written.node, values, &mut found);
    }
    let is_right = found.iter().all(|finding| finding.severity != Severity::Error);
    findings.append(&mut found);
    if is_right { understand::step(&node, &written.title) } else { None }
}

/// Says with which value of a parameter something was found wrong.
fn mention_samples(node: &Node, values: &Values, found: &mut [Finding]) {
    let places: BTreeSet<Place> = found.iter().map(|finding| finding.place).collect();
    let mut texts = Vec::new();
    variables::texts(node, &mut |text, place| {
        if places.contains(&place) && text.contains("${") {
            texts.push((place, text.to_owned()));
        }
    });
    for (place, text) in texts {
        let names: BTreeSet<&str> = variables::parts(&text)
            .into_iter()
            .filter_map(|part| match part {
                Part::Variable(name) => Some(name),
                _ => None,
            })
            .collect();
        let shown = |name: &&str| format!("${{{}}} = {}", short(name), values.shown(name));
        let with = names.iter().map(shown).collect::<Vec<_>>().join(", ");
        for finding in found.iter_mut().filter(|finding| finding.place == place && !with.is_empty()) {
            finding.what = format!("{} (with {with})", finding.what);
        }
    }
}

/// A step whose fields are right each for itself.
struct Together<'a> {
    node: &'a Node,
    judges: &'a Judges<'a>,
    findings: &'a mut Vec<Finding>,
}

impl Together<'_> {
    fn error(&mut self, node: &Node, what: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::error(node.place, what, help));
    }

    fn warning(&mut self, node: &Node, what: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::warning(node.place, what, help));
    }

    fn judge(&mut self) {
        let node = self.node;
        let Some((kind, of)) = kinds().find_map(|kind| node.field(kind).map(|of| (kind, of))) else { return };
        match kind {
            "restore.volume" => self.volume(of),
            "exec" | "run" => self.argv(kind, of),
            "quiesce" => {
                for name in ["before", "after"] {
                    if let Some(argv) = of.field("command").and_then(|command| command.field(name)) {
                        self.words(&format!("quiesce.command.{name}"), argv);
                    }
                }
            }
            "wait" => self.wait(of),
            "check" => self.checks(of, false),
            "manual" => self.manual(of),
            _ => {}
        }
        let has_files = matches!(kind, "restore.volume" | "restore.files");
        if let Some(verify) = node.field("verify") {
            self.checks(verify, has_files);
        }
        self.destructive(kind, of);
        self.verified(kind);
    }

    fn volume(&mut self, of: &Node) {
        let source = of.field("source").and_then(Node::text).unwrap_or_default();
        let is_right = |claim: &str| Scalar::Claim.judge_text(claim, self.judges).is_none();
        let is_claim = source.strip_prefix("pvc/").is_some_and(is_right);
        if let Some(node) = of.field("source").filter(|_| !is_claim && of.field("into").is_none()) {
            let what = format!("restore.volume: {:?} names no claim to fill", short(source));
            self.error(
                node,
                what,
                "write pvc/NAMESPACE/CLAIM as backups of volumes are called, or add into: NAMESPACE/CLAIM",
            );
        }
        let in_place = of.field("in_place").is_some_and(|node| node.value == Value::Bool(true));
        for name in ["storage_class", "size"] {
            if let Some(node) = of.field(name).filter(|_| in_place) {
                let what = format!("restore.volume.{name} means nothing in place: the claim is there");
                self.error(node, what, "leave it out");
            }
        }
    }

    fn argv(&mut self, at: &str, of: &Node) {
        if let Some(argv) = of.field("argv") {
            self.words(&format!("{at}.argv"), argv);
        }
    }

    fn words(&mut self, at: &str, argv: &Node) {
        judge_argv(at, argv, self.findings);
        let words: Vec<&str> = argv.elements().iter().filter_map(Node::text).collect();
        if let [program, option, ..] = words.as_slice()
            && SHELLS.contains(&program.rsplit('/').next().unwrap_or_default())
            && option.starts_with('-')
            && option.ends_with('c')
        {
            let help = "write the program and its words themselves: many containers have no shell, and some clusters end whatever starts one";
            self.warning(argv, format!("{at} gives a text to a shell"), help);
        }
    }

    fn wait(&mut self, of: &Node) {
        if let Some(until) = of.field("until") {
            self.checks(until, false);
        }
        let limit = self.timeout();
        if let Some(time) = of.field("time")
            && let (Some(given), Some(limit)) = (time.text().and_then(|text| parse_duration(text).ok()), limit)
            && given >= limit
        {
            let what = format!("it waits for {} and has failed after {}", duration(given), duration(limit));
            self.error(time, what, "give the step a longer timeout");
        }
    }

    fn manual(&mut self, of: &Node) {
        let confirm = of.field("confirm").and_then(|node| Some((node, variables_text(node)?)));
        if let Some((node, word)) = confirm.filter(|(_, word)| REFUSALS.contains(&word.to_lowercase().as_str())) {
            let what =
                format!("manual.confirm: {:?} reads like a refusal, and would be taken for consent", short(&word));
            self.error(node, what, "write what somebody says when it is done, such as: done, or: looks right");
        }
    }

    fn timeout(&self) -> Option<std::time::Duration> {
        parse_duration(self.node.field("timeout")?.text()?).ok()
    }

    /// Checks, of which some look at what was restored beside them.
    fn checks(&mut self, checks: &Node, has_files: bool) {
        for check in checks.elements() {
            let limit = self.timeout();
            if let Some(node) = check.field("deadline")
                && let (Some(given), Some(limit)) = (node.text().and_then(|text| parse_duration(text).ok()), limit)
                && given > limit
            {
                let what = format!("the check may take {} and the step {}", duration(given), duration(limit));
                self.warning(node, what, "give the step a longer timeout, or the check a shorter deadline");
            }
            for (name, of) in check.entries() {
                self.check(&name.text, of, has_files);
            }
        }
    }

    fn check(&mut self, kind: &str, of: &Node, has_files: bool) {
        match kind {
            "files" | "no-empty" if !has_files => {
                let help = "put it into `verify` of restore.volume or restore.files";
                self.error(of, format!("{kind}: nothing was restored here that it could look at"), help);
            }
            "postgres" | "mysql" => {
                if let Some(datadir) = of.field("datadir") {
                    if datadir.value == Value::Bool(false) {
                        self.error(
                            datadir,
                            "postgres.datadir: false means nothing",
                            "write address: HOST:PORT in its place",
                        );
                    } else if !has_files {
                        let help =
                            "put it into `verify` of restore.volume or restore.files, or write address: HOST:PORT";
                        self.error(datadir, "postgres.datadir: no directory was restored here", help);
                    }
                }
                self.answer(kind, of);
            }
            "sqlite" => {
                let claim = of.field("claim");
                if let Some(node) = claim.filter(|_| self.node.field("restore.resources").is_none()) {
                    let help = "put it into `verify` of restore.resources, or leave the claim out";
                    self.error(node, "sqlite.claim: no claims come back with objects here", help);
                }
                if let Some(file) = of.field("file") {
                    self.file(file, has_files || claim.is_some());
                }
                self.answer(kind, of);
                if let Some(node) = of.field("at_least").or(of.field("equals")).filter(|_| of.field("query").is_none())
                {
                    self.error(node, "sqlite: there is an answer and no query", "add query: select …");
                }
            }
            "http" => {
                let status = of.field("status").filter(|node| {
                    node.text().is_none_or(|text| text.parse().is_ok_and(|status: u64| !(100..600).contains(&status)))
                });
                if let Some(node) = status {
                    self.error(node, "http.status is no status of an answer", "write a number from 100 to 599");
                }
            }
            "dns" => {
                for node in of.field("addresses").map(Node::elements).unwrap_or_default() {
                    if node.text().is_some_and(|text| text.parse::<std::net::IpAddr>().is_err()) {
                        let what = format!("dns.addresses: {:?} is no address", short(node.text().unwrap_or_default()));
                        self.error(node, what, "such as 192.0.2.7 or 2001:db8::7");
                    }
                }
            }
            "exec" | "run" => self.argv(kind, of),
            _ => {}
        }
    }

    fn file(&mut self, file: &Node, has_files: bool) {
        let path = std::path::Path::new(file.text().unwrap_or_default());
        let climbs = path.components().any(|part| part == std::path::Component::ParentDir);
        if has_files && (path.is_absolute() || climbs) {
            let what = "sqlite.file is outside of what was restored";
            self.error(file, what, "write its path below what was restored, such as config/app.db");
        } else if !has_files && !path.is_absolute() {
            self.error(file, "sqlite.file is a relative path, and nothing was restored here", "write it from / on");
        }
    }

    fn answer(&mut self, kind: &str, of: &Node) {
        if let (Some(_), Some(equals)) = (of.field("at_least"), of.field("equals")) {
            self.error(
                equals,
                format!("{kind}: the answer is at_least and equals at once"),
                "leave out one of the two",
            );
        }
    }

    fn destructive(&mut self, kind: &str, of: &Node) {
        let Some(node) = self.node.field("destructive").filter(|node| node.value == Value::Bool(false)) else { return };
        let said = |name: &str, text: &str| of.field(name).and_then(variables_text).is_some_and(|given| given == text);
        let by_nature = kind == "datastore.restore"
            || (kind == "restore.volume" && said("in_place", "true"))
            || (kind == "restore.files" && said("delete", "true"))
            || (kind == "restore.resources" && said("existing", "update"));
        if by_nature {
            let what = format!("destructive: false, and this {kind} replaces or removes what is there");
            self.error(node, what, "leave it out: a person is asked first");
        }
    }

    /// Whether somebody looks if it worked. What looks at its own result, or is a look or a person, needs no other.
    fn verified(&mut self, kind: &str) {
        if self.node.field("verify").is_some() {
            return;
        }
        if kind.starts_with("restore.") || kind == "datastore.restore" {
            let help =
                "add verify: with at least one check, such as - files: {sample: 5%} or - ready: {namespace: NAME}";
            self.error(self.node, format!("nothing verifies what {kind} brings back"), help);
        } else if matches!(kind, "scale" | "exec" | "run") {
            let help = "add verify: with a check of what it should have done";
            self.warning(self.node, format!("nothing verifies what {kind} does"), help);
        }
    }
}

fn variables_text(node: &Node) -> Option<String> {
    variables::as_text(&node.value)
}
