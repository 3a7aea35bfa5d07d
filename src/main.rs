//! The `homelab-dr` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    homelab_dr::cli::main()
}
