//! What several tests share.

pub mod around;
pub mod every_kind;
pub mod files;
pub mod kube;
pub mod repository;
pub mod s3;
mod s3_versions;
pub mod usage;
