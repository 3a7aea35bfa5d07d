//! Backing up what a program writes to its standard output, knowing how it ended: unlike a pipe of a shell, a program that fails, is killed, takes too
//! long or writes nothing leaves no snapshot. What it stored until then is no loss: the next run finds it.
//!
//! The program gets no shell, no standard input, `/` as its folder, and none of our own variables, which can hold keys. It runs in a process group of
//! its own, which is ended as a whole.

use std::io::{self, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use tokio::sync::oneshot;

use crate::backup::stdin::run_stdin;
use crate::backup::tail::Tail;
use crate::backup::{BackupError, BackupOptions, BackupReport, Context};
use crate::base::units;
use crate::cluster::ClusterError;
use crate::config::CommandSource;
use crate::format::entry::TreePath;
use crate::repo::RepoError;

/// How often a reader that waits looks whether it should stop.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Ticks between the polite signal and the one that cannot be ignored: two seconds.
const TICKS_POLITE: u32 = 40;
/// Ticks without a word that the rest of standard error is waited for once the program has ended; a daemon that it left behind may keep it open for ever.
const TICKS_LAST_WORDS: u32 = 10;
/// Pieces that are taken then at most: what a pipe of 1 MiB, the longest, can hold, since that daemon may also go on talking.
const PIECES_LAST_WORDS: usize = 256;
/// Bytes of standard error that are taken at once.
const PIECE_BYTES: usize = 4096;
/// The end of standard error that is kept for the report.
const SAID_BYTES_MAX: usize = 4096;
/// Variables that begin so are ours.
const OWN_VARIABLES: &str = "HOMELAB_DR_";

/// Why there is no snapshot of what a program wrote.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such program, or it may not be run.
    #[error("{program} cannot be started")]
    Start {
        /// As it is configured.
        program: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It said that it failed.
    #[error("{program} ended with exit code {code}")]
    Failed {
        /// As it is configured.
        program: String,
        /// Not 0.
        code: i32,
        /// The end of its standard error.
        said: String,
    },
    /// A signal ended it, and not ours.
    #[error("{program} was ended by signal {signal}")]
    Killed {
        /// As it is configured.
        program: String,
        /// The signal's number.
        signal: i32,
        /// The end of its standard error.
        said: String,
    },
    /// It was stopped.
    #[error("{program} was not done after {} and was stopped", units::duration(*timeout))]
    TimedOut {
        /// As it is configured.
        program: String,
        /// How long it had.
        timeout: Duration,
        /// The end of its standard error.
        said: String,
    },
    /// It ended well, and its output does not end as a whole one does.
    #[error("{program} ended well, and the end of what it wrote has no {text:?}")]
    Cut {
        /// As it is configured.
        program: String,
        /// What should be there.
        text: String,
        /// The end of its standard error.
        said: String,
    },
    /// It was let go of: nobody can stop it in its container.
    #[error("{program} was not done, or its output not stored, after {}; it was let go of, and may go on there", units::duration(*timeout))]
    Late {
        /// As it is configured.
        program: String,
        /// How long it had.
        timeout: Duration,
    },
    /// There is no pod in which it could run, or more than one.
    #[error("{program} cannot run: {why}")]
    NoPod {
        /// As it is configured.
        program: String,
        /// What was found instead.
        why: String,
    },
    /// The container has no such program, or the API server did not let it be looked for or begun.
    #[error("{program} cannot run")]
    NotBegun {
        /// As it is configured.
        program: String,
        /// What the server said.
        #[source]
        source: ClusterError,
    },
    /// Its pod, or the way there, was lost before it ended.
    #[error("{program} is not known to have ended well")]
    Lost {
        /// As it is configured.
        program: String,
        /// What happened.
        #[source]
        source: ClusterError,
    },
    /// It ended well and gave nothing.
    #[error("{program} wrote nothing")]
    Empty {
        /// As it is configured.
        program: String,
        /// The end of its standard error.
        said: String,
    },
}

impl CommandError {
    /// The end of what the program wrote to its standard error.
    #[must_use]
    pub fn said(&self) -> &str {
        match self {
            Self::Start { .. } | Self::Late { .. } | Self::NoPod { .. } | Self::NotBegun { .. } | Self::Lost { .. } => {
                ""
            }
            Self::Failed { said, .. }
            | Self::Killed { said, .. }
            | Self::TimedOut { said, .. }
            | Self::Cut { said, .. }
            | Self::Empty { said, .. } => said,
        }
    }
}

/// Why a program is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    TimedOut,
    Cancelled,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Stopped(Stop),
    Ended(ExitStatus),
    Empty,
    Cut,
}

