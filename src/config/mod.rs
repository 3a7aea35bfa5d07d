//! The configuration, `homelab-dr.yaml`: what is backed up, where to, what is kept. Pure: text in, a value or findings out.
//!
//! Everything wrong is found at once (a file that is no YAML excepted), each with its place and what to do. What an address or a pattern may be, higher
//! layers know: they pass their judgement in ([`Judges`]).
//!
//! ```text
//! bytes ─ language::read (YAML, places) ─ judge (against language) ─ defaults filled in ─ understand ─ Config
//! ```

mod judge;
mod language;
#[cfg(test)]
mod tests;
mod understand;

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

pub use language::{schema, table};

use crate::chunker::BlockSize;
use crate::crypto::fingerprint::Fingerprint;
use crate::language::{self as fields, Finding, Judges, Node, Place, Severity, Subject, show};
use crate::retention::Policy;

/// Longest file. Real ones have some KiB.
pub const TEXT_BYTES_MAX: usize = 256 << 10;

const FILE: Subject = Subject {
    name: "the file",
    bytes_max: TEXT_BYTES_MAX,
    empty: "docs/configuration.md has a complete example",
    long: "is it the right file? a configuration has some KiB",
};

/// What a configuration says, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where backups go, in the order of the file.
    pub repositories: Vec<Repository>,
    /// The name of the one that is meant when none is named; there is one if there are any.
    pub default_repository: Option<String>,
    /// What is backed up, in the order of the file.
    pub sources: Vec<Source>,
    /// What `forget` keeps.
    pub retention: Retention,
    /// Where `replicate` copies to, in the order of the file.
    pub replicate: Vec<Target>,
    /// Percent of the data that `check` reads.
    pub check_read_data: u8,
    /// As it was understood, for [`Self::yaml`] and [`Self::json`].
    understood: Node,
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Its name here.
    pub name: String,
    /// Its address.
    pub url: String,
    /// What it must show.
    pub fingerprint: Option<Fingerprint>,
    /// The file of its writer key.
    pub writer_key_file: Option<PathBuf>,
    /// For how long `init` has objects locked.
    pub object_lock: Option<Duration>,
    /// Bytes a second to it.
    pub limit_upload: Option<NonZeroU64>,
    /// Bytes a second from it.
    pub limit_download: Option<NonZeroU64>,
}

/// Something to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// The blocks of its databases and images; `None` for those of its newest snapshot.
    pub block_size: Option<BlockSize>,
    /// Tags of its snapshots.
    pub tags: BTreeMap<String, String>,
}

/// Kinds of sources, one for each way to get at data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// Folders and files.
    Path(PathSource),
    /// What a program writes.
    Command(CommandSource),
    /// The objects of a cluster.
    Resources(ResourcesSource),
    /// The data of a cluster's claims.
    Volumes(VolumesSource),
    /// The data of claims in a folder that stands for a cluster.
    FolderVolumes(FolderVolumesSource),
    /// The datastore of a control plane.
    Datastore(DatastoreSource),
}

impl SourceKind {
    /// Its name in the file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Path(_) => "path",
            Self::Command(_) => "command",
            Self::Resources(_) => "resources",
            Self::Volumes(_) | Self::FolderVolumes(_) => "volumes",
            Self::Datastore(_) => "datastore",
        }
    }
}

/// The datastore of a k3s server on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatastoreSource {
    /// Its data directory.
    pub data_dir: PathBuf,
    /// How old the newest snapshot of an embedded etcd may be.
    pub max_age: Duration,
}

/// Folders and files.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a configuration")]
pub struct PathSource {
    /// Absolute paths, at least one.
    pub paths: Vec<PathBuf>,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Leave out marked caches.
    pub exclude_caches: bool,
    /// Stay in the file system.
    pub one_file_system: bool,
    /// The files are in use.
    pub live: bool,
    /// Where databases are copied to.
    pub scratch: Option<PathBuf>,
    /// Data of a PostgreSQL server that was not shut down is stored as what a crash would leave.
    pub postgres_crash_consistent: bool,
    /// The source that dumps that server.
    pub postgres_dump: Option<String>,
}

