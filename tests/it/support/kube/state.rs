//! The state of the server: objects, resources, tokens, faults, and what every operation needs of them.
//!
//! All of it is behind one lock and nothing waits while holding it, so a request sees and makes one consistent step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::kube::faults::Faults;
use crate::support::kube::node::Pods;
use crate::support::kube::registry::{self, Resource};
use crate::support::kube::schema::Schema;
use crate::support::kube::status::{Result, Status};
use crate::support::kube::store::Store;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    /// The field manager, if the request does not name one: the first part of the user agent.
    pub(crate) manager: String,
}

impl Caller {
    /// A part of the cluster itself; it may do anything.
    pub(crate) fn system(manager: &str) -> Self {
        Self { user: format!("system:{manager}"), groups: vec!["system:masters".into()], manager: manager.to_owned() }
    }

    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Validation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// How to write.
#[derive(Debug, Clone, Default)]
pub(crate) struct How {
    pub(crate) dry_run: bool,
    pub(crate) validation: Validation,
    pub(crate) manager: Option<String>,
    pub(crate) force: bool,
}

/// A service account's token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) namespace: String,
    pub(crate) account: String,
    pub(crate) expires: chrono::DateTime<chrono::Utc>,
}

/// How fast the cluster lives: delays of the real one that tests do not want to wait for, but must be able to see.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Between the deletion of a namespace and the controller's first look at what is left in it.
    pub(crate) namespace: Duration,
    /// Before the garbage collector looks.
    pub(crate) collector: Duration,
    /// Before a local volume is there.
    pub(crate) provision: Duration,
    /// Before a snapshot is taken.
    pub(crate) snapshot: Duration,
    /// Between the end of a clone and the end of its source's protection.
    pub(crate) cloned: Duration,
    /// Between two rounds of the controllers: those of a cluster with many objects are slow, and leave a client the time to work.
    pub(crate) round: Duration,
    /// Between bookmarks of a watch.
    pub(crate) bookmark: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            namespace: Duration::from_millis(100),
            collector: Duration::from_millis(50),
            provision: Duration::from_millis(20),
            snapshot: Duration::from_millis(20),
            cloned: Duration::from_millis(50),
            round: Duration::ZERO,
            bookmark: Duration::from_secs(60),
        }
    }
}

pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) admin_token: String,
    /// No token is as good as the administrator's.
    pub(crate) open: bool,
    pub(crate) faults: Faults,
    pub(crate) pods: Pods,
    pub(crate) pace: Pace,
    /// Below it are the folders of volumes and snapshots.
    pub(crate) folder: PathBuf,
    pub(crate) address: String,
    /// Since when controllers have been waiting for something.
    pub(crate) since: BTreeMap<String, std::time::Instant>,
}

impl State {
    pub(crate) fn resource(&self, group: &str, version: &str, plural: &str) -> Result<Arc<Resource>> {
        let found = self.resources.iter().find(|r| r.group == group && r.version == version && r.plural == plural);
        found.cloned().ok_or_else(Status::no_such_resource)
    }

    /// The resource of a kind, in any version that is served.
    pub(crate) fn kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let (group, version) = registry::split_api_version(api_version);
        let mut of_kind = self.resources.iter().filter(|r| r.group == group && r.kind == kind);
        let exact = of_kind.clone().find(|r| r.version == version);
        exact.or_else(|| of_kind.next()).cloned()
    }

    /// For what the cluster does itself; panics for a resource it does not have.
    pub(crate) fn known(&self, table: &str) -> Arc<Resource> {
        let found = self.resources.iter().find(|resource| resource.table() == table);
        Arc::clone(found.unwrap_or_else(|| panic!("no resource {table}")))
    }

    pub(crate) fn object(&self, table: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.store.get(table, &key(namespace, name))
    }

    pub(crate) fn objects(&self, table: &str) -> Vec<Arc<Value>> {
        self.store.list(table)
    }

    /// As a version of a resource shows an object.
    pub(crate) fn show(resource: &Resource, object: &Value) -> Value {
        let mut shown = object.clone();
        shown["apiVersion"] = resource.api_version().into();
        shown["kind"] = resource.kind.as_str().into();
        if resource.plural == "events" {
            event_shape(resource, &mut shown);
        }
        shown
    }
}

/// Core events and those of events.k8s.io are the same objects with other names for their fields.
fn event_shape(resource: &Resource, event: &mut Value) {
    const NAMES: [(&str, &str); 5] = [
        ("involvedObject", "regarding"),
        ("message", "note"),
        ("count", "deprecatedCount"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
    ];
    let Some(map) = event.as_object_mut() else { return };
    for (core, events) in NAMES {
        let (from, to) = if resource.group.is_empty() { (events, core) } else { (core, events) };
        if let Some(value) = map.remove(from) {
            map.entry(to).or_insert(value);
        }
    }
}

/// The key of an object in its table.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

pub(crate) fn key_of(object: &Value) -> String {
    key(text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(crate) fn schema(resource: &Resource) -> Schema<'_> {
    resource.custom.as_ref().map_or(Schema::built_in(&resource.kind), |custom| Schema::custom(custom.schema()))
}

/// RFC 3339 in whole seconds, as `metadata` has it.
pub(crate) fn now() -> String {
    stamp(chrono::Utc::now())
}

pub(crate) fn stamp(time: chrono::DateTime<chrono::Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub(crate) fn parse_time(value: &Value) -> Option<chrono::DateTime<chrono::Utc>> {
    chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|time| time.with_timezone(&chrono::Utc))
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("random bytes");
    bytes
}

pub(crate) fn new_uid() -> String {
    let hex = data_encoding::HEXLOWER.encode(&random::<16>());
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

/// Five characters as generated names end with.
pub(crate) fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    random::<5>().iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

pub(crate) fn new_secret() -> String {
    data_encoding::BASE64URL_NOPAD.encode(&random::<24>())
}

/// A condition as controllers write it.
pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "lastTransitionTime": now(), "reason": reason, "message": message})
}
