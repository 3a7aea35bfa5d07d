//! Bounds: time with servers that do not answer, memory and processor time with many objects.

use std::sync::Arc;
use std::time::{Duration, Instant};

use homelab_dr::base::cancel::Cancel;
use homelab_dr::cluster::api::{Api, Limits};
use homelab_dr::cluster::capture::{Item, capture};
use homelab_dr::cluster::choice::Choice;
use serde_json::json;

use super::{home, map, namespace};
use crate::cli::program;
use crate::support::kube::server::{KubeServer, Options};

/// An aggregated API whose server takes requests and never answers is a named problem, not a hang; everything else is captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_does_not_answer_is_named() {
    let server = KubeServer::start(Options::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let limits = Limits { answer: Duration::from_millis(500), tries: Duration::from_millis(500) };
    let api = Api::open(Some(&path), None).await.unwrap().with_limits(limits);
    server.faults(|faults| faults.silence("snapshot.storage.k8s.io"));
    let (items, mut taken) = tokio::sync::mpsc::channel(4);
    let counting = tokio::spawn(async move {
        let mut documents = 0;
        while let Some(item) = taken.recv().await {
            documents += u32::from(matches!(item, Item::Document { .. }));
        }
        documents
    });
    let begun = Instant::now();
    let captured = capture(&api, "v1.36.0", &Choice::default(), &items, &Arc::new(Cancel::default())).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    drop(items);
    assert!(counting.await.unwrap() > 10);
    let missing: Vec<String> =
        captured.missing.iter().map(|missing| format!("{}: {}", missing.path.display(), missing.why)).collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(
        missing[0].starts_with("resources/snapshot.storage.k8s.io: ") && missing[0].contains("did not answer"),
        "{missing:?}"
    );
}

/// 10,000 objects of 2 KiB.
#[tokio::test(flavor = "multi_thread")]
async fn many_objects_take_little_memory() {
    const OBJECTS: usize = 10_000;
    const PEAK_MIB: u64 = 150;
    let server = KubeServer::start(Options { still: true, ..Options::default() }).await;
    server.make("", namespace("many"));
    for number in 0..OBJECTS {
        let noise: String =
            (0..64).map(|part| format!("line {part} of {number} {:08x}\n", number * 7919 + part)).collect();
        server.make("many", map(&format!("m{number:05}"), &json!({"text": noise})));
    }
    let home = home(&server, "");
    let mut command = program();
    command.current_dir(home.dir()).args(["backup", "--json"]);
    let begun = Instant::now();
    let (ran, peak, cpu) =
        tokio::task::spawn_blocking(move || crate::support::usage::measured(&mut command)).await.unwrap();
    let told = ran.exits(0).json();
    assert!(told["sources"][0]["statistics"]["files"].as_u64().unwrap() > OBJECTS as u64, "{told}");
    println!("{OBJECTS} objects: {} MiB, {cpu:?} of processor time, {:?}", peak >> 20, begun.elapsed());
    assert!(peak >> 20 <= PEAK_MIB, "{} MiB", peak >> 20);
}

/// 100 objects of 1 MiB, as some keep pictures and models in: all of them in one answer are 100 MiB as text, and more as objects. The test server needs a
/// second for 10 MiB, so there are no more.
#[tokio::test(flavor = "multi_thread")]
async fn large_objects_take_little_memory() {
    const OBJECTS: usize = 100;
    const PEAK_MIB: u64 = 200;
    let server = KubeServer::start(Options { still: true, ..Options::default() }).await;
    server.make("", namespace("many"));
    let noise = "0123456789abcdef".repeat(1 << 16);
    for number in 0..OBJECTS {
        server.make("many", map(&format!("m{number:05}"), &json!({"text": format!("{number}{noise}")})));
    }
    for number in 0..300 {
        server.make("many", map(&format!("n{number:05}"), &json!({"a": "1"})));
    }
    let home = home(&server, "");
    let mut command = program();
    command.current_dir(home.dir()).args(["backup", "--json"]);
    let begun = Instant::now();
    let (ran, peak, cpu) =
        tokio::task::spawn_blocking(move || crate::support::usage::measured(&mut command)).await.unwrap();
    let told = ran.exits(0).json();
    assert!(told["sources"][0]["statistics"]["files"].as_u64().unwrap() > (OBJECTS + 300) as u64, "{told}");
    println!("{OBJECTS} objects of 1 MiB: {} MiB, {cpu:?} of processor time, {:?}", peak >> 20, begun.elapsed());
    assert!(peak >> 20 <= PEAK_MIB, "{} MiB", peak >> 20);
    // Small objects after large ones are asked for in large pages again.
    let lists = server.seen().into_iter().filter(|seen| seen.contains("/api/v1/configmaps?limit=")).count();
    assert!(lists < 120, "{lists} requests");
}
