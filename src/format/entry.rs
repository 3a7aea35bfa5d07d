//! A file system entry as it is kept in a snapshot's tree: everything needed to make it again.
//!
//! Encoded in CBOR as maps with small integer keys (docs/format.md §7); unknown keys are ignored by readers, so that fields can be added.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::base::id::BlobId;
use crate::format::live::Live;

/// Longest path in a tree, in bytes. Linux allows 4096 in one call; trees may nest deeper.
pub const PATH_BYTES_MAX: usize = 64 * 1024;

/// The path of an entry: names joined by `/`, raw bytes as the kernel gave them, no leading `/`. The root of the tree is the empty path.
///
/// Ordered by names one after another, so that a directory comes right before everything below it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Encode, Decode)]
#[cbor(transparent)]
pub struct TreePath(#[n(0)] ByteVec);

/// Bytes that are no path of a tree: an empty, `.` or `..` name, a NUL, a leading or trailing `/`, or too long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is no path of a tree", String::from_utf8_lossy(.0))]
pub struct PathError(pub Vec<u8>);

impl TreePath {
    /// Checks and wraps a path. Every path that was decoded must pass here before it meets a disk.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, PathError> {
        let bytes = bytes.into();
        let plain = |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && !name.contains(&0);
        let fits = bytes.len() <= PATH_BYTES_MAX;
        if fits && (bytes.is_empty() || bytes.split(|b| *b == b'/').all(plain)) {
            Ok(Self(bytes.into()))
        } else {
            Err(PathError(bytes))
        }
    }

    /// The path of the tree itself.
    #[must_use]
    pub fn root() -> Self {
        Self(Vec::new().into())
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The names from the top down.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|name| !name.is_empty())
    }

    /// The last name; empty for the root.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// The directory that holds it; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0.get(..end).unwrap_or_default().to_vec().into()))
    }

    /// The path of `name` within this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut bytes = self.0.to_vec();
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        if name.contains(&b'/') { Err(PathError(bytes)) } else { Self::new(bytes) }
    }

    /// The name directly in `directory` that this is or lies below, as a path; `None` if it is not below `directory`.
    #[must_use]
    pub fn first_below(&self, directory: &Self) -> Option<Self> {
        let begins = if directory.0.is_empty() { 0 } else { directory.0.len() + 1 };
        let below = self.0.get(begins..).filter(|rest| !rest.is_empty() && self.is_within(directory))?;
        let length = below.iter().position(|b| *b == b'/').unwrap_or(below.len());
        Some(Self(self.0.get(..begins + length)?.to_vec().into()))
    }

    /// Whether this is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.is_empty()
            || self.0.strip_prefix(&other.0[..]).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'/'))
    }

    /// For people, as [`escape`] writes it, so that a terminal is not driven by a file name. [`unescape`] reads it back.
    #[must_use]
    pub fn display(&self) -> String {
        escape(&self.0)
    }
}

/// Whether a terminal acts on it instead of showing it: control characters, and what turns the direction of writing, by which a text reads as what it is not.
fn acts_on_a_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Bytes as text for a terminal: what is no UTF-8, or acts on a terminal, becomes `\xNN`.
///
/// A text with such bytes has its backslashes written as `\x5c`, so that [`unescape`] gives the bytes back whatever they
/// are. All other texts stay as they are, backslashes too (`dev-disk\x2duuid.mount` is a usual name).
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let escaped = std::str::from_utf8(bytes).map_or(true, |text| text.contains(acts_on_a_terminal));
    let mut out = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            if acts_on_a_terminal(c) || (escaped && c == '\\') {
                let mut raw = [0_u8; 4];
                for byte in c.encode_utf8(&mut raw).bytes() {
                    let _ = write!(out, "\\x{byte:02x}");
                }
            } else {
                out.push(c);
            }
        }
        for byte in part.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The bytes that [`escape`] wrote as this text; `None` if it has no `\xNN`, and is what it says.
