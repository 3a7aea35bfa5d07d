//! A cluster whose client dies after so many writes, and a look at it after each.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use homelab_dr::cluster::api::Api;
use homelab_dr::cluster::{Cluster, ClusterError, Created, Deleted, How, Kind, Kinds, Page};
use serde_json::Value;

/// The cluster, with something that happens around every write.
pub(crate) struct Around<'a> {
    pub(crate) api: &'a Api,
    /// After each write that was carried out.
    pub(crate) after: Box<dyn Fn() + Send + Sync + 'a>,
    /// Writes that are still let through; then the machine is gone.
    pub(crate) left: AtomicUsize,
    /// Whether the answer to the last of them still arrives.
    pub(crate) last_is_answered: bool,
}

impl<'a> Around<'a> {
    /// Carries out so many writes.
    pub(crate) fn dying(api: &'a Api, after: usize, last_is_answered: bool) -> Self {
        Self { api, after: Box::new(|| ()), left: AtomicUsize::new(after), last_is_answered }
    }

    /// Writes that were carried out, if none was to fail.
    pub(crate) fn used(&self) -> usize {
        usize::MAX - self.left.load(Ordering::Relaxed)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    fn wrote<T>(&self, answer: Result<T, ClusterError>) -> Result<T, ClusterError> {
        let left = self.left.fetch_sub(1, Ordering::Relaxed) - 1;
        (self.after)();
        if left == 0 && !self.last_is_answered {
            self.alive()?;
        }
        answer
    }

    fn alive(&self) -> Result<(), ClusterError> {
        if self.is_dead() {
            return Err(ClusterError::Unreachable { server: "the test".into(), source: "killed".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl Cluster for Around<'_> {
    fn name(&self) -> String {
        self.api.name()
    }

    async fn version(&self) -> Result<String, ClusterError> {
        self.api.version().await
    }

    async fn kinds(&self) -> Result<Kinds, ClusterError> {
        self.alive()?;
        self.api.kinds().await
    }

    async fn list(&self, kind: &Kind, next: Option<&str>) -> Result<Page, ClusterError> {
        self.alive()?;
        self.api.list(kind, next).await
    }

    async fn serves(&self, kind: &Kind) -> Result<bool, ClusterError> {
        self.api.serves(kind).await
    }

    async fn get(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<Option<Value>, ClusterError> {
        self.alive()?;
        self.api.get(kind, namespace, name).await
    }

    async fn create(&self, kind: &Kind, object: &Value, how: How) -> Result<Created, ClusterError> {
        self.alive()?;
        self.wrote(self.api.create(kind, object, how).await)
    }

    async fn replace(&self, kind: &Kind, object: &Value, how: How) -> Result<Value, ClusterError> {
        self.alive()?;
        self.wrote(self.api.replace(kind, object, how).await)
    }

    async fn patch(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClusterError> {
        self.alive()?;
        self.wrote(self.api.patch(kind, namespace, name, patch).await)
    }

    async fn delete(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        uid: &str,
    ) -> Result<Deleted, ClusterError> {
        self.alive()?;
        self.wrote(self.api.delete(kind, namespace, name, uid).await)
    }
}
