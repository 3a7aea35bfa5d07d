//! Runs under simulated hands and time: every fault at every step, and a machine that dies at every record of the journal.

mod deaths;
mod faults;
mod journals;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::drive::{Answer, Driver, Hands, Left, Person, Undone};
use super::event::{Event, Outcome, Question};
use super::hands::failed;
use super::journal::{JournalError, Log};
use super::machine::{Machine, State};
use super::plan::RunPlan;
use crate::base::cancel::Cancel;
use crate::language::Judges;
use crate::runbook::{Action, Claim, OnFailure, Quiet, RestoreVolume, Step};

pub(super) const JUDGES: Judges<'_> = Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) };

/// A plan of a runbook of one step, in which nothing is chosen; two steps at once.
pub(super) fn plan() -> RunPlan {
    let text =
        "---\nid: t\ntitle: T\nparallel: 2\n---\nX.\n\n## A\n\nX.\n\n```yaml step\nid: a\nneeds: []\nmanual: {}\n```\n";
    let runbook = crate::runbook::read(text.as_bytes(), &JUDGES).runbook.expect("right");
    RunPlan::new("5f0c1d2e".into(), String::new(), &runbook, text, BTreeMap::new())
}

fn step(id: &str, needs: &[&str]) -> Step {
    Step {
        id: id.into(),
        title: String::new(),
        needs: needs.iter().map(ToString::to_string).collect(),
        timeout: Duration::from_mins(1),
        action: Action::Notify(id.into()),
        verify: Vec::new(),
        on_failure: OnFailure::Stop,
        is_destructive: false,
        is_compensation: false,
    }
}

fn quiesce(id: &str, needs: &[&str], until: Option<&str>) -> Step {
    let claims = vec![Claim { namespace: "media".into(), name: "data".into() }];
    Step { action: Action::Quiesce { claims, how: Quiet::Scale, until: until.map(str::to_owned) }, ..step(id, needs) }
}

/// A journal in memory.
#[derive(Default)]
struct Memory {
    events: Vec<Event>,
}

impl Log for Memory {
    fn write(&mut self, event: &Event) -> Result<(), JournalError> {
        self.events.push(event.clone());
        Ok(())
    }
}

#[derive(Default)]
struct World {
    /// What was carried out, begun or to its end, in this order.
    acts: RefCell<Vec<(String, &'static str)>>,
    fails: BTreeMap<&'static str, usize>,
    tried: RefCell<BTreeMap<String, usize>>,
    /// How often their checks do not hold.
    wrong: RefCell<BTreeMap<&'static str, usize>>,
    slow: BTreeSet<&'static str>,
    most_at_once: RefCell<(usize, usize)>,
    holding: RefCell<BTreeSet<String>>,
}

#[async_trait(?Send)]
impl Hands for World {
    async fn act(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        self.acts.borrow_mut().push((step.id.clone(), "begun"));
        {
            let mut at_once = self.most_at_once.borrow_mut();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        let long = Duration::from_secs(if self.slow.contains(step.id.as_str()) { 3600 } else { 1 });
        let result = tokio::select! {
            () = tokio::time::sleep(long) => Ok(()),
            () = cancel.cancelled() => Err(Undone::Stopped),
        };
        self.most_at_once.borrow_mut().0 -= 1;
        result?;
        let mut all = self.tried.borrow_mut();
        let tries = all.entry(step.id.clone()).or_default();
        *tries += 1;
        if *tries <= self.fails.get(step.id.as_str()).copied().unwrap_or_default() {
            return Err(failed("as told", ""));
        }
        if matches!(step.action, Action::Quiesce { .. }) {
            self.holding.borrow_mut().insert(step.id.clone());
        }
        self.acts.borrow_mut().push((step.id.clone(), "done"));
        Ok(vec!["done".into()])
    }

    async fn verify(&self, step: &Step, _: &Cancel) -> Result<Vec<String>, Undone> {
        let mut wrong = self.wrong.borrow_mut();
        match wrong.get_mut(step.id.as_str()).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                Err(failed("a check", ""))
            }
            None => Ok(vec!["seen".into()]),
        }
    }

    fn seen(&self, step: &Step) -> Option<String> {
        self.slow.contains(step.id.as_str()).then(|| "replicas 0/1".to_owned())
    }

    fn checked(&self, _step: &Step) -> Vec<Event> {
        Vec::new()
    }

    async fn let_go(&self, step: &Step) -> (Vec<String>, bool) {
        self.holding.borrow_mut().remove(&step.id);
        self.acts.borrow_mut().push((step.id.clone(), "let go"));
        (Vec::new(), true)
    }
}

