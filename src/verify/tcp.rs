//! A port takes connections. The other kinds that go over the network connect by this, too.

use tokio::net::TcpStream;

use super::{Look, Surroundings, within};

pub(super) async fn look(address: &str, around: &Surroundings) -> Look {
    within(around.limits.answer, address, connect(address)).await.map(|_| "it takes connections".to_owned())
}

/// Connects to `HOST:PORT`; of several addresses of a host the first that answers.
pub(super) async fn connect(address: &str) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                "; nobody listens there: does the server run, and is it this port?"
            }
            _ if error.to_string().contains("lookup address") => {
                "; the name has no address here: a check of dns says more"
            }
            _ => "",
        };
        format!("cannot connect to {address}: {error}{help}")
    })
}

/// Host and port of `HOST:PORT`, without the brackets of an IPv6 address.
pub(super) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
