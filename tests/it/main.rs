//! Integration tests, one binary.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, helpers too"
)]

mod concurrency;
mod end_to_end;
mod faults;
mod full_disk;
mod fuzz;
mod kill;
mod properties;
mod store;
mod support;
mod tree;
