//! From an error to what a person should do about it, and to the exit code. One function per error enum, exhaustive, so
//! that a new variant does not compile before somebody has thought of advice for it.

mod keys;
mod operations;
mod repo;
mod report;
mod runs;
mod store;
#[cfg(test)]
mod tests;

use crate::base::when::{SelectError, SelectorError};
use crate::cli::exit::Exit;
use crate::store::url::StoreUrlError;

/// What to do where nobody answers for a webhook that fails closed.
pub(crate) const ABSENT_WEBHOOK: &str = "a webhook of the cluster refuses what it cannot look at, and nobody answers for it: bring up what runs it, or delete its \
     configuration (kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations), and run this again";

/// What to do about an error, and what to end with.
#[derive(Debug)]
pub struct Advice {
    /// The exit code.
    pub exit: Exit,
    /// What to do, one or two sentences.
    pub help: String,
}

impl Advice {
    pub(crate) fn new(exit: Exit, help: impl Into<String>) -> Self {
        Self { exit, help: help.into() }
    }
}

/// An error that has advice.
pub trait Advise {
    /// The advice; `None` for "stopped as asked", which is no error.
    fn advice(&self) -> Option<Advice>;
}

impl Advise for StoreUrlError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::Empty => "give --repo URL or set HOMELAB_DR_REPO, such as /mnt/backup or s3://bucket/prefix",
            Self::Scheme(_) | Self::Slashes(_) | Self::Malformed { .. } => {
                "an address is a path, file:///path, s3://bucket/prefix?endpoint=…&region=… or b2://bucket/prefix?region=…"
            }
            Self::Parameter { .. } | Self::Value { .. } => {
                "docs/cli.md lists the parameters of each kind of address; quote the address, since & means something to shells"
            }
            Self::Region => "the bucket's page at Backblaze shows its endpoint; the region is its middle part",
            Self::Credentials => {
                "addresses are printed and stored; the usual AWS variables and files are for credentials"
            }
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for SelectorError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::TooShort { .. } => "`homelab-dr snapshots` shows the ids; give more digits of one",
            Self::Time { .. } => "write 2026-11-01 or 2026-11-01T03:00; a path goes after a colon",
            Self::Unknown { .. } => {
                "name a snapshot by id, latest, latest:SOURCE or a time; `homelab-dr snapshots` lists them"
            }
            Self::PathGiven { .. } => "leave out the colon and what follows it",
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for SelectError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::NoSnapshots => Advice::new(Exit::Error, "make one first: homelab-dr backup PATH --source NAME"),
            Self::NoSuchId { .. } | Self::NothingBefore { .. } => {
                Advice::new(Exit::Usage, "`homelab-dr snapshots` lists what there is")
            }
            Self::Ambiguous { .. } => Advice::new(Exit::Usage, "give more digits of the one that you mean"),
            Self::NoSuchSource { known, .. } => Advice::new(
                Exit::Usage,
                format!(
                    "there are snapshots of: {}; a path in the newest of all begins with a slash, as in latest:/etc",
                    known.join(", ")
                ),
            ),
        })
    }
}
