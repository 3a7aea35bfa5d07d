//! When nothing was done in a run: a person had to answer, or nobody carried it out.

use super::document::{Because, DocumentError, Idle, Timing};
use super::history::time;
use crate::base::clock::Time;
use crate::runs::event::{Event, Record};

/// All such times, in order; none overlaps another. A wait that has not ended is not in it.
pub(super) fn idle(records: &[Record]) -> Result<Vec<Idle>, DocumentError> {
    let (mut all, mut open, mut before) = (Vec::new(), None, None);
    for Record { at, event } in records {
        let now = time(at)?;
        let mut ends = |open: &mut Option<(Time, Because)>| {
            if let Some((from, why)) = open.take()
                && from < now
            {
                all.push(Idle { from, to: now, why });
            }
        };
        match event {
            // Of a process that died, the last that it wrote is the last that is known of it.
            Event::TakenUp { .. } => {
                open = open.or(before.map(|before| (before, Because::Away)));
                ends(&mut open);
            }
            Event::Asked { .. } => open = open.or(Some((now, Because::Person))),
            Event::Agreed { .. } | Event::Declined { .. } => ends(&mut open),
            Event::Paused { .. } | Event::Ended { .. } => open = open.or(Some((now, Because::Away))),
            Event::Opened { .. }
            | Event::Checked { .. }
            | Event::Prepared { .. }
            | Event::Refused { .. }
            | Event::Cleared { .. }
            | Event::Begun { .. }
            | Event::Acted { .. }
            | Event::Done { .. }
            | Event::Failed { .. }
            | Event::LettingGo { .. }
            | Event::LetGo { .. }
            | Event::CutOff { .. }
            | Event::Skipped { .. } => {}
        }
        before = Some(now);
    }
    Ok(all)
}

/// How long it took.
pub(super) fn timing(begun: Option<Time>, last: Option<Time>, idle: &[Idle]) -> Timing {
    let gross_seconds = begun.zip(last).map_or(0, |(begun, last)| last.since(begun).as_secs());
    let sum = |why| idle.iter().filter(|one| one.why == why).map(|one| one.to.since(one.from).as_secs()).sum();
    let (waited_seconds, away_seconds) = (sum(Because::Person), sum(Because::Away));
    let net_seconds = gross_seconds.saturating_sub(waited_seconds);
    Timing { begun, last, gross_seconds, waited_seconds, away_seconds, net_seconds }
}
