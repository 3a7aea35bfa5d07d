//! Where this machine keeps the journals of its runs.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::output::quoted;

/// The variable that names it.
const VARIABLE: &str = "HOMELAB_DR_RUNS";

/// The folder that was given, or the usual one.
pub(crate) fn folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(dir) = given {
        return Ok(dir.to_owned());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = variable("XDG_STATE_HOME").filter(|path| path.is_absolute());
    let state = state.or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    let state = state.ok_or_else(|| {
        Failure::usage(
            "there is no home directory to keep journals of runs in",
            "give --journals DIR, or set HOMELAB_DR_RUNS",
        )
    })?;
    Ok(state.join("homelab-dr/runs"))
}

/// The option that names a folder to a command that is run after this one; nothing where it finds it by itself.
pub(crate) fn option(dir: &Path) -> String {
    let by_variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let found = by_variable.or_else(|| folder(None).ok());
    if found.as_deref() == Some(dir) {
        String::new()
    } else {
        format!(" --journals {}", quoted(&dir.to_string_lossy()))
    }
}
