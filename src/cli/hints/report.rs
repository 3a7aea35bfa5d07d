//! Advice about reports.

use super::{Advice, Advise};
use crate::cli::exit::Exit;
use crate::crypto::report_key::ReportKeyError;
use crate::report::key_file::KeyFileError;
use crate::report::{DocumentError, VerifyError};

impl Advise for DocumentError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Time { .. } | Self::Hidden { .. } => Advice::new(
                Exit::Error,
                "the file was changed by something else, or a program of another version wrote it; what it says can be read in RUNS/RUN/journal.jsonl",
            ),
        })
    }
}

impl Advise for KeyFileError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::File { .. } => Advice::new(
                Exit::Error,
                "see the disk and the folder's mode; the key lies beside the journals, which --journals DIR names",
            ),
            Self::Damaged { .. } => Advice::new(
                Exit::Error,
                "move the file away: a new key is made, and reports that were signed with the old one are verified with --key and its public text, which stands in them",
            ),
            Self::Randomness(_) => {
                Advice::new(Exit::Error, "nothing was changed; the system lacks a working random number generator")
            }
        })
    }
}

impl Advise for ReportKeyError {
    fn advice(&self) -> Option<Advice> {
        Some(Advice::new(
            Exit::Usage,
            match self {
                Self::Private | Self::Secret => {
                    "the key lies beside the journals as report.key, and is never given on a command line"
                }
                Self::Public(_) | Self::Slip(_) => {
                    "`homelab-dr report list` shows it on the machine that made the report; it stands in every report too"
                }
            },
        ))
    }
}

impl Advise for VerifyError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::NoReport => Advice::new(
                Exit::Usage,
                "give a file that `homelab-dr report show RUN --format html --out FILE` wrote, or --format json or markdown",
            ),
            Self::Altered(_) => Advice::new(
                Exit::Damaged,
                "do not rely on it: have it written anew from the journal, on the machine that carried the run out",
            ),
        })
    }
}
