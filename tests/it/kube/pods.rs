//! Pods as processes: volumes, logs, attach and exec, the ways to end.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, AttachedProcess, DeleteParams, EvictParams, LogParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::kube::{code, create_pod, phase, pod, raw, server};
use crate::support::kube::node::Node;
use crate::support::kube::server::{KubeServer, Options};

fn shell(script: &str) -> Value {
    json!({"command": ["sh", "-c", script]})
}

fn claim(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "16Mi"}}},
    })
}

fn exit_code(pod: &Value) -> Option<i64> {
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64()
}

#[tokio::test]
async fn a_pod_writes_into_its_volume_and_its_log() {
    let server = server().await;
    server.make("default", claim("data", "local-path"));
    let mut container = shell("echo kept > /data/below/file; echo $WHERE; cat /data/below/file; ls /database 2>&1");
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    container["env"] = json!([{"name": "WHERE", "value": "in /data/below and /data"}]);
    container["command"][2] = format!("mkdir -p /data/below; {}", container["command"][2].as_str().unwrap()).into();
    let pods = create_pod(&server, &pod("writer", container)).await;
    server
        .until("it ended", |state| {
            state.object("pods", "default", "writer").is_some_and(|pod| exit_code(&pod).is_some())
        })
        .await;
    let folder = server.volume("default", "data").unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("below/file")).unwrap(), "kept\n");
    let log = pods.logs("writer", &LogParams::default()).await.unwrap();
    let here = folder.to_str().unwrap();
    assert!(log.starts_with(&format!("in {here}/below and {here}\nkept\n")), "{log}");
    // A path that only begins like a mount is another path.
    assert!(log.contains("/database"), "{log}");
    let tail = LogParams { tail_lines: Some(1), ..LogParams::default() };
    assert!(pods.logs("writer", &tail).await.unwrap().contains("/database"));
}

#[tokio::test]
async fn an_image_is_a_program_of_this_machine() {
    let images = [("echo:1".to_owned(), "/bin/echo".into())].into();
    let server = KubeServer::start(Options { node: Node { images, ..Node::default() }, ..Options::default() }).await;
    let container = json!({"image": "echo:1", "args": ["$(NAME)", "said"], "env": [{"name": "NAME", "value": "it"}]});
    let pods = create_pod(&server, &pod("echo", container)).await;
    phase(&server, "echo", "Succeeded").await;
    assert_eq!(pods.logs("echo", &LogParams::default()).await.unwrap(), "it said\n");
}

