//! Commands in containers, as far as a cluster runs any: a folder does not.

use std::time::Duration;

use async_trait::async_trait;

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
}
