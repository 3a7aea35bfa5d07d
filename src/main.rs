//! The `homelab-dr` program.

fn main() {}
