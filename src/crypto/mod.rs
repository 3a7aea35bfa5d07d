//! Layer 1: every key, nonce, hash and signature of the repository is made here and nowhere else.
//!
//! What is sealed with what, and why, is in `docs/format.md` §3–§5 and `docs/threat-model.md`. Pure but for the operating system's
//! random numbers.

pub mod aead;
pub mod content;
pub mod fingerprint;
pub mod hash;
pub mod meta;
pub mod recipients;
pub mod report_key;
pub mod sign;
pub mod writer_key;
