//! Integration tests, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, helpers too"
)]

mod check;
mod cli;
mod demo;
mod end_to_end;
mod format_vectors;
mod frozen;
mod layers;
mod prune;
mod readme;
mod recipients;
mod store;
mod support;
mod tree;