/// What somebody else does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meddler {
    Nobody,
    /// Stops it while this step is carried out.
    StopsIn(&'static str),
    /// Stops it while is looked at what this step promises.
    StopsAtChecksOf(&'static str),
    /// Takes its target over when this step is done.
    TakesOverAfter(&'static str),
}

/// Hands in whose work somebody else meddles.
struct Meddled<'a> {
    world: &'a World,
    cancel: &'a Cancel,
    by: Meddler,
}

#[async_trait(?Send)]
impl Hands for Meddled<'_> {
    async fn act(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        if matches!(self.by, Meddler::StopsIn(id) if id == step.id) {
            self.cancel.cancel();
        }
        self.world.act(step, cancel).await
    }

    async fn verify(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone> {
        if matches!(self.by, Meddler::StopsAtChecksOf(id) if id == step.id) {
            self.cancel.cancel();
            cancel.cancelled().await;
            return Err(Undone::Stopped);
        }
        self.world.verify(step, cancel).await
    }

    fn checked(&self, step: &Step) -> Vec<Event> {
        self.world.checked(step)
    }

    async fn let_go(&self, step: &Step) -> (Vec<String>, bool) {
        self.world.let_go(step).await
    }

    fn taken_by(&self) -> Option<String> {
        matches!(self.by, Meddler::TakesOverAfter(id) if count(self.world, id, "done") > 0)
            .then(|| "another".to_owned())
    }
}

/// Answers as it was told to, and keeps what it was asked.
#[derive(Default)]
struct Somebody {
    answers: BTreeMap<(String, Question), Answer>,
    asked: Vec<(String, Question)>,
}

impl Ord for Question {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

impl PartialOrd for Question {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[async_trait(?Send)]
impl Person for Somebody {
    async fn ask(&mut self, step: &Step, question: Question) -> Answer {
        self.asked.push((step.id.clone(), question));
        self.answers.get(&(step.id.clone(), question)).cloned().unwrap_or(Answer::Yes("yes".into()))
    }

    fn told(&mut self, _: &Event) {}

    fn name(&self) -> String {
        "somebody".into()
    }
}

fn machine<'a>(steps: &'a [Step], events: &[Event]) -> Machine<'a> {
    let mut machine = Machine::new(steps, 2);
    for event in events {
        machine.apply(event);
    }
    machine
}

fn taken_up() -> Event {
    Event::TakenUp { host: "h".into(), by: "b".into(), version: "v".into() }
}

/// Takes a run up with what its journal has, in simulated time.
fn go(steps: &[Step], log: &mut Memory, world: &World, person: &mut Somebody) -> Result<Left, JournalError> {
    let events = log.events.clone();
    carry_on(steps, &events, log, world, person)
}

fn carry_on(
    steps: &[Step],
    events: &[Event],
    log: &mut dyn Log,
    hands: &dyn Hands,
    person: &mut Somebody,
) -> Result<Left, JournalError> {
    let cancel = Cancel::default();
    stoppable(steps, events, log, (hands, &cancel), person)
}

/// The same, where somebody may ask for a stop.
fn stoppable(
    steps: &[Step],
    events: &[Event],
    log: &mut dyn Log,
    (hands, cancel): (&dyn Hands, &Cancel),
    person: &mut Somebody,
) -> Result<Left, JournalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let machine = machine(steps, events);
    let mut driver = Driver { steps, machine, log, hands, person, cancel };
    driver.happened(&taken_up())?;
    runtime.expect("a runtime").block_on(driver.run())
}

fn whole(steps: &[Step], world: &World) -> (Left, Vec<Event>) {
    let mut log = Memory::default();
    let left = go(steps, &mut log, world, &mut Somebody::default()).expect("a journal");
    (left, log.events)
}

fn count(world: &World, id: &str, what: &str) -> usize {
    world.acts.borrow().iter().filter(|(step, act)| step == id && *act == what).count()
}

fn at(world: &World, id: &str, what: &str) -> usize {
    world.acts.borrow().iter().position(|(step, act)| step == id && *act == what).unwrap_or(usize::MAX)
}

