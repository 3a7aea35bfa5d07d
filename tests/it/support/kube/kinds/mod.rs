//! What is particular to single kinds: defaults, what the server fills in, what may not change.

pub(crate) mod allocate;
pub(crate) mod defaults;
pub(crate) mod pod;
pub(crate) mod security;
pub(crate) mod strategy;
pub(crate) mod validate;
