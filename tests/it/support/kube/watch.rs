//! Watches: changes of a resource from a revision on, as lines of JSON, until the time is up or the server says otherwise.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;

use crate::support::kube::registry::Resource;
use crate::support::kube::select::Selector;
use crate::support::kube::server::Shared;
use crate::support::kube::state::State;
use crate::support::kube::status::{Cause, Result, Status};
use crate::support::kube::store::Change;
use crate::support::kube::table::{Shape, shaped};

#[derive(Debug, Clone)]
pub(crate) struct WatchOptions {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: String,
    pub(crate) selector: Selector,
    pub(crate) version: String,
    pub(crate) bookmarks: bool,
    /// `sendInitialEvents`, if it was given at all.
    pub(crate) initial: Option<bool>,
    pub(crate) version_match: String,
    pub(crate) timeout: Option<Duration>,
    pub(crate) shape: Shape,
}

/// A bookmark comes this long before the end of a watch, and once more a second later.
const BEFORE_END: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(1)];

pub(crate) fn check(options: &WatchOptions) -> Result<()> {
    let wrong = match options.initial {
        Some(_) if options.version_match != "NotOlderThan" => {
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        }
        None if !options.version_match.is_empty() => {
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        }
        _ => return Ok(()),
    };
    Err(Status::invalid("ListOptions", "meta.k8s.io", "", &[Cause::forbidden("resourceVersionMatch", wrong)]))
}

struct Stream {
    options: WatchOptions,
    out: Sender<Bytes>,
    first: bool,
}

/// Runs a watch into a channel; ends when the client goes, the time is up, or the server ends it.
pub(crate) async fn run(shared: Arc<Shared>, options: WatchOptions, out: Sender<Bytes>) {
    let start = Instant::now();
    let end = options.timeout.map(|timeout| start + timeout);
    let mut changed = shared.changed.subscribe();
    let mut ended = shared.watches_ended.subscribe();
    ended.mark_unchanged();
    let pace = shared.with(|state| state.pace.bookmark);
    let mut stream = Stream { options, out, first: true };
    let Some(mut at) = stream.begin(&shared).await else { return };
    let mut bookmarks: Vec<Instant> = end.map_or_else(Vec::new, |end| {
        let long = end - start > BEFORE_END[0];
        BEFORE_END.iter().filter(|_| long).filter_map(|before| end.checked_sub(*before)).collect()
    });
    bookmarks.push(start + pace);
    bookmarks.sort();
    loop {
        let (changes, revision, compacted) = shared.with(|state| {
            let changes: Vec<Change> = state.store.changes_after(at).to_vec();
            (changes, state.store.revision(), state.store.compacted())
        });
        if at < compacted {
            // What this watch has not seen is forgotten.
            stream.expired(at, compacted).await;
            return;
        }
        for change in changes {
            if !stream.change(&change).await {
                return;
            }
        }
        at = at.max(revision);
        let next = bookmarks.first().copied();
        let far = Instant::now() + Duration::from_secs(86_400);
        tokio::select! {
            result = changed.changed() => if result.is_err() { return },
            _ = ended.changed() => {
                if shared.with(|state| state.store.compacted()) >= at && *ended.borrow() == Ending::Expired {
                    stream.expired(at, revision).await;
                }
                return;
            }
            () = stream.out.closed() => return,
            () = tokio::time::sleep_until(end.unwrap_or(far)) => return,
            () = tokio::time::sleep_until(next.unwrap_or(far)) => {
                bookmarks.remove(0);
                if bookmarks.is_empty() {
                    bookmarks.push(Instant::now() + pace);
                }
                if stream.options.bookmarks && !stream.bookmark(at, json!({})).await {
                    return;
                }
            }
        }
    }
}

/// How the server ends watches on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As when a time limit is over.
    Quiet,
    /// With 410.
    Expired,
}

impl Stream {
    /// Sends what is there already, if that is asked for. Returns the revision from which changes follow.
    async fn begin(&mut self, shared: &Shared) -> Option<u64> {
        let (revision, compacted) = shared.with(|state| (state.store.revision(), state.store.compacted()));
        let asked: u64 = self.options.version.parse().unwrap_or(0);
        let initial = self.options.initial.unwrap_or(asked == 0);
        if asked != 0 && asked < compacted {
            self.expired(asked, compacted).await;
            return None;
        }
        if !initial {
            return Some(if asked == 0 { revision } else { asked });
        }
        let prefix =
            if self.options.namespace.is_empty() { String::new() } else { format!("{}/", self.options.namespace) };
        let table = self.options.resource.table();
        let (items, revision) = shared.with(|state| {
            let revision = state.store.revision();
            (state.store.list_at(&table, &prefix, revision), revision)
        });
        for (_, object) in items {
            let shown = State::show(&self.options.resource, &object);
            if self.options.selector.matches(&shown) && !self.send("ADDED", shown).await {
                return None;
            }
        }
        if self.options.initial == Some(true) && self.options.bookmarks {
            self.bookmark(revision, json!({"k8s.io/initial-events-end": "true"})).await;
        }
        Some(revision)
    }

    async fn expired(&mut self, at: u64, oldest: u64) {
        let status = Status::expired(format!("too old resource version: {at} ({oldest})"));
        self.line(&json!({"type": "ERROR", "object": status.body})).await;
    }

    async fn bookmark(&mut self, revision: u64, annotations: Value) -> bool {
        let resource = &self.options.resource;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if annotations != json!({}) {
            metadata["annotations"] = annotations;
        }
        let object = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata});
        let shape = self.options.shape;
        let object = if shape == Shape::Table { shaped(shape, resource, object, false) } else { object };
        self.line(&json!({"type": "BOOKMARK", "object": object})).await
    }

    /// An object that begins to match a selector is added, one that ceases to is deleted, in its last matching state.
    async fn change(&mut self, change: &Change) -> bool {
        let options = &self.options;
        if change.table != options.resource.table() {
            return true;
        }
        if !options.namespace.is_empty() && !change.key.starts_with(&format!("{}/", options.namespace)) {
            return true;
        }
        let shown = |object: &Option<Arc<Value>>| object.as_ref().map(|object| State::show(&options.resource, object));
        let (old, new) = (shown(&change.old), shown(&change.new));
        let matches = |object: &Option<Value>| object.as_ref().is_some_and(|object| options.selector.matches(object));
        let (kind, object) = match (matches(&old), matches(&new)) {
            (false, false) => return true,
            (false, true) => ("ADDED", new),
            (true, true) => ("MODIFIED", new),
            (true, false) => {
                let last = old.map(|mut old| {
                    old["metadata"]["resourceVersion"] = change.revision.to_string().into();
                    old
                });
                ("DELETED", last)
            }
        };
        self.send(kind, object.unwrap_or_default()).await
    }

    async fn send(&mut self, kind: &str, object: Value) -> bool {
        let object = shaped(self.options.shape, &self.options.resource, object, self.first);
        self.first = false;
        self.line(&json!({"type": kind, "object": object})).await
    }

    async fn line(&mut self, event: &Value) -> bool {
        self.out.send(Bytes::from(format!("{event}\n"))).await.is_ok()
    }
}
