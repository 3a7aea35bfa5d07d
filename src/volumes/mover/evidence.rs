//! What there is to see of a mover that came to no result: the end of its log, and the events of its pod. Asked for before its pod is taken away, since both go with it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::Crew;
use super::start::Pod;
use crate::cluster::list::whole_of;
use crate::cluster::object::{at, text};
use crate::cluster::{Cluster, Which};
use crate::volumes::kinds::events;
use crate::volumes::pod::CONTAINER;

/// Lines of a log that are kept, the last ones: a mover says something every five seconds, so this is what it did in the last minutes.
const LINES_MAX: usize = 40;
/// The longest of them, and of an event.
const CHARS_MAX: usize = 400;
/// Events that are kept, the last ones.
const EVENTS_MAX: usize = 20;
/// For the next line of a log: one that is there comes at once, and one of a mover that still runs has no end.
const LINE_TIME: Duration = Duration::from_millis(500);
/// For all of it: a cluster that does not answer keeps nobody.
const TIME: Duration = Duration::from_secs(10);

/// See the module. Empty where nothing was asked, or nothing was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The last lines of its log, each with its time.
    pub log: Vec<String>,
    /// The last events of its pod.
    pub events: Vec<String>,
}

impl Evidence {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty() && self.events.is_empty()
    }
}

fn cut(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}

/// Asks for both.
pub(super) async fn gather(crew: &Crew<'_>, pod: Pod<'_>) -> Evidence {
    let both = async { tokio::join!(log(crew, pod), of_pod(crew.cluster, pod.namespace, pod.uid)) };
    let (log, events) = timeout(TIME, both).await.unwrap_or_default();
    Evidence { log, events: events.into_iter().map(|event| cut(&event)).collect() }
}

async fn log(crew: &Crew<'_>, pod: Pod<'_>) -> Vec<String> {
    let mut last = VecDeque::new();
    // Of a container that never began there is none.
    let Ok(mut lines) = crew.streams.follow(pod.namespace, pod.name, CONTAINER, None).await else { return Vec::new() };
    while let Ok(Ok(Some(line))) = timeout(LINE_TIME, lines.next()).await {
        if last.len() == LINES_MAX {
            last.pop_front();
        }
        last.push_back(cut(&line));
    }
    last.into()
}

/// The last events of a pod, the newest at the end. Rights to events may be missing: then there are none.
pub(super) async fn of_pod(cluster: &dyn Cluster, namespace: &str, uid: &str) -> Vec<String> {
    let of_pod = |event: &Value| {
        let about = text(event, &["involvedObject", "uid"]) == uid;
        let time = [at(event, &["lastTimestamp"]), at(event, &["eventTime"]), at(event, &["firstTimestamp"])];
        let time = time.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned();
        let parts = [text(event, &["reason"]), text(event, &["message"])];
        let said: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        (about && !said.is_empty()).then(|| (time, said.join(": ")))
    };
    let here = Which::of(Some(namespace));
    let mut found = whole_of(cluster, &events(), here, |event| of_pod(&event)).await.unwrap_or_default();
    // In the order of time, as far as they say it; what comes in one second stays as the server has it.
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let first = found.len().saturating_sub(EVENTS_MAX);
    found.into_iter().skip(first).map(|(_, said)| said).collect()
}
