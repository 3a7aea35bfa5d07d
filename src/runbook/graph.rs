//! Who needs whom: steps by their ids, needs that are written and needs that are meant, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};

use super::step::Step;
use crate::language::{Finding, Node, Place, is_id, short, suggest};

/// Steps below that are looked into for a cycle; one cycle is enough to mend a file.
const CYCLES_SOUGHT_MAX: usize = 20;

/// Needs of every step, by their places in the file.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    ids: Vec<String>,
    needs: Vec<Vec<usize>>,
    is_compensation: Vec<bool>,
}

fn texts(node: Option<&Node>) -> Vec<(&str, Place)> {
    let elements = node.map(Node::elements).unwrap_or_default();
    elements.iter().filter_map(|element| Some((element.text()?, element.place))).collect()
}

fn compensation(node: &Node) -> Vec<(&str, Place)> {
    texts(node.field("on_failure").and_then(|node| node.field("run")))
}

/// What is said of a name that no step has; nothing if it can be none, since the judge says that.
fn unknown(name: &str, place: Place, known: &[&str]) -> Option<Finding> {
    if !is_id(name) {
        return None;
    }
    let what = format!("there is no step {:?}", short(name));
    Some(Finding::error(place, what, suggest(name, known, "steps here are")))
}

impl Graph {
    /// Of steps as they are written.
    pub fn of(nodes: &[&Node], findings: &mut Vec<Finding>) -> Self {
        let ids: Vec<&str> =
            nodes.iter().map(|node| node.field("id").and_then(Node::text).unwrap_or_default()).collect();
        let index = unique(nodes, &ids, findings);
        let known: Vec<&str> = ids.iter().copied().filter(|id| !id.is_empty()).collect();
        let mut judging = Judging { nodes, ids: &ids, index: &index, known: &known, findings };
        let is_compensation = judging.compensations();
        let needs = judging.needs(&is_compensation);
        judging.order(&needs);
        judging.until(&is_compensation);
        Self { ids: ids.iter().map(ToString::to_string).collect(), needs, is_compensation }
    }

    /// A step with the needs that are meant.
    pub fn place(&self, index: usize, mut step: Step) -> Step {
        let needs = self.needs.get(index).map(Vec::as_slice).unwrap_or_default();
        step.needs = needs.iter().filter_map(|need| self.ids.get(*need).cloned()).collect();
        step.is_compensation = self.is_compensation.get(index).copied().unwrap_or_default();
        step
    }
}

/// Steps by their ids; the first of each counts.
fn unique<'a>(nodes: &[&Node], ids: &[&'a str], findings: &mut Vec<Finding>) -> BTreeMap<&'a str, usize> {
    let mut index: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, (node, id)) in nodes.iter().zip(ids).enumerate().filter(|(_, (_, id))| !id.is_empty()) {
        let place = |node: &Node| node.field("id").map_or(node.place, |id| id.place);
        match index.get(id).and_then(|first| nodes.get(*first)) {
            Some(first) => {
                let what = format!("two steps are called {:?}", short(id));
                let help = format!("the first is in line {}: give one another id", place(first).line);
                findings.push(Finding::error(place(node), what, help));
            }
            None => drop(index.insert(id, at)),
        }
    }
    index
}

struct Judging<'a, 'f> {
    nodes: &'a [&'a Node],
    ids: &'a [&'a str],
    index: &'a BTreeMap<&'a str, usize>,
    known: &'a [&'a str],
    findings: &'f mut Vec<Finding>,
}

impl Judging<'_, '_> {
    fn error(&mut self, place: Place, what: String, help: impl Into<String>) {
        self.findings.push(Finding::error(place, what, help));
    }

    fn id(&self, index: usize) -> &str {
        self.ids.get(index).copied().unwrap_or_default()
    }

