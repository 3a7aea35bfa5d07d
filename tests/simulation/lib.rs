//! The engine alone (the repository and what works on it, no cluster, no S3, no command line), so that it can be built
//! optimised in a minute: for the thousands of seeds that lane `seeds` plays. The modules are those of the program.

#![allow(dead_code, unused_imports, unused_qualifications, reason = "the program uses the rest, and is linted itself")]

#[path = "../../src/base/mod.rs"]
pub mod base;
#[path = "../../src/check/mod.rs"]
pub mod check;
#[path = "../../src/chunker.rs"]
pub mod chunker;
#[path = "../../src/compress.rs"]
pub mod compress;
#[path = "../../src/crypto/mod.rs"]
pub mod crypto;
pub mod drill;
#[path = "../../src/forget.rs"]
pub mod forget;
#[path = "../../src/format/mod.rs"]
pub mod format;
#[path = "../../src/parity/mod.rs"]
pub mod parity;
#[path = "../../src/prune/mod.rs"]
pub mod prune;
#[path = "../../src/repair/mod.rs"]
pub mod repair;
#[path = "../../src/replicate/mod.rs"]
pub mod replicate;
#[path = "../../src/repo/mod.rs"]
pub mod repo;
#[path = "../../src/retention/mod.rs"]
pub mod retention;
#[cfg(test)]
#[path = "../../src/simulation/mod.rs"]
mod simulation;
#[path = "../../src/store/mod.rs"]
pub mod store;
#[path = "../../src/verified.rs"]
pub mod verified;
