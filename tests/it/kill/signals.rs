//! Ctrl-C and SIGTERM sent to the real program: the first stops it cleanly, the second at once, both with exit code 130, and neither
//! loses anything. Limits of speed make runs long enough to be met in the middle.

use std::time::Duration;

use rustix::process::Signal;

use super::lab::Lab;
use crate::support::files::{noise, picture};

/// Files of the source, and their bytes.
const FILES: u64 = 32;
const FILE_BYTES: usize = 32 << 10;
/// How long a clean stop may take: what is under way at the test's limits of speed is seconds.
const CLEAN_STOP: Duration = Duration::from_secs(30);
/// How long a stop at once may take, on a machine that has other work.
const AT_ONCE: Duration = Duration::from_secs(10);

fn lab() -> Lab {
    let lab = Lab::new(|dir| dir.join("repository").to_str().unwrap().to_owned(), None);
    for n in 0..FILES {
        std::fs::write(lab.source().join(format!("f{n}")), noise(n, FILE_BYTES)).unwrap();
    }
    lab
}

fn backup(lab: &Lab) -> serde_json::Value {
    lab.run(&["backup", "source", "--source", "s", "--json"]).exits(0).json()
}

#[track_caller]
fn is_whole_and_goes_on(lab: &Lab) {
    lab.is_clean(&["--read-data"]);
    let id = backup(lab)["snapshot"].as_str().expect("an id").to_owned();
    assert!(lab.restored(&id) == picture(&lab.source()));
}

/// Asked while files are read: what was read by then is stored, and nothing else.
#[test]
fn one_interrupt_stops_a_backup_cleanly_and_the_next_goes_on_from_there() {
    // More than is on its way at once, so that the limit of speed holds up the reading.
    const LARGE_BYTES: usize = 16 << 20;
    const LARGE_FILES: u64 = 8;
    let lab = lab();
    let mut args = vec!["backup", "source", "--source", "s", "--limit-upload", "32MiB/s"];
    for json in [false, true] {
        args.extend(json.then_some("--json"));
        // Other bytes each time: half of what is there already would leave too little to wait for.
        for n in 0..LARGE_FILES {
            let seed = 1000 + 1000 * u64::from(json) + n;
            std::fs::write(lab.source().join(format!("large-{n}")), noise(seed, LARGE_BYTES)).unwrap();
        }
        let before = lab.names();
        let mut run = lab.start(&args);
        run.until("it reads files", || lab.names().difference(&before).any(|name| name.starts_with("sessions/")));
        std::thread::sleep(Duration::from_millis(200));
        run.signal(Signal::INT);
        run.hears("once more stops at once");
        let ran = run.ends(CLEAN_STOP).exits(130);
        assert!(ran.err.contains("interrupted: what was stored is kept"), "{}", ran.err);
        if json {
            assert_eq!(ran.json()["exit"], 130);
        } else {
            assert_eq!(ran.out, "", "no snapshot is reported");
        }
        assert_eq!(lab.snapshots(), [""; 0], "and there is none");
        assert_eq!(lab.temporary(), 0, "a clean stop leaves no temporary file");
        lab.is_clean(&[]);
    }
    let statistics = backup(&lab)["statistics"].clone();
    let (all, new) = (statistics["bytes"].as_u64().expect("bytes"), statistics["bytes_new"].as_u64().expect("bytes"));
    assert!(new < all * 9 / 10, "{new} of {all} bytes were stored again, though some were read before the stops");
    is_whole_and_goes_on(&lab);
}

#[test]
fn a_second_interrupt_ends_a_backup_at_once_and_loses_nothing() {
    let lab = lab();
    let first = backup(&lab)["snapshot"].as_str().expect("an id").to_owned();
    let before = picture(&lab.source());
    for n in 0..FILES {
        std::fs::write(lab.source().join(format!("f{n}")), noise(100 + n, FILE_BYTES)).unwrap();
    }
    let packs = |lab: &Lab| lab.names().iter().filter(|name| name.starts_with("packs/")).count();
    let stored = packs(&lab);
    // The pack is sent at once and its index a minute later, when the limit allows it.
    let mut run = lab.start(&["backup", "source", "--source", "s", "--limit-upload", "16KiB/s"]);
    run.until("a pack is stored", || packs(&lab) > stored);
    run.signal(Signal::INT);
    run.hears("once more stops at once");
    std::thread::sleep(Duration::from_millis(200));
    assert!(run.is_running(), "a clean stop ends what is under way, which takes longer");
    run.signal(Signal::INT);
    let ran = run.ends(AT_ONCE).exits(130);
    assert_eq!(ran.out, "");
    assert_eq!(lab.snapshots(), std::slice::from_ref(&first));
    assert!(lab.restored(&first) == before);
    is_whole_and_goes_on(&lab);
}

#[test]
fn a_restore_that_is_asked_to_stop_leaves_whole_files_and_a_second_one_completes() {
    let lab = lab();
    backup(&lab);
    let expected = picture(&lab.source());
    for (signal, again) in [(Signal::INT, false), (Signal::TERM, false), (Signal::TERM, true)] {
        let target = lab.path("out");
        // What is under way takes seconds, or a minute where it is not waited for.
        let limit = if again { "16KiB/s" } else { "256KiB/s" };
        let args = ["restore", "latest", "--target", "out", "--limit-download", limit];
        let mut run = lab.start(&args);
        run.until("files are restored", || target.is_dir());
        run.signal(signal);
        run.hears("once more stops at once");
        if again {
            run.signal(signal);
        }
        run.ends(if again { AT_ONCE } else { CLEAN_STOP }).exits(130);
        if !again {
            for (path, bytes) in picture(&target) {
                assert!(expected.get(&path) == Some(&bytes), "{} was left unfinished", path.display());
            }
        }
        lab.run(&args[..4]).exits(0);
        assert!(picture(&target) == expected);
        std::fs::remove_dir_all(target).unwrap();
    }
}

/// They change the store in steps that may end anywhere, so the first signal ends them. At this speed they wait seconds before they write.
#[test]
fn a_forget_and_a_prune_that_are_interrupted_are_done_by_the_next() {
    let lab = lab();
    for n in 0..3 {
        std::fs::write(lab.source().join("f0"), noise(200 + n, FILE_BYTES)).unwrap();
        backup(&lab);
    }
    let all = lab.snapshots();
    let forget = ["forget", "--keep-last", "1", "--yes", "--limit-download", "1KiB/s"];
    let mut run = lab.start(&forget);
    std::thread::sleep(Duration::from_secs(1));
    assert!(run.is_running());
    run.signal(Signal::INT);
    run.ends(AT_ONCE).exits(130);
    lab.is_clean(&["--read-data"]);
    assert_eq!(lab.snapshots(), all);
    lab.run(&forget[..4]).exits(0);
    assert_eq!(lab.snapshots(), all[2..]);

    let prune = ["prune", "--grace", "0s", "--yes", "--limit-upload", "1KiB/s"];
    let mut run = lab.start(&prune);
    run.hears("so short a grace period"); // the plan is made, the marks wait for the line
    run.signal(Signal::INT);
    run.ends(AT_ONCE).exits(130);
    lab.is_clean(&["--read-data"]);
    lab.run(&prune[..4]).exits(0);
    assert_eq!(lab.snapshots(), all[2..]);
    is_whole_and_goes_on(&lab);
}
