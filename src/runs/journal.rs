//! The journal of a run: a file of JSON lines, of which each is on the disk before what it says is done, or right after it was done.
//!
//! The first line is the plan, whole: a run is taken up with what was planned, whatever has become of the runbook. A last line without an end was being written when the machine
//! stopped; it is cut away, since nothing that it announces was begun, and so is what a write that failed has left, or the next line would be joined to it. Nothing else is
//! ever cut: what is too long to be read, or not understood, stays as it is. One process has a journal at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::event::{Event, Record};
use super::plan::RunPlan;
use crate::base::clock::Clock;
use crate::base::id::is_run;
use crate::base::lock::{Tried, alone, in_common};

/// Longest journal that is written and read; one of 500 steps has some hundred KiB, and each object of a cluster adds a line's worth to its plan.
const BYTES_MAX: u64 = 64 << 20;
/// How much of that its plan may take: what happens has to find room behind it.
const PLAN_BYTES_MAX: u64 = 48 << 20;
/// The file of a run.
const FILE: &str = "journal.jsonl";

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file or its folder cannot be used.
    #[error("cannot {what} the journal {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There is one already.
    #[error("run {run} was begun already")]
    Begun {
        /// The run.
        run: String,
    },
    /// It is of a drill, which is no run to go on with.
    #[error("run {run} is a drill")]
    Drill {
        /// The run.
        run: String,
    },
    /// There is no run of this name here.
    #[error("there is no run {run} below {}", dir.display())]
    NoSuchRun {
        /// The run.
        run: String,
        /// Where journals are.
        dir: PathBuf,
    },
    /// A process has it.
    #[error("run {run} is being carried out by another process")]
    Busy {
        /// The run.
        run: String,
    },
    /// It is longer than what is read. Nothing of it was cut.
    #[error("the journal {} would have or has more than {bytes_max} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// How much is written and read.
        bytes_max: u64,
    },
    /// What a write that failed has left could not be cut away.
    #[error("the journal {} was left with half a line by a write that failed, and takes no more", path.display())]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// A line is not one of this program's.
    #[error("line {line} of the journal {} cannot be understood: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        why: String,
    },
}

/// Where events are written down.
pub trait Log {
    /// Has an event on the disk when it returns.
    fn write(&mut self, event: &Event) -> Result<(), JournalError>;
}

/// The end of a file: what is put there is durable once it was synced.
pub(super) trait Tail {
    fn put(&self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Has nothing behind so many bytes.
    fn cut(&self, bytes: u64) -> io::Result<()>;
}

impl Tail for File {
    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self;
        file.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)?;
        self.sync_all()
    }
}

/// See the module.
pub struct Journal<'a> {
    tail: Box<dyn Tail + 'a>,
    path: PathBuf,
    clock: &'a dyn Clock,
    /// Bytes of whole lines that are on the disk; none when nobody knows what stands behind them.
    good: Option<u64>,
}

/// A journal as it was read.
#[derive(Debug)]
pub struct Found {
    /// What is carried out.
    pub plan: RunPlan,
    /// What has happened.
    pub records: Vec<Record>,
}

fn path_of(dir: &Path, run: &str) -> PathBuf {
    dir.join(run).join(FILE)
}

impl<'a> Journal<'a> {
    /// Begins the journal of a plan; its run must not have one.
    pub fn begin(dir: &Path, plan: &RunPlan, clock: &'a dyn Clock) -> Result<Self, JournalError> {
        let path = path_of(dir, &plan.run);
        let fail = |what| {
            let path = path.clone();
            move |source| JournalError::File { what, path, source }
        };
        let line = serde_json::to_string(plan).map_err(|error| fail("write")(error.into()))?;
        if line.len() as u64 > PLAN_BYTES_MAX {
            return Err(JournalError::TooLong { path, bytes_max: PLAN_BYTES_MAX });
        }
        let folder = dir.join(&plan.run);
        // Of what is made now the name too has to be on the disk, or the journal may be gone after a power cut although what is in it was synced.
        let to_sync = to_sync(&folder);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(fail("make the folder of"))?;
        let file = OpenOptions::new().create_new(true).read(true).append(true).mode(0o600).open(&path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => unbegun(&path, &plan.run)?,
            file => {
                let file = file.map_err(fail("create"))?;
                lock(&file, (&path, &plan.run))?;
                file
            }
        };
        let mut journal = Self { tail: Box::new(file), path: path.clone(), clock, good: Some(0) };
        journal.line(&line)?;
        for folder in to_sync {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail("sync the folder of"))?;
        }
        Ok(journal)
    }

    /// The same at the end of something else.
    #[cfg(test)]
    pub(super) fn on(tail: Box<dyn Tail + 'a>, clock: &'a dyn Clock) -> Self {
        Self { tail, path: PathBuf::new(), clock, good: Some(0) }
    }

    /// Takes the journal of a run up.
    pub fn take_up(dir: &Path, run: &str, clock: &'a dyn Clock) -> Result<(Self, Found), JournalError> {
        let path = existing(dir, run)?;
        let fail = |what| {
            let path = path.clone();
            move |source| JournalError::File { what, path, source }
        };
        let mut file = OpenOptions::new().read(true).append(true).open(&path).map_err(fail("open"))?;
        lock(&file, (&path, run))?;
        let text = content(&mut file, &path)?;
        let whole = whole_lines(&text);
        let found = understand(&path, whole)?;
        let good = whole.len() as u64;
        if whole.len() < text.len() {
            file.cut(good).map_err(fail("mend the end of"))?;
        }
        Ok((Self { tail: Box::new(file), path, clock, good: Some(good) }, found))
    }

    /// Reads the journal of a run, whoever has it.
    pub fn look(dir: &Path, run: &str) -> Result<Found, JournalError> {
        let path = existing(dir, run)?;
        let file = File::open(&path);
        let mut file = file.map_err(|source| JournalError::File { what: "read", path: path.clone(), source })?;
        let text = content(&mut file, &path)?;
        understand(&path, whole_lines(&text))
    }

    /// Whether a process has the journal of a run: it locks it as long as it carries the run out. Where nothing can be locked no run is carried out.
    #[must_use]
    pub fn is_carried_out(dir: &Path, run: &str) -> bool {
        File::open(path_of(dir, run)).is_ok_and(|file| matches!(in_common(&file), Tried::Taken))
    }

    fn line(&mut self, line: &str) -> Result<(), JournalError> {
        let good = self.good.ok_or_else(|| JournalError::Closed { path: self.path.clone() })?;
        let longer = good + line.len() as u64 + 1;
        if longer > BYTES_MAX {
            return Err(JournalError::TooLong { path: self.path.clone(), bytes_max: BYTES_MAX });
        }
        // One write: what is cut off is the end of the file.
        let written = self.tail.put(format!("{line}\n").as_bytes()).and_then(|()| self.tail.sync());
        self.good = match &written {
            Ok(()) => Some(longer),
            // A disk that is full may have room later, and half a line would spoil the one that is written then.
            Err(_) => self.tail.cut(good).ok().map(|()| good),
        };
        written.map_err(|source| JournalError::File { what: "write", path: self.path.clone(), source })
    }
}