#[must_use]
pub fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.strip_prefix(b"x").and_then(|after| after.get(..2));
        match digits.and_then(|digits| data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok()) {
            Some(byte) if *first == b'\\' => {
                out.extend(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    (out != text).then_some(out)
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Byte order with '/' below every other byte is the order of names one after another.
        let key = |b: &u8| if *b == b'/' { 0_u16 } else { u16::from(*b) + 1 };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// One entry of a tree.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Where it is.
    #[n(0)]
    pub path: TreePath,
    /// What it is.
    #[n(1)]
    pub kind: Kind,
    /// Permission bits with set-uid, set-gid and sticky: `st_mode & 0o7777`.
    #[n(2)]
    pub mode: u32,
    /// Owner.
    #[n(3)]
    pub uid: u32,
    /// Group.
    #[n(4)]
    pub gid: u32,
    /// Time of last modification.
    #[n(5)]
    pub mtime: FileTime,
    /// Extended attributes, sorted by name: POSIX ACLs, file capabilities, user attributes.
    #[n(6)]
    #[cbor(default, skip_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
    /// For recognising an unchanged file; never restored.
    #[n(7)]
    pub identity: Option<Identity>,
    /// How a database that may have been in use was taken; `None` for everything else.
    #[n(8)]
    pub live: Option<Box<Live>>,
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Kind {
    /// A directory.
    #[n(0)]
    Directory,
    /// A regular file. The first path (in tree order) of a file with several hard links carries its content.
    #[n(1)]
    #[cbor(map)]
    File {
        /// Length in bytes, holes included.
        #[n(0)]
        size: u64,
        /// Where its bytes are.
        #[n(1)]
        content: Content,
    },
    /// Another name of a regular file that comes earlier in the tree.
    #[n(2)]
    #[cbor(map)]
    HardLink {
        /// The first path of the file.
        #[n(0)]
        target: TreePath,
    },
    /// A symbolic link.
    #[n(3)]
    #[cbor(map)]
    Symlink {
        /// The text of the link, raw.
        #[n(0)]
        target: ByteVec,
    },
    /// A character device.
    #[n(4)]
    #[cbor(map)]
    CharDevice {
        /// Major number.
        #[n(0)]
        major: u32,
        /// Minor number.
        #[n(1)]
        minor: u32,
    },
    /// A block device.
    #[n(5)]
    #[cbor(map)]
    BlockDevice {
        /// Major number.
        #[n(0)]
        major: u32,
        /// Minor number.
        #[n(1)]
        minor: u32,
    },
    /// A named pipe.
    #[n(6)]
    Fifo,
}

/// Where the bytes of a file are.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Content {
    /// The pieces one after another; their lengths add up to the file's size.
    #[n(0)]
    Inline(#[n(0)] Vec<Piece>),
    /// Metadata blobs (kind `list`), each a CBOR array of pieces, to be read one after another.
    #[n(1)]
    Lists(#[n(0)] Vec<BlobId>),
}

/// A run of bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Piece {
    /// `length` bytes of a chunk, from `skip` on.
    #[n(0)]
    Data {
        /// The blob that holds the chunk.
        #[n(0)]
        blob: BlobId,
        /// Where in the chunk the run begins.
        #[n(1)]
        skip: u32,
        /// Its length in bytes; at least 1.
        #[n(2)]
        length: u32,
    },
    /// A hole: `length` bytes that were never written.
    #[n(1)]
    Hole {
        /// Its length in bytes; at least 1.
        #[n(0)]
        length: u64,
    },
}

impl Piece {
    /// How many bytes of the file it covers.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match *self {
            Self::Data { length, .. } => length as u64,
            Self::Hole { length } => length,
        }
    }
}

/// Seconds and nanoseconds since 1970, as the kernel counts: nanoseconds go forward also before 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, Default)]
pub struct FileTime {
    /// Seconds; negative before 1970.
    #[n(0)]
    pub seconds: i64,
    /// 0 to 999,999,999.
    #[n(1)]
    pub nanos: u32,
}

/// Names of attributes that are our own, in entries that are no files of a disk. No file system has names without a namespace before the dot that it knows;
/// they are never restored.
const OWN_ATTRIBUTES: &[u8] = b"homelab-dr.";
/// Which object, in which version, a manifest shows: its API version, uid and resource version, with a space between.
pub const OBJECT_VERSION: &[u8] = b"homelab-dr.object-version";

/// One extended attribute.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub struct Xattr {
    /// Its full name, such as `user.comment` or `system.posix_acl_access`.
    #[n(0)]
    pub name: ByteVec,
    /// Its value.
    #[n(1)]
    pub value: ByteVec,
}

impl Xattr {
    /// Whether it is a note of ours, and none of a file.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.name.starts_with(OWN_ATTRIBUTES)
    }
}

