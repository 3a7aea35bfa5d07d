//! A backup killed with SIGKILL at seeded random moments, in a directory and in a bucket: the next run succeeds, what was reported
//! restores bit for bit, and what is left lying about is bounded.
//!
//! The process that is killed is this test binary again, with one test ([`a_backup_to_be_killed`]) that backs up what its environment
//! says. `HOMELAB_DR_KILL_SEED` repeats the moments of an earlier run, as far as a machine can.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use homelab_dr::backup::run_backup;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::base::id::ObjectId;
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::repo::index::Index;
use homelab_dr::store::url::StoreUrl;

use crate::support::files::{Picture, noise, picture, scratch};
use crate::support::repository::{TestRepository, options};
use crate::support::s3::{Rules, S3Server, credentials};

const STORE: &str = "HOMELAB_DR_TEST_KILL_STORE";
const KEY: &str = "HOMELAB_DR_TEST_KILL_WRITER_KEY";
const SOURCE: &str = "HOMELAB_DR_TEST_KILL_SOURCE";
/// What the child says before and after.
const BEGUN: &str = "begun";
const REPORTED: &str = "reported ";

/// Bytes of a tree that are new in each run.
const NEW_BYTES: u64 = 3 << 20;
/// What a run stores beside content: tables, trees, a session, a snapshot, padding.
const OVERHEAD_BYTES: u64 = 256 << 10;

/// Not a test: the process that [`kill_loop`] kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started and killed by the tests here"]
async fn a_backup_to_be_killed() {
    let setting = |name| std::env::var(name).expect(name);
    let key = WriterKey::parse(&setting(KEY)).unwrap();
    let store = StoreUrl::parse(&setting(STORE)).unwrap().with_credentials(credentials()).open().await.unwrap();
    let repository = TestRepository { store, key, identity: Vec::new(), clock: Arc::new(SystemClock) };
    println!("\n{BEGUN}");
    let context = repository.context(repository.writer().await);
    let report = run_backup(&context, &options(Path::new(&setting(SOURCE)), "s")).await.unwrap();
    println!("\n{REPORTED}{}", report.snapshot.unwrap());
}

fn start(store: &str, key: &str, source: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::a_backup_to_be_killed", "--ignored", "--nocapture", "--test-threads=1"])
        .envs([(STORE, store), (KEY, key)])
        .env(SOURCE, source)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs a backup in a process of its own that lives so long after it has begun; what it reported, and how long it took.
fn run(store: &str, key: &str, source: &Path, life: Duration) -> (Option<ObjectId>, Duration) {
    let mut child = start(store, key, source);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == BEGUN), "the child does not begin: {:?}", child.wait());
    let begun = Instant::now();
    let reader = std::thread::spawn(move || {
        lines.find_map(|line| line.strip_prefix(REPORTED).map(|id| id.parse::<ObjectId>().unwrap()))
    });
    while begun.elapsed() < life && !reader.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    (reader.join().unwrap(), begun.elapsed())
}

/// Half of the files are new in every round, in bytes that were never there.
fn next_day(source: &Path, round: u64) {
    for n in 0..12 {
        let name = source.join(format!("f{}", (round * 12 + n) % 24));
        std::fs::write(name, noise(round << 32 | n, usize::try_from(NEW_BYTES / 12).unwrap())).unwrap();
    }
}

async fn kill_loop(repository: &TestRepository, store: &str, kills: u64) {
    let seed =
        std::env::var("HOMELAB_DR_KILL_SEED").map_or_else(|_| u64::from(std::process::id()), |s| s.parse().unwrap());
    println!("HOMELAB_DR_KILL_SEED={seed}");
    let key = repository.key.to_text();
    let source = scratch();
    let source = source.path();
    let mut reported: BTreeMap<ObjectId, Picture> = BTreeMap::new();
    next_day(source, 0);
    let (first, whole) = run(store, &key, source, Duration::from_secs(60));
    reported.insert(first.expect("not killed"), picture(source));
    let (mut in_the_middle, mut new_bytes) = (0, NEW_BYTES);
    for round in 1..=kills {
        next_day(source, round);
        new_bytes += NEW_BYTES;
        let moment = u64::from_le_bytes(*noise(seed ^ round << 20, 8).first_chunk().unwrap()) % 1000;
        let (killed, _) = run(store, &key, source, whole.mul_f64(moment as f64 / 900.0));
        match killed {
            Some(id) => drop(reported.insert(id, picture(source))),
            None => in_the_middle += 1,
        }
        // The next run, here, since another process is only slower.
        let next = repository.backup(source, "s").await;
        reported.insert(next.snapshot.unwrap(), picture(source));
        repository.has(&[(next.snapshot.unwrap(), picture(source))]).await;
    }
    let all: Vec<_> = reported.into_iter().collect();
    repository.has(&all).await;
    println!("{in_the_middle} of {kills} were killed in the middle of {whole:?}");
    assert!(in_the_middle * 3 >= kills, "only {in_the_middle} of {kills} runs were killed before they reported");

    // Everything there is, less what the index names; a run that is killed wastes what it stored and did not index.
    let stored: u64 = repository.store.list("").await.unwrap().iter().map(|object| object.size).sum();
    let index = Index::load(&*repository.writer().await).await.unwrap();
    let indexed: u64 = index.packs.iter().map(|pack| pack.size).sum();
    let runs = kills * 2 + 1;
    let waste = stored - indexed.min(stored);
    assert!(
        waste <= in_the_middle * NEW_BYTES + runs * OVERHEAD_BYTES,
        "{waste} bytes of garbage after {in_the_middle} kills"
    );
    assert!(indexed <= new_bytes + runs * OVERHEAD_BYTES, "{indexed} bytes of packs for {new_bytes} bytes of content");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_fifty_times_in_a_directory() {
    let dir = scratch();
    let url = dir.path().join("repository");
    let store = StoreUrl::File(url.clone()).create().await.unwrap();
    let repository = TestRepository::on(store, Arc::new(SystemClock)).await;
    kill_loop(&repository, url.to_str().unwrap(), 50).await;
    let temporary = std::fs::read_dir(url.join(".tmp")).map_or(0, Iterator::count);
    assert!(temporary <= 50 * 4, "{temporary} temporary files after 50 kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_in_a_bucket() {
    let server = S3Server::start(Rules::PLAIN).await;
    let store = server.url("repo").open().await.unwrap();
    let repository = TestRepository::on(store, Arc::new(SystemClock)).await;
    kill_loop(&repository, &server.address("repo"), 20).await;
}
