//! A query to a data directory of PostgreSQL that was restored: a server of this machine is started on a copy of it, asked, and ended.
//!
//! The copy starts with a configuration of our own: what was restored may name libraries, certificates and commands of another machine, and may want to be a standby or to archive.
//! The server listens on a socket in a directory of its own alone, runs as a user without privileges, and is ended however the look ends. Should this program itself be
//! killed, the server ends within a minute of the removal of its directory (`homelab-dr-postgres-*` in the directory for temporary files): it looks after that itself.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::answer::judge;
use super::{Look, STOPPED, Surroundings, postgres, within};
use crate::base::cancel::Cancel;
use crate::base::units;
use crate::runbook::Query;

/// A data directory lies at most so deep in a volume: `data/pgdata`, `18/docker`.
const DEPTH_MAX: usize = 4;
/// Where servers are, by their major version; and where the only one may be.
const BY_VERSION: [&str; 3] =
    ["/usr/lib/postgresql/VERSION/bin", "/usr/pgsql-VERSION/bin", "/opt/homebrew/opt/postgresql@VERSION/bin"];
const ONLY: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
/// Who runs the server where this program is root and the data are root's, too: nobody.
const NOBODY: u32 = 65534;
/// Between two looks whether the server takes queries.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long a server gets to end before it is killed.
const END_TIME: Duration = Duration::from_secs(10);
/// How often it is tried to remove the copy of a server that was killed.
const REMOVAL_TRIES_MAX: usize = 20;
/// Characters of its log that are told.
const LOG_CHARS_TOLD: usize = 500;
/// Longest path of a socket, by the kernel.
const SOCKET_PATH_MAX: usize = 107;
const SOCKET: &str = ".s.PGSQL.5432";
/// What belongs to the server that ran, not to the data: who it was, where it was to recover from, and its own settings.
const LEFT_OUT: [&str; 6] =
    ["postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "postgresql.auto.conf", "recovery.conf"];

pub(super) async fn look(query: &Query, around: &Surroundings) -> Look {
    let data = data_directory(around.folder()?)?;
    let version =
        fs::read_to_string(data.join("PG_VERSION")).map_err(|error| format!("cannot read PG_VERSION: {error}"))?;
    let program = program(version.trim())?;
    let room = tempfile::Builder::new().prefix("homelab-dr-postgres-").tempdir_in(&around.scratch);
    let room = room.map_err(|error| format!("cannot make a copy in {}: {error}", around.scratch.display()))?;
    let user = unprivileged(&data)?;
    let (from, cancel, dropped) = (data.clone(), around.cancel.clone(), Arc::new(Cancel::default()));
    // Nobody waits for a copy any more when this look is given up; it is removed by who makes it.
    let _dropped = OnDrop(dropped.clone());
    let copied = tokio::task::spawn_blocking(move || {
        prepare(&from, room.path(), user, &|| cancel.is_cancelled() || dropped.is_cancelled()).map(|()| room)
    });
    let room = copied.await.map_err(|error| format!("copying failed: {error}"))??;
    let mut server = Server::start(&program, room, user)?;
    let seen = tokio::select! {
        seen = asked(&mut server, query, around) => seen,
        () = around.cancel.cancelled() => Err(STOPPED.to_owned()),
    };
    server.end().await;
    seen
}

async fn asked(server: &mut Server, query: &Query, around: &Surroundings) -> Look {
    let config = postgres::config(query)?;
    let socket = server.room.path().join(SOCKET);
    let begun = Instant::now();
    let session = loop {
        if let Some(ended) = server.child.try_wait().map_err(|error| format!("the server is lost: {error}"))? {
            return Err(format!("the server did not start, {ended}: {}", server.log()));
        }
        let tried = timeout(around.limits.answer, async {
            let stream = UnixStream::connect(&socket).await.ok()?;
            Some(postgres::open(&config, stream, around.limits.query).await)
        });
        match tried.await {
            Ok(Some(Ok(session))) => break session,
            Ok(Some(Err(failed))) if !failed.is_early => return Err(failed.said),
            _ if begun.elapsed() > around.limits.start => {
                let limit = units::duration(around.limits.start);
                return Err(format!("the server took no query within {limit}: {}", server.log()));
            }
            _ => sleep(LOOK_AGAIN).await,
        }
    };
    judge(within(around.limits.query, "the server", session.first(&query.query)).await?, &query.answer)
}

struct OnDrop(Arc<Cancel>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The data directory below what was restored.
fn data_directory(folder: &Path) -> Result<PathBuf, String> {
    let (mut found, mut level) = (Vec::new(), vec![folder.to_owned()]);
    for _ in 0..=DEPTH_MAX {
        let mut below = Vec::new();
        for dir in level {
            if dir.join("PG_VERSION").is_file() && dir.join("global/pg_control").is_file() {
                found.push(dir);
                continue;
            }
            let entries = fs::read_dir(&dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
            below.extend(entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
        }
        level = below;
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(format!(
            "{} has no data directory of PostgreSQL (a folder with PG_VERSION and global/pg_control)",
            folder.display()
        )),
        several => {
            let all: Vec<String> = several.iter().map(|dir| dir.display().to_string()).collect();
            Err(format!("there are several data directories of PostgreSQL: {}", all.join(", ")))
        }
    }
}

/// Whether this machine can start a server on a data directory.
///
/// # Errors
/// Why not.
pub fn has_server(data: &Path) -> Result<(), String> {
    let version =
        fs::read_to_string(data.join("PG_VERSION")).map_err(|error| format!("cannot read PG_VERSION: {error}"))?;
    program(version.trim()).map(drop)
}

/// The server for a major version.
fn program(version: &str) -> Result<PathBuf, String> {
    let own = version.chars().all(|c| c.is_ascii_digit() || c == '.') && !version.is_empty();
    if !own {
        return Err(format!("PG_VERSION says {version:?}, which is no version"));
    }
    let dirs = BY_VERSION.map(|dir| PathBuf::from(dir.replace("VERSION", version)));
    if let Some(program) = dirs.iter().map(|dir| dir.join("postgres")).find(|program| program.is_file()) {
        return Ok(program);
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut there = Vec::new();
    for dir in std::env::split_paths(&on_path).chain(ONLY.map(PathBuf::from)) {
        let program = dir.join("postgres");
        let Ok(said) = std::process::Command::new(&program).arg("--version").output() else { continue };
        // `postgres (PostgreSQL) 15.18 (Debian …)`
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let number =
            said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or_default();
        if number.strip_prefix(version).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit())) {
            return Ok(program);
        }
        there.push(number.to_owned());
    }
    let there = if there.is_empty() { "has none".to_owned() } else { format!("has {}", there.join(", ")) };
    Err(format!(
        "the data are of PostgreSQL {version}, and this machine {there}: install postgresql-{version}, or ask the server in the cluster by its address"
    ))
}

/// Who runs the server: whom the data belong to, or nobody; `None` where this program is nobody special itself.
fn unprivileged(data: &Path) -> Result<Option<(u32, u32)>, String> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let owner = fs::metadata(data).map_err(|error| format!("cannot read {}: {error}", data.display()))?;
    Ok(Some(if owner.uid() == 0 { (NOBODY, NOBODY) } else { (owner.uid(), owner.gid()) }))
}

/// Copies the data and writes the configuration, all of it for `user` alone.
fn prepare(data: &Path, room: &Path, user: Option<(u32, u32)>, is_stopped: &dyn Fn() -> bool) -> Result<(), String> {
    let failed = |what: &str, path: &Path, error: std::io::Error| format!("cannot {what} {}: {error}", path.display());
    let own = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| failed("set the mode of", path, error))?;
        let Some((uid, gid)) = user else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(|error| failed("give away", path, error))
    };
    let socket = room.join(SOCKET);
    if socket.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(format!("{} is too long a path for a socket: set TMPDIR to a shorter one", socket.display()));
    }
    let copy = room.join("data");
    let mut open = vec![(data.to_owned(), copy)];
    while let Some((from, to)) = open.pop() {
        fs::create_dir(&to).map_err(|error| failed("make", &to, error))?;
        for entry in fs::read_dir(&from).map_err(|error| failed("read", &from, error))? {
            if is_stopped() {
                return Err(STOPPED.to_owned());
            }
            let entry = entry.map_err(|error| failed("read", &from, error))?;
            let kind = entry.file_type().map_err(|error| failed("read", &entry.path(), error))?;
            let to = to.join(entry.file_name());
            if kind.is_dir() {
                open.push((entry.path(), to));
            } else if kind.is_symlink() {
                return Err(format!(
                    "{} leads out of the data directory: a tablespace or a log elsewhere cannot be tried in this way",
                    entry.path().display()
                ));
            } else if kind.is_file() && !(from == data && LEFT_OUT.iter().any(|name| entry.file_name() == *name)) {
                fs::copy(entry.path(), &to).map_err(|error| failed("copy", &entry.path(), error))?;
                own(&to, 0o600)?;
            }
        }
        own(&to, 0o700)?;
    }
    let settings = "listen_addresses = ''\nunix_socket_permissions = 0700\nfsync = off\nlog_destination = 'stderr'\nlogging_collector = off\n\
        autovacuum = off\nshared_buffers = 64MB\nmax_connections = 10\nmax_prepared_transactions = 100\nmax_replication_slots = 64\n\
        wal_level = logical\njit = off\nlc_messages = 'C'\n";
    let settings = format!(
        "{settings}unix_socket_directories = '{0}'\nhba_file = '{0}/hba'\nident_file = '{0}/ident'\n",
        room.display().to_string().replace('\'', "''")
    );
    for (name, text) in [("settings", settings.as_str()), ("hba", "local all all trust\n"), ("ident", "")] {
        let path = room.join(name);
        fs::write(&path, text).map_err(|error| failed("write", &path, error))?;
        own(&path, 0o600)?;
    }
    own(room, 0o700)
}