/// What tells that a file was touched although size and mtime are the same. A clone of the volume changes both fields at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Identity {
    /// Inode number.
    #[n(0)]
    pub inode: u64,
    /// Time of last status change.
    #[n(1)]
    pub ctime: FileTime,
    /// The mtime was so near the scan that a later write may not show: read the file next time whatever it says.
    #[n(2)]
    pub racy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::live::{How, Trace};

    fn path(text: &str) -> TreePath {
        TreePath::new(text).expect(text)
    }

    #[test]
    fn what_is_printed_reads_back() {
        let printed = |bytes: &[u8], text: &str| {
            assert_eq!(escape(bytes), text);
            let back = unescape(text.as_bytes());
            assert_eq!(back.as_deref().unwrap_or(text.as_bytes()), bytes, "{text}");
            back.is_some()
        };
        assert!(!printed("plain/länger 🦀".as_bytes(), "plain/länger 🦀"));
        assert!(printed(b"a\xff.txt", "a\\xff.txt"));
        assert!(printed(b"\x1b[2J\n", "\\x1b[2J\\x0a"));
        assert!(printed("\u{85}".as_bytes(), "\\xc2\\x85"));
        assert!(printed(b"\\xff \xff \\", "\\x5cxff \\xff \\x5c"), "its own backslashes and a byte");
        for text in ["back\\slash", "\\", "\\x", "\\xf", "\\xg0", "dev-x2d"] {
            assert!(!printed(text.as_bytes(), text), "{text}");
        }
        // Printed as it is, because no terminal minds; whoever asks tries the text itself first.
        assert_eq!(escape(b"dev-disk\\x2duuid"), "dev-disk\\x2duuid");
        assert_eq!(unescape(b"dev-disk\\x2Duuid").unwrap(), b"dev-disk-uuid");
    }

    #[test]
    fn a_directory_comes_right_before_what_is_in_it() {
        let mut paths = ["a.txt", "a/b", "a", "a-b", "", "a/b/c", "a\x01", "a/b.d"].map(path);
        paths.sort();
        assert_eq!(paths.map(|p| p.display()), ["", "a", "a/b", "a/b/c", "a/b.d", "a\\x01", "a-b", "a.txt"]);
    }

    #[test]
    fn paths_that_could_climb_are_refused() {
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b"] {
            assert_eq!(TreePath::new(bad), Err(PathError(bad.into())), "{bad}");
        }
        assert!(TreePath::new(vec![b'a'; 64 << 10]).is_ok());
        assert!(TreePath::new(vec![b'a'; PATH_BYTES_MAX + 1]).is_err());
        assert!(path("a").join(b"b/c").is_err());
        assert!(path("a").join(b"..").is_err());
    }

    #[test]
    fn within_and_parent_go_by_names_not_by_bytes() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert!(path("a").is_within(&TreePath::root()));
        assert_eq!(path("a/b").parent(), Some(path("a")));
        assert_eq!(path("a").parent(), Some(TreePath::root()));
        assert_eq!(path("a/b/c").first_below(&path("a")), Some(path("a/b")));
        assert_eq!(path("a/b").first_below(&path("a")), Some(path("a/b")));
        assert_eq!(path("a/b").first_below(&TreePath::root()), Some(path("a")));
        assert_eq!(path("a").first_below(&path("a")), None);
        assert_eq!(path("ab/c").first_below(&path("a")), None);
        assert_eq!(TreePath::root().parent(), None);
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let evil = TreePath::new(b"\x1b[2J\xff\n".to_vec()).expect("legal on Linux");
        assert_eq!(evil.display(), "\\x1b[2J\\xff\\x0a");
        let turned = "cat \u{202e}gpj.exe \\".as_bytes();
        assert_eq!(escape(turned), "cat \\xe2\\x80\\xaegpj.exe \\x5c");
        assert_eq!(unescape(escape(turned).as_bytes()).as_deref(), Some(turned));
        assert_eq!(escape("עברית 👨‍👩‍👧".as_bytes()), "עברית 👨‍👩‍👧", "what is only written from right to left is shown");
    }

    #[test]
    fn entries_go_through_cbor_unchanged() {
        let entry = Entry {
            path: path("a/b"),
            kind: Kind::File {
                size: 10,
                content: Content::Inline(vec![
                    Piece::Data { blob: BlobId::new([7; 32]), skip: 1, length: 4 },
                    Piece::Hole { length: 6 },
                ]),
            },
            mode: 0o4755,
            uid: 0,
            gid: 1000,
            mtime: FileTime { seconds: -5, nanos: 999_999_999 },
            xattrs: vec![Xattr { name: b"user.x".to_vec().into(), value: b"\0\xff".to_vec().into() }],
            identity: Some(Identity { inode: 42, ctime: FileTime::default(), racy: true }),
            live: Some(Box::new(Live {
                size: Some(4096),
                wal: Some(Trace { size: 32, mtime: FileTime::default(), inode: 43 }),
                racy: true,
                ..Live::new(How::BACKUP)
            })),
        };
        let raw = minicbor::to_vec(&entry).expect("writing to memory");
        assert_eq!(minicbor::decode::<Entry>(&raw).expect("what was written"), entry);
    }

    #[test]
    fn a_path_is_its_names() {
        let deep = path("a/bc/d");
        assert_eq!(deep.as_bytes(), b"a/bc/d");
        assert_eq!(deep.names().collect::<Vec<_>>(), [&b"a"[..], b"bc", b"d"]);
        assert_eq!((deep.name(), path("a/bc").name(), TreePath::root().name()), (&b"d"[..], &b"bc"[..], &b""[..]));
        assert_eq!(TreePath::root().names().count(), 0);
    }

    #[test]
    fn pieces_cover_what_they_say_and_notes_of_ours_are_known() {
        assert_eq!(Piece::Data { blob: BlobId::new([7; 32]), skip: 3, length: 4 }.length(), 4);
        assert_eq!(Piece::Hole { length: 1 << 40 }.length(), 1 << 40);
        let own = |name: &[u8]| Xattr { name: name.to_vec().into(), value: Vec::new().into() }.is_own();
        assert!(own(OBJECT_VERSION));
        assert!(!own(b"user.homelab-dr.x") && !own(b"homelab-dr"));
    }
}
