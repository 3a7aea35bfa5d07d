//! Where a moment of a run stands on a line as wide as the page. Times in which nothing was done are drawn shorter than they were, or a night of waiting would leave nothing to see of
//! the minutes of work.

use super::document::{Idle, Step, Timing, Try};
use crate::base::clock::Time;

/// The whole line.
pub(super) const WHOLE: i64 = 10_000;
/// An idle time is at most this part of the work.
const IDLE_PART: i64 = 8;

struct Piece {
    from: i64,
    to: i64,
    drawn_from: i64,
    drawn: i64,
}

/// See the module.
pub(super) struct Scale {
    pieces: Vec<Piece>,
    drawn: i64,
    /// Whether an idle time is drawn shorter than it was.
    pub(super) is_shortened: bool,
}

impl Scale {
    pub(super) fn of(timing: &Timing, idle: &[Idle]) -> Self {
        let (begun, last) = timing.begun.zip(timing.last).map_or((0, 0), |(begun, last)| (begun.0, last.0));
        let slept: i64 = idle.iter().map(|one| one.to.0.saturating_sub(one.from.0)).sum();
        let longest = ((last - begun - slept) / IDLE_PART).max(1000);
        let mut scale = Self { pieces: Vec::new(), drawn: 0, is_shortened: false };
        let mut at = begun;
        for one in idle {
            let (from, to) = (one.from.0.max(at), one.to.0.min(last));
            if from < to {
                scale.add(at, from, from - at);
                scale.is_shortened |= to - from > longest;
                scale.add(from, to, (to - from).min(longest));
                at = to;
            }
        }
        scale.add(at, last.max(at), last.max(at) - at);
        scale
    }

    fn add(&mut self, from: i64, to: i64, drawn: i64) {
        self.pieces.push(Piece { from, to, drawn_from: self.drawn, drawn });
        self.drawn += drawn;
    }

    /// From 0 to [`WHOLE`].
    pub(super) fn at(&self, time: Time) -> i64 {
        let after = |piece: &&Piece| piece.to >= time.0;
        let Some(piece) = self.pieces.iter().find(after) else { return WHOLE };
        let length = (piece.to - piece.from).max(1);
        let within = (time.0 - piece.from).clamp(0, length);
        (piece.drawn_from + piece.drawn * within / length) * WHOLE / self.drawn.max(1)
    }

    /// Where a try stands, and how wide it is. Of one whose end is not known only its beginning is.
    pub(super) fn bar(&self, one: &Try) -> (i64, i64) {
        let end = match (one.ended, one.took_ms) {
            (_, Some(took)) => Time(one.begun.0.saturating_add(i64::try_from(took).unwrap_or(i64::MAX))),
            (Some(ended), None) => ended,
            (None, None) => one.begun,
        };
        let from = self.at(one.begun);
        (from, self.at(end) - from)
    }
}

/// A place on the line, for CSS and SVG.
pub(super) fn percent(place: i64) -> String {
    format!("{}.{:02}%", place / 100, place % 100)
}

/// Whether there is anything to draw.
pub(super) fn has_bars(steps: &[Step]) -> bool {
    steps.iter().any(|step| !step.tries.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::Because;

    fn idle(from: i64, to: i64) -> Idle {
        Idle { from: Time(from), to: Time(to), why: Because::Person }
    }

    fn timing(begun: i64, last: i64) -> Timing {
        Timing { begun: Some(Time(begun)), last: Some(Time(last)), ..Timing::default() }
    }

    #[test]
    fn a_night_of_waiting_leaves_the_work_to_see() {
        let scale = Scale::of(&timing(0, 1_080_000), &[idle(40_000, 1_040_000)]);
        assert!(scale.is_shortened);
        let places: Vec<i64> = [0, 40_000, 1_040_000, 1_080_000].map(|at| scale.at(Time(at))).to_vec();
        assert_eq!(places, [0, 4444, 5555, 10_000], "40 s of work, 10 s for the wait, 40 s of work");
    }

    #[test]
    fn any_times_have_a_place() {
        for (begun, last) in [(0, 0), (5, 1), (0, i64::from(i32::MAX))] {
            let scale = Scale::of(&timing(begun, last), &[idle(3, 9), idle(5, 7), idle(20, 10)]);
            for at in [i64::from(i32::MIN), 0, 4, 8, 1000, i64::from(i32::MAX)] {
                assert!((0..=WHOLE).contains(&scale.at(Time(at))), "{begun} to {last}: {at}");
            }
        }
        assert_eq!(Scale::of(&Timing::default(), &[]).at(Time(5)), WHOLE);
        assert_eq!((percent(0), percent(1250), percent(WHOLE)), ("0.00%".into(), "12.50%".into(), "100.00%".into()));
    }
}
