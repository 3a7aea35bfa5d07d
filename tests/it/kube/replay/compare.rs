//! What "alike" is: the same JSON, where what a server makes up is compared by identity and order.
//!
//! - uids, generated suffixes, addresses, ports, handles, container ids: the same recorded value is always the same value of ours, and
//!   two are never one.
//! - resourceVersions: likewise, and in the same order. That of a list is the server's at the moment: where controllers are at work it
//!   is only not older than what it lists.
//! - times: have the recorded form, and never the other order.
//! - continue tokens: by what they hold.
//! - after `\n@@` a message shows a difference in the server's inner types: not compared.
//! - what was redacted in the recording, and ages in tables: only that something is there.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// What the recording's values are in our server.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// A list is being compared whose version is the server's at that moment, and controllers are at work: it is only not older than
    /// what it lists.
    pub(super) moving: bool,
    names: BTreeMap<String, String>,
    back: BTreeMap<String, String>,
    versions: BTreeMap<u64, u64>,
    /// Versions of each object, and those that requests wrote, which came one after another.
    sequences: BTreeMap<String, BTreeMap<u64, u64>>,
    /// Earliest and latest of ours for a recorded time.
    times: BTreeMap<String, (String, String)>,
}

impl Known {
    fn learn(&mut self, recorded: &str, ours: &str) -> bool {
        let (known, back) = (self.names.get(recorded), self.back.get(ours));
        if known.is_some_and(|known| known != ours) || back.is_some_and(|back| back != recorded) {
            return false;
        }
        self.names.insert(recorded.to_owned(), ours.to_owned());
        self.back.insert(ours.to_owned(), recorded.to_owned());
        true
    }

    /// A recorded text in our server's words.
    pub(super) fn translate(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (recorded, ours) in &self.names {
            text = text.replace(recorded, ours);
        }
        if let Some((before, rest)) = text.split_once("resourceVersion=") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if let Some(ours) = digits.parse().ok().and_then(|version: u64| self.versions.get(&version)) {
                text = format!("{before}resourceVersion={ours}{}", &rest[digits.len()..]);
            }
        }
        if let Some((before, token)) = text.split_once("continue=")
            && let Some((version, start)) = decode(token)
            && let Some(ours) = self.versions.get(&version)
        {
            let start = start.replace('\0', "\\u0000");
            let token = format!("{{\"v\":\"meta.k8s.io/v1\",\"rv\":{ours},\"start\":\"{start}\"}}");
            text = format!("{before}continue={}", BASE64URL_NOPAD.encode(token.as_bytes()));
        }
        text
    }

    pub(super) fn translate_value(&self, value: &Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(key, value)| {
                        let version =
                            value.as_str().filter(|_| key == "resourceVersion").and_then(|text| text.parse().ok());
                        let ours = version.and_then(|version: u64| self.versions.get(&version));
                        let value = ours.map_or_else(|| self.translate_value(value), |ours| ours.to_string().into());
                        (self.translate(key), value)
                    })
                    .collect::<Map<_, _>>(),
            ),
            Value::Array(list) => list.iter().map(|value| self.translate_value(value)).collect(),
            Value::String(text) => self.translate(text).into(),
            other => other.clone(),
        }
    }

    /// Versions or times of ours that run the other way.
    pub(super) fn disorder(&self) -> Vec<String> {
        let mut found = Vec::new();
        for versions in self.sequences.values() {
            let versions: Vec<_> = versions.iter().collect();
            for pair in versions.windows(2) {
                let (first, second) = (pair[0], pair[1]);
                if first.1 >= second.1 {
                    found.push(format!(
                        "resourceVersion: {} before {}, ours {} and {}",
                        first.0, second.0, first.1, second.1
                    ));
                }
            }
        }
        let times: Vec<_> = self.times.iter().collect();
        for (at, (time, (earliest, _))) in times.iter().enumerate() {
            for (later, (_, latest)) in &times[at + 1..] {
                if latest < earliest {
                    found.push(format!("time: {time} before {later}, ours {earliest} and {latest}"));
                }
            }
        }
        found
    }
}

