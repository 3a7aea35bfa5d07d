//! Reading packs whole, a slice of them every day: which are read, how many at once, and what comes of the verdicts.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::{JoinError, JoinSet};

use crate::base::clock::Time;
use crate::base::id::ObjectId;
use crate::base::progress::Progress;
use crate::check::report::{Counts, Finding, Hint, Problem, Severity};
use crate::check::snapshots::of_error;
use crate::check::trouble::Troubles;
use crate::check::verify::{Verdict, verify};
use crate::check::whole::Opened;
use crate::repo::error::RepoError;
use crate::repo::fetch::Reader;
use crate::repo::index::{Index, read_segment};
use crate::repo::layout;

/// Packs in memory at once: one arrives while two are worked on. With 12 MiB each and a few blobs being opened this is what a check needs.
const PACKS_AT_ONCE: usize = 3;
const MILLISECONDS_A_DAY: i64 = 86_400_000;

/// Which packs are read today: those whose ids begin in a window. In a round of days every window comes once, in an order that is another one each round,
/// or a check that runs every second day would meet the same half of the windows for ever.
#[derive(Clone, Debug)]
pub(crate) enum Slice {
    /// A share of all, which moves on with the date.
    Window { start: u32, percent: u8 },
    /// These and no others.
    These(HashSet<ObjectId>),
}

impl Slice {
    pub(crate) fn of_day(percent: u8, now: Time) -> Self {
        let day = now.0.div_euclid(MILLISECONDS_A_DAY);
        let windows = Self::days(percent);
        let round = day.div_euclid(i64::from(windows));
        let mut order: Vec<u32> = (0..windows).collect();
        for last in (1..order.len()).rev() {
            let drawn = blake3::hash(&[round.to_le_bytes(), (last as u64).to_le_bytes()].concat());
            let drawn = drawn.as_bytes().first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
            order.swap(last, usize::try_from(drawn % (last as u64 + 1)).unwrap_or(0));
        }
        let today = usize::try_from(day.rem_euclid(i64::from(windows))).unwrap_or(0);
        let window = u64::from(order.get(today).copied().unwrap_or(0));
        let start = window * (1_u64 << 32) / u64::from(windows);
        Self::Window { start: u32::try_from(start).unwrap_or(0), percent }
    }

    /// Days of a round, in which everything is read by who checks every day.
    fn days(percent: u8) -> u32 {
        100_u32.div_ceil(u32::from(percent.clamp(1, 100)))
    }

    pub(super) fn has(&self, id: &ObjectId) -> bool {
        match self {
            Self::Window { start, percent } => {
                let at = id.as_bytes().first_chunk::<4>().map_or(0, |head| u32::from_be_bytes(*head));
                u64::from(at.wrapping_sub(*start)) * 100 < u64::from(*percent) << 32
            }
            Self::These(packs) => packs.contains(id),
        }
    }

    /// Whether it has none at all.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Window { percent, .. } => *percent == 0,
            Self::These(packs) => packs.is_empty(),
        }
    }
}

