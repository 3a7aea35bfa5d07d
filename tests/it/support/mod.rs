//! Servers and helpers that several suites share.

pub(crate) mod s3;
mod s3_versions;
