//! One run on one target at a time: a `Lease` in a cluster, a locked file for programs on a machine. Folders are in [`super::folders`].
//!
//! No clocks are compared: somebody else's lease is over when it does not change for as long as it says while we look, or at once where its process was of this machine and has ended.
//! What a run has started itself, such as a program of a step, works under the run's lease: the run waits for it.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::process::{Process, is_locked_above, locked_by};
use crate::base::causes::in_one_line;
use crate::base::clock::{Clock, Time};
use crate::base::lock::{Tried, alone};
use crate::cluster::kinds::{LEASE_NAMESPACE as NAMESPACE, leases};
use crate::cluster::object::{at, text};
use crate::cluster::{Cluster, ClusterError, Created, How};

const NAME: &str = "homelab-dr-recover";
/// For how long it is taken, and how often that is said anew.
const LASTS: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(8);
/// How long giving it free may take: it ends by itself.
const ENDS: Duration = Duration::from_secs(10);
/// Who had it in between where our Lease is gone: only another who had the cluster, and gave it free again, or a person removes it.
const GONE: &str = "somebody who has ended by now (the Lease of this run is gone)";
/// Which process has it, where that can be known.
const PROCESS: &str = "homelab-dr.io/process";
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
    match alone(&file) {
        Tried::Has => Ok(ThisMachine { _file: file }),
        Tried::Taken if is_locked_above(&file) => Ok(ThisMachine { _file: file }),
        Tried::Taken => Err(LeaseError::Taken {
            target: "this machine".to_owned(),
            holder: format!("{}, which has {} locked", locked_by(&file), path.display()),
        }),
        Tried::Never(source) => Err(fail(source)),
    }
}

/// A cluster as a target.
pub struct Lease<'a> {
    cluster: &'a dyn Cluster,
    holder: String,
    process: Option<String>,
    /// Whoever has started this process has it, and says so again and again.
    is_above: bool,
    /// What the cluster says of its Leases may be of before this run, since the run has put its datastore back.
    is_set_back: AtomicBool,
}

fn micro(now: Time) -> String {
    now.utc().to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// Until the run has to say again that it lives: at once where this machine slept meanwhile, which only the clock on the wall shows.
async fn wait(clock: &dyn Clock) {
    let begun = clock.now();
    for _ in 0..RENEW.as_secs() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if clock.now().since(begun) >= RENEW {
            return;
        }
    }
}

fn holder(lease: &Value) -> &str {
    text(lease, &["spec", "holderIdentity"])
}

/// Who, and since when.
fn shown(lease: &Value) -> String {
    match text(lease, &["spec", "acquireTime"]) {
        "" => holder(lease).to_owned(),
        since => format!(
            "{}, since {}",
            holder(lease),
            Time::parse(since).map_or_else(|| since.to_owned(), |time| time.to_string())
        ),
    }
}

impl<'a> Lease<'a> {
    fn spec(&self, now: Time) -> Value {
        json!({
            "holderIdentity": self.holder, "leaseDurationSeconds": LASTS.as_secs(), "acquireTime": micro(now), "renewTime": micro(now),
        })
    }

