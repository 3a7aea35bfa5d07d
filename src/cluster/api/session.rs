//! Who we are to an API server. When it does not know us any more, what says so is read anew: tokens run out during a backup, and whoever renews them writes
//! a file, writes the kubeconfig, or answers a credential plugin.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderValue, Request};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::util::MapRequestLayer;

use super::quiet::{of_client, of_kubeconfig};
use crate::cluster::ClusterError;

/// Between two readings. A plugin may take its time, or ask a person; a token that is dead stays dead.
const RENEW_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Session {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    /// Counts up with each reading.
    client: RwLock<(u64, kube::Client)>,
    renewed: Mutex<Option<Instant>>,
}

/// By a kubeconfig: the given one; else what `KUBECONFIG` names, `~/.kube/config`, or the service account of the pod that this runs in.
async fn configure(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<kube::Config, ClusterError> {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let fail = |what: String, source: Box<dyn std::error::Error + Send + Sync>| ClusterError::Config { what, source };
    let mut config = match kubeconfig {
        Some(path) => {
            let what = path.display().to_string();
            let file = Kubeconfig::read_from(path).map_err(|error| fail(what.clone(), of_kubeconfig(error)))?;
            kube::Config::from_custom_kubeconfig(file, &options).await.map_err(|error| fail(what, of_kubeconfig(error)))
        }
        None => match kube::Config::from_kubeconfig(&options).await {
            Ok(config) => Ok(config),
            Err(error) if context.is_some() => Err(fail("the kubeconfig".to_owned(), of_kubeconfig(error))),
            Err(error) => {
                kube::Config::incluster().map_err(|_| fail("the kubeconfig".to_owned(), of_kubeconfig(error)))
            }
        },
    }?;
    // What may be asked again, and what has to be looked at first, is decided by `Api`: a creation that is repeated blindly finds itself.
    config.default_retry = false;
    Ok(config)
}

fn server_of(config: &kube::Config) -> String {
    // Whoever writes a password into an address does not want it in every message.
    let address = config.cluster_url.to_string();
    let (scheme, rest) = address.split_once("://").unwrap_or(("", &address));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}").trim_end_matches('/').to_owned()
}

/// Has a command in a container speak the older of the two protocols. In `v5.channel.k8s.io` the API server speaks to the kubelet itself, and when it loses that connection it may say
/// `Success` (kubernetes/kubectl#1726); in v4 it hands bytes on, and what breaks ends without a word.
fn exec_by_v4(mut request: Request<Body>) -> Request<Body> {
    if request.uri().path().ends_with("/exec") && request.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("v4.channel.k8s.io"));
    }
    request
}

/// A plugin runs here, and is waited for.
async fn connect(config: kube::Config) -> Result<kube::Client, ClusterError> {
    let what = server_of(&config);
    let fail = |source: Box<dyn std::error::Error + Send + Sync>| ClusterError::Config { what: what.clone(), source };
    let client = tokio::task::spawn_blocking(move || {
        ClientBuilder::try_from(config).map(|builder| builder.with_layer(&MapRequestLayer::new(exec_by_v4)).build())
    })
    .await;
    client.map_err(|error| fail(error.into()))?.map_err(|error| fail(of_client(error.into())))
}

impl Session {
    /// Also the server's address.
    pub(super) async fn open(kubeconfig: Option<&Path>, context: Option<&str>) -> Result<(Self, String), ClusterError> {
        let config = configure(kubeconfig, context).await?;
        let server = server_of(&config);
        let session = Self {
            kubeconfig: kubeconfig.map(Path::to_owned),
            context: context.map(str::to_owned),
            client: RwLock::new((0, connect(config).await?)),
            renewed: Mutex::new(None),
        };
        Ok((session, server))
    }

    /// With its number, to be told to [`Session::renew`] if the server does not know it.
    pub(super) fn client(&self) -> (u64, kube::Client) {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks; and once more with other credentials if the server did not know us and there are any by now. It says so before anything is done.
    pub(super) async fn asked<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        ask: impl Fn(kube::Client) -> F,
        error_of: impl Fn(&E) -> &ClusterError,
    ) -> Result<T, E> {
        let (number, client) = self.client();
        let answer = ask(client).await;
        let is_unknown = |error| matches!(error_of(error), ClusterError::Refused { status: 401, .. });
        if answer.as_ref().is_err_and(is_unknown) && self.renew(number).await {
            return ask(self.client().1).await;
        }
        answer
    }

    /// After the server did not know the client of this number; whether there is another one by now. What cannot be read anew stays as it was.
    async fn renew(&self, unknown: u64) -> bool {
        let mut renewed = self.renewed.lock().await;
        if self.client().0 != unknown {
            return true;
        }
        if renewed.is_some_and(|time| time.elapsed() < RENEW_EVERY) {
            return false;
        }
        *renewed = Some(Instant::now());
        let Ok(config) = configure(self.kubeconfig.as_deref(), self.context.as_deref()).await else { return false };
        let Ok(client) = connect(config).await else { return false };
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = (unknown + 1, client);
        true
    }
}
