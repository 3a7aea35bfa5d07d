//! A Kubernetes cluster as far as backup and recovery need one: what kinds it has, what objects, in pages; and its objects as manifests.
//!
//! ```text
//! kinds (discovery) ─ choose (noise, the user's exclusions) ─ list, page by page ─ manifest (YAML) ─ documents
//! ```
//! Knows no repository. `kube` is used for what it does well (kubeconfig, credentials, TLS) and named only here; requests are plain, because what is
//! backed up must be every field that the server sent, also those that no type of ours knows.

pub mod api;
pub mod capture;
pub mod change;
pub mod choice;
pub mod compare;
pub mod edit;
pub mod error;
pub(crate) mod event;
pub mod exec;
pub mod folder;
pub mod kind;
pub(crate) mod kinds;
pub mod list;
pub mod manifest;
pub mod object;
pub mod order;
pub mod ours;
pub mod ready;
pub mod rewrite;
pub mod room;
pub mod selector;
pub mod streams;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

pub use error::ClusterError;
pub use kind::Kind;
pub use list::Which;

/// What discovery found.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    /// Every kind that can be listed, once each, in the version that the server prefers; ordered by group and name.
    pub kinds: Vec<Kind>,
    /// Groups and versions that did not answer, such as those of an aggregated API whose server is down, and why.
    pub silent: Vec<(String, String)>,
}

/// A part of a list. All pages of a list show one moment.
#[derive(Debug, Clone)]
pub struct Page {
    /// The objects, complete with `apiVersion` and `kind`.
    pub objects: Vec<Value>,
    /// Asks for the next page.
    pub next: Option<String>,
    /// The room that it takes; the next pages of other lists wait for it.
    pub held: Option<Arc<OwnedSemaphorePermit>>,
}

/// Whether a write is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is.
    Really,
    /// The server only says whether it would take it.
    Trial,
}

/// What a creation came to.
#[derive(Debug, Clone)]
pub enum Created {
    /// The object is there, as the server made it.
    New(Value),
    /// It was there. Perhaps it is the one that was to be created: a request whose answer got lost may have been carried out.
    Found(Value),
}

/// What a deletion came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// There is no object of that uid any more.
    Gone,
    /// It is marked for deletion: a finalizer, or a process that ends, keeps it for a while.
    Going,
}

/// A cluster: read, and written one object at a time.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// For people: the address of the API server, or the folder.
    fn name(&self) -> String;

    /// The version of Kubernetes, such as `v1.36.0`.
    async fn version(&self) -> Result<String, ClusterError>;

    /// After a request has failed: what fails in the cluster as a whole, if it does. Else only this one request does (an aggregated server that is down, an object that the server
    /// cannot decrypt), and others would be answered.
    async fn is_lost(&self, error: &ClusterError) -> Option<ClusterError> {
        if !error.is_of_the_cluster() {
            return None;
        }
        self.version().await.err().filter(ClusterError::is_of_the_cluster)
    }

    /// All kinds of objects that it has.
    async fn kinds(&self) -> Result<Kinds, ClusterError>;

    /// A page of all objects of a kind, in all namespaces. [`ClusterError::is_expired`] when the moment of the first page is too long ago.
    async fn list(&self, kind: &Kind, next: Option<&str>) -> Result<Page, ClusterError>;

    /// The same where only some are wanted; one that cannot choose gives others too ([`list::collect_of`] leaves them out).
    async fn list_of(&self, kind: &Kind, _which: Which<'_>, next: Option<&str>) -> Result<Page, ClusterError> {
        self.list(kind, next).await
    }

    /// Whether anything acts in it, so that waiting makes sense and the kinds that there are count. In a folder nothing does.
    fn lives(&self) -> bool {
        true
    }

    /// Whether objects of this kind can be had in exactly this version.
    async fn serves(&self, kind: &Kind) -> Result<bool, ClusterError>;

    /// What a node's kubelet says of its disk and of the volumes of its pods ([`room`] reads it); `None` where nobody says it.
    async fn stats_of_node(&self, _node: &str) -> Result<Option<Value>, ClusterError> {
        Ok(None)
    }

    /// What is free on the disk that a node's kubelet has for itself and its pods, in bytes; `None` where nobody says it.
    async fn free_on_node(&self, node: &str) -> Result<Option<u64>, ClusterError> {
        let stats = self.stats_of_node(node).await?;
        Ok(stats.as_ref().and_then(room::of_node).map(|room| room.free))
    }

    /// One object; `None` if it is not there.
    async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>, ClusterError>;

    /// Creates an object (POST). What may have happened without an answer is looked at, not repeated.
    async fn create(&self, kind: &Kind, object: &Value, how: How) -> Result<Created, ClusterError>;

    /// Replaces an object (PUT) that has to have the `resourceVersion` given in it. [`ClusterError::is_conflict`] when it has another.
    async fn replace(&self, kind: &Kind, object: &Value, how: How) -> Result<Value, ClusterError>;

    /// Changes some fields (a JSON merge patch, RFC 7386).
    async fn patch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClusterError>;

    /// Deletes an object, if it is still the one of this `uid`; what belongs to it follows later. An object of that name with another uid is left alone.
    async fn delete(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<Deleted, ClusterError>;
}
