//! Verification: is what came back alive? The checks of runbooks, carried out; one file for each kind.
//!
//! ```text
//! Check ─ hold: again and again, within its retries and its deadline ─ look: once ─ one kind ─ Seen
//! ```
//! A check that could not be carried out does not hold: [`Seen`] has no third answer. Nothing is changed by a look: requests are GETs, queries run in transactions
//! that may only read, databases in files are opened as copies. What a program in a container does (`exec`) is the runbook's affair. Every look has its limits:
//! of time, and of bytes that the other side may send. What another side says is told as it said it: who prints it makes it harmless.

mod answer;
mod datadir;
mod dns;
mod files;
mod http;
pub(crate) mod mover;
mod mysql;
pub(crate) mod objects;
mod postgres;
mod program;
mod room;
mod sqlite;
mod tcp;
mod tls;
mod trust;
pub mod volume;
pub(crate) mod words;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::time::Instant;

pub use datadir::has_server;
pub use trust::Roots;
pub use words::describe;

use crate::base::cancel::Cancel;
use crate::base::clock::Clock;
use crate::base::progress::{Progress, Seen as SeenSoFar};
use crate::base::units;
use crate::cluster::Cluster;
use crate::cluster::exec::Exec;
use crate::format::entry::TreePath;
use crate::format::record::TreeRoot;
use crate::recover::select::Selection;
use crate::repo::fetch::Reader;
use crate::runbook::{Check, Probe};

/// What a look at something came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It is as the check wants it, and this was seen.
    Holds(String),
    /// It is not, or nobody knows, and this was seen instead, with what may help.
    Not(String),
}

impl Seen {
    /// Whether it is as the check wants it.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self, Self::Holds(_))
    }

    /// What was seen.
    #[must_use]
    pub fn said(&self) -> &str {
        match self {
            Self::Holds(said) | Self::Not(said) => said,
        }
    }
}

/// What a kind came to, before it is a [`Seen`]: what was seen, or why it does not hold.
type Look = Result<String, String>;

/// What is said of a look that somebody did not want to wait for.
const STOPPED: &str = "it was stopped before it was known";

/// Why nothing of this machine is looked at.
const NOTHING_HERE: &str = "nothing was restored into a directory of this machine that it could look at";

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For a connection with everything that comes before a query, or for a whole answer of HTTP, TLS or DNS.
    pub answer: Duration,
    /// For the answer to a query, or the end of a program in a container.
    pub query: Duration,
    /// Until a server on a restored data directory takes queries: it may have a long log to go through.
    pub start: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { answer: Duration::from_secs(20), query: Duration::from_mins(5), start: Duration::from_mins(15) }
    }
}

/// What was restored, on this machine, and from what.
#[derive(Clone)]
pub struct Restored {
    /// Where it lies now.
    pub folder: PathBuf,
    /// Where it came from; without it nothing can be compared.
    pub from: Option<Origin>,
}

/// Where something that was restored came from.
#[derive(Clone)]
pub struct Origin {
    /// It reads content.
    pub reader: Arc<Reader>,
    /// The tree.
    pub root: TreeRoot,
    /// The part of it that was restored: a directory's contents lie in the folder itself.
    pub within: TreePath,
    /// Which entries of it.
    pub selection: Selection,
}

/// What runs programs on this machine.
#[async_trait]
pub trait Programs: Send + Sync {
    /// Runs one to its end, without input; what it printed, line by line, or why it did not end well. Nothing of it goes on when `cancel` asks for the end.
    async fn run(&self, argv: &[String], cancel: &Arc<Cancel>) -> Result<Vec<String>, String>;
}

/// What a check may look at.
#[derive(Clone)]
pub struct Surroundings {
    /// The cluster; without one every check of an object says that there is none, or why.
    pub cluster: Result<Arc<dyn Cluster>, String>,
    /// The same for programs in its containers.
    pub exec: Result<Arc<dyn Exec>, String>,
    /// What runs programs on this machine.
    pub programs: Arc<dyn Programs>,
    /// What was restored into a directory of this machine; of objects each volume of theirs.
    pub restored: Vec<Restored>,
    /// What no link may lead a check of files out of, besides what was restored.
    pub confined: Option<PathBuf>,
    /// Whose certificates are trusted.
    pub roots: Roots,
    /// How long is waited.
    pub limits: Limits,
    /// Where copies of databases are made and removed.
    pub scratch: PathBuf,
    /// The time, for certificates and for which share of the content is read.
    pub clock: Arc<dyn Clock>,
    /// Somebody wants it to stop: it does not hold then.
    pub cancel: Arc<Cancel>,
    /// Told what is seen of a check that does not hold yet.
    pub progress: Arc<Progress>,
    /// How long there is for everything, whatever a check says of itself.
    pub limit: Duration,
}