    /// Which steps are carried out only when another fails.
    fn compensations(&mut self) -> Vec<bool> {
        let mut are = vec![false; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            for (name, place) in compensation(node) {
                match self.index.get(name) {
                    None => self.findings.extend(unknown(name, place, self.known)),
                    Some(index) if *index == at => {
                        let help = "name a step that puts things right, or write on_failure: stop";
                        self.error(
                            place,
                            format!("{:?} would be carried out because it failed itself", short(name)),
                            help,
                        );
                    }
                    Some(index) => {
                        if let Some(is) = are.get_mut(*index) {
                            *is = true;
                        }
                    }
                }
            }
        }
        for (at, node) in self.nodes.iter().enumerate().filter(|(at, _)| are.get(*at) == Some(&true)) {
            let id = short(self.ids.get(at).copied().unwrap_or_default()).into_owned();
            let what = format!("{id:?} is carried out when another step fails, and is a step of its own at once");
            if let Some(needs) = node.field("needs") {
                self.error(needs.place, what, "leave out its needs, or make two steps of it");
            } else if let Some((_, place)) = compensation(node).first() {
                let what = format!("{id:?} is carried out when another step fails, and has steps for its own failure");
                self.error(*place, what, "leave them out: what is carried out then is named by the step that failed");
            }
        }
        are
    }

    /// Needs as they are meant: those that are written, else the step above.
    fn needs(&mut self, is_compensation: &[bool]) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        let mut above: Option<usize> = None;
        for (at, node) in self.nodes.iter().enumerate() {
            if is_compensation.get(at) == Some(&true) {
                all.push(Vec::new());
                continue;
            }
            let mut needs = BTreeSet::new();
            for (name, place) in texts(node.field("needs")) {
                match self.index.get(name) {
                    None => self.findings.extend(unknown(name, place, self.known)),
                    Some(index) if is_compensation.get(*index) == Some(&true) => {
                        let what = format!("{:?} is carried out only when another step fails", short(name));
                        self.error(place, what, "need another step, or take it out of on_failure");
                    }
                    Some(index) => drop(needs.insert(*index)),
                }
            }
            if node.field("needs").is_none() {
                needs.extend(above);
            }
            all.push(needs.into_iter().collect());
            above = Some(at);
        }
        all
    }

    /// A file is read from top to bottom, so nothing needs what stands below it.
    fn order(&mut self, needs: &[Vec<usize>]) {
        let mut sought = 0;
        for (at, node) in self.nodes.iter().enumerate() {
            for (name, place) in texts(node.field("needs")) {
                let Some(need) = self.index.get(name).copied().filter(|need| *need >= at) else { continue };
                sought += 1;
                let way = if sought <= CYCLES_SOUGHT_MAX { way(needs, need, at) } else { None };
                let id = short(self.id(at)).into_owned();
                if let Some(way) = way {
                    let names: Vec<_> = way.iter().map(|index| short(self.id(*index))).collect();
                    let what = format!("{id} needs itself: {id} → {}", names.join(" → "));
                    let help = "leave out one of these needs; a step without `needs` needs the one above it";
                    self.error(place, what, help);
                } else {
                    let what = format!("{id} needs {}, which stands below it", short(name));
                    self.error(place, what, "steps stand in an order in which they can be read: move one of the two");
                }
            }
        }
    }

    /// What holds still is let go after a step below.
    fn until(&mut self, is_compensation: &[bool]) {
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(until) = node.field("quiesce").and_then(|node| node.field("until")) else { continue };
            let Some(name) = until.text() else { continue };
            match self.index.get(name).copied() {
                None => self.findings.extend(unknown(name, until.place, self.known)),
                Some(index) if index <= at || is_compensation.get(index) == Some(&true) => {
                    let what =
                        format!("what holds still would go on after {:?}, which is not carried out below", short(name));
                    self.error(until.place, what, "name a step below it, or leave it out: they go on at the end");
                }
                Some(_) => {}
            }
        }
    }
}

/// A way along needs from one step to another, both ends in it.
fn way(needs: &[Vec<usize>], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    let mut next = vec![from];
    let mut seen = BTreeSet::from([from]);
    while let Some(at) = next.pop() {
        if at == to {
            let mut way = vec![at];
            while let Some(step) = way.last().and_then(|last| before.get(last)) {
                way.push(*step);
            }
            way.reverse();
            return Some(way);
        }
        for need in needs.get(at).map(Vec::as_slice).unwrap_or_default() {
            if seen.insert(*need) {
                before.insert(*need, at);
                next.push(*need);
            }
        }
    }
    None
}