/// Reads today's slice of the packs that the index names.
pub(super) async fn read(
    reader: &Arc<Reader>,
    slice: &Slice,
    troubles: &mut Troubles,
    findings: &mut Vec<Finding>,
    counts: &mut Counts,
    opened: &mut Opened,
    progress: &Progress,
) -> Result<(), RepoError> {
    let index = &reader.index;
    for pack in index.packs.iter().filter(|pack| pack.present && slice.has(&pack.id)) {
        progress.files_total.fetch_add(1, Ordering::Relaxed);
        progress.bytes_total.fetch_add(pack.size, Ordering::Relaxed);
    }
    let mut seen = HashSet::new();
    let mut running: JoinSet<Verdict> = JoinSet::new();
    for key in &index.segments {
        let segment = match read_segment(&reader.repository, key).await {
            Ok(segment) => segment,
            Err(error) => {
                findings.push(of_error(key, &error));
                continue;
            }
        };
        for pack in segment.packs {
            let Some(number) = index.pack_number(&pack.id) else { continue };
            let present = index.pack(number).is_some_and(|state| state.present);
            if !present || !slice.has(&pack.id) || !seen.insert(number) {
                continue;
            }
            while running.len() >= PACKS_AT_ONCE {
                take(running.join_next().await, index, troubles, counts, opened, progress)?;
            }
            running.spawn(verify(reader.clone(), number, pack));
        }
    }
    while let Some(verdict) = running.join_next().await {
        take(Some(verdict), index, troubles, counts, opened, progress)?;
    }
    for (number, pack) in (0_u32..).zip(&index.packs) {
        if pack.present && slice.has(&pack.id) && !seen.contains(&number) {
            let what = "it was not read: its index segment was replaced meanwhile";
            let finding =
                Finding::new(&layout::pack(&pack.id), Severity::Warning, Problem::Unreadable, what, Hint::ReadAgain);
            findings.push(finding);
        }
    }
    Ok(())
}

fn take(
    joined: Option<Result<Verdict, JoinError>>,
    index: &Index,
    troubles: &mut Troubles,
    counts: &mut Counts,
    opened: &mut Opened,
    progress: &Progress,
) -> Result<(), RepoError> {
    let Some(joined) = joined else { return Ok(()) };
    let verdict = joined.map_err(|_| RepoError::Worker { what: "the check of a pack" })?;
    progress.add_file(verdict.bytes);
    counts.objects_read += u64::from(verdict.bytes > 0);
    counts.bytes_read += verdict.bytes;
    counts.blobs_read += verdict.blobs;
    counts.blobs_opened += verdict.opened.len() as u64;
    opened.add(&verdict.opened);
    if verdict.lies && verdict.troubles.is_empty() {
        troubles.poisoned(verdict.number);
    }
    for (problem, reason) in verdict.troubles {
        troubles.pack(verdict.number, problem, reason);
    }
    for (slot, reason) in verdict.bad {
        troubles.blob(verdict.number, slot, reason);
    }
    if verdict.gone {
        troubles.cut(index, verdict.number, 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days_of(percent: u8, id: &ObjectId, days: i64) -> usize {
        (0..days).filter(|day| Slice::of_day(percent, Time(day * MILLISECONDS_A_DAY)).has(id)).count()
    }

    #[test]
    fn every_pack_is_read_within_its_round_and_some_every_day() {
        let ids: Vec<ObjectId> =
            (0..500_u32).map(|n| ObjectId::new(*blake3::hash(&n.to_le_bytes()).as_bytes())).collect();
        for (percent, round) in [(100, 1), (50, 2), (30, 4), (7, 15), (1, 100)] {
            for id in &ids {
                assert!(days_of(percent, id, round) >= 1, "{percent} % within {round} days");
            }
            let today = Slice::of_day(percent, Time(20_000 * MILLISECONDS_A_DAY));
            let share = ids.iter().filter(|id| today.has(id)).count() * 100 / ids.len();
            assert!(share.abs_diff(usize::from(percent)) <= 5, "{percent} % was {share} %");
        }
        // Not every day: each pack still has its turn, whatever the step.
        for (percent, step) in [(50, 2), (25, 4), (20, 5), (5, 2), (10, 7)] {
            for id in ids.iter().take(50) {
                let seen = |day: &i64| Slice::of_day(percent, Time(day * MILLISECONDS_A_DAY)).has(id);
                let rounds = i64::from(Slice::days(percent)) * step * 12;
                assert!((0..rounds / step).any(|n| seen(&(n * step))), "{percent} % every {step} days");
            }
        }
        for edge in [[0; 32], [255; 32]] {
            assert_eq!(days_of(1, &ObjectId::new(edge), 100), 1);
            assert_eq!(days_of(0, &ObjectId::new(edge), 100), 0);
        }
    }
}
