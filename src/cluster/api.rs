//! A real cluster, by its API server.

mod discovery;
pub mod objects;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Cluster, ClusterError, Created, Deleted, How, Kind, Kinds, Page};

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
/// Largest answer that is taken: a page of the largest objects.
const ANSWER_BYTES_MAX: usize = 320 << 20;

/// The API server of a cluster, and the right to talk to it.
pub struct Api {
    client: kube::Client,
    server: String,
    limits: Limits,
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

/// How long it is still tried.
struct Patience {
    begun: tokio::time::Instant,
    wait: Duration,
    tries: Duration,
}

impl Patience {
    /// Waits before the next try, or gives up: when the time is over, or another try would be of no use.
    async fn wait(&mut self, (error, asked): Failed) -> Result<(), ClusterError> {
        let next = asked.unwrap_or(self.wait).min(WAIT_MAX);
        if !error.may_pass() || self.begun.elapsed() + next > self.tries {
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
        let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
        let fail =
            |what: String, source: Box<dyn std::error::Error + Send + Sync>| ClusterError::Config { what, source };
        let mut config = match kubeconfig {
            Some(path) => {
                let what = path.display().to_string();
                let file = Kubeconfig::read_from(path).map_err(|error| fail(what.clone(), error.into()))?;
                kube::Config::from_custom_kubeconfig(file, &options).await.map_err(|error| fail(what, error.into()))
            }
            None => match kube::Config::from_kubeconfig(&options).await {
                Ok(config) => Ok(config),
                Err(error) if context.is_some() => Err(fail("the kubeconfig".to_owned(), error.into())),
                Err(error) => kube::Config::incluster().map_err(|_| fail("the kubeconfig".to_owned(), error.into())),
            },
        }?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        // What may be asked again, and what has to be looked at first, is decided here: a creation that is repeated blindly finds itself.
        config.default_retry = false;
        let client = kube::Client::try_from(config).map_err(|error| fail(server.clone(), error.into()))?;
        Ok(Self { client, server, limits: Limits::default() })
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
        let mut patience = self.patience();
        loop {
            match self.once(asked).await {
                Ok(bytes) => return Ok(bytes),
                Err(failed) => patience.wait(failed).await?,
            }
        }
    }

    fn patience(&self) -> Patience {
        Patience { begun: tokio::time::Instant::now(), wait: WAIT_FIRST, tries: self.limits.tries }
    }

    /// One try; after a failure also how long the server asks to wait.
    async fn once(&self, asked: &Asked) -> Result<Bytes, Failed> {
        let request = asked.name();
        let silent = || ClusterError::Silent {
            server: self.server.clone(),
            request: request.clone(),
            limit: self.limits.answer,
        };
        match tokio::time::timeout(self.limits.answer, self.ask(asked, &request)).await {
            Ok(result) => result,
            Err(_) => Err((silent(), None)),
        }
    }

    async fn ask(&self, asked: &Asked, request: &str) -> Result<Bytes, Failed> {
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
        let response = self.client.send(built).await.map_err(|error| (unreachable(error.into()), None))?;
        let status = response.status();
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| (unreachable(error), None))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let message = serde_json::from_slice::<Status>(&body).map(|status| status.message);
        let message = message.unwrap_or_else(|_| first_line(&body));
        let refused = ClusterError::Refused { request: request.to_owned(), status: status.as_u16(), message };
        Err((refused, wait.map(Duration::from_secs)))
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        understand(path, &self.get(path).await?)
    }

    /// The same with one try: for what is not worth waiting for.
    async fn read_once<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        let bytes = self.once(&Asked::get(path)).await.map_err(|(error, _)| error)?;
        understand(path, &bytes)
    }
}

fn understand<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ClusterError> {
    serde_json::from_slice(bytes).map_err(|error| ClusterError::Answer {
        request: format!("GET {}", path.split('?').next().unwrap_or(path)),
        what: error.to_string(),
    })
}

/// The address of a page.
fn page_of(kind: &Kind, next: Option<&str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("limit", &PAGE_OBJECTS.to_string());
    if let Some(next) = next {
        query.append_pair("continue", next);
    }
    format!("{}?{}", kind.collection(), query.finish())
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
        let mut list: List = self.read(&page_of(kind, next)).await?;
        let mut objects = list.items.take().unwrap_or_default();
        // A list says these once for all.
        for object in objects.iter_mut().filter_map(Value::as_object_mut) {
            object.entry("apiVersion").or_insert_with(|| kind.api_version().into());
            object.entry("kind").or_insert_with(|| kind.name.clone().into());
        }
        Ok(Page { objects, next: list.metadata.r#continue.filter(|next| !next.is_empty()) })
    }

    async fn serves(&self, kind: &Kind) -> Result<bool, ClusterError> {
        let (_, found) = self.kinds_of(kind.group.clone(), kind.version.clone()).await;
        match found {
            Ok(kinds) => Ok(kinds.iter().any(|other| other.resource == kind.resource)),
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
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