impl Known {
    /// Remembers the version of an object; `written` if it is the answer to a request that writes.
    pub(super) fn note_version(&mut self, recorded: &Value, ours: &Value, written: bool) {
        let version =
            |object: &Value| object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
        let (Some(left), Some(right), Some(uid)) =
            (version(recorded), version(ours), recorded["metadata"]["uid"].as_str())
        else {
            return;
        };
        self.sequences.entry(uid.to_owned()).or_default().insert(left, right);
        if written {
            self.sequences.entry("written".into()).or_default().insert(left, right);
        }
    }
}

fn decode(token: &str) -> Option<(u64, String)> {
    let value: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(token.as_bytes()).ok()?).ok()?;
    Some((value["rv"].as_u64()?, value["start"].as_str()?.to_owned()))
}

pub(super) fn compare(recorded: &Value, ours: &Value, path: &str, known: &mut Known, found: &mut Vec<String>) {
    let mut differ = |what: String| found.push(format!("{path}: {what}"));
    match (recorded, ours) {
        (Value::Object(left), Value::Object(right)) => {
            // Identities first: keys of owned fields hold uids.
            known.note_version(recorded, ours, false);
            let late = |key: &String| u8::from(key == "managedFields" || key == "metadata");
            let mut keys: Vec<&String> = left.keys().collect();
            keys.sort_by_key(|key| (late(key), (*key).clone()));
            let mut matched = std::collections::BTreeSet::new();
            for key in keys {
                let translated = known.translate(key);
                let our_key = if right.contains_key(key) { key.clone() } else { translated };
                match right.get(&our_key) {
                    Some(value) => compare(&left[key], value, &format!("{path}.{key}"), known, found),
                    None => found.push(format!("{path}.{key}: {}, ours is absent", short(&left[key]))),
                }
                matched.insert(our_key);
            }
            for (key, value) in right.iter().filter(|(key, _)| !matched.contains(*key)) {
                found.push(format!("{path}.{key}: absent, ours {}", short(value)));
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            if left.len() != right.len() {
                differ(format!("{} items, ours {}: {} / {}", left.len(), right.len(), short(recorded), short(ours)));
                return;
            }
            let (mut left, mut right) = (left.clone(), right.clone());
            if path.ends_with(".managedFields") {
                // They are ordered by time, and a second may have passed there and not here.
                let order = |entry: &Value| ["operation", "time", "manager"].map(|field| entry[field].to_string());
                if !right.is_sorted_by_key(order) {
                    differ(format!("ours out of order: {}", short(ours)));
                }
                let who = |entry: &Value| ["operation", "manager", "subresource"].map(|field| entry[field].to_string());
                left.sort_by_key(who);
                right.sort_by_key(who);
            } else if path == ".resources" {
                // Definitions are listed in the order of a hash table.
                left.sort_by_key(|resource| resource["name"].to_string());
                right.sort_by_key(|resource| resource["name"].to_string());
            }
            for (at, (left, right)) in left.iter().zip(&right).enumerate() {
                compare(left, right, &format!("{path}[{at}]"), known, found);
            }
        }
        (Value::String(left), Value::String(right)) => {
            if let Err(why) = texts(left, right, path, known) {
                differ(format!("{left:?}, ours {right:?}{why}"));
            }
        }
        (Value::Number(left), Value::Number(right)) => {
            let made_up = path.ends_with(".nodePort") || path.ends_with(".creationTime");
            let same = if made_up {
                known.learn(&format!("number {left}"), &format!("number {right}"))
            } else {
                left == right
            };
            if !same {
                differ(format!("{left}, ours {right}"));
            }
        }
        (left, right) if left == right => {}
        (left, right) => differ(format!("{}, ours {}", short(left), short(right))),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()
}

fn texts(recorded: &str, ours: &str, path: &str, known: &mut Known) -> Result<(), &'static str> {
    if recorded.contains("<redacted>") && !ours.is_empty() {
        return Ok(());
    }
    if known.moving && path == ".metadata.resourceVersion" {
        return if ours.parse::<u64>().is_ok() { Ok(()) } else { Err(" (not a version)") };
    }
    if path.ends_with(".resourceVersion") {
        return match (recorded.parse::<u64>(), ours.parse::<u64>()) {
            (Ok(left), Ok(right)) => match known.versions.insert(left, right) {
                Some(before) if before != right => Err(" (it was another one before)"),
                _ => Ok(()),
            },
            _ => Err(" (not a version)"),
        };
    }
    if is_time(recorded) {
        if !is_time(ours) || recorded.len() != ours.len() {
            return Err(" (not such a time)");
        }
        // What lies in the future depends on how fast the requests came.
        if path.ends_with(".deletionTimestamp") || path.ends_with(".expirationTimestamp") {
            return Ok(());
        }
        let (earliest, latest) = known.times.entry(recorded.to_owned()).or_insert_with(|| (ours.into(), ours.into()));
        if ours < earliest.as_str() {
            ours.clone_into(earliest);
        }
        if ours > latest.as_str() {
            ours.clone_into(latest);
        }
        return Ok(());
    }
    if path.ends_with(".continue") {
        return match (decode(recorded), decode(ours)) {
            (Some(left), Some(right)) if left.1 == right.1 => match known.versions.insert(left.0, right.0) {
                Some(before) if before != right.0 => Err(" (it pages another version)"),
                _ => Ok(()),
            },
            _ => Err(" (holds something else)"),
        };
    }
    if let (Some((left, _)), Some((right, _))) = (recorded.split_once("\n@@"), ours.split_once("\n@@")) {
        return texts(left, right, path, known);
    }
    let age = |text: &str| text.strip_suffix('s').is_some_and(|number| number.parse::<u64>().is_ok());
    if path.contains(".cells[") && age(recorded) && age(ours) {
        return Ok(());
    }
    // Names of images as that cluster's registry had them.
    let opaque_image = path.contains(".containerStatuses[") && path.ends_with(".image");
    if opaque_image || OPAQUE.iter().any(|field| path.ends_with(field)) {
        return if known.learn(recorded, ours) { Ok(()) } else { Err(" (it was another one before)") };
    }
    by_parts(recorded, ours, known)
}

/// Fields that hold what one server made up, whole.
const OPAQUE: [&str; 6] =
    [".containerID", ".imageID", ".volumeHandle", ".snapshotHandle", ".serverAddress", ".hostPath.path"];

/// Letters of generated suffixes and template hashes.
fn is_generated(part: &str) -> bool {
    (part.len() == 5 || (8..=10).contains(&part.len()))
        && part.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c))
}

