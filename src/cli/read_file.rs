//! Files that a command line names, read whole and never without end: `/dev/zero`, or a disk image given by a slip, must not fill the memory.
//!
//! A pipe that nobody writes to is waited for, as every program does: so `<(…)` works.

use std::io::Read as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::secret::holds_secret;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// Longest file of patterns or recipients: some hundred thousand lines of paths.
pub(crate) const LIST_BYTES_MAX: u64 = 4 << 20;

/// The bytes of a file, at most `limit` of them; wiped when dropped, since it may be a key. `what` it shall be is told when it cannot be read or is longer.
pub(crate) fn bytes(path: &Path, limit: u64, what: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let shown = path.to_string_lossy();
    if holds_secret(&shown) {
        return Err(Failure::usage(
            format!("{what} was given itself where the name of its file belongs"),
            "save it in a file of mode 0600 and name that file; a secret on a command line is in your shell's history now",
        ));
    }
    // Reserved at once: a vector that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
    let opened = std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    if let Err(error) = opened {
        let help = "see the path and the file's mode";
        return Err(Failure::because(Exit::Usage, format!("cannot read {what} in {shown}"), error, help));
    }
    if bytes.len() as u64 > limit {
        let what = format!("{shown} is too long to be {what}");
        return Err(Failure::usage(what, "see whether it is the right file"));
    }
    Ok(bytes)
}

/// The text of a list.
pub(crate) fn list(path: &Path, what: &str) -> Result<String, Failure> {
    let bytes = bytes(path, LIST_BYTES_MAX, what)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        let what = format!("{} is no text, and {what} are", path.display());
        Failure::usage(what, "see whether it is the right file; it has to be UTF-8")
    })?;
    Ok(text.to_owned())
}
