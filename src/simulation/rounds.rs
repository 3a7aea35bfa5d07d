//! How many requests one after another an operation takes: on a long line that is what it costs, however small everything is.
//!
//! Every request takes the same simulated time, so the time that an operation took says how many *rounds* it was: the longest chain of requests of which each began when
//! another had ended. What is asked at once is one round.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::try_join;
use tokio::time::Instant;

use super::random::Random;
use super::world::{Faults, Lifeline, Process, Trace, World};
use super::{Ground, ground, runtime};
use crate::base::clock::Clock;
use crate::base::id::ObjectId;
use crate::base::secret::seeded;
use crate::crypto::recipients::{IdentitySource, NoPrompt, Prompt};
use crate::crypto::writer_key::WriterKey;
use crate::format::entry::{Entry, FileTime, Kind, Piece, TreePath};
use crate::format::record::{Link, SnapshotRecord, Statistics, TreeRoot};
use crate::repo::commit::{Committed, begin, commit};
use crate::repo::doomed;
use crate::repo::fetch::Reader;
use crate::repo::index::Index;
use crate::repo::snapshots::Chain;
use crate::repo::tree_read::TreeReader;
use crate::repo::tree_write::TreeBuilder;
use crate::repo::write::{Session, Writer};
use crate::repo::{RepoError, Repository, layout};
use crate::store::record::Record;
use crate::store::{Operation, Store};

/// How long a request takes.
const ROUND: Duration = Duration::from_millis(50);

/// A repository at the far end of a line.
struct Far {
    store: Arc<Record>,
    clock: Arc<dyn Clock>,
    key: WriterKey,
    ground: &'static Ground,
}

/// What an operation took.
#[derive(Debug, PartialEq, Eq)]
struct Took {
    rounds: u128,
    requests: u64,
}

const fn took(rounds: u128, requests: u64) -> Took {
    Took { rounds, requests }
}

impl Far {
    fn new() -> Self {
        let ground = ground();
        let trace = Arc::new(Trace::new(false));
        let world = World::new("store", ground.objects.clone(), Arc::new(Mutex::new(Random(0))), trace);
        let faults = Faults { steady: Some(ROUND), ..Faults::default() };
        let process = Process::new("far", &world, faults, Arc::<Lifeline>::default());
        let clock = process.clock();
        let key = WriterKey::parse(&ground.writer_key).expect("its own text");
        Self { store: Arc::new(Record::new(Arc::new(process))), clock, key, ground }
    }

    /// Does something and says what it took.
    fn took<'a, T: 'a>(
        &'a self,
        work: impl Future<Output = Result<T, RepoError>> + 'a,
    ) -> LocalBoxFuture<'a, (T, Took)> {
        Box::pin(async move {
            let (before, calls) = (Instant::now(), self.store.counts().total());
            let done = work.await.expect("nothing fails here");
            // A timer may come a millisecond late.
            let rounds = (before.elapsed() + ROUND / 4).as_millis() / ROUND.as_millis();
            (done, took(rounds, self.store.counts().total() - calls))
        })
    }

    async fn open(&self) -> Result<Arc<Repository>, RepoError> {
        Repository::open_with_writer(self.store.clone(), &self.key).await.map(Arc::new)
    }

    async fn open_with_identity(&self) -> Result<Repository, RepoError> {
        let identity = [IdentitySource::parse("far", self.ground.identity.as_bytes()).expect("its own text")];
        let prompt: Arc<dyn Prompt> = Arc::new(NoPrompt);
        Repository::open_with_identity(self.store.clone(), &identity, &prompt, Some(self.key.fingerprint())).await
    }

    /// What a backup asks before it looks at its source.
    async fn begin(&self, repository: &Arc<Repository>) -> Result<(Writer, Chain), RepoError> {
        let ((index, chain), session) =
            try_join!(begin(repository), Session::begin(repository.clone(), self.clock.clone()))?;
        Ok((Writer::within(session, index, None).after(&chain), chain))
    }

    /// The end of a backup.
    async fn commit(&self, writer: Writer, root: TreeRoot) -> Result<Committed, RepoError> {
        let now = self.clock.now();
        let record = SnapshotRecord {
            link: Link::default(),
            source: "far".to_owned(),
            started: now,
            finished: now,
            paths: Vec::new(),
            root,
            statistics: Statistics::default(),
            problems: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            program: "simulation".to_owned(),
            host: "far".to_owned(),
            based_on: None,
            device: None,
            run: None,
            blocks: None,
        };
        commit(writer, record, &self.clock).await
    }

    /// A backup of nothing new, as far as requests go.
    async fn again(&self) -> Result<Committed, RepoError> {
        let repository = self.open().await?;
        let (writer, chain) = self.begin(&repository).await?;
        let root = chain.newest_of("far").expect("there is one").record.root;
        read_tree(&repository, &writer.index, root).await?;
        assert!(writer.relies_on(&root.blob), "the tree opened, and is built upon");
        self.commit(writer, root).await
    }

    /// The objects that were asked for from a request on.
    fn asked(&self, from: u64) -> Vec<String> {
        let log = self.store.log();
        log[from as usize..].iter().map(|call| call.object.clone()).collect()
    }
}

