//! Integration tests, one binary.

mod store;
mod support;
