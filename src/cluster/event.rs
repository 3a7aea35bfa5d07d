//! Events as Kubernetes has them: whom one is about, when, and its words. They are for people only, and nothing hangs on them.

use serde_json::Value;

use super::object::text;

/// An event. A later one is greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    /// When, as the cluster writes it: texts of one form, which can be compared.
    pub(crate) time: String,
    /// Of two of one second the later has the greater.
    version: u64,
    /// Reason and message.
    pub(crate) words: String,
    /// The uid of whom it is about.
    pub(crate) about: String,
}

impl Event {
    pub(crate) fn of(event: &Value) -> Self {
        let time = ["lastTimestamp", "eventTime", "firstTimestamp"].map(|field| text(event, &[field]));
        Self {
            time: time.into_iter().find(|time| !time.is_empty()).unwrap_or_default().to_owned(),
            version: text(event, &["metadata", "resourceVersion"]).parse().unwrap_or(0),
            words: format!("{}: {}", text(event, &["reason"]), text(event, &["message"])),
            about: text(event, &["involvedObject", "uid"]).to_owned(),
        }
    }
}