#[test]
fn steps_run_in_order_and_at_once_where_they_may() {
    let steps = [step("a", &[]), step("b", &[]), step("c", &[]), step("d", &["a", "b"])];
    let world = World::default();
    let (left, events) = whole(&steps, &world);
    assert_eq!(left, Left::Ended(Outcome::Recovered));
    assert_eq!(world.most_at_once.borrow().1, 2, "as many as are allowed, and no more");
    assert!(at(&world, "d", "begun") > at(&world, "a", "done").max(at(&world, "b", "done")));
    let begun = events.iter().position(|event| matches!(event, Event::Begun { step } if step == "d"));
    let done = events.iter().position(|event| matches!(event, Event::Done { step, .. } if step == "a"));
    assert!(begun > done, "{events:?}");
}

#[test]
fn what_fails_does_as_its_step_says() {
    let undo = Step { is_compensation: true, ..step("undo", &[]) };
    let also = Step { is_compensation: true, ..step("also", &[]) };
    let of = |on_failure: OnFailure| {
        let bad = Step { on_failure, ..step("bad", &[]) };
        let steps = [bad, step("next", &["bad"]), undo.clone(), also.clone()];
        let world = World { fails: BTreeMap::from([("bad", 9)]), ..World::default() };
        let (left, _) = whole(&steps, &world);
        let done = |id| count(&world, id, "done");
        (left, done("next"), done("undo"), done("also"))
    };
    assert_eq!(of(OnFailure::Stop), (Left::Ended(Outcome::Failed), 0, 0, 0));
    assert_eq!(of(OnFailure::Continue), (Left::Ended(Outcome::WithFailures), 1, 0, 0));
    assert_eq!(of(OnFailure::Ask), (Left::Ended(Outcome::WithFailures), 1, 0, 0), "somebody says go on");
    let undone = of(OnFailure::Run(vec!["undo".into(), "also".into()]));
    assert_eq!(undone, (Left::Ended(Outcome::Failed), 0, 1, 1));
}

#[test]
fn a_failed_run_goes_on_where_it_stopped_and_an_undone_one_does_not() {
    let steps = [step("a", &[]), step("bad", &["a"]), step("next", &["bad"])];
    let world = World { fails: BTreeMap::from([("bad", 1)]), ..World::default() };
    let mut log = Memory::default();
    let first = go(&steps, &mut log, &world, &mut Somebody::default()).expect("a journal");
    assert_eq!(first, Left::Ended(Outcome::Failed));
    let again = go(&steps, &mut log, &world, &mut Somebody::default()).expect("a journal");
    assert_eq!(again, Left::Ended(Outcome::Recovered));
    assert_eq!((count(&world, "a", "begun"), count(&world, "bad", "begun"), count(&world, "next", "done")), (1, 2, 1));
    let undo = Step { is_compensation: true, ..step("undo", &[]) };
    let bad = Step { on_failure: OnFailure::Run(vec!["undo".into()]), ..step("bad", &[]) };
    let steps = [bad, undo];
    let world = World { fails: BTreeMap::from([("bad", 1)]), ..World::default() };
    let (_, events) = whole(&steps, &world);
    let over = machine(&steps, &events);
    assert!(over.is_compensated() && over.ended() == Some(Outcome::Failed));
}

#[test]
fn a_step_that_takes_too_long_is_stopped_and_has_failed() {
    let steps = [step("slow", &[])];
    let world = World { slow: BTreeSet::from(["slow"]), ..World::default() };
    let (left, events) = whole(&steps, &world);
    assert_eq!(left, Left::Ended(Outcome::Failed));
    let failed = events.iter().any(
        |event| matches!(event, Event::Failed { why, took, .. } if why.ends_with("not done after 1m and was stopped; seen last: replicas 0/1") && *took >= 60_000),
    );
    assert!(failed, "{events:?}");
}

