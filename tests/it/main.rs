//! Integration tests, one binary.

#![allow(clippy::panic, clippy::indexing_slicing, clippy::unwrap_used, reason = "all of it is test code, helpers too")]

mod store;
mod support;
