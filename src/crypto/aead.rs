//! ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), by ring's assembly. The tests hold it against the
//! `chacha20poly1305` crate; docs/decisions/0010-seals-by-ring.md says why.

use crate::base::secret::NoRandomness;
use chacha20::hchacha;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

/// Bytes of a tag.
pub(super) const TAG_BYTES: usize = 16;

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No random numbers.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// The cipher took neither this key nor this message: more than 256 GiB, which no blob or record is.
    #[error("the cipher refused to seal")]
    Refused,
}

/// A key that seals and opens. Nonces are the caller's: never the same one twice.
pub(super) struct Cipher(Option<LessSafeKey>);

impl Cipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        // A key of the right length is never refused.
        Self(UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new))
    }

    /// Encrypts in place. After an error nothing in `text` may be stored.
    pub(super) fn seal(&self, nonce: [u8; 12], ad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_BYTES], SealError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.0.as_ref().and_then(|key| {
            let tag = key.seal_in_place_separate_tag(nonce, Aad::from(ad), &mut *text).ok()?;
            tag.as_ref().try_into().ok()
        });
        sealed.ok_or(SealError::Refused)
    }

    /// Decrypts in place if the tag is right; what is in `text` after `None` means nothing.
    #[must_use]
    pub(super) fn open(&self, nonce: [u8; 12], ad: &[u8], text: &mut [u8], tag: &[u8; TAG_BYTES]) -> Option<()> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = Tag::from(*tag);
        self.0.as_ref()?.open_in_place_separate_tag(nonce, Aad::from(ad), tag, text, 0..).ok().map(drop)
    }
}

/// The cipher and nonce that XChaCha20-Poly1305 makes of a key and a nonce of 24 bytes, which may be random.
pub(super) fn extended(key: &[u8; 32], nonce: &[u8; 24]) -> (Cipher, [u8; 12]) {
    let (mut head, mut tail) = ([0; 16], [0; 12]);
    let places = head.iter_mut().chain(tail.iter_mut().skip(4));
    places.zip(nonce).for_each(|(to, from)| *to = *from);
    let key = hchacha::<chacha20::cipher::consts::U10>(key.into(), &head.into());
    (Cipher::new(&key.into()), tail)
}

#[cfg(test)]
mod tests {
    use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
    use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};

    use super::*;

    #[test]
    fn what_cannot_be_sealed_is_an_error() {
        let mut text = *b"never stored";
        assert!(matches!(Cipher(None).seal([0; 12], b"", &mut text), Err(SealError::Refused)));
    }

    #[test]
    fn both_are_what_another_implementation_makes_of_the_same() {
        for length in (0..300).chain([4095, 4096, 4097, 70_000]) {
            let mut random = blake3::Hasher::new().update(&usize::to_le_bytes(length)).finalize_xof();
            let (mut key, mut nonce, mut ad, mut plain) = ([0; 32], [0; 24], [0; 64], vec![0; length]);
            for part in [&mut key[..], &mut nonce, &mut ad, &mut plain] {
                random.fill(part);
            }
            let [short @ .., _, _, _, _, _, _, _, _, _, _, _, _] = nonce;
            let (cipher, long) = extended(&key, &nonce);
            let payload = || Payload { msg: &plain, aad: &ad };
            let expected = [
                (Cipher::new(&key), short, ChaCha20Poly1305::new(&key.into()).encrypt(&short.into(), payload())),
                (cipher, long, XChaCha20Poly1305::new(&key.into()).encrypt(&nonce.into(), payload())),
            ];
            for (cipher, nonce, expected) in expected {
                let mut sealed = plain.clone();
                let tag = cipher.seal(nonce, &ad, &mut sealed).expect("short");
                assert_eq!([&sealed[..], &tag].concat(), expected.expect("short"), "{length} bytes");
                let mut opened = sealed.clone();
                cipher.open(nonce, &ad, &mut opened, &tag).expect("its own tag");
                assert_eq!(opened, plain);
                assert!(cipher.open(nonce, &ad[1..], &mut sealed, &tag).is_none());
            }
        }
    }
}