/// A server on a copy. Dropped it is killed, and its parts end with it.
struct Server {
    child: Child,
    /// Removed when the server is gone.
    room: TempDir,
}

impl Drop for Server {
    /// Of one that has ended nothing is left to do. The parts of one that is killed end right after it; until then they may write to what is removed here.
    fn drop(&mut self) {
        let _ = self.child.start_kill();
        for _ in 0..REMOVAL_TRIES_MAX {
            match fs::remove_dir_all(self.room.path()) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => std::thread::sleep(LOOK_AGAIN),
                _ => return,
            }
        }
    }
}

impl Server {
    fn start(program: &Path, room: TempDir, user: Option<(u32, u32)>) -> Result<Self, String> {
        let log = room.path().join("log");
        let failed = |error: std::io::Error| format!("cannot start {}: {error}", program.display());
        let open = fs::File::create(&log).map_err(failed)?;
        let mut command = Command::new(program);
        command
            .arg("-D")
            .arg(room.path().join("data"))
            .arg("-c")
            .arg(format!("config_file={}", room.path().join("settings").display()));
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir(room.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(open).kill_on_drop(true);
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        Ok(Self { child: command.spawn().map_err(failed)?, room })
    }

    /// The last that the server said.
    fn log(&self) -> String {
        let text = fs::read(self.room.path().join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let skipped = text.chars().count().saturating_sub(LOG_CHARS_TOLD);
        let end: String = text.chars().skip(skipped).collect();
        end.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Ends it without writing anything more, and waits for it.
    async fn end(mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        if timeout(END_TIME, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
