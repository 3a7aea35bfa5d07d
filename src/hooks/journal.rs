//! What a run has to undo, written down before it is done: a `ConfigMap` for each run, in our own namespace.
//!
//! `homelab-dr-hooks-RUN`, labelled with the run; its field `journal` is JSON. It is deleted when nothing is left to undo.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::command::Release;
use super::hold::Hold;
use super::unfinished::Unfinished;
use super::{HookError, RUN};
use crate::base::clock::Time;
use crate::cluster::edit::{Edited, Place, edit};
use crate::cluster::kinds::config_maps;
use crate::cluster::list::whole_of;
use crate::cluster::object::{name_of, namespace_of, text, uid_of};
use crate::cluster::ours::{HOOKS, HOOKS_PREFIX, KIND};
use crate::cluster::{Cluster, Created, How, Which};

const VERSION: u32 = 1;
/// How often a run that lives says so: well within the time after which a sweep takes it for dead ([`super::release::ALIVE`]).
pub const RENEW: Duration = Duration::from_mins(2);

/// One thing to undo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// An object that is held.
    Hold(Hold),
    /// A command that lets an application go on.
    Command(Release),
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    version: u32,
    /// The id of the run.
    pub run: String,
    /// The machine or pod that it ran on.
    pub host: String,
    /// When it said last that it is alive; RFC 3339.
    renewed: String,
    /// What is to be undone, in the order in which it was done.
    pub entries: Vec<Entry>,
    /// A volume that a restore has begun to write: until that is done nothing may start on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
    /// The namespace that it is kept in.
    #[serde(skip)]
    pub namespace: String,
    #[serde(skip)]
    uid: String,
}

/// A journal as it was found: what is in it, or its place and why it cannot be understood.
pub type FoundJournal = Result<Journal, HookError>;

impl Journal {
    /// A new one, not written yet.
    #[must_use]
    pub fn new(namespace: &str, run: &str, host: &str, now: Time) -> Self {
        Self {
            version: VERSION,
            run: run.to_owned(),
            host: host.to_owned(),
            renewed: now.to_string(),
            entries: Vec::new(),
            unfinished: None,
            namespace: namespace.to_owned(),
            uid: String::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{HOOKS_PREFIX}{}", self.run)
    }

    /// When its run said last that it is alive, by the clock of its machine.
    #[must_use]
    pub fn renewed(&self) -> Time {
        Time::parse(&self.renewed).unwrap_or(Time(0))
    }

    /// Writes more entries down. What they undo may be done only after this.
    pub(crate) async fn add(
        &mut self,
        cluster: &dyn Cluster,
        entries: impl IntoIterator<Item = Entry>,
        now: Time,
    ) -> Result<(), HookError> {
        let known = self.entries.len();
        self.entries.extend(entries);
        if self.entries.len() == known { Ok(()) } else { self.write(cluster, now).await }
    }

    /// Writes down that a volume is about to be written; or, without one, that nothing of it is missing any more.
    pub(crate) async fn set_unfinished(
        &mut self,
        cluster: &dyn Cluster,
        unfinished: Option<Unfinished>,
        now: Time,
    ) -> Result<(), HookError> {
        let before = std::mem::replace(&mut self.unfinished, unfinished);
        let written = self.write(cluster, now).await;
        if written.is_err() {
            self.unfinished = before;
        }
        written
    }

    /// Says that the run is alive.
    pub async fn renew(&mut self, cluster: &dyn Cluster, now: Time) -> Result<(), HookError> {
        if self.uid.is_empty() { Ok(()) } else { self.write(cluster, now).await }
    }

    /// The same while something is waited for. One that does not succeed is tried again the next time.
    pub(crate) async fn renew_if_old(&mut self, cluster: &dyn Cluster, now: Time) {
        if now.since(self.renewed()) >= RENEW {
            let _ = self.renew(cluster, now).await;
        }
    }

    /// Writes down what is left to undo; if that is nothing, the journal goes.
    pub(crate) async fn leave(
        &mut self,
        cluster: &dyn Cluster,
        entries: Vec<Entry>,
        now: Time,
    ) -> Result<(), HookError> {
        if entries == self.entries && !entries.is_empty() {
            return Ok(());
        }
        self.entries = entries;
        if !self.entries.is_empty() {
            return self.write(cluster, now).await;
        }
        let what = || format!("delete the journal {}", self.name());
        if !self.uid.is_empty() {
            let deleted = cluster.delete(&config_maps(), Some(&self.namespace), &self.name(), &self.uid).await;
            deleted.map_err(|error| HookError::of(what(), error))?;
        }
        self.uid = String::new();
        Ok(())
    }

    async fn write(&mut self, cluster: &dyn Cluster, now: Time) -> Result<(), HookError> {
        self.renewed = now.to_string();
        let text = serde_json::to_string(self).unwrap_or_default();
        let (kind, name) = (config_maps(), self.name());
        let fail = |error| HookError::of(format!("write the journal {}/{name}", self.namespace), error);
        if self.uid.is_empty() {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": self.namespace, "labels": {RUN: self.run, KIND: HOOKS}},
                "data": {"journal": text},
            });
            // If it is there already it is ours, and its answer got lost: nobody else has this id.
            let (Created::New(made) | Created::Found(made)) =
                cluster.create(&kind, &object, How::Really).await.map_err(fail)?;
            uid_of(&made).clone_into(&mut self.uid);
            return Ok(());
        }
        let place = Place { kind: &kind, namespace: Some(&self.namespace), name: &name };
        let decide = |object: &mut Value| {
            if let Some(fields) = object.as_object_mut() {
                fields.insert("data".to_owned(), json!({"journal": text}));
            }
        };
        let edited = edit(cluster, place, decide).await;
        match edited.map_err(fail)? {
            Edited::Gone => Err(HookError::Changed {
                what: format!("the journal {name}"),
                why: "somebody has deleted it".to_owned(),
            }),
            Edited::Same(_) | Edited::Written(_) => Ok(()),
        }
    }

    fn read(object: &Value) -> FoundJournal {
        let fail = |why: String| HookError::Journal { name: name_of(object).to_owned(), why };
        let journal = serde_json::from_str::<Self>(text(object, &["data", "journal"]));
        let mut journal = journal.map_err(|error| fail(error.to_string()))?;
        if journal.version != VERSION {
            return Err(fail(format!("it is of version {}, and this program knows {VERSION}", journal.version)));
        }
        if name_of(object) != journal.name() {
            return Err(fail(format!("it says that it is of run {}", journal.run)));
        }
        namespace_of(object).unwrap_or_default().clone_into(&mut journal.namespace);
        uid_of(object).clone_into(&mut journal.uid);
        Ok(journal)
    }
}

/// All journals of a cluster, or of one namespace of it.
pub async fn journals(cluster: &dyn Cluster, namespace: Option<&str>) -> Result<Vec<FoundJournal>, HookError> {
    let which = Which { namespace, labels: &[(KIND, HOOKS)] };
    let found = whole_of(cluster, &config_maps(), which, Some).await;
    let found = found.map_err(|error| HookError::of("look for journals of runs", error))?;
    let is_one = |object: &&Value| name_of(object).starts_with(HOOKS_PREFIX);
    Ok(found.iter().filter(is_one).map(Journal::read).collect())
}
