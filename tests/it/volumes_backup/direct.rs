//! The mover itself, as a process with pipes: what it takes, what it says, when it ends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use homelab_dr::volumes::protocol::{self, Job, SecretText};
use homelab_dr::volumes::said::{Line, Said};

use crate::cli::{Home, program};
use crate::support::files::picture;

const RUN: &str = "homelab-dr-0123456789-0";

struct Mover {
    child: Child,
    input: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    raw: String,
}

impl Mover {
    fn start(home: &Home, silence: &str) -> Self {
        let path = home.path("source");
        let args = ["mover", "--run", RUN, "--path", path.to_str().unwrap(), "--silence", silence];
        let mut child = program()
            .args(args)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut mover = Self { child, input, lines: BufReader::new(output).lines(), raw: String::new() };
        assert!(matches!(mover.next(), Some(Said::Waiting { .. })));
        mover
    }

    /// What it says next, progress aside.
    fn next(&mut self) -> Option<Said> {
        loop {
            let text = self.lines.next()?.expect("text");
            self.raw.push_str(&text);
            let line = Line::parse(&text, RUN).unwrap_or_else(|| panic!("not a line: {text}"));
            if !matches!(line.said, Said::Progress(_)) {
                return Some(line.said);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).unwrap();
        self.input.flush().unwrap();
    }

    /// Its exit code, and everything that it said.
    fn end(mut self) -> (Option<i32>, String) {
        while self.next().is_some() {}
        drop(self.input);
        let output = self.child.wait_with_output().unwrap();
        self.raw.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code(), self.raw)
    }
}

fn job(home: &Home, key: &str) -> Job {
    Job {
        salt: [3; 16],
        run: RUN.into(),
        address: home.path("repo").to_str().unwrap().into(),
        credentials: Vec::new(),
        writer_key: SecretText::new(key.trim().to_owned()),
        source: "pvc/media/data".into(),
        host: "lab".into(),
        tags: BTreeMap::new(),
        exclude: vec!["/zeros".into()],
        reread: false,
        limit_upload: None,
        limit_download: None,
        still: false,
        held: false,
        dumped: None,
        apart: false,
        together: None,
        blocks: None,
    }
}

fn key(home: &Home) -> String {
    std::fs::read_to_string(home.path("writer")).unwrap()
}

#[test]
fn a_job_becomes_a_snapshot() {
    let home = Home::new();
    let mut mover = Mover::start(&home, "60");
    let (job, key) = (job(&home, &key(&home)), key(&home));
    let bytes = protocol::job(RUN, &job).unwrap();
    // In pieces, as a network may bring it, after something that is none.
    mover.send(b"GET / HTTP/1.1\r\n");
    assert!(matches!(mover.next(), Some(Said::Rejected { .. })));
    for piece in bytes.chunks(10) {
        mover.send(piece);
    }
    assert_eq!(mover.next(), Some(Said::Accepted { receipt: job.receipt() }));
    let Some(Said::Done(summary)) = mover.next() else { panic!("{}", mover.raw) };
    assert_eq!((summary.statistics.files, summary.statistics.problems), (2, 0));
    let (code, said) = mover.end();
    assert_eq!(code, Some(0));
    assert!(!said.contains(key.trim()) && !said.contains(&key.trim()[20..]), "{said}");
    home.read(&["restore", "latest:pvc/media/data", "--target", "back"]).exits(0);
    let mut expected = picture(&home.path("source"));
    expected.remove(std::path::Path::new("zeros"));
    assert!(picture(&home.path("back")) == expected);
}

#[test]
fn a_wrong_key_is_told_with_its_own_exit_code_and_never_repeated() {
    let (home, other) = (Home::new(), Home::new());
    for (key, exit, says) in [
        (key(&other), 6, "the key belongs to another repository"),
        ("homelab-dr-writer-1-hunter2hunter2".to_owned(), 2, "checksum"),
        ("hunter2hunter2".to_owned(), 2, "no writer key"),
    ] {
        let mut mover = Mover::start(&home, "60");
        mover.send(&protocol::job(RUN, &job(&home, &key)).unwrap());
        assert!(matches!(mover.next(), Some(Said::Accepted { .. })));
        let Some(Said::Failed(failed)) = mover.next() else { panic!("{}", mover.raw) };
        let (code, said) = mover.end();
        assert!(said.contains(says) && !said.contains("hunter2"), "{said}");
        assert_eq!((Some(i32::from(failed.exit)), code), (Some(exit), Some(exit)), "{said}");
    }
    home.write(&["snapshots"]).exits(0);
}

#[test]
fn it_ends_when_nobody_speaks_and_when_it_is_asked_to() {
    let home = Home::new();
    let mut mover = Mover::start(&home, "1");
    let begun = std::time::Instant::now();
    let Some(Said::Failed(failed)) = mover.next() else { panic!("{}", mover.raw) };
    assert!(failed.error.contains("heard nothing for 1 s"), "{failed:?}");
    assert_eq!(mover.end().0, Some(1));
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    // Heartbeats of another run are none.
    let mut mover = Mover::start(&home, "1");
    for _ in 0..3 {
        mover.send(&protocol::heartbeat("another"));
    }
    assert_eq!(mover.end().0, Some(1));

    let mut mover = Mover::start(&home, "60");
    let pid = rustix::process::Pid::from_child(&mover.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let Some(Said::Failed(failed)) = mover.next() else { panic!("{}", mover.raw) };
    assert_eq!((failed.error.as_str(), mover.end().0), ("the mover was stopped", Some(130)));
}
