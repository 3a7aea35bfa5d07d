//! A repository in memory, small backups straight through the writer, and the question that every test ends with: does everything still read?

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use homelab_dr::base::clock::{Clock, ManualClock, Time};
use homelab_dr::base::id::{BlobId, ObjectId};
use homelab_dr::crypto::recipients::{IdentitySource, NoPrompt, Prompt, Recipient, generate_identity};
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::forget::{Forgotten, run_forget};
use homelab_dr::format::entry::{Content, Entry, FileTime, Kind, Piece, TreePath};
use homelab_dr::format::record::{Link, SnapshotRecord, Statistics, TreeRoot};
use homelab_dr::prune::{Outcome, PruneError, Settings, plan_prune, run_prune};
use homelab_dr::repo::commit::{Committed, commit, prepare};
use homelab_dr::repo::create::{change_recipients, create};
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::repo::snapshots::Chain;
use homelab_dr::repo::tree_read::{TreeReader, pieces};
use homelab_dr::repo::tree_write::TreeBuilder;
use homelab_dr::repo::write::Writer;
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::retention::{Decision, Verdict};
use homelab_dr::store::Store;
use homelab_dr::store::memory::MemoryStore;

pub const HOUR: Duration = Duration::from_hours(1);
pub const DAY: Duration = Duration::from_hours(24);
pub const GRACE: Duration = Duration::from_hours(48);

/// Names of files; each is a seed of its content.
pub type Files<'a> = &'a [&'a str];

/// A repository with its keys and a clock that is the store's and everybody's.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    pub manual: Arc<ManualClock>,
    pub clock: Arc<dyn Clock>,
    pub key: Arc<WriterKey>,
    pub identity: Arc<[IdentitySource]>,
}

impl World {
    pub async fn new() -> Self {
        Self::make(|store| store, Duration::ZERO).await
    }

    /// Of a backup that is kept and one that was forgotten a grace ago.
    pub async fn with_forgotten() -> Self {
        let world = Self::new().await;
        world.backup(&["keep"]).await;
        let old = world.backup(&["a"]).await;
        world.forget(&[old]).await;
        world.pass(GRACE);
        world
    }

    pub async fn locked(lock: Duration) -> Self {
        Self::make(MemoryStore::locking, lock).await
    }

    async fn make(kind: impl Fn(MemoryStore) -> MemoryStore, lock: Duration) -> Self {
        let manual = Arc::new(ManualClock::at(Time(1_700_000_000_000)));
        let clock: Arc<dyn Clock> = manual.clone();
        let store: Arc<dyn Store> = Arc::new(kind(MemoryStore::new(clock.clone())));
        let generated = generate_identity();
        let key = create(&store, &[generated.recipient], lock, &*clock).await.expect("an empty store");
        let identity = IdentitySource::parse("test", generated.secret.expose().as_bytes()).expect("its own text");
        Self { store, manual, clock, key: Arc::new(key), identity: Arc::new([identity]) }
    }

    /// Somebody comes and is removed again, which begins an epoch.
    pub async fn begin_epoch(&self) {
        let owner = self.open_to_read().await;
        let kept: Vec<Recipient> =
            owner.recipients().expect("some").iter().map(|text| Recipient::parse(text).expect("one")).collect();
        let other = generate_identity().recipient;
        change_recipients(&owner, &[&kept[..], &[other]].concat(), &*self.clock).await.expect("added");
        change_recipients(&*self.open_to_read().await, &kept, &*self.clock).await.expect("removed");
    }

    /// A copy of an unlocked world, to try something else from here: same objects, same times.
    pub async fn fork(&self) -> Self {
        let manual = Arc::new(ManualClock::at(Time(0)));
        let clock: Arc<dyn Clock> = manual.clone();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let mut listed = self.store.list("").await.expect("a list");
        listed.sort_by_key(|entry| entry.modified);
        for entry in listed {
            manual.advance(entry.modified.since(clock.now()));
            let bytes = self.store.get(&entry.key).await.expect("an object");
            store.put_new(&entry.key, bytes, None).await.expect("a put");
        }
        manual.advance(self.clock.now().since(clock.now()));
        Self { store, manual, clock, key: self.key.clone(), identity: self.identity.clone() }
    }

    pub fn pass(&self, time: Duration) {
        self.manual.advance(time);
    }

    pub async fn open(&self) -> Arc<Repository> {
        self.open_on(self.store.clone()).await
    }

    /// The same repository through a wrapper. Opened without it, so that only what follows meets it.
    pub async fn open_on(&self, store: Arc<dyn Store>) -> Arc<Repository> {
        let opened = Repository::open_with_writer(self.store.clone(), &self.key).await.expect("its own key");
        Arc::new(opened.with_store(store))
    }

    /// Begins a backup: everything is added, nothing is committed.
    pub async fn begin(&self, repository: &Arc<Repository>, files: Files<'_>) -> Result<Begun, RepoError> {
        let index = prepare(repository).await?;
        let writer = Writer::begin(repository.clone(), index, self.clock.clone(), None).await?;
        let root = add(&writer, files)?;
        Ok(Begun { writer, record: self.record(root) })
    }

    fn record(&self, root: TreeRoot) -> SnapshotRecord {
        SnapshotRecord {
            link: Link::default(),
            source: "test".to_owned(),
            started: self.clock.now(),
            finished: self.clock.now(),
            paths: Vec::new(),
            root,
            statistics: Statistics::default(),
            problems: Vec::new(),
            tags: BTreeMap::new(),
            program: "test".to_owned(),
            host: "test".to_owned(),
            based_on: None,
            device: None,
            run: None,
            blocks: None,
        }
    }

