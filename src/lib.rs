//! `homelab-dr`: encrypted, deduplicated backups and verified recovery for Kubernetes homelabs.
//!
//! The layers, lower ones never naming upper ones, are drawn in `docs/architecture.md`; `tests/it/layers.rs` holds them.

pub mod backup;
pub mod base;
pub mod check;
pub mod chunker;
pub mod cli;
pub mod cluster;
pub mod compress;
pub mod config;
pub mod crypto;
pub mod datastore;
pub mod demo;
pub mod drill;
pub mod forget;
pub mod format;
pub mod gitops;
pub mod hooks;
pub mod keys;
pub mod language;
pub mod paper;
pub mod parity;
pub mod preflight;
pub mod propose;
pub mod prune;
pub mod recover;
pub mod repair;
pub mod replicate;
pub mod repo;
pub mod report;
pub mod retention;
pub mod runbook;
pub mod runs;
#[cfg(test)]
mod simulation;
pub mod stats;
pub mod status;
pub mod store;
pub mod tree;
pub mod verified;
pub mod verify;
pub mod volumes;
