//! A container: a process with its log, its standard input, and those who are attached to it.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{broadcast, mpsc, watch};

/// Slow readers of an attach miss what is older than so many pieces.
const ATTACH_BUFFER: usize = 1024;
/// The reader of an exec is waited for when so many wait.
const EXEC_BUFFER: usize = 64;
const STDIN_BUFFER: usize = 16;
const READ_BYTES: usize = 16 * 1024;

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    /// It is run by an exec: what it writes is for that reader alone, who is waited for, and no log has it.
    pub(crate) is_beside: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(crate) code: i32,
    pub(crate) at: chrono::DateTime<chrono::Utc>,
}

/// A line of the log, or its unfinished end.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: chrono::DateTime<chrono::Utc>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Container {
    pub(crate) started: chrono::DateTime<chrono::Utc>,
    pub(crate) stdin_once: bool,
    log: Mutex<Vec<Line>>,
    /// Lines so far; grows with the log.
    pub(crate) logged: watch::Sender<usize>,
    /// Channel (1 or 2) and bytes, as they come.
    pub(crate) live: broadcast::Sender<(u8, Bytes)>,
    /// Heard from the first byte on; for exec, which must not miss any.
    first: Mutex<Option<broadcast::Receiver<(u8, Bytes)>>>,
    stdin: Mutex<Option<mpsc::Sender<Bytes>>>,
    exit: watch::Sender<Option<Exit>>,
    pid: Option<Pid>,
    is_beside: bool,
}

impl Container {
    /// Starts a process in a group of its own; a program that is not there fails like a container that cannot start.
    pub(crate) fn start(program: &Program) -> std::io::Result<Arc<Self>> {
        let (name, arguments) = program.argv.split_first().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(name);
        command
            .args(arguments)
            .env_clear()
            .envs(program.env.iter().map(|(key, value)| (key.as_str(), value.as_str())))
            .stdin(if program.stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if Path::new(&program.folder).is_dir() {
            command.current_dir(&program.folder);
        }
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (input, receiver) = mpsc::channel(STDIN_BUFFER);
        let (live, first) = broadcast::channel(ATTACH_BUFFER);
        let container = Arc::new(Self {
            first: Mutex::new(Some(first)),
            started: chrono::Utc::now(),
            stdin_once: program.stdin_once,
            log: Mutex::default(),
            logged: watch::Sender::new(0),
            live,
            stdin: Mutex::new(stdin.is_some().then_some(input)),
            exit: watch::Sender::new(None),
            is_beside: program.is_beside,
            pid: child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw),
        });
        if let Some(stdin) = stdin {
            tokio::spawn(feed(stdin, receiver));
        }
        let out = stdout.map(|out| tokio::spawn(Arc::clone(&container).gather(1, out)));
        let err = stderr.map(|err| tokio::spawn(Arc::clone(&container).gather(2, err)));
        let waiting = Arc::clone(&container);
        tokio::spawn(async move {
            let status = child.wait().await;
            // What it started may hold its output open; it is dead all the same.
            let drained = async {
                for task in [out, err].into_iter().flatten() {
                    let _ = task.await;
                }
            };
            tokio::select! {
                () = drained => {}
                () = waiting.idle() => {}
            }
            waiting.end(code(status));
        });
        Ok(container)
    }

    fn end(&self, code: i32) {
        self.close_stdin();
        self.exit.send_replace(Some(Exit { code, at: chrono::Utc::now() }));
    }

    async fn gather(self: Arc<Self>, channel: u8, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(count) = from.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            let bytes = Bytes::copy_from_slice(&buffer[..count]);
            if !self.is_beside {
                self.append(&bytes);
                // Nobody attached is fine: the log has it.
                let _ = self.live.send((channel, bytes));
                continue;
            }
            while self.live.len() >= EXEC_BUFFER && self.live.receiver_count() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            // Nobody hears it any more: its pipe is closed, which it learns when it writes on.
            if self.live.send((channel, bytes)).is_err() {
                break;
            }
        }
    }

    /// Half a second in which nothing waited for a reader.
    async fn idle(&self) {
        let mut ticks = 0;
        while ticks < 10 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            ticks = if self.is_beside && self.live.len() >= EXEC_BUFFER { 0 } else { ticks + 1 };
        }
    }

    fn append(&self, bytes: &[u8]) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match log.last_mut() {
                Some(last) if !last.bytes.ends_with(b"\n") => last.bytes.extend_from_slice(piece),
                _ => log.push(Line { at: chrono::Utc::now(), bytes: piece.to_vec() }),
            }
        }
        let lines = log.len();
        drop(log);
        self.logged.send_replace(lines);
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All output, if nobody has taken it yet; else what comes from now on.
    pub(crate) fn listen(&self, from_the_beginning: bool) -> broadcast::Receiver<(u8, Bytes)> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.filter(|_| from_the_beginning).unwrap_or_else(|| self.live.subscribe())
    }

    /// The way into standard input, while it is open.
    pub(crate) fn stdin(&self) -> Option<mpsc::Sender<Bytes>> {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The process reads the end of its input, and nobody can write to it any more.
    pub(crate) fn close_stdin(&self) {
        self.stdin.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    pub(crate) async fn wait(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await.expect("the sender lives in the container");
        exit.clone().expect("an exit")
    }

    /// Asks the process to end, as its container's first one is asked: only it, and in vain if it has no ear for that. (The first
    /// process of a container does not die of a signal that it does not handle.)
    pub(crate) fn terminate(&self) {
        let Some(pid) = self.pid.filter(|_| self.exit().is_none()) else { return };
        if handles_term(pid) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if self.exit().is_none()
            && let Some(pid) = self.pid
        {
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

async fn feed(mut stdin: ChildStdin, mut receiver: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = receiver.recv().await {
        if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
            break;
        }
    }
}

fn handles_term(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or_default();
    let bit = 1_u64 << (Signal::TERM.as_raw() - 1);
    u64::from_str_radix(caught.trim(), 16).is_ok_and(|caught| caught & bit != 0)
}

/// As the shell counts: 128 and the signal.
fn code(status: std::io::Result<std::process::ExitStatus>) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.map_or(255, |status| status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
