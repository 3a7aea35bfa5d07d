//! What a command must not write over or remove, whatever it is told: the repository it reads and the key files it uses.
//!
//! Places are compared with all links resolved, and folders also by device and inode, since one folder may be mounted at two places.
//! A file that is mounted or hard-linked elsewhere has another name there that stays; it needs no guard.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::open;
use crate::store::url::StoreUrl;

/// Where a path leads to, links resolved; what of it is not there yet is taken as it would be made.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::from("/");
    for part in whole.components() {
        match part {
            Component::ParentDir => {
                real.pop();
            }
            Component::Normal(name) => {
                real.push(name);
                real = real.canonicalize().unwrap_or(real);
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    real
}

/// What a look at a file system finds, unless it does not answer in time.
pub(crate) async fn within<T: Send + 'static>(limit: Duration, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::time::timeout(limit, tokio::task::spawn_blocking(look)).await.ok()?.ok()
}

/// What did not answer.
pub(crate) fn silent(exit: Exit, path: &str, limit: Duration) -> Failure {
    let what = format!("{path} did not answer for {} s", limit.as_secs());
    Failure::new(exit, what, "is the server of this mount up?")
}

/// Device and inode; `None` for what is not there.
fn inode(path: &Path) -> Option<(u64, u64)> {
    path.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether a place is a folder or lies in it; both as [`real_path`] gives them.
pub(crate) fn lies_in(place: &Path, folder: &Path) -> bool {
    let same = |above: &Path| inode(above).is_some_and(|found| inode(folder) == Some(found));
    place.starts_with(folder) || place.ancestors().any(same)
}

/// What a restore needs and must leave as it is.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    /// The folder that the repository is, if it is one.
    repository: Option<PathBuf>,
    /// The files of keys, and what each holds: under the name that was given, and where that leads to.
    keys: Vec<(PathBuf, &'static str)>,
}

impl InUse {
    pub(crate) fn of(context: &Context) -> Result<Self, Failure> {
        let mut keys = Vec::new();
        for (file, what) in context.globals.key_files() {
            // A pipe (`<(…)`) has no place where anything could be restored.
            if !file.is_file() {
                continue;
            }
            let above = file.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let named = file.file_name().map(|name| real_path(above).join(name));
            let real = real_path(&file);
            keys.extend(named.filter(|named| *named != real).map(|named| (named, what)));
            keys.push((real, what));
        }
        Ok(Self { repository: repository(context)?, keys })
    }

    /// All of it, for whoever restores into a folder that holds some.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.repository.iter().chain(self.keys.iter().map(|(path, _)| path)).cloned().collect()
    }

    /// Refuses to write manifests below a folder that is, holds or lies in the repository, or holds a key: all of it is read as manifests, and written over.
    pub(crate) fn refuse_manifests(&self, folder: &Path) -> Result<(), Failure> {
        self.refuse_target(folder, false)?;
        let (real, shown) = (real_path(folder), folder.display());
        let used = self.repository.iter().map(|repository| (repository, "the repository"));
        let used = used.chain(self.keys.iter().map(|(key, holds)| (key, *holds)));
        match used.into_iter().find(|(place, _)| lies_in(place, &real)) {
            Some((place, what)) => {
                let what = format!("{what} {} lies in {shown}, where manifests are written", place.display());
                Err(Failure::usage(what, "nothing was done; unpack into a folder that is empty or not there"))
            }
            None => Ok(()),
        }
    }

    /// Refuses to restore into the repository, and with `delete` into what holds it or a key.
    pub(crate) fn refuse_target(&self, target: &Path, delete: bool) -> Result<(), Failure> {
        let (real, shown) = (real_path(target), target.display());
        if let Some(repository) = &self.repository {
            if lies_in(&real, repository) {
                let what =
                    format!("{shown} is the repository itself, or lies in it: its objects would be written over");
                return Err(Failure::usage(what, "nothing was done; restore into a folder outside of the repository"));
            }
            if delete && lies_in(repository, &real) {
                let what = format!("the repository lies in {shown}, and --delete would remove it");
                return Err(Failure::usage(what, WITHOUT_DELETE));
            }
        }
        match self.keys.iter().find(|(key, _)| delete && lies_in(key, &real)) {
            Some((key, holds)) => {
                let what = format!("{holds} {} lies in {shown}, and --delete would remove it", key.display());
                Err(Failure::usage(what, WITHOUT_DELETE))
            }
            None => Ok(()),
        }
    }
}

const WITHOUT_DELETE: &str = "nothing was done; restore into an empty folder, or leave out --delete";

/// The folder of the repository that was given, if one was and it is a folder.
fn repository(context: &Context) -> Result<Option<PathBuf>, Failure> {
    if context.globals.repo.as_deref().is_none_or(std::ffi::OsStr::is_empty) {
        return Ok(None);
    }
    Ok(match open::address(context)? {
        StoreUrl::File { path, .. } => Some(real_path(&path)),
        StoreUrl::S3(_) => None,
    })
}

/// Refuses to make a file or folder in the repository: a key that lies beside what it opens is stolen with it, and `prune` or a copy knows
/// nothing of other files.
pub(crate) fn refuse_in_repository(context: &Context, place: &Path) -> Result<(), Failure> {
    match repository(context)? {
        Some(repository) => refuse_in(&repository, place),
        None => Ok(()),
    }
}

/// See [`refuse_in_repository`].
pub(crate) fn refuse_in(repository: &Path, place: &Path) -> Result<(), Failure> {
    if !lies_in(&real_path(place), &real_path(repository)) {
        return Ok(());
    }
    let what = format!("{} would lie in the repository {}", place.display(), repository.display());
    Err(Failure::usage(
        what,
        "nothing was done; name a place outside of the repository, such as one below your home folder",
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_not_there_yet_is_resolved_as_it_would_be_made() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().canonicalize().expect("just made");
        std::fs::create_dir_all(dir.join("repo/packs")).expect("fresh");
        symlink("repo/packs", dir.join("link")).expect("fresh");
        for (path, real) in [
            ("new/../repo/x", "repo/x"),
            ("link/..", "repo"),
            ("link/new/../..", "repo"),
            ("new/../link/x", "repo/packs/x"),
            ("./repo//packs/", "repo/packs"),
        ] {
            assert_eq!(real_path(&dir.join(path)), dir.join(real), "{path}");
        }
    }
}