#[test]
fn what_took_too_long_is_not_begun_a_second_time_beside_itself_unasked() {
    let exec = || {
        let object = crate::runbook::Object {
            namespace: Some("media".into()),
            resource: "pods".into(),
            group: String::new(),
            name: "db".into(),
        };
        Action::Exec(crate::runbook::InPod { object, container: None, argv: vec!["pg_restore".into()] })
    };
    let (asked, unasked) = (vec![("it".to_owned(), Question::Again)], Vec::new());
    for (action, expected) in
        [(exec(), &asked), (Action::Run(vec!["pg_restore".into()]), &asked), (Action::Notify("it".into()), &unasked)]
    {
        let steps = [Step { action, ..step("it", &[]) }];
        let world = World { slow: BTreeSet::from(["it"]), ..World::default() };
        let (mut log, mut person) = (Memory::default(), Somebody::default());
        let first = go(&steps, &mut log, &world, &mut person).expect("a journal");
        assert_eq!((first, &person.asked), (Left::Ended(Outcome::Failed), &unasked));
        let world = World::default();
        let nobody = BTreeMap::from([(("it".to_owned(), Question::Again), Answer::Nobody)]);
        let mut absent = Somebody { answers: nobody, ..Somebody::default() };
        let mut alone = Memory { events: log.events.clone() };
        let left = go(&steps, &mut alone, &world, &mut absent).expect("a journal");
        assert_eq!(matches!(left, Left::Waits { .. }), !expected.is_empty(), "{left:?}");
        assert_eq!(count(&world, "it", "begun"), usize::from(expected.is_empty()), "nobody agreed");
        let second = go(&steps, &mut log, &World::default(), &mut person).expect("a journal");
        assert_eq!((second, &person.asked), (Left::Ended(Outcome::Recovered), expected));
    }
    // What failed where its end was seen is tried again without a question.
    let steps = [Step { action: exec(), ..step("it", &[]) }];
    let world = World { fails: BTreeMap::from([("it", 1)]), ..World::default() };
    let (mut log, mut person) = (Memory::default(), Somebody::default());
    for expected in [Outcome::Failed, Outcome::Recovered] {
        assert_eq!(go(&steps, &mut log, &world, &mut person).expect("a journal"), Left::Ended(expected));
    }
    assert_eq!(person.asked, []);
}

#[test]
fn a_person_is_asked_when_nothing_else_can_go_on_and_nobody_pauses_the_run() {
    let manual = Step { action: Action::Manual("done".into()), ..step("look", &[]) };
    let steps = [manual, step("a", &[]), step("b", &["a"]), step("last", &["look"])];
    let world = World::default();
    let mut log = Memory::default();
    let nobody = BTreeMap::from([(("look".to_owned(), Question::Manual), Answer::Nobody)]);
    let mut person = Somebody { answers: nobody, ..Somebody::default() };
    let left = go(&steps, &mut log, &world, &mut person).expect("a journal");
    assert_eq!(left, Left::Waits { step: "look".into(), question: Question::Manual });
    assert_eq!((count(&world, "b", "done"), count(&world, "look", "begun")), (1, 0), "everything else first");
    let left = go(&steps, &mut log, &world, &mut Somebody::default()).expect("a journal");
    assert_eq!(left, Left::Ended(Outcome::Recovered));
    let agreed = log.events.iter().find(|event| matches!(event, Event::Agreed { .. }));
    let expected =
        Event::Agreed { step: "look".into(), question: Question::Manual, said: "yes".into(), by: "somebody".into() };
    assert_eq!(agreed, Some(&expected), "who said what is in the journal");
}

#[test]
fn what_replaces_is_agreed_to_for_one_try_and_a_failed_check_alone_does_it_not_again() {
    let steps = [Step { is_destructive: true, ..step("replace", &[]) }, step("last", &["replace"])];
    let world = World { wrong: RefCell::new(BTreeMap::from([("replace", 2)])), ..World::default() };
    let mut log = Memory::default();
    let mut person = Somebody::default();
    for _ in 0..2 {
        let left = go(&steps, &mut log, &world, &mut person).expect("a journal");
        assert_eq!(left, Left::Ended(Outcome::Failed));
    }
    assert_eq!(go(&steps, &mut log, &world, &mut person).expect("a journal"), Left::Ended(Outcome::Recovered));
    assert_eq!(
        (count(&world, "replace", "begun"), person.asked.len()),
        (1, 1),
        "it was done once, and asked about once"
    );
    let world = World { fails: BTreeMap::from([("replace", 1)]), ..World::default() };
    let mut log = Memory::default();
    go(&steps, &mut log, &world, &mut person).expect("a journal");
    go(&steps, &mut log, &world, &mut person).expect("a journal");
    assert_eq!((count(&world, "replace", "begun"), person.asked.len()), (2, 3), "asked before each try");
    // Somebody says that it is passed: it is left as it is.
    let world = World { fails: BTreeMap::from([("replace", 9)]), ..World::default() };
    let mut log = Memory::default();
    go(&steps, &mut log, &world, &mut person).expect("a journal");
    let (said, by) = ("--confirm replace".to_owned(), "somebody".to_owned());
    log.events.push(Event::Agreed { step: "replace".into(), question: Question::GoOn, said, by });
    let left = go(&steps, &mut log, &world, &mut person).expect("a journal");
    assert_eq!((left, count(&world, "replace", "begun")), (Left::Ended(Outcome::WithFailures), 1));
}

