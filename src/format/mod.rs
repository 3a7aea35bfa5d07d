//! Layer 1: what the bytes of a repository mean. `docs/format.md` is the same in words; change both or neither.
//!
//! Pure: bytes in, values or errors out. Every decoder takes any input; nothing here reads a clock, a disk or a key.

pub mod entry;
pub mod erasure;
pub mod kind;
pub mod live;
pub mod pack;
pub mod padding;
pub mod parity;
pub mod record;
