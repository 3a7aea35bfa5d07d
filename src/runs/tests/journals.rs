//! Journals as files.

use std::io::Write as _;

use super::*;
use crate::base::clock::{ManualClock, Time};
use crate::runs::journal::{Journal, Tail, to_sync};
use crate::runs::plan::{Book, RunPlan, digest};

#[test]
fn a_plan_whose_runbook_is_wrong_for_this_program_says_what_is() {
    let text = "---\nid: t\ntitle: T\n---\nText.\n\n## 1. A step\n\nText.\n\n```yaml step\nid: a\nsing: {}\n```\n";
    let book = Book { digest: digest(text), text: text.into(), ..plan().runbook };
    let told = RunPlan { runbook: book, ..plan() }.steps(&JUDGES).err().map(|error| error.to_string());
    assert!(told.as_ref().is_some_and(|told| told.contains("sing") && told.contains("runbook:1")), "{told:?}");
}

/// In memory where that can be: hundreds of journals are synced line by line.
pub(super) fn dir() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).expect("a folder")
}

pub(super) fn file(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("5f0c1d2e/journal.jsonl")
}

#[test]
fn what_is_written_is_read_and_one_process_has_it() {
    let dir = dir();
    let clock = ManualClock::at(Time(1000));
    let mut journal = Journal::begin(dir.path(), &plan(), &clock).expect("begun");
    journal.write(&Event::Begun { step: "a".into() }).expect("written");
    assert!(matches!(Journal::begin(dir.path(), &plan(), &clock), Err(JournalError::Begun { .. })), "one of each run");
    assert!(matches!(Journal::take_up(dir.path(), "5f0c1d2e", &clock), Err(JournalError::Busy { .. })));
    let seen = Journal::look(dir.path(), "5f0c1d2e").expect("readable while it is carried out");
    assert_eq!((seen.plan, seen.records.len()), (plan(), 1));
    drop(journal);
    let (_, found) = Journal::take_up(dir.path(), "5f0c1d2e", &clock).expect("free again");
    assert_eq!(found.records[0].event, Event::Begun { step: "a".into() });
    for run in ["../../etc", "00000000", "5F0C1D2E", ""] {
        assert!(matches!(Journal::look(dir.path(), run), Err(JournalError::NoSuchRun { .. })), "{run}");
    }
}

/// The disk was full, or the power went, before the plan was written: nothing was done yet.
#[test]
fn what_was_never_begun_is_begun_anew() {
    let dir = dir();
    let clock = ManualClock::at(Time(1000));
    std::fs::create_dir(dir.path().join("5f0c1d2e")).expect("made");
    for torn in ["", "{\"form\":1,\"run\":"] {
        std::fs::write(file(&dir), torn).expect("written");
        drop(Journal::begin(dir.path(), &plan(), &clock).expect("begun"));
        assert_eq!(Journal::look(dir.path(), "5f0c1d2e").expect("a journal").plan, plan());
        assert!(matches!(Journal::begin(dir.path(), &plan(), &clock), Err(JournalError::Begun { .. })));
    }
}

#[test]
fn a_line_that_was_being_written_is_cut_away_and_a_broken_one_is_told() {
    let dir = dir();
    let clock = ManualClock::at(Time(1000));
    let mut journal = Journal::begin(dir.path(), &plan(), &clock).expect("begun");
    journal.write(&Event::Begun { step: "a".into() }).expect("written");
    drop(journal);
    let whole = std::fs::read(file(&dir)).expect("read");
    let mut torn = std::fs::OpenOptions::new().append(true).open(file(&dir)).expect("opened");
    // Half of a sign of several bytes, too.
    torn.write_all(b"{\"at\":\"\xe2\x82").expect("written");
    let (mut journal, found) = Journal::take_up(dir.path(), "5f0c1d2e", &clock).expect("mended");
    assert_eq!(found.records.len(), 1);
    assert_eq!(std::fs::read(file(&dir)).expect("read"), whole);
    journal.write(&Event::CutOff { step: "a".into() }).expect("written");
    drop(journal);
    let text = std::fs::read_to_string(file(&dir)).expect("read").replace("cut-off", "cut-up");
    std::fs::write(file(&dir), text).expect("written");
    let told = Journal::take_up(dir.path(), "5f0c1d2e", &clock).err().map(|error| error.to_string());
    assert!(told.is_some_and(|told| told.contains("line 3")), "the place is told");
}

