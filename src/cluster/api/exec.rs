//! A command in a container of a pod, over WebSocket: its exit code, and as much of its output as is wanted.
//!
//! Nobody ends the command when its time is over or the connection breaks: Kubernetes has no way to. It goes on in the container, and what it does is not known.

use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::OptionFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc::Sender;

use super::Api;
use crate::cluster::ClusterError;
use crate::cluster::exec::{Exec, Room, Said};

/// What is read at once.
const PIECE_BYTES: usize = 8 << 10;
/// The same of an output of which all is wanted.
const POURED_BYTES: usize = 64 << 10;
/// Said of a command that has ended, and whose output has not.
const NO_END: &str = "its output has no end";
/// What runtimes say of a program that they could not start: runc since 1.1 (seen), runc before it, crun.
const NOT_BEGUN: [&str; 3] =
    ["unable to start container process", "starting container process caused", "executable file `"];
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

    async fn pour(&self, room: &Room<'_>, argv: &[String], output: Sender<Vec<u8>>) -> Result<Said, ClusterError> {
        let request = format!("exec in {}/{}", room.namespace, room.pod);
        let mut process = self.begun(room, argv, &request, POURED_BYTES).await?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let most = room.output_bytes_max;
        let mut reading = pin!(async { tokio::join!(all(stdout, &output), end(stderr, most)) });
        let mut status = pin!(OptionFuture::from(status).map(Option::flatten));
        let (mut read, status) = tokio::select! {
            read = &mut reading => (Some(read), status.await),
            status = &mut status => (None, status),
        };
        let code = ended(status, &request)?;
        while read.is_none() {
            read = tokio::time::timeout(REST_TIME, &mut reading).await.ok();
            // Whoever takes it may be slow.
            if read.is_none() && output.capacity() == output.max_capacity() {
                return Err(ClusterError::Answer { request, what: NO_END.to_owned() });
            }
        }
        let Some((true, (stderr, is_cut))) = read else {
            return Err(ClusterError::Answer { request, what: "nobody takes what it prints".to_owned() });
        };
        Ok(Said { code, stdout: Vec::new(), stderr, is_cut })
    }
}

impl Api {
    /// Starts a command, of whose outputs so many bytes wait for a reader.
    async fn begun(
        &self,
        room: &Room<'_>,
        argv: &[String],
        request: &str,
        waiting_bytes: usize,
    ) -> Result<AttachedProcess, ClusterError> {
        let params = AttachParams { stdin: false, stdout: true, stderr: true, ..AttachParams::default() };
        let params = params.container(room.container).max_stdout_buf_size(waiting_bytes);
        let params = &params;
        let begin = |client: kube::Client| async move {
            let pods: kube::Api<Pod> = kube::Api::namespaced(client, room.namespace);
            pods.exec(room.pod, argv, params).await.map_err(|error| self.failed(request, error))
        };
        self.session.asked(begin, |error| error).await
    }

    async fn executed(&self, room: &Room<'_>, argv: &[String], request: &str) -> Result<Said, ClusterError> {
        let mut process = self.begun(room, argv, request, PIECE_BYTES).await?;
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let most = room.output_bytes_max;
        let mut reading = pin!(async { tokio::join!(beginning(stdout, most), beginning(stderr, most)) });
        let mut ended = pin!(OptionFuture::from(status).map(Option::flatten));
        let (mut output, status) = tokio::select! {
            output = &mut reading => (Some(output), ended.await),
            status = &mut ended => (None, status),
        };
        // Where the connection broke nobody says that the outputs have ended, and there is no status.
        if output.is_none() && status.is_some() {
            output = tokio::time::timeout(REST_TIME, reading).await.ok();
        }
        let code = self::ended(status, request)?;
        let Some((stdout, stderr)) = output else {
            let what = NO_END.to_owned();
            return Err(ClusterError::Answer { request: request.to_owned(), what });
        };
        Ok(Said { code, stdout: stdout.0, stderr: stderr.0, is_cut: stdout.1 || stderr.1 })
    }
}

/// How it ended, as the server says; without that the connection broke, and the command may still be running.
fn ended(status: Option<Status>, request: &str) -> Result<i32, ClusterError> {
    if let Some(code) = status.as_ref().and_then(exit_code) {
        return Ok(code);
    }
    let (request, message) = (request.to_owned(), status.and_then(|status| status.message));
    Err(match message {
        Some(message) if NOT_BEGUN.iter().any(|words| message.contains(words)) => {
            ClusterError::NotBegun { request, message }
        }
        message => ClusterError::Answer { request, what: message.unwrap_or_else(|| "the connection broke".to_owned()) },
    })
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

/// Sends on all of an output. Whether all was taken.
async fn all(output: Option<impl AsyncRead + Unpin>, taker: &Sender<Vec<u8>>) -> bool {
    let Some(mut output) = output else { return true };
    loop {
        let mut piece = Vec::with_capacity(POURED_BYTES);
        match output.read_buf(&mut piece).await {
            Ok(1..) if taker.send(piece).await.is_ok() => {}
            Ok(1..) => return false,
            // How it ended is for the server to say.
            Ok(0) | Err(_) => return true,
        }
    }
}

/// The last bytes of an output, and whether there were more.
async fn end(output: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> (Vec<u8>, bool) {
    let (mut kept, mut is_cut) = (Vec::new(), false);
    let Some(mut output) = output else { return (kept, is_cut) };
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = output.read(&mut piece).await {
        kept.extend(piece.iter().take(count));
        let over = kept.len().saturating_sub(bytes_max);
        kept.drain(..over);
        is_cut |= over > 0;
    }
    (kept, is_cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_with(message: &str) -> Result<i32, ClusterError> {
        let status = Status { status: Some("Failure".into()), message: Some(message.to_owned()), ..Status::default() };
        ended(Some(status), "exec in media/db")
    }

    #[test]
    fn what_no_runtime_could_start_was_not_begun_and_of_the_rest_nobody_knows() {
        for (runtime, words) in [
            (
                "runc 1.1",
                "OCI runtime exec failed: exec failed: unable to start container process: exec: \"pg_dumpp\": executable file not found in $PATH: unknown",
            ),
            (
                "runc 1.0",
                "OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: exec: \"/no\": stat /no: no such file or directory: unknown",
            ),
            (
                "crun",
                "OCI runtime exec failed: exec failed: executable file `pg_dumpp` not found in $PATH: No such file or directory",
            ),
        ] {
            let ended = ended_with(&format!("Internal error occurred: error executing command in container: {words}"));
            assert!(
                matches!(&ended, Err(error @ ClusterError::NotBegun { .. }) if !error.may_have_begun()),
                "{runtime}: {ended:?}"
            );
        }
        let lost = [ended_with("error dialing backend: EOF"), ended(None, "exec in media/db")];
        for ended in lost {
            assert!(matches!(&ended, Err(error @ ClusterError::Answer { .. }) if error.may_have_begun()), "{ended:?}");
        }
    }
}
