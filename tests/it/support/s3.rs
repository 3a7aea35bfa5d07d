//! An S3 server within the process: `s3s-fs` on loopback, with a filter before it that can be B2, keep versions and locks, and fail.
//!
//! The filter hands every request that it does not answer itself to the inner server, signature and all. It must be no kinder than
//! the real thing: in B2 mode it refuses checksum headers, conditional PUT and questions about buckets, and a plain DELETE
//! only hides. What it answers itself (versions, locks) it checks for the access key only, not for the signature.
//!
//! The inner server's own limits: `If-None-Match` holds in sequence but not in a race; it accepts lock headers and protects nothing.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use homelab_dr::store::s3::StaticCredentials;
use homelab_dr::store::url::StoreUrl;
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpError};
use tokio::net::TcpListener;

use crate::support::s3_versions::Versions;

const BUCKET: &str = "box";
/// The access key of every server …
pub(crate) const KEY_ID: &str = "AKIATEST";
/// … and its secret.
pub(crate) const SECRET: &str = "test-secret";
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the filter adds to the inner server.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Rules {
    /// B2's refusals.
    pub(crate) b2: bool,
    /// Versions and delete markers.
    pub(crate) versions: bool,
    /// Object lock, enforced.
    pub(crate) locks: bool,
    /// Conditional PUT is answered with 501.
    pub(crate) unconditional: bool,
}

impl Rules {
    pub(crate) const PLAIN: Self = Self { b2: false, versions: false, locks: false, unconditional: false };
    pub(crate) const B2: Self = Self { b2: true, versions: true, locks: true, unconditional: true };
    pub(crate) const UNCONDITIONAL: Self = Self { b2: false, versions: false, locks: false, unconditional: true };
    pub(crate) const VERSIONED: Self = Self { b2: false, versions: true, locks: false, unconditional: false };
    pub(crate) const LOCKING: Self = Self { b2: false, versions: true, locks: true, unconditional: false };
}

