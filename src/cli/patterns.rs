//! The options that leave files out, and those that choose some.

use std::path::PathBuf;

use crate::cli::failure::Failure;
use crate::cli::read_file;
use crate::tree::exclude::Excludes;

/// What to leave out.
#[derive(Debug, clap::Args)]
#[group(id = "exclusion", required = false, multiple = true)]
pub(crate) struct ExcludeArgs {
    /// Leave out what matches this pattern; may be repeated, the last that matches decides
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// A file with one such pattern a line; # begins a comment
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<PathBuf>,
    /// Leave out what is in directories marked by a CACHEDIR.TAG
    #[arg(long)]
    exclude_caches: bool,
}

impl ExcludeArgs {
    /// Whether nothing is left out.
    pub(crate) const fn is_empty(&self) -> bool {
        self.exclude.is_empty() && self.exclude_file.is_empty() && !self.exclude_caches
    }

    /// The patterns of the command line, as they were given.
    pub(crate) fn globs(&self) -> &[String] {
        &self.exclude
    }

    /// The patterns, those of files first.
    pub(crate) fn excludes(&self) -> Result<Excludes, Failure> {
        let mut globs = Vec::new();
        for file in &self.exclude_file {
            let text = read_file::list(file, "the patterns")?;
            let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'));
            globs.extend(lines.map(str::to_owned));
        }
        globs.extend_from_slice(&self.exclude);
        Ok(Excludes::new(&globs)?.with_caches(self.exclude_caches))
    }
}
