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
/// For the next line of a log: one that is there comes as soon as a busy server comes to it, and one of a mover that still runs has no end.
const LINE_TIME: Duration = Duration::from_secs(2);
/// For all of it: a cluster that does not answer keeps nobody.
const TIME: Duration = Duration::from_secs(10);
/// Of each, in one line of a record.
const SHORT: usize = 3;

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

    /// All of it for people, line by line: what became of its pod, then what it said.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let events = self.events.iter().map(|event| format!("event {event}"));
        events.chain(self.log.iter().map(|line| format!("log {line}")))
    }

    /// The end of both, for a record that has one line for it; `None` if there is none.
    #[must_use]
    pub fn in_short(&self) -> Option<String> {
        let last = |of: &[String]| of.get(of.len().saturating_sub(SHORT)..).unwrap_or_default().join(" | ");
        let parts = [("the last events of its pod", last(&self.events)), ("the end of its log", last(&self.log))];
        let said: Vec<String> =
            parts.into_iter().filter(|(_, of)| !of.is_empty()).map(|(what, of)| format!("{what}: {of}")).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(CHARS_MAX).collect()
}

/// Asks for both.
pub(super) async fn gather(crew: &Crew<'_>, pod: Pod<'_>) -> Evidence {
    let events = timeout(TIME, of_pod(crew.cluster, pod.namespace, pod.uid));
    let (log, events) = tokio::join!(log(crew, pod), events);
    let events = events.unwrap_or_default();
    Evidence { log, events: events.into_iter().map(|event| cut(&event)).collect() }
}

async fn log(crew: &Crew<'_>, pod: Pod<'_>) -> Vec<String> {
    let mut last = VecDeque::new();
    // Of a container that never began there is none.
    let heard = async {
        let Ok(mut lines) = crew.streams.follow(pod.namespace, pod.name, CONTAINER, None).await else { return };
        while let Ok(Ok(Some(line))) = timeout(LINE_TIME, lines.next()).await {
            if last.len() == LINES_MAX {
                last.pop_front();
            }
            last.push_back(cut(&line));
        }
    };
    // One that does not end is told as far as it was heard.
    let _ = timeout(TIME, heard).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_end_of_both_and_people_have_all() {
        let all = |name: &str, number: usize| (0..number).map(|at| format!("{name}{at}")).collect::<Vec<_>>();
        assert_eq!((Evidence::default().in_short(), Evidence::default().lines().count()), (None, 0));
        let of_pod = Evidence { log: Vec::new(), events: all("e", 2) };
        assert_eq!(of_pod.in_short().as_deref(), Some("the last events of its pod: e0 | e1"));
        let both = Evidence { log: all("l", 5), ..of_pod };
        let short = "the last events of its pod: e0 | e1; the end of its log: l2 | l3 | l4";
        assert_eq!(both.in_short().as_deref(), Some(short));
        assert_eq!(both.lines().collect::<Vec<_>>()[1..3], ["event e1", "log l0"]);
    }
}
