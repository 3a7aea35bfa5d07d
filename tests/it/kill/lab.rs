//! A folder with keys and a repository anywhere, and the program as a user types it there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{Ran, program};
use crate::support::files::{Picture, picture, scratch};
use crate::support::s3;

/// See the module.
pub struct Lab {
    dir: tempfile::TempDir,
    repo: String,
    /// Where the store's objects lie as files.
    objects: PathBuf,
}

/// What a run that was to be killed came to.
pub struct Ended {
    /// Whether the signal came before the end.
    pub killed: bool,
    /// What it had printed by then.
    pub out: String,
    /// How long it lived since it had begun; `None` if it ended before it was seen to begin.
    pub acted: Option<Duration>,
}

impl Lab {
    /// Makes keys and a repository. `objects` is where the store keeps them; the address of a directory says it itself.
    pub fn new(repo: impl Fn(&Path) -> String, objects: Option<PathBuf>) -> Self {
        let dir = scratch();
        let repo = repo(dir.path());
        let objects = objects.unwrap_or_else(|| PathBuf::from(&repo));
        let lab = Self { dir, repo, objects };
        std::fs::create_dir(lab.source()).unwrap();
        let recipient = lab.run(&["keys", "new", "--out", "key"]).exits(0).out.trim().to_owned();
        lab.run(&["init", "--recipient", &recipient, "--writer-key", "writer"]).exits(0);
        lab
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is backed up.
    pub fn source(&self) -> PathBuf {
        self.path("source")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.dir.path()).env("HOMELAB_DR_REPO", &self.repo).args(args);
        command.env("AWS_ACCESS_KEY_ID", s3::KEY_ID).env("AWS_SECRET_ACCESS_KEY", s3::SECRET);
        command.env("HOMELAB_DR_WRITER_KEY_FILE", "writer").env("HOMELAB_DR_IDENTITY_FILE", "key");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().expect("it runs"))
    }

    /// Runs, and kills it with SIGKILL when it has lived so long since it had begun.
    pub fn kill_after(&self, args: &[&str], has_begun: impl Fn() -> bool, life: Duration) -> Ended {
        let mut child = self.command(args).stderr(Stdio::null()).spawn().expect("it runs");
        let mut begun = None;
        while child.try_wait().unwrap().is_none() {
            if begun.is_none() && has_begun() {
                begun = Some(Instant::now());
            }
            if begun.is_some_and(|begun| begun.elapsed() >= life) {
                break;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        let acted = begun.map(|begun| begun.elapsed());
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        let killed = output.status.signal() == Some(9);
        assert!(killed || output.status.success(), "{args:?} failed by itself: {}", output.status);
        Ended { killed, out: String::from_utf8(output.stdout).unwrap(), acted }
    }

    /// Starts a run that will be sent signals.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).spawn().expect("it runs");
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        Running { child, out, said, heard: Vec::new() }
    }

    /// The names of the objects in the store.
    pub fn names(&self) -> BTreeSet<String> {
        self.sizes().into_keys().collect()
    }

    /// The objects in the store and their bytes.
    pub fn sizes(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        let mut open = vec![self.objects.clone()];
        while let Some(dir) = open.pop() {
            // A running prune may take a name away between its listing and the look at it.
            for entry in std::fs::read_dir(dir).into_iter().flatten().map_while(Result::ok) {
                let Ok(found) = entry.metadata() else { continue };
                let path = entry.path();
                let name = path.strip_prefix(&self.objects).unwrap().to_str().unwrap().to_owned();
                if found.is_dir() && !name.starts_with('.') {
                    open.push(path);
                } else if found.is_file() {
                    all.insert(name, found.len());
                }
            }
        }
        all
    }

    /// Temporary files that killed writers left in a directory.
    pub fn temporary(&self) -> usize {
        std::fs::read_dir(self.objects.join(".tmp")).map_or(0, Iterator::count)
    }

    /// Insists that a check finds nothing wrong; what only takes space is no fault.
    #[track_caller]
    pub fn is_clean(&self, args: &[&str]) {
        let report = self.run(&[&["check", "--json"], args].concat()).exits(0).json();
        let findings = report["findings"].as_array().expect("a list");
        assert!(findings.iter().all(|finding| finding["severity"] == "note"), "{report:#}");
    }

    /// Ids of the snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<String> {
        let listed = self.run(&["snapshots", "--json"]).exits(0).json();
        let listed = listed["snapshots"].as_array().expect("a list");
        listed.iter().map(|snapshot| snapshot["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// What a snapshot gives when it is restored.
    pub fn restored(&self, snapshot: &str) -> Picture {
        let target = self.path("restored");
        self.run(&["restore", snapshot, "--target", "restored"]).exits(0);
        let found = picture(&target);
        std::fs::remove_dir_all(target).unwrap();
        found
    }
}

/// A program that runs.
pub struct Running {
    child: Child,
    out: ChildStdout,
    said: Receiver<String>,
    heard: Vec<String>,
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits until something is so while it runs.
    #[track_caller]
    pub fn until(&mut self, what: &str, is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(self.is_running(), "it ended before {what}: {:?}", self.said.iter().collect::<Vec<_>>());
            assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it says something on standard error.
    #[track_caller]
    pub fn hears(&mut self, part: &str) {
        self.hears_within(part, Duration::from_secs(30));
    }

    #[track_caller]
    pub fn hears_within(&mut self, part: &str, within: Duration) {
        let until = Instant::now() + within;
        while !self.heard.iter().any(|line| line.contains(part)) {
            let line = self.said.recv_timeout(until.saturating_duration_since(Instant::now()));
            self.heard.push(line.unwrap_or_else(|_| panic!("it never says {part:?}: {:?}", self.heard)));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Insists that it ends by itself within a time, and tells how.
    #[track_caller]
    pub fn ends(mut self, within: Duration) -> Ran {
        let begun = Instant::now();
        while self.is_running() {
            if begun.elapsed() > within {
                let _ = self.child.kill();
                panic!("it still runs {within:?} later");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let code = self.child.wait().unwrap().code().expect("it was not killed");
        let mut out = String::new();
        self.out.read_to_string(&mut out).unwrap();
        self.heard.extend(self.said.iter());
        Ran { code, out, err: self.heard.join("\n") }
    }
}
