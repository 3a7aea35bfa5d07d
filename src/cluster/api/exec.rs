//! A command in a container of a pod, over WebSocket: its exit code, and as much of its output as is wanted.
//!
//! Nobody ends the command when its time is over or the connection breaks: Kubernetes has no way to. It goes on in the container, and what it does is not known.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Api;
use crate::cluster::ClusterError;
use crate::cluster::exec::{Exec, Room, Said};

/// What is read at once.
const PIECE_BYTES: usize = 8 << 10;
/// How long the rest of the output is waited for when the command has ended.
const REST_TIME: Duration = Duration::from_secs(10);

#[async_trait]
impl Exec for Api {
    async fn exec(&self, room: &Room<'_>, argv: &[String], limit: Duration) -> Result<Said, ClusterError> {
        let request = format!("exec in {}/{}", room.namespace, room.pod);
        let silent = || ClusterError::Silent { server: self.server.clone(), request: request.clone(), limit };
        let asked = tokio::time::timeout(limit, self.executed(room, argv, &request)).await;
        asked.unwrap_or_else(|_| Err(silent()))
    }
}

impl Api {
    async fn executed(&self, room: &Room<'_>, argv: &[String], request: &str) -> Result<Said, ClusterError> {
        let params = AttachParams { stdin: false, stdout: true, stderr: true, ..AttachParams::default() };
        let params = params.container(room.container);
        let params = &params;
        let begin = |client: kube::Client| async move {
            let pods: kube::Api<Pod> = kube::Api::namespaced(client, room.namespace);
            pods.exec(room.pod, argv, params).await.map_err(|error| self.failed(request, error))
        };
        let mut process = self.session.asked(begin, |error| error).await?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let ended = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let most = room.output_bytes_max;
        let mut reading = pin!(async { tokio::join!(beginning(stdout, most), beginning(stderr, most)) });
        let mut ended = pin!(ended);
        let (mut output, status) = tokio::select! {
            output = &mut reading => (Some(output), ended.await),
            status = &mut ended => (None, status),
        };
        // Where the connection broke nobody says that the outputs have ended, and there is no status.
        if output.is_none() && status.is_some() {
            output = tokio::time::timeout(REST_TIME, reading).await.ok();
        }
        // The server says how it ended; without that the connection broke, and the command may still be running.
        let Some(code) = status.as_ref().and_then(exit_code) else {
            let what = status.and_then(|status| status.message).unwrap_or_else(|| "the connection broke".to_owned());
            return Err(ClusterError::Answer { request: request.to_owned(), what });
        };
        let Some((stdout, stderr)) = output else {
            let what = "its output has no end".to_owned();
            return Err(ClusterError::Answer { request: request.to_owned(), what });
        };
        Ok(Said { code, stdout: stdout.0, stderr: stderr.0, is_cut: stdout.1 || stderr.1 })
    }
}

/// The exit code; nothing if the command did not end by itself.
fn exit_code(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status.details.as_ref()?.causes.as_ref()?;
    let cause = causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    cause.message.as_ref()?.parse().ok()
}

/// The first bytes of an output, and whether there were more. All of it is read, so that the command does not wait for somebody to read it.
async fn beginning(output: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> (Vec<u8>, bool) {
    let (mut kept, mut is_cut) = (Vec::new(), false);
    let Some(mut output) = output else { return (kept, is_cut) };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = output.read(&mut piece).await {
        let room = bytes_max.saturating_sub(kept.len());
        kept.extend(piece.iter().take(count.min(room)));
        is_cut |= count > room;
    }
    (kept, is_cut)
}