#[test]
fn a_journal_that_is_too_long_is_neither_begun_nor_cut() {
    let dir = dir();
    let clock = ManualClock::at(Time(1000));
    let is_too_long = |error: Option<JournalError>| matches!(error, Some(JournalError::TooLong { .. }));
    let book = Book { text: "x".repeat(49 << 20), ..plan().runbook };
    let begun = Journal::begin(dir.path(), &RunPlan { runbook: book, ..plan() }, &clock);
    assert!(is_too_long(begun.err()) && !file(&dir).exists(), "nothing of it is there");
    let mut journal = Journal::begin(dir.path(), &plan(), &clock).expect("begun");
    drop(journal);
    let long = std::fs::OpenOptions::new().write(true).open(file(&dir)).expect("opened");
    let set_len = |bytes: u64| long.set_len(bytes).expect("set");
    // A line without an end that is as long as can be is cut away only where it is known that it is one.
    set_len((64 << 20) + 1);
    assert!(is_too_long(Journal::take_up(dir.path(), "5f0c1d2e", &clock).err()));
    assert!(is_too_long(Journal::look(dir.path(), "5f0c1d2e").err()));
    assert_eq!(std::fs::metadata(file(&dir)).expect("there").len(), (64 << 20) + 1, "nothing was cut");
    set_len(64 << 20);
    journal = Journal::take_up(dir.path(), "5f0c1d2e", &clock).expect("mended").0;
    let begun = |step: String| Event::Begun { step };
    assert!(is_too_long(journal.write(&begun("x".repeat(64 << 20))).err()));
    journal.write(&begun("a".into())).expect("there is room for this one");
    drop(journal);
    assert_eq!(Journal::look(dir.path(), "5f0c1d2e").expect("read").records.len(), 1);
    // A journal whose only line was not written whole, or is no plan, stays as it is.
    for text in ["{\"run\": \"5f0c1d2e", "{}\nhalf"] {
        std::fs::write(file(&dir), text).expect("written");
        let error = Journal::take_up(dir.path(), "5f0c1d2e", &clock).err();
        assert!(matches!(error, Some(JournalError::Line { line: 1, .. })), "{error:?}");
        assert_eq!(std::fs::read_to_string(file(&dir)).expect("there"), text);
    }
}

/// A disk that is full in the middle of a line, as often as it says.
struct Full<'a> {
    lines: &'a RefCell<Vec<u8>>,
    times: &'a RefCell<usize>,
    cuts: bool,
}

impl Tail for Full<'_> {
    fn put(&self, bytes: &[u8]) -> std::io::Result<()> {
        let is_full = *self.times.borrow() > 0;
        let fits = if is_full { bytes.len() / 2 } else { bytes.len() };
        self.lines.borrow_mut().extend_from_slice(&bytes[..fits]);
        if is_full {
            *self.times.borrow_mut() -= 1;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn cut(&self, bytes: u64) -> std::io::Result<()> {
        if !self.cuts {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.lines.borrow_mut().truncate(usize::try_from(bytes).expect("few"));
        Ok(())
    }
}

#[test]
fn what_a_write_that_failed_has_left_is_cut_away_before_the_next_line_or_none_comes_after_it() {
    let clock = ManualClock::at(Time(1000));
    let of = |step: &str| Event::Begun { step: step.into() };
    for cuts in [true, false] {
        let (lines, times) = (RefCell::new(Vec::new()), RefCell::new(0));
        let mut journal = Journal::on(Box::new(Full { lines: &lines, times: &times, cuts }), &clock);
        journal.write(&of("a")).expect("there is room");
        times.replace(1);
        assert!(matches!(journal.write(&of("b")), Err(JournalError::File { .. })), "the disk is full");
        let room = journal.write(&of("c"));
        drop(journal);
        let text = String::from_utf8(lines.into_inner()).expect("text");
        if cuts {
            room.expect("there is room by now");
            let records: Vec<crate::runs::event::Record> =
                text.lines().map(|line| serde_json::from_str(line).expect("whole lines")).collect();
            assert_eq!(records.iter().map(|record| record.event.clone()).collect::<Vec<_>>(), [of("a"), of("c")]);
        } else {
            assert!(matches!(room, Err(JournalError::Closed { .. })), "{room:?}");
            assert!(!text.contains("\"c\""), "nothing is joined to half a line");
        }
    }
}

/// What happens in a run, in its order: what is put at the end of the journal, that it is synced, and what hands do.
type Trace = RefCell<Vec<String>>;

struct Traced<'a>(&'a Trace);

impl Tail for Traced<'_> {
    fn put(&self, bytes: &[u8]) -> std::io::Result<()> {
        let record: serde_json::Value = serde_json::from_slice(bytes).expect("a line");
        let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
        self.0.borrow_mut().push(format!("put {} {}", text("event"), text("step")).trim().to_owned());
        assert_eq!(bytes.last(), Some(&b'\n'), "whole lines");
        Ok(())
    }

    fn sync(&self) -> std::io::Result<()> {
        self.0.borrow_mut().push("sync".into());
        Ok(())
    }

    fn cut(&self, _: u64) -> std::io::Result<()> {
        panic!("no write failed")
    }
}