    pub async fn commit(&self, begun: Begun) -> Result<Committed, RepoError> {
        commit(begun.writer, begun.record, &self.clock).await
    }

    pub async fn try_backup(&self, repository: &Arc<Repository>, files: Files<'_>) -> Result<Committed, RepoError> {
        let begun = self.begin(repository, files).await?;
        self.commit(begun).await
    }

    pub async fn backup(&self, files: Files<'_>) -> ObjectId {
        self.try_backup(&self.open().await, files).await.expect("a backup").id
    }

    pub async fn try_prune(&self, repository: &Arc<Repository>, settings: Settings) -> Result<Outcome, PruneError> {
        let planned = plan_prune(repository, settings, &self.clock).await?;
        run_prune(repository, planned, &self.clock).await
    }

    pub async fn prune(&self) -> Outcome {
        self.try_prune(&self.open().await, Settings::default()).await.expect("a prune")
    }

    pub async fn try_forget(&self, repository: &Arc<Repository>, ids: &[ObjectId]) -> Result<Forgotten, RepoError> {
        let decision = |id: &ObjectId| Decision {
            id: *id,
            source: "test".to_owned(),
            tags: std::collections::BTreeSet::default(),
            time: Time(0),
            verdict: Verdict::Remove,
        };
        run_forget(repository, ids.iter().map(decision).collect(), "test", &self.clock).await
    }

    pub async fn forget(&self, ids: &[ObjectId]) -> Forgotten {
        self.try_forget(&self.open().await, ids).await.expect("a forget")
    }

    pub async fn open_to_read(&self) -> Arc<Repository> {
        self.open_to_read_on(self.store.clone()).await
    }

    /// The same through a wrapper, which only what follows meets.
    pub async fn open_to_read_on(&self, store: Arc<dyn Store>) -> Arc<Repository> {
        let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
        let pin = Some(self.key.fingerprint());
        let opened = Repository::open_with_identity(self.store.clone(), &self.identity, &prompt, pin).await;
        Arc::new(opened.expect("its own identity").with_store(store))
    }

    /// Reads every byte of every snapshot with the identity and compares; returns the snapshots and their files.
    pub async fn read_all(&self) -> BTreeMap<ObjectId, Vec<String>> {
        let repository = self.open_to_read().await;
        let chain = Chain::load(&repository).await.expect("a chain");
        assert!(chain.unreadable.is_empty(), "{:?}", chain.unreadable);
        assert!(chain.gaps().is_empty(), "{:?}", chain.gaps());
        let index = Arc::new(Index::load(&repository).await.expect("an index"));
        let reader = Arc::new(Reader::new(repository, index));
        let mut all = BTreeMap::new();
        // Each blob is decrypted once, which is most of what these tests cost.
        let mut chunks: HashMap<BlobId, Vec<u8>> = HashMap::new();
        for snapshot in chain.snapshots {
            let root = snapshot.record.root;
            let mut tree = TreeReader::open(reader.clone(), root, TreePath::root()).expect("a tree");
            let mut names = Vec::new();
            while let Some(entries) = tree.next().await.expect("leaves") {
                for entry in entries {
                    let Kind::File { size, content } = &entry.kind else { continue };
                    let mut bytes = Vec::new();
                    for piece in pieces(&reader, content, *size).await.expect("pieces") {
                        let Piece::Data { blob, .. } = piece else { continue };
                        if let Slot::Vacant(unread) = chunks.entry(blob) {
                            unread.insert(reader.data(&blob).await.expect("a chunk"));
                        }
                        bytes.extend_from_slice(&chunks[&blob]);
                    }
                    assert_eq!(bytes, contents(&entry.path.display()).concat());
                    names.push(entry.path.display());
                }
            }
            all.insert(snapshot.id, names);
        }
        all
    }

    /// How many objects lie below a prefix.
    pub async fn count(&self, prefix: &str) -> usize {
        self.store.list(prefix).await.expect("a list").len()
    }

    pub async fn names(&self, prefix: &str) -> Vec<String> {
        self.store.list(prefix).await.expect("a list").iter().map(|entry| entry.key.to_string()).collect()
    }
}

/// A backup that was not committed.
pub struct Begun {
    pub writer: Writer,
    pub record: SnapshotRecord,
}

/// The chunks of a file: three, told by its name.
fn contents(name: &str) -> Vec<Vec<u8>> {
    (0..3_u8)
        .map(|part| {
            let mut bytes = vec![0; 3000];
            blake3::Hasher::new().update(name.as_bytes()).update(&[part]).finalize_xof().fill(&mut bytes);
            bytes
        })
        .collect()
}

/// Adds files and their tree.
pub fn add(writer: &Writer, files: Files<'_>) -> Result<TreeRoot, RepoError> {
    let mut lane = writer.lane()?;
    let mut tree = TreeBuilder::default();
    let mut files = files.to_vec();
    files.sort_unstable();
    for name in files {
        let mut list = Vec::new();
        for chunk in contents(name) {
            let blob = writer.add_data(&mut lane, &chunk)?;
            list.push(Piece::Data { blob, skip: 0, length: 3000 });
        }
        let entry = Entry {
            path: TreePath::new(name).expect("a path"),
            kind: Kind::File { size: 9000, content: Content::Inline(list) },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: FileTime::default(),
            xattrs: Vec::new(),
            identity: None,
            live: None,
        };
        tree.add(writer, &mut lane, &entry)?;
    }
    tree.finish(writer, &mut lane)
}
