//! A warning about files of keys that everybody on the machine may read, or write: the key is as good as theirs.
//!
//! The group may read: a Secret that is mounted for a user other than root needs it. Nothing is changed, and nothing refused, since a restore must not fail of it.

use std::os::unix::fs::MetadataExt as _;

use crate::cli::context::Context;

/// Others read, others write.
const OTHERS: u32 = 0o006;

/// Tells once of each; a pipe has no mode that matters, and what is not there is told by who reads it.
pub(crate) fn look(context: &Context) {
    let mut files = context.globals.key_files();
    let configured = context.globals.configured.writer_key_file.clone();
    files.extend(configured.map(|file| (file, "the writer key")));
    files.sort();
    files.dedup();
    for (file, what) in files {
        let Ok(found) = file.metadata() else { continue };
        if found.is_file() && found.mode() & OTHERS != 0 {
            let shown = file.display();
            context.talk.warn(&format!(
                "everybody on this machine may read {what} in {shown} (mode {:04o})\n  help: `chmod 600 {shown}`; for a mounted Secret defaultMode: 0440.",
                found.mode() & 0o7777
            ));
        }
    }
}
