//! A query to MySQL or MariaDB, in a transaction that may only read.
//!
//! The text protocol, and of it what one query takes: a client crate (`mysql_async` at its smallest) would bring a dozen more, and our limits
//! to nothing that a server sends. TLS is spoken where the server offers it, as the `mysql`
//! program does; its certificate, which the server makes itself as a rule, is not judged.

mod auth;
mod wire;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::{Given, judge};
use super::postgres::password;
use super::trust::{self, Anybody};
use super::{Look, Surroundings, tcp, within};
use crate::runbook::Query;
use auth::{Greeting, TLS};
use wire::{Reading, Wire};

/// Who asks, if nothing is said.
const USER: &str = "root";
/// Commands: a query as text.
const QUERY: u8 = 3;
/// How answers begin.
const OK: u8 = 0;
const ERROR: u8 = 0xff;
const END: u8 = 0xfe;
const NULL: u8 = 0xfb;
/// An end is shorter than this; what is longer and begins like one is a long value.
const END_BYTES_MAX: usize = 9;
/// Columns of a table are 4096 at most.
const COLUMNS_MAX: u64 = 4096;

pub(super) async fn look(query: &Query, around: &Surroundings) -> Look {
    let Some(address) = query.address.as_deref() else { return Err("it names no server".to_owned()) };
    let password = password(query.password_file.as_deref())?.unwrap_or_default();
    let connected = async {
        let mut wire = Wire::new(tcp::connect(address).await?);
        let greeting = Greeting::read(&wire.packet().await?)?;
        let user = query.user.as_deref().unwrap_or(USER);
        let login = auth::Login { user, password: &password, database: query.database.as_deref() };
        let boxed: Wire<Box<dyn Both>> = if greeting.offers(TLS) {
            wire.send(&login.wish(&greeting)).await?;
            let name = trust::name(tcp::host(address))?;
            let (stream, sequence) = wire.into_parts();
            Wire::going_on(
                Box::new(trust::handshake(stream, name, Arc::new(Anybody), around.clock.now()).await?),
                sequence,
            )
        } else {
            let (stream, sequence) = wire.into_parts();
            Wire::going_on(Box::new(stream), sequence)
        };
        let mut wire = boxed;
        login.run(&greeting, &mut wire).await?;
        wire.begin();
        wire.send(&[&[QUERY], &b"START TRANSACTION READ ONLY"[..]].concat()).await?;
        match wire.packet().await?.split_first() {
            Some((&OK, _)) => Ok(wire),
            Some((&ERROR, rest)) => Err(refused(rest)),
            _ => Err(strange("the begin of a transaction")),
        }
    };
    let mut wire = within(around.limits.answer, address, connected).await?;
    judge(within(around.limits.query, address, first(&mut wire, &query.query)).await?, &query.answer)
}

/// A stream, with TLS or without.
trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

/// What is said of an answer that nobody gives who speaks the protocol.
fn strange(what: &str) -> String {
    format!("what answers does not do as MySQL does: {what}")
}

/// What an error says, and what may help; without its first byte.
fn refused(error: &[u8]) -> String {
    let mut reading = Reading(error);
    let Some(code) = reading.number(2) else { return strange("an error without a number") };
    let text = String::from_utf8_lossy(reading.rest());
    // A state of SQL stands before the text, but not before somebody has logged in.
    let text = text.strip_prefix('#').and_then(|text| text.get(5..)).unwrap_or(&text);
    let help = match code {
        1045 | 1698 => "; see user and password_file",
        1130 => "; the server takes nobody from this machine",
        1792 => "; a check only reads",
        3159 => "; the server wants TLS and does not offer it",
        _ => "",
    };
    format!("the server says: {text} ({code}){help}")
}

/// The first column of the first row.
async fn first<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>, query: &str) -> Result<Given, String> {
    wire.begin();
    wire.send(&[&[QUERY], query.as_bytes()].concat()).await?;
    let head = wire.packet().await?;
    let columns = match head.first() {
        Some(&OK) => return Ok(Given::Nothing),
        Some(&ERROR) => return Err(refused(head.get(1..).unwrap_or_default())),
        Some(&NULL) => return Err("the query wants a file of this machine, which it does not get".to_owned()),
        _ => Reading(&head).length().filter(|columns| (1..=COLUMNS_MAX).contains(columns)),
    };
    let columns = columns.ok_or_else(|| strange("a head of rows that says no number of columns"))?;
    // What the columns are called, and an end.
    for _ in 0..=columns {
        wire.packet().await?;
    }
    let row = wire.packet().await?;
    match row.first() {
        Some(&END) if row.len() < END_BYTES_MAX => Ok(Given::Nothing),
        Some(&ERROR) => Err(refused(row.get(1..).unwrap_or_default())),
        Some(&NULL) => Ok(Given::Null),
        _ => {
            let mut reading = Reading(&row);
            let value = reading.length().and_then(|length| reading.take(usize::try_from(length).ok()?));
            value.map(|value| Given::of(Some(value))).ok_or_else(|| strange("a row that is cut off"))
        }
    }
}

#[cfg(test)]
mod tests;
