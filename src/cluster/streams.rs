//! What runs in a pod, heard and spoken to. Beside [`Cluster`](super::Cluster), since a folder has nothing that runs.

use async_trait::async_trait;

use super::ClusterError;

/// A way to the processes of a cluster.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Attaches to the standard input of a container that runs. Nothing is heard this way: whoever listens reads the log.
    async fn attach(&self, namespace: &str, pod: &str, container: &str) -> Result<Box<dyn Input>, ClusterError>;

    /// The log of a container, from a moment on (as RFC 3339) or from its beginning, and onward until the container has ended. Each line has its time
    /// before it. Lines of that moment come again.
    async fn follow(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        since: Option<&str>,
    ) -> Result<Box<dyn Lines>, ClusterError>;
}

/// The standard input of a container. Whether bytes arrive is seen by what the container says to them, and not here.
#[async_trait]
pub trait Input: Send {
    /// Sends bytes.
    async fn send(&mut self, bytes: &[u8]) -> Result<(), ClusterError>;

    /// Returns when the connection has ended.
    async fn closed(&mut self);
}

/// Lines of a log.
#[async_trait]
pub trait Lines: Send {
    /// The next one without its end; `None` when there are no more. One that is longer than anybody writes is cut.
    async fn next(&mut self) -> Result<Option<String>, ClusterError>;
}
