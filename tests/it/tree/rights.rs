//! Without root: what may not be read, and what may not be given away. Runs itself again as another user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use homelab_dr::format::entry::{Kind, Xattr};
use homelab_dr::tree::problem::{Cause, Severity};
use homelab_dr::tree::restore::RestoreOptions;
use rustix::io::Errno;

use super::{capture, restore, tree_path};

const NOBODY: u32 = 65_534;
const FOLDER: &str = "HOMELAB_DR_TEST_FOLDER";
/// Takes `SETFCAP` to set, and nothing to read.
const CAPABILITY: &str = "security.capability";
/// `CAP_NET_RAW`, permitted and effective (`linux/capability.h`: revision 2, and twice permitted and inheritable).
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Takes `SYS_ADMIN` to set, and to see.
const TRUSTED: &str = "trusted.glusterfs.gfid";

#[test]
#[ignore = "needs root, to make files that a user may not read: lane root"]
fn lane_root_an_ordinary_user_is_told_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    // The test binary may lie where nobody may go.
    fs::copy(std::env::current_exe().unwrap(), at("it")).unwrap();
    fs::create_dir_all(at("source/closed")).unwrap();
    for (name, mode) in
        [("open", 0o644), ("secret", 0o600), ("suid", 0o4755), ("closed/inside", 0o644), ("ping", 0o755)]
    {
        fs::write(at("source").join(name), b"1").unwrap();
        fs::set_permissions(at("source").join(name), Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(at("source/closed"), Permissions::from_mode(0o700)).unwrap();
    rustix::fs::setxattr(at("source/ping"), CAPABILITY, &NET_RAW, rustix::fs::XattrFlags::empty()).unwrap();
    fs::write(at("source/mine"), b"1").unwrap();
    rustix::fs::setxattr(at("source/mine"), "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    chown(at("source/mine"), Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(at("source/mine"), Permissions::from_mode(0o400)).unwrap();
    // As a provisioner makes the directory of a volume: anybody may write into it, and it is root's.
    fs::create_dir(at("target")).unwrap();
    for volume in ["source", "target"] {
        fs::set_permissions(at(volume), Permissions::from_mode(0o777)).unwrap();
    }
    let output = Command::new(at("it"))
        .args(["--ignored", "--exact", "tree::rights::as_nobody", "--nocapture", "--test-threads=1"])
        .env(FOLDER, dir.path())
        .current_dir(dir.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert!(at("target/open").exists(), "the other process did its work: {said}");
    assert_eq!(fs::metadata(at("target")).unwrap().uid(), 0);
}

/// The part that runs as another user, in the folder that the test above made.
#[test]
#[ignore = "is run by lane_root_an_ordinary_user_is_told_what_is_missing"]
fn as_nobody() {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from).expect("run by the test above");
    assert!(!rustix::process::geteuid().is_root());
    let mut captured = capture(&folder.join("source"));
    let problems: Vec<_> = captured.problems.iter().map(|p| (p.path.display(), p.cause.clone(), p.severity)).collect();
    let denied = |path: &str| (path.to_owned(), Cause::System(Errno::ACCESS), Severity::Problem);
    assert_eq!(problems, [denied("closed"), denied("secret")]);
    assert_eq!(captured.entry("closed").kind, Kind::Directory, "the directory itself is kept");

    assert_eq!(captured.entry("ping").xattrs.len(), 1, "everybody may read it");
    // As root would have captured it.
    let (name, value) = (TRUSTED.as_bytes().to_vec().into(), b"1".to_vec().into());
    let ping = captured.entries.iter_mut().find(|(entry, _)| entry.path == tree_path("ping")).expect("captured");
    ping.0.xattrs.push(Xattr { name, value });

    let target = folder.join("target");
    restore_here(&captured, &target);
    let meta = |name: &str| fs::metadata(target.join(name)).unwrap();
    assert_eq!(meta("suid").mode() & 0o7777, 0o755, "no set-uid for somebody else's program");
    assert_eq!(meta("mine").mode() & 0o7777, 0o400);
}

fn restore_here(captured: &super::Captured, target: &Path) {
    let problems = restore(captured, target, RestoreOptions::default());
    let of = |path: &str| {
        let of = problems.iter().filter(|p| p.path == tree_path(path)).map(|p| p.cause.clone());
        of.collect::<Vec<_>>()
    };
    assert_eq!(of(""), [], "the time of a directory that is another's is not asked for");
    assert_eq!(of("open"), [Cause::System(Errno::PERM)]);
    assert_eq!(of("suid"), [Cause::System(Errno::PERM), Cause::SetIdDropped]);
    assert_eq!(of("mine"), [], "it is this user's own");
    let without = |name: &str| Cause::Attribute { name: name.to_owned(), cause: Errno::PERM };
    assert_eq!(of("ping"), [Cause::System(Errno::PERM), without(CAPABILITY), without(TRUSTED)]);
    let expected = [without(CAPABILITY), without(TRUSTED), Cause::SetIdDropped];
    let quiet = restore(captured, target, RestoreOptions { owner: false, ..RestoreOptions::default() });
    assert_eq!(quiet.iter().map(|p| p.cause.clone()).collect::<Vec<_>>(), expected);
}
