//! A SQLite database is whole, and a query to it: on a copy with its journals, so that they are applied as the application would, and nothing is written to what was
//! restored.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, types::ValueRef};
use tokio::sync::oneshot;

use super::answer::{Given, judge};
use super::{Look, STOPPED, Surroundings, within};
use crate::runbook::Answer;

/// The journals of a database, which belong to it.
const ENDINGS: [&str; 2] = ["-wal", "-journal"];
/// What a whole database says of itself.
const WHOLE: &str = "ok";

pub(super) async fn look(file: &Path, query: Option<&str>, answer: &Answer, around: &Surroundings) -> Look {
    let restored = if file.is_absolute() { None } else { Some(around.folder()?.to_owned()) };
    let path = restored.as_deref().map_or_else(|| file.to_owned(), |folder| folder.join(file));
    // A link in what was restored may lead to the database that is in use: that one is whole says nothing of this.
    let bounds: Vec<PathBuf> = restored.into_iter().chain(around.confined.clone()).collect();
    let (scratch, query) = (around.scratch.clone(), query.map(str::to_owned));
    let (handle, handed) = oneshot::channel();
    let mut work = tokio::task::spawn_blocking(move || {
        stays(&path, &bounds)?;
        asked(&path, &scratch, query.as_deref(), handle)
    });
    let looked = async {
        // Interrupted when nobody waits for it any more: a database of a hundred gigabytes would be looked through for nothing.
        let _guard = handed.await.ok().map(Interrupt);
        (&mut work).await.unwrap_or_else(|error| Err(format!("looking at it failed: {error}")))
    };
    let (given, whole) = within(around.limits.start, "the database", looked).await?;
    given.map_or_else(|| Ok(whole.clone()), |given| judge(given, answer).map(|said| format!("{whole}; {said}")))
}

struct Interrupt(rusqlite::InterruptHandle);

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

/// Refuses a database, or a journal of one, that links lead to out of where it should be. What is not there is told by who wants to read it.
fn stays(path: &Path, bounds: &[PathBuf]) -> Result<(), String> {
    for bound in bounds {
        let real = bound.canonicalize().map_err(|error| format!("cannot look into {}: {error}", bound.display()))?;
        for ending in ["", ENDINGS[0], ENDINGS[1]] {
            let file = beside(path, ending);
            if file.canonicalize().is_ok_and(|found| !found.starts_with(&real)) {
                return Err(format!(
                    "{} leads out of {} by a link: it was not restored there",
                    file.display(),
                    bound.display()
                ));
            }
        }
    }
    Ok(())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// What a file looks like from outside: who writes to it changes that.
fn state(path: &Path) -> Option<(u64, i64, i64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

fn copied(path: &Path, into: &Path) -> Result<PathBuf, String> {
    let copy = into.join("db");
    let all: Vec<(PathBuf, PathBuf)> =
        ["", ENDINGS[0], ENDINGS[1]].iter().map(|ending| (beside(path, ending), beside(&copy, ending))).collect();
    let before: Vec<_> = all.iter().map(|(from, _)| state(from)).collect();
    if !path.is_file() {
        return Err(format!("there is no file {}", path.display()));
    }
    for (from, to) in all.iter().filter(|(from, _)| from.is_file()) {
        fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    }
    if all.iter().map(|(from, _)| state(from)).ne(before) {
        return Err(format!("{} was written to while it was copied: it is in use", path.display()));
    }
    Ok(copy)
}

type Asked = (Option<Given>, String);

fn asked(
    path: &Path,
    scratch: &Path,
    query: Option<&str>,
    handle: oneshot::Sender<rusqlite::InterruptHandle>,
) -> Result<Asked, String> {
    let room = tempfile::Builder::new().prefix("homelab-dr-sqlite-").tempdir_in(scratch);
    let room = room.map_err(|error| format!("cannot make a copy in {}: {error}", scratch.display()))?;
    let copy = copied(path, room.path())?;
    let failed = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => format!("{} is no SQLite database, or an encrypted one", path.display()),
        Some(ErrorCode::OperationInterrupted) => STOPPED.to_owned(),
        _ => format!("SQLite says: {error}"),
    };
    if fs::metadata(&copy).is_ok_and(|metadata| metadata.len() == 0) {
        return Err(format!("{} is empty", path.display()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(&copy, flags).map_err(failed)?;
    let _ = handle.send(database.get_interrupt_handle());
    let mut said = Vec::new();
    let mut check = database.prepare("PRAGMA integrity_check(3)").map_err(failed)?;
    let mut rows = check.query(()).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        said.push(row.get::<_, String>(0).map_err(failed)?);
    }
    if said != [WHOLE] {
        return Err(format!("{} is damaged: {}", path.display(), said.join("; ")));
    }
    let given = query.map(|query| first(&database, query).map_err(failed)).transpose()?;
    Ok((given, "the database is whole".to_owned()))
}

/// The first column of the first row.
fn first(database: &Connection, query: &str) -> Result<Given, rusqlite::Error> {
    database.execute_batch("PRAGMA query_only = ON")?;
    let mut statement = database.prepare(query)?;
    let mut rows = statement.query(())?;
    let Some(row) = rows.next()? else { return Ok(Given::Nothing) };
    Ok(match row.get_ref(0)? {
        ValueRef::Null => Given::Null,
        ValueRef::Integer(number) => Given::Text(number.to_string()),
        ValueRef::Real(number) => Given::Text(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Given::of(Some(bytes)),
    })
}
