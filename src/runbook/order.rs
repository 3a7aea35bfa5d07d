//! In which order steps can be carried out: pure sums over who needs whom. Every step needs only steps above it; the lint sees to that before.

use std::collections::BTreeMap;
use std::time::Duration;

use super::step::Step;

/// Steps that can be carried out at once, wave after wave, by their places in `steps`. Those that are carried out only when another fails are in none.
#[must_use]
pub fn waves(steps: &[Step]) -> Vec<Vec<usize>> {
    let mut wave_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (index, step) in steps.iter().enumerate().filter(|(_, step)| !step.is_compensation) {
        let after = step.needs.iter().filter_map(|need| wave_of.get(need.as_str())).map(|wave| wave + 1).max();
        let wave = after.unwrap_or_default();
        wave_of.insert(&step.id, wave);
        if waves.len() <= wave {
            waves.resize(wave + 1, Vec::new());
        }
        if let Some(wave) = waves.get_mut(wave) {
            wave.push(index);
        }
    }
    waves
}

/// The way through the steps whose time limits add up to the most: how long, and which steps. Enough steps at once are assumed.
#[must_use]
pub fn longest(steps: &[Step]) -> (Duration, Vec<&str>) {
    let mut best: BTreeMap<&str, (Duration, Option<&str>)> = BTreeMap::new();
    let mut end: Option<&str> = None;
    let total = |best: &BTreeMap<&str, (Duration, Option<&str>)>, id: Option<&str>| {
        id.and_then(|id| best.get(id)).map_or(Duration::ZERO, |(total, _)| *total)
    };
    for step in steps.iter().filter(|step| !step.is_compensation) {
        // Each once, after what it needs: so no way leads back to itself, whatever the needs are.
        if best.contains_key(step.id.as_str()) {
            continue;
        }
        // The first of equals, so that the answer is the same each time.
        let before = step.needs.iter().map(String::as_str).rev().max_by_key(|need| total(&best, Some(need)));
        let sum = total(&best, before).saturating_add(step.limit());
        best.insert(&step.id, (sum, before.filter(|need| best.contains_key(need))));
        if end.is_none() || sum > total(&best, end) {
            end = Some(&step.id);
        }
    }
    let mut way = Vec::new();
    let mut at = end;
    while let Some(id) = at {
        way.push(id);
        at = best.get(id).and_then(|(_, before)| *before);
    }
    way.reverse();
    (total(&best, end), way)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::step::{Action, OnFailure};

    fn step(id: &str, needs: &[&str], minutes: u64) -> Step {
        Step {
            id: id.into(),
            title: String::new(),
            needs: needs.iter().map(ToString::to_string).collect(),
            timeout: Duration::from_mins(minutes),
            action: Action::Manual(String::new()),
            verify: Vec::new(),
            on_failure: OnFailure::Stop,
            is_destructive: false,
            is_compensation: false,
        }
    }

    #[test]
    fn waves_and_the_longest_way() {
        let undo = Step { is_compensation: true, ..step("undo", &[], 500) };
        let steps = [step("a", &[], 5), step("b", &[], 30), undo, step("c", &["a"], 10), step("d", &["c", "b"], 1)];
        assert_eq!(waves(&steps), [vec![0, 1], vec![3], vec![4]]);
        assert_eq!(longest(&steps), (Duration::from_mins(31), vec!["b", "d"]));
        assert_eq!((waves(&[]), longest(&[])), (Vec::<Vec<usize>>::new(), (Duration::ZERO, Vec::new())));
        assert_eq!(longest(&[step("x", &[], 3), step("y", &[], 3)]).1, ["x"]);
        let wait = Step { action: Action::Pause(Duration::from_mins(4)), ..step("w", &[], 10) };
        let said = Step { action: Action::Notify(String::new()), ..step("n", &["w"], 10) };
        assert_eq!(longest(&[wait, said]), (Duration::from_mins(4), vec!["w"]), "what takes a known time takes that");
        // What the lint refuses still has an end.
        assert_eq!(longest(&[step("a", &["a", "b"], 1), step("b", &["a"], 1), step("a", &["b"], 1)]).1, ["a", "b"]);
    }
}
