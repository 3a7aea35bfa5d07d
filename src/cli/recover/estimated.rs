//! How long a plan would take, for people: where each figure comes from, and what nobody knows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::units;
use crate::format::entry::escape;
use crate::runs::estimate::Estimate;
use crate::runs::measured::Ran;
use crate::runs::plan::RunPlan;

fn in_brackets<'a>(steps: impl IntoIterator<Item = &'a String>, between: &str) -> String {
    steps.into_iter().map(|id| format!("[{id}]")).collect::<Vec<_>>().join(between)
}

fn when(ran: &Ran) -> String {
    let what = if ran.drill { "drill" } else { "run" };
    escape(format!("{what} {} of {}", ran.run, ran.day()).as_bytes())
}

/// A line or two; none of a plan of before.
pub(crate) fn estimated(plan: &RunPlan) -> Vec<String> {
    let Some(estimate) = &plan.estimate else { return Vec::new() };
    let mut lines = vec![takes(estimate, plan.bytes())];
    lines.extend(estimate.drilled.as_ref().map(|drilled| {
        format!("{} took {} in all", when(&drilled.ran), units::span(Duration::from_secs(drilled.seconds)))
    }));
    lines
}

fn takes(estimate: &Estimate, bytes: u64) -> String {
    let is_measured = |id: &String| estimate.as_in.contains_key(id);
    let by_rates = estimate.is_of_the_line || !estimate.way.iter().all(is_measured);
    let rate = if !by_rates {
        String::new()
    } else if bytes > 0 {
        let origin =
            estimate.rate_of.as_ref().map_or_else(|| "assumed".to_owned(), |ran| format!("as in {}", when(ran)));
        format!(", at {}/s ({origin})", units::bytes(estimate.bytes_a_second))
    } else {
        " (assumed)".to_owned()
    };
    let way = if estimate.is_of_the_line {
        format!(" for what several steps bring back at once{rate}")
    } else if estimate.way.is_empty() {
        String::new()
    } else {
        format!(" along {}{rate}", in_brackets(&estimate.way, " → "))
    };
    // Steps that were measured in the same run are told together.
    let mut measured: BTreeMap<(&str, &str), (&Ran, Vec<&String>)> = BTreeMap::new();
    for id in estimate.way.iter().filter(|id| is_measured(id)) {
        let Some(ran) = estimate.as_in.get(id) else { continue };
        measured.entry((&ran.made, &ran.run)).or_insert((ran, Vec::new())).1.push(id);
    }
    let of_one = |(ran, steps): (&Ran, Vec<&String>)| format!("; {} as in {}", in_brackets(steps, ", "), when(ran));
    let as_in = measured.into_values().map(of_one).collect::<Vec<_>>().concat();
    let unknown = if estimate.unknown.is_empty() {
        String::new()
    } else {
        let steps = in_brackets(&estimate.unknown, ", ");
        format!("; how long people, programs and applications take in {steps} nobody knows")
    };
    format!("about {}{way}{as_in}{unknown}", units::span(Duration::from_secs(estimate.seconds)))
}
