//! Commit, prune and forget against a store in memory whose clock is moved by hand: failures at every call, pauses at every call, and the races that
//! the design names.

mod between;
mod checkpoints;
mod commit;
mod copies;
mod faults;
mod full;
pub(crate) mod gate;
mod locks;
mod lost;
mod pauses;
mod phases;
mod plans;
pub(crate) mod world;
