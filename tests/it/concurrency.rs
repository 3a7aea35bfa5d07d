//! Writers and readers at once on one repository, with no lock between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use homelab_dr::base::clock::SystemClock;
use homelab_dr::store::file::FileStore;

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