#[test]
fn doubtful_data_is_asked_about_before_it_is_taken() {
    let steps = [step("a", &[])];
    let doubting = Machine::new(&steps, 1).doubting(["a".to_owned()]);
    assert_eq!(doubting.next(), super::machine::Next::Ask(0, Question::Doubtful));
}

#[test]
fn who_does_not_agree_stops_the_run_before_the_step() {
    let steps = [Step { is_destructive: true, ..step("replace", &[]) }];
    let world = World::default();
    let mut log = Memory::default();
    let no = BTreeMap::from([(("replace".to_owned(), Question::Destructive), Answer::No("stop".into()))]);
    let left = go(&steps, &mut log, &world, &mut Somebody { answers: no, ..Somebody::default() }).expect("a journal");
    assert_eq!(left, Left::Declined { step: "replace".into() });
    assert!(world.acts.borrow().is_empty());
    assert_eq!(
        go(&steps, &mut log, &world, &mut Somebody::default()).expect("a journal"),
        Left::Ended(Outcome::Recovered)
    );
}

#[test]
fn what_holds_still_goes_on_when_its_time_is_over_and_also_after_a_failure() {
    let steps = [
        quiesce("hold", &[], Some("copy")),
        quiesce("long", &[], None),
        step("copy", &["hold", "long"]),
        step("later", &["copy"]),
    ];
    let world = World::default();
    let (left, events) = whole(&steps, &world);
    assert_eq!(left, Left::Ended(Outcome::Recovered));
    assert!(at(&world, "hold", "let go") > at(&world, "copy", "done"));
    assert!(at(&world, "hold", "let go") < at(&world, "later", "done"), "not later than needed");
    assert!(at(&world, "long", "let go") > at(&world, "later", "done"), "at the end");
    assert!(matches!(events.last(), Some(Event::Ended { .. })));
    let world = World { fails: BTreeMap::from([("copy", 1)]), ..World::default() };
    let mut log = Memory::default();
    let left = go(&steps, &mut log, &world, &mut Somebody::default()).expect("a journal");
    assert_eq!((left, world.holding.borrow().len()), (Left::Ended(Outcome::Failed), 0));
    // Taken up, it holds still again before what needs it is tried again.
    world.acts.borrow_mut().clear();
    let left = go(&steps, &mut log, &world, &mut Somebody::default()).expect("a journal");
    assert_eq!((left, world.holding.borrow().len()), (Left::Ended(Outcome::Recovered), 0));
    assert!(at(&world, "hold", "done") < at(&world, "copy", "begun"));
}

#[test]
fn a_stop_lets_go_and_the_run_can_be_taken_up() {
    let steps = [quiesce("hold", &[], None), step("copy", &["hold"])];
    let (world, cancel, mut log) = (World::default(), Cancel::default(), Memory::default());
    let mut person = Somebody::default();
    let hands = Meddled { world: &world, cancel: &cancel, by: Meddler::StopsIn("copy") };
    let left = stoppable(&steps, &[], &mut log, (&hands, &cancel), &mut person).expect("a journal");
    assert_eq!(left, Left::Paused);
    assert!(world.holding.borrow().is_empty(), "nothing is held while nobody carries it out");
    let world = World::default();
    assert_eq!(go(&steps, &mut log, &world, &mut person).expect("a journal"), Left::Ended(Outcome::Recovered));
    assert_eq!(count(&world, "hold", "done"), 1, "it holds still again");
}

#[test]
fn a_target_that_somebody_else_has_taken_is_left_before_the_next_step() {
    let steps = [quiesce("hold", &[], None), step("a", &["hold"]), step("b", &["a"])];
    let (world, mut log, mut person) = (World::default(), Memory::default(), Somebody::default());
    let cancel = Cancel::default();
    let hands = Meddled { world: &world, cancel: &cancel, by: Meddler::TakesOverAfter("a") };
    let left = stoppable(&steps, &[], &mut log, (&hands, &cancel), &mut person).expect("a journal");
    assert_eq!(left, Left::TakenOver { by: "another".into() });
    assert!(world.holding.borrow().is_empty() && count(&world, "b", "begun") == 0);
    let why = Event::Paused { why: "the target was taken over by another".into() };
    assert_eq!(log.events.last(), Some(&why));
    assert!(!log.events.contains(&Event::Begun { step: "b".into() }), "it was not even announced");
    assert_eq!(go(&steps, &mut log, &world, &mut person).expect("a journal"), Left::Ended(Outcome::Recovered));
}
