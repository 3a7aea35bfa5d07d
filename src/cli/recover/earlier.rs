//! What earlier tries of a run have left, before it is taken up: what is to be done again, what is let pass, and what they had restored and is not there any more.

use std::collections::BTreeSet;

use super::person::account;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::format::entry::escape;
use crate::runbook::{Action, Step};
use crate::runs::event::{Event, Question};
use crate::runs::hands::World;
use crate::runs::machine::{Machine, State};

/// Steps that a manual one comes after which is done, or is said to be: a person may have taken away what they brought back, as its prose says, and has looked.
fn by_hand<'a>(confirmed: &[String], steps: &'a [Step], machine: &Machine<'_>) -> BTreeSet<&'a str> {
    let is_done = |(index, step): &(usize, &Step)| {
        let is_said = confirmed.contains(&step.id) && machine.state(*index) == State::Waiting;
        matches!(step.action, Action::Manual(_)) && (is_said || machine.state(*index) == State::Done)
    };
    let manual = steps.iter().enumerate().filter(is_done).map(|(_, step)| step);
    let mut needed: BTreeSet<&str> = manual.flat_map(|step| &step.needs).map(String::as_str).collect();
    // What is needed stands above what needs it.
    for step in steps.iter().rev() {
        if needed.contains(&*step.id) {
            needed.extend(step.needs.iter().map(String::as_str));
        }
    }
    needed
}

/// What `--again` and `--confirm` say of steps that are over, as the journal is to have it. Refuses to go on upon what is not there any more, unless they say what becomes of that.
pub(super) async fn answers(
    (again, confirmed): (&[String], &[String]),
    (steps, machine): (&[Step], &Machine<'_>),
    world: &World<'_>,
    context: &Context,
) -> Result<Vec<Event>, Failure> {
    let answer = |(option, step, question): (&str, &str, Question)| {
        let said = format!("{option} {step}");
        Event::Agreed { step: step.to_owned(), question, said, by: account() }
    };
    let by_hand = by_hand(confirmed, steps, machine);
    let (mut answers, mut gone) = (Vec::new(), Vec::new());
    for (index, step) in steps.iter().enumerate() {
        let (anew, passes) = (again.contains(&step.id), confirmed.contains(&step.id));
        // One that did its work and was not verified is not done again by itself either: only its checks are made again.
        let was_done = machine.state(index) == State::Done || machine.has_acted(index);
        match machine.state(index) {
            _ if anew && was_done => answers.push(answer(("--again", &step.id, Question::Again))),
            _ if anew => {
                let what = format!("step {} is not done, so there is nothing to do again", step.id);
                return Err(Failure::usage(what, "leave --again out: what is not done is done anyway"));
            }
            State::Failed if passes => answers.push(answer(("--confirm", &step.id, Question::GoOn))),
            // What was undone on purpose is rightly not there.
            _ if was_done
                && !machine.is_let_pass(index)
                && !machine.is_compensated()
                && !by_hand.contains(&*step.id) =>
            {
                // Nothing is written yet: it can be left wherever it is.
                let lacks = tokio::select! {
                    lacks = world.gone(step) => lacks,
                    () = context.cancel.cancelled() => return Err(Failure::Interrupted),
                };
                let what = match lacks {
                    Ok(None) => continue,
                    Ok(Some(what)) => format!("what step {} had restored is not there any more: {what}", step.id),
                    Err(why) => {
                        format!("whether what step {} had restored is still there cannot be seen: {why}", step.id)
                    }
                };
                if passes {
                    answers.push(answer(("--confirm", &step.id, Question::GoOn)));
                } else {
                    gone.push((&step.id, escape(what.as_bytes())));
                }
            }
            _ => {}
        }
    }
    let Some((first, _)) = gone.first() else { return Ok(answers) };
    let what: Vec<&str> = gone.iter().map(|(_, what)| what.as_str()).collect();
    let help =
        format!("nothing was changed; --again {first} restores it once more, --confirm {first} goes on without it");
    Err(Failure::new(Exit::Refused, what.join("; "), help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::configuration::JUDGES;

    #[test]
    fn what_a_person_has_acted_upon_is_theirs_and_what_came_after_that_or_beside_it_is_not() {
        let step = |id: &str, needs: &str, what: &str| {
            format!("\n# {id}\nWhy.\n```yaml step\nid: {id}\nneeds: [{needs}]\n{what}\n```\n")
        };
        let text = [
            "---\nid: t\ntitle: T\n---\n".to_owned(),
            step("first", "", "notify: {message: x}"),
            step("second", "first", "notify: {message: x}"),
            step("beside", "", "notify: {message: x}"),
            step("look", "second", "manual: {}"),
            step("after", "look", "notify: {message: x}"),
        ];
        let runbook = crate::runbook::read(text.concat().as_bytes(), &JUDGES).runbook.expect("right");
        let steps = runbook.sampled(&JUDGES).expect("right");
        let look = || "look".to_owned();
        let mut machine = Machine::new(&steps, 2);
        assert!(by_hand(&[], &steps, &machine).is_empty(), "nobody has done anything");
        assert!(by_hand(&["after".to_owned()], &steps, &machine).is_empty(), "that is no step of a person");
        let expected = BTreeSet::from(["first", "second"]);
        assert_eq!(by_hand(&[look()], &steps, &machine), expected);
        machine.apply(&Event::Done { step: look(), said: Vec::new(), took: 1 });
        assert_eq!(by_hand(&[], &steps, &machine), expected);
    }
}
