//! The checks of runbooks: what holds, what does not, what cannot be carried out, who is silent, and rubbish from the other side.

mod dns;
mod network;
mod objects;
mod program;
mod restored;
mod servers;
pub(crate) mod trusted;

use std::sync::Arc;
use std::time::Duration;

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::runbook::{Answer, Probe, Query};
use homelab_dr::runs::hands::OnThisMachine;
use homelab_dr::verify::{Limits, Seen, Surroundings, look};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Nothing but this machine, with time for a slow one.
fn around() -> Surroundings {
    let around = Surroundings::new(Arc::new(SystemClock), Arc::new(Cancel::default()), Arc::new(OnThisMachine));
    Surroundings { limits: patient(Duration::from_secs(60)), ..around }
}

/// The same for who is waited for in vain.
fn impatient() -> Surroundings {
    Surroundings { limits: patient(Duration::from_secs(1)), ..around() }
}

fn patient(time: Duration) -> Limits {
    Limits { answer: time, query: time, start: time }
}

#[track_caller]
fn holds(seen: Seen) -> String {
    match seen {
        Seen::Holds(said) => said,
        Seen::Not(why) => panic!("it does not hold: {why}"),
    }
}

/// Insists that a check does not hold, and on what it says.
#[track_caller]
fn not(seen: Seen, parts: &[&str]) -> String {
    let Seen::Not(why) = seen else { panic!("it holds: {seen:?}") };
    for part in parts {
        assert!(why.contains(part), "{part:?} is not in {why}");
    }
    why
}

fn query(address: Option<String>, query: &str, answer: Answer) -> Query {
    Query { address, database: None, user: None, password_file: None, query: query.to_owned(), answer }
}

/// What a server of ours does with each connection.
#[derive(Clone)]
enum Does {
    /// Reads what comes first, sends this, and hangs up.
    Says(Vec<u8>),
    /// Sends this before anything is asked, and hangs up when something was.
    Greets(Vec<u8>),
    /// Sends this before anything is asked, and then nothing for ever.
    Begins(Vec<u8>),
    /// Reads what comes first, sends this, and then this again and again.
    GoesOn(Vec<u8>, Vec<u8>),
}

impl Does {
    async fn run(self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut asked = [0; 4096];
        match self {
            Self::Says(bytes) => {
                stream.read(&mut asked).await.map(drop)?;
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            }
            Self::Greets(bytes) => {
                stream.write_all(&bytes).await?;
                stream.shutdown().await?;
                stream.read(&mut asked).await.map(drop)
            }
            Self::Begins(bytes) => {
                stream.write_all(&bytes).await?;
                std::future::pending().await
            }
            Self::GoesOn(head, more) => {
                stream.read(&mut asked).await.map(drop)?;
                stream.write_all(&head).await?;
                loop {
                    stream.write_all(&more).await?;
                }
            }
        }
    }
}

/// A server on loopback, which ends with the test; its `HOST:PORT`.
async fn server(does: Does) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(does.clone().run(stream));
        }
    });
    address
}

/// A port that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn seen(probe: Probe) -> Seen {
    look(&probe, &around()).await
}
