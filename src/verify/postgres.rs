//! A query to PostgreSQL, over a connection without TLS, in a transaction that may only read.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::TryStreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, Error, NoTls, SimpleQueryMessage};

use super::answer::{Given, judge};
use super::{Look, Surroundings, tcp, within};
use crate::base::causes::in_one_line;
use crate::runbook::Query;

/// Who asks, and what, if nothing is said: as `psql` of the images does.
const USER: &str = "postgres";
/// A server may send so many bytes in all: an answer is one row.
const BYTES_MAX: usize = 16 << 20;
/// Longest file with a password.
const PASSWORD_BYTES_MAX: u64 = 4096;

pub(super) async fn look(query: &Query, around: &Surroundings) -> Look {
    let Some(address) = query.address.as_deref() else { return Err("it names no server".to_owned()) };
    let config = config(query)?;
    let connected = async {
        let stream = tcp::connect(address).await?;
        open(&config, stream, around.limits.query).await.map_err(|failed| failed.said)
    };
    let session = within(around.limits.answer, address, connected).await?;
    judge(within(around.limits.query, address, session.first(&query.query)).await?, &query.answer)
}

/// The password in a file, without the line's end behind it.
pub(super) fn password(file: Option<&Path>) -> Result<Option<String>, String> {
    use std::io::Read as _;
    let Some(file) = file else { return Ok(None) };
    let failed = |error: std::io::Error| format!("cannot read the password in {}: {error}", file.display());
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(PASSWORD_BYTES_MAX).read_to_string(&mut text))
        .map_err(failed)?;
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Whom a query is asked as, and where.
pub(super) fn config(query: &Query) -> Result<Config, String> {
    let mut config = Config::new();
    config.application_name("homelab-dr").user(query.user.as_deref().unwrap_or(USER));
    if let Some(database) = &query.database {
        config.dbname(database);
    }
    if let Some(password) = password(query.password_file.as_deref())? {
        config.password(password);
    }
    Ok(config)
}

/// Why there is no session.
pub(super) struct Failed {
    /// For people.
    pub said: String,
    /// The server is there and takes nobody yet: it is worth asking again.
    pub is_early: bool,
}

/// A connection with a transaction in it.
pub(super) struct Session {
    client: tokio_postgres::Client,
    drive: Pin<Box<dyn Future<Output = String> + Send>>,
}

/// Logs in, and begins to read. After `limit` the server itself gives up a query: it would go on without us.
pub(super) async fn open<S>(config: &Config, stream: S, limit: Duration) -> Result<Session, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connected = config.connect_raw(Bounded { stream, left: BYTES_MAX }, NoTls).await;
    let (client, connection) = connected.map_err(|error| Failed {
        is_early: error.code() == Some(&SqlState::CANNOT_CONNECT_NOW),
        said: failed(&error),
    })?;
    let drive = async move { connection.await.map_or_else(|error| failed(&error), |()| "it hung up".to_owned()) };
    let mut session = Session { client, drive: Box::pin(drive) };
    let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {}", limit.as_millis().min(i32::MAX as u128));
    let read_only = session.with(async |client| client.batch_execute(&begin).await).await;
    read_only.map_err(|said| Failed { said, is_early: false })?;
    Ok(session)
}

impl Session {
    /// Drives the connection while it is used.
    async fn with<T>(
        &mut self,
        used: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, Error>,
    ) -> Result<T, String> {
        tokio::select! {
            biased;
            done = used(&self.client) => done.map_err(|error| failed(&error)),
            ended = &mut self.drive => Err(ended),
        }
    }

    /// The first column of the first row.
    pub(super) async fn first(mut self, query: &str) -> Result<Given, String> {
        self.with(async |client| {
            let mut messages = Box::pin(client.simple_query_raw(query).await?);
            while let Some(message) = messages.try_next().await? {
                if let SimpleQueryMessage::Row(row) = message {
                    return Ok(if row.is_empty() { Given::Nothing } else { Given::of(row.get(0).map(str::as_bytes)) });
                }
            }
            Ok(Given::Nothing)
        })
        .await
    }
}

/// What the server said, and what may help.
fn failed(error: &Error) -> String {
    let Some(said) = error.as_db_error() else {
        return format!("what answers does not do as PostgreSQL does: {}", in_one_line(error));
    };
    let help = match *said.code() {
        SqlState::INVALID_PASSWORD => "; see user and password_file",
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION if said.message().contains("no encryption") => {
            "; the server wants TLS, which this check does not speak: allow this machine without it, or ask by `exec`"
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => "; see user, and pg_hba.conf of the server",
        SqlState::READ_ONLY_SQL_TRANSACTION => "; a check only reads",
        SqlState::QUERY_CANCELED => "; the query took too long",
        _ => "",
    };
    format!("the server says: {}{help}", said.message())
}

/// A stream of which only so many bytes are read.
struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.left == 0 {
            let what = format!("it sent more than {} MiB", BYTES_MAX >> 20);
            return Poll::Ready(Err(std::io::Error::other(what)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