impl Log for Journal<'_> {
    fn write(&mut self, event: &Event) -> Result<(), JournalError> {
        let record = Record { at: self.clock.now().to_string(), event: event.clone() };
        let line = serde_json::to_string(&record).map_err(|error| JournalError::File {
            what: "write",
            path: self.path.clone(),
            source: error.into(),
        })?;
        self.line(&line)
    }
}

/// The folders in which the names of a journal, and of the folders that are made for it, will stand.
pub(super) fn to_sync(folder: &Path) -> Vec<PathBuf> {
    let made = folder.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists());
    let above = made.filter_map(Path::parent);
    let here = |above: &Path| if above.as_os_str().is_empty() { PathBuf::from(".") } else { above.to_owned() };
    std::iter::once(folder.to_owned()).chain(above.map(here)).collect()
}

/// A journal of which not even the plan came to be whole: nothing was done yet, and it is begun anew.
fn unbegun(path: &Path, run: &str) -> Result<File, JournalError> {
    let fail = |what| move |source| JournalError::File { what, path: path.to_owned(), source };
    let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(fail("open"))?;
    let begun = || JournalError::Begun { run: run.to_owned() };
    if !whole_lines(&content(&mut file, path)?).is_empty() {
        return Err(begun());
    }
    lock(&file, (path, run))?;
    // Somebody may have begun it in between.
    if !whole_lines(&content(&mut file, path)?).is_empty() {
        return Err(begun());
    }
    file.cut(0).map_err(fail("mend the end of"))?;
    Ok(file)
}

fn existing(dir: &Path, run: &str) -> Result<PathBuf, JournalError> {
    let path = path_of(dir, run);
    if is_run(run) && path.exists() {
        Ok(path)
    } else {
        Err(JournalError::NoSuchRun { run: run.to_owned(), dir: dir.to_owned() })
    }
}

fn lock(file: &File, (path, run): (&Path, &str)) -> Result<(), JournalError> {
    match alone(file) {
        Tried::Has => Ok(()),
        Tried::Taken => Err(JournalError::Busy { run: run.to_owned() }),
        Tried::Never(source) => Err(JournalError::File { what: "lock", path: path.to_owned(), source }),
    }
}

fn content(file: &mut File, path: &Path) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|source| JournalError::File { what: "read", path: path.to_owned(), source })?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(JournalError::TooLong { path: path.to_owned(), bytes_max: BYTES_MAX });
    }
    Ok(bytes)
}

/// All lines that have their end.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    end.and_then(|at| bytes.get(..=at)).unwrap_or_default()
}

fn understand(path: &Path, bytes: &[u8]) -> Result<Found, JournalError> {
    let text = String::from_utf8_lossy(bytes);
    let wrong = |line: usize, why: String| JournalError::Line { path: path.to_owned(), line, why };
    let mut lines = text.lines().enumerate();
    let (_, first) = lines.next().ok_or_else(|| wrong(1, "it is empty".to_owned()))?;
    let plan: RunPlan = serde_json::from_str(first).map_err(|error| wrong(1, error.to_string()))?;
    if let Some(why) = plan.of_another_form() {
        return Err(wrong(1, why));
    }
    let record =
        |(at, line): (usize, &str)| serde_json::from_str(line).map_err(|error| wrong(at + 1, error.to_string()));
    Ok(Found { plan, records: lines.map(record).collect::<Result<_, _>>()? })
}
