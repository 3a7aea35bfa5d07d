//! Layer 5: a drill, which is a recovery into a throw-away target: carried out, verified, measured, recorded, and always removed.
//!
//! ```text
//! runbook, or sources (book) ─ transform (pure: what is rehearsed, what is left out and why) ─ the plan, machine, driver and hands of `recover`
//! on this machine: folder (made, locked, removed) ─ databases (what is found in it is opened) ─┐
//! in a cluster: cluster (namespaces made, closed: isolate) ─ proof (a probe that is denied) ───┴─ runs::verdict ─ record
//! ```
//! It has no executor of its own: what is rehearsed is what would be done, by `runs`, which is built upon this. Nothing that is in use is written to or looked at: what cannot be done in the target alone is left
//! out and listed.

pub mod book;
mod checks;
pub mod cluster;
pub mod databases;
pub mod folder;
pub mod found;
pub mod isolate;
pub mod part;
pub mod proof;
pub mod record;
pub mod storage;
#[cfg(test)]
mod tests;
pub mod transform;
pub mod words;
