//! Content: ChaCha20-Poly1305 under a session's key, which is wrapped to the epoch's public key and never kept.
//!
//! ```text
//! blob        = (version u8 = 1 ‖ counter u64le) XOR first 9 bytes of the blob's id ‖ ciphertext ‖ tag [16]
//! nonce (12)  = counter u64le ‖ 0 [4]
//! ad (64)     = as in `meta`, with kind = 1 (data) and the blob's id
//! session id  = BLAKE3 derive_key("homelab-dr v1 session id", content key)
//! wrap (112)  = ephemeral X25519 public key [32] ‖ session id [32] ‖ ChaCha20-Poly1305(key, nonce 0, ad = as in `meta` with kind 23 and the session id)(content key) [48]
//! wrap's key  = BLAKE3 derive_key("homelab-dr v1 session wrap", shared ‖ ephemeral public ‖ epoch public)
//! ```
//! The counter is this process's alone, and so is the key: a nonce cannot repeat. The session id is a commitment to the key, checked after unwrapping. The head is
//! masked with the blob's id, which an observer of the store does not know, so that nothing in a pack shows where one blob ends and the next begins.

use std::sync::atomic::{AtomicU64, Ordering};

use minicbor::{Decode, Encode};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::base::id::{BlobId, RepositoryId, SessionId};
use crate::base::secret::{NoRandomness, Secret};
use crate::crypto::aead::{Cipher, SealError, TAG_BYTES};
use crate::crypto::meta::{SEAL_VERSION, associated_data, masked};
use crate::format::kind::{Kind, RecordKind};

/// Bytes before the ciphertext of a content blob.
pub const CONTENT_HEAD: usize = 1 + 8;
/// Length of a wrapped content key.
pub const WRAP_BYTES: usize = 32 + 32 + 48;

/// Why content or a wrapped key did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// Shorter than any seal.
    #[error("sealed content is cut short")]
    Short,
    /// Of a later format.
    #[error("sealed with version {0}, which this program does not know")]
    Version(u8),
    /// Wrong key, or the bytes were changed.
    #[error("the seal does not open: wrong key or changed bytes")]
    Broken,
    /// The wrapped key is not the one that the session's id commits to.
    #[error("the wrapped key does not match its session id")]
    Commitment,
}

/// The content key of one writing process: seals, and is gone with the process.
pub struct ContentSealer {
    key: ContentKey,
    counter: AtomicU64,
}

/// A content key that opens (and, inside [`ContentSealer`], seals).
pub struct ContentKey {
    repository: RepositoryId,
    epoch: u32,
    id: SessionId,
    secret: Secret,
    cipher: Cipher,
}

/// A content key on its way to who restores one snapshot and holds no identity: what its session sealed can be read with it, and nothing else.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct HandedKey {
    #[n(0)]
    epoch: u32,
    #[n(1)]
    key: Secret,
}

/// The nonce of a wrap: its key is used once.
const NONCE_OF_WRAPS: [u8; 12] = [0; 12];

fn nonce(counter: [u8; 8]) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce.iter_mut().zip(counter).for_each(|(to, from)| *to = from);
    nonce
}

fn session_id(key: &Secret) -> SessionId {
    SessionId::new(blake3::derive_key("homelab-dr v1 session id", key.expose()))
}

fn wrap_key(shared: &[u8; 32], ephemeral: &PublicKey, epoch_public: &[u8; 32]) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key("homelab-dr v1 session wrap");
    hasher.update(shared).update(ephemeral.as_bytes()).update(epoch_public);
    Secret::new(*hasher.finalize().as_bytes())
}

