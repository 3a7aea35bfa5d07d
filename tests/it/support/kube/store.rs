//! Every object in all its revisions, as etcd keeps them: one counter for the whole server, a log of changes, compaction.
//!
//! It knows no kinds: a table is named `resource` or `resource.group`, a key is `namespace/name` or `name`, and keys are ordered by
//! their bytes, as etcd orders them. It decides nothing; who may write what is decided above.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// The first revision a real server hands out to users is never 1: what it needs itself comes before.
const FIRST_REVISION: u64 = 100;

/// One change of one object. A deletion keeps the last state in `old`, with the revision of the deletion.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) old: Option<Arc<Value>>,
    pub(crate) new: Option<Arc<Value>>,
}

type History = Vec<(u64, Option<Arc<Value>>)>;

#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    compacted: u64,
    tables: BTreeMap<String, BTreeMap<String, History>>,
    log: Vec<Change>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { revision: FIRST_REVISION, compacted: FIRST_REVISION - 1, tables: BTreeMap::new(), log: Vec::new() }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Revisions up to here are forgotten.
    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn get(&self, table: &str, key: &str) -> Option<Arc<Value>> {
        self.tables.get(table)?.get(key)?.last()?.1.clone()
    }

    /// Puts the object and writes its `resourceVersion`.
    pub(crate) fn put(&mut self, table: &str, key: &str, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let object = Arc::new(object);
        self.record(table, key, Some(Arc::clone(&object)));
        object
    }

    pub(crate) fn delete(&mut self, table: &str, key: &str) {
        if self.get(table, key).is_some() {
            self.revision += 1;
            self.record(table, key, None);
        }
    }

    fn record(&mut self, table: &str, key: &str, new: Option<Arc<Value>>) {
        let history = self.tables.entry(table.to_owned()).or_default().entry(key.to_owned()).or_default();
        let old = history.last().and_then(|(_, value)| value.clone());
        history.push((self.revision, new.clone()));
        let old = match (&new, old) {
            (None, Some(old)) => {
                let mut last = (*old).clone();
                last["metadata"]["resourceVersion"] = self.revision.to_string().into();
                Some(Arc::new(last))
            }
            (_, old) => old,
        };
        self.log.push(Change { revision: self.revision, table: table.to_owned(), key: key.to_owned(), old, new });
    }

    /// Keys and objects of a table as they were at a revision, in order. `prefix` is `namespace/` or empty.
    pub(crate) fn list_at(&self, table: &str, prefix: &str, revision: u64) -> Vec<(String, Arc<Value>)> {
        let Some(table) = self.tables.get(table) else { return Vec::new() };
        table
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, history)| {
                let (_, value) = history.iter().rev().find(|(at, _)| *at <= revision)?;
                Some((key.clone(), Arc::clone(value.as_ref()?)))
            })
            .collect()
    }

    pub(crate) fn list(&self, table: &str) -> Vec<Arc<Value>> {
        self.list_at(table, "", self.revision).into_iter().map(|(_, value)| value).collect()
    }

    /// Names of the tables that hold anything.
    pub(crate) fn tables(&self) -> Vec<String> {
        let lives = |keys: &BTreeMap<String, History>| {
            keys.values().any(|history| history.last().is_some_and(|(_, value)| value.is_some()))
        };
        self.tables.iter().filter(|(_, keys)| lives(keys)).map(|(name, _)| name.clone()).collect()
    }

    /// Changes after a revision, all tables, in order.
    pub(crate) fn changes_after(&self, revision: u64) -> &[Change] {
        let start = self.log.partition_point(|change| change.revision <= revision);
        &self.log[start..]
    }

    /// Forgets what was before the present revision: old watches and pages get 410 from now on.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
        for keys in self.tables.values_mut() {
            for history in keys.values_mut() {
                let last = history.pop();
                history.clear();
                history.extend(last);
            }
            keys.retain(|_, history| history.iter().any(|(_, value)| value.is_some()));
        }
    }
}
