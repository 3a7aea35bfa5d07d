//! The writer key: the one secret a cluster holds. One line of text with a checksum; docs/format.md §4.
//!
//! With it: add, deduplicate, list, forget, prune, check what is stored, replicate. Not with it: read any content.

use zeroize::{Zeroize, Zeroizing};

use crate::base::id::RepositoryId;
use crate::base::secret::Secret;
use crate::crypto::fingerprint::Fingerprint;
use crate::crypto::sign::RootPublic;

const PREFIX: &str = "homelab-dr-writer-1-";
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

/// See the module.
pub struct WriterKey {
    /// Which repository it is for.
    pub repository: RepositoryId,
    /// Verifies epoch records, and with the id makes the fingerprint.
    pub root: RootPublic,
    /// The epoch whose metadata key this is.
    pub epoch: u32,
    /// Seals and opens metadata.
    pub metadata_key: Secret,
    /// Makes blob ids.
    pub chunk_id_key: Secret,
    /// Decides where files are cut.
    pub chunker_key: Secret,
}

/// Why a text is no writer key. Never holds the text itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriterKeyError {
    /// Something else altogether, such as an identity.
    #[error("this is no writer key: it does not begin with {PREFIX}")]
    Prefix,
    /// A typing or copying mistake.
    #[error("the writer key is damaged: its checksum does not match (cut off, or a letter changed)")]
    Checksum,
    /// Of a later program.
    #[error("the writer key has version {0}, which this program does not know")]
    Version(u8),
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut out = [0; CHECKSUM_BYTES];
    blake3::Hasher::new_derive_key("homelab-dr v1 writer key checksum").update(payload).finalize_xof().fill(&mut out);
    out
}

impl WriterKey {
    /// The fingerprint it pins.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.repository, &self.root)
    }

    /// The line to keep, without a line end.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut payload = Vec::with_capacity(256);
        payload.push(VERSION);
        payload.extend_from_slice(self.repository.as_bytes());
        payload.extend_from_slice(self.root.as_bytes());
        payload.extend_from_slice(&self.epoch.to_le_bytes());
        for key in [&self.metadata_key, &self.chunk_id_key, &self.chunker_key] {
            payload.extend_from_slice(key.expose());
        }
        payload.extend_from_slice(&checksum(&payload));
        let mut letters = data_encoding::BASE32_NOPAD.encode(&payload);
        payload.zeroize();
        letters.make_ascii_lowercase();
        let text = Zeroizing::new(format!("{PREFIX}{letters}"));
        letters.zeroize();
        text
    }

    /// Parses the line; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, WriterKeyError> {
        let letters = text.trim().strip_prefix(PREFIX).ok_or(WriterKeyError::Prefix)?;
        let letters = Zeroizing::new(letters.to_ascii_uppercase());
        let payload = data_encoding::BASE32_NOPAD.decode(letters.as_bytes()).map_err(|_| WriterKeyError::Checksum)?;
        let payload = Zeroizing::new(payload);
        let (body, sum) = payload.split_last_chunk::<CHECKSUM_BYTES>().ok_or(WriterKeyError::Checksum)?;
        if checksum(body) != *sum {
            return Err(WriterKeyError::Checksum);
        }
        let (version, rest) = body.split_first().ok_or(WriterKeyError::Checksum)?;
        if *version != VERSION {
            return Err(WriterKeyError::Version(*version));
        }
        let take = || WriterKeyError::Checksum;
        let (repository, rest) = rest.split_first_chunk::<16>().ok_or_else(take)?;
        let (root, rest) = rest.split_first_chunk::<32>().ok_or_else(take)?;
        let (epoch, rest) = rest.split_first_chunk::<4>().ok_or_else(take)?;
        let (metadata, rest) = rest.split_first_chunk::<32>().ok_or_else(take)?;
        let (chunk_id, rest) = rest.split_first_chunk::<32>().ok_or_else(take)?;
        let chunker: &[u8; 32] = rest.try_into().map_err(|_| take())?;
        Ok(Self {
            repository: RepositoryId::new(*repository),
            root: RootPublic::new(*root),
            epoch: u32::from_le_bytes(*epoch),
            metadata_key: Secret::new(*metadata),
            chunk_id_key: Secret::new(*chunk_id),
            chunker_key: Secret::new(*chunker),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> WriterKey {
        WriterKey {
            repository: RepositoryId::new([1; 16]),
            root: RootPublic::new([2; 32]),
            epoch: 3,
            metadata_key: Secret::new([4; 32]),
            chunk_id_key: Secret::new([5; 32]),
            chunker_key: Secret::new([6; 32]),
        }
    }

    #[test]
    fn the_line_goes_both_ways() {
        let text = key().to_text();
        let back = WriterKey::parse(&format!("  {}\n", *text)).expect("its own text");
        assert_eq!(back.fingerprint(), key().fingerprint());
        assert_eq!(back.epoch, 3);
        assert_eq!(*back.to_text(), *text);
    }

    #[test]
    fn every_wrong_or_missing_letter_is_noticed() {
        let text = key().to_text();
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'b' { b'c' } else { b'b' };
            let changed = String::from_utf8(changed).expect("ascii");
            assert!(WriterKey::parse(&changed).is_err(), "letter {at}");
            assert!(WriterKey::parse(&text[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(WriterKey::parse("AGE-SECRET-KEY-1QQ").err(), Some(WriterKeyError::Prefix));
    }
}
