//! Key material that wipes itself, cannot be printed and cannot be copied by accident.

use std::fmt;

use zeroize::Zeroize;

/// The operating system gave no random numbers; nothing can be sealed without.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random numbers")]
pub struct NoRandomness(#[source] Box<dyn std::error::Error + Send + Sync>);

/// `N` fresh random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    #[cfg(test)]
    if seeded::fill(&mut bytes) {
        return Ok(bytes);
    }
    getrandom::fill(&mut bytes).map_err(|error| NoRandomness(Box::new(error)))?;
    Ok(bytes)
}

/// For the simulation: the same numbers every time, in this thread.
#[cfg(test)]
pub(crate) mod seeded {
    use std::cell::RefCell;

    thread_local! {
        static SOURCE: RefCell<Option<blake3::OutputReader>> = const { RefCell::new(None) };
    }

    /// From now on this thread draws what follows from `seed`; `None` ends that.
    pub(crate) fn set(seed: Option<u64>) {
        let source = seed
            .map(|seed| blake3::hash(&seed.to_le_bytes()))
            .map(|seed| blake3::Hasher::new_keyed(seed.as_bytes()).finalize_xof());
        SOURCE.with_borrow_mut(|old| *old = source);
    }

    pub(super) fn fill(bytes: &mut [u8]) -> bool {
        SOURCE.with_borrow_mut(|source| source.as_mut().map(|source| source.fill(bytes)).is_some())
    }
}

/// 32 secret bytes.
pub struct Secret(Box<[u8; 32]>);

impl Secret {
    /// Takes over key material.
    #[must_use]
    pub fn new(mut bytes: [u8; 32]) -> Self {
        let secret = Self(Box::new(bytes));
        bytes.zeroize();
        secret
    }

    /// A fresh key.
    pub fn random() -> Result<Self, NoRandomness> {
        random().map(Self::new)
    }

    /// The key itself, for the functions of this layer and for what is sealed to recipients.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A second holder of the same key, said out loud.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(Box::new(*self.0))
    }

    /// A key for one purpose: BLAKE3's key derivation under `context`.
    #[must_use]
    pub fn derive(&self, context: &str) -> Self {
        Self::new(blake3::derive_key(context, self.expose()))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<C> minicbor::Encode<C> for Secret {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.expose())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Secret {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message("a key is 32 bytes"))?;
        Ok(Self::new(bytes))
    }
}

/// Whether a text is or holds one of our secrets: pasted where it does not belong, it must not be repeated.
#[must_use]
pub fn holds_secret(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let marks = ["AGE-SECRET-KEY-", "AGE-PLUGIN-", "HOMELAB-DR-WRITER-", "HOMELAB-DR-REPORT-KEY-", "PRIVATE KEY"];
    marks.iter().any(|mark| upper.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_recognised() {
        assert!(holds_secret("age-secret-key-1qqq"));
        assert!(holds_secret("x homelab-dr-writer-1-abc"));
        assert!(!holds_secret("/root/key.txt"));
    }

    #[test]
    fn a_secret_does_not_print() {
        let printed = format!("{:?}", Secret::new([0x41; 32]));
        assert_eq!(printed, "Secret(…)");
    }

    #[test]
    fn derived_keys_differ_by_purpose() {
        let key = Secret::new([1; 32]);
        assert_ne!(key.derive("a").expose(), key.derive("b").expose());
        assert_ne!(Secret::random().expect("random").expose(), Secret::random().expect("random").expose());
    }
}
