//! The root signing key (Ed25519): its private half exists only inside `access/`, sealed to the recipients.
//!
//! A signature covers `context ‖ 0 ‖ repository id ‖ body`, so that one made for one purpose or repository serves no other.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::base::id::RepositoryId;
use crate::base::secret::Secret;

/// The context of an epoch record's signature.
pub const EPOCH: &str = "homelab-dr v1 epoch";

/// A signature that was not made by the key over these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match: not made by this repository's root key, or the record was changed")]
pub struct BadSignature;

/// The public half.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootPublic([u8; 32]);

fn message(context: &str, repository: &RepositoryId, body: &[u8]) -> Vec<u8> {
    [context.as_bytes(), &[0], repository.as_bytes(), body].concat()
}

/// Signs `body` with the root key whose seed is `root`.
#[must_use]
pub fn sign(root: &Secret, context: &str, repository: &RepositoryId, body: &[u8]) -> [u8; 64] {
    SigningKey::from_bytes(root.expose()).sign(&message(context, repository, body)).to_bytes()
}

impl RootPublic {
    /// Wraps the 32 bytes of a verification key.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The public half of a seed.
    #[must_use]
    pub fn of(root: &Secret) -> Self {
        Self(SigningKey::from_bytes(root.expose()).verifying_key().to_bytes())
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks a signature strictly (no malleable keys or signatures).
    pub fn verify(
        &self,
        context: &str,
        repository: &RepositoryId,
        body: &[u8],
        signature: &[u8; 64],
    ) -> Result<(), BadSignature> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(&message(context, repository, body), &Signature::from_bytes(signature)))
            .map_err(|_| BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_key_context_repository_and_body() {
        let root = Secret::new([1; 32]);
        let repository = RepositoryId::new([2; 16]);
        let signature = sign(&root, EPOCH, &repository, b"body");
        let public = RootPublic::of(&root);
        assert_eq!(public.verify(EPOCH, &repository, b"body", &signature), Ok(()));
        assert_eq!(public.verify("other", &repository, b"body", &signature), Err(BadSignature));
        assert_eq!(public.verify(EPOCH, &RepositoryId::new([3; 16]), b"body", &signature), Err(BadSignature));
        assert_eq!(public.verify(EPOCH, &repository, b"bodY", &signature), Err(BadSignature));
        let other = RootPublic::of(&Secret::new([4; 32]));
        assert_eq!(other.verify(EPOCH, &repository, b"body", &signature), Err(BadSignature));
    }
}
