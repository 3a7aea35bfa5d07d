//! What a step is, with every variable replaced and every default filled in: what a plan is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What others call it.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// What has to be done before it, by id; what was left out in the file is written here. Empty for one that is carried out only when another fails.
    pub needs: Vec<String>,
    /// How long it may take, its checks included.
    pub timeout: Duration,
    /// What it does.
    pub action: Action,
    /// What has to hold afterwards.
    pub verify: Vec<Check>,
    /// What happens if it fails.
    pub on_failure: OnFailure,
    /// Something that was there is lost by it.
    pub is_destructive: bool,
    /// It is carried out only when another fails.
    pub is_compensation: bool,
}

/// What happens when a step fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing more is begun.
    Stop,
    /// All others go on, those that need it too.
    Continue,
    /// A person decides which of the two.
    Ask,
    /// These steps, in this order; then nothing more is begun.
    Run(Vec<String>),
}

/// A claim, or another thing with a name in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its namespace; `None` for an object without.
    pub namespace: Option<String>,
    /// The plural of its kind, such as `deployments`.
    pub resource: String,
    /// The group of its kind; empty for the core group.
    pub group: String,
    /// Its name.
    pub name: String,
}

/// Which snapshot of which source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The source.
    pub source: String,
    /// `latest`, the start of an id, or a time, as [`crate::base::when::Selector`] reads it.
    pub snapshot: String,
}

/// How applications hold still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quiet {
    /// Their workload goes to zero.
    Scale,
    /// Commands in their pods.
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

/// A program in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPod {
    /// A pod, or a workload of which a ready pod is taken.
    pub object: Object,
    /// Its container; `None` for the only one.
    pub container: Option<String>,
    /// At least a program.
    pub argv: Vec<String>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// `restore.volume`
    RestoreVolume(RestoreVolume),
    /// `restore.resources`
    RestoreResources(RestoreResources),
    /// `restore.files`
    RestoreFiles(RestoreFiles),
    /// `datastore.restore`
    RestoreDatastore {
        /// Of what.
        from: Origin,
        /// The data directory of k3s.
        data_dir: PathBuf,
    },
    /// `gitops.pause` and `gitops.resume`
    Gitops {
        /// Whether it is paused; otherwise it goes on.
        pause: bool,
        /// Only in these namespaces; empty for all.
        namespaces: Vec<String>,
        /// Only objects of these names; empty for all.
        names: Vec<String>,
    },
    /// `scale`
    Scale {
        /// The workload.
        object: Object,
        /// How many replicas it gets.
        replicas: u64,
    },
    /// `quiesce`
    Quiesce {
        /// At least one.
        claims: Vec<Claim>,
        /// How.
        how: Quiet,
        /// The step after which they go on; `None` for the end of the run.
        until: Option<String>,
    },
    /// `wait` for a time
    Pause(Duration),
    /// `wait` until something holds
    WaitUntil {
        /// All of these.
        checks: Vec<Check>,
        /// Between two looks.
        every: Duration,
    },
    /// `check`
    Check(Vec<Check>),
    /// `exec`
    Exec(InPod),
    /// `run`: at least a program.
    Run(Vec<String>),
    /// `notify`
    Notify(String),
    /// `manual`: what the person types.
    Manual(String),
}

/// The data of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreVolume {
    /// Of what.
    pub from: Origin,
    /// The claim that is filled.
    pub into: Claim,
    /// It is there and has data.
    pub in_place: bool,
    /// The storage class of a claim that is made.
    pub storage_class: Option<String>,
    /// The least size of a claim that is made, in bytes.
    pub size: Option<u64>,
}

/// Objects of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a step")]
pub struct RestoreResources {
    /// Of what.
    pub from: Origin,
    /// Kinds, or `NAMESPACE/KIND/NAME` with `*`; empty for all.
    pub include: Vec<String>,
    /// The same, left out.
    pub exclude: Vec<String>,
    /// Namespaces that get another name.
    pub namespaces: BTreeMap<String, String>,
    /// Nodes that have another name.
    pub nodes: BTreeMap<String, String>,
    /// Storage classes in the place of others.
    pub storage_classes: BTreeMap<String, String>,
    /// Objects that are there and differ are replaced.
    pub update: bool,
    /// The latest snapshot of each volume, not the one nearest to the objects.
    pub latest_volumes: bool,
    /// Make claims without data.
    pub empty_volumes: bool,
    /// Claims that may be made without data, as `NAMESPACE/NAME` in the snapshot.
    pub may_be_empty: BTreeSet<String>,
    /// Also secrets that an operator would fetch again.
    pub with_derived_secrets: bool,
    /// The run of the drill that the step belongs to: it takes over only what a drill may, into namespaces of its own.
    pub drill: Option<String>,
}

