//! The proof that the policy holds, before any workload starts: a pod that reaches an address of production while nothing is closed, and one that does not once it is.
//!
//! What could not be reached before proves nothing, and what is reached afterwards shows a network plugin that takes no notice of policies. Some plugins need a moment for a new pod:
//! what a workload does in its first seconds is proven by nobody.

use std::time::Duration;

use crate::backup::volumes::new_run;
use crate::cluster::object::text;
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::volumes::mover::{Crew, Made, MoverError};
use crate::volumes::pod::{NOBODY, PodPlan, Rights};
use crate::volumes::run::name_for;

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
    #[error("the pod that tries {address} came to no result")]
    Pod {
        /// What it was to try.
        address: String,
        /// Why not.
        #[source]
        source: MoverError,
    },
    /// It is not there for anybody.
    #[error("{address} was not reached before the namespace was closed: nothing would be proven ({why})")]
    NeverReached {
        /// What was tried.
        address: String,
        /// What came of it.
        why: String,
    },
    /// The policy does nothing.
    #[error("{address} is reached although a policy denies it: the network plugin does not enforce policies")]
    Open {
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

/// An address is reached from a namespace, within some time: what is denied later can be denied.
pub async fn reached(crew: &Crew<'_>, image: &str, place: (&str, &str, Duration)) -> Result<(), ProofError> {
    let (address, (tried, _)) = (place.1, tries(crew, image, place, false).await);
    let pod = |source| ProofError::Pod { address: address.to_owned(), source };
    match tried.map_err(pod)? {
        (true, _) => Ok(()),
        (false, why) => Err(ProofError::NeverReached { address: address.to_owned(), why }),
    }
}

/// It is not reached any more.
pub async fn denied(crew: &Crew<'_>, image: &str, place: (&str, &str, Duration)) -> Result<(), ProofError> {
    let (address, (tried, _)) = (place.1, tries(crew, image, place, true).await);
    let pod = |source| ProofError::Pod { address: address.to_owned(), source };
    match tried.map_err(pod)? {
        (false, _) => Ok(()),
        (true, _) => Err(ProofError::Open { address: address.to_owned() }),
    }
}
