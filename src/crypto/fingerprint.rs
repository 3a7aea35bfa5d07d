//! A repository's fingerprint: what a person pins, so that a forged repository cannot take the real one's place.
//!
//! `fingerprint = first 20 bytes of BLAKE3 derive_key("homelab-dr v1 fingerprint", repository id ‖ root verification key)`, written as `hdr1` and
//! eight groups of four base32 letters. To forge one, 2^160 keys must be tried.

use std::fmt;
use std::str::FromStr;

use crate::base::id::RepositoryId;
use crate::crypto::sign::RootPublic;

/// Bytes of a fingerprint.
const BYTES: usize = 20;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Fingerprint([u8; BYTES]);

/// Text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no fingerprint: hdr1 and eight groups of four letters and digits (a-z, 2-7) are expected")]
pub struct FingerprintError(pub String);

impl Fingerprint {
    /// The fingerprint of a repository.
    #[must_use]
    pub fn of(repository: &RepositoryId, root: &RootPublic) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("homelab-dr v1 fingerprint");
        hasher.update(repository.as_bytes()).update(root.as_bytes());
        let mut bytes = [0; BYTES];
        hasher.finalize_xof().fill(&mut bytes);
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("hdr1")?;
        for (at, letter) in data_encoding::BASE32_NOPAD.encode(&self.0).to_ascii_lowercase().chars().enumerate() {
            if at.is_multiple_of(4) {
                f.write_str("-")?;
            }
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let fail = || FingerprintError(text.to_owned());
        let plain = text.trim().to_ascii_uppercase().replace('-', "");
        let letters = plain.strip_prefix("HDR1").ok_or_else(fail)?;
        let raw = data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| fail())?;
        raw.try_into().map(Self).map_err(|_| fail())
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_both_ways_and_depends_on_id_and_key() {
        let root = RootPublic::new([7; 32]);
        let print = Fingerprint::of(&RepositoryId::new([1; 16]), &root);
        assert_eq!(print.to_string().parse(), Ok(print));
        assert_eq!(print.to_string().to_uppercase().replace('-', "").parse(), Ok(print), "typed in by hand");
        assert_eq!(print.to_string().len(), 4 + 8 * 5);
        assert_ne!(print, Fingerprint::of(&RepositoryId::new([2; 16]), &root));
        assert_ne!(print, Fingerprint::of(&RepositoryId::new([1; 16]), &RootPublic::new([8; 32])));
        for bad in ["", "hdr1", "hdr1-aaaa", "hdr2-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaa"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
