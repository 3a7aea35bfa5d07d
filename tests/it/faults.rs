//! A backup whose store fails at every call in turn, and one that is stopped at any moment: nothing that was reported is lost, and the
//! next run goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use homelab_dr::backup::{BackupError, run_backup};
use homelab_dr::repo::index::Index;
use homelab_dr::repo::{RepoError, Repository};
use homelab_dr::store::Store;
use homelab_dr::store::fault::{Failure, Fault, When};
use homelab_dr::store::retry::{Retry, RetryPolicy};

use crate::support::files::{change_small_tree, noise, picture, scratch, write_small_tree};
use crate::support::repository::{TestRepository, options};

/// No backup of these trees takes a second; one that takes this long hangs.
const HANG: Duration = Duration::from_secs(60);
/// More calls than a backup of these trees makes.
const CALLS_MAX: u64 = 500;

/// Opens the repository through a store and backs up.
async fn backup_through(
    repository: &TestRepository,
    store: Arc<dyn Store>,
    source: &Path,
) -> Result<homelab_dr::backup::BackupReport, BackupError> {
    let run = async {
        let opened = Repository::open_with_writer(store, &repository.key).await?;
        run_backup(&repository.context(Arc::new(opened)), &options(source, "s")).await
    };
    tokio::time::timeout(HANG, run).await.expect("the backup hangs")
}

/// Whether the store's own failure is told, perhaps behind a snapshot that could not be confirmed.
fn store_failed(error: &RepoError) -> bool {
    match error {
        RepoError::Store(_) => true,
        RepoError::Unconfirmed { source, .. } => store_failed(source),
        _ => false,
    }
}

/// One failing backup between two that do not; tells whether anything failed.
async fn one_failure(call: u64, when: When, onwards: bool) -> bool {
    let source = scratch();
    let source = source.path();
    write_small_tree(source, 1);
    let repository = TestRepository::in_memory().await;
    let first = repository.backup(source, "s").await;
    let mut expected = vec![(first.snapshot.unwrap(), picture(source))];
    change_small_tree(source, call);

    let fault = Arc::new(Fault::new(repository.store.clone()));
    if onwards {
        fault.fail_from(call, when, Failure::Permanent);
    } else {
        fault.fail(call, when, Failure::Denied);
    }
    match backup_through(&repository, fault.clone(), source).await {
        Ok(report) => expected.push((report.snapshot.unwrap(), picture(source))),
        Err(error) => {
            assert!(fault.failed() > 0, "failed by itself: {error:?}");
            let BackupError::Repository(cause) = &error else { panic!("{error:?}") };
            assert!(store_failed(cause), "call {call} {when:?}: the cause is not told: {error:?}");
        }
    }
    let next = repository.backup(source, "s").await;
    expected.push((next.snapshot.unwrap(), picture(source)));
    repository.has(&expected).await;
    fault.failed() > 0
}

/// Fails call 0, 1, 2 … until a backup makes no such call.
async fn every_call(when: When, onwards: bool) {
    for call in 0..CALLS_MAX {
        if !one_failure(call, when, onwards).await {
            println!("{call} calls failed in turn");
            assert!(call > 8, "a backup makes more calls than {call}");
            return;
        }
    }
    panic!("a backup of a small tree makes more than {CALLS_MAX} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_refused() {
    every_call(When::Before, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_lost() {
    every_call(When::After, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_dies_before_every_call() {
    every_call(When::Before, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_dies_after_every_call() {
    every_call(When::After, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_once_is_repeated_and_the_backup_succeeds() {
    let source = scratch();
    write_small_tree(source.path(), 1);
    let policy = RetryPolicy { wait_first: Duration::ZERO, ..RetryPolicy::default() };
    for call in 0..CALLS_MAX {
        let repository = TestRepository::in_memory().await;
        let fault = Arc::new(Fault::new(repository.store.clone()));
        fault.fail(call, if call % 2 == 0 { When::Before } else { When::After }, Failure::Transient);
        let store: Arc<dyn Store> = Arc::new(Retry::new(fault.clone(), policy, 1));
        let report = backup_through(&repository, store, source.path()).await.expect("it was only once");
        repository.has(&[(report.snapshot.unwrap(), picture(source.path()))]).await;
        if fault.failed() == 0 {
            return;
        }
    }
    panic!("a backup of a small tree makes more than {CALLS_MAX} calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_reports_nothing_and_loses_nothing() {
    const FILES: u64 = 24;
    // Large enough not to share chunks.
    const FILE_BYTES: u64 = 256 << 10;
    let source = scratch();
    let source = source.path();
    for n in 0..FILES {
        std::fs::write(source.join(format!("f{n}")), noise(n, usize::try_from(FILE_BYTES).unwrap())).unwrap();
    }
    let mut cut_off = 0;
    for sixteenths in 0..16 {
        let after_bytes = FILES * FILE_BYTES * sixteenths / 16;
        let repository = TestRepository::in_memory().await;
        let context = repository.context(repository.writer().await);
        let (progress, cancel) = (context.progress.clone(), context.cancel.clone());
        let stopper = tokio::task::spawn_blocking(move || {
            while progress.bytes_done.load(Ordering::Relaxed) < after_bytes {
                std::thread::sleep(Duration::from_micros(100));
            }
            cancel.cancel();
        });
        let run = tokio::time::timeout(HANG, run_backup(&context, &options(source, "s"))).await;
        let outcome = run.expect("the stopped backup hangs");
        stopper.await.unwrap();
        match outcome {
            Ok(_) => continue, // it was through before it was asked
            Err(BackupError::Repository(RepoError::Cancelled)) => {}
            Err(error) => panic!("stopped with {error:?}"),
        }
        cut_off += 1;
        assert!(repository.snapshots().await.is_empty());
        let index = Index::load(&*repository.writer().await).await.unwrap();
        let kept: u64 = index
            .iter()
            .filter(|blob| blob.location.session.is_some())
            .map(|blob| u64::from(blob.location.length))
            .sum();
        // A file counts when all of it was read; a worker may have one in hand.
        assert!(kept + 4 * FILE_BYTES >= after_bytes, "{kept} of {after_bytes} bytes that were read were kept");
        let next = repository.backup(source, "s").await;
        let new = next.record.statistics.bytes_new;
        assert!(new < FILES * FILE_BYTES * 101 / 100 - kept * 99 / 100, "{new} bytes again, though {kept} were there");
        repository.has(&[(next.snapshot.unwrap(), picture(source))]).await;
    }
    assert!(cut_off >= 8, "only {cut_off} of 16 runs were stopped in the middle");
}
