//! The key with which a machine signs reports (Ed25519): one secret line in a file of that machine, and a public text that stands in every report.
//!
//! It proves that a report is as that machine wrote it; it opens nothing. A signature covers `context ‖ 0 ‖ body`, so that one made for one purpose serves no other.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::{Zeroize as _, Zeroizing};

use crate::base::secret::{NoRandomness, Secret, holds_secret};

const PREFIX: &str = "HOMELAB-DR-REPORT-KEY-1-";
const PUBLIC: &str = "hdr-report1";
/// Checksums find slips of the pen and of the disk, nothing else.
const CHECKSUM_BYTES: usize = 8;
/// So the public text is 14 whole groups of four letters.
const PUBLIC_CHECKSUM_BYTES: usize = 3;

/// The private half.
pub struct ReportKey(Secret);

/// The public half, written as `hdr-report1` and 14 groups of four letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportPublic([u8; 32]);

/// Text that is no key. Never holds the text of a private one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportKeyError {
    /// No private key, or not as it was written.
    #[error("this is no key for reports, or it is damaged: its checksum does not match")]
    Private,
    /// No public key.
    #[error(
        "{0:?} is no public key of reports: {PUBLIC} and 14 groups of four letters and digits (a-z, 2-7) are expected"
    )]
    Public(String),
    /// A secret in the place of a public key.
    #[error("a secret was given where the public key of reports belongs; it is not repeated here")]
    Secret,
    /// A public key with a slip in it.
    #[error("{0:?} has a slip in it: its checksum does not match")]
    Slip(String),
}

/// A signature that was not made with the key over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match")]
pub struct BadReportSignature;

fn checksum<const N: usize>(purpose: &str, payload: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    blake3::Hasher::new_derive_key(purpose).update(payload).finalize_xof().fill(&mut out);
    out
}

fn private_checksum(seed: &[u8]) -> [u8; CHECKSUM_BYTES] {
    checksum("homelab-dr v1 report key checksum", seed)
}

fn public_checksum(key: &[u8]) -> [u8; PUBLIC_CHECKSUM_BYTES] {
    checksum("homelab-dr v1 report public key checksum", key)
}

fn message(context: &str, body: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], body].concat()
}

impl ReportKey {
    /// A fresh key.
    pub fn random() -> Result<Self, NoRandomness> {
        Secret::random().map(Self)
    }

    /// Of its seed.
    #[must_use]
    pub const fn new(seed: Secret) -> Self {
        Self(seed)
    }

    /// The line to keep, without a line end.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut payload = Zeroizing::new(Vec::with_capacity(64));
        payload.extend_from_slice(self.0.expose());
        payload.extend_from_slice(&private_checksum(self.0.expose()));
        let mut letters = data_encoding::BASE32_NOPAD.encode(&payload);
        let text = Zeroizing::new(format!("{PREFIX}{letters}"));
        letters.zeroize();
        text
    }

    /// Reads the line; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, ReportKeyError> {
        let fail = || ReportKeyError::Private;
        let letters = text.trim().strip_prefix(PREFIX).ok_or_else(fail)?;
        let payload = data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| fail())?;
        let payload = Zeroizing::new(payload);
        let (seed, sum) = payload.split_first_chunk::<32>().ok_or_else(fail)?;
        if private_checksum(seed) != *sum {
            return Err(fail());
        }
        Ok(Self(Secret::new(*seed)))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> ReportPublic {
        ReportPublic(SigningKey::from_bytes(self.0.expose()).verifying_key().to_bytes())
    }

    /// Signs `body` for one purpose.
    #[must_use]
    pub fn sign(&self, context: &str, body: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(self.0.expose()).sign(&message(context, body)).to_bytes()
    }
}

impl ReportPublic {
    /// Checks a signature strictly (no malleable keys or signatures).
    pub fn verify(&self, context: &str, body: &[u8], signature: &[u8; 64]) -> Result<(), BadReportSignature> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(&message(context, body), &Signature::from_bytes(signature)))
            .map_err(|_| BadReportSignature)
    }
}

impl fmt::Display for ReportPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PUBLIC)?;
        let bytes = [&self.0[..], &public_checksum(&self.0)].concat();
        for (at, letter) in data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase().chars().enumerate() {
            if at.is_multiple_of(4) {
                f.write_str("-")?;
            }
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

impl FromStr for ReportPublic {
    type Err = ReportKeyError;

    fn from_str(text: &str) -> Result<Self, ReportKeyError> {
        if holds_secret(text) {
            return Err(ReportKeyError::Secret);
        }
        let fail = || ReportKeyError::Public(text.to_owned());
        let plain = text.trim().to_ascii_lowercase();
        let letters = plain.strip_prefix(PUBLIC).ok_or_else(fail)?.replace('-', "").to_ascii_uppercase();
        let bytes = data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| fail())?;
        let (key, sum) = bytes.split_first_chunk::<32>().ok_or_else(fail)?;
        if sum.len() != PUBLIC_CHECKSUM_BYTES {
            return Err(fail());
        }
        if public_checksum(key) != *sum {
            return Err(ReportKeyError::Slip(text.to_owned()));
        }
        Ok(Self(*key))
    }
}

impl serde::Serialize for ReportPublic {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ReportKey {
        ReportKey::new(Secret::new([7; 32]))
    }

    #[test]
    fn both_halves_go_both_ways_and_slips_are_found() {
        let text = key().to_text();
        assert!(holds_secret(&text), "it is never repeated");
        assert_eq!(ReportKey::parse(&format!(" {}\n", *text)).map(|key| key.public()), Ok(key().public()));
        let letters = &text[PREFIX.len()..];
        let slip = format!("{PREFIX}{}{}", if letters.starts_with('A') { 'B' } else { 'A' }, &letters[1..]);
        for bad in ["", "AGE-SECRET-KEY-1", PREFIX, &slip, &text[..text.len() - 1]] {
            assert!(ReportKey::parse(bad).is_err(), "{bad}");
        }
        let public = key().public();
        let text = public.to_string();
        assert_eq!((text.len(), text.parse()), (PUBLIC.len() + 14 * 5, Ok(public)));
        assert_eq!(text.to_uppercase().parse(), Ok(public), "typed in by hand");
        let last = if text.ends_with('a') { "b" } else { "a" };
        let slip = format!("{}{last}", &text[..text.len() - 1]);
        assert_eq!(slip.parse::<ReportPublic>(), Err(ReportKeyError::Slip(slip.clone())));
        let at = PUBLIC.len() + 11;
        let other = if text[at..].starts_with('a') { "b" } else { "a" };
        let slip = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        assert_eq!(slip.parse::<ReportPublic>(), Err(ReportKeyError::Slip(slip.clone())), "in the key itself");
        assert_eq!(key().to_text().parse::<ReportPublic>(), Err(ReportKeyError::Secret));
        for bad in ["", "hdr-report1", "hdr1-aaaa", &text[..text.len() - 5]] {
            assert_eq!(bad.parse::<ReportPublic>(), Err(ReportKeyError::Public(bad.to_owned())));
        }
    }

    #[test]
    fn a_signature_is_for_one_key_context_and_body() {
        let signature = key().sign("a", b"body");
        let public = key().public();
        assert_eq!(public.verify("a", b"body", &signature), Ok(()));
        assert_eq!(public.verify("b", b"body", &signature), Err(BadReportSignature));
        assert_eq!(public.verify("a", b"bodY", &signature), Err(BadReportSignature));
        let other = ReportKey::new(Secret::new([8; 32])).public();
        assert_eq!(other.verify("a", b"body", &signature), Err(BadReportSignature));
    }
}
