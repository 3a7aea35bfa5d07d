//! `run`, a program on this machine, and `exec`, one in a container. No shell takes part in either.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::outlived::{Not, Tracked};
use super::{World, failed};
use crate::base::cancel::Cancel;
use crate::format::entry::escape;
use crate::runbook::{InPod, Step};
use crate::runs::drive::Undone;
use crate::verify::Programs;
use crate::verify::objects::{NotWell, run_in_pod};

/// The end of what a program says that is kept, in bytes.
const SAID_BYTES_MAX: usize = 4096;
/// How long a program that is told to end has for that.
const POLITE: Duration = Duration::from_secs(5);
/// Variables that a program gets of ours; others can hold keys.
const PASSED_ON: [&str; 10] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "KUBECONFIG", "SSH_AUTH_SOCK"];

fn is_passed_on(name: &str) -> bool {
    PASSED_ON.contains(&name) || name.starts_with("LC_")
}

/// Lines of what was said, for people.
fn lines(said: &[u8]) -> Vec<String> {
    let text = escape_lines(said);
    text.into_iter().filter(|line| !line.trim().is_empty()).collect()
}

fn escape_lines(said: &[u8]) -> Vec<String> {
    said.split(|byte| *byte == b'\n').map(|line| escape(line.trim_ascii_end())).collect()
}

/// The end of what comes, to the last.
async fn end_of(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), vec![0; SAID_BYTES_MAX]);
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        kept.extend_from_slice(piece.get(..read).unwrap_or_default());
        let more = kept.len().saturating_sub(SAID_BYTES_MAX);
        kept.drain(..more);
    }
    kept
}

/// Runs a program with an empty input, in a group of its own, and waits for its end; a stop ends the whole group. Not beside one of an earlier try that still runs.
pub(super) async fn run(
    argv: &[String],
    (dir, step): (&Path, &Step),
    cancel: &Arc<Cancel>,
) -> Result<Vec<String>, Undone> {
    let (program, arguments) = argv.split_first().ok_or_else(|| failed("it names no program", "see the runbook"))?;
    let (tracked, input) = Tracked::begin(dir, &step.id, program).map_err(|not| match not {
        Not::Runs(outlived) => failed(outlived.told(), outlived.mend()),
        Not::File(error) => failed(
            format!("it cannot be written down beside the journal that {program} is started: {error}"),
            "see the disk and the folder of journals",
        ),
    })?;
    let (result, tracked) = started((program, arguments), input, tracked, cancel).await;
    // Of one whose end nobody saw the record stays, so that no second one is started beside it.
    if !matches!(&result, Err(Undone::Failed { end_unseen: true, .. })) {
        tracked.ended();
    }
    result
}

/// Starts a program in a group of its own. Its standard input is its alone.
fn spawn((program, arguments): (&str, &[String]), input: Stdio) -> Result<Child, Undone> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    command.env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_passed_on)));
    command.spawn().map_err(|error| {
        failed(format!("{program} cannot be started: {error}"), "see that it is installed, and its mode")
    })
}

/// Starts it, and sees its end.
async fn started(
    (program, arguments): (&str, &[String]),
    input: File,
    mut tracked: Tracked,
    cancel: &Arc<Cancel>,
) -> (Result<Vec<String>, Undone>, Tracked) {
    match spawn((program, arguments), Stdio::from(input)) {
        Ok(child) => {
            tracked.started(child.id());
            (ended(program, child, cancel).await, tracked)
        }
        Err(error) => (Err(error), tracked),
    }
}

async fn ended(program: &str, mut child: Child, cancel: &Arc<Cancel>) -> Result<Vec<String>, Undone> {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed(format!("{program} has no output"), "run it again"));
    };
    let (out, err) = (tokio::spawn(end_of(out)), tokio::spawn(end_of(err)));
    let status = tokio::select! {
        status = child.wait() => status,
        () = cancel.cancelled() => {
            let signal = |signal| group.map(|group| kill_process_group(group, signal));
            let _ = signal(Signal::TERM);
            let _ = tokio::time::timeout(POLITE, child.wait()).await;
            let _ = signal(Signal::KILL);
            let _ = child.wait().await;
            return Err(Undone::Stopped);
        }
    };
    let status = status.map_err(|error| Undone::Failed {
        why: format!("{program} was lost: {error}"),
        help: "see whether it still runs".to_owned(),
        end_unseen: true,
    })?;
    // Something that it left behind may keep its outputs open for ever.
    let heard = |task| async move {
        let heard: Result<Result<Vec<u8>, _>, _> = tokio::time::timeout(Duration::from_secs(1), task).await;
        heard.ok().and_then(Result::ok).unwrap_or_default()
    };
    let (out, err) = (heard(out).await, heard(err).await);
    if status.success() {
        return Ok(lines(&out));
    }
    let end = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    let said = lines(if err.is_empty() { &out } else { &err }).join("; ");
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Err(failed(format!("{program} {end}{said}"), "see what it says, and run it by hand"))
}

/// Runs the programs of checks as those of steps are run. They only look: one that outlives its run does no harm to the next.
#[derive(Debug, Clone, Copy)]
pub struct OnThisMachine;

#[async_trait]
impl Programs for OnThisMachine {
    async fn run(&self, argv: &[String], cancel: &Arc<Cancel>) -> Result<Vec<String>, String> {
        let (program, arguments) = argv.split_first().ok_or("it names no program")?;
        let ran = match spawn((program, arguments), Stdio::null()) {
            Ok(child) => ended(program, child, cancel).await,
            Err(error) => Err(error),
        };
        ran.map_err(|undone| match undone {
            Undone::Failed { why, .. } => why,
            Undone::Stopped => "it was stopped".to_owned(),
        })
    }
}

impl World<'_> {
    pub(super) async fn exec(&self, step: &Step, what: &InPod, cancel: &Arc<Cancel>) -> Result<Vec<String>, Undone> {
        let around = self.around(step, cancel);
        tokio::select! {
            said = run_in_pod(what, &around, step.timeout) => match said {
                Ok((said, _)) => Ok(lines(&said.stdout)),
                Err(NotWell { why, end_unseen: false }) => {
                    Err(failed(why, "see what it says, and run it by hand with kubectl exec"))
                }
                Err(NotWell { why, end_unseen }) => {
                    let help = "it may go on in its container: see there whether it runs, and what it did, before it is done again";
                    Err(Undone::Failed { why, help: help.to_owned(), end_unseen })
                }
            },
            // It goes on in its container; nobody can end it from here.
            () = cancel.cancelled() => Err(Undone::Stopped),
        }
    }
}
