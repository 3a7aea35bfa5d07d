//! What can be done to objects: one file an operation.

pub(crate) mod admission;
pub(crate) mod create;
pub(crate) mod decode;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod update;
pub(crate) mod webhooks;
