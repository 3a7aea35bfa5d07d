//! Commands in containers, as far as a cluster runs any: a folder does not.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::Sender;

use super::ClusterError;

/// Where a command runs.
#[derive(Debug, Clone, Copy)]
pub struct Room<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// Its container.
    pub container: &'a str,
    /// Bytes that are kept of each of its two outputs.
    pub output_bytes_max: usize,
}

/// What a command said, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; 0 is well.
    pub code: i32,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
    /// Whether there was more.
    pub is_cut: bool,
}

/// Runs commands in containers.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Runs `argv` as it is, without any shell, and waits for its end. [`ClusterError::Silent`] after `limit`; the command itself goes on then.
    async fn exec(&self, room: &Room<'_>, argv: &[String], limit: Duration) -> Result<Said, ClusterError>;

    /// The same where its whole standard output is wanted: piece by piece to `output`, as fast as they are taken there. It returns when the command has ended and all of them are
    /// sent; [`Said::stdout`] is empty then, and of standard error the end is kept. [`ClusterError::Answer`] when nobody takes them any more. Dropped, it lets go of the command,
    /// which may go on.
    async fn pour(&self, room: &Room<'_>, argv: &[String], output: Sender<Vec<u8>>) -> Result<Said, ClusterError>;
}
