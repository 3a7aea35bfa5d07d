//! A real cluster, by its API server.

mod discovery;
mod exec;
pub mod objects;
mod quiet;
mod session;
mod streams;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::session::Session;
use super::{Cluster, ClusterError, Created, Deleted, How, Kind, Kinds, Page, Which};

/// How long an API server is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest wait for one answer.
    pub answer: Duration,
    /// Longest time that a request is tried again in all, while the server is away, busy or in trouble.
    pub tries: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { answer: ANSWER_TIME, tries: TRIES_TIME }
    }
}

/// Longest wait for one answer. A dead webhook or aggregated API keeps the API server waiting for up to 30 seconds before it says so itself.
const ANSWER_TIME: Duration = Duration::from_mins(1);
/// Longest time that a request is tried again in all.
const TRIES_TIME: Duration = Duration::from_secs(30);
/// The first wait before another try; each is twice as long as the one before.
const WAIT_FIRST: Duration = Duration::from_millis(250);
/// Longest wait between tries, also if the server asks for a longer one.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Objects that are asked for at once. One has 1.5 MiB at most, and a few KiB as a rule.
const PAGE_OBJECTS: u32 = 200;
/// A page that is longer is asked for anew with half of the objects, and what was read of it is dropped: what a page costs is this, not what its objects happen
/// to weigh. Some hundred times an ordinary object, and more than the largest one.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// A page that is shorter than this asks for twice the objects the next time, up to [`PAGE_OBJECTS`].
const PAGE_BYTES_SMALL: usize = 1 << 20;
/// Largest answer that is taken: one object, or the list of a server that knows no pages.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of pages that are held at once, by all lists together: a few ordinary ones, or one that is as long as can be.
const PAGES_BYTES_MAX: usize = ANSWER_BYTES_MAX;

/// The API server of a cluster, and the right to talk to it.
pub struct Api {
    session: Session,
    server: String,
    limits: Limits,
    /// One permit for each KiB of [`PAGES_BYTES_MAX`].
    pages: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
    /// Some servers of aggregated APIs say `null` for none.
    items: Option<Vec<Value>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ListMetadata {
    r#continue: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

#[derive(Deserialize)]
struct Status {
    message: String,
}

/// A request.
struct Asked {
    method: Method,
    /// With its query.
    path: String,
    /// Media type and body.
    content: Option<(&'static str, Bytes)>,
}

/// Why a try failed, and how long the server asks to wait before the next.
type Failed = (ClusterError, Option<Duration>);

impl Asked {
    fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), content: None }
    }

    /// For messages: method and path.
    fn name(&self) -> String {
        format!("{} {}", self.method, self.path.split('?').next().unwrap_or(&self.path))
    }
}

fn parse<T: DeserializeOwned>(asked: &Asked, answer: &[u8]) -> Result<T, ClusterError> {
    serde_json::from_slice(answer)
        .map_err(|error| ClusterError::Answer { request: asked.name(), what: error.to_string() })
}

/// How long it is still tried.
struct Patience {
    begun: tokio::time::Instant,
    wait: Duration,
    tries: Duration,
}

impl Patience {
    /// Waits before the next try, or gives up: when the time is over, or another try would be of no use.
    async fn wait(&mut self, failed: Failed) -> Result<(), ClusterError> {
        let may_pass = failed.0.may_pass();
        self.wait_if(may_pass, failed).await
    }

    /// The same where somebody else's changes are no reason to give up.
    async fn wait_for_others(&mut self, failed: Failed) -> Result<(), ClusterError> {
        let may_pass = failed.0.may_pass() || failed.0.is_conflict();
        self.wait_if(may_pass, failed).await
    }

    async fn wait_if(&mut self, may_pass: bool, (error, asked): Failed) -> Result<(), ClusterError> {
        let next = asked.unwrap_or(self.wait).min(WAIT_MAX);
        if !may_pass || self.begun.elapsed() + next > self.tries {
            return Err(error);
        }
        tokio::time::sleep(next).await;
        self.wait *= 2;
        Ok(())
    }
}

