//! A directory with every kind of entry that a backup must bring back, and the socket that it leaves out.

use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, XattrFlags, makedev, mknodat, setxattr, utimensat,
};

/// rw for the owner, r for user 1000, r for the group, mask r, nothing for others (`linux/posix_acl_xattr.h`).
pub const ACL: [u8; 44] = *b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
/// `cap_net_raw+ep`, version 2 (`linux/capability.h`).
pub const CAPABILITY: [u8; 20] = *b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Size of the sparse file: holes at both ends and in the middle.
pub const SPARSE_BYTES: u64 = 5 * 1024 * 1024 + 123;

/// What goes into the directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// What everybody may make.
    Everybodys,
    /// Also what only root may: device nodes, other owners, capabilities, trusted attributes.
    Roots,
}

/// Fills an empty directory.
pub fn build(dir: &Path, kinds: Kinds) {
    let at = |name: &str| dir.join(name);
    let raw = |name: &[u8]| dir.join(std::ffi::OsStr::from_bytes(name));
    let write = |path: PathBuf, bytes: &[u8]| fs::write(path, bytes).unwrap();
    let mode = |path: PathBuf, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();

    write(at("empty"), b"");
    write(at("text"), b"hello\n");
    write(at("large"), &(0..300_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&[1; 5000], 1024 * 1024).unwrap();
    sparse.write_all_at(b"second", 3 * 1024 * 1024).unwrap();
    sparse.set_len(SPARSE_BYTES).unwrap();
    File::create(at("only-a-hole")).unwrap().set_len(1 << 20).unwrap();

    for sub in ["a", "z/deep/er", "sticky", "closed", "acl-dir"] {
        fs::create_dir_all(at(sub)).unwrap();
    }
    write(at("a/first-name"), b"one file, three names");
    fs::hard_link(at("a/first-name"), at("z/deep/second-name")).unwrap();
    fs::hard_link(at("a/first-name"), at("z/third-name")).unwrap();
    write(at("a-b"), b"sorts after what is in a");
    write(at("a.b"), b"and so does this");
    mode(at("sticky"), 0o1777);

    write(raw(&[b'n'; 255]), b"longest name");
    write(raw(b"not \xff\xfe utf-8 \n"), b"raw name");
    symlink("no/such/file", at("dangling")).unwrap();
    symlink("z", at("link-to-directory")).unwrap();
    symlink(std::ffi::OsStr::from_bytes(b"raw \xff target"), at("raw-link")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());

    attribute(&at("text"), "user.comment", b"\0binary\xff");
    attribute(&at("a"), "user.empty", b"");
    attribute(&at("empty"), "system.posix_acl_access", &ACL);
    attribute(&at("acl-dir"), "system.posix_acl_default", &ACL);
    write(at("acl-dir/inherits"), b"has the directory's default as its own");

    if kinds == Kinds::Roots {
        mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).unwrap();
        mknodat(CWD, at("loop200"), FileType::BlockDevice, Mode::from_raw_mode(0o660), makedev(7, 200)).unwrap();
        chown(at("large"), Some(1234), Some(5678)).unwrap();
        lchown(at("dangling"), Some(1234), Some(5678)).unwrap();
        write(at("capable"), b"#!");
        attribute(&at("capable"), "security.capability", &CAPABILITY);
        attribute(&at("capable"), "trusted.note", b"only root sees it");
        write(at("foreign-suid"), b"#!");
        chown(at("foreign-suid"), Some(1234), Some(5678)).unwrap();
        mode(at("foreign-suid"), 0o6755);
    }
    write(at("suid"), b"#!");
    mode(at("suid"), 0o4755);
    write(at("closed/inside"), b"in a directory that takes nothing more");
    write(at("read-only"), b"x");
    attribute(&at("read-only"), "user.on-read-only", b"1");
    mode(at("read-only"), 0o444);

    time(&at("text"), -86_401, 123_456_789);
    time(&at("dangling"), -1, 999_999_999);
    time(&at("fifo"), 1_000_000_000, 1);
    time(&at("a/first-name"), 2_000_000_000, 500);
    for directory in ["a", "z/deep/er", "z/deep", "z", "closed"] {
        time(&at(directory), 1_234_567_890, 987_654_321);
    }
    // Root reads what nobody may; its owner could not back it up.
    mode(at("closed"), if kinds == Kinds::Roots { 0o000 } else { 0o500 });
    time(dir, 1_111_111_111, 1);
}

/// Lets whoever built it, or restored it, remove it again.
pub fn open_up(dir: &Path) {
    fs::set_permissions(dir.join("closed"), Permissions::from_mode(0o700)).unwrap();
}

/// Gives a path, not what it links to, an mtime.
pub fn time(path: &Path, seconds: i64, nanos: i64) {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access, last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos } };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn attribute(path: &Path, name: &str, value: &[u8]) {
    if let Err(error) = setxattr(path, name, value, XattrFlags::empty()) {
        panic!("{name} cannot be set on {}: {error}; run the tests where TMPDIR keeps attributes", path.display());
    }
}