fn write(writer: &Writer) -> Result<TreeRoot, RepoError> {
    let mut lane = writer.lane()?;
    let plain = b"something new".repeat(40);
    let length = plain.len() as u32;
    let pieces = vec![Piece::Data { blob: writer.add_data(&mut lane, &plain)?, skip: 0, length }];
    let content = TreeBuilder::content(writer, &mut lane, pieces)?;
    let entry = Entry {
        path: TreePath::new("file").expect("plain"),
        kind: Kind::File { size: u64::from(length), content },
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: FileTime::default(),
        xattrs: Vec::new(),
        identity: None,
        live: None,
    };
    let mut tree = TreeBuilder::default();
    tree.add(writer, &mut lane, &entry)?;
    tree.finish(writer, &mut lane)
}

async fn read_tree(repository: &Arc<Repository>, index: &Arc<Index>, root: TreeRoot) -> Result<usize, RepoError> {
    let reader = Arc::new(Reader::new(repository.clone(), index.clone()));
    let mut tree = TreeReader::open(reader, root, TreePath::root())?;
    let mut entries = 0;
    while let Some(more) = tree.next().await? {
        entries += more.len();
    }
    Ok(entries)
}

fn far<F: Future<Output = ()>>(test: impl FnOnce(Far) -> F) {
    ground();
    seeded::set(Some(7));
    runtime().block_on(async { test(Far::new()).await });
    seeded::set(None);
}

#[test]
fn opening_is_one_round_with_the_writer_key_and_three_with_an_identity() {
    far(|far| async move {
        // The format, the list of epochs and the record of the key's own.
        assert_eq!(far.took(far.open()).await.1, took(1, 3));
        // The format and the list of access objects; these, and the list of epochs; the epoch's record.
        let access = far.store.list(layout::ACCESS).await.expect("listed").len() as u64;
        assert_eq!(far.took(far.open_with_identity()).await.1, took(3, 4 + access));
    });
}

#[test]
fn a_backup_is_a_bounded_number_of_rounds() {
    far(|far| async move {
        // The first: nothing is there yet.
        let repository = far.took(far.open()).await.0;
        let ((writer, _), first) = far.took(far.begin(&repository)).await;
        // Index, marks, then packs and sessions, the chain; and the session, which is read back.
        assert_eq!(first, took(2, 7));
        let root = write(&writer).expect("sealed");
        // Two packs; the index; epochs, marks and the chain, then packs and sessions; the snapshot; epochs and marks, then packs and sessions.
        assert_eq!(far.took(far.commit(writer, root)).await.1, took(7, 13));

        // The second, of nothing new: 1 to open, 2 to begin, 1 for the tree, 2 to look, 1 for the snapshot, 2 to look again.
        let ((), again) = far.took(async { far.again().await.map(drop) }).await;
        assert_eq!(again, took(9, 23));

        // While somebody's mark is there it has to be read before packs are listed, each of the three times.
        doomed::mark(&repository, Vec::new(), far.clock.now()).await.expect("stored");
        let ((), marked) = far.took(async { far.again().await.map(drop) }).await;
        assert_eq!(marked, took(12, 27), "and one more record of the chain is read");
    });
}

