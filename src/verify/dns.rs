//! A name has addresses: as this machine resolves it, with its hosts file and everything, or by one server that is asked directly.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

use super::{Look, Surroundings, tcp, within};

/// Room for an answer by UDP: without EDNS it has 512 bytes at most, and who sends more is cut.
const DATAGRAM_BYTES: usize = 4096;
/// A question that got lost is asked anew, so often in all.
const TRIES: u32 = 3;

pub(super) async fn look(name: &str, wanted: &[String], server: Option<&str>, around: &Surroundings) -> Look {
    let limit = around.limits.answer;
    let found = match server {
        Some(server) => within(limit, server, asked(name, server, limit)).await?,
        None => within(limit, "this machine's resolver", resolved(name)).await?,
    };
    let shown = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let parsed: BTreeSet<IpAddr> = wanted.iter().filter_map(|address| address.parse().ok()).collect();
    let missing: Vec<String> = parsed.difference(&found).map(ToString::to_string).collect();
    if !missing.is_empty() {
        return Err(format!("{name} has {shown}, and not {}", missing.join(", ")));
    }
    Ok(format!("{name} has {shown}"))
}

async fn resolved(name: &str) -> Result<BTreeSet<IpAddr>, String> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| {
        format!("this machine finds no address of {name}: {error}; name a `server` to see what that one says")
    })?;
    some(found.map(|address| address.ip()).collect(), name, "this machine's resolver")
}

fn some(found: BTreeSet<IpAddr>, name: &str, who: &str) -> Result<BTreeSet<IpAddr>, String> {
    if found.is_empty() { Err(format!("{name} is there, and {who} knows no address of it")) } else { Ok(found) }
}

/// Asks a server for the addresses of both families.
async fn asked(name: &str, server: &str, limit: Duration) -> Result<BTreeSet<IpAddr>, String> {
    let mut asked = Name::from_ascii(name).map_err(|error| format!("{name} is no name of DNS: {error}"))?;
    asked.set_fqdn(true);
    let mut found = BTreeSet::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        let answer = one(&asked, kind, server, limit).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => {}
            ResponseCode::NXDomain => return Err(format!("{server} says that there is no {name}")),
            ResponseCode::Refused => return Err(format!("{server} refuses to answer this machine about {name}")),
            code => return Err(format!("{server} does not answer about {name}: {code}")),
        }
        found.extend(answer.answers.iter().filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        }));
    }
    some(found, name, server)
}

/// One question, by UDP, and by TCP if the answer is too long for that.
async fn one(name: &Name, kind: RecordType, server: &str, limit: Duration) -> Result<Message, String> {
    let random = getrandom::u32().map_err(|error| format!("no random number for a question of DNS: {error}"))?;
    let [low, high, ..] = random.to_le_bytes();
    let mut question = Message::new(u16::from_le_bytes([low, high]), MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    let bytes = question.to_vec().map_err(|error| format!("{name} cannot be asked for: {error}"))?;
    let answer = by_udp(&question, &bytes, server, limit / (2 * TRIES + 1)).await?;
    if answer.metadata.truncation { by_tcp(&question, &bytes, server).await } else { Ok(answer) }
}

/// Whether a message is the answer to a question, as far as that can be told.
fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && answer.queries == question.queries
}

async fn by_udp(question: &Message, bytes: &[u8], server: &str, wait: Duration) -> Result<Message, String> {
    let failed = |error: std::io::Error| format!("cannot ask {server}: {error}");
    let addresses: Vec<_> = tokio::net::lookup_host(server).await.map_err(failed)?.collect();
    let Some(address) = addresses.first() else { return Err(format!("{server} has no address")) };
    let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(own).await.map_err(failed)?;
    // Only what comes from there is taken.
    socket.connect(address).await.map_err(failed)?;
    let mut strange = None;
    for _ in 0..TRIES {
        socket.send(bytes).await.map_err(failed)?;
        let end = tokio::time::Instant::now() + wait;
        let mut buffer = [0; DATAGRAM_BYTES];
        while let Ok(received) = tokio::time::timeout_at(end, socket.recv(&mut buffer)).await {
            let count = received.map_err(failed)?;
            match Message::from_vec(buffer.get(..count).unwrap_or_default()) {
                Ok(answer) if answers(&answer, question) => return Ok(answer),
                Ok(_) => strange = Some("what answers is no answer to what was asked".to_owned()),
                Err(error) => strange = Some(format!("what answers is no DNS: {error}")),
            }
        }
    }
    Err(strange.map_or_else(
        || format!("{server} did not answer {TRIES} questions by UDP: does a DNS server run there?"),
        |strange| format!("{server}: {strange}"),
    ))
}

async fn by_tcp(question: &Message, bytes: &[u8], server: &str) -> Result<Message, String> {
    let failed = |error: std::io::Error| format!("cannot ask {server} by TCP: {error}");
    let mut stream = tcp::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(|_| "the question is too long".to_owned())?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await.map_err(failed)?;
    let length = stream.read_u16().await.map_err(failed)?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    let answer = Message::from_vec(&answer).map_err(|error| format!("{server}: what answers is no DNS: {error}"))?;
    if answers(&answer, question) { Ok(answer) } else { Err(format!("{server}: what answers was not asked for")) }
}