/// What a program writes to its standard output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSource {
    /// The program and its arguments; at least the program.
    pub argv: Vec<String>,
    /// The name of the file that the output becomes.
    pub file: String,
    /// When it is stopped.
    pub timeout: Duration,
    /// What has to be in the last bytes of the output.
    pub ends_with: Option<String>,
    /// In which container of a cluster; `None` for this machine.
    pub place: Option<ContainerPlace>,
}

/// A container in which a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPlace {
    /// The kubeconfig; the usual one without it.
    pub kubeconfig: Option<PathBuf>,
    /// Its context; the current one without it.
    pub context: Option<String>,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: PodChoice,
    /// Its container; `None` for the only one.
    pub container: Option<String>,
}

/// Which pod is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodChoice {
    /// The one of this name.
    Named(String),
    /// The only one that runs and has all these labels, of which there is at least one.
    Labelled(BTreeMap<String, String>),
}

/// The objects of a Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcesSource {
    /// Where it is.
    pub of: ClusterPlace,
    /// Kinds that are left out, as `resource`, `resource.group` or `*.group`.
    pub exclude: Vec<String>,
    /// Namespaces that are left out with everything in them.
    pub exclude_namespaces: Vec<String>,
    /// The volumes of this cluster are no concern of this configuration.
    pub volumes_elsewhere: bool,
}

/// Where a cluster is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterPlace {
    /// Behind an API server.
    Api {
        /// The kubeconfig; `None` for the usual one, or the service account of the pod.
        kubeconfig: Option<PathBuf>,
        /// Which of its contexts; `None` for its current one.
        context: Option<String>,
    },
    /// In a folder of this machine that stands for one.
    Folder(PathBuf),
}

/// Which claims of a cluster, by what their manifests say, and what stands for some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimsChoice {
    /// Only these namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// Labels that a claim has to have.
    pub labels: BTreeMap<String, String>,
    /// Only these claims, as `NAMESPACE/CLAIM` with `*`; empty for all.
    pub names: Vec<String>,
    /// Only these storage classes; empty for all.
    pub storage_classes: Vec<String>,
    /// Claims that are left out on purpose.
    pub exclude: Vec<String>,
    /// Which dumps stand for which volumes.
    pub cnpg: Vec<Cnpg>,
    /// Which dumps stand for data of `PostgreSQL` in which volumes.
    pub postgres_dumps: Vec<PostgresDump>,
}

/// The data of claims in a folder that stands for a cluster: `volumes/NAMESPACE/CLAIM`, read where they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderVolumesSource {
    /// The folder.
    pub folder: PathBuf,
    /// Which claims.
    pub choice: ClaimsChoice,
    /// Its objects are no concern of this configuration.
    pub resources_elsewhere: bool,
}

/// The data of a cluster's claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesSource {
    /// The kubeconfig; `None` for the usual one, or the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts; `None` for its current one.
    pub context: Option<String>,
    /// The image of movers.
    pub image: String,
    /// Our namespace, for claims that are made from snapshots and for the journal; without it nothing is snapshotted or cloned.
    pub namespace: Option<String>,
    /// Which claims.
    pub choice: ClaimsChoice,
    /// The `VolumeSnapshotClass` to take, by the name of the CSI driver.
    pub snapshot_classes: BTreeMap<String, String>,
    /// Movers at once.
    pub movers: usize,
    /// With whose rights they read.
    pub mode: MoverMode,
    /// When one is ended.
    pub timeout: Duration,
    /// How long its pod may take to start.
    pub start_timeout: Duration,
    /// How applications hold still; the first that means a claim counts.
    pub hooks: Vec<Hook>,
    /// The objects of this cluster are no concern of this configuration.
    pub resources_elsewhere: bool,
}

