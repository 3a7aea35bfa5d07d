//! `files`, `no-empty` and `sqlite`: what was restored is compared with the snapshot, counted, and opened.

use std::fs;
use std::path::Path;

use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::select::Selection;
use homelab_dr::repo::fetch::Reader;
use homelab_dr::repo::index::Index;
use homelab_dr::verify::{Origin, Restored};
use rusqlite::Connection;

use super::*;
use crate::support::files::{noise, scratch};
use crate::support::repository::TestRepository;

/// A folder that was restored from a snapshot.
struct Lab {
    target: tempfile::TempDir,
    around: Surroundings,
}

impl Lab {
    async fn of(fill: impl FnOnce(&Path)) -> Self {
        let (source, target) = (scratch(), scratch());
        fill(source.path());
        let repository = TestRepository::in_memory().await;
        let report = repository.backup(source.path(), "s").await;
        assert!(repository.restore(&report, target.path()).await.problems.is_empty());
        let owner = repository.owner().await;
        let index = Arc::new(Index::load(&owner).await.unwrap());
        let reader = Arc::new(Reader::new(owner, index));
        let (root, within) = (report.record.root, TreePath::root());
        let from = Some(Origin { reader, root, within, selection: Selection::default() });
        let restored = Restored { folder: target.path().to_owned(), from };
        Self { target, around: Surroundings { restored: vec![restored], ..around() } }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.target.path().join(name)
    }

    async fn files(&self, share: u8) -> Seen {
        look(&Probe::Files(share), &self.around).await
    }
}

