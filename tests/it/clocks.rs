//! A machine whose clock was wrong once must not poison its source for years.

use std::fs::{self, File};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use homelab_dr::base::clock::{Clock, ManualClock, SystemClock};
use homelab_dr::repo::snapshots::Chain;

use crate::support::files::scratch;
use crate::support::repository::TestRepository;

const YEAR: Duration = Duration::from_hours(365 * 24);

#[tokio::test(flavor = "multi_thread")]
async fn after_a_run_in_the_future_everything_is_read_once_and_then_goes_on_as_ever() {
    let source = scratch();
    for n in 0..20 {
        let path = source.path().join(format!("f{n}"));
        fs::write(&path, format!("{n}").repeat(100)).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(7200);
        File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    }
    let now = SystemClock.now();
    let mut repository = TestRepository::in_memory().await;
    repository.clock = Arc::new(ManualClock::at(now.after(YEAR * 4)));
    let future = repository.backup(source.path(), "s").await.snapshot.unwrap();
    // Between the two somebody changed a file in a way that neither size nor mtime shows.
    let path = source.path().join("f7");
    let mtime = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "x".repeat(100)).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();

    repository.clock = Arc::new(ManualClock::at(now));
    let second = repository.backup(source.path(), "s").await;
    assert_eq!(second.record.statistics.files_read, 20, "nobody knows how long ago the first one was");
    repository.clock = Arc::new(ManualClock::at(now.after(Duration::from_secs(60))));
    let third = repository.backup(source.path(), "s").await;
    assert_eq!(third.record.based_on, second.snapshot, "by the order of the chain, not by time");
    assert_eq!(third.record.statistics.files_read, 0);

    let chain = Chain::load(&*repository.writer().await).await.unwrap();
    let dated: Vec<_> = chain.from_the_future(now).map(|snapshot| snapshot.id).collect();
    assert_eq!(dated, [future]);
    assert_eq!(chain.newest_of("s").map(|snapshot| snapshot.id), third.snapshot);
}
