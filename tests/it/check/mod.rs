//! Check, replicate, statistics and key drills, on repositories that are whole, damaged, poisoned and forged.

mod damage;
mod drills;
mod forged;
mod heal;
mod poison;
mod replicate;
mod secrecy;
mod verified;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use homelab_dr::base::clock::{Clock, SystemClock};
use homelab_dr::base::progress::Progress;
use homelab_dr::check::{Options, Report, check};
use homelab_dr::format::entry::{Kind, Piece, TreePath};
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::snapshots::Snapshot;
use homelab_dr::repo::tree_read::{TreeReader, pieces};
use homelab_dr::repo::{RepoError, Repository, salvage};
use homelab_dr::store::file::FileStore;
use homelab_dr::store::memory::MemoryStore;
use homelab_dr::store::{Key, Store};
use tempfile::TempDir;

use crate::support::repository::TestRepository;

/// Bytes that do not compress.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// Where a repository lies, with the powers of a rotten disk.
pub enum Place {
    Memory(Arc<MemoryStore>),
    Folder(PathBuf),
}

impl Place {
    fn read(&self, key: &str) -> Vec<u8> {
        match self {
            Self::Memory(store) => {
                let key = Key::new(key).unwrap();
                futures::executor::block_on(store.get(&key)).expect("an object").to_vec()
            }
            Self::Folder(root) => std::fs::read(root.join(key)).expect("an object"),
        }
    }

    fn write(&self, key: &str, bytes: &[u8]) {
        match self {
            Self::Memory(store) => store.plant(&Key::new(key).unwrap(), Bytes::copy_from_slice(bytes)),
            Self::Folder(root) => {
                let path = root.join(key);
                let _ = std::fs::remove_file(&path); // objects are read-only files
                std::fs::write(path, bytes).unwrap();
            }
        }
    }

    fn remove(&self, key: &str) {
        match self {
            Self::Memory(store) => store.hide(&Key::new(key).unwrap()),
            Self::Folder(root) => std::fs::remove_file(root.join(key)).unwrap(),
        }
    }
}

/// A repository with three snapshots, each of another source with other bytes: `one`, `two` and `three`.
pub struct Fixture {
    pub repository: TestRepository,
    pub place: Place,
    /// New objects of each backup.
    pub objects: Vec<Vec<String>>,
    _dir: TempDir,
}

impl Fixture {
    pub async fn in_memory() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Arc::new(MemoryStore::new(clock));
        Self::on(store.clone(), Place::Memory(store), tempfile::tempdir().unwrap()).await
    }

    pub async fn in_folder() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("repository");
        let store = Arc::new(FileStore::create(&root).await.unwrap());
        Self::on(store, Place::Folder(root), dir).await
    }

    async fn on(store: Arc<dyn Store>, place: Place, dir: TempDir) -> Self {
        let repository = TestRepository::on(store, Arc::new(SystemClock)).await;
        let mut objects = Vec::new();
        for (seed, name) in (1..).zip(["one", "two", "three"]) {
            let before = names(&*repository.store).await;
            let source = dir.path().join(name);
            std::fs::create_dir(&source).unwrap();
            for n in 0..5 {
                std::fs::write(source.join(format!("{name}-{n}")), noise(seed * 100 + n, 40_000)).unwrap();
            }
            std::fs::write(source.join(format!("{name}-large")), noise(seed * 100 + 50, 600_000)).unwrap();
            repository.backup(&source, name).await;
            objects.push(names(&*repository.store).await.into_iter().filter(|key| !before.contains(key)).collect());
        }
        Self { repository, place, objects, _dir: dir }
    }

    /// The object of the `backup`-th backup (from 0) below `prefix`; packs by their class byte.
    pub fn object(&self, backup: usize, kind: &str) -> String {
        match kind {
            "content pack" | "metadata pack" => {
                let class = if kind == "content pack" { 1 } else { 2 };
                let packs = self.objects[backup].iter().filter(|key| key.starts_with("packs/"));
                packs.into_iter().find(|key| self.place.read(key)[1] == class).expect("a pack").clone()
            }
            "format" => "format.json".to_owned(),
            "epoch" => "epochs/1".to_owned(),
            "access" => {
                let Place::Memory(store) = &self.place else { panic!("memory only") };
                let listed = futures::executor::block_on(store.list("access/")).unwrap();
                listed[0].key.to_string()
            }
            prefix => {
                let found = self.objects[backup].iter().find(|key| key.starts_with(&format!("{prefix}/")));
                found.expect(prefix).clone()
            }
        }
    }
}

pub async fn names(store: &dyn Store) -> Vec<String> {
    store.list("").await.unwrap().into_iter().map(|entry| entry.key.to_string()).collect()
}

/// Everything that a check can do.
pub fn full() -> Options {
    Options { structure: true, read_percent: 100, now: SystemClock.now() }
}

pub async fn run(repository: &Arc<Repository>) -> Report {
    check(repository, &full(), &Progress::default()).await.expect("a report")
}

/// All files of a snapshot with their bytes, through whatever index can be put together.
pub async fn read_all(
    repository: &Arc<Repository>,
    snapshot: &Snapshot,
) -> Result<BTreeMap<String, Vec<u8>>, RepoError> {
    let index = salvage::load(repository).await?.index;
    let reader = Arc::new(Reader::new(repository.clone(), Arc::new(index)));
    let mut tree = TreeReader::open(reader.clone(), snapshot.record.root, TreePath::root())?;
    let mut files = BTreeMap::new();
    while let Some(entries) = tree.next().await? {
        for entry in entries {
            let Kind::File { size, content } = &entry.kind else { continue };
            let mut bytes = Vec::new();
            for piece in pieces(&reader, content, *size).await? {
                match piece {
                    Piece::Data { blob, skip, length } => {
                        let plain = reader.data(&blob).await?;
                        bytes.extend_from_slice(&plain[skip as usize..(skip + length) as usize]);
                    }
                    Piece::Hole { length } => bytes.resize(bytes.len() + usize::try_from(length).unwrap(), 0),
                }
            }
            files.insert(entry.path.display(), bytes);
        }
    }
    Ok(files)
}

/// What the snapshot called `name` must hold.
pub fn expected(name: &str) -> BTreeMap<String, Vec<u8>> {
    let seed = match name {
        "one" => 1,
        "two" => 2,
        _ => 3,
    };
    let mut files: BTreeMap<String, Vec<u8>> =
        (0..5).map(|n| (format!("{name}-{n}"), noise(seed * 100 + n, 40_000))).collect();
    files.insert(format!("{name}-large"), noise(seed * 100 + 50, 600_000));
    files
}