fn homelab(dir: &Path) {
    fs::create_dir_all(dir.join("photos/2026")).unwrap();
    fs::write(dir.join("photos/2026/one.jpg"), noise(1, 3 << 20)).unwrap();
    fs::write(dir.join("photos/2026/two.jpg"), noise(2, 100)).unwrap();
    fs::write(dir.join("photos/2026/three.jpg"), noise(3, 200)).unwrap();
    fs::write(dir.join("empty"), "").unwrap();
    fs::hard_link(dir.join("photos/2026/two.jpg"), dir.join("again.jpg")).unwrap();
    std::os::unix::fs::symlink("photos/2026", dir.join("newest")).unwrap();
    let sparse = fs::File::create(dir.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_is_compared_with_the_snapshot() {
    let lab = Lab::of(homelab).await;
    let said = holds(lab.files(100).await);
    assert!(said.contains("entries are as in the snapshot; 3.0 MiB of 4.0 MiB"), "{said}");
    let part = holds(lab.files(10).await);
    assert!(part.contains("of 4.0 MiB of content were read") && part != said, "{part}");
    // What is there beside it, and what time it has, is nobody's affair.
    fs::write(lab.path("beside"), "new").unwrap();
    holds(lab.files(100).await);

    let whole = fs::read(lab.path("photos/2026/one.jpg")).unwrap();
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        let time = fs::metadata(lab.path("photos/2026/one.jpg")).unwrap().modified().unwrap();
        fs::write(lab.path("photos/2026/one.jpg"), bytes).unwrap();
        let file = fs::File::options().write(true).open(lab.path("photos/2026/one.jpg")).unwrap();
        file.set_modified(time).unwrap();
    };
    // One bit, behind the same length and the same time.
    change(&|bytes| bytes[2 << 20] ^= 1);
    not(lab.files(100).await, &["1 of ", "photos/2026/one.jpg (other content from byte "]);
    change(&|bytes| bytes.truncate(5));
    not(lab.files(1).await, &["photos/2026/one.jpg (5 bytes, not 3145728)"]);
    fs::write(lab.path("photos/2026/one.jpg"), &whole).unwrap();
    holds(lab.files(100).await);
    fs::write(lab.path("photos/2026/three.jpg"), noise(4, 200)).unwrap();
    not(lab.files(1).await, &["photos/2026/three.jpg (other content"]);
    fs::write(lab.path("photos/2026/three.jpg"), noise(3, 200)).unwrap();
    holds(lab.files(100).await);
    let sparse = fs::File::options().write(true).open(lab.path("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"x", 5000).unwrap();
    not(lab.files(1).await, &["sparse (other content"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_another_kind_is_told() {
    let lab = Lab::of(homelab).await;
    fs::remove_file(lab.path("newest")).unwrap();
    std::os::unix::fs::symlink("/elsewhere", lab.path("newest")).unwrap();
    not(lab.files(1).await, &["newest (it leads elsewhere)"]);
    fs::remove_file(lab.path("newest")).unwrap();
    fs::create_dir(lab.path("newest")).unwrap();
    not(lab.files(1).await, &["newest (it is of another kind)"]);
    fs::remove_dir(lab.path("newest")).unwrap();
    not(lab.files(1).await, &["1 of ", "newest (it is not there)"]);
    fs::remove_file(lab.path("again.jpg")).unwrap();
    fs::write(lab.path("again.jpg"), noise(2, 100)).unwrap();
    // The same content, and no link of the other name any more.
    not(lab.files(1).await, &["2 of ", "photos/2026/two.jpg (it leads elsewhere)"]);
    fs::remove_dir_all(lab.path("photos")).unwrap();
    not(lab.files(1).await, &["photos (it is not there)", "…"]);
    fs::remove_dir_all(lab.target.path()).unwrap();
    not(lab.files(1).await, &["is not there"]);
    not(look(&Probe::Files(100), &around()).await, &["nothing was restored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_directories_all_are_compared_and_summed_up() {
    let (mut lab, other) =
        (Lab::of(homelab).await, Lab::of(|dir| fs::write(dir.join("one"), noise(9, 500)).unwrap()).await);
    let numbers = |said: &str| -> Vec<u64> { said.split(' ').filter_map(|word| word.parse().ok()).collect() };
    let (one, two) = (numbers(&holds(lab.files(100).await)), numbers(&holds(other.files(100).await)));
    lab.around.restored.extend(other.around.restored.clone());
    let both = holds(lab.files(100).await);
    assert_eq!(numbers(&both)[..2], [one[0] + two[0], 2], "{both}");
    // Whichever is damaged is named.
    fs::write(other.path("one"), noise(8, 500)).unwrap();
    not(lab.files(100).await, &[other.path("").display().to_string().trim_end_matches('/'), "one (other content"]);
    fs::remove_file(lab.path("empty")).unwrap();
    not(lab.files(100).await, &[lab.path("").display().to_string().trim_end_matches('/'), "empty (it is not there)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_snapshot_is_compared_with_that_part() {
    let lab = Lab::of(homelab).await;
    let mut around = lab.around.clone();
    let restored = around.restored.first_mut().unwrap();
    restored.from.as_mut().unwrap().within = TreePath::new("photos/2026").unwrap();
    restored.folder = lab.path("photos/2026");
    assert!(holds(look(&Probe::Files(100), &around).await).starts_with("4 entries"), "the folder and three files");
    fs::remove_file(lab.path("photos/2026/two.jpg")).unwrap();
    not(look(&Probe::Files(100), &around).await, &["1 of 4", "two.jpg"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_empty_is_not_alive() {
    let lab = Lab::of(homelab).await;
    let count = async |at_least: u64| look(&Probe::NoEmpty(at_least), &lab.around).await;
    holds(count(1).await);
    holds(count(6).await);
    not(count(7).await, &["it has 6 files, and should have 7"]);
    fs::remove_dir_all(lab.path("photos")).unwrap();
    for name in ["empty", "again.jpg", "sparse"] {
        fs::remove_file(lab.path(name)).unwrap();
    }
    not(count(1).await, &["it has 0 files"]);
    not(look(&Probe::NoEmpty(1), &around()).await, &["nothing was restored"]);
}

fn sqlite(file: impl AsRef<Path>, query: Option<&str>, answer: Answer) -> Probe {
    Probe::Sqlite { claim: None, file: file.as_ref().to_owned(), query: query.map(str::to_owned), answer }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_a_file_is_whole_and_answers() {
    let lab = Lab::of(|dir| {
        let db = Connection::open(dir.join("app.db")).unwrap();
        db.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1), (2.5), ('three'), (NULL)").unwrap();
        fs::write(dir.join("text.db"), "no database at all, but long enough to be one").unwrap();
        fs::write(dir.join("empty.db"), "").unwrap();
    })
    .await;
    let db = lab.path("app.db");
    let asked = async |query: &str, answer: Answer| look(&sqlite("app.db", Some(query), answer), &lab.around).await;
    assert_eq!(holds(look(&sqlite("app.db", None, Answer::Any), &lab.around).await), "the database is whole");
    holds(look(&sqlite(&db, None, Answer::Any), &around()).await);
    let said = holds(asked("select count(*) from t", Answer::AtLeast(4)).await);
    assert_eq!(said, "the database is whole; the query gives \"4\"");
    not(asked("select count(*) from t", Answer::AtLeast(5)).await, &["less than 5"]);
    holds(asked("select x from t where x = 'three'", Answer::Equals("three".to_owned())).await);
    not(asked("select x from t where x is null", Answer::Any).await, &["gives NULL"]);
    not(asked("select x from t where x = 9", Answer::Any).await, &["no row"]);
    not(asked("select * from gone", Answer::Any).await, &["SQLite says", "gone"]);
    not(asked("delete from t", Answer::Any).await, &["SQLite says"]);
    not(asked("insert into t values (1) returning 1", Answer::Any).await, &["SQLite says"]);

    // What stands in the log alone counts, and nothing is written beside what was restored.
    let live = Connection::open(&db).unwrap();
    live.pragma_update(None, "journal_mode", "wal").unwrap();
    live.execute_batch("INSERT INTO t VALUES (5)").unwrap();
    let before = fs::read(lab.path("app.db-wal")).unwrap();
    holds(asked("select count(*) from t", Answer::Equals("5".to_owned())).await);
    assert!(!before.is_empty() && fs::read(lab.path("app.db-wal")).unwrap() == before);
    drop(live);

    not(look(&sqlite("text.db", None, Answer::Any), &lab.around).await, &["is no SQLite database"]);
    not(look(&sqlite("empty.db", None, Answer::Any), &lab.around).await, &["is empty"]);
    not(look(&sqlite("gone.db", None, Answer::Any), &lab.around).await, &["there is no file"]);
    not(look(&sqlite("app.db", None, Answer::Any), &around()).await, &["nothing was restored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_does_not_hold_and_no_copy_stays() {
    let copies = scratch();
    let mut lab = Lab::of(|dir| {
        let db = Connection::open(dir.join("app.db")).unwrap();
        db.execute_batch("CREATE TABLE t(x INTEGER PRIMARY KEY, y); CREATE INDEX i ON t(y); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, randomblob(40) FROM n").unwrap();
    })
    .await;
    lab.around.scratch = copies.path().to_owned();
    let mut bytes = fs::read(lab.path("app.db")).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xaa);
    fs::write(lab.path("app.db"), bytes).unwrap();
    let probe = sqlite("app.db", Some("select count(*) from t where x < 3"), Answer::AtLeast(1));
    let why = not(look(&probe, &lab.around).await, &[]);
    assert!(why.contains("damaged") || why.contains("malformed"), "{why}");
    assert_eq!(fs::read_dir(copies.path()).unwrap().count(), 0);
    lab.around.scratch = "/no/such/folder".into();
    not(look(&probe, &lab.around).await, &["cannot make a copy in /no/such/folder"]);
}

/// A query without an end is broken off, and its copy removed.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_an_end_is_broken_off() {
    let copies = scratch();
    let mut lab =
        Lab::of(|dir| Connection::open(dir.join("app.db")).unwrap().execute_batch("CREATE TABLE t(x)").unwrap()).await;
    lab.around.scratch = copies.path().to_owned();
    lab.around.limits = patient(Duration::from_secs(1));
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    not(look(&sqlite("app.db", Some(endless), Answer::Any), &lab.around).await, &["did not answer within 1s"]);
    let gone = async {
        while fs::read_dir(copies.path()).unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the copy goes");
}
