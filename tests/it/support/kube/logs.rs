//! A container's log: what its process has written, from the beginning or the end, and onward if asked.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc::Sender;

use crate::support::kube::http::Asked;
use crate::support::kube::node::process::{Container, Line};
use crate::support::kube::reply::{Reply, full};
use crate::support::kube::state::{State, parse_time, text};
use crate::support::kube::status::{About, Result, Status};

const PODS: About<'static> = About { resource: "pods", group: "" };

/// The container a request names, or the pod's only one.
pub(crate) fn choose(pod: &Value, asked: &str) -> Result<String> {
    let name = text(&pod["metadata"]["name"]);
    let all = |list: &str| -> Vec<String> {
        pod["spec"][list]
            .as_array()
            .into_iter()
            .flatten()
            .map(|container| text(&container["name"]).to_owned())
            .collect()
    };
    let (containers, inits) = (all("containers"), all("initContainers"));
    if asked.is_empty() {
        let default = pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
        return match (default, containers.as_slice()) {
            (Some(default), _) => Ok(default.to_owned()),
            (None, [only]) => Ok(only.clone()),
            _ => Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                containers.join(" ")
            ))),
        };
    }
    if containers.iter().chain(&inits).any(|container| container == asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
}

/// The process of a container; None while there is none.
pub(crate) fn process(state: &State, pod: &Value, container: &str) -> Option<Arc<Container>> {
    state.pods.get(text(&pod["metadata"]["uid"]))?.container(container)
}

pub(crate) fn answer(asked: &Asked) -> Result<Reply> {
    let query = &asked.query;
    let (process, evicted, scheduled, container) = asked.shared.with(|state| {
        let (namespace, name) = (&asked.path.namespace, &asked.path.name);
        let pod = state.object("pods", namespace, name).ok_or_else(|| Status::not_found(PODS, name))?;
        let container = choose(&pod, query.get("container"))?;
        let scheduled = !text(&pod["spec"]["nodeName"]).is_empty();
        let run = state.pods.get(text(&pod["metadata"]["uid"]));
        let evicted = run.is_some_and(|run| run.eviction().is_some());
        Ok::<_, Status>((process(state, &pod, &container), evicted, scheduled, container))
    })?;
    if !scheduled {
        // Nobody has a log of it: nothing, and not an error.
        let nothing = hyper::Response::builder().status(204).body(full("")).expect("a response");
        return Ok(Reply::Raw(nothing));
    }
    let Some(process) = process else {
        let name = &asked.path.name;
        let text = format!("container \"{container}\" in pod \"{name}\" is waiting to start: ContainerCreating");
        return Err(Status::bad_request(text));
    };
    let node = asked.shared.with(|state| {
        let pod = state.object("pods", &asked.path.namespace, &asked.path.name);
        pod.map(|pod| text(&pod["spec"]["nodeName"]).to_owned()).unwrap_or_default()
    });
    if asked.shared.with(|state| state.faults.is_off(&node)) {
        let (namespace, name) = (&asked.path.namespace, &asked.path.name);
        let what = format!("containerLogs/{namespace}/{name}/{container}");
        let text =
            format!("Get \"https://192.0.2.10:10250/{what}\": dial tcp 192.0.2.10:10250: connect: no route to host");
        return Err(Status::new(500, "InternalError", text));
    }
    if evicted && process.exit().is_some() {
        // Of an evicted pod the kubelet removes containers and logs at once, and says so in the log's place.
        let text = "unable to retrieve container logs for containerd://0";
        let response = hyper::Response::builder().header("content-type", "text/plain").body(full(text));
        return Ok(Reply::Raw(response.expect("a response")));
    }
    let lines = process.lines();
    let since = chrono::Utc::now()
        - chrono::Duration::seconds(query.get("sinceSeconds").parse().unwrap_or(i64::from(i32::MAX)));
    let since = parse_time(&query.get("sinceTime").into()).unwrap_or(since);
    let first = lines.iter().position(|line| line.at >= since).unwrap_or(lines.len());
    let tail: usize = query.get("tailLines").parse().unwrap_or(usize::MAX);
    let first = first.max(lines.len().saturating_sub(tail));
    let stamps = query.is("timestamps");
    if !query.is("follow") {
        let mut bytes: Vec<u8> = lines[first..].iter().flat_map(|line| shown(line, stamps)).collect();
        if let Ok(limit) = query.get("limitBytes").parse() {
            bytes.truncate(limit);
        }
        let response = hyper::Response::builder().header("content-type", "text/plain").body(full(bytes));
        return Ok(Reply::Raw(response.expect("a response")));
    }
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let shared = Arc::clone(&asked.shared);
    let is_off = move || shared.with(|state| state.faults.is_off(&node));
    tokio::spawn(async move {
        follow(process, first, stamps, &sender).await;
        // Of a node without power not even the end arrives.
        if is_off() {
            sender.closed().await;
        }
    });
    Ok(Reply::Stream("text/plain", receiver))
}

fn shown(line: &Line, stamps: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if stamps {
        bytes.extend_from_slice(line.at.format("%Y-%m-%dT%H:%M:%S%.9fZ ").to_string().as_bytes());
    }
    bytes.extend_from_slice(&line.bytes);
    bytes
}

/// Whole lines as they come, until the process has ended and all is told.
async fn follow(process: Arc<Container>, mut next: usize, stamps: bool, out: &Sender<Bytes>) {
    let mut logged = process.logged.subscribe();
    loop {
        let ended = process.exit().is_some();
        let lines = process.lines();
        while let Some(line) = lines.get(next).filter(|line| ended || line.bytes.ends_with(b"\n")) {
            if out.send(Bytes::from(shown(line, stamps))).await.is_err() {
                return;
            }
            next += 1;
        }
        if ended {
            return;
        }
        tokio::select! {
            _ = logged.changed() => {}
            _ = process.wait() => {}
            () = out.closed() => return,
        }
    }
}
