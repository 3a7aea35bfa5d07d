//! Exec and attach over WebSocket, in the protocols `v5.channel.k8s.io` and `v4.channel.k8s.io`.
//!
//! The first byte of a message is its channel: 0 standard input, 1 and 2 output, 3 the outcome, 4 size of the terminal, and in v5 255 to
//! close one. SPDY, which clients before 1.31 use, is not spoken.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::SplitSink;
use futures::{SinkExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::support::kube::http::header;
use crate::support::kube::logs;
use crate::support::kube::node::mounts;
use crate::support::kube::node::process::Container;
use crate::support::kube::reply::{Reply, full};
use crate::support::kube::request::{Path, Query};
use crate::support::kube::server::Shared;
use crate::support::kube::state::text;
use crate::support::kube::status::{About, Result, Status};

const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
const PODS: About<'static> = About { resource: "pods", group: "" };

type Socket = WebSocketStream<TokioIo<Upgraded>>;

struct Session {
    process: Arc<Container>,
    output: broadcast::Receiver<(u8, Bytes)>,
    attach: bool,
    /// Wanted channels.
    stdin: bool,
    stdout: bool,
    stderr: bool,
    v5: bool,
}

pub(crate) fn upgrade(
    shared: &Arc<Shared>,
    mut request: Request<Incoming>,
    path: &Path,
    query: &Query,
) -> Result<Reply> {
    if request.method() != Method::GET && request.method() != Method::POST {
        return Err(Status::method_not_allowed());
    }
    let (namespace, name) = (path.namespace.clone(), path.name.clone());
    let pod =
        shared.with(|state| state.object("pods", &namespace, &name)).ok_or_else(|| Status::not_found(PODS, &name))?;
    let container = logs::choose(&pod, query.get("container"))?;
    if !header(request.headers(), &UPGRADE).eq_ignore_ascii_case("websocket") {
        return Err(Status::bad_request("Upgrade request required"));
    }
    if path.subresource == "portforward" {
        return Err(Status::new(501, "NotImplemented", "this test server forwards no ports"));
    }
    let offered =
        request.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let offered: Vec<&str> = offered.split(',').map(str::trim).collect();
    let protocol = *PROTOCOLS
        .iter()
        .find(|protocol| offered.contains(protocol))
        .ok_or_else(|| Status::bad_request(format!("unable to negotiate protocol: client supports {offered:?}")))?;
    if text(&pod["spec"]["nodeName"]).is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let node = text(&pod["spec"]["nodeName"]).to_owned();
    if shared.with(|state| state.faults.is_off(&node)) {
        let text = "error dialing backend: dial tcp 192.0.2.10:10250: connect: no route to host";
        return Err(Status::new(500, "InternalError", text));
    }
    let phase = text(&pod["status"]["phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        let what = &path.subresource;
        let text = format!("cannot {what} into a container in a completed pod; current phase is {phase}");
        return Err(Status::new(500, "InternalError", text));
    }
    let running =
        shared.with(|state| logs::process(state, &pod, &container)).filter(|process| process.exit().is_none());
    let Some(main) = running else {
        return Err(Status::new(500, "InternalError", format!("container not found (\"{container}\")")));
    };
    let attach = path.subresource == "attach";
    let wants_stdin = query.is("stdin");
    let started = if attach { Ok(main) } else { execute(shared, &pod, &container, query, wants_stdin)? };
    let session = started.map(|process| Session {
        output: process.listen(!attach),
        process,
        attach,
        stdin: wants_stdin,
        stdout: query.is("stdout"),
        stderr: query.is("stderr"),
        v5: protocol == PROTOCOLS[0],
    });
    let key = request.headers().get("sec-websocket-key").map(|key| derive_accept_key(key.as_bytes()));
    let key = key.ok_or_else(|| Status::bad_request("no Sec-WebSocket-Key"))?;
    let upgraded = hyper::upgrade::on(&mut request);
    let mut restarts = shared.restarts.subscribe();
    restarts.mark_unchanged();
    let mut kubelet = shared.kubelets.subscribe();
    kubelet.mark_unchanged();
    let is_off = {
        let shared = Arc::clone(shared);
        move || shared.with(|state| state.faults.is_off(&node))
    };
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let session = match session {
            Ok(session) => session,
            Err(outcome) => return end(&mut socket.split().0, &outcome).await,
        };
        let process = Arc::clone(&session.process);
        let once = session.attach && session.stdin && process.stdin_once;
        tokio::select! {
            () = session.run(socket, is_off, kubelet) => {}
            _ = restarts.changed() => {}
        }
        if once {
            // Whoever was attached first is gone: the process reads the end, and nobody can attach an input again.
            process.close_stdin();
        }
    });
    let response = Response::builder()
        .status(101)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-accept", key)
        .header("sec-websocket-protocol", protocol)
        .body(full(""));
    Ok(Reply::Raw(response.expect("a response")))
}

