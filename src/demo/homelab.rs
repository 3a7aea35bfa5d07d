//! Builds the homelab, changes it as a day would, and burns it down.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use crate::cluster::folder::{self, Folder, MANIFESTS, plural};
use crate::cluster::object::{at, fields_mut, namespace_of, text};
use crate::cluster::{Cluster as _, ClusterError, Created, How, Kind, manifest};
use crate::demo::files::{self, FIRST_DAY, SECOND_DAY};

/// The password in the Secret of the password manager. It must not be found in any stored byte.
pub const PLANTED_SECRET: &str = "demo-password-otter-93-blueprint";

/// Photos on the first day. With [`PHOTO_BYTES`] that makes some 80 MiB: enough for a progress bar to mean something, little enough for a minute.
const PHOTOS: u64 = 24;
/// Size of the smallest photo, and how much larger others may be.
const PHOTO_BYTES: (u64, u64) = (2 << 20, 3 << 20);
/// 2025-12-01T20:00:00Z. Files get fixed times in the past: one that was changed a moment ago is read again by the next backup, since it might be
/// changing still, and the demonstration would show less than the truth.
const FIRST_EVENING_S: u64 = 1_764_619_200;
/// A day.
const DAY_S: u64 = 86_400;

/// Why the homelab cannot be played with.
#[derive(Debug, thiserror::Error)]
pub enum HomelabError {
    /// The file system refused.
    #[error("a file of the homelab cannot be written or read")]
    File(#[from] io::Error),
    /// The folder that stands for a cluster refused.
    #[error("an object of the homelab cannot be written")]
    Cluster(#[from] ClusterError),
}

/// A homelab in a folder that stands for a cluster.
#[derive(Debug, Clone)]
pub struct Homelab {
    root: PathBuf,
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Size {
    /// Namespaces.
    pub namespaces: u64,
    /// Manifests.
    pub manifests: u64,
    /// Volumes.
    pub volumes: u64,
}

/// What a day changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The file or directory, below the homelab.
    pub path: String,
    /// What happened to it.
    pub what: &'static str,
}

impl Homelab {
    /// The homelab in the folder `root`, which need not be there yet.
    #[must_use]
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Builds the first day's state. `built` is told the bytes of each file.
    pub async fn build(&self, built: &dyn Fn(u64)) -> Result<Size, HomelabError> {
        let mut size = Size::default();
        for file in FIRST_DAY {
            self.put(file, FIRST_EVENING_S).await?;
            built(file.1.len() as u64);
        }
        for n in 1..=PHOTOS {
            let photo = photo(n);
            self.write(
                &format!("volumes/photos/library/upload/2025/{:02}/IMG_{}.jpg", n.div_ceil(2), 1000 + n),
                &photo,
                taken(n),
            )?;
            built(photo.len() as u64);
        }
        let manifests = FIRST_DAY.iter().filter(|(path, _)| is_manifest(path));
        size.manifests = manifests.clone().count() as u64;
        size.namespaces = manifests.filter(|(path, _)| path.ends_with("/namespace.yaml")).count() as u64;
        size.volumes = folder::volumes(&self.root)?.len() as u64;
        Ok(size)
    }

    /// Lets a day pass: a new photo, a moved album, an edited document, a row in the database, an update of an application.
    pub async fn change(&self) -> Result<Vec<Change>, HomelabError> {
        let change = |path: &str, what| Change { path: path.to_owned(), what };
        let mut changes = Vec::new();
        for file in SECOND_DAY {
            let path = self.put(file, FIRST_EVENING_S + DAY_S).await?;
            changes.push(change(&path, if file.0.ends_with("sqlite3") { "two rows changed" } else { "edited" }));
        }
        let new = "volumes/photos/library/upload/2025/12/IMG_1025.jpg";
        self.write(new, &photo(PHOTOS + 1), FIRST_EVENING_S + DAY_S)?;
        changes.push(change(new, "new photo"));
        let album = "volumes/photos/library/upload/2025/07";
        fs::rename(self.root.join(album), self.root.join("volumes/photos/library/upload/2025/summer"))?;
        changes.push(change(album, "renamed to summer"));
        Ok(changes)
    }

    /// Removes everything.
    pub fn burn(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.root)
    }

    /// Where its manifests are, and the data of each of its volumes.
    pub fn places(&self) -> Result<Vec<PathBuf>, ClusterError> {
        let mut places = vec![self.root.join(MANIFESTS)];
        let volumes = folder::volumes(&self.root)?;
        places.extend(volumes.iter().filter_map(|(namespace, claim)| folder::volume(&self.root, namespace, claim)));
        Ok(places)
    }

    /// Returns where it lies now, below the homelab.
    async fn put(&self, (path, content): &files::File, time_s: u64) -> Result<String, HomelabError> {
        if is_manifest(path) {
            return Ok(apply(&self.root, &String::from_utf8_lossy(content)).await?);
        }
        self.write(path, content, time_s)?;
        Ok((*path).to_owned())
    }

    fn write(&self, path: &str, content: &[u8], time_s: u64) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create(path)?;
        file.write_all(content)?;
        let time = UNIX_EPOCH + Duration::from_secs(time_s);
        file.set_times(FileTimes::new().set_modified(time).set_accessed(time))
    }
}

