//! Programs of `run` steps that outlive whoever started them: a run that is killed leaves its program running, and beginning the step again beside it could do harm.
//!
//! Before a program is started its record is beside the journal, and it goes when its end was seen. Its standard input is an empty file that is locked: the lock belongs to
//! whoever has the file open, so it tells without a doubt, and without anything of the program's doing, whether it or something that it started still runs. Numbers of processes,
//! which the system gives out again, are only told to people.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::lock::{Tried, alone, in_common};

/// Beginning of the names of both files; the step follows.
const PREFIX: &str = "program-";
const LOCK: &str = ".lock";
const RECORD: &str = ".json";
/// Longest record that is read; one has some hundred bytes.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// A program whose end nobody has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlived {
    /// The step.
    pub step: String,
    /// The program, as the runbook names it.
    pub program: String,
    /// Its number, which is that of its group of processes too; none if the run was killed right when it was started.
    pub pid: Option<u32>,
}

impl Outlived {
    /// What it is.
    #[must_use]
    pub fn told(&self) -> String {
        let pid = self.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
        format!(
            "the program {}{pid} of an earlier try of step {} still runs, or something that it started",
            self.program, self.step
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(&self) -> String {
        match self.pid {
            Some(pid) => format!(
                "wait for its end, or end it with all that it started (kill -- -{pid}); then take the run up again"
            ),
            None => "wait for its end, or find and end it; then take the run up again".to_owned(),
        }
    }
}

/// A program that was started, or is about to be.
#[derive(Debug)]
pub(super) struct Tracked {
    dir: PathBuf,
    outlived: Outlived,
}

fn path(dir: &Path, step: &str, ending: &str) -> PathBuf {
    dir.join(format!("{PREFIX}{step}{ending}"))
}

fn read(record: &Path) -> Option<Outlived> {
    let fits = std::fs::metadata(record).is_ok_and(|metadata| metadata.len() <= RECORD_BYTES_MAX);
    let bytes = if fits { std::fs::read(record).ok()? } else { return None };
    serde_json::from_slice(&bytes).ok()
}

/// The program of a step that an earlier try has left, if it or something of it still runs.
fn running(dir: &Path, step: &str) -> Option<Outlived> {
    let record = path(dir, step, RECORD);
    // Without a record its end was seen: what it left running on purpose, such as a server, is nobody's concern.
    if !record.exists() {
        return None;
    }
    let lock = File::open(path(dir, step, LOCK)).ok()?;
    // Who looks beside us has it in common with us.
    if matches!(in_common(&lock), Tried::Has) {
        return None;
    }
    let unknown = || Outlived { step: step.to_owned(), program: "of which nothing is known".to_owned(), pid: None };
    Some(read(&record).unwrap_or_else(unknown))
}

/// All that still run of a run; `dir` is its folder.
#[must_use]
pub fn all(dir: &Path) -> Vec<Outlived> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let steps = names.filter_map(|name| Some(name.strip_prefix(PREFIX)?.strip_suffix(RECORD)?.to_owned()));
    let mut found: Vec<Outlived> = steps.filter_map(|step| running(dir, &step)).collect();
    found.sort_by(|a, b| a.step.cmp(&b.step));
    found
}

/// Why a program is not started.
#[derive(Debug)]
pub(super) enum Not {
    /// One of an earlier try still runs.
    Runs(Outlived),
    /// It cannot be written down.
    File(io::Error),
}

impl Tracked {
    /// Writes down that a program is about to be started. The file is to be its standard input, and nobody else's.
    pub(super) fn begin(dir: &Path, step: &str, program: &str) -> Result<(Self, File), Not> {
        if let Some(outlived) = running(dir, step) {
            return Err(Not::Runs(outlived));
        }
        let begun = || {
            let lock = path(dir, step, LOCK);
            // A file of its own: what an earlier one has left on purpose may still have the one before.
            match std::fs::remove_file(&lock) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            OpenOptions::new().create_new(true).write(true).mode(0o600).open(&lock)?;
            let input = File::open(&lock)?;
            match alone(&input) {
                Tried::Has => {}
                Tried::Taken => return Err(io::ErrorKind::WouldBlock.into()),
                Tried::Never(error) => return Err(error),
            }
            let outlived = Outlived { step: step.to_owned(), program: program.to_owned(), pid: None };
            let tracked = Self { dir: dir.to_owned(), outlived };
            tracked.write()?;
            Ok((tracked, input))
        };
        begun().map_err(Not::File)
    }

    fn write(&self) -> io::Result<()> {
        let (record, text) = (path(&self.dir, &self.outlived.step, RECORD), serde_json::to_vec(&self.outlived)?);
        let part = record.with_extension("part");
        std::fs::write(&part, text)?;
        std::fs::rename(part, record)
    }

    /// It was started, with this number. Only people are told that: it may be missing.
    pub(super) fn started(&mut self, pid: Option<u32>) {
        self.outlived.pid = pid;
        let _ = self.write();
    }

    /// Its end was seen, or it was not started.
    pub(super) fn ended(self) {
        for ending in [RECORD, LOCK] {
            let _ = std::fs::remove_file(path(&self.dir, &self.outlived.step, ending));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_still_runs_is_known_by_its_lock_and_what_ended_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (mut tracked, input) = Tracked::begin(dir.path(), "slow", "sleep").unwrap();
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(input)).spawn().unwrap();
        tracked.started(Some(child.id()));
        // Whoever started it is dead: nobody says that it ended.
        drop(tracked);
        let found = all(dir.path());
        assert_eq!((found.len(), found[0].pid), (1, Some(child.id())), "{found:?}");
        assert!(found[0].told().contains("step slow") && found[0].mend().contains("kill -- -"), "{found:?}");
        let Err(Not::Runs(outlived)) = Tracked::begin(dir.path(), "slow", "sleep") else { panic!("it runs") };
        assert_eq!(outlived, found[0]);
        assert!(Tracked::begin(dir.path(), "other", "sleep").is_ok(), "another step is another");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(all(dir.path()).iter().filter(|one| one.step == "slow").count(), 0);
        let (tracked, _) = Tracked::begin(dir.path(), "slow", "sleep").unwrap();
        tracked.ended();
        assert!(!path(dir.path(), "slow", RECORD).exists());
    }

    #[test]
    fn what_was_left_running_on_purpose_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let (tracked, input) = Tracked::begin(dir.path(), "server", "sleep").unwrap();
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::from(input)).spawn().unwrap();
        tracked.ended();
        assert!(all(dir.path()).is_empty());
        assert!(Tracked::begin(dir.path(), "server", "sleep").is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_record_of_rubbish_is_told_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (tracked, input) = Tracked::begin(dir.path(), "odd", "sleep").unwrap();
        drop(tracked);
        std::fs::write(path(dir.path(), "odd", RECORD), "{").unwrap();
        assert_eq!(all(dir.path()).first().map(|one| one.pid), Some(None));
        drop(input);
        // A program that another test begins just now has it open until it is another program.
        for _ in 0..2000 {
            if all(dir.path()).is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("it is still told: {:?}", all(dir.path()).first().map(|one| one.pid));
    }
}
