//! Bounds: time with servers that do not answer, memory with large objects. Many objects are in the memory lane, and in `tests/bench/cluster`.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::cluster::api::{Api, Limits};
use homelab_dr::cluster::capture::{Item, capture};
use homelab_dr::cluster::choice::Choice;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::config::configured;
use crate::cli::program;
use crate::support::kube::faults::Hold;
use crate::support::kube::server::{KubeServer, Options};

/// An aggregated API whose server takes requests and never answers, and a list that never comes, as of a kind whose conversion webhook takes its time: each is a named
/// problem, not a hang; everything else is captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_and_a_list_that_do_not_answer_are_named() {
    let server = KubeServer::start(Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let limits = Limits { answer: Duration::from_secs(1), tries: Duration::from_millis(500) };
    let api = Api::open(Some(&path), None).await.unwrap().with_limits(limits);
    server.faults(|faults| {
        faults.silence("snapshot.storage.k8s.io");
        faults.hold(Hold { method: "GET", path: "/apps/v1/deployments?", nth: 1, done: false });
    });
    let (items, mut taken) = tokio::sync::mpsc::channel(4);
    let counting = tokio::spawn(async move {
        let mut documents = 0;
        while let Some(item) = taken.recv().await {
            documents += u32::from(matches!(item, Item::Document { .. }));
        }
        documents
    });
    let begun = Instant::now();
    let captured =
        capture(&api, "v1.36.0", &Choice::default(), &items, &Arc::new(Cancel::default()), &SystemClock).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(items);
    assert!(counting.await.unwrap() > 10);
    let missing: Vec<String> =
        captured.missing.iter().map(|missing| format!("{}: {}", missing.path.display(), missing.why)).collect();
    for path in ["resources/snapshot.storage.k8s.io: ", "resources/apps/Deployment: "] {
        let told = missing.iter().find(|missing| missing.starts_with(path));
        assert!(told.is_some_and(|told| told.contains("did not answer")), "{path}{missing:?}");
    }
    let is_listed = |name: &str| captured.rows.iter().any(|row| row.kind.name == name);
    assert!(is_listed("StatefulSet") && is_listed("Namespace"), "what comes after it is read");
}

/// Configuration maps that a server of nothing else has: large ones, then small ones.
const LARGE: usize = 60;
const SMALL: usize = 300;

/// What that server says. The test API server would need a minute for a list of this size.
fn answer(path: &str) -> String {
    let fixed = match path {
        "/version" => r#"{"gitVersion":"v1.36.0"}"#,
        "/api" => r#"{"versions":["v1"]}"#,
        "/apis" => r#"{"groups":[]}"#,
        "/api/v1" => {
            r#"{"resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get","list"]}]}"#
        }
        // Whether all is covered is asked of these.
        other if !other.starts_with("/api/v1/configmaps") => r#"{"metadata":{},"items":[]}"#,
        _ => "",
    };
    if !fixed.is_empty() {
        return fixed.to_owned();
    }
    let asked = |field: &str| -> Option<usize> {
        let query = path.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(field)?.strip_prefix('=')?.parse().ok())
    };
    let start = asked("continue").unwrap_or(0);
    let end = (LARGE + SMALL).min(start + asked("limit").expect("every list asks for a page"));
    let noise = "0123456789abcdef".repeat(1 << 16);
    let items: Vec<String> = (start..end)
        .map(|n| {
            let text = if n < LARGE { &noise } else { "" };
            let metadata = format!(r#"{{"name":"m{n:05}","namespace":"many","uid":"u-{n}","resourceVersion":"1"}}"#);
            format!(r#"{{"metadata":{metadata},"data":{{"text":"{n}{text}"}}}}"#)
        })
        .collect();
    let next = if end < LARGE + SMALL { format!(r#"{{"continue":"{end}"}}"#) } else { "{}".to_owned() };
    format!(r#"{{"metadata":{next},"items":[{}]}}"#, items.join(","))
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<String>>>) {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(length) if length > 0 => head.extend_from_slice(&buffer[..length]),
                _ => return,
            }
        }
        let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
        head.clear();
        let body = answer(&path);
        asked.lock().unwrap().push(path);
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        // Who has read enough closes the connection.
        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(body.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Objects of 1 MiB, as some keep pictures and models in: a page of sixty would be 60 MiB as text, and several times that while it is read.
#[tokio::test(flavor = "multi_thread")]
async fn large_objects_take_little_memory() {
    const PEAK_MIB: u64 = 150;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&seen)));
        }
    });
    let home = configured("sources:\n  cluster: {resources: {kubeconfig: DIR/kubeconfig}}\n");
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\nclusters: [{{name: x, cluster: {{server: 'http://{address}'}}}}]\n\
         users: [{{name: x, user: {{token: t}}}}]\ncontexts: [{{name: x, context: {{cluster: x, user: x}}}}]\n"
    );
    std::fs::write(home.path("kubeconfig"), kubeconfig).unwrap();
    let mut command = program();
    command.current_dir(home.dir()).args(["backup", "--json"]);
    let begun = Instant::now();
    let (ran, peak, cpu) =
        tokio::task::spawn_blocking(move || crate::support::usage::measured(&mut command)).await.unwrap();
    serving.abort();
    let told = ran.exits(0).json();
    println!("{LARGE} objects of 1 MiB: {} MiB, {cpu:?} of processor time, {:?}", peak >> 20, begun.elapsed());
    assert_eq!(told["sources"][0]["statistics"]["files"], LARGE + SMALL + 1, "{told}");
    assert!(peak >> 20 <= PEAK_MIB, "{} MiB", peak >> 20);
    let asked = asked.lock().unwrap();
    let lists: Vec<&String> = asked.iter().filter(|path| path.contains("configmaps?")).collect();
    assert!(lists.iter().any(|path| path.contains("limit=6&")), "large pages were halved: {lists:?}");
    assert!(lists.len() < 40, "and grew again: {lists:?}");
}
