//! What several tests need.

pub mod every_kind;
