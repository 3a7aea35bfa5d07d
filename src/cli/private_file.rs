//! Writing a file that holds a secret: mode 0600, durable, and never over one that is there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// Makes `path` with `text` in it.
pub(crate) fn create(path: &Path, text: &str, what: &str) -> Result<(), Failure> {
    match try_create(path, text) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path, what)),
        Err(error) => Err(Failure::because(
            Exit::Usage,
            format!("cannot write {what} to {}", path.display()),
            error,
            "see that the folder exists and that you may write to it; nothing else was done",
        )),
    }
}

/// The same refusal before anything else is done.
pub(crate) fn refuse_existing(path: &Path, what: &str) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(exists(path, what)) } else { Ok(()) }
}

fn exists(path: &Path, what: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        format!("{} exists already; {what} was not written over it", path.display()),
        "name another file, or move this one away if nothing needs it any more",
    )
}

fn try_create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| sync_parent(path));
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Some network file systems cannot sync a folder; the file itself is safe by then.
    match File::open(parent)?.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}
