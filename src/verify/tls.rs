//! A certificate is trusted, is for a name, and lasts.
//!
//! The chain is judged as it would be when the time that it has to last is over: then everything in it has to be valid still, the intermediates too.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use super::trust::{self, Anybody};
use super::{Look, Surroundings, tcp, within};
use crate::base::units;

pub(super) async fn look(address: &str, name: Option<&str>, valid_for: Duration, around: &Surroundings) -> Look {
    let name = trust::name(name.unwrap_or_else(|| tcp::host(address)))?;
    let judge = around.roots.judge()?;
    let shaken = async {
        let stream = tcp::connect(address).await?;
        trust::handshake(stream, name.clone(), Arc::new(Anybody), around.clock.now()).await
    };
    let stream = within(around.limits.answer, address, shaken).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some((own, others)) = chain.split_first() else { return Err(format!("{address} showed no certificate")) };
    let at = |time: UnixTime| judge.verify_server_cert(own, others, &name, &[], time);
    let now = around.clock.now();
    at(trust::unix(now)).map_err(|error| trust::told(&error))?;
    let is_over = |error: &Error| {
        let Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) = error else { return None };
        Some(trust::day(*not_after))
    };
    match at(trust::unix(now.after(valid_for))) {
        Ok(_) => {
            // Every chain ends at some time: asked for a late one, the judge says when.
            let end = at(UnixTime::since_unix_epoch(Duration::from_hours(24 * 365 * 200))).err();
            let until = end.as_ref().and_then(is_over).map(|end| format!(" until {end}")).unwrap_or_default();
            Ok(format!("its certificate for {} is trusted and valid{until}", name.to_str()))
        }
        Err(error) => match is_over(&error) {
            Some(end) => Err(format!(
                "its certificate for {} is trusted and ends on {end}, in {}; it should last {} at least: is its renewal stuck?",
                name.to_str(),
                units::duration(Duration::from_secs(end.since(now).as_secs())),
                units::duration(valid_for)
            )),
            None => Err(format!("when {} are over: {}", units::duration(valid_for), trust::told(&error))),
        },
    }
}
