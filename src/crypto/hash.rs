//! Ids: of stored bytes (plain BLAKE3, anyone can check) and of chunks (keyed, so that only a holder of the key can guess).

use crate::base::id::{BlobId, ObjectId};
use crate::base::secret::Secret;
use crate::format::kind::Kind;

/// BLAKE3 of an object's stored bytes.
#[must_use]
pub fn object_id(stored: &[u8]) -> ObjectId {
    ObjectId::new(*blake3::hash(stored).as_bytes())
}

/// SHA-256 of what others have made: the only hash that some of them know.
pub struct Sha256(ring::digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// Of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }

    /// And these bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().unwrap_or_default()
    }
}

/// Computes blob ids: keyed BLAKE3 of the plaintext, under a key of its own for every kind of blob.
pub struct BlobHasher {
    keys: [[u8; 32]; 4],
    tree: [u8; 32],
}

impl BlobHasher {
    /// From the repository's chunk-id key.
    #[must_use]
    pub fn new(chunk_id_key: &Secret) -> Self {
        let key = |context| *chunk_id_key.derive(context).expose();
        Self {
            keys: [
                key("homelab-dr v1 blob id data"),
                key("homelab-dr v1 blob id leaf"),
                key("homelab-dr v1 blob id node"),
                key("homelab-dr v1 blob id list"),
            ],
            tree: key("homelab-dr v1 tree boundary"),
        }
    }

    /// The id of `plaintext` as a blob of `kind`.
    #[must_use]
    pub fn blob_id(&self, kind: Kind, plaintext: &[u8]) -> BlobId {
        let [data, leaf, node, list] = &self.keys;
        let key = match kind {
            Kind::Data => data,
            Kind::Leaf => leaf,
            Kind::Node => node,
            Kind::List => list,
        };
        BlobId::new(*blake3::keyed_hash(key, plaintext).as_bytes())
    }

    /// 64 keyed bits of a path or id, which decide where trees and lists are cut.
    #[must_use]
    pub fn boundary(&self, bytes: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.tree, bytes);
        hash.as_bytes().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

impl Drop for BlobHasher {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.keys);
        zeroize::Zeroize::zeroize(&mut self.tree);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_key_kind_and_bytes() {
        let hasher = BlobHasher::new(&Secret::new([1; 32]));
        let other = BlobHasher::new(&Secret::new([2; 32]));
        let id = hasher.blob_id(Kind::Data, b"x");
        assert_eq!(id, hasher.blob_id(Kind::Data, b"x"));
        assert_ne!(id, hasher.blob_id(Kind::Leaf, b"x"));
        assert_ne!(id, hasher.blob_id(Kind::Data, b"y"));
        assert_ne!(id, other.blob_id(Kind::Data, b"x"));
    }

    #[test]
    fn sha256_is_what_others_know() {
        let mut hash = Sha256::new();
        hash.update(b"a");
        hash.update(b"bc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(data_encoding::HEXLOWER.encode(&hash.finish()), expected);
    }

    #[test]
    fn boundaries_are_the_first_bytes_of_a_keyed_hash() {
        let key = blake3::derive_key("homelab-dr v1 tree boundary", &[1; 32]);
        let hash = blake3::keyed_hash(&key, b"a/path");
        let boundary = BlobHasher::new(&Secret::new([1; 32])).boundary(b"a/path");
        assert_eq!(Some(&boundary.to_le_bytes()), hash.as_bytes().first_chunk());
    }
}