#[async_trait(?Send)]
impl Hands for Traced<'_> {
    async fn act(&self, step: &Step, _: &Cancel) -> Result<Vec<String>, Undone> {
        self.0.borrow_mut().push(format!("ACT {}", step.id));
        Ok(Vec::new())
    }

    async fn verify(&self, step: &Step, _: &Cancel) -> Result<Vec<String>, Undone> {
        self.0.borrow_mut().push(format!("VERIFY {}", step.id));
        Ok(Vec::new())
    }

    fn checked(&self, _step: &Step) -> Vec<Event> {
        Vec::new()
    }

    async fn let_go(&self, step: &Step) -> (Vec<String>, bool) {
        self.0.borrow_mut().push(format!("LET GO {}", step.id));
        (Vec::new(), true)
    }
}

#[test]
fn what_is_about_to_happen_is_on_the_disk_before_it_does_and_what_has_happened_right_after() {
    let (trace, clock) = (Trace::default(), ManualClock::at(Time(1000)));
    let steps = [quiesce("hold", &[], Some("a")), step("a", &["hold"])];
    let mut journal = Journal::on(Box::new(Traced(&trace)), &clock);
    let left = carry_on(&steps, &[], &mut journal, &Traced(&trace), &mut Somebody::default()).expect("a journal");
    assert_eq!(left, Left::Ended(Outcome::Recovered));
    let of = |id: &str| {
        let lines = ["put begun ID", "sync", "ACT ID", "put acted ID", "sync", "VERIFY ID", "put done ID", "sync"];
        lines.map(|line| line.replace("ID", id)).to_vec()
    };
    let letting_go = ["put letting-go hold", "sync", "LET GO hold", "put let-go hold", "sync"].map(str::to_owned);
    let expected = [
        vec!["put taken-up".to_owned(), "sync".to_owned()],
        of("hold"),
        of("a"),
        letting_go.to_vec(),
        vec!["put ended".to_owned(), "sync".to_owned()],
    ];
    drop(journal);
    assert_eq!(trace.into_inner(), expected.concat());
}

#[test]
fn a_file_is_really_synced_and_so_is_every_folder_that_was_made_for_it() {
    let dir = dir();
    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("made");
    let fifo = std::fs::File::options().read(true).write(true).open(fifo).expect("opened");
    fifo.put(b"a line\n").expect("there is room");
    let error = Tail::sync(&fifo).expect_err("the system was asked, and cannot sync a pipe");
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::INVAL.raw_os_error()), "{error}");
    let below = |path: &str| dir.path().join(path);
    assert_eq!(
        to_sync(&below("a/b/5f")),
        [below("a/b/5f"), below("a/b"), below("a"), below("").components().collect()]
    );
    std::fs::create_dir_all(below("a/b")).expect("made");
    assert_eq!(to_sync(&below("a/b/5f")), [below("a/b/5f"), below("a/b")]);
    assert_eq!(to_sync(std::path::Path::new("not-there/5f")), ["not-there/5f", "not-there", "."].map(PathBuf::from));
}
