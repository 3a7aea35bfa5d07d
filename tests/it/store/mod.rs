//! Layer 2: every backend and wrapper against one suite, and what is each one's own.

mod conformance;
mod file;
mod lanes;
mod nfs;
mod s3;
mod wrappers;

use bytes::Bytes;
use homelab_dr::store::Key;

fn key(text: &str) -> Key {
    Key::new(text).expect(text)
}

/// Bytes that no compression or repetition makes alike.
fn noise(len: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}
