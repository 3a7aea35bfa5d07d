//! Attaching to containers and following their logs, by a real API server. One try each: whoever holds a stream has to be ready for its end at any time, and
//! begins anew the same way.

use std::pin::Pin;

use async_trait::async_trait;
use futures::FutureExt as _;
use http::{Request, header};
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, AttachedProcess};
use kube::client::Body;
use tokio::io::AsyncWriteExt as _;

use super::quiet::of_client;
use super::{ANSWER_BYTES_MAX, Api, first_line};
use crate::cluster::ClusterError;
use crate::cluster::streams::{Input, Lines, Streams};

/// Longest line that is kept of a log; the rest of a longer one is skipped.
const LINE_BYTES_MAX: usize = 64 << 10;

fn query_of(container: &str, since: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("container", container).append_pair("follow", "true").append_pair("timestamps", "true");
    if let Some(since) = since {
        query.append_pair("sinceTime", since);
    }
    query.finish()
}

impl Api {
    pub(super) fn failed(&self, request: &str, error: kube::Error) -> ClusterError {
        use kube::client::UpgradeConnectionError as Upgrade;
        match error {
            kube::Error::Api(status) => {
                let message = status.message.clone();
                ClusterError::Refused { request: request.to_owned(), status: status.code, message }
            }
            // An answer of another kind than the stream that was asked for.
            kube::Error::UpgradeConnection(Upgrade::ProtocolSwitch(status)) => {
                let message = "the API server does not let it begin".to_owned();
                ClusterError::Refused { request: request.to_owned(), status: status.as_u16(), message }
            }
            error => ClusterError::Unreachable { server: self.server.clone(), source: of_client(error.into()) },
        }
    }

    fn silent(&self, request: &str) -> ClusterError {
        let (server, request) = (self.server.clone(), request.to_owned());
        ClusterError::Silent { server, request, limit: self.limits.answer }
    }

    async fn open_log(&self, path: &str, request: &str) -> Result<Body, ClusterError> {
        self.session.asked(|client| self.open_log_as(client, path, request), |error| error).await
    }

    async fn open_log_as(&self, client: kube::Client, path: &str, request: &str) -> Result<Body, ClusterError> {
        let unreachable = |source| ClusterError::Unreachable { server: self.server.clone(), source };
        let built = Request::builder().uri(path).header(header::ACCEPT, "*/*").body(Body::empty());
        let built = built.map_err(|error| unreachable(error.into()))?;
        let response = client.send(built).await.map_err(|error| self.failed(request, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(unreachable)?.to_bytes();
        let told = serde_json::from_slice::<super::Status>(&body).map(|status| status.message);
        let message = told.unwrap_or_else(|_| first_line(&body));
        Err(ClusterError::Refused { request: request.to_owned(), status: status.as_u16(), message })
    }
}

#[async_trait]
impl Streams for Api {
    async fn attach(&self, namespace: &str, pod: &str, container: &str) -> Result<Box<dyn Input>, ClusterError> {
        let request = format!("GET /api/v1/namespaces/{namespace}/pods/{pod}/attach");
        let pods: kube::Api<Pod> = kube::Api::namespaced(self.session.client().1, namespace);
        let params =
            AttachParams { stdin: true, stdout: false, stderr: false, ..AttachParams::default() }.container(container);
        let attached = tokio::time::timeout(self.limits.answer, pods.attach(pod, &params)).await;
        let mut process = attached.map_err(|_| self.silent(&request))?.map_err(|error| self.failed(&request, error))?;
        let ended: Pin<Box<dyn Future<Output = ()> + Send>> = match process.take_status() {
            Some(status) => Box::pin(status.map(drop)),
            None => Box::pin(std::future::ready(())),
        };
        let input: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>> =
            process.stdin().map(|input| Box::new(input) as Box<_>);
        let Some(input) = input else {
            return Err(ClusterError::Answer { request, what: "there is no standard input".into() });
        };
        Ok(Box::new(Attached { _process: process, input, ended: ended.shared(), server: self.server.clone() }))
    }

    async fn follow(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        since: Option<&str>,
    ) -> Result<Box<dyn Lines>, ClusterError> {
        let address = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log");
        let request = format!("GET {address}");
        let path = format!("{address}?{}", query_of(container, since));
        let opened = tokio::time::timeout(self.limits.answer, self.open_log(&path, &request)).await;
        let body = opened.map_err(|_| self.silent(&request))??;
        Ok(Box::new(Log { body, server: self.server.clone(), buffer: Vec::new(), skipping: false, over: false }))
    }
}

struct Attached {
    /// Its connection ends with it.
    _process: AttachedProcess,
    input: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    ended: futures::future::Shared<Pin<Box<dyn Future<Output = ()> + Send>>>,
    server: String,
}

#[async_trait]
impl Input for Attached {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), ClusterError> {
        let sent = async {
            self.input.write_all(bytes).await?;
            self.input.flush().await
        };
        sent.await.map_err(|error| ClusterError::Unreachable { server: self.server.clone(), source: error.into() })
    }

    async fn closed(&mut self) {
        self.ended.clone().await;
    }
}

struct Log {
    body: Body,
    server: String,
    /// What came and is not given yet.
    buffer: Vec<u8>,
    /// The line that comes is the rest of one that is too long.
    skipping: bool,
    over: bool,
}

impl Log {
    /// The next whole line in the buffer; at the end also what is left.
    fn take(&mut self) -> Option<String> {
        loop {
            let end = self.buffer.iter().position(|byte| *byte == b'\n');
            let long = end.unwrap_or(self.buffer.len()) > LINE_BYTES_MAX;
            let (length, rest) = match end {
                Some(end) => (end, end + 1),
                None if long || (self.over && !self.buffer.is_empty()) => (self.buffer.len(), self.buffer.len()),
                None => return None,
            };
            let line: Vec<u8> = self.buffer.drain(..rest).take(length.min(LINE_BYTES_MAX)).collect();
            let skipped = std::mem::replace(&mut self.skipping, end.is_none() && long);
            if !skipped {
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
}

#[async_trait]
impl Lines for Log {
    async fn next(&mut self) -> Result<Option<String>, ClusterError> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.over {
                return Ok(None);
            }
            match self.body.frame().await {
                None => self.over = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(ClusterError::Unreachable { server: self.server.clone(), source: error.into() });
                }
            }
        }
    }
}