/// Files into a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreFiles {
    /// Of what.
    pub from: Origin,
    /// What of the snapshot; `None` for all.
    pub path: Option<String>,
    /// Where to.
    pub target: PathBuf,
    /// Patterns; empty for all.
    pub include: Vec<String>,
    /// Patterns.
    pub exclude: Vec<String>,
    /// What is done with files that are there.
    pub overwrite: Overwrite,
    /// Remove what the snapshot does not have.
    pub delete: bool,
    /// Not owner and group.
    pub no_owner: bool,
}

/// What is done with files that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// They stay.
    Never,
    /// They are replaced if size or time differ.
    Changed,
    /// They are replaced.
    Always,
}

/// A check.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// What is looked at.
    pub probe: Probe,
    /// How often it is tried again; `None` as often as the deadline allows.
    pub retries: Option<u64>,
    /// For how long it is tried again.
    pub deadline: Option<Duration>,
    /// Between two tries.
    pub every: Duration,
}

/// What the answer to a query has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is one.
    Any,
    /// At least this number.
    AtLeast(u64),
    /// This.
    Equals(String),
}

/// Where and how a database is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// `HOST:PORT`; `None` for a server that is started on a copy of what was restored.
    pub address: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// Who asks.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// What is asked.
    pub query: String,
    /// What is answered.
    pub answer: Answer,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// `files`: what came back is what the snapshot has; percent of the content that is read.
    Files(u8),
    /// `no-empty`: at least so many files.
    NoEmpty(u64),
    /// `ready`: these objects
    Ready(Vec<Object>),
    /// `ready`: all workloads and claims of a namespace
    NamespaceReady(String),
    /// `condition`
    Condition {
        /// The object.
        object: Object,
        /// The type of the condition.
        condition: String,
        /// `True`, `False` or `Unknown`.
        status: String,
    },
    /// `room`: so much of a claim's volume is free.
    Room {
        /// The claim.
        claim: Claim,
        /// Percent.
        at_least: u8,
    },
    /// `http`
    Http {
        /// Its address.
        url: String,
        /// The status of the answer.
        status: u64,
        /// A text in it.
        contains: Option<String>,
    },
    /// `tcp`: `HOST:PORT`
    Tcp(String),
    /// `dns`
    Dns {
        /// The name.
        name: String,
        /// These are among its addresses.
        addresses: Vec<String>,
        /// Who is asked.
        server: Option<String>,
    },
    /// `tls`
    Tls {
        /// `HOST:PORT`.
        address: String,
        /// The name on the certificate; `None` for the host.
        name: Option<String>,
        /// How long it lasts at least.
        valid_for: Duration,
    },
    /// `postgres`
    Postgres(Query),
    /// `mysql`
    Mysql(Query),
    /// `sqlite`
    Sqlite {
        /// Which of the claims that come with objects has it.
        claim: Option<Claim>,
        /// Below what was restored, or below the root of the claim, or an absolute path.
        file: PathBuf,
        /// What is asked, beside whether it is whole.
        query: Option<String>,
        /// What is answered.
        answer: Answer,
    },
    /// `exec`
    Exec {
        /// What runs where.
        what: InPod,
        /// A text in what it prints.
        contains: Option<String>,
    },
    /// `run`: at least a program, on this machine.
    Run {
        /// It and its arguments.
        argv: Vec<String>,
        /// A text in what it prints.
        contains: Option<String>,
    },
}

impl Step {
    /// How long it can take: its time limit, but for what takes a known time.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        match self.action {
            Action::Pause(time) if self.verify.is_empty() => time,
            Action::Notify(_) if self.verify.is_empty() => Duration::ZERO,
            _ => self.timeout,
        }
    }

    /// Whether it brings data back, so that something has to be verified.
    #[must_use]
    pub const fn restores(&self) -> bool {
        matches!(
            self.action,
            Action::RestoreVolume(_)
                | Action::RestoreResources(_)
                | Action::RestoreFiles(_)
                | Action::RestoreDatastore { .. }
        )
    }
}

impl Action {
    /// Whether something that was there is lost by it, as far as its fields say.
    #[must_use]
    pub const fn is_destructive(&self) -> bool {
        match self {
            Self::RestoreVolume(volume) => volume.in_place,
            Self::RestoreResources(resources) => resources.update,
            Self::RestoreFiles(files) => files.delete,
            Self::RestoreDatastore { .. } => true,
            _ => false,
        }
    }
}

impl Probe {
    /// Whether a cluster is looked at in which something runs.
    #[must_use]
    pub const fn is_of_cluster(&self) -> bool {
        matches!(
            self,
            Self::Ready(_) | Self::NamespaceReady(_) | Self::Condition { .. } | Self::Room { .. } | Self::Exec { .. }
        )
    }
}