#[test]
fn many_snapshots_are_read_once_and_at_once() {
    far(|far| async move {
        let repository = far.open().await.expect("opened");
        let (writer, _) = far.begin(&repository).await.expect("begun");
        let root = write(&writer).expect("sealed");
        far.commit(writer, root).await.expect("stored");
        for _ in 0..15 {
            far.again().await.expect("stored");
        }
        let begun = far.store.counts().total();
        let ((), took_it) = far.took(async { far.again().await.map(drop) }).await;
        assert_eq!(took_it.rounds, 9, "16 records are read at once");
        let records = far.asked(begun).into_iter().filter(|object| object.starts_with(layout::SNAPSHOTS));
        // 16 records and the new one; the list before and the list at the end.
        assert_eq!(records.count(), 16 + 1 + 2, "none of them twice");
        let (chain, read) = far.took(Chain::load(&repository)).await;
        assert_eq!((chain.snapshots.len(), read), (17, took(3, 18)), "17 are 16 and one");
        assert_eq!(chain.gaps(), Vec::<ObjectId>::new());
        let parents: Vec<usize> = chain.snapshots.iter().map(|one| one.record.link.parents.len()).collect();
        assert_eq!(parents.iter().filter(|parents| **parents == 1).count(), 16, "each names the one before it");
    });
}

/// A record that another process put after this one began is read at the end, and named.
#[test]
fn what_came_meanwhile_is_in_the_chain() {
    far(|far| async move {
        let repository = far.open().await.expect("opened");
        let (writer, _) = far.begin(&repository).await.expect("begun");
        let root = write(&writer).expect("sealed");
        far.commit(writer, root).await.expect("stored");
        let (slow, _) = far.begin(&repository).await.expect("begun");
        let meanwhile = far.again().await.expect("stored");
        let root = write(&slow).expect("sealed");
        let last = far.commit(slow, root).await.expect("stored");
        assert_eq!(last.record.link, Link { sequence: 3, parents: vec![meanwhile.id] });
    });
}

/// Before a snapshot and after it: what the format asks for is asked for, in its order.
#[test]
fn nothing_that_the_format_asks_for_is_left_out() {
    far(|far| async move {
        let repository = far.open().await.expect("opened");
        let (writer, _) = far.begin(&repository).await.expect("begun");
        let root = write(&writer).expect("sealed");
        far.commit(writer, root).await.expect("stored");
        let begun = far.store.counts().total() as usize;
        far.again().await.expect("stored");
        let log = far.store.log();
        let log = &log[begun..];
        let snapshot = log
            .iter()
            .position(|call| call.operation == Operation::PutNew && call.object.starts_with(layout::SNAPSHOTS))
            .expect("it is stored");
        let session = log
            .iter()
            .position(|call| call.operation == Operation::PutNew && call.object.starts_with(layout::SESSIONS))
            .expect("it is stored");
        let lists = |of: &str, calls: std::ops::Range<usize>| -> Vec<usize> {
            let is = |at: &usize| log[*at].operation == Operation::List && log[*at].object == of;
            calls.filter(is).collect()
        };
        for (name, calls, times) in [("before", 0..snapshot, 2), ("after", snapshot + 1..log.len(), 1)] {
            for of in [layout::EPOCHS, layout::DOOMED, layout::PACKS, layout::SESSIONS] {
                assert_eq!(lists(of, calls.clone()).len(), times, "{of} {name}");
            }
            for (marks, packs) in lists(layout::DOOMED, calls.clone()).iter().zip(lists(layout::PACKS, calls)) {
                assert!(*marks < packs, "marks before packs, {name}");
            }
        }
        let back = log[session..].iter().position(|call| call.operation != Operation::PutNew && call.ok);
        assert!(back.is_some(), "the session is read back");
    });
}