fn is_manifest(path: &str) -> bool {
    path.starts_with(MANIFESTS)
}

/// Puts an object into the folder, as `kubectl apply` of a whole manifest would into a cluster. Returns the file of its manifest, below the folder.
async fn apply(root: &Path, text_of: &str) -> Result<String, ClusterError> {
    let folder = Folder::open(root)?;
    let mut object = manifest::read(text_of).map_err(|error| ClusterError::Folder {
        operation: "understand",
        path: root.display().to_string(),
        source: error.into(),
    })?;
    let (group, version) = text(&object, &["apiVersion"]).split_once('/').unwrap_or(("", "v1"));
    let name = text(&object, &["kind"]);
    let kind = Kind::known(group, version, &plural(name), name, namespace_of(&object).is_some());
    if let Created::Found(there) = folder.create(&kind, &object, How::Really).await? {
        if let Some(metadata) = fields_mut(&mut object, &["metadata"]) {
            metadata.insert("uid".to_owned(), json!(at(&there, &["metadata", "uid"])));
        }
        folder.replace(&kind, &object, How::Really).await?;
    }
    folder.path_of(&kind, &object)
}

/// When the `n`-th photo was taken: one a fortnight, back from the first evening.
const fn taken(n: u64) -> u64 {
    FIRST_EVENING_S - (PHOTOS + 1).saturating_sub(n) * 14 * DAY_S
}

/// Noise between a JPEG's first and last bytes. All that matters of a photo here is that it neither compresses nor repeats; the same `n` gives
/// the same photo everywhere.
fn photo(n: u64) -> Vec<u8> {
    const HEAD: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00";
    const TAIL: &[u8] = b"\xff\xd9";
    let hash = blake3::Hasher::new().update(b"homelab-dr demo photo").update(&n.to_le_bytes()).finalize();
    let spread = hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes)) % PHOTO_BYTES.1;
    let length = usize::try_from(PHOTO_BYTES.0 + spread).unwrap_or_default();
    let mut photo = vec![0; length];
    blake3::Hasher::new().update(hash.as_bytes()).finalize_xof().fill(&mut photo);
    for (to, from) in photo.iter_mut().zip(HEAD) {
        *to = *from;
    }
    for (to, from) in photo.iter_mut().rev().zip(TAIL.iter().rev()) {
        *to = *from;
    }
    photo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_the_same_everywhere_and_differ_from_each_other() {
        assert_eq!(photo(3), photo(3));
        assert_ne!(photo(3), photo(4));
        assert!(photo(3).starts_with(b"\xff\xd8\xff") && photo(3).ends_with(b"\xff\xd9"));
    }

    #[test]
    fn the_planted_secret_is_in_the_homelab_in_clear() {
        let planted = |content: &[u8]| memchr::memmem::find(content, PLANTED_SECRET.as_bytes()).is_some();
        assert!(FIRST_DAY.iter().any(|(_, content)| planted(content)));
    }
}
