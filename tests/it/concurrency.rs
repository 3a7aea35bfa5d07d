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
use homelab_dr::repo::Repository;
use homelab_dr::repo::commit::prepare;
use homelab_dr::repo::write::Writer;
use homelab_dr::store::file::FileStore;
use homelab_dr::store::{Operation, Store};
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

/// A store that takes no packs stops all who fill them, however many they are: three wait for it, one is full, and nobody holds another.
#[tokio::test(flavor = "multi_thread")]
async fn packs_that_wait_for_the_store_are_few_however_many_threads_fill_them() {
    const THREADS: u64 = 8;
    const CHUNKS_EACH: u64 = 12;
    const PACK_CHUNKS: u64 = 12; // of a MiB, with what is around them one less
    let test = TestRepository::in_memory().await;
    let (shut, added) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let door = shut.clone();
    let is_pack = |_, operation, object: &str| operation == Operation::PutNew && object.starts_with("packs/");
    let stuck: Arc<dyn Store> = Gate::each(&test.store, is_pack, move || {
        let door = door.clone();
        async move { drop(door.acquire_owned().await) }
    });
    let opened = Repository::open_with_writer(test.store.clone(), &test.key).await.unwrap();
    let repository = Arc::new(opened.with_store(stuck));
    let index = prepare(&repository).await.unwrap();
    let writer = Arc::new(Writer::begin(repository, index, test.clock.clone(), None).await.unwrap());
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (writer, added) = (writer.clone(), added.clone());
            tokio::task::spawn_blocking(move || {
                let mut lane = writer.lane().unwrap();
                for chunk in 0..CHUNKS_EACH {
                    writer.add_data(&mut lane, &noise(thread * CHUNKS_EACH + chunk, 1 << 20)).unwrap();
                    added.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut before = u64::MAX;
    while before != added.load(Ordering::SeqCst) {
        before = added.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!((3 * (PACK_CHUNKS - 1)..=4 * PACK_CHUNKS).contains(&before), "{before} chunks were taken");
    shut.add_permits(1000);
    for thread in threads {
        thread.await.unwrap();
    }
    assert_eq!(added.load(Ordering::SeqCst), THREADS * CHUNKS_EACH);
    Arc::into_inner(writer).expect("all lanes are gone").finish().await.unwrap();
    let stored: u64 = test.store.list("packs/").await.unwrap().iter().map(|entry| entry.size).sum();
    assert!(stored >= (THREADS * CHUNKS_EACH) << 20, "{stored} bytes");
}
