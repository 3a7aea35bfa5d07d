//! `homelab-dr demo`, as a person runs it.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use homelab_dr::demo::{Homelab, PLANTED_SECRET, Record};
use serde_json::Value;

/// The promise is 30 seconds on two processors for the program as it is installed; a debug build on a busy machine gets more.
const TIME_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 300 } else { 30 });

fn demo(dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homelab-dr"));
    command.arg("demo").arg("--dir").arg(dir).args(more);
    // Keys of the person who runs the tests, of another repository: the demonstration must not look at them.
    command.env("HOMELAB_DR_REPO", "/nowhere").env("HOMELAB_DR_WRITER_KEY", "none").env("HOMELAB_DR_IDENTITY", "none");
    command.output().expect("the program runs")
}

fn stored_bytes(dir: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            stored_bytes(&path, found);
        } else {
            found.push(std::fs::read(path).unwrap());
        }
    }
}

#[tokio::test]
async fn a_homelab_is_lost_and_recovered_and_nothing_stored_is_readable() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("demo");
    let began = Instant::now();
    let output = demo(&dir, &["--json"]);
    let took = began.elapsed();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    assert!(took < TIME_LIMIT, "it took {took:?}");

    let result: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let number = |pointer: &str| result.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}"));
    assert!(number("/homelab/bytes") > 60 << 20);
    assert_eq!(number("/homelab/namespaces"), 3);
    assert_eq!(number("/homelab/volumes"), 5);
    assert_eq!(number("/verified/files"), number("/recovered/files") + number("/recovered/objects"));
    assert_eq!(number("/verified/files"), number("/homelab/files") + 1, "one photo is new");
    assert_eq!(result.pointer("/verified/differences"), Some(&Value::Array(Vec::new())));
    assert_eq!(number("/writer_key_cannot_read/objects_with_the_password"), 0);
    let stored = |backup: &str| -> u64 {
        let snapshots = result.pointer(&format!("/{backup}/snapshots")).and_then(Value::as_array).unwrap();
        snapshots.iter().map(|snapshot| snapshot["bytes_stored"].as_u64().unwrap()).sum()
    };
    assert!(stored("second_backup") * 8 < stored("first_backup"), "a renamed album is not stored again");

    // What was recovered is what was burnt: built anew, elsewhere, it is the same.
    let again = Homelab::at(temp.path().join("again"));
    again.build(&|_| ()).await.unwrap();
    again.change().await.unwrap();
    for place in again.places().unwrap() {
        let place = place.strip_prefix(again.root()).unwrap();
        let [burnt, recovered] = [again.root(), &dir.join("cluster")].map(|root| {
            let place = root.join(place);
            Record::take(&place, &|_| ()).unwrap()
        });
        let different: Vec<_> = burnt.compare(&recovered).into_iter().filter(|d| d.what != "mtime").collect();
        // Of a manifest the uid differs, which is drawn when it is made.
        let of_content = |of: &homelab_dr::demo::Difference| place == Path::new("manifests") && of.what == "content";
        assert!(different.iter().all(of_content), "{}: {different:?}", place.display());
    }

    let mut objects = Vec::new();
    stored_bytes(&dir.join("repository"), &mut objects);
    assert!(objects.len() > 10);
    let base64 = data_encoding::BASE64.encode(PLANTED_SECRET.as_bytes());
    for planted in [PLANTED_SECRET, &base64, "vaultwarden", "IMG_1001.jpg"] {
        let holds = |object: &Vec<u8>| memchr::memmem::find(object, planted.as_bytes()).is_some();
        assert!(!objects.iter().any(holds), "{planted} is stored in clear");
    }
    for key in ["identity.txt", "writer.key"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(dir.join("keys").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    its_runbook_is_rehearsed_with_all_its_checks(&dir);
}

fn its_runbook_is_rehearsed_with_all_its_checks(dir: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homelab-dr"));
    command.args(["drill", "recover.md", "--into-folder", "drills", "--journals", "runs", "--yes"]).current_dir(dir);
    command.env("HOMELAB_DR_CONFIG", "homelab-dr.yaml").env("HOMELAB_DR_IDENTITY_FILE", "keys/identity.txt");
    let output = command.output().expect("the program runs");
    let [told, said] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{told}{said}");
    // Both databases are asked, and the files of all five volumes compared; only the message is left out.
    assert_eq!(said.matches("holds: sqlite: vaultwarden/data db.sqlite3").count(), 2, "{said}");
    assert!(said.contains(" of 5 volumes are as in their snapshots"), "{said}");
    assert!(told.contains("checks: 3 of 3 held; 1 thing was not rehearsed"), "{told}");
}

#[test]
fn a_folder_that_is_there_is_not_touched() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("precious");
    std::fs::write(&file, b"mine").unwrap();
    for there in [temp.path(), &file] {
        let output = demo(there, &[]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(7), "{told}");
        assert!(told.contains("exists already") && told.contains("--dir"), "{told}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    let output = demo(&temp.path().join("no/such"), &[]);
    assert_eq!(output.status.code(), Some(2));
}
