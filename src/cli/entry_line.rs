//! An entry of a tree as a line for people and as a document for programs.

use serde::Serialize;

use crate::base::clock::Time;
use crate::cli::context::local;
use crate::format::entry::{Entry, FileTime, Kind, escape};

/// An entry in JSON. `path` has bytes that are not UTF-8 replaced; `path_hex` is there only then and has all of them.
#[derive(Serialize)]
pub(crate) struct EntryDocument {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// How a database that was in use was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<&'static str>,
    /// The source that has a dump of what was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    dump: Option<String>,
}

/// One word for what an entry is.
pub(crate) const fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File { .. } => "file",
        Kind::HardLink { .. } => "hardlink",
        Kind::Symlink { .. } => "symlink",
        Kind::CharDevice { .. } => "chardevice",
        Kind::BlockDevice { .. } => "blockdevice",
        Kind::Fifo => "fifo",
    }
}

/// The size of a file.
pub(crate) const fn size(entry: &Entry) -> Option<u64> {
    match entry.kind {
        Kind::File { size, .. } => Some(size),
        _ => None,
    }
}

fn time(time: FileTime) -> Time {
    Time(time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000)))
}

impl EntryDocument {
    /// All that a person or program may ask of an entry.
    pub(crate) fn of(entry: &Entry) -> Self {
        let bytes = entry.path.as_bytes();
        let target = match &entry.kind {
            Kind::Symlink { target } => Some(String::from_utf8_lossy(target).into_owned()),
            Kind::HardLink { target } => Some(String::from_utf8_lossy(target.as_bytes()).into_owned()),
            _ => None,
        };
        Self {
            path: String::from_utf8_lossy(bytes).into_owned(),
            path_hex: std::str::from_utf8(bytes).is_err().then(|| data_encoding::HEXLOWER.encode(bytes)),
            kind: kind_name(&entry.kind),
            mode: format!("{:04o}", entry.mode),
            uid: entry.uid,
            gid: entry.gid,
            size: size(entry),
            mtime: format!("{}.{:09}", entry.mtime.seconds, entry.mtime.nanos),
            target,
            live: entry.live.as_ref().map(|live| live.how.name()),
            dump: entry.live.as_ref().and_then(|live| live.dump.clone()),
        }
    }
}

/// The path, with a slash after a directory's.
pub(crate) fn path(entry: &Entry) -> String {
    let path = entry.path.display();
    match entry.kind {
        Kind::Directory if path.is_empty() => "./".to_owned(),
        Kind::Directory => path + "/",
        _ => path,
    }
}

/// `drwxr-xr-x     0     0     4096 2026-11-01 03:00 path -> target`.
pub(crate) fn long(entry: &Entry) -> String {
    let target = match &entry.kind {
        Kind::Symlink { target } => format!(" -> {}", escape(target)),
        Kind::HardLink { target } => format!(" = {}", target.display()),
        _ => String::new(),
    };
    let size = match entry.kind {
        Kind::File { size, .. } => size.to_string(),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => format!("{major}, {minor}"),
        _ => "-".to_owned(),
    };
    format!(
        "{} {:>5} {:>5} {size:>12} {} {}{target}",
        mode(entry),
        entry.uid,
        entry.gid,
        local(time(entry.mtime)),
        path(entry)
    )
}

/// As `ls -l` shows it.
fn mode(entry: &Entry) -> String {
    let first = match entry.kind {
        Kind::Directory => 'd',
        Kind::File { .. } | Kind::HardLink { .. } => '-',
        Kind::Symlink { .. } => 'l',
        Kind::CharDevice { .. } => 'c',
        Kind::BlockDevice { .. } => 'b',
        Kind::Fifo => 'p',
    };
    let mut text = String::from(first);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = entry.mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, entry.mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}
