//! Advice about runs of runbooks.

use super::{ABSENT_WEBHOOK, Advice, Advise};
use crate::cli::exit::Exit;
use crate::drill::folder::FolderError;
use crate::runs::journal::JournalError;
use crate::runs::lease::LeaseError;
use crate::runs::plan::PlanError;

impl Advise for JournalError {
    fn advice(&self) -> Option<Advice> {
        let (exit, help) = match self {
            Self::File { .. } => (
                Exit::Error,
                "without its journal a run could not be taken up, so nothing more is begun: see the disk and the folder's mode, or keep journals elsewhere with --journals DIR; then --resume",
            ),
            Self::NoSuchRun { .. } => (
                Exit::Usage,
                "runs are named by 8 hex digits, as they were printed; --journals DIR says where journals are",
            ),
            Self::Begun { run } => {
                let help = format!("`homelab-dr recover --resume {run}` goes on with it; or make the plan anew");
                return Some(Advice::new(Exit::Refused, help));
            }
            Self::Drill { .. } => (
                Exit::Usage,
                "what a drill has recovered is thrown away with it: begin another one with `homelab-dr drill`",
            ),
            Self::Busy { .. } => (Exit::Refused, "wait for it, or end it; this one changed nothing"),
            Self::TooLong { .. } => (
                Exit::Error,
                "nothing of it was cut, and nothing more is begun; a plan has a line for each object: restore fewer at once, such as one namespace for each run (include), or leave steps out with --skip",
            ),
            Self::Closed { .. } => (
                Exit::Error,
                "nothing more is begun: see the disk, or keep journals elsewhere with --journals DIR; then --resume, which cuts the half line away",
            ),
            Self::Line { .. } => (
                Exit::Error,
                "the file was changed by something else, or a program of another version wrote it; see docs/recover.md for what it holds",
            ),
        };
        Some(Advice::new(exit, help))
    }
}

impl Advise for PlanError {
    fn advice(&self) -> Option<Advice> {
        let help = match self {
            Self::NoPlan { .. } => "make one with `homelab-dr recover RUNBOOK --plan --out FILE`",
            Self::Changed => {
                "what is carried out is what was shown: other values, steps or snapshots are another plan, made with `homelab-dr recover RUNBOOK --plan --out FILE`"
            }
            Self::Altered => "somebody changed the file; make the plan anew, and keep it where nobody else writes",
            Self::NoDrill(_) => {
                "give the step a check that looks at what it brings back (ready, exec, files), or leave the step out with --skip"
            }
            Self::Wrong { .. } => "it was made by a program of another version; make the plan anew from the runbook",
            Self::Randomness(_) => "nothing was changed; the system lacks a working random number generator",
        };
        Some(Advice::new(Exit::Usage, help))
    }
}

impl Advise for LeaseError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::Taken { .. } => Advice::new(
                Exit::Refused,
                "nothing was changed; wait for it or end it, and the target is free: one that was killed on another machine has it for half a minute more",
            ),
            Self::Cluster { source, .. } if source.is_of_a_webhook() => {
                Advice::new(Exit::Refused, format!("nothing was changed; {ABSENT_WEBHOOK}"))
            }
            Self::Cluster { .. } => Advice::new(
                Exit::Error,
                "nothing was changed; the account needs create, get, patch and delete on leases.coordination.k8s.io in the namespace default",
            ),
            Self::Randomness(_) => Advice::new(Exit::Error, "the system lacks a working random number generator"),
            Self::File { .. } => Advice::new(Exit::Usage, "see the folder's mode, or name another with --journals DIR"),
        })
    }
}

impl Advise for FolderError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::There { .. } => Advice::new(Exit::Refused, "nothing was changed; begin the drill again"),
            Self::Io { .. } => {
                Advice::new(Exit::Usage, "see the folder's mode and the disk, or name another with --into-folder DIR")
            }
        })
    }
}
