//! The greeting of a server, and logging in.
//!
//! `mysql_native_password` (MariaDB) and `caching_sha2_password` (MySQL 8 and later). The latter wants the password itself from who logs in for the first time since
//! the server started, as after every restore: it is given through TLS, and not without.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::{Reading, Wire};
use super::{END, ERROR, OK, refused, strange};

/// What both sides can do, as bits.
const LONG_PASSWORD: u32 = 0x1;
const WITH_DATABASE: u32 = 0x8;
const PROTOCOL_41: u32 = 0x200;
pub(super) const TLS: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE: u32 = 0x8000;
const PLUGINS: u32 = 0x8_0000;
/// Longest packet that we take.
const PACKET_BYTES_MAX: u32 = 4 << 20;
/// utf8mb4, which servers since 2010 have.
const CHARACTERS: u8 = 45;
/// More is asked back in this place: by `caching_sha2_password`.
const MORE: u8 = 1;
const KNOWN: u8 = 3;
const IN_FULL: u8 = 4;
/// Bytes of what a password is mixed with.
const SCRAMBLE_BYTES: usize = 20;
/// Turns of talk until somebody is in: two are usual.
const TURNS_MAX: usize = 8;

/// What a server says first.
#[derive(Debug)]
pub(super) struct Greeting {
    can: u32,
    scramble: Vec<u8>,
    plugin: String,
}

impl Greeting {
    pub(super) fn read(packet: &[u8]) -> Result<Self, String> {
        let mut reading = Reading(packet);
        match reading.number(1) {
            Some(10) => {}
            Some(number) if number == u64::from(ERROR) => return Err(refused(reading.rest())),
            _ => return Err(strange("its greeting")),
        }
        reading.text();
        let read = |reading: &mut Reading<'_>| {
            reading.take(4)?;
            let mut scramble = reading.take(8)?.to_vec();
            reading.take(1)?;
            let low = reading.number(2)?;
            reading.take(3)?;
            let high = reading.number(2)?;
            let length = usize::try_from(reading.number(1)?).ok()?;
            reading.take(10)?;
            scramble.extend_from_slice(reading.take(length.saturating_sub(8).max(13))?);
            scramble.truncate(SCRAMBLE_BYTES);
            let can = u32::try_from(high << 16 | low).ok()?;
            let plugin = String::from_utf8_lossy(reading.text()).into_owned();
            Some(Self { can, scramble, plugin })
        };
        let greeting = read(&mut reading).ok_or_else(|| strange("its greeting is cut off"))?;
        if greeting.offers(PROTOCOL_41 | SECURE) {
            Ok(greeting)
        } else {
            Err("the server is from before 2005".to_owned())
        }
    }

    pub(super) const fn offers(&self, what: u32) -> bool {
        self.can & what == what
    }
}

/// Who wants to be let in.
pub(super) struct Login<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub database: Option<&'a str>,
}

/// What a password is answered with.
pub(super) fn answer(plugin: &str, password: &str, scramble: &[u8]) -> Result<Vec<u8>, String> {
    let mixed = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a ^ b).collect();
    if password.is_empty() {
        return Ok(Vec::new());
    }
    match plugin {
        "mysql_native_password" => {
            let once = Sha1::digest(password);
            let both = Sha1::new().chain_update(scramble).chain_update(Sha1::digest(once)).finalize();
            Ok(mixed(&once, &both))
        }
        "caching_sha2_password" => {
            let once = Sha256::digest(password);
            let both = Sha256::new().chain_update(Sha256::digest(once)).chain_update(scramble).finalize();
            Ok(mixed(&once, &both))
        }
        other => Err(format!(
            "the server wants {other:?}, which this check does not know: give it a user with mysql_native_password or caching_sha2_password"
        )),
    }
}

impl Login<'_> {
    fn wants(&self, greeting: &Greeting) -> u32 {
        let database = if self.database.is_some() { WITH_DATABASE } else { 0 };
        let tls = greeting.can & TLS;
        LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE | (greeting.can & PLUGINS) | database | tls
    }

    /// The wish for TLS: the beginning of what is said once more inside of it.
    pub(super) fn wish(&self, greeting: &Greeting) -> Vec<u8> {
        let mut wish = [self.wants(greeting).to_le_bytes(), PACKET_BYTES_MAX.to_le_bytes()].concat();
        wish.push(CHARACTERS);
        wish.resize(32, 0);
        wish
    }

    fn said(&self, greeting: &Greeting) -> Result<Vec<u8>, String> {
        // For what we do not know the server offers something else.
        let known = answer(&greeting.plugin, self.password, &greeting.scramble);
        let (plugin, answered) = match known {
            Ok(answered) => (greeting.plugin.as_str(), answered),
            Err(_) => ("mysql_native_password", answer("mysql_native_password", self.password, &greeting.scramble)?),
        };
        let mut said = self.wish(greeting);
        said.extend_from_slice(self.user.as_bytes());
        said.push(0);
        said.push(u8::try_from(answered.len()).unwrap_or(0));
        said.extend_from_slice(&answered);
        for text in self.database.into_iter().chain(greeting.offers(PLUGINS).then_some(plugin)) {
            said.extend_from_slice(text.as_bytes());
            said.push(0);
        }
        Ok(said)
    }

    /// Logs in.
    pub(super) async fn run<S>(&self, greeting: &Greeting, wire: &mut Wire<S>) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        wire.send(&self.said(greeting)?).await?;
        for _ in 0..TURNS_MAX {
            let packet = wire.packet().await?;
            let mut reading = Reading(packet.get(1..).unwrap_or_default());
            match (packet.first(), packet.get(1)) {
                (Some(&OK), _) => return Ok(()),
                (Some(&ERROR), _) => return Err(refused(reading.rest())),
                (Some(&END), Some(_)) => {
                    let plugin = String::from_utf8_lossy(reading.text()).into_owned();
                    let scramble: Vec<u8> = reading.rest().iter().copied().take(SCRAMBLE_BYTES).collect();
                    wire.send(&answer(&plugin, self.password, &scramble)?).await?;
                }
                (Some(&MORE), Some(&KNOWN)) => {}
                (Some(&MORE), Some(&IN_FULL)) if greeting.offers(TLS) => {
                    wire.send(&[self.password.as_bytes(), &[0]].concat()).await?;
                }
                (Some(&MORE), Some(&IN_FULL)) => {
                    let what = "the server wants the password in clear, and offers no TLS for it";
                    return Err(format!("{what}: let it have a certificate, or log in once in another way"));
                }
                _ => return Err(strange("how it lets somebody in")),
            }
        }
        Err(strange("it never lets anybody in"))
    }
}
