//! Every fault at every step: it fails, its check does not hold, it is too slow, it is stopped; and whatever is to be done about a failure.

use super::*;

/// What goes wrong with a step, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Fails,
    Wrong,
    Slow,
    /// Somebody stops the run while it is carried out, or while it is looked at what it promises.
    Stopped,
    StoppedAtCheck,
}

const FAULTS: [Fault; 5] = [Fault::Fails, Fault::Wrong, Fault::Slow, Fault::Stopped, Fault::StoppedAtCheck];

/// What is to be done about it, and what somebody says who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Stop,
    Continue,
    Agreed,
    Declined,
    Undo,
}

const WAYS: [Way; 5] = [Way::Stop, Way::Continue, Way::Agreed, Way::Declined, Way::Undo];

fn steps(wrong: &str, way: Way) -> Vec<Step> {
    let undo = Step { is_compensation: true, ..step("undo", &[]) };
    let mut steps = vec![
        step("first", &[]),
        quiesce("hold", &["first"], Some("copy")),
        step("beside", &["first"]),
        step("copy", &["hold"]),
        step("last", &["beside", "copy"]),
        undo,
    ];
    for step in steps.iter_mut().filter(|step| step.id == wrong) {
        step.on_failure = match way {
            Way::Stop => OnFailure::Stop,
            Way::Continue => OnFailure::Continue,
            Way::Agreed | Way::Declined => OnFailure::Ask,
            Way::Undo => OnFailure::Run(vec!["undo".into()]),
        };
    }
    steps
}

fn world(id: &'static str, fault: Fault) -> World {
    let once = |is: Fault| usize::from(fault == is);
    World {
        fails: BTreeMap::from([(id, once(Fault::Fails))]),
        wrong: RefCell::new(BTreeMap::from([(id, once(Fault::Wrong))])),
        slow: if fault == Fault::Slow { BTreeSet::from([id]) } else { BTreeSet::new() },
        ..World::default()
    }
}

fn needs(steps: &[Step], id: &str, other: &str) -> bool {
    let of = steps.iter().find(|step| step.id == id).map(|step| step.needs.clone()).unwrap_or_default();
    of.iter().any(|need| need == other || needs(steps, need, other))
}

#[test]
fn whatever_goes_wrong_with_a_step_the_others_do_what_it_says_and_nothing_stays_held() {
    for id in ["first", "hold", "beside", "copy", "last"] {
        for (fault, way) in FAULTS.into_iter().flat_map(|fault| WAYS.map(|way| (fault, way))) {
            goes_wrong(id, fault, way);
        }
    }
}

fn goes_wrong(id: &'static str, fault: Fault, way: Way) {
    let steps = steps(id, way);
    let told = format!("{id}, {fault:?}, {way:?}");
    let (mut world, cancel) = (world(id, fault), Cancel::default());
    let no = BTreeMap::from([((id.to_owned(), Question::GoOn), Answer::No("stop".into()))]);
    let answers = if way == Way::Declined { no } else { BTreeMap::new() };
    let mut person = Somebody { answers, ..Somebody::default() };
    let mut log = Memory::default();
    let left = {
        let by = match fault {
            Fault::Stopped => Meddler::StopsIn(id),
            Fault::StoppedAtCheck => Meddler::StopsAtChecksOf(id),
            Fault::Fails | Fault::Wrong | Fault::Slow => Meddler::Nobody,
        };
        let hands = Meddled { world: &world, cancel: &cancel, by };
        stoppable(&steps, &[], &mut log, (&hands, &cancel), &mut person).expect("a journal")
    };
    let is_stop = matches!(fault, Fault::Stopped | Fault::StoppedAtCheck);
    let expected = match way {
        _ if is_stop => Left::Paused,
        Way::Continue | Way::Agreed => Left::Ended(Outcome::WithFailures),
        Way::Stop | Way::Declined | Way::Undo => Left::Ended(Outcome::Failed),
    };
    assert_eq!(left, expected, "{told}");
    assert!(world.holding.borrow().is_empty(), "something is held, {told}");
    let goes_on = !is_stop && matches!(way, Way::Continue | Way::Agreed);
    for step in steps.iter().filter(|step| step.id != id && !step.is_compensation) {
        let begun = count(&world, &step.id, "begun");
        assert!(begun <= 1, "{}, {told}", step.id);
        assert!(!goes_on || begun == 1, "{} was not begun, {told}", step.id);
        assert!(goes_on || !needs(&steps, &step.id, id) || begun == 0, "{} was begun, {told}", step.id);
    }
    assert_eq!(count(&world, "undo", "done"), usize::from(way == Way::Undo && !is_stop), "{told}");
    assert_eq!(person.asked.len(), usize::from(matches!(way, Way::Agreed | Way::Declined) && !is_stop), "{told}");
    if goes_on || (way == Way::Undo && !is_stop) {
        return;
    }
    // What was wrong is mended, and the run is taken up.
    let known_done: Vec<(String, usize)> = {
        let machine = machine(&steps, &log.events);
        let is_done = |(index, _): &(usize, &Step)| machine.state(*index) == State::Done;
        let done = steps.iter().enumerate().filter(is_done);
        done.map(|(_, step)| (step.id.clone(), count(&world, &step.id, "done"))).collect()
    };
    world.slow.clear();
    let left = go(&steps, &mut log, &world, &mut Somebody::default()).expect("a journal");
    assert_eq!(left, Left::Ended(Outcome::Recovered), "{told}");
    assert!(world.holding.borrow().is_empty(), "something is held at the end, {told}");
    for (done, before) in known_done {
        assert!(done == "hold" || count(&world, &done, "done") == before, "{done} was done again, {told}");
    }
    for step in steps.iter().filter(|step| !step.is_compensation) {
        assert!(count(&world, &step.id, "done") >= 1, "{} was not done, {told}", step.id);
    }
    // Whatever happened before, what copies does so while it holds still.
    let acts = world.acts.borrow();
    let copied = acts.iter().rposition(|(step, act)| step == "copy" && *act == "done");
    let held = acts.iter().take(copied.unwrap_or_default()).rposition(|(step, _)| step == "hold");
    let last = held.and_then(|at| acts.get(at)).map(|(_, act)| *act);
    assert_eq!(last, Some("done"), "{told}: {acts:?}");
}
