//! Extended attributes: POSIX ACLs, file capabilities, user attributes; and which of them are none of our business.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{getxattr, lgetxattr, listxattr, listxattr_query, llistxattr};
use rustix::io::{Errno, Result};

use crate::format::entry::Xattr;

/// The kernel's limit for a list of names, and for one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const BYTES_MAX: usize = 64 * 1024;

/// Room for names at first. The kernel allocates as much for each call, which is felt with 64 KiB.
const NAMES_BYTES: usize = 1024;

/// Left out, because they describe this machine and not the file: labels are given by the policy of whoever mounts
/// the volume (in Kubernetes another one for each pod), IMA and EVM sign for one machine, overlayfs keeps its own books.
/// Of `system.*` only POSIX ACLs are kept; an NFSv4 ACL is the server's view, which no other file system takes back.
const NOT_KEPT: [&[u8]; 7] = [
    b"security.selinux",
    b"security.ima",
    b"security.evm",
    b"security.SMACK64",
    b"security.apparmor",
    b"trusted.overlay.",
    b"btrfs.",
];

/// Whether an attribute of this name is backed up and restored.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    let system = name.starts_with(b"system.") && !name.starts_with(b"system.posix_acl_");
    !system && !NOT_KEPT.iter().any(|skipped| name.starts_with(skipped))
}

/// A path that leads to an open file, also to one opened with `O_PATH` and to a symbolic link opened so.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Reads attributes; keeps its buffers between files.
pub(crate) struct Reader {
    path: Vec<u8>,
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self { path: Vec::new(), names: vec![0; NAMES_BYTES], value: Vec::new() }
    }

    /// The attributes of `name` in a directory, sorted; those of a symbolic link are its own. One call if there are none.
    pub(crate) fn read_at(&mut self, directory: impl AsFd, name: &[u8]) -> Result<Vec<Xattr>> {
        use std::io::Write as _;
        self.path.clear();
        let _ = write!(self.path, "/proc/self/fd/{}/", directory.as_fd().as_raw_fd());
        self.path.extend_from_slice(name);
        let length = loop {
            match llistxattr(self.path.as_slice(), self.names.as_mut_slice()) {
                Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
                Ok(length) => break length,
                Err(Errno::RANGE) if self.names.len() < BYTES_MAX => self.names.resize(BYTES_MAX, 0),
                Err(error) => return Err(error),
            }
        };
        self.value.resize(BYTES_MAX, 0);
        let (path, value) = (self.path.as_slice(), self.value.as_mut_slice());
        collect(self.names.get(..length).unwrap_or_default(), value, |name, value| lgetxattr(path, name, value))
    }
}

/// The attributes of an open file, also of one opened with `O_PATH`, sorted.
pub(crate) fn of(fd: impl AsFd) -> Result<Vec<Xattr>> {
    let path = proc_path(fd.as_fd());
    match listxattr_query(path.as_str()) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let (mut names, mut value) = (vec![0; BYTES_MAX], vec![0; BYTES_MAX]);
    let length = listxattr(path.as_str(), names.as_mut_slice())?;
    collect(names.get(..length).unwrap_or_default(), &mut value, |name, value| getxattr(path.as_str(), name, value))
}

fn collect(names: &[u8], value: &mut [u8], get: impl Fn(&[u8], &mut [u8]) -> Result<usize>) -> Result<Vec<Xattr>> {
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty() && is_kept(name)) {
        match get(name, value) {
            Ok(length) => found.push(Xattr {
                name: name.to_vec().into(),
                value: value.get(..length).unwrap_or_default().to_vec().into(),
            }),
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::is_kept;

    /// Labels of `SELinux` come from whoever mounts a volume; capabilities and what programs note are the file's own.
    #[test]
    fn what_describes_the_machine_is_left_out_and_what_describes_the_file_is_kept() {
        for (name, kept) in [
            ("security.selinux", false),
            ("security.ima", false),
            ("security.evm", false),
            ("trusted.overlay.opaque", false),
            ("btrfs.compression", false),
            ("system.nfs4_acl", false),
            ("system.posix_acl_access", true),
            ("system.posix_acl_default", true),
            ("security.capability", true),
            ("trusted.glusterfs.gfid", true),
            ("user.comment", true),
        ] {
            assert_eq!(is_kept(name.as_bytes()), kept, "{name}");
        }
    }
}
