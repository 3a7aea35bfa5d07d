//! Advice for what a store says.

use crate::cli::exit::Exit;
use crate::cli::hints::{Advice, Advise};
use crate::store::StoreError;

impl Advise for StoreError {
    fn advice(&self) -> Option<Advice> {
        Some(match self {
            Self::NotFound { .. } => Advice::new(
                Exit::Damaged,
                "an object that should be there is not: run `homelab-dr check`; if the store was moved or restored, see whether all of it came along",
            ),
            Self::Conflict { .. } => Advice::new(
                Exit::Damaged,
                "nothing was overwritten; somebody or something else writes to this place: run `homelab-dr check`",
            ),
            Self::Denied { .. } => Advice::new(
                Exit::Unreachable,
                "see whether the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE…) or the owner and mode of the folder allow this, and whether they expired",
            ),
            Self::Gone { .. } => Advice::new(
                Exit::Unreachable,
                "is the disk plugged in, the share mounted, the bucket's name right? A repository that vanished is never made anew by itself",
            ),
            Self::Full { .. } => Advice::new(
                Exit::Unreachable,
                "make room (`homelab-dr prune` deletes what was marked before, also on a full disk; or take other files away, or a larger quota) and run the same command again: what was stored is used",
            ),
            Self::Locked { until, .. } => Advice::new(
                Exit::Refused,
                until.map_or_else(
                    || "an object lock protects it; it can go when the lock has run out".to_owned(),
                    |until| format!("an object lock protects it until {until}; run the command again after that"),
                ),
            ),
            Self::Unsupported { .. } => Advice::new(
                Exit::Usage,
                "this kind of store has no such thing; object locks need an S3 bucket that was made with object lock enabled",
            ),
            Self::ReadOnly { .. } => Advice::new(
                Exit::Error,
                "this command must not change the repository, and would have: please report this",
            ),
            Self::ShortWrite { .. } => Advice::new(
                Exit::Unreachable,
                "the store lost a part of what it had taken; do not trust it before its disk or server has been looked at",
            ),
            Self::Failed { transient: true, .. } => Advice::new(
                Exit::Unreachable,
                "it was tried several times; look at the network and the server, then run the same command again: what was stored is used",
            ),
            Self::Failed { transient: false, .. } => Advice::new(
                Exit::Unreachable,
                "look at the address, the credentials, the mount and the server's own log; when that is mended, run the same command again: what was stored is used",
            ),
        })
    }
}
