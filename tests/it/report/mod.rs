//! `report`: documents of journals that are kept in fixtures/reports, as they were reviewed; what is altered; what comes from outside; the whole way from `recover` on.
//! `HOMELAB_DR_BLESS=1 cargo test --test it report` writes the reviewed files.

mod altered;
mod documents;
mod hostile;
mod machine;

pub use documents::is_by_the_schema;

use std::path::{Path, PathBuf};

use homelab_dr::base::secret::Secret;
use homelab_dr::crypto::report_key::ReportKey;
use tempfile::TempDir;

use crate::cli::{Ran, program};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/reports");
/// The journals, their runs, and what each came to.
const RUNS: [(&str, &str); 4] =
    [("good", "5f0c1d2e"), ("failed", "a1b2c3d4"), ("waiting", "0badcafe"), ("drill", "d0d0cafe")];

fn key() -> ReportKey {
    ReportKey::new(Secret::new([7; 32]))
}

/// A folder of journals with the key of the fixtures.
pub(crate) struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("runs")).unwrap();
        std::fs::write(dir.path().join("runs/report.key"), key().to_text().as_bytes()).unwrap();
        Self(dir)
    }

    /// With the journals of the fixtures.
    pub(crate) fn with_all() -> Self {
        let place = Self::new();
        for (name, run) in RUNS {
            place.add(run, &std::fs::read_to_string(Path::new(FIXTURES).join(name).join("journal.jsonl")).unwrap());
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn add(&self, run: &str, journal: &str) {
        std::fs::create_dir(self.path(&format!("runs/{run}"))).unwrap();
        std::fs::write(self.path(&format!("runs/{run}/journal.jsonl")), journal).unwrap();
    }

    fn ran(&self, args: &[&str]) -> Ran {
        let mut command = program();
        command.current_dir(self.0.path()).env("HOMELAB_DR_RUNS", "runs").args(args);
        Ran::of(&command.output().expect("it runs"))
    }

    pub(crate) fn shown(&self, run: &str, format: &str) -> String {
        self.ran(&["report", "show", run, "--format", format]).exits(0).out
    }

    fn verified(&self, file: &str, text: impl AsRef<[u8]>) -> Ran {
        std::fs::write(self.path(file), text).unwrap();
        self.ran(&["report", "verify", file])
    }
}

/// The journal of a fixture, with some of its text replaced; what is replaced has to be there.
fn changed(name: &str, changes: &[(&str, &str)]) -> String {
    let mut text = std::fs::read_to_string(Path::new(FIXTURES).join(name).join("journal.jsonl")).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

/// The same, cut off after so many lines.
fn cut(name: &str, lines: usize) -> String {
    let text = changed(name, &[]);
    text.lines().take(lines).map(|line| format!("{line}\n")).collect()
}
