//! Removing what a snapshot does not have.

use rustix::fs::{AtFlags, FileType, OFlags, unlinkat};
use rustix::io::Errno;

use super::Target;
use crate::format::entry::TreePath;
use crate::tree::beneath;
use crate::tree::inode::Inode;
use crate::tree::listing::Names;
use crate::tree::problem::{Cause, Problem};

impl Target {
    /// What is in a directory and not expected there, in tree order; nothing if there is no such directory.
    pub fn extra_entries(
        &self,
        directory: &TreePath,
        expected: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<TreePath>, Problem> {
        let fail = |errno| Problem::new(directory.clone(), "listing", Cause::System(errno));
        let fd = match self.open(directory, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(Vec::new()),
            done => done.map_err(fail)?,
        };
        let mut names = Names::list(&fd).map_err(fail)?;
        let mut extra = Vec::new();
        while let Some(name) = names.next() {
            if !expected(name.to_bytes()) {
                let path = directory.join(name.to_bytes());
                extra.push(path.map_err(|_| Problem::new(directory.clone(), "listing", Cause::PathTooLong))?);
            }
        }
        Ok(extra)
    }

    /// Removes an entry and everything below it, links themselves and not what they lead to, and nothing on another file
    /// system that is mounted below. What could not be removed is returned; nothing there is fine.
    #[must_use]
    pub fn remove(&self, path: &TreePath) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut device = None;
        // Each directory twice: first it is emptied but for directories, which go before it, then it goes itself.
        let mut waiting = vec![(path.clone(), false)];
        while let Some((path, emptied)) = waiting.pop() {
            match self.remove_step(&path, emptied, &mut device) {
                Ok(inner) if !emptied && !inner.is_empty() => {
                    waiting.push((path, true));
                    waiting.extend(inner.into_iter().map(|path| (path, false)));
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    /// Removes what is no directory, or an empty directory; else returns what is in it.
    fn remove_step(
        &self,
        path: &TreePath,
        emptied: bool,
        device: &mut Option<(u32, u32)>,
    ) -> Result<Vec<TreePath>, Problem> {
        let fail = |errno| Problem::new(path.clone(), "removing", Cause::System(errno));
        if path.as_bytes().is_empty() && emptied {
            return Ok(Vec::new());
        }
        let parent = match beneath::parent(self.root(), path) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(Vec::new()),
            done => done.map_err(fail)?,
        };
        let name = beneath::name(path);
        let inode = match Inode::at(&parent, name) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            done => done.map_err(fail)?,
        };
        if *device.get_or_insert(inode.device) != inode.device {
            return Err(Problem::new(path.clone(), "removing", Cause::OtherFileSystem));
        }
        let flags = if inode.file_type == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(&parent, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(Vec::new()),
            // The root itself answers EINVAL (`.`), and is emptied like any other.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::INVAL) if !emptied => self.extra_entries(path, |_| false),
            Err(errno) => Err(fail(errno)),
        }
    }
}