/// How the applications of some claims hold still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The claims, as `NAMESPACE/CLAIM` with `*`; at least one.
    pub claims: Vec<String>,
    /// Labels that a claim has to have.
    pub labels: BTreeMap<String, String>,
    /// How.
    pub way: HookWay,
    /// How long that may take, and each command.
    pub timeout: Duration,
}

impl Hook {
    /// The time limit where nobody says another.
    pub const TIMEOUT: Duration = Duration::from_mins(10);
}

/// What makes an application hold still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookWay {
    /// Its workload goes to zero.
    Scale,
    /// Commands in the pods that use the claim.
    Command {
        /// In which container; `None` for the only one.
        container: Option<String>,
        /// At least a program.
        before: Vec<String>,
        /// Empty if there is nothing to do.
        after: Vec<String>,
    },
    /// Annotations of the claim.
    Handshake,
}

/// A dump that stands for the volumes of clusters of `CloudNativePG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cnpg {
    /// The clusters, as `NAMESPACE/NAME` with `*`; at least one.
    pub clusters: Vec<String>,
    /// The command source that dumps them.
    pub covered_by: String,
}

/// A dump that stands for the data of `PostgreSQL` servers in volumes that are read where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresDump {
    /// The claims, as `NAMESPACE/CLAIM` with `*`; at least one.
    pub claims: Vec<String>,
    /// The command source that dumps them.
    pub covered_by: String,
}

/// With whose rights a mover reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoverMode {
    /// The application's.
    App,
    /// Root's, as far as reading goes.
    Root,
    /// A privileged container's.
    Privileged,
}

impl MoverMode {
    /// By its word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "app" => Some(Self::App),
            "root" => Some(Self::Root),
            "privileged" => Some(Self::Privileged),
            _ => None,
        }
    }
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// Of sources without rules of their own; `None` keeps everything of them.
    pub default: Option<Policy>,
    /// Of single sources.
    pub sources: BTreeMap<String, Policy>,
}

impl Retention {
    /// The rules for a source; `None` keeps everything.
    #[must_use]
    pub fn policy(&self, source: &str) -> Option<&Policy> {
        self.sources.get(source).or(self.default.as_ref())
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.default.is_none() && self.sources.is_empty()
    }
}

/// A place that copies go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name here.
    pub name: String,
    /// Its address.
    pub to: String,
    /// For how long copies are locked.
    pub object_lock: Option<Duration>,
}

/// What reading a configuration came to: the configuration, unless a finding is an error, and all findings in the order of the file.
#[derive(Debug)]
pub struct Read {
    /// The configuration.
    pub config: Option<Config>,
    /// What is wrong or doubtful.
    pub findings: Vec<Finding>,
}

/// Reads a configuration. Any bytes give a value; it holds a configuration or at least one error.
#[must_use]
pub fn read(bytes: &[u8], judges: &Judges<'_>) -> Read {
    let mut findings = Vec::new();
    let mut config = None;
    match fields::read(bytes, FILE, &mut findings) {
        Err(fatal) => findings.push(fatal),
        Ok(mut root) => {
            judge::judge(&root, judges, &mut findings);
            if findings.iter().all(|finding| finding.severity != Severity::Error) {
                judge::fill(&mut root);
                config = understand::understand(root);
                if config.is_none() {
                    let help = "this is a bug in homelab-dr: please report it with the file";
                    findings.push(Finding::error(
                        Place::START,
                        "the configuration passed the check and was not understood",
                        help,
                    ));
                }
            }
        }
    }
    findings.sort_by_key(|finding| (finding.place, finding.severity));
    Read { config, findings }
}

impl Config {
    /// The repository of this name.
    #[must_use]
    pub fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.iter().find(|repository| repository.name == name)
    }

    /// The repository that is meant when none is named.
    #[must_use]
    pub fn default_repository(&self) -> Option<&Repository> {
        self.repository(self.default_repository.as_deref()?)
    }

    /// What was understood, as YAML that [`read`] takes back.
    #[must_use]
    pub fn yaml(&self) -> String {
        show::yaml(&self.understood)
    }

    /// What was understood, as JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        show::json(&self.understood)
    }
}
