//! What several tests share.

pub mod every_kind;
pub mod files;
pub mod repository;
pub mod s3;
mod s3_versions;
