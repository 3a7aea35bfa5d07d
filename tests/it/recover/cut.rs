//! What is restored into folders of this machine, killed in the middle: while the store answers nothing more. Taken up it comes to the same end as if nothing had been.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{run_of, runbook};
use crate::kill::lab::Lab;
use crate::support::files::{noise, picture};
use crate::support::s3::{Rules, S3Server};

/// So much comes in a pack of its own that is known by its size.
const LARGE: usize = 3 << 20;

struct Place {
    server: S3Server,
    lab: Lab,
}

impl Place {
    /// Backs something up and returns the one pack that holds what is large and new in it.
    fn backed_up(&self, args: &[&str]) -> String {
        let before = self.lab.names();
        self.lab.run(&[&["backup", "--no-progress"][..], args].concat()).exits(0);
        let large = |(name, bytes): &(&String, &u64)| {
            name.starts_with("packs/") && !before.contains(*name) && **bytes > (LARGE / 2) as u64
        };
        let sizes: BTreeMap<String, u64> = self.lab.sizes();
        let new: Vec<&String> = sizes.iter().filter(large).map(|(name, _)| name).collect();
        let [pack] = new[..] else { panic!("one large pack is new: {new:?}") };
        pack.clone()
    }

    /// Killed when it waits for that pack; the id of its run.
    fn killed_at(&self, pack: &str, book: &str) -> String {
        let before = self.server.hung();
        self.server.hang_reads_of(pack);
        let mut command = self.lab.command(&["recover", book, "--yes", "--no-progress", "--journals", "runs"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let waits = || self.server.hung() > before;
        for _ in 0..2400 {
            if waits() || child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        let is_there = waits();
        let _ = kill_process(Pid::from_child(&child), Signal::KILL);
        let output = child.wait_with_output().unwrap();
        self.server.hang_reads_of("");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(is_there, "it never came to the pack: {said}{}", String::from_utf8_lossy(&output.stdout));
        run_of(&said)
    }

    fn resumed(&self, run: &str) {
        let ran = self.lab.run(&["recover", "--resume", run, "--yes", "--no-progress", "--journals", "runs"]).exits(0);
        assert!(ran.out.contains("recovered by run"), "{}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_restores_into_folders_and_is_killed_in_the_middle_goes_on() {
    let server = S3Server::start(Rules::PLAIN).await;
    let lab = Lab::new(|_| server.address("r"), Some(server.bucket_dir().join("r")));
    let place = Place { server, lab };
    // The server goes on, on the other threads.
    tokio::task::block_in_place(|| {
        files(&place);
        datastore(&place);
    });
}

fn files(place: &Place) {
    let (source, back) = (place.lab.source(), place.lab.path("back"));
    std::fs::write(source.join("first"), noise(1, LARGE)).unwrap();
    place.backed_up(&["source", "--source", "files"]);
    std::fs::write(source.join("second"), noise(2, LARGE)).unwrap();
    let pack = place.backed_up(&["source", "--source", "files"]);
    let step = format!(
        "id: files\nneeds: []\nrestore.files: {{source: files, target: {}, delete: true}}\nverify: [files: {{}}]",
        back.display()
    );
    let book = runbook(&place.lab.path(""), "", &[&step]);
    std::fs::create_dir(&back).unwrap();
    std::fs::write(back.join("second"), "what was there").unwrap();
    let run = place.killed_at(&pack, &book);
    let second = std::fs::read(back.join("second")).unwrap();
    assert_eq!(second, b"what was there", "a file is there whole, or as it was");
    place.resumed(&run);
    assert!(picture(&back) == picture(&source), "bit for bit, and nothing of the first try beside it");
}

fn datastore(place: &Place) {
    let k3s = place.lab.path("k3s");
    let server = k3s.join("server");
    for folder in ["cred", "tls", "db"] {
        std::fs::create_dir_all(server.join(folder)).unwrap();
    }
    for (file, text) in [("token", "old"), ("cred/x", "old"), ("tls/ca", "old")] {
        std::fs::write(server.join(file), text).unwrap();
    }
    let sql = |text: &str| {
        let database = rusqlite::Connection::open(server.join("db/state.db")).unwrap();
        database.execute_batch(text).unwrap();
    };
    sql(&format!("create table kine (value blob); insert into kine values (randomblob({LARGE}))"));
    std::fs::write(
        place.lab.path("homelab-dr.yaml"),
        format!("sources:\n  k3s: {{datastore: {{k3s: {{data-dir: {}}}}}}}\n", k3s.display()),
    )
    .unwrap();
    let pack = place.backed_up(&[]);
    let value = || {
        let database = rusqlite::Connection::open(server.join("db/state.db")).unwrap();
        database.query_row("select value from kine", [], |row| row.get::<_, Vec<u8>>(0)).unwrap()
    };
    let old = value();
    for file in ["token", "cred/x", "tls/ca"] {
        std::fs::write(server.join(file), "since").unwrap();
    }
    sql("delete from kine; vacuum");
    let since = std::fs::read(server.join("db/state.db")).unwrap();
    let step = format!(
        "id: back\nneeds: []\ndatastore.restore: {{source: k3s, k3s: {{data_dir: {}}}}}\nverify: [sqlite: {{file: {}/db/state.db, query: 'select count(*) from kine', equals: 1}}]",
        k3s.display(),
        server.display()
    );
    let book = runbook(&place.lab.path(""), "", &[&step]);
    let run = place.killed_at(&pack, &book);
    let beside = server.join(format!("before-{run}"));
    let is_kept = || {
        for file in ["token", "cred/x", "tls/ca"] {
            assert_eq!(std::fs::read_to_string(beside.join(file)).unwrap(), "since", "{file} of before is kept");
        }
        assert!(std::fs::read(beside.join("db/state.db")).unwrap() == since, "and so is the database");
    };
    is_kept();
    assert!(!server.join("db/state.db").exists(), "it is in the middle, and nothing is there by half");
    place.resumed(&run);
    is_kept();
    for file in ["token", "cred/x", "tls/ca"] {
        assert_eq!(std::fs::read_to_string(server.join(file)).unwrap(), "old", "{file} comes back");
    }
    assert!(value() == old);
}
