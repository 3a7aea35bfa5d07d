//! Checks of what is in a volume of a cluster: a mover mounts it read-only, beside what uses it by then, looks, and says what it saw. What it is compared with it gets as a
//! restore does: the keys of that snapshot, and no others; a check that needs nothing of the repository gets nothing of it.

use super::{Seen, mover};
use crate::recover::cluster::movers::ByMovers;
use crate::recover::cluster::volumes::Filling;
use crate::runbook::{Check, Probe};

/// Whether a check looks at what is in a volume, and a mover can.
#[must_use]
pub fn looks_inside(probe: &Probe) -> bool {
    mover::question(probe).is_some()
}

/// One check of a claim, by a mover of its own. One that could not be carried out does not hold.
pub async fn hold(check: &Check, movers: &ByMovers<'_>, filling: &Filling) -> Seen {
    let compares = matches!(check.probe, Probe::Files(_));
    let job = |salt, run: &str| mover::job(check, salt, run);
    let (looked, left) = movers.look(filling, compares, &job).await;
    let seen = match looked {
        Ok((true, seen)) => Seen::Holds(seen),
        Ok((false, seen)) => Seen::Not(seen),
        Err(why) => Seen::Not(format!("it could not be looked at: {why}")),
    };
    match seen {
        seen if left.is_empty() => seen,
        Seen::Holds(said) => Seen::Holds(format!("{said} (left behind: {})", left.join("; "))),
        Seen::Not(said) => Seen::Not(format!("{said} (left behind: {})", left.join("; "))),
    }
}
