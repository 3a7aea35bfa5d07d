//! One run on one target at a time: a `Lease` in a cluster, a locked file on a machine.
//!
//! No clocks are compared: somebody else's lease is over when it does not change for as long as it says while we look.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::base::clock::{Clock, Time};
use crate::cluster::error::told;
use crate::cluster::object::{at, text};
use crate::cluster::{Cluster, ClusterError, Created, How, Kind};

/// The namespace that every cluster has, also one that is empty.
const NAMESPACE: &str = "default";
const NAME: &str = "homelab-dr-recover";
/// For how long it is taken, and how often that is said anew.
const LASTS: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(8);
/// The file of a machine.
const FILE: &str = "machine.lock";

/// Why a run may not have its target.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run has it.
    #[error("{target} is being recovered by another run: {holder}")]
    Taken {
        /// What.
        target: String,
        /// Who, on which machine.
        holder: String,
    },
    /// It cannot be asked.
    #[error("cannot see whether another run recovers {target}")]
    Cluster {
        /// What.
        target: String,
        /// Why not.
        #[source]
        source: ClusterError,
    },
    /// The system gives no random number.
    #[error("no randomness for the lease")]
    Randomness(#[source] getrandom::Error),
    /// The file cannot be used.
    #[error("cannot lock {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// This machine as a target; free again when it is dropped.
#[derive(Debug)]
pub struct ThisMachine {
    _file: File,
}

/// Has this machine for one run. `dir` is the folder of journals.
pub fn machine(dir: &Path) -> Result<ThisMachine, LeaseError> {
    let path = dir.join(FILE);
    let fail = |source| LeaseError::File { path: path.clone(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(fail)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(ThisMachine { _file: file }),
        Err(_) => Err(LeaseError::Taken {
            target: "this machine".to_owned(),
            holder: format!("a process that has {} locked", path.display()),
        }),
    }
}

fn leases() -> Kind {
    Kind::known("coordination.k8s.io", "v1", "leases", "Lease", true)
}

/// A cluster as a target.
pub struct Lease<'a> {
    cluster: &'a dyn Cluster,
    holder: String,
}

fn micro(now: Time) -> String {
    now.utc().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

fn spec(holder: &str, now: Time) -> Value {
    json!({"holderIdentity": holder, "leaseDurationSeconds": LASTS.as_secs(), "renewTime": micro(now)})
}

fn manifest(spec: &Value) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec,
    })
}

impl<'a> Lease<'a> {
    /// Has a cluster for a run on a machine. Waits to see whether another that has it is alive; `waits` is told who.
    pub async fn take(
        cluster: &'a dyn Cluster,
        (run, host): (&str, &str),
        clock: &dyn Clock,
        waits: &dyn Fn(&str),
    ) -> Result<Lease<'a>, LeaseError> {
        // One process: the same plan can be carried out twice.
        let process = getrandom::u32().map_err(LeaseError::Randomness)?;
        let lease = Self { cluster, holder: format!("run {run} on {host} ({process:08x})") };
        let fail = |source| LeaseError::Cluster { target: cluster.name(), source };
        let wanted = manifest(&spec(&lease.holder, clock.now()));
        let mut seen = match cluster.create(&leases(), &wanted, How::Really).await.map_err(fail)? {
            Created::New(_) => return Ok(lease),
            Created::Found(found) => found,
        };
        let lasts = at(&seen, &["spec", "leaseDurationSeconds"]).as_u64().map_or(LASTS, Duration::from_secs);
        let mut looked = Duration::ZERO;
        waits(text(&seen, &["spec", "holderIdentity"]));
        loop {
            let holder = text(&seen, &["spec", "holderIdentity"]);
            if holder.is_empty() || holder == lease.holder || looked >= lasts.min(LASTS) {
                let version = text(&seen, &["metadata", "resourceVersion"]);
                let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec(&lease.holder, clock.now())});
                match cluster.patch(&leases(), Some(NAMESPACE), NAME, &patch).await {
                    Ok(_) => return Ok(lease),
                    Err(error) if error.is_conflict() => looked = Duration::ZERO,
                    Err(error) => return Err(fail(error)),
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            looked += Duration::from_secs(1);
            let found = cluster.get(&leases(), Some(NAMESPACE), NAME).await.map_err(fail)?.unwrap_or_default();
            let renewed = |lease: &Value| text(lease, &["spec", "renewTime"]).to_owned();
            let holder = text(&found, &["spec", "holderIdentity"]);
            if renewed(&found) != renewed(&seen) && !holder.is_empty() && holder != lease.holder {
                return Err(LeaseError::Taken { target: cluster.name(), holder: holder.to_owned() });
            }
            seen = found;
        }
    }

    /// Says again and again that the run lives. Returns when another has the cluster, with who; never as long as nobody else has. A cluster that does not answer
    /// is asked again: while it is away, nobody can take it either.
    pub async fn keep(&self, clock: &dyn Clock) -> String {
        loop {
            tokio::time::sleep(RENEW).await;
            let Ok(found) = self.cluster.get(&leases(), Some(NAMESPACE), NAME).await else { continue };
            let holder = found.as_ref().map(|lease| text(lease, &["spec", "holderIdentity"])).unwrap_or_default();
            if !holder.is_empty() && holder != self.holder {
                return holder.to_owned();
            }
            let spec = spec(&self.holder, clock.now());
            let _ = if found.is_some() {
                self.cluster.patch(&leases(), Some(NAMESPACE), NAME, &json!({"spec": spec})).await.map(drop)
            } else {
                self.cluster.create(&leases(), &manifest(&spec), How::Really).await.map(drop)
            };
        }
    }

    /// Lets it go. What keeps that from being done is returned: the lease ends by itself.
    pub async fn end(self) -> Result<(), String> {
        let found = self.cluster.get(&leases(), Some(NAMESPACE), NAME).await.map_err(|error| told(&error))?;
        let Some(found) = found.filter(|lease| text(lease, &["spec", "holderIdentity"]) == self.holder) else {
            return Ok(());
        };
        let uid = text(&found, &["metadata", "uid"]);
        let deleted = self.cluster.delete(&leases(), Some(NAMESPACE), NAME, uid).await;
        deleted.map(drop).map_err(|error| told(&error))
    }
}