impl Surroundings {
    /// Without cluster and restored data, with the system's roots and its directory for temporary files.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, cancel: Arc<Cancel>, programs: Arc<dyn Programs>) -> Self {
        let none = "no cluster is there to look at".to_owned();
        Self {
            cluster: Err(none.clone()),
            exec: Err(none),
            programs,
            restored: Vec::new(),
            confined: None,
            roots: Roots::system(),
            limits: Limits::default(),
            scratch: crate::tree::live::scratch::usual(),
            clock,
            cancel,
            progress: Arc::default(),
            limit: Duration::MAX,
        }
    }

    fn folder(&self) -> Result<&Path, String> {
        self.restored.first().map(|restored| restored.folder.as_path()).ok_or_else(|| NOTHING_HERE.to_owned())
    }
}

/// Looks once.
pub async fn look(probe: &Probe, around: &Surroundings) -> Seen {
    // A server of ours is ended in good order, by who started it.
    let ends_itself =
        matches!(probe, Probe::Run { .. }) || matches!(probe, Probe::Postgres(query) if query.address.is_none());
    let looked = tokio::select! {
        looked = one(probe, around) => looked,
        () = around.cancel.cancelled(), if !ends_itself => Err(STOPPED.to_owned()),
    };
    match looked {
        Ok(said) => Seen::Holds(said),
        Err(why) => Seen::Not(why),
    }
}

async fn one(probe: &Probe, around: &Surroundings) -> Look {
    match probe {
        Probe::Files(share) => files::compare(*share, around).await,
        Probe::NoEmpty(at_least) => files::count(*at_least, around).await,
        Probe::Ready(objects) => objects::ready(objects, around).await,
        Probe::NamespaceReady(namespace) => objects::namespace(namespace, around).await,
        Probe::Condition { object, condition, status } => objects::condition(object, condition, status, around).await,
        Probe::Room { claim, at_least } => room::look(claim, *at_least, around).await,
        Probe::Http { url, status, contains } => http::look(url, *status, contains.as_deref(), around).await,
        Probe::Tcp(address) => tcp::look(address, around).await,
        Probe::Dns { name, addresses, server } => dns::look(name, addresses, server.as_deref(), around).await,
        Probe::Tls { address, name, valid_for } => tls::look(address, name.as_deref(), *valid_for, around).await,
        Probe::Postgres(query) if query.address.is_none() => datadir::look(query, around).await,
        Probe::Postgres(query) => postgres::look(query, around).await,
        Probe::Mysql(query) => mysql::look(query, around).await,
        Probe::Sqlite { claim: _, file, query, answer } => sqlite::look(file, query.as_deref(), answer, around).await,
        Probe::Exec { what, contains } => objects::exec(what, contains.as_deref(), around).await,
        Probe::Run { argv, contains } => program::look(argv, contains.as_deref(), around).await,
    }
}

/// Looks again and again, until it holds, or there is no try or no time left. A look that was begun in time is waited for: it has a limit of its own.
pub async fn hold(check: &Check, around: &Surroundings) -> Seen {
    let begun = Instant::now();
    let retries = match (check.retries, check.deadline) {
        (Some(retries), _) => retries,
        (None, Some(_)) => u64::MAX,
        (None, None) => 0,
    };
    let mut tries = 0_u64;
    loop {
        let seen = look(&check.probe, around).await;
        let is_over = check.deadline.is_some_and(|limit| begun.elapsed() + check.every > limit);
        if !around.cancel.is_cancelled() {
            let limit = check.deadline.map_or(around.limit, |deadline| deadline.min(around.limit));
            let so_far = Some(SeenSoFar { what: seen.said().to_owned(), limit });
            around.progress.sees(so_far.filter(|_| !seen.holds()));
        }
        if seen.holds() || tries >= retries || is_over || around.cancel.is_cancelled() {
            return match seen {
                Seen::Not(why) if tries > 0 => {
                    let time = units::duration(Duration::from_secs(begun.elapsed().as_secs()));
                    Seen::Not(format!("{why} (after {} tries in {time})", tries + 1))
                }
                seen => seen,
            };
        }
        tries += 1;
        tokio::select! {
            () = tokio::time::sleep(check.every) => {}
            () = around.cancel.cancelled() => {}
        }
    }
}

/// Waits for something, so long at most. `what` names it for people: "the server".
async fn within<T>(limit: Duration, what: &str, waited: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = || Err(format!("{what} did not answer within {}", units::duration(limit)));
    tokio::time::timeout(limit, waited).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests;
