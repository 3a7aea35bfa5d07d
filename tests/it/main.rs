//! Integration tests, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, helpers too"
)]

mod end_to_end;
mod frozen;
mod store;
mod support;
mod tree;
