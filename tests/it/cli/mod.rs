//! The real program on real folders: that everything is wired, and what it says when something is wrong.

mod bad_inputs;
mod blocks;
pub mod config;
mod guards;
mod happy;
mod help;
mod hidden;
mod near;
mod parity;
mod repair;
mod rescue;
mod rotate;
mod sources;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run came to.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().expect("not killed"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// The result as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// Insists on a statement and advice, no panic, and no secret.
    #[track_caller]
    pub fn says(self, parts: &[&str]) -> Self {
        assert!(self.err.contains("error: ") && self.err.contains("\nhelp: "), "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not in\n{}", self.err);
        }
        self
    }
}

/// The program with nothing of our environment that could change what it does.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homelab-dr"));
    command.env_clear().env("TZ", "UTC").env("COLUMNS", "100").stdin(Stdio::null());
    command
}

/// A folder with an identity, a repository and its writer key, and something to back up.
pub struct Home {
    dir: tempfile::TempDir,
    pub recipient: String,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut home = Self { dir, recipient: String::new() };
        home.recipient = home.run(&["keys", "new", "--out", "key"]).exits(0).out.trim().to_owned();
        let recipient = home.recipient.clone();
        home.run(&["init", "--recipient", &recipient, "--writer-key", "writer"]).exits(0);
        std::fs::create_dir_all(home.path("source/a/b")).unwrap();
        std::fs::write(home.path("source/a/b/hello.txt"), "hello\n").unwrap();
        std::fs::write(home.path("source/zeros"), vec![0; 300_000]).unwrap();
        std::fs::write(home.path("source/evil\x1b[2J"), "x").unwrap();
        home
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.dir.path()).env("HOMELAB_DR_REPO", "repo").args(args);
        command
    }

    /// Runs with the repository's address and no key.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().expect("it runs"))
    }

    /// Runs with the writer key.
    pub fn write(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).env("HOMELAB_DR_WRITER_KEY_FILE", "writer").output().expect("it runs"))
    }

    /// Runs with both keys.
    pub fn read(&self, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        command.env("HOMELAB_DR_WRITER_KEY_FILE", "writer").env("HOMELAB_DR_IDENTITY_FILE", "key");
        Ran::of(&command.output().expect("it runs"))
    }

    pub fn backup(&self) -> String {
        let ran = self.write(&["backup", "source", "--source", "files", "--tag", "day=1", "--json"]).exits(0);
        ran.json()["snapshot"].as_str().expect("an id").to_owned()
    }
}