impl Api {
    /// By a kubeconfig: the given one; else what `KUBECONFIG` names, `~/.kube/config`, or the service account of the pod that this runs in.
    pub async fn open(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<Self, ClusterError> {
        let (session, server) = Session::open(kubeconfig, context).await?;
        let pages = Arc::new(Semaphore::new(PAGES_BYTES_MAX >> 10));
        Ok(Self { session, server, limits: Limits::default(), pages })
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Asks for what is at a path.
    async fn get(&self, path: &str) -> Result<Bytes, ClusterError> {
        self.patiently(&Asked::get(path)).await
    }

    /// Asks, and again while the server is away, busy or in trouble; what it says about the request itself is final. Only for requests that do no more when
    /// they are carried out twice.
    async fn patiently(&self, asked: &Asked) -> Result<Bytes, ClusterError> {
        self.within(asked, ANSWER_BYTES_MAX).await?.ok_or_else(|| too_long(asked))
    }

    /// The same; `None` if the answer has more bytes than that.
    async fn within(&self, asked: &Asked, bytes_max: usize) -> Result<Option<Bytes>, ClusterError> {
        let mut patience = self.patience();
        loop {
            match self.once_within(asked, bytes_max).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => patience.wait(failed).await?,
            }
        }
    }

    fn patience(&self) -> Patience {
        Patience { begun: tokio::time::Instant::now(), wait: WAIT_FIRST, tries: self.limits.tries }
    }

    /// One try; after a failure also how long the server asks to wait.
    async fn once(&self, asked: &Asked) -> Result<Bytes, Failed> {
        self.once_within(asked, ANSWER_BYTES_MAX).await?.ok_or_else(|| (too_long(asked), None))
    }

    async fn once_within(&self, asked: &Asked, bytes_max: usize) -> Result<Option<Bytes>, Failed> {
        self.session.asked(|client| self.timed(asked, bytes_max, client), |(error, _)| error).await
    }

    async fn timed(&self, asked: &Asked, bytes_max: usize, client: kube::Client) -> Result<Option<Bytes>, Failed> {
        let request = asked.name();
        let silent = || ClusterError::Silent {
            server: self.server.clone(),
            request: request.clone(),
            limit: self.limits.answer,
        };
        match tokio::time::timeout(self.limits.answer, self.ask(asked, &request, bytes_max, client)).await {
            Ok(result) => result,
            Err(_) => Err((silent(), None)),
        }
    }

    async fn ask(
        &self,
        asked: &Asked,
        request: &str,
        bytes_max: usize,
        client: kube::Client,
    ) -> Result<Option<Bytes>, Failed> {
        let unreachable = |source| ClusterError::Unreachable { server: self.server.clone(), source };
        let mut built = Request::builder().method(&asked.method).uri(&asked.path);
        built = built.header(header::ACCEPT, "application/json");
        let body = match &asked.content {
            None => Body::empty(),
            Some((kind, content)) => {
                built = built.header(header::CONTENT_TYPE, *kind);
                Body::from(content.clone())
            }
        };
        let built = built.body(body).map_err(|error| (unreachable(error.into()), None))?;
        let response = client.send(built).await.map_err(|error| (unreachable(quiet::of_client(error.into())), None))?;
        let status = response.status();
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = match Limited::new(response.into_body(), bytes_max).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Ok(None),
            Err(error) => return Err((unreachable(error), None)),
        };
        if status.is_success() {
            return Ok(Some(body));
        }
        let message = serde_json::from_slice::<Status>(&body).map(|status| status.message);
        let message = message.unwrap_or_else(|_| first_line(&body));
        let refused = ClusterError::Refused { request: request.to_owned(), status: status.as_u16(), message };
        Err((refused, wait.map(Duration::from_secs)))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        parse(&Asked::get(path), &self.get(path).await?)
    }

    /// The bytes of a page, how many objects it was asked for at last, and the room that it takes. One object that is longer than a page has all the room.
    async fn page(
        &self,
        (kind, which): (&Kind, Which<'_>),
        mut limit: u32,
        next: Option<&str>,
    ) -> Result<(Bytes, u32, Arc<OwnedSemaphorePermit>), ClusterError> {
        loop {
            let asked = Asked::get(&page_of(kind, which, limit, next));
            let held = self.room(PAGE_BYTES_MAX).await?;
            if let Some(answer) = self.within(&asked, PAGE_BYTES_MAX).await? {
                return Ok((answer, limit, held));
            }
            drop(held);
            if limit == 1 {
                let held = self.room(ANSWER_BYTES_MAX).await?;
                return Ok((self.patiently(&asked).await?, limit, held));
            }
            limit = (limit / 2).max(1);
        }
    }

    async fn room(&self, bytes: usize) -> Result<Arc<OwnedSemaphorePermit>, ClusterError> {
        let permits = u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
        let held = self.pages.clone().acquire_many_owned(permits).await.map(Arc::new);
        held.map_err(|error| ClusterError::Unreachable { server: self.server.clone(), source: error.into() })
    }

    /// The same with one try: for what is not worth waiting for.
    async fn read_once<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        let bytes = self.once(&Asked::get(path)).await.map_err(|(error, _)| error)?;
        parse(&Asked::get(path), &bytes)
    }
}

