//! Waiting for a cluster to do something: looked at now and then, with a limit, and with the last that was heard of it when the limit is over.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{VolumesError, kinds};
use crate::base::cancel::Cancel;
use crate::cluster::event::Event;
use crate::cluster::object::{is_dying, items, name_of, namespace_of, text, uid_of};
use crate::cluster::{Cluster, Kind};

/// How long is waited, and how often looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Between two looks.
    pub poll: Duration,
    /// Until the storage took a snapshot. Some upload it meanwhile.
    pub taken: Duration,
    /// Until a snapshot that is there is known under its second name.
    pub handed: Duration,
    /// Until a claim is bound whose volume is made at once; a clone may be copied first.
    pub bound: Duration,
    /// Until something that was deleted is gone.
    pub gone: Duration,
    /// How long an error in a status may stand: controllers try again, and many errors pass.
    pub error: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(1),
            taken: Duration::from_mins(10),
            handed: Duration::from_mins(5),
            bound: Duration::from_mins(30),
            gone: Duration::from_mins(5),
            error: Duration::from_mins(2),
        }
    }
}

/// For people, and for `describe`: kind, namespace and name.
pub(super) fn named(kind: &Kind, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{} {namespace}/{name}", kind.name),
        None => format!("{} {name}", kind.name),
    }
}

/// The same of an object.
pub(super) fn named_object(object: &Value) -> String {
    let (kind, name) = (text(object, &["kind"]), name_of(object));
    namespace_of(object).map_or_else(|| format!("{kind} {name}"), |namespace| format!("{kind} {namespace}/{name}"))
}

/// A wait that goes on.
pub(super) struct Waiting<'a> {
    begun: Instant,
    limit: Duration,
    poll: Duration,
    cancel: Option<&'a Cancel>,
    /// Since when an error stands in the status.
    failing: Option<Instant>,
}

/// Whether there is still time.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Time {
    Left,
    Over,
}

impl<'a> Waiting<'a> {
    /// Without a token the stop is not listened to: clearing up goes on.
    pub(super) fn new(limit: Duration, limits: &Limits, cancel: Option<&'a Cancel>) -> Self {
        Self { begun: Instant::now(), limit, poll: limits.poll, cancel, failing: None }
    }

    /// Waits until it is time for another look.
    pub(super) async fn again(&mut self) -> Result<Time, VolumesError> {
        if self.begun.elapsed() >= self.limit {
            return Ok(Time::Over);
        }
        match self.cancel {
            None => tokio::time::sleep(self.poll).await,
            Some(cancel) => tokio::select! {
                () = tokio::time::sleep(self.poll) => {}
                () = cancel.cancelled() => return Err(VolumesError::Cancelled),
            },
        }
        Ok(Time::Left)
    }

    /// Whether an error (or none) that is seen now has stood for so long that it is final.
    pub(super) fn is_final(&mut self, is_failing: bool, limit: Duration) -> bool {
        if !is_failing {
            self.failing = None;
            return false;
        }
        self.failing.get_or_insert_with(Instant::now).elapsed() >= limit
    }
}

/// The error in an object's status.
pub(super) fn error_of(object: &Value) -> Option<&str> {
    Some(text(object, &["status", "error", "message"])).filter(|message| !message.is_empty())
}

/// The last event about an object, as `reason: message`.
pub(super) async fn last_event(cluster: &dyn Cluster, object: &Value) -> Option<String> {
    let uid = uid_of(object);
    let about = |event: &Value| Some(Event::of(event)).filter(|event| event.about == uid);
    // Only for an error's text: without events it is shorter.
    let events = kinds::list(cluster, &kinds::events(), about).await.ok()?;
    events.into_iter().max().map(|event| event.words)
}

/// What was last heard of an object that did not become what it should.
pub(super) async fn last_words(cluster: &dyn Cluster, object: Option<&Value>, silence: &str) -> String {
    let Some(object) = object else { return "it is not there".to_owned() };
    if let Some(message) = error_of(object) {
        return message.to_owned();
    }
    // What is being deleted has its own reasons; its events are of its life before.
    let finalizers = items(object, &["metadata", "finalizers"]);
    if is_dying(object) && !finalizers.is_empty() {
        let names: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
        return format!("{} keeps it", names.join(", "));
    }
    if let Some(event) = last_event(cluster, object).await {
        return event;
    }
    silence.to_owned()
}

/// Waits until an object that was deleted is gone. `cancel` as for [`Waiting::new`].
pub(super) async fn gone(
    cluster: &dyn Cluster,
    limits: &Limits,
    cancel: Option<&Cancel>,
    kind: &Kind,
    object: &Value,
) -> Result<(), VolumesError> {
    let (namespace, name, uid) = (namespace_of(object), name_of(object), uid_of(object));
    let mut waiting = Waiting::new(limits.gone, limits, cancel);
    loop {
        let found = cluster.get(kind, namespace, name).await;
        let found = found.map_err(|error| VolumesError::cluster("read", named(kind, namespace, name), error))?;
        let Some(object) = found.filter(|object| uid_of(object) == uid) else { return Ok(()) };
        if waiting.again().await? == Time::Over {
            return Err(VolumesError::Late {
                object: named(kind, namespace, name),
                state: "gone",
                limit: limits.gone,
                last: last_words(cluster, Some(&object), "nothing acts on it").await,
            });
        }
    }
}
