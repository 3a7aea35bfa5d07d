//! Runs of runbooks: planned, carried out exactly as planned, written down before and after each step, and taken up where they were cut off.
//!
//! ```text
//! runbook + values ─ prepare (snapshots, fates, target) ─ RunPlan ─ may be kept as a file
//! RunPlan ─ Journal ─┐
//!                    ├─ Machine (pure: what is next) ─ Driver ─ Hands (restore, hold, look, run …) ─ Event ─┐
//!                    └──────────────────────────────── written down, then applied ──────────────────────────┘
//! ```
//! The machine is moved by the events of the journal alone, so a run that is taken up is where its journal says; a step whose end was not written down is carried out again.
//! Every kind of step is made so that this does no harm, or asks first.

mod ages;
pub mod ahead;
pub mod board;
pub mod drive;
pub mod estimate;
pub mod event;
pub mod fates;
mod fills;
pub mod folders;
pub mod hands;
pub mod journal;
pub mod lease;
pub mod machine;
pub mod measured;
mod one_volume;
pub mod plan;
pub mod prepare;
pub mod process;
#[cfg(test)]
mod tests;
pub mod verdict;