    async fn create(&self, clock: &dyn Clock) -> Result<Created, ClusterError> {
        let annotations: BTreeMap<&str, &String> = self.process.iter().map(|process| (PROCESS, process)).collect();
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": annotations}, "spec": self.spec(clock.now()),
        });
        self.cluster.create(&leases(), &lease, How::Really).await
    }

    /// Of this very state: what another has taken meanwhile is not taken back unseen.
    async fn patch(&self, seen: &Value, spec: Value) -> Result<(), ClusterError> {
        let version = text(seen, &["metadata", "resourceVersion"]);
        let metadata = json!({"resourceVersion": version, "annotations": {PROCESS: self.process}});
        let patch = json!({"metadata": metadata, "spec": spec});
        self.cluster.patch(&leases(), Some(NAMESPACE), NAME, &patch).await.map(drop)
    }

    /// Has a cluster for `what` on a machine. Waits to see whether another that has it is alive; `waits` is told who.
    pub async fn take(
        cluster: &'a dyn Cluster,
        (what, host): (&str, &str),
        clock: &dyn Clock,
        waits: &dyn Fn(&str),
    ) -> Result<Lease<'a>, LeaseError> {
        // One process: the same plan can be carried out twice.
        let (process, random) = (std::process::id(), getrandom::u32().map_err(LeaseError::Randomness)?);
        let holder_here = format!("{what} on {host} (process {process}, {random:08x})");
        let process = Process::this().map(|process| process.text());
        let is_set_back = AtomicBool::new(false);
        let mut lease = Self { cluster, holder: holder_here, process, is_above: false, is_set_back };
        if let Some(above) = lease.have(clock, waits).await? {
            (lease.holder, lease.is_above) = (above, true);
        }
        Ok(lease)
    }

    /// Makes it, or takes it over where whoever has it is dead. Returns the holder if that has started this process.
    async fn have(&self, clock: &dyn Clock, waits: &dyn Fn(&str)) -> Result<Option<String>, LeaseError> {
        let fail = |source| LeaseError::Cluster { target: self.cluster.name(), source };
        let mut seen = match self.create(clock).await.map_err(fail)? {
            Created::New(_) => return Ok(None),
            Created::Found(found) => found,
        };
        let lasts = at(&seen, &["spec", "leaseDurationSeconds"]).as_u64().map_or(LASTS, Duration::from_secs);
        let (mut looked, mut told) = (Duration::ZERO, false);
        loop {
            let theirs = Process::read(text(&seen, &["metadata", "annotations", PROCESS]));
            if theirs.as_ref().is_some_and(Process::is_above) {
                return Ok(Some(holder(&seen).to_owned()));
            }
            let is_free = holder(&seen).is_empty() || holder(&seen) == self.holder;
            if is_free || theirs.is_some_and(|theirs| theirs.is_dead()) || looked >= lasts.min(LASTS) {
                match self.patch(&seen, self.spec(clock.now())).await {
                    Ok(()) => return Ok(None),
                    Err(error) if error.is_conflict() || error.is_missing() => looked = Duration::ZERO,
                    Err(error) => return Err(fail(error)),
                }
            }
            if !told {
                waits(&shown(&seen));
                told = true;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            looked += Duration::from_secs(1);
            let Some(found) = self.found().await.map_err(fail)? else {
                // It was given free.
                match self.create(clock).await.map_err(fail)? {
                    Created::New(_) => return Ok(None),
                    Created::Found(found) => (seen, looked) = (found, Duration::ZERO),
                }
                continue;
            };
            let renewed = |lease: &Value| text(lease, &["spec", "renewTime"]).to_owned();
            if renewed(&found) != renewed(&seen) && !holder(&found).is_empty() && holder(&found) != self.holder {
                return Err(LeaseError::Taken { target: self.cluster.name(), holder: shown(&found) });
            }
            seen = found;
        }
    }

    async fn found(&self) -> Result<Option<Value>, ClusterError> {
        self.cluster.get(&leases(), Some(NAMESPACE), NAME).await
    }

    /// From here on the cluster may have the Leases of before this run, or none: its datastore is put back.
    pub fn sets_back(&self) {
        self.is_set_back.store(true, Ordering::Relaxed);
    }

    /// Who else has had the cluster since it was taken. A holder is of one process alone, and who takes a cluster over changes it, who gives it free removes the Lease:
    /// as long as ours is there, nobody else was here, however long this machine slept or was cut off.
    async fn lost(&self, found: Option<&Value>, clock: &dyn Clock) -> Option<String> {
        if found.is_some_and(|lease| holder(lease) == self.holder) {
            return None;
        }
        if self.is_set_back.load(Ordering::Relaxed) && !self.is_above {
            // What is there may be of a run that had it when the datastore was backed up: only who says something now has it.
            return match self.have(clock, &|_| {}).await {
                Err(LeaseError::Taken { holder, .. }) => Some(holder),
                Ok(_) | Err(_) => None,
            };
        }
        Some(found.filter(|lease| !holder(lease).is_empty()).map_or_else(|| GONE.to_owned(), shown))
    }

    /// Who else has had it since, and when they took it. A cluster that does not answer says nothing, and does nothing that it is told either.
    pub async fn lost_to(&self, clock: &dyn Clock) -> Option<String> {
        let found = self.found().await.ok()?;
        self.lost(found.as_ref(), clock).await
    }

    /// Says again and again that the run lives. Returns when another has had the cluster, with who; never as long as nobody else has. A cluster that does not answer
    /// is asked again.
    pub async fn keep(&self, clock: &dyn Clock) -> String {
        loop {
            wait(clock).await;
            let Ok(found) = self.found().await else { continue };
            if let Some(other) = self.lost(found.as_ref(), clock).await {
                return other;
            }
            if let Some(lease) = found.filter(|lease| !self.is_above && holder(lease) == self.holder) {
                let spec = json!({"holderIdentity": self.holder, "leaseDurationSeconds": LASTS.as_secs(), "renewTime": micro(clock.now())});
                let _ = self.patch(&lease, spec).await;
            }
        }
    }

    /// Lets it go. What keeps that from being done is returned: the lease ends by itself.
    pub async fn end(self) -> Result<(), String> {
        if self.is_above {
            return Ok(());
        }
        let ended = async {
            let found = self.found().await.map_err(|error| in_one_line(&error))?;
            let Some(found) = found.filter(|lease| holder(lease) == self.holder) else { return Ok(()) };
            let uid = text(&found, &["metadata", "uid"]);
            let deleted = self.cluster.delete(&leases(), Some(NAMESPACE), NAME, uid).await;
            deleted.map(drop).map_err(|error| in_one_line(&error))
        };
        tokio::time::timeout(ENDS, ended).await.unwrap_or_else(|_| Err("the cluster does not answer".to_owned()))
    }
}