impl ContentSealer {
    /// Draws a fresh key and wraps it to the epoch's public key; returns the sealer and the wrap (`WRAP_BYTES`).
    pub fn new(
        repository: RepositoryId,
        epoch: u32,
        epoch_public: &[u8; 32],
    ) -> Result<(Self, [u8; WRAP_BYTES]), SealError> {
        let secret = Secret::random()?;
        let id = session_id(&secret);
        let ephemeral_seed = Secret::random()?;
        let ephemeral = StaticSecret::from(*ephemeral_seed.expose());
        let ephemeral_public = PublicKey::from(&ephemeral);
        let shared = ephemeral.diffie_hellman(&PublicKey::from(*epoch_public));
        let kek = wrap_key(shared.as_bytes(), &ephemeral_public, epoch_public);
        let ad = associated_data(&repository, epoch, RecordKind::Session as u8, id.as_bytes());
        let mut sealed = *secret.expose();
        let tag = Cipher::new(kek.expose()).seal(NONCE_OF_WRAPS, &ad, &mut sealed)?;
        let mut wrap = [0; WRAP_BYTES];
        let parts: [&[u8]; 4] = [ephemeral_public.as_bytes(), id.as_bytes(), &sealed, &tag];
        for (to, from) in wrap.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        let key = ContentKey::new(repository, epoch, secret);
        Ok((Self { key, counter: AtomicU64::new(0) }, wrap))
    }

    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.key.id
    }

    /// Seals in place: `buffer` holds [`CONTENT_HEAD`] bytes of any value and then the plaintext, and becomes the sealed blob.
    /// After an error it holds nothing that may be stored.
    pub fn seal(&self, id: &BlobId, buffer: &mut Vec<u8>) -> Result<(), SealError> {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed);
        let ad = associated_data(&self.key.repository, self.key.epoch, Kind::Data.number(), id.as_bytes());
        let Some((head, plain)) = buffer.split_first_chunk_mut::<CONTENT_HEAD>() else {
            return Err(SealError::Refused);
        };
        let [version, rest @ ..] = &mut *head;
        *version = SEAL_VERSION;
        *rest = counter.to_le_bytes();
        *head = masked(*head, id.as_bytes());
        let tag = self.key.cipher.seal(nonce(counter.to_le_bytes()), &ad, plain)?;
        buffer.extend_from_slice(&tag);
        Ok(())
    }
}

impl ContentKey {
    /// Opens a wrap with the epoch's private key and checks the commitment.
    pub fn unwrap(
        repository: RepositoryId,
        epoch: u32,
        epoch_secret: &Secret,
        wrap: &[u8],
    ) -> Result<Self, ContentError> {
        let (ephemeral, rest) = wrap.split_first_chunk::<32>().ok_or(ContentError::Short)?;
        let (id, rest) = rest.split_first_chunk::<32>().ok_or(ContentError::Short)?;
        let (sealed, rest) = rest.split_first_chunk::<32>().ok_or(ContentError::Short)?;
        let tag: &[u8; TAG_BYTES] = rest.try_into().map_err(|_| ContentError::Short)?;
        let secret = StaticSecret::from(*epoch_secret.expose());
        let public = PublicKey::from(&secret);
        let ephemeral = PublicKey::from(*ephemeral);
        let shared = secret.diffie_hellman(&ephemeral);
        let kek = wrap_key(shared.as_bytes(), &ephemeral, public.as_bytes());
        let ad = associated_data(&repository, epoch, RecordKind::Session as u8, id);
        let mut key = *sealed;
        Cipher::new(kek.expose()).open(NONCE_OF_WRAPS, &ad, &mut key, tag).ok_or(ContentError::Broken)?;
        let key = Secret::new(key);
        let id = SessionId::new(*id);
        if session_id(&key) != id {
            return Err(ContentError::Commitment);
        }
        Ok(Self::new(repository, epoch, key))
    }

    fn new(repository: RepositoryId, epoch: u32, secret: Secret) -> Self {
        let cipher = Cipher::new(secret.expose());
        Self { repository, epoch, id: session_id(&secret), secret, cipher }
    }

    /// For who restores one snapshot and holds no identity.
    #[must_use]
    pub fn handed(&self) -> HandedKey {
        HandedKey { epoch: self.epoch, key: self.secret.duplicate() }
    }