async fn read_until(process: &mut AttachedProcess, text: &str) -> String {
    let mut stdout = process.stdout().unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 256];
    let all = async {
        while !seen.contains(text) {
            let count = stdout.read(&mut buffer).await.unwrap();
            assert!(count > 0, "ended after {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("output in time");
    seen
}

fn listener(once: bool) -> Value {
    let mut container = shell("while read line; do echo heard $line; done; echo end of input");
    container["stdin"] = true.into();
    container["stdinOnce"] = once.into();
    container
}

async fn attach(pods: &Api<Pod>, name: &str) -> AttachedProcess {
    let params = AttachParams { stdin: true, stdout: true, stderr: false, ..AttachParams::default() };
    pods.attach(name, &params).await.unwrap()
}

/// Measured: with `stdinOnce` a dropped attach is the end of input, and what comes later is ignored.
#[tokio::test]
async fn an_attach_once_ends_the_input() {
    let server = server().await;
    let pods = create_pod(&server, &pod("once", listener(true))).await;
    phase(&server, "once", "Running").await;
    let mut process = attach(&pods, "once").await;
    process.stdin().unwrap().write_all(b"one\n").await.unwrap();
    read_until(&mut process, "heard one").await;
    drop(process);
    let ended = phase(&server, "once", "Succeeded").await;
    assert_eq!(exit_code(&ended), Some(0));
    assert_eq!(pods.logs("once", &LogParams::default()).await.unwrap(), "heard one\nend of input\n");
}

/// Measured: without it a lost attach is nothing to the process; the end of input never comes.
#[tokio::test]
async fn an_attach_again_goes_on() {
    let server = server().await;
    let pods = create_pod(&server, &pod("again", listener(false))).await;
    phase(&server, "again", "Running").await;
    for word in ["one", "two"] {
        let mut process = attach(&pods, "again").await;
        process.stdin().unwrap().write_all(format!("{word}\n").as_bytes()).await.unwrap();
        let seen = read_until(&mut process, &format!("heard {word}")).await;
        // What was said before the attach is in the log alone.
        assert!(!seen.contains("one") || word == "one", "{seen}");
        drop(process);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(pods.logs("again", &LogParams::default()).await.unwrap(), "heard one\nheard two\n");
    phase(&server, "again", "Running").await;
}

#[tokio::test]
async fn exec_gives_output_input_and_exit_code() {
    let server = server().await;
    let pods = create_pod(&server, &pod("host", shell("sleep 60"))).await;
    phase(&server, "host", "Running").await;
    let params = AttachParams { stdin: true, stdout: true, stderr: true, ..AttachParams::default() };
    let mut process =
        pods.exec("host", ["sh", "-c", "read a; echo out $a; echo err >&2; exit 7"], &params).await.unwrap();
    process.stdin().unwrap().write_all(b"x\n").await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (process.stdout().unwrap(), process.stderr().unwrap());
    let (read_out, read_err) = tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    read_out.unwrap();
    read_err.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out x\n", "err\n"));
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    assert_eq!(status.details.unwrap().causes.unwrap()[0].message.as_deref(), Some("7"));
}

#[tokio::test]
async fn a_log_is_followed_to_its_end() {
    let server = server().await;
    let pods = create_pod(&server, &pod("talk", shell("for i in 1 2 3; do echo $i; sleep 0.1; done"))).await;
    phase(&server, "talk", "Running").await;
    let params = LogParams { follow: true, ..LogParams::default() };
    let mut log = pods.log_stream("talk", &params).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(Duration::from_secs(20), futures::AsyncReadExt::read_to_string(&mut log, &mut text))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text, "1\n2\n3\n");
}

#[tokio::test]
async fn a_pod_ends_in_many_ways() {
    let server = server().await;
    // Over its deadline.
    let mut late = pod("late", shell("sleep 60"));
    late.spec.as_mut().unwrap().active_deadline_seconds = Some(1);
    let pods = create_pod(&server, &late).await;
    // Deleted: it is told, and has its grace.
    let polite = shell("trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.05; done");
    create_pod(&server, &pod("polite", polite)).await;
    phase(&server, "polite", "Running").await;
    // The trap must be set.
    while !pods.logs("polite", &LogParams::default()).await.unwrap().contains("ready") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut log = pods.log_stream("polite", &LogParams { follow: true, ..LogParams::default() }).await.unwrap();
    pods.delete("polite", &DeleteParams::default()).await.unwrap();
    let mut text = String::new();
    futures::AsyncReadExt::read_to_string(&mut log, &mut text).await.unwrap();
    assert_eq!(text, "ready\nbye\n");
    server.until("it is gone", |state| state.object("pods", "default", "polite").is_none()).await;
    // Ended by its node.
    create_pod(&server, &pod("evicted", shell("sleep 60"))).await;
    phase(&server, "evicted", "Running").await;
    server.evict("default", "evicted", "The node was low on resource: ephemeral-storage.");
    let evicted = phase(&server, "evicted", "Failed").await;
    assert_eq!(evicted["status"]["reason"], "Evicted");
    // Evicted through the API, unless a budget forbids it.
    create_pod(&server, &pod("moved", shell("sleep 60"))).await;
    phase(&server, "moved", "Running").await;
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "keep"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "moved"}}}});
    server.make("default", budget);
    let label = Patch::Merge(json!({"metadata": {"labels": {"app": "moved"}}}));
    pods.patch("moved", &PatchParams::default(), &label).await.unwrap();
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "moved"}}).to_string();
    let path = "POST /api/v1/namespaces/default/pods/moved/eviction";
    let (status, answer) = raw(&server, path, "Content-Type: application/json\r\n", &eviction).await;
    assert_eq!(status, 429, "{answer}");
    pods.patch("moved", &PatchParams::default(), &Patch::Merge(json!({"metadata": {"labels": null}}))).await.unwrap();
    pods.evict("moved", &EvictParams::default()).await.unwrap();
    server.until("it is gone", |state| state.object("pods", "default", "moved").is_none()).await;
    let late = phase(&server, "late", "Failed").await;
    assert_eq!(late["status"]["reason"], "DeadlineExceeded");
    server.until("no process is left", |state| state.pods.running() == 0).await;
}

#[tokio::test]
async fn a_failing_container_is_restarted_if_its_policy_says_so() {
    let server = server().await;
    let mut again = pod("crash", shell("echo try; exit 1"));
    again.spec.as_mut().unwrap().restart_policy = Some("OnFailure".into());
    create_pod(&server, &again).await;
    server
        .until("it was restarted", |state| {
            state
                .object("pods", "default", "crash")
                .is_some_and(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0))
        })
        .await;
}

#[tokio::test]
async fn the_pods_own_client_has_the_rights_of_its_account() {
    let server = server().await;
    let pods = create_pod(&server, &pod("inside", shell("cat $KUBECONFIG"))).await;
    phase(&server, "inside", "Succeeded").await;
    let config: Value = serde_json::from_str(&pods.logs("inside", &LogParams::default()).await.unwrap()).unwrap();
    assert_eq!(config["clusters"][0]["cluster"]["server"], server.url());
    let inside = crate::kube::client_with(&server, config["users"][0]["user"]["token"].as_str().unwrap());
    let theirs: Api<Pod> = Api::default_namespaced(inside);
    assert_eq!(code(theirs.get("inside").await), 403);
}
