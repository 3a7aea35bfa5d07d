//! The judge of the test API server: what a real Kubernetes answered is asked again and must be answered alike.
//!
//! Each file of `fixtures/kube-transcripts` is a test. Requests go out in their order; what the recording leaves out (namespaces made
//! before, objects changed while a watch ran) is in `script`. `compare` says what "alike" is, `exceptions` what differs on purpose; an
//! exception that is not needed any more fails the test.

mod compare;
mod exceptions;
mod life;
mod script;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::kube::replay::compare::{Known, compare};
use crate::kube::replay::exceptions::EXCEPTIONS;
use crate::support::kube::server::KubeServer;

/// Controllers need time, as they did when the transcripts were made.
const SETTLE: Duration = Duration::from_secs(20);
const EXCEPTED: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(30);

struct Entry {
    line: usize,
    value: Value,
}

fn load(file: &str) -> Vec<Entry> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/kube-transcripts")
        .join(format!("{file}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    let entries =
        text.lines().enumerate().map(|(at, line)| Entry { line: at + 1, value: serde_json::from_str(line).unwrap() });
    entries.filter(|entry| entry.value.get("about").is_none()).collect()
}

/// A client that sends what it is told, and nothing of its own.
pub(super) struct Wire {
    client: kube::Client,
    url: String,
    token: String,
    pub(super) other: Mutex<String>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) warning: Option<String>,
    pub(super) body: Value,
}

impl Wire {
    pub(super) fn new(server: &KubeServer) -> Self {
        let config = kube::Config::new(server.url().parse().unwrap());
        let client = kube::Client::try_from(config).unwrap();
        Self { client, url: server.url(), token: server.token(), other: Mutex::new("nobody".into()) }
    }

    fn request(&self, entry: &Value, path: &str, body: Option<&Value>) -> http::Request<kube::client::Body> {
        let text = |field: &str| entry[field].as_str();
        let token = match (text("auth"), entry["status"].as_u64()) {
            (None, _) => self.token.clone(),
            (_, Some(401)) => "expired".into(),
            _ => self.other.lock().unwrap().clone(),
        };
        let mut builder = http::Request::builder()
            .method(text("method").unwrap_or("GET"))
            .uri(format!("{}{path}", self.url))
            .header("user-agent", "python-requests/2.32.3")
            .header("authorization", format!("Bearer {token}"))
            .header("accept", text("accept").unwrap_or("*/*"));
        if let Some(kind) = text("content_type") {
            builder = builder.header("content-type", kind);
        }
        let bytes = match body {
            None => Vec::new(),
            Some(Value::String(text)) => text.clone().into_bytes(),
            Some(value) => value.to_string().into_bytes(),
        };
        builder.body(bytes.into()).unwrap()
    }

    pub(super) async fn send(&self, entry: &Value, path: &str, body: Option<&Value>) -> Answer {
        let response = self.client.send(self.request(entry, path, body)).await.unwrap();
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, content_type, warning) =
            (response.status().as_u16(), header("content-type").unwrap_or_default(), header("warning"));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = if content_type.starts_with("application/json") {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        } else {
            Value::String(text)
        };
        Answer { status, content_type, warning, body }
    }

    /// Sends something of the script's own, which must succeed.
    pub(super) async fn act(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Value {
        let entry = serde_json::json!({"method": method, "content_type": content_type});
        let answer = self.send(&entry, path, Some(body)).await;
        assert!(answer.status < 300, "{method} {path}: {}", answer.body);
        answer.body
    }

    /// Collects the events of a watch until it ends.
    fn watch(&self, entry: &Value, path: &str) -> (Arc<Mutex<Vec<Value>>>, tokio::task::JoinHandle<()>) {
        let events = Arc::new(Mutex::new(Vec::new()));
        let (client, request, sink) = (self.client.clone(), self.request(entry, path, None), Arc::clone(&events));
        let task = tokio::spawn(async move {
            let response = client.send(request).await.unwrap();
            let mut stream = response.into_body().into_data_stream();
            let mut rest: Vec<u8> = Vec::new();
            while let Some(Ok(bytes)) = stream.next().await {
                rest.extend_from_slice(&bytes);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    sink.lock().unwrap().push(serde_json::from_slice(&line).unwrap());
                }
            }
        });
        (events, task)
    }
}

/// What differs, as `file:line path: recorded, ours`.
struct Judge {
    file: &'static str,
    used: BTreeSet<usize>,
    found: Vec<String>,
    replayed: usize,
}

impl Judge {
    fn excused(&mut self, line: usize, difference: &str) -> bool {
        let path = difference.split(": ").next().unwrap_or_default();
        let fits = |(at, exception): (usize, &exceptions::Exception)| {
            let covers = exception.file == self.file && exception.line == line && path.starts_with(exception.path);
            covers.then_some(at)
        };
        let Some(at) = EXCEPTIONS.iter().enumerate().find_map(fits) else { return false };
        self.used.insert(at);
        true
    }

    fn judge(&mut self, line: usize, why: &str, differences: Vec<String>) {
        for difference in differences {
            if !self.excused(line, &difference) {
                self.found.push(format!("{}:{line} ({why}) {difference}", self.file));
            }
        }
        self.replayed += 1;
    }

    fn finish(self) {
        let unused: Vec<String> = EXCEPTIONS
            .iter()
            .enumerate()
            .filter(|(at, exception)| exception.file == self.file && !self.used.contains(at))
            .map(|(_, exception)| format!("{}:{} {}", exception.file, exception.line, exception.path))
            .collect();
        assert!(self.found.is_empty(), "{} differences:\n{}", self.found.len(), self.found.join("\n"));
        assert!(unused.is_empty(), "exceptions that nothing needs:\n{}", unused.join("\n"));
        assert!(self.replayed > 0, "nothing was replayed");
    }
}

