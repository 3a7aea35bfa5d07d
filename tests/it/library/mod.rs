//! The runbooks of `runbooks/`, each carried out by the real program in the test cluster: the trouble is planted first, and what the runbook promises is looked at by the test itself, not by the
//! runbook's own checks. Each is planned before, and its plan is the one that was reviewed (`HOMELAB_DR_BLESS=1 cargo test --test it library` writes them).

mod everyday;
mod keys;
mod living;
mod lost;
mod stage;