/// Between the reader, which owns the program, and whoever waits for the time to run out.
#[derive(Debug, Default)]
struct Shared {
    stop: Mutex<Option<Stop>>,
    /// How it went, and the end of its standard error.
    ending: Mutex<Option<(Ending, Vec<u8>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program and stores what it writes as one file.
pub async fn run_command(
    context: &Context,
    options: &BackupOptions,
    source: &CommandSource,
    name: &TreePath,
) -> Result<BackupReport, BackupError> {
    let program = || source.argv.first().cloned().unwrap_or_default();
    let shared = Arc::new(Shared::default());
    let (begun, begins) = oneshot::channel();
    // Not before the repository is ready: until then a database would hold a transaction open for nothing, and the time would run.
    let start = || {
        let output = Output::start(source, shared.clone())
            .map_err(|source| CommandError::Start { program: program(), source })?;
        let _ = begun.send(());
        Ok(output)
    };
    let stop = async {
        begun_at_all(begins).await;
        stop(source, context).await
    };
    let run = run_stdin(context, options, name, start);
    tokio::pin!(run);
    let result = tokio::select! {
        result = &mut run => result,
        stop = stop => {
            *lock(&shared.stop) = Some(stop);
            run.await
        }
    };
    match (result, lock(&shared.ending).take()) {
        // The pipe broke because of how the program ended: that is the cause to tell.
        (Err(BackupError::Stdin { .. }), Some((ending, said))) => Err(cause(program(), ending, &said, source)),
        (result, _) => result,
    }
}

/// Returns when it has begun.
pub(super) async fn begun_at_all(begins: oneshot::Receiver<()>) {
    // Never told that it began: it never will.
    if begins.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns when a program that has begun now is to be stopped.
pub(super) async fn stop(source: &CommandSource, context: &Context) -> Stop {
    tokio::select! {
        () = tokio::time::sleep(source.timeout) => Stop::TimedOut,
        () = context.cancel.cancelled() => Stop::Cancelled,
    }
}

fn cause(program: String, ending: Ending, said: &[u8], source: &CommandSource) -> BackupError {
    let timeout = source.timeout;
    let said = String::from_utf8_lossy(said).trim_end().to_owned();
    let error = match ending {
        Ending::Stopped(Stop::Cancelled) => return RepoError::Cancelled.into(),
        Ending::Stopped(Stop::TimedOut) => CommandError::TimedOut { program, timeout, said },
        Ending::Empty => CommandError::Empty { program, said },
        Ending::Cut => CommandError::Cut { program, text: source.ends_with.clone().unwrap_or_default(), said },
        Ending::Ended(status) => match (status.code(), status.signal()) {
            (None, Some(signal)) => CommandError::Killed { program, signal, said },
            (code, _) => CommandError::Failed { program, code: code.unwrap_or(-1), said },
        },
    };
    error.into()
}

/// The standard output of a running program; its end is an error unless the program ended well and wrote something.
struct Output {
    child: Child,
    stdout: ChildStdout,
    stderr: Option<ChildStderr>,
    said: Vec<u8>,
    /// Bytes of standard error so far.
    heard: u64,
    bytes: u64,
    tail: Tail,
    /// Its number names nothing of ours any more.
    reaped: bool,
    shared: Arc<Shared>,
}

impl Output {
    fn start(source: &CommandSource, shared: Arc<Shared>) -> io::Result<Self> {
        let missing = || io::Error::from(io::ErrorKind::InvalidInput);
        let (program, arguments) = source.argv.split_first().ok_or_else(missing)?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with(OWN_VARIABLES)) {
            command.env_remove(name);
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take();
        let tail = Tail::new(source.ends_with.clone());
        Ok(Self { child, stdout, stderr, said: Vec::new(), heard: 0, bytes: 0, tail, reaped: false, shared })
    }

    /// Waits a tick for output; takes what comes on standard error meanwhile. Whether standard output can be read without waiting.
    fn wait(&mut self, output: bool) -> io::Result<bool> {
        let ready = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        let mut fds = Vec::with_capacity(2);
        if output {
            fds.push(PollFd::new(&self.stdout, PollFlags::IN));
        }
        if let Some(stderr) = &self.stderr {
            fds.push(PollFd::new(stderr, PollFlags::IN));
        }
        match poll(&mut fds, Some(&TICK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut came = fds.iter().map(|fd| fd.revents().intersects(ready));
        let on_output = output && came.next() == Some(true);
        if came.next() == Some(true) {
            self.listen();
        }
        Ok(on_output)
    }

    /// Takes one piece of standard error that is there, or its end.
    fn listen(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut piece = [0; PIECE_BYTES];
        match stderr.read(&mut piece) {
            Ok(length) if length > 0 => {
                self.heard += length as u64;
                self.said.extend_from_slice(piece.get(..length).unwrap_or_default());
                let over = self.said.len().saturating_sub(SAID_BYTES_MAX);
                self.said.drain(..over);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => self.stderr = None,
        }
    }

    fn signal(&self, signal: Signal) {
        if self.reaped {
            return;
        }
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }

    fn fails(&mut self, ending: Ending) -> io::Error {
        *lock(&self.shared.ending) = Some((ending, std::mem::take(&mut self.said)));
        io::Error::other("the program did not end well")
    }

    /// How the program ended, if it has. It is left unreaped, so that its number goes on to name the group of what it started.
    fn look(&self) -> io::Result<Option<WaitIdStatus>> {
        let program = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let program = program.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(program), options)?)
    }

    /// Ends the program and what it started, politely first.
    fn stop(&mut self, stop: Stop) -> io::Error {
        self.signal(Signal::TERM);
        for _ in 0..TICKS_POLITE {
            // Whoever of them still runs still holds standard error, as a rule.
            if self.stderr.is_none() && !matches!(self.look(), Ok(None)) {
                break;
            }
            if self.stderr.is_none() {
                std::thread::sleep(Duration::from_millis(50));
            } else if self.wait(false).is_err() {
                break;
            }
        }
        self.kill();
        self.fails(Ending::Stopped(stop))
    }

    /// Ends whatever of the group still runs.
    fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        self.reaped = true;
    }

    /// The program has ended: takes what is left of its standard error.
    fn last_words(&mut self) -> io::Result<()> {
        let (mut pieces, mut silent) = (0, 0);
        while self.stderr.is_some() && pieces < PIECES_LAST_WORDS && silent < TICKS_LAST_WORDS {
            let heard = self.heard;
            self.wait(false)?;
            if self.heard == heard { silent += 1 } else { pieces += 1 }
        }
        Ok(())
    }

    /// After the end of standard output: how did the program end?
    fn ended(&mut self) -> io::Result<()> {
        let seen = loop {
            let stop = *lock(&self.shared.stop);
            if let Some(stop) = stop {
                return Err(self.stop(stop));
            }
            if let Some(seen) = self.look()? {
                break seen;
            }
            if self.stderr.is_none() {
                std::thread::sleep(Duration::from_millis(10));
            } else {
                self.wait(false)?;
            }
        };
        self.last_words()?;
        // After a good end what it started may go on: a connection that ssh keeps for others, for one.
        if seen.exit_status() != Some(0) {
            self.signal(Signal::KILL);
        }
        let status = self.child.wait()?;
        self.reaped = true;
        if !status.success() {
            return Err(self.fails(Ending::Ended(status)));
        }
        if self.bytes == 0 {
            return Err(self.fails(Ending::Empty));
        }
        if self.tail.lacks().is_some() {
            return Err(self.fails(Ending::Cut));
        }
        Ok(())
    }
}

impl io::Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let stop = *lock(&self.shared.stop);
            if let Some(stop) = stop {
                return Err(self.stop(stop));
            }
            if !self.wait(true)? {
                continue;
            }
            let length = self.stdout.read(buffer)?;
            if length == 0 {
                self.ended()?;
            }
            self.bytes += length as u64;
            self.tail.take(buffer.get(..length).unwrap_or_default());
            return Ok(length);
        }
    }
}

impl Drop for Output {
    /// Whatever happened, nothing is left running: not read any more, the program could only wait.
    fn drop(&mut self) {
        if !self.reaped {
            self.stop(Stop::Cancelled);
        }
    }
}