async fn replay(file: &'static str) {
    let server = script::server(file).await;
    let wire = Wire::new(&server);
    let mut known = Known::default();
    let mut judge = Judge { file, used: BTreeSet::new(), found: Vec::new(), replayed: 0 };
    script::before(file, &server, &wire).await;
    let entries = load(file);
    let lives: Vec<_> = entries
        .iter()
        .filter(|entry| entry.value["why"].as_str().is_some_and(script::is_life))
        .map(|entry| {
            // Open as long as the replay needs, not as long as the recording took.
            let path = entry.value["path"].as_str().unwrap();
            let path = path.split("&timeoutSeconds").next().unwrap();
            (entry, wire.watch(&entry.value, path))
        })
        .collect();
    if !lives.is_empty() {
        // They were all open before the first request.
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for entry in &entries {
        let why = entry.value["why"].as_str().unwrap_or_default();
        if script::is_life(why) {
            continue;
        }
        script::between(file, entry.line, &server, &wire).await;
        let differences = if entry.value.get("watch").is_some() {
            watched(file, &wire, &mut known, entry).await
        } else {
            asked(file, &wire, &mut known, entry).await
        };
        judge.judge(entry.line, why, differences);
    }
    script::after(file, &server, &wire, &known).await;
    for (entry, (events, task)) in lives {
        let differences = life::settled(&entry.value, &events, &known, script::was_cut(file, entry.line), SETTLE).await;
        task.abort();
        judge.judge(entry.line, entry.value["why"].as_str().unwrap_or_default(), differences);
    }
    judge.judge(0, "order of resourceVersions and times", known.disorder());
    judge.finish();
}

/// One exchange. What is only read may need time to become so.
async fn asked(file: &str, wire: &Wire, known: &mut Known, entry: &Entry) -> Vec<String> {
    let recorded = &entry.value;
    let path = known.translate(recorded["path"].as_str().unwrap());
    let body = recorded.get("body").map(|body| known.translate_value(body));
    let start = tokio::time::Instant::now();
    loop {
        let answer = wire.send(recorded, &path, body.as_ref()).await;
        let mut trial = known.clone();
        trial.moving =
            script::is_busy(file) && recorded["response"]["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        let mut differences = differences(recorded, &answer, &mut trial);
        if trial.moving && !is_newest(&answer.body) {
            differences.push("list: older than what it lists".into());
        }
        trial.moving = false;
        let only_reads = recorded["method"] == "GET";
        // An exception will not go away by waiting longer.
        let excepted = EXCEPTIONS.iter().any(|exception| exception.file == file && exception.line == entry.line);
        let patience = if excepted { EXCEPTED } else { SETTLE };
        if differences.is_empty() || !only_reads || start.elapsed() > patience {
            if let Some(token) = answer.body["status"]["token"].as_str() {
                token.clone_into(&mut wire.other.lock().unwrap());
            }
            *known = trial;
            return differences;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a list's version is no older than its items'.
fn is_newest(list: &Value) -> bool {
    let version =
        |object: &Value| object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
    let own = version(list);
    own.is_some() && list["items"].as_array().into_iter().flatten().all(|item| version(item) <= own)
}

fn differences(recorded: &Value, answer: &Answer, known: &mut Known) -> Vec<String> {
    let mut found = Vec::new();
    if recorded["status"] != answer.status {
        found.push(format!("status: {}, ours {} {}", recorded["status"], answer.status, answer.body));
        return found;
    }
    let kind = recorded["headers"]["Content-Type"].as_str().unwrap_or_default();
    if kind != answer.content_type {
        found.push(format!("content-type: {kind}, ours {}", answer.content_type));
    }
    let warning = recorded["headers"]["Warning"].as_str().map(str::to_owned);
    if warning != answer.warning {
        found.push(format!("warning: {warning:?}, ours {:?}", answer.warning));
    }
    compare(&recorded["response"], &answer.body, "", known, &mut found);
    let writes = recorded["method"] != "GET" && !recorded["path"].as_str().unwrap_or_default().contains("dryRun");
    known.note_version(&recorded["response"], &answer.body, writes);
    found
}

/// A watch with a time limit of its own, event by event.
async fn watched(file: &str, wire: &Wire, known: &mut Known, entry: &Entry) -> Vec<String> {
    let path = known.translate(entry.value["path"].as_str().unwrap());
    let (events, task) = wire.watch(&entry.value, &path);
    script::during(file, entry.line, wire).await;
    tokio::time::timeout(Duration::from_secs(20), task).await.expect("the watch ends at its time limit").unwrap();
    let events = events.lock().unwrap().clone();
    let recorded = entry.value["watch"].as_array().unwrap();
    let mut found = Vec::new();
    let types =
        |events: &[Value]| events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    if types(recorded) != types(&events) {
        found.push(format!("events: {:?}, ours {:?}", types(recorded), types(&events)));
        return found;
    }
    for (at, (recorded, ours)) in recorded.iter().zip(&events).enumerate() {
        compare(&recorded["object"], &ours["object"], &format!("[{at}]"), known, &mut found);
    }
    found
}

macro_rules! scenario {
    ($($name:ident),*) => {
        $(
            #[tokio::test]
            async fn $name() {
                replay(stringify!($name)).await;
            }
        )*
    };
}

scenario!(access, crd, crud, discovery, list, namespace, patch, pods, volumes, watch);