/// One failure on demand; the next request (of that kind) meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The next request is answered with this status and code, and not done.
    Refuse(u16, &'static str),
    /// The next DELETE is.
    RefuseDelete(u16, &'static str),
    /// The next PUT is done and answered with 503.
    LoseAnswer,
    /// The next PUT keeps only half of the bytes and is answered with success.
    KeepHalf,
    /// The next GET breaks off in the middle of the body.
    BreakOff,
}

/// Both.
pub(crate) fn credentials() -> StaticCredentials {
    StaticCredentials { key_id: KEY_ID.into(), secret: SECRET.to_owned().into(), session_token: None }
}

pub(crate) struct S3Server {
    endpoint: String,
    filter: Arc<Filter>,
    task: tokio::task::JoinHandle<()>,
}

impl S3Server {
    pub(crate) async fn start(rules: Rules) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join(BUCKET)).expect("the bucket");
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).expect("a file system"));
        builder.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let versions = tokio::sync::Mutex::new(Versions::new(dir.path().join(BUCKET), rules));
        let (troubles, seen, slow_ms) = Default::default();
        let (hangs, hung) = Default::default();
        let filter =
            Arc::new(Filter { inner: builder.build(), rules, dir, versions, troubles, seen, slow_ms, hangs, hung });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let task = tokio::spawn(serve(listener, Arc::clone(&filter)));
        Self { endpoint, filter, task }
    }

    /// The bucket (`below` a prefix) with credentials; the scheme follows from the rules.
    pub(crate) fn url(&self, below: &str) -> StoreUrl {
        self.url_of(BUCKET, below, SECRET)
    }

    pub(crate) fn url_of(&self, bucket: &str, below: &str, secret: &str) -> StoreUrl {
        let text = self.address_of(bucket, below);
        let credentials = StaticCredentials { secret: secret.to_owned().into(), ..credentials() };
        StoreUrl::parse(&text).expect("an address").with_credentials(credentials)
    }

    /// The address of [`S3Server::url`], for another process; it needs [`credentials`].
    pub(crate) fn address(&self, below: &str) -> String {
        self.address_of(BUCKET, below)
    }

    fn address_of(&self, bucket: &str, below: &str) -> String {
        let scheme = if self.filter.rules.b2 { "b2" } else { "s3" };
        format!("{scheme}://{bucket}/{below}?endpoint={}&region=test-1", self.endpoint)
    }

    /// Where the inner server keeps the visible objects.
    pub(crate) fn bucket_dir(&self) -> PathBuf {
        self.filter.dir.path().join(BUCKET)
    }

    pub(crate) fn make(&self, trouble: Trouble) {
        lock(&self.filter.troubles).push_back(trouble);
    }

    /// The next DELETE is refused, whatever else is asked before.
    pub(crate) fn make_delete_refused(&self, status: u16, code: &'static str) {
        self.make(Trouble::RefuseDelete(status, code));
    }

    /// From now on, what changes something is done at once and answered so much later.
    pub(crate) fn answers_changes_after(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).expect("not for ever");
        self.filter.slow_ms.store(ms, Ordering::Relaxed);
    }

    /// From now on nobody who reads this object gets an answer; nobody is kept waiting if it is empty.
    pub(crate) fn hang_reads_of(&self, key: &str) {
        key.clone_into(&mut lock(&self.filter.hangs));
    }

    /// How many reads have been kept waiting so far.
    pub(crate) fn hung(&self) -> u64 {
        self.filter.hung.load(Ordering::Relaxed)
    }

    /// Method, path with query, and header names of every request so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        lock(&self.filter.seen).clone()
    }

    /// What a foreign client's plain DELETE leaves behind.
    pub(crate) async fn hide(&self, key: &str) {
        self.filter.versions.lock().await.hide(key);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, filter: Arc<Filter>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Else an answer in two parts waits for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let filter = Arc::clone(&filter);
        let service = hyper::service::service_fn(move |request| {
            let filter = Arc::clone(&filter);
            async move { filter.handle(request).await }
        });
        // A client that goes away ends its connection with an error that is nobody's.
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct Filter {
    inner: S3Service,
    rules: Rules,
    dir: tempfile::TempDir,
    versions: tokio::sync::Mutex<Versions>,
    troubles: Mutex<VecDeque<Trouble>>,
    seen: Mutex<Vec<String>>,
    slow_ms: AtomicU64,
    /// The end of the path of what nobody gets to read, and how many have tried.
    hangs: Mutex<String>,
    hung: AtomicU64,
}

impl Filter {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let hangs = || {
            let key = lock(&self.hangs);
            *request.method() == Method::GET && !key.is_empty() && request.uri().path().ends_with(key.as_str())
        };
        if hangs() {
            self.hung.fetch_add(1, Ordering::Relaxed);
            while hangs() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let answer = self.answer(request).await;
        let slow_ms = self.slow_ms.load(Ordering::Relaxed);
        if changes && slow_ms > 0 {
            tokio::time::sleep(Duration::from_millis(slow_ms)).await;
        }
        answer
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
        let (parts, body) = request.into_parts();
        // Read whole in any case: an answer before the end of the body would look like a broken connection.
        let Ok(body) = Body::from(body).store_all_limited(BODY_BYTES_MAX).await else {
            return Ok(refuse(400, "IncompleteBody"));
        };
        let names: Vec<&str> = parts.headers.keys().map(hyper::header::HeaderName::as_str).collect();
        lock(&self.seen).push(format!("{} {} {}", parts.method, parts.uri, names.join(",")));
        let put = parts.method == Method::PUT;
        if let Some(Trouble::Refuse(status, code)) = self.trouble(|t| matches!(t, Trouble::Refuse(..))) {
            return Ok(refuse(status, code));
        }
        if parts.method == Method::DELETE
            && let Some(Trouble::RefuseDelete(status, code)) = self.trouble(|t| matches!(t, Trouble::RefuseDelete(..)))
        {
            return Ok(refuse(status, code));
        }
        if put && self.rules.unconditional && parts.headers.contains_key("if-none-match") {
            return Ok(refuse(501, "NotImplemented"));
        }
        if let Some(refused) = self.b2_refuses(&parts) {
            return Ok(refused);
        }
        let path = parts.uri.path().to_owned();
        let get = parts.method == Method::GET;
        let mut response = if self.rules.versions {
            let mut versions = self.versions.lock().await;
            if let Some(answer) = versions.answer(&parts, &body) {
                answer
            } else {
                let answer = self.forward(parts.clone(), body.clone()).await?;
                if put && answer.status().is_success() {
                    versions.stored(&parts, body);
                }
                answer
            }
        } else {
            self.forward(parts, body).await?
        };
        if put && self.trouble(|t| t == Trouble::LoseAnswer).is_some() {
            return Ok(refuse(503, "ServiceUnavailable"));
        }
        if put && self.trouble(|t| t == Trouble::KeepHalf).is_some() {
            let file = std::fs::File::options().write(true).open(self.dir.path().join(path.trim_start_matches('/')));
            let file = file.expect("the object");
            let half = file.metadata().expect("metadata").len() / 2;
            file.set_len(half).expect("cut");
        } else if get && self.trouble(|t| t == Trouble::BreakOff).is_some() {
            let mut body = std::mem::take(response.body_mut());
            let bytes = body.store_all_limited(BODY_BYTES_MAX).await.expect("a body");
            *response.body_mut() = Body::http_body(Half(Some(bytes.slice(..bytes.len() / 2))));
        }
        Ok(response)
    }

    async fn forward(&self, parts: Parts, body: Bytes) -> Result<Response<Body>, HttpError> {
        self.inner.call(Request::from_parts(parts, Body::from(body))).await
    }

    fn trouble(&self, is: impl Fn(Trouble) -> bool) -> Option<Trouble> {
        let mut troubles = lock(&self.troubles);
        if is(*troubles.front()?) { troubles.pop_front() } else { None }
    }

    fn b2_refuses(&self, parts: &Parts) -> Option<Response<Body>> {
        if !self.rules.b2 {
            return None;
        }
        let has = |start: &str| parts.headers.keys().any(|name| name.as_str().starts_with(start));
        if has("x-amz-checksum-") || has("x-amz-sdk-checksum-") || has("x-amz-trailer") {
            return Some(refuse(400, "InvalidArgument"));
        }
        let names_object = parts.uri.path().trim_matches('/').contains('/');
        let lists_buckets = parts.uri.path() == "/";
        let asks =
            parts.uri.query().is_some_and(|query| query.starts_with("versioning") || query.starts_with("location"));
        if (parts.method == Method::HEAD && !names_object) || lists_buckets || asks {
            return Some(refuse(403, "AccessDenied"));
        }
        None
    }
}

/// Whether the request names our access key; the signature is not looked at.
pub(crate) fn is_ours(parts: &Parts) -> bool {
    let header = parts.headers.get("authorization").and_then(|value| value.to_str().ok());
    header.is_some_and(|value| value.contains(&format!("Credential={KEY_ID}/")))
}

/// An error in S3's words; HEAD's caller never sees the body.
pub(crate) fn refuse(status: u16, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the filter</Message></Error>");
    xml(status, text)
}

pub(crate) fn xml(status: u16, text: String) -> Response<Body> {
    let length = text.len();
    let response = Response::builder().status(status).header("content-type", "application/xml");
    response.header(CONTENT_LENGTH, length).body(Body::from(text)).expect("a response")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that ends with a broken connection.
struct Half(Option<Bytes>);

impl hyper::body::Body for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(Some(match self.0.take() {
            Some(bytes) => Ok(Frame::data(bytes)),
            None => Err(std::io::ErrorKind::ConnectionReset.into()),
        }))
    }
}
