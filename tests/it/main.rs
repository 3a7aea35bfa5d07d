//! Integration tests, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, helpers too"
)]

mod check;
mod end_to_end;
mod format_vectors;
mod layers;
mod store;
mod support;
mod tree;
