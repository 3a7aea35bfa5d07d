//! Writers and readers at once on one repository, with no lock between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use homelab_dr::backup::queue::{FileJob, Job, Queue};
use homelab_dr::backup::slot::{Outcome, Slot};
use homelab_dr::backup::worker::Worker;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::chunker::BlockSize;
use homelab_dr::format::entry::Piece;
use homelab_dr::repo::commit::prepare;
use homelab_dr::repo::write::Writer;
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::store::file::FileStore;
use homelab_dr::store::{Operation, Store, StoreError};
use homelab_dr::tree::found::FoundKind;
use homelab_dr::tree::source::Source;
use homelab_dr::tree::walk::WalkOptions;
use tokio::sync::Semaphore;

use crate::prune::gate::Gate;
use crate::support::files::{change_small_tree, noise, picture, scratch, write_small_tree};
use crate::support::repository::TestRepository;

const WRITERS: u64 = 4;
const ROUNDS: u64 = 2;

async fn four_writers_and_a_reader(repository: TestRepository) {
    let repository = Arc::new(repository);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let repository = repository.clone();
        writers.spawn(async move {
            let source = scratch();
            let source = source.path();
            write_small_tree(source, 1); // all four have the same to begin with
            std::fs::write(source.join("shared"), noise(9, 3 << 20)).unwrap();
            std::fs::write(source.join("own"), noise(1000 + writer, 1 << 20)).unwrap();
            let mut reported = Vec::new();
            for round in 0..ROUNDS {
                let report = repository.backup(source, &format!("source-{writer}")).await;
                reported.push((report.snapshot.unwrap(), picture(source)));
                change_small_tree(source, writer * ROUNDS + round);
            }
            reported
        });
    }
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (repository, over) = (repository.clone(), over.clone());
        tokio::spawn(async move {
            let mut read = 0;
            while !over.load(Ordering::Relaxed) {
                for snapshot in repository.snapshots().await.into_iter().rev().take(1) {
                    assert!(
                        repository.restored(snapshot.record.root).await.contains_key(std::path::Path::new("large"))
                    );
                    read += 1;
                }
            }
            read
        })
    };
    let mut reported = Vec::new();
    while let Some(joined) = writers.join_next().await {
        reported.extend(joined.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    assert!(reader.await.unwrap() > 0, "nothing was read meanwhile");
    assert_eq!(repository.snapshots().await.len(), usize::try_from(WRITERS * ROUNDS).unwrap());
    repository.has(&reported).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_writers_at_once_in_memory() {
    four_writers_and_a_reader(TestRepository::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_writers_at_once_in_a_directory() {
    let dir = scratch();
    let store = FileStore::create(dir.path().join("repository")).await.expect("a store");
    four_writers_and_a_reader(TestRepository::on(Arc::new(store), Arc::new(SystemClock)).await).await;
}

/// A worker passes a chunk of its file to a neighbour and is done with the file before the neighbour is with the chunk: the file must wait for it.
/// (The job that ended told the assembler that the file was abandoned, and the backup ended with "cancelled" though nobody had asked for it.)
#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_abandoned_while_a_neighbour_still_stores_a_chunk_of_it() {
    let size = 24 << 20;
    let source = scratch();
    std::fs::write(source.path().join("large"), noise(7, size)).unwrap();
    let test = TestRepository::in_memory().await;
    let repository = test.writer().await;
    let index = prepare(&repository).await.unwrap();
    let writer = Arc::new(Writer::begin(repository, index, test.clock.clone(), None).await.unwrap());
    let source = Source::new(&[source.path().to_owned()]).unwrap();
    let mut walk = source.clone().walk(WalkOptions::default());
    let found = walk.find_map(|item| item.ok().filter(|found| found.kind == FoundKind::File)).expect("the file");

    let queue = Arc::new(Queue::default());
    let slot = Arc::new(Slot::default());
    let context = test.context(test.writer().await);
    let worker = Worker {
        writer: writer.clone(),
        source,
        live: None,
        queue: queue.clone(),
        blocks: BlockSize::default(),
        progress: context.progress,
        cancel: context.cancel,
    };
    queue.push(Job::File(FileJob { found, slot: slot.clone() }));
    let working = tokio::task::spawn_blocking(move || worker.run());
    // Waits for work, as an idle worker does, and is handed a chunk.
    let asking = queue.clone();
    let chunk = tokio::task::spawn_blocking(move || {
        loop {
            match asking.pop() {
                Some(Job::Chunk { data, file, at }) => return (data, file, at),
                // It came before the worker.
                Some(job) => assert!(asking.push(job)),
                None => panic!("the file was read before anybody asked for a chunk"),
            }
            std::thread::yield_now();
        }
    });
    let (data, file, at) = chunk.await.unwrap();
    queue.close();
    working.await.unwrap().expect("the worker ends, and with it its job");
    let outcome = tokio::task::spawn_blocking(move || {
        let mut lane = writer.lane().unwrap();
        file.store_chunk(&writer, &mut lane, &data, at).unwrap();
        slot.wait()
    });
    let Outcome::Read(read) = outcome.await.unwrap() else { panic!("the file was abandoned") };
    assert_eq!(read.pieces.iter().map(Piece::length).sum::<u64>(), size as u64);
}

/// Chunks of a MiB that go into a pack: with what is around them one less than it has.
const PACK_CHUNKS: u64 = 11;
const THREADS: u64 = 8;
const CHUNKS_EACH: u64 = 12;

/// A writer with eight threads that fill packs, on a store that keeps each pack waiting until it is let in, and may fail then.
struct Crowd {
    test: TestRepository,
    fault: Arc<Fault>,
    shut: Arc<Semaphore>,
    added: Arc<AtomicU64>,
    writer: Arc<Writer>,
    threads: Vec<tokio::task::JoinHandle<Result<(), RepoError>>>,
}

impl Crowd {
    async fn new() -> Self {
        let test = TestRepository::in_memory().await;
        let fault = Arc::new(Fault::only(test.store.clone(), &[Operation::PutNew]));
        let (shut, added) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
        let (inner, door): (Arc<dyn Store>, _) = (fault.clone(), shut.clone());
        let is_pack = |_, operation, object: &str| operation == Operation::PutNew && object.starts_with("packs/");
        let stuck: Arc<dyn Store> = Gate::each(&inner, is_pack, move || {
            let door = door.clone();
            async move { drop(door.acquire_owned().await) }
        });
        let opened = Repository::open_with_writer(test.store.clone(), &test.key).await.unwrap();
        let repository = Arc::new(opened.with_store(stuck));
        let index = prepare(&repository).await.unwrap();
        let writer = Arc::new(Writer::begin(repository, index, test.clock.clone(), None).await.unwrap());
        let threads = (0..THREADS)
            .map(|thread| {
                let (writer, added) = (writer.clone(), added.clone());
                tokio::task::spawn_blocking(move || {
                    let mut lane = writer.lane()?;
                    for chunk in 0..CHUNKS_EACH {
                        writer.add_data(&mut lane, &noise(thread * CHUNKS_EACH + chunk, 1 << 20))?;
                        added.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(())
                })
            })
            .collect();
        Self { test, fault, shut, added, writer, threads }
    }

    /// Waits until nobody gets on any more, and tells how many chunks were taken.
    async fn stuck(&self) -> u64 {
        let taken = || self.added.load(Ordering::SeqCst);
        while taken() < 3 * PACK_CHUNKS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut before = 0;
        while before != taken() {
            before = taken();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        before
    }
}

/// A store that takes no packs stops all who fill them, however many they are: three wait for it, one is full, and nobody holds another.
#[tokio::test(flavor = "multi_thread")]
async fn packs_that_wait_for_the_store_are_few_however_many_threads_fill_them() {
    let crowd = Crowd::new().await;
    let taken = crowd.stuck().await;
    assert!(taken <= 4 * (PACK_CHUNKS + 1), "{taken} chunks were taken");
    crowd.shut.add_permits(1000);
    for thread in crowd.threads {
        thread.await.unwrap().unwrap();
    }
    assert_eq!(crowd.added.load(Ordering::SeqCst), THREADS * CHUNKS_EACH);
    Arc::into_inner(crowd.writer).expect("all lanes are gone").finish().await.unwrap();
    let stored: u64 = crowd.test.store.list("packs/").await.unwrap().iter().map(|entry| entry.size).sum();
    assert!(stored >= (THREADS * CHUNKS_EACH) << 20, "{stored} bytes");
}

/// A store that fails while threads wait for a place: all of them end, and the writer has the store's own words.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_store_that_fails_ends() {
    let crowd = Crowd::new().await;
    crowd.stuck().await;
    crowd.fault.fail_from(crowd.fault.calls(), When::Before, Failure::Denied);
    crowd.shut.add_permits(1000);
    let mut failed = 0;
    for thread in crowd.threads {
        let ended = tokio::time::timeout(Duration::from_mins(1), thread).await.expect("nobody waits for ever").unwrap();
        failed += usize::from(ended.is_err());
    }
    assert!(failed > 0, "the packs of 96 chunks cannot be stored, and everybody took them for stored");
    let error = Arc::into_inner(crowd.writer).expect("all lanes are gone").finish().await.expect_err("it failed");
    assert!(matches!(error, RepoError::Store(StoreError::Denied { .. })), "{error:?}");
}
