//! `dns`: a server that answers badly, or not. One that answers well is dnsmasq, in the lane `servers`.

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;

fn dns(server: Option<String>, addresses: &[&str]) -> Probe {
    let addresses = addresses.iter().map(|address| (*address).to_owned()).collect();
    Probe::Dns { name: "photos.example.org".to_owned(), addresses, server }
}

/// A server that answers each question by what `answer` makes of it; nothing for an empty answer.
async fn by(answer: impl Fn(Message) -> Vec<u8> + Send + 'static) -> Option<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut asked = [0; 4096];
        while let Ok((count, from)) = socket.recv_from(&mut asked).await {
            let answer = answer(Message::from_vec(&asked[..count]).unwrap());
            if !answer.is_empty() {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    Some(address)
}

fn answered(mut message: Message, code: ResponseCode, data: Option<RData>) -> Message {
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = code;
    if let Some(data) = data.filter(|_| message.queries[0].query_type() == RecordType::A) {
        message.add_answer(Record::from_rdata(message.queries[0].name().clone(), 60, data));
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_answers_is_told() {
    let one = || Some(RData::A(A::new(192, 0, 2, 7)));
    let well = by(move |asked| answered(asked, ResponseCode::NoError, one()).to_vec().unwrap()).await;
    assert_eq!(holds(seen(dns(well.clone(), &[])).await), "photos.example.org has 192.0.2.7");
    holds(seen(dns(well.clone(), &["192.0.2.7"])).await);
    not(seen(dns(well, &["192.0.2.7", "192.0.2.8"])).await, &["has 192.0.2.7, and not 192.0.2.8"]);
    for (code, part) in [
        (ResponseCode::NXDomain, "says that there is no photos.example.org"),
        (ResponseCode::Refused, "refuses"),
        (ResponseCode::ServFail, "does not answer about"),
        (ResponseCode::NoError, "knows no address of it"),
    ] {
        let server = by(move |asked| answered(asked, code, None).to_vec().unwrap()).await;
        not(seen(dns(server, &[])).await, &[part]);
    }
    let alias = RData::CNAME(CNAME(Name::from_ascii("elsewhere.example.org.").unwrap()));
    let alias = by(move |asked| answered(asked, ResponseCode::NoError, Some(alias.clone())).to_vec().unwrap()).await;
    not(seen(dns(alias, &[])).await, &["knows no address of it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_silent_or_says_something_else_is_not_believed() {
    let forged = |change: fn(&mut Message)| {
        move |asked: Message| {
            let mut answer = answered(asked, ResponseCode::NoError, Some(RData::A(A::new(192, 0, 2, 7))));
            change(&mut answer);
            answer.to_vec().unwrap()
        }
    };
    for (server, part) in [
        (by(|_| Vec::new()).await, "did not answer"),
        (by(|_| b"rubbish".to_vec()).await, "is no DNS"),
        (by(forged(|answer| answer.metadata.id ^= 1)).await, "no answer to what was asked"),
        (by(forged(|answer| answer.queries.clear())).await, "no answer to what was asked"),
        (by(forged(|answer| answer.metadata.message_type = MessageType::Query)).await, "no answer to what was asked"),
        // What is too long by UDP is asked for by TCP, where nobody listens.
        (by(forged(|answer| answer.metadata.truncation = true)).await, "cannot connect"),
        (Some(nobody().await), ""),
    ] {
        not(look(&dns(server, &[]), &impatient()).await, &[part]);
    }
    let unknown = Probe::Dns { name: "no-such-host.invalid".to_owned(), addresses: Vec::new(), server: None };
    not(seen(unknown).await, &["no-such-host.invalid"]);
    let local = Probe::Dns { name: "localhost".to_owned(), addresses: vec!["127.0.0.1".to_owned()], server: None };
    holds(seen(local).await);
}
