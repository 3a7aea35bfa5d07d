//! What did not come in a run, so that nothing that rests on it is waited for, or tried.

use std::collections::BTreeSet;

use super::plan::Step;
use super::reach::{Served, key, versions_of};

/// What does not come, and is waited for no more: once for each of them is enough.
#[derive(Debug, Default)]
pub(super) struct Lost {
    kinds: BTreeSet<Served>,
    namespaces: BTreeSet<String>,
    /// Of both those that were refused: asking for what rests on them would only take time.
    refused: (BTreeSet<Served>, BTreeSet<String>),
}

impl Lost {
    /// An object that others rest on was refused, or did not come up.
    pub(super) fn with(&mut self, step: &Step) {
        if step.kind.is("", "Namespace") {
            self.namespaces.insert(step.object.name.clone());
            self.refused.1.insert(step.object.name.clone());
        } else if step.kind.name == "CustomResourceDefinition" {
            self.kinds.extend(versions_of(&step.rewritten.object));
            self.refused.0.extend(versions_of(&step.rewritten.object));
        }
    }

    /// Why there is no place for an object: what it would have been put into was refused.
    pub(super) fn no_place(&self, step: &Step) -> Option<String> {
        if let Some(namespace) = step.object.namespace.as_ref().filter(|name| self.refused.1.contains(*name)) {
            return Some(format!("its namespace {namespace} was not created"));
        }
        self.refused.0.contains(&key(&step.kind)).then(|| format!("its definition {} was not created", step.kind))
    }

    /// The server says that there is no such thing; of namespaces it says so by name.
    pub(super) fn missing(&mut self, step: &Step, message: &str) {
        match step.object.namespace.as_ref().filter(|_| message.contains("namespaces \"")) {
            Some(namespace) => drop(self.namespaces.insert(namespace.clone())),
            None => drop(self.kinds.insert(key(&step.kind))),
        }
    }

    pub(super) fn has(&self, step: &Step) -> bool {
        let namespace = step.object.namespace.as_ref();
        self.kinds.contains(&key(&step.kind)) || namespace.is_some_and(|name| self.namespaces.contains(name))
    }
}