fn is_made_up(part: &str) -> bool {
    is_uid(part) || is_generated(part) || part.starts_with("10.") && part.split('.').count() == 4
}

fn is_uid(part: &str) -> bool {
    part.len() == 36 && part.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

/// Texts with made-up parts in them: `pvc-<uid>`, `d-84f6c45c75-fp4ml`, `... snapcontent-<uid> ...`.
fn by_parts(recorded: &str, ours: &str, known: &mut Known) -> Result<(), &'static str> {
    let (left, right) = (parts(recorded), parts(ours));
    if left.len() != right.len() {
        return Err("");
    }
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let mut before = "";
    for (left, right) in left.iter().zip(&right) {
        let both = is_made_up(left) && is_made_up(right);
        // The revision a watch is too old for.
        let bounds = before == "(" && digits(left) && digits(right);
        before = left;
        if left == right {
            // What a server makes up should not be the same by accident; then it is what the client sent.
            if is_uid(left) {
                known.learn(left, right);
            }
        } else if bounds {
        } else if !both || !known.learn(left, right) {
            return Err("");
        }
    }
    Ok(())
}

/// Cuts out uids, and what is left at signs between words.
fn parts(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut word = String::new();
    while let Some(first) = rest.chars().next() {
        if word.is_empty()
            && let Some(uid) =
                rest.get(..36).filter(|part| is_uid(part) && part.chars().all(|c| c.is_ascii_hexdigit() || c == '-'))
        {
            parts.push(uid.to_owned());
            rest = &rest[36..];
            continue;
        }
        rest = &rest[first.len_utf8()..];
        if "-/ \":,[](){}_=".contains(first) {
            parts.push(std::mem::take(&mut word));
            parts.push(first.to_string());
        } else {
            word.push(first);
        }
    }
    parts.push(word);
    parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(recorded: &Value, ours: &Value, known: &mut Known) -> Vec<String> {
        let mut found = Vec::new();
        compare(recorded, ours, "", known, &mut found);
        found
    }

    /// A judge that finds nothing is worth nothing: every kind of difference is planted once.
    #[test]
    fn planted_differences_are_found() {
        let (a, b) = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
        let (c, d) = ("33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444");
        let planted = [
            (json!({"x": 1}), json!({"x": 2})),
            (json!({"x": 1}), json!({})),
            (json!({}), json!({"x": null})),
            (json!({"x": "a"}), json!({"x": "b"})),
            (json!([1]), json!([1, 1])),
            (json!(["a", "b"]), json!(["b", "a"])),
            // One uid that is two, and two that are one.
            (json!([a, a]), json!([c, d])),
            (json!([a, b]), json!([c, c])),
            (json!({"uid": a}), json!({"uid": "none"})),
            (
                json!({"metadata": {"resourceVersion": "7"}, "o": {"resourceVersion": "7"}}),
                json!({"metadata": {"resourceVersion": "9"}, "o": {"resourceVersion": "8"}}),
            ),
            (json!({"t": "2026-11-21T06:38:09Z"}), json!({"t": "2026-11-21"})),
            (json!({"name": "gen-n7lwm"}), json!({"name": "gen-AAAAA"})),
            (json!({"message": "x\n@@ 1"}), json!({"message": "y\n@@ 1"})),
        ];
        for (recorded, ours) in planted {
            assert!(!found(&recorded, &ours, &mut Known::default()).is_empty(), "{recorded} {ours}");
        }
    }

    #[test]
    fn what_a_server_makes_up_may_differ() {
        let (a, c) = ("11111111-1111-4111-8111-111111111111", "33333333-3333-4333-8333-333333333333");
        let recorded =
            json!({"name": "gen-n7lwm", "uid": a, "volumeName": format!("pvc-{a}"), "t": "2026-11-21T06:38:09Z"});
        let ours =
            json!({"name": "gen-x4k2c", "uid": c, "volumeName": format!("pvc-{c}"), "t": "2027-01-01T00:00:00Z"});
        let mut known = Known::default();
        assert_eq!(found(&recorded, &ours, &mut known), Vec::<String>::new());
        assert_eq!(known.translate(&format!("/x/pvc-{a}")), format!("/x/pvc-{c}"));
    }

    #[test]
    fn versions_and_times_keep_their_order() {
        let object =
            |version: &str, time: &str| json!({"metadata": {"uid": "u", "resourceVersion": version}, "time": time});
        let mut known = Known::default();
        found(&object("5", "2026-11-21T06:38:09Z"), &object("50", "2027-01-01T00:00:05Z"), &mut known);
        assert!(known.disorder().is_empty());
        found(&object("6", "2026-11-21T06:38:10Z"), &object("40", "2027-01-01T00:00:04Z"), &mut known);
        assert_eq!(known.disorder().len(), 2, "{:?}", known.disorder());
    }
}
