//! Where the key of reports lies: beside the journals, made on first use, readable by nobody else.

use std::fs::{DirBuilder, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::base::secret::NoRandomness;
use crate::crypto::report_key::{ReportKey, ReportKeyError};

/// The file, in the folder of journals.
const FILE: &str = "report.key";
/// A key is one short line.
const BYTES_MAX: u64 = 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file or its folder cannot be used.
    #[error("cannot {what} the key of reports, {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is no key.
    #[error("{} holds no key of reports", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReportKeyError,
    },
    /// None can be made.
    #[error("no key of reports can be made")]
    Randomness(#[source] NoRandomness),
}

fn fail<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> KeyFileError + 'a {
    move |source| KeyFileError::File { what, path: path.to_owned(), source }
}

/// The key of this machine, if it has one. `dir` is the folder of journals.
pub fn existing(dir: &Path) -> Result<Option<ReportKey>, KeyFileError> {
    let path = dir.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail("open", &path)(error)),
    };
    // Reserved at once: a text that grows leaves copies behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(BYTES_MAX).unwrap_or_default()));
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(fail("read", &path))?;
    ReportKey::parse(&text).map(Some).map_err(|source| KeyFileError::Damaged { path, source })
}

/// The key of this machine; made if there is none. Of two processes that make one at once, both get the one that was there first.
pub fn ensure(dir: &Path) -> Result<ReportKey, KeyFileError> {
    if let Some(key) = existing(dir)? {
        return Ok(key);
    }
    let path = dir.join(FILE);
    let fail = |what| fail(what, &path);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("make the folder of"))?;
    let key = ReportKey::random().map_err(KeyFileError::Randomness)?;
    // Whole or not at all: half a key would be one that nothing can be verified with.
    let mut file = tempfile::Builder::new()
        .prefix(".report-key-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(fail("create"))?;
    let written = file.write_all(key.to_text().as_bytes()).and_then(|()| file.write_all(b"\n"));
    written.and_then(|()| file.as_file().sync_all()).map_err(fail("write"))?;
    match file.persist_noclobber(&path) {
        Ok(_) => {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(fail("sync the folder of"))?;
            Ok(key)
        }
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            existing(dir)?.ok_or_else(|| fail("open")(io::ErrorKind::NotFound.into()))
        }
        Err(error) => Err(fail("write")(error.error)),
    }
}
