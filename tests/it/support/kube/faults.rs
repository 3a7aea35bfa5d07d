//! What goes wrong on demand. Each switch holds its state until it is told otherwise, or counts down to the request it was told.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::kube::node::network::Network;
use crate::support::kube::status::Status;

/// A webhook that answers; all others cannot be reached.
#[derive(Debug, Clone)]
pub(crate) enum Webhook {
    Allows,
    Denies(String),
}

/// Every request of a kind fails, from now on.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) method: String,
    /// A part of the path with its query; its end, if it ends with `$`.
    pub(crate) path: String,
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// One failing request: the `nth` (from 1) that matches from now on.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Empty for any.
    pub(crate) method: String,
    /// A part of the path with its query; empty for any.
    pub(crate) path: String,
    pub(crate) nth: usize,
    pub(crate) status: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    failures: Vec<Failure>,
    /// Requests that are carried out, and answered by this status all the same.
    lost: Vec<Failure>,
    refused: Vec<Refusal>,
    /// With this request and all later ones, of whatever kind, the server is in trouble.
    down: Option<Failure>,
    webhooks: BTreeMap<String, Webhook>,
    /// Pods, `namespace/beginning of the name`, that no node takes.
    pending: BTreeSet<String>,
    /// API groups whose server takes requests and never answers.
    silent: BTreeSet<String>,
    /// Snapshots, `namespace/name` or `*`, that are never taken.
    snapshots: BTreeSet<String>,
    /// Nodes without power: what ran there is dead, and nobody says so.
    off: BTreeSet<String>,
    /// Volumes that kubelets measure, `namespace/claim`, or a node's disk by its name: bytes free and in all.
    rooms: BTreeMap<String, (u64, u64)>,
    uploads: bool,
    expired: bool,
    /// Requests that get no answer, and how many have met that.
    holds: Vec<Hold>,
    hanging: usize,
    /// What the network plugin does about policies.
    pub(crate) network: Network,
}

/// The `nth` request (from 1) that matches from now on, dry runs not counted, gets no answer: whoever asks hangs until it is killed.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) method: &'static str,
    /// A part of the path.
    pub(crate) path: &'static str,
    pub(crate) nth: usize,
    /// It is carried out before.
    pub(crate) done: bool,
}

impl Faults {
    /// From now on a kubelet says that so many bytes of a claim's volume, or of a node's disk, are free.
    pub(crate) fn room(&mut self, of: &str, free: u64, all: u64) {
        self.rooms.insert(of.to_owned(), (free, all));
    }

