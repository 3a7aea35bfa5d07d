//! Databases among restored files, whoever they are of: every one that is found is opened, also where no runbook names it.
//!
//! A SQLite database is known by its first bytes; a data directory of PostgreSQL by `PG_VERSION` and `global/pg_control`, and a server of its version is started on a copy. Where this
//! machine has none, that is said: such data counts as not verified. What is encrypted, or of another kind, is a file like others here.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::runbook::{Answer, Probe, Query};
use crate::verify::{Restored, Seen, Surroundings, has_server, look};

/// How a line begins that says what could not be verified.
pub const NOT_VERIFIED: &str = "not verified: ";
/// The first bytes of a SQLite database.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";
/// What a server says that was made without the usual superuser.
const NO_ROLE: &str = "role \"postgres\" does not exist";
/// Databases that are named one by one when all is well.
const NAMED_MAX: usize = 20;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    sqlite: Vec<PathBuf>,
    postgres: Vec<PathBuf>,
}

/// Looks through a folder; follows no links. Any entry that cannot be read is an error: it could be a database.
fn find(folder: &Path) -> std::io::Result<Found> {
    let (mut found, mut open) = (Found::default(), vec![folder.to_owned()]);
    while let Some(dir) = open.pop() {
        if dir.join("PG_VERSION").is_file() && dir.join("global/pg_control").is_file() {
            found.postgres.push(dir);
            continue;
        }
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && is_sqlite(&entry.path())? {
                found.sqlite.push(entry.path());
            }
        }
    }
    found.sqlite.sort();
    found.postgres.sort();
    Ok(found)
}

fn is_sqlite(file: &Path) -> std::io::Result<bool> {
    let mut head = [0; SQLITE.len()];
    match File::open(file)?.read_exact(&mut head) {
        Ok(()) => Ok(head == *SQLITE),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens every database in a restored folder. A line for each; what is damaged, or cannot be looked for, is the error.
///
/// # Errors
/// What is wrong, with the database that it is about.
pub async fn open_all(restored: &Restored, around: &Surroundings) -> Result<Vec<String>, String> {
    let folder = restored.folder.clone();
    let shown = folder.display().to_string();
    let found = tokio::task::spawn_blocking(move || find(&folder)).await;
    let found = found.map_err(|error| format!("looking for databases failed: {error}"))?;
    let found = found.map_err(|error| format!("{shown} cannot be looked through for databases: {error}"))?;
    let name = |path: &Path| path.strip_prefix(&restored.folder).unwrap_or(path).display().to_string();
    let mut lines = Vec::new();
    for file in &found.sqlite {
        let probe = Probe::Sqlite { claim: None, file: file.clone(), query: None, answer: Answer::Any };
        match look(&probe, around).await {
            Seen::Holds(said) => lines.push(format!("SQLite {}: {said}", name(file))),
            Seen::Not(why) => return Err(format!("the SQLite database {} does not open: {why}", name(file))),
        }
    }
    if lines.len() > NAMED_MAX {
        let more = lines.len() - NAMED_MAX;
        lines.truncate(NAMED_MAX);
        lines.push(format!("SQLite: {more} more databases are whole"));
    }
    for dir in &found.postgres {
        if let Err(why) = has_server(dir) {
            lines.push(format!("{NOT_VERIFIED}PostgreSQL {}: {why}", name(dir)));
            continue;
        }
        let query = Query {
            address: None,
            database: None,
            user: None,
            password_file: None,
            query: "select count(*) from pg_database".to_owned(),
            answer: Answer::AtLeast(1),
        };
        let around =
            Surroundings { restored: vec![Restored { folder: dir.clone(), ..restored.clone() }], ..around.clone() };
        match look(&Probe::Postgres(query), &around).await {
            Seen::Holds(said) => lines.push(format!("PostgreSQL {}: a server ran on a copy: {said}", name(dir))),
            // It came up and refuses only whom it does not know; its messages are in the language C.
            Seen::Not(why) if why.contains(NO_ROLE) => {
                lines.push(format!(
                    "PostgreSQL {}: a server came up on a copy; {NO_ROLE}, so nothing was asked",
                    name(dir)
                ));
            }
            Seen::Not(why) => return Err(format!("the PostgreSQL data {} do not come up: {why}", name(dir))),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_known_by_what_is_in_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below")).expect("made");
            std::fs::write(path, bytes).expect("written");
        };
        put("app/data", &[SQLITE, &[0; 500][..]].concat());
        put("app/short.db", b"SQLite");
        put("app/text.sqlite", b"this is no database at all");
        put("pg/16/PG_VERSION", b"16\n");
        put("pg/16/global/pg_control", b"x");
        put("pg/16/base/1/PG_VERSION", b"16\n");
        put("half/PG_VERSION", b"16\n");
        std::os::unix::fs::symlink(dir.path().join("app"), dir.path().join("loop")).expect("made");
        let found = find(dir.path()).expect("read");
        let at = |name: &str| vec![dir.path().join(name)];
        assert_eq!(found, Found { sqlite: at("app/data"), postgres: at("pg/16") });
        assert!(find(&dir.path().join("gone")).is_err());
    }
}
