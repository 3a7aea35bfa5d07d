//! Whether an entry needs to be restored at all.

use rustix::fs::{FileType, OFlags, readlinkat};
use rustix::io::Errno;

use super::{Target, metadata};
use crate::format::entry::{Entry, Kind};
use crate::tree::inode::Inode;
use crate::tree::problem::{Cause, Problem};
use crate::tree::xattrs;

/// How what is on the disk compares with an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// Nothing is there.
    Missing,
    /// Kind, size, mtime (of a file), link text, device number and all metadata agree. A file's bytes are not read.
    Same,
    /// The content is the same as far as `Same` knows, but owner, mode, attributes or time are not.
    MetadataDiffers,
    /// Same kind, but size or mtime of a file, the text of a link, or the file behind a hard link differ.
    ContentMayDiffer,
    /// Something of another kind is there.
    OtherType,
}

impl Target {
    /// Looks at what is there. A directory's mtime does not count, since restoring into it changes it.
    pub fn compare(&self, entry: &Entry) -> Result<Comparison, Problem> {
        let fail = |errno| Problem::new(entry.path.clone(), "comparing", Cause::System(errno));
        let fd = match self.open(&entry.path, OFlags::PATH) {
            // A link or a file where a directory should be on the way: the entry itself is not there.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(Comparison::Missing),
            done => done.map_err(fail)?,
        };
        let now = Inode::of(&fd).map_err(fail)?;
        if now.file_type != metadata::file_type(&entry.kind) {
            return Ok(Comparison::OtherType);
        }
        let device = |major: &u32, minor: &u32| now.stands_for == (*major, *minor);
        let same_content = match &entry.kind {
            Kind::Directory | Kind::Fifo => true,
            Kind::File { size, .. } => (now.size, now.mtime) == (*size, entry.mtime),
            Kind::HardLink { target } => {
                let other = self.open(target, OFlags::PATH).and_then(Inode::of);
                return Ok(match other {
                    Ok(other) if other.is_same_file(&now) => Comparison::Same,
                    _ => Comparison::ContentMayDiffer,
                });
            }
            Kind::Symlink { target } => readlinkat(&fd, c"", Vec::new()).map_err(fail)?.as_bytes() == target.as_slice(),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => device(major, minor),
        };
        if !same_content {
            return Ok(Comparison::ContentMayDiffer);
        }
        let mode_counts = now.file_type != FileType::Symlink;
        let time_counts = now.file_type != FileType::Directory;
        let same = (!self.options().owner || (now.uid, now.gid) == (entry.uid, entry.gid))
            && (!mode_counts || now.mode == entry.mode)
            && (!time_counts || now.mtime == entry.mtime)
            && xattrs::of(&fd).map_err(fail)? == entry.xattrs;
        Ok(if same { Comparison::Same } else { Comparison::MetadataDiffers })
    }
}
