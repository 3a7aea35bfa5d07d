//! What the demonstration found, as `--json` prints it and as its last lines tell it.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::base::units;
use crate::cli::demo::Places;
use crate::cli::demo::stage::{OBJECTS, SECRET_PATH};
use crate::cli::output::quoted;
use crate::demo::{Change, Difference, Size};

/// The homelab.
#[derive(Serialize)]
pub(super) struct HomelabDocument {
    #[serde(flatten)]
    pub size: Size,
    pub files: u64,
    pub bytes: u64,
}

/// One snapshot.
#[derive(Serialize)]
pub(super) struct SnapshotDocument {
    pub source: String,
    pub snapshot: String,
    pub files: u64,
    pub bytes: u64,
    pub files_read: u64,
    pub bytes_new: u64,
    pub bytes_stored: u64,
}

/// A backup of everything.
#[derive(Serialize)]
pub(super) struct BackupDocument {
    pub snapshots: Vec<SnapshotDocument>,
    pub seconds: f64,
}

impl BackupDocument {
    /// A number of all snapshots together.
    pub(super) fn sum(&self, number: impl Fn(&SnapshotDocument) -> u64) -> u64 {
        self.snapshots.iter().map(number).sum()
    }
}

/// The attempt with the writer key.
#[derive(Serialize)]
pub(super) struct RefusedDocument {
    pub error: String,
    pub objects_searched: u64,
    pub objects_with_the_password: u64,
}

/// The recovery.
#[derive(Serialize)]
pub(super) struct RecoveredDocument {
    pub run: String,
    pub objects: u64,
    pub files: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// The comparison.
#[derive(Serialize)]
pub(super) struct VerifiedDocument {
    pub files: u64,
    pub bytes: u64,
    pub differences: Vec<Difference>,
}

/// The check of the repository.
#[derive(Serialize)]
pub(super) struct CheckedDocument {
    pub objects: u64,
    pub bytes: u64,
    pub blobs_opened: u64,
    pub findings: usize,
}

/// Everything.
#[derive(Serialize)]
pub(super) struct Document {
    pub directory: PathBuf,
    pub fingerprint: String,
    pub homelab: HomelabDocument,
    pub first_backup: BackupDocument,
    pub writer_key_cannot_read: RefusedDocument,
    pub changes: Vec<Change>,
    pub second_backup: BackupDocument,
    pub recovered: RecoveredDocument,
    pub verified: VerifiedDocument,
    pub checked: CheckedDocument,
    pub seconds: f64,
}

/// `1.4 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

impl Document {
    /// What a person reads last: the outcome, and what to try by hand.
    pub(super) fn closing(&self, places: &Places) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "Lost and recovered: {} files, {}, all as before, in {:.1} s.",
                self.verified.files,
                units::bytes(self.verified.bytes),
                self.recovered.seconds
            ),
            String::new(),
            "Try it by hand:".to_owned(),
        ];
        lines.extend(path_line().into_iter().map(|line| format!("  {line}")));
        lines.extend([
            format!("  cd {}", quoted(&places.dir.to_string_lossy())),
            "  export HOMELAB_DR_CONFIG=homelab-dr.yaml".to_owned(),
            "  homelab-dr snapshots".to_owned(),
            "  homelab-dr ls latest:pvc/vaultwarden/data".to_owned(),
            format!("  homelab-dr cat latest:{OBJECTS}:{SECRET_PATH}   # refused"),
            "  export HOMELAB_DR_IDENTITY_FILE=keys/identity.txt".to_owned(),
            format!("  homelab-dr cat latest:{OBJECTS}:{SECRET_PATH}"),
            "  homelab-dr runbook show recover.md".to_owned(),
            "  homelab-dr recover recover.md --into-folder again --journals runs".to_owned(),
            format!("  homelab-dr report show {} --journals runs", self.recovered.run),
            "  homelab-dr drill recover.md --into-folder drills --journals runs".to_owned(),
            "  homelab-dr status".to_owned(),
            String::new(),
            format!("To remove all of it: rm -r {}", quoted(&places.dir.to_string_lossy())),
        ]);
        lines
    }
}

/// The line that puts this program on the PATH, if no program of its name is there.
fn path_line() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join("homelab-dr").is_file()) {
        return None;
    }
    let program = std::env::current_exe().ok()?;
    Some(format!("export PATH={}:$PATH", quoted(&program.parent()?.to_string_lossy())))
}