    pub(crate) fn rooms(&self) -> BTreeMap<String, (u64, u64)> {
        self.rooms.clone()
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    pub(crate) fn refuse(&mut self, method: &str, path: &str, status: u16, message: &str) {
        let (method, path, message) = (method.to_owned(), path.to_owned(), message.to_owned());
        self.refused.push(Refusal { method, path, status, message });
    }

    /// What was refused is answered again.
    pub(crate) fn permit_all(&mut self) {
        self.refused.clear();
    }

    pub(crate) fn power(&mut self, node: &str, on: bool) {
        if on {
            self.off.remove(node);
        } else {
            self.off.insert(node.to_owned());
        }
    }

    pub(crate) fn is_off(&self, node: &str) -> bool {
        self.off.contains(node)
    }

    /// From this request on every request fails like it.
    pub(crate) fn go_down(&mut self, from: Failure) {
        self.down = Some(from);
    }

    pub(crate) fn come_back(&mut self) {
        self.down = None;
    }

    /// The answer to a request gets lost: it is carried out, and what the client sees is this failure.
    pub(crate) fn lose(&mut self, failure: Failure) {
        self.lost.push(failure);
    }

    pub(crate) fn hold(&mut self, hold: Hold) {
        self.holds.push(hold);
    }

    /// How many requests hang by now.
    pub(crate) fn hanging(&self) -> usize {
        self.hanging
    }

    /// Counts a request that is about to be carried out, or was.
    pub(crate) fn hangs(&mut self, method: &str, path: &str, done: bool) -> bool {
        let matches = |hold: &Hold| {
            hold.done == done && hold.method == method && path.contains(hold.path) && !path.contains("dryRun")
        };
        self.holds.iter_mut().filter(|hold| matches(hold)).for_each(|hold| hold.nth -= 1);
        let found = self.holds.iter().position(|hold| hold.nth == 0);
        found.map(|at| self.holds.remove(at)).is_some_and(|_| {
            self.hanging += 1;
            true
        })
    }

    /// Failures that no request has met yet.
    pub(crate) fn waiting(&self) -> usize {
        self.failures.len() + self.lost.len()
    }

    pub(crate) fn answer_for_webhook(&mut self, name: &str, answer: Webhook) {
        self.webhooks.insert(name.to_owned(), answer);
    }

    pub(crate) fn webhook(&self, name: &str) -> Option<&Webhook> {
        self.webhooks.get(name)
    }

    pub(crate) fn hold_pods(&mut self, key: &str) {
        self.pending.insert(key.to_owned());
    }

    pub(crate) fn release_pods(&mut self, key: &str) {
        self.pending.remove(key);
    }

    pub(crate) fn holds_pod(&self, key: &str) -> bool {
        self.pending.iter().any(|held| key.starts_with(held))
    }

    pub(crate) fn hold_snapshots(&mut self, key: &str) {
        self.snapshots.insert(key.to_owned());
    }

    pub(crate) fn release_snapshots(&mut self, key: &str) {
        self.snapshots.remove(key);
    }

    /// From now on (or no more) snapshots are cut at once and then uploaded, as cloud storage does: they have a time and are not ready.
    pub(crate) fn upload_snapshots(&mut self, uploads: bool) {
        self.uploads = uploads;
    }

    pub(crate) fn uploads_snapshots(&self) -> bool {
        self.uploads
    }

    pub(crate) fn holds_snapshot(&self, key: &str) -> bool {
        self.snapshots.contains("*") || self.snapshots.contains(key)
    }

    pub(crate) fn silence(&mut self, group: &str) {
        self.silent.insert(group.to_owned());
    }

    pub(crate) fn is_silent(&self, group: &str) -> bool {
        self.silent.contains(group)
    }

    /// From now on the administrator's token is expired (or valid again).
    pub(crate) fn expire_token(&mut self, expired: bool) {
        self.expired = expired;
    }

    pub(crate) fn token_expired(&self) -> bool {
        self.expired
    }

    /// Counts a request; the failure it meets, if it is its turn.
    pub(crate) fn meet(&mut self, method: &str, path: &str) -> Option<Status> {
        if let Some(down) = &mut self.down {
            let counts = down.nth > 0 && down.method == method && path.contains(&down.path);
            down.nth -= usize::from(counts);
            if down.nth == 0 {
                return Some(status(down.status));
            }
        }
        let refused = self.refused.iter().find(|refused| {
            let is_there = match refused.path.strip_suffix('$') {
                Some(end) => path.ends_with(end),
                None => path.contains(&refused.path),
            };
            refused.method == method && is_there
        });
        if let Some(refused) = refused {
            return Some(Status::new(refused.status, "Unknown", refused.message.clone()));
        }
        count(&mut self.failures, method, path)
    }

    /// Counts an answer; the failure that the client sees in its place, if it is its turn.
    pub(crate) fn loses(&mut self, method: &str, path: &str) -> Option<Status> {
        count(&mut self.lost, method, path)
    }
}

fn count(failures: &mut Vec<Failure>, method: &str, path: &str) -> Option<Status> {
    let matches =
        |failure: &Failure| (failure.method.is_empty() || failure.method == method) && path.contains(&failure.path);
    for failure in failures.iter_mut() {
        if matches(failure) {
            failure.nth = failure.nth.saturating_sub(1);
        }
    }
    let at = failures.iter().position(|failure| matches(failure) && failure.nth == 0)?;
    Some(status(failures.remove(at).status))
}

fn status(code: u16) -> Status {
    match code {
        409 => {
            let text = "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest \
                        version and try again";
            Status::new(409, "Conflict", text)
        }
        429 => {
            let text = "Too many requests, please try again later.";
            let mut status = Status::new(429, "TooManyRequests", text);
            status.body["details"] = serde_json::json!({"retryAfterSeconds": 1});
            status.retry_after = Some(1);
            status
        }
        500 => Status::internal("etcdserver: request timed out"),
        503 => {
            let text = "the server is currently unable to handle the request";
            Status::new(503, "ServiceUnavailable", text)
        }
        401 => Status::unauthorized(),
        other => Status::new(other, "Unknown", "a failure on demand"),
    }
}