/// Starts a process beside the container's own. One that cannot be started is told when the streams are open already, as by Kubernetes 1.20 with containerd and runc.
fn execute(
    shared: &Shared,
    pod: &Value,
    container: &str,
    query: &Query,
    stdin: bool,
) -> Result<std::result::Result<Arc<Container>, Value>> {
    let argv = query.all("command");
    if argv.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let started = shared.with(|state| {
        let mut specs = pod["spec"]["containers"].as_array().into_iter().flatten();
        let spec = specs.find(|spec| spec["name"] == container).cloned().unwrap_or_default();
        let folders = mounts::volumes(state, &shared.node, pod).unwrap_or_default();
        let mut program = mounts::program(state, &shared.node, pod, &spec, &folders, Some(&argv));
        program.stdin = stdin;
        program.is_beside = true;
        Container::start(&program)
    });
    Ok(started.map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound if argv[0].contains('/') => {
                format!("stat {}: no such file or directory", argv[0])
            }
            std::io::ErrorKind::NotFound => "executable file not found in $PATH".to_owned(),
            _ => error.to_string(),
        };
        let text = format!(
            "Internal error occurred: error executing command in container: failed to exec in container: failed to start exec \"0d6b\": OCI runtime exec failed: exec failed: unable to start container process: exec: \"{}\": {why}: unknown",
            argv[0]
        );
        json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": text, "details": {"causes": [{"message": text}]},
        })
    }))
}

type Sink = SplitSink<Socket, Message>;

async fn send(sink: &mut Sink, channel: u8, bytes: &[u8]) -> bool {
    let mut message = vec![channel];
    message.extend_from_slice(bytes);
    sink.send(Message::Binary(message.into())).await.is_ok()
}

/// Says how it ended.
async fn end(sink: &mut Sink, outcome: &Value) {
    send(sink, 3, outcome.to_string().as_bytes()).await;
    // kubectl takes a close without a code for a broken connection.
    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sink.send(Message::Close(Some(normal))).await;
}

impl Session {
    async fn run(mut self, socket: Socket, is_off: impl Fn() -> bool, mut kubelet: watch::Receiver<u64>) {
        let (mut sink, mut stream) = socket.split();
        let mut input = if self.stdin { self.process.stdin() } else { None };
        // Empty messages tell the client which channels there are.
        for channel in [1, 2, 3] {
            if !send(&mut sink, channel, &[]).await {
                return;
            }
        }
        let process = Arc::clone(&self.process);
        let mut ended = std::pin::pin!(process.wait());
        loop {
            tokio::select! {
                biased;
                piece = self.output.recv() => match piece {
                    Ok((channel, bytes)) => {
                        let wanted = if channel == 1 { self.stdout } else { self.stderr };
                        if wanted && !send(&mut sink, channel, &bytes).await {
                            return;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                message = stream.next() => match message {
                    Some(Ok(Message::Binary(bytes))) => {
                        let closes = self.v5 && bytes.first() == Some(&255) && bytes.get(1) == Some(&0);
                        if closes {
                            // As long as this is there the process waits for more.
                            input = None;
                            self.input_ends();
                        } else if let (Some(0), Some(input)) = (bytes.first(), &input) {
                            // A process that no longer reads is not the client's fault.
                            let _ = input.send(bytes.slice(1..)).await;
                        }
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => {}
                },
                _ = kubelet.changed() => {
                    // In v5 the API server speaks to the kubelet itself, and takes the end of that for a good one (kubernetes/kubectl#1726). In v4 it hands bytes on.
                    if self.v5 {
                        end(&mut sink, &outcome(true, 0)).await;
                    }
                    return;
                }
                exit = &mut ended => {
                    if is_off() {
                        // Nobody is there who would end the connection.
                        return std::future::pending().await;
                    }
                    while let Ok((channel, bytes)) = self.output.try_recv() {
                        let wanted = if channel == 1 { self.stdout } else { self.stderr };
                        if wanted {
                            send(&mut sink, channel, &bytes).await;
                        }
                    }
                    return end(&mut sink, &outcome(self.attach, exit.code)).await;
                }
            }
        }
    }

    /// The client has no more to say. A container that may be attached to again does not hear of it.
    fn input_ends(&self) {
        if !self.attach || self.process.stdin_once {
            self.process.close_stdin();
        }
    }
}

fn outcome(attach: bool, code: i32) -> Value {
    if attach || code == 0 {
        return json!({"metadata": {}, "status": "Success"});
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}
