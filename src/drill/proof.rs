//! The proof that the policy holds, before any workload starts: in each namespace a pod that reaches an address of production while nothing is closed, and one that does not once it is.
//! Each by itself: plugins are told of namespaces one by one, and some are set up to leave out those that they do not like.
//!
//! What could not be reached before proves nothing, and what is reached afterwards shows a network plugin that takes no notice of policies. Some plugins need a moment for a new pod:
//! what a workload does in its first seconds is proven by nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use crate::backup::volumes::new_run;
use crate::cluster::object::text;
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::volumes::mover::{Crew, Made, MoverError};
use crate::volumes::pod::{NOBODY, PodPlan, Rights};
use crate::volumes::run::name_for;

/// Pods that try at once: a small cluster has other things to do.
const TRIED_AT_ONCE: usize = 4;

/// Why nothing may be started.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// There is nothing to try.
    #[error("the cluster does not say where its API is")]
    NoAddress,
    /// It cannot be asked.
    #[error("cannot look where the API of the cluster is")]
    Cluster(#[source] ClusterError),
    /// A pod came to nothing.
    #[error("the pod that tries {address} in {namespace} came to no result")]
    Pod {
        /// Where.
        namespace: String,
        /// What it was to try.
        address: String,
        /// Why not.
        #[source]
        source: MoverError,
    },
    /// It is not there for anybody.
    #[error("{address} was not reached from {namespace} before it was closed: nothing would be proven ({why})")]
    NeverReached {
        /// From where.
        namespace: String,
        /// What was tried.
        address: String,
        /// What came of it.
        why: String,
    },
    /// The policy does nothing.
    #[error(
        "{address} is reached from {namespace} although a policy denies it: the network plugin does not enforce policies there"
    )]
    Open {
        /// From where.
        namespace: String,
        /// What was tried.
        address: String,
    },
}

impl ProofError {
    /// What to do about it.
    #[must_use]
    pub const fn mend(&self) -> &'static str {
        match self {
            Self::NoAddress | Self::NeverReached { .. } => {
                "name an address that pods of this cluster reach: --probe HOST:PORT, such as the database that the application uses in production"
            }
            Self::Cluster(_) => "see whether the cluster answers, and the rights of the account (docs/drill.md)",
            Self::Pod { .. } => {
                "see the image of movers (--mover-image) and kubectl get events in the drill's namespaces"
            }
            Self::Open { .. } => {
                "nothing was started: what is recovered would act on production. Use a plugin that enforces NetworkPolicies (Cilium, Calico, kube-router), or drill into a folder: --into-folder DIR"
            }
        }
    }
}

/// The address of the API as pods see it.
pub async fn address(cluster: &dyn Cluster) -> Result<String, ProofError> {
    let services = Kind::known("", "v1", "services", "Service", true);
    let found = cluster.get(&services, Some("default"), "kubernetes").await.map_err(ProofError::Cluster)?;
    let service = found.unwrap_or_default();
    let ip = text(&service, &["spec", "clusterIP"]);
    let ports = crate::cluster::object::items(&service, &["spec", "ports"]);
    let port = ports.first().and_then(|port| crate::cluster::object::at(port, &["port"]).as_u64());
    let (false, Some(port)) = (ip.is_empty(), port) else { return Err(ProofError::NoAddress) };
    Ok(if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") })
}

/// Whether a pod in a namespace reaches an address; tried until it does, or, if it is to be denied, until it does not. In any case nothing of the pod stays but what is named.
async fn tries(
    crew: &Crew<'_>,
    image: &str,
    (namespace, address, time): (&str, &str, Duration),
    denied: bool,
) -> (Result<(bool, String), MoverError>, Vec<String>) {
    let mut made = Made::default();
    let attempt = async {
        let run = new_run()?;
        let plan = PodPlan {
            name: name_for(&run, namespace, address),
            namespace: namespace.to_owned(),
            claim: String::new(),
            run: run.to_string(),
            expires: crew.expires(),
            image: image.to_owned(),
            rights: Rights::Application { user: NOBODY, group: Some(NOBODY), groups: Vec::new() },
            fills: false,
            device: false,
            reaches: true,
            node: None,
            tolerations: Vec::new(),
            pull_secrets: Vec::new(),
            deadline: crew.deadline(),
            silence: crew.limits.silence,
        };
        crew.tries(&plan, (address, time), denied, &mut made).await
    };
    let result = tokio::select! {
        result = attempt => result,
        () = crew.cancel.cancelled() => Err(MoverError::Cancelled),
    };
    let left = made.remove(crew).await;
    (result, left.iter().map(ToString::to_string).collect())
}

/// In all namespaces, some at once: what came of each. Every pod is waited for, and taken away, also where another has failed.
async fn in_each(
    crew: &Crew<'_>,
    image: &str,
    namespaces: &BTreeSet<String>,
    (address, time): (&str, Duration),
    denied: bool,
) -> Result<Vec<(String, bool, String)>, ProofError> {
    let one = |namespace: String| async move {
        let (tried, _) = tries(crew, image, (&namespace, address, time), denied).await;
        match tried {
            Ok((reached, why)) => Ok((namespace, reached, why)),
            Err(source) => Err(ProofError::Pod { namespace, address: address.to_owned(), source }),
        }
    };
    let all: Vec<Result<_, ProofError>> =
        stream::iter(namespaces.iter().cloned()).map(one).buffered(TRIED_AT_ONCE).collect().await;
    all.into_iter().collect()
}

/// An address is reached from each namespace, within some time: what is denied later can be denied.
pub async fn reached(
    crew: &Crew<'_>,
    image: &str,
    namespaces: &BTreeSet<String>,
    tried: (&str, Duration),
) -> Result<(), ProofError> {
    match in_each(crew, image, namespaces, tried, false).await?.into_iter().find(|(_, reached, _)| !reached) {
        None => Ok(()),
        Some((namespace, _, why)) => Err(ProofError::NeverReached { namespace, address: tried.0.to_owned(), why }),
    }
}

/// It is not reached any more from any of them.
pub async fn denied(
    crew: &Crew<'_>,
    image: &str,
    namespaces: &BTreeSet<String>,
    tried: (&str, Duration),
) -> Result<(), ProofError> {
    match in_each(crew, image, namespaces, tried, true).await?.into_iter().find(|(_, reached, _)| *reached) {
        None => Ok(()),
        Some((namespace, ..)) => Err(ProofError::Open { namespace, address: tried.0.to_owned() }),
    }
}