fn too_long(asked: &Asked) -> ClusterError {
    let what = format!("it is longer than {} MiB", ANSWER_BYTES_MAX >> 20);
    ClusterError::Answer { request: asked.name(), what }
}

/// The address of a page of at most so many objects.
fn page_of(kind: &Kind, which: Which<'_>, limit: u32, next: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string());
    if let Some(next) = next {
        query.append_pair("continue", next);
    }
    if !which.labels.is_empty() {
        let labels: Vec<String> = which.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        query.append_pair("labelSelector", &labels.join(","));
    }
    format!("{}?{}", kind.address(which.namespace, None), query.finish())
}

/// The beginning of a text that is no object, such as a proxy's page.
fn first_line(body: &[u8]) -> String {
    const SHOWN: usize = 200;
    String::from_utf8_lossy(body).lines().next().unwrap_or_default().chars().take(SHOWN).collect()
}

#[async_trait]
impl Cluster for Api {
    fn name(&self) -> String {
        self.server.clone()
    }

    async fn version(&self) -> Result<String, ClusterError> {
        Ok(self.read::<Version>("/version").await?.git_version)
    }

    async fn kinds(&self) -> Result<Kinds, ClusterError> {
        self.discover().await
    }

    async fn list(&self, kind: &Kind, next: Option<&str>) -> Result<Page, ClusterError> {
        self.list_of(kind, Which::default(), next).await
    }

    async fn list_of(&self, kind: &Kind, which: Which<'_>, next: Option<&str>) -> Result<Page, ClusterError> {
        // How many objects the page before had: what `next` names is its end.
        let (limit, next) =
            next.and_then(|next| next.split_once(' ')).map_or((None, None), |(l, n)| (l.parse().ok(), Some(n)));
        let (answer, limit, held) = self.page((kind, which), limit.unwrap_or(PAGE_OBJECTS), next).await?;
        let mut list: List = parse(&Asked::get(&kind.collection()), &answer)?;
        let is_small = answer.len() < PAGE_BYTES_SMALL;
        drop(answer);
        let limit = if is_small { limit.saturating_mul(2).min(PAGE_OBJECTS) } else { limit };
        let mut objects = list.items.take().unwrap_or_default();
        // A list says these once for all.
        for object in objects.iter_mut().filter_map(Value::as_object_mut) {
            object.entry("apiVersion").or_insert_with(|| kind.api_version().into());
            object.entry("kind").or_insert_with(|| kind.name.clone().into());
        }
        let next = list.metadata.r#continue.filter(|next| !next.is_empty()).map(|next| format!("{limit} {next}"));
        Ok(Page { objects, next, held: Some(held) })
    }

    async fn serves(&self, kind: &Kind) -> Result<bool, ClusterError> {
        let (_, found) = self.kinds_of(kind.group.clone(), kind.version.clone()).await;
        match found {
            Ok(kinds) => Ok(kinds.iter().any(|other| other.resource == kind.resource)),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn stats_of_node(&self, node: &str) -> Result<Option<Value>, ClusterError> {
        // The kubelet's own summary, by way of the API server; a node that is away is not worth waiting for.
        self.read_once(&format!("/api/v1/nodes/{node}/proxy/stats/summary")).await.map(Some)
    }

    async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>, ClusterError> {
        self.object(kind, namespace, name).await
    }

    async fn create(&self, kind: &Kind, object: &Value, how: How) -> Result<Created, ClusterError> {
        self.create_object(kind, object, how).await
    }

    async fn replace(&self, kind: &Kind, object: &Value, how: How) -> Result<Value, ClusterError> {
        self.replace_object(kind, object, how).await
    }

    async fn patch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClusterError> {
        self.patch_object(kind, namespace, name, patch).await
    }

    async fn delete(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<Deleted, ClusterError> {
        self.delete_object(kind, namespace, name, uid).await
    }
}