    /// A key that was handed over. Which session it is of follows from it.
    #[must_use]
    pub fn of_handed(repository: RepositoryId, handed: HandedKey) -> Self {
        Self::new(repository, handed.epoch, handed.key)
    }

    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Opens a sealed blob into `plain`, whose content it replaces; the plaintext is as it was given to `seal`. Nothing is left there after an error.
    pub fn open(&self, id: &BlobId, sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), ContentError> {
        plain.clear();
        let (head, rest) = sealed.split_first_chunk::<CONTENT_HEAD>().ok_or(ContentError::Short)?;
        let [version, counter @ ..] = masked(*head, id.as_bytes());
        if version != SEAL_VERSION {
            return Err(ContentError::Version(version));
        }
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(ContentError::Short)?;
        let ad = associated_data(&self.repository, self.epoch, Kind::Data.number(), id.as_bytes());
        plain.extend_from_slice(ciphertext);
        self.cipher.open(nonce(counter), &ad, plain, tag).ok_or_else(|| {
            plain.clear();
            ContentError::Broken
        })
    }
}

/// A fresh X25519 key pair of an epoch: private, public.
pub fn epoch_key_pair() -> Result<(Secret, [u8; 32]), NoRandomness> {
    let secret = Secret::random()?;
    let public = epoch_public(&secret);
    Ok((secret, public))
}

/// The public half of an epoch's private key.
#[must_use]
pub fn epoch_public(secret: &Secret) -> [u8; 32] {
    *PublicKey::from(&StaticSecret::from(*secret.expose())).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: RepositoryId = RepositoryId::new([5; 16]);

    fn sealed(sealer: &ContentSealer, id: &BlobId, plain: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; CONTENT_HEAD];
        buffer.extend_from_slice(plain);
        sealer.seal(id, &mut buffer).expect("short");
        buffer
    }

    #[test]
    fn only_the_epochs_private_key_opens_what_a_session_sealed() {
        let (secret, public) = epoch_key_pair().expect("random");
        let (sealer, wrap) = ContentSealer::new(REPOSITORY, 1, &public).expect("random");
        let id = BlobId::new([1; 32]);
        let blob = sealed(&sealer, &id, b"a secret");
        let key = ContentKey::unwrap(REPOSITORY, 1, &secret, &wrap).expect("the right key");
        assert_eq!(key.id(), sealer.id());
        let mut plain = b"of the blob before".to_vec();
        key.open(&id, &blob, &mut plain).expect("the right key");
        assert_eq!(plain, b"a secret");
        assert!(key.open(&BlobId::new([2; 32]), &blob, &mut plain).is_err());
        assert_eq!(plain, b"");

        let (other, _) = epoch_key_pair().expect("random");
        assert_eq!(ContentKey::unwrap(REPOSITORY, 1, &other, &wrap).err(), Some(ContentError::Broken));
        assert_eq!(ContentKey::unwrap(REPOSITORY, 2, &secret, &wrap).err(), Some(ContentError::Broken));
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let (secret, public) = epoch_key_pair().expect("random");
        let (sealer, wrap) = ContentSealer::new(REPOSITORY, 1, &public).expect("random");
        let id = BlobId::new([1; 32]);
        let blob = sealed(&sealer, &id, b"abc");
        let key = ContentKey::unwrap(REPOSITORY, 1, &secret, &wrap).expect("the right key");
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            changed[at] ^= 1;
            assert!(key.open(&id, &changed, &mut Vec::new()).is_err(), "byte {at}");
            assert!(key.open(&id, &blob[..at], &mut Vec::new()).is_err(), "cut at {at}");
        }
        for at in 0..wrap.len() {
            let mut changed = wrap;
            changed[at] ^= 1;
            // X25519 ignores the top bit of a public key, but the key derivation does not.
            assert!(ContentKey::unwrap(REPOSITORY, 1, &secret, &changed).is_err(), "byte {at}");
            assert!(ContentKey::unwrap(REPOSITORY, 1, &secret, &wrap[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn nonces_of_a_session_differ() {
        let (_, public) = epoch_key_pair().expect("random");
        let (sealer, _) = ContentSealer::new(REPOSITORY, 1, &public).expect("random");
        let id = BlobId::new([1; 32]);
        let (a, b) = (sealed(&sealer, &id, b"same"), sealed(&sealer, &id, b"same"));
        assert_ne!(a[1..9], b[1..9]);
        assert_ne!(a[9..], b[9..]);
    }
}
