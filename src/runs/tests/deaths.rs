//! A machine that dies at every record of the journal, which is a real file: before the record is on the disk, with a part of it, and right after.

use std::io::Write as _;

use super::journals::{dir, file};
use super::*;
use crate::base::clock::{ManualClock, Time};
use crate::runbook::{Check, InPod, Object, Probe, RestoreFiles};
use crate::runs::event::Record;
use crate::runs::journal::Journal;

/// What of a record is on the disk when the machine dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Before,
    Torn,
    After,
}

/// The journal of a run whose machine dies when it has so many records.
struct Dying<'a> {
    journal: Journal<'a>,
    path: PathBuf,
    written: usize,
    dies: Option<(usize, Death)>,
    is_dead: bool,
}

impl Log for Dying<'_> {
    fn write(&mut self, event: &Event) -> Result<(), JournalError> {
        let death = self.dies.filter(|(at, _)| *at == self.written).map(|(_, death)| death);
        self.is_dead |= death.is_some_and(|death| death != Death::After);
        if death == Some(Death::Torn) {
            let record = Record { at: "2026-11-01T03:00:00Z".into(), event: event.clone() };
            let line = serde_json::to_string(&record).expect("a record");
            let mut file = std::fs::OpenOptions::new().append(true).open(&self.path).expect("opened");
            file.write_all(&line.as_bytes()[..line.len() / 2]).expect("written");
        }
        if self.is_dead {
            return Err(JournalError::Busy { run: "dead".into() });
        }
        self.journal.write(event)?;
        self.written += 1;
        self.is_dead = death.is_some();
        if self.is_dead { Err(JournalError::Busy { run: "dead".into() }) } else { Ok(()) }
    }
}

fn volume(in_place: bool) -> Action {
    Action::RestoreVolume(RestoreVolume {
        from: crate::runbook::Origin { source: "s".into(), snapshot: "latest".into() },
        into: Claim { namespace: "n".into(), name: "c".into() },
        in_place,
        storage_class: None,
        size: None,
    })
}

fn files() -> Action {
    Action::RestoreFiles(RestoreFiles {
        from: crate::runbook::Origin { source: "s".into(), snapshot: "latest".into() },
        path: None,
        target: "/tmp/there".into(),
        include: Vec::new(),
        exclude: Vec::new(),
        overwrite: crate::runbook::Overwrite::Changed,
        delete: false,
        no_owner: false,
    })
}

/// One death, and what a run that is taken up makes of it.
struct Taken {
    /// Known to be done when the machine died, and how often that was carried out until then.
    known_done: Vec<(String, usize)>,
    was_over: bool,
    /// Where the run was left, unless it was over and undone, which no process takes up.
    left: Option<Left>,
    world: World,
    person: Somebody,
    told: String,
}

/// The same run, killed at every record of its journal in every way.
fn dies_everywhere(steps: &[Step], world: impl Fn() -> World, judge: impl Fn(&Taken)) {
    let clock = ManualClock::at(Time(1000));
    let whole = whole(steps, &world()).1.len();
    for (at, death) in (0..whole).flat_map(|at| [Death::Before, Death::Torn, Death::After].map(|death| (at, death))) {
        let (dir, world) = (dir(), world());
        let mut person = Somebody::default();
        let journal = Journal::begin(dir.path(), &plan(), &clock).expect("begun");
        let path = file(&dir);
        let mut dying = Dying { journal, path: path.clone(), written: 0, dies: Some((at, death)), is_dead: false };
        carry_on(steps, &[], &mut dying, &world, &mut person).expect_err("it dies");
        drop(dying);
        let (journal, found) = Journal::take_up(dir.path(), "5f0c1d2e", &clock).expect("it can be taken up");
        let events: Vec<Event> = found.records.into_iter().map(|record| record.event).collect();
        assert_eq!(events.len(), at + usize::from(death == Death::After), "no more and no less is on the disk");
        let known_done = {
            let at_death = machine(steps, &events);
            let is_done = |(index, _): &(usize, &Step)| at_death.state(*index) == State::Done;
            let done = steps.iter().enumerate().filter(is_done);
            done.map(|(_, step)| (step.id.clone(), count(&world, &step.id, "done"))).collect()
        };
        let at_death = machine(steps, &events);
        let was_over = at_death.ended().is_some();
        assert_eq!(was_over, death == Death::After && at + 1 == whole, "{events:?}");
        let mut going_on = Dying { journal, path, written: 0, dies: None, is_dead: false };
        let left = (!(was_over && at_death.is_compensated()))
            .then(|| carry_on(steps, &events, &mut going_on, &world, &mut person).expect("a journal"));
        let told = format!("died at {at}, {death:?}: {events:?}");
        assert!(world.holding.borrow().is_empty(), "something is held, {told}");
        judge(&Taken { known_done, was_over, left, world, person, told });
    }
}

/// No step that is known to be done is done again, none begins before what it needs is done, and what nobody can see is done again only when somebody was asked.
#[test]
fn a_run_that_dies_anywhere_comes_to_its_end() {
    let steps = [
        step("first", &[]),
        quiesce("hold", &["first"], Some("volume")),
        Step { action: volume(true), is_destructive: true, ..step("volume", &["hold"]) },
        Step { action: volume(false), ..step("beside", &["first"]) },
        Step { action: files(), ..step("files", &["first"]) },
        Step { action: Action::Run(vec!["true".into()]), ..step("program", &["first"]) },
        Step { action: Action::Manual("done".into()), ..step("look", &["volume", "program", "beside", "files"]) },
        Step { on_failure: OnFailure::Ask, ..step("checked", &["look"]) },
        Step { on_failure: OnFailure::Continue, ..step("bad", &["checked"]) },
        step("last", &["bad"]),
    ];
    let world = || World {
        fails: BTreeMap::from([("bad", usize::MAX)]),
        wrong: RefCell::new(BTreeMap::from([("checked", usize::MAX)])),
        ..World::default()
    };
    let most = std::cell::Cell::new(0);
    dies_everywhere(&steps, world, |taken| {
        let Taken { known_done, left, world, person, told, .. } = taken;
        assert_eq!(*left, Some(Left::Ended(Outcome::WithFailures)), "{told}");
        for (id, before) in known_done {
            // What has to hold still is the one thing that is done again: nobody knows what happened in between.
            assert!(id == "hold" || count(world, id, "done") == *before, "{id} was done again, {told}");
        }
        for step in &steps {
            let ends = usize::from(step.id != "bad");
            assert!(count(world, &step.id, "done") >= ends, "{} was not done, {told}", step.id);
        }
        for (id, need) in
            [("hold", "first"), ("volume", "hold"), ("look", "files"), ("look", "volume"), ("last", "look")]
        {
            assert!(at(world, id, "begun") > at(world, need, "done"), "{id} before {need}, {told}");
        }
        let again = |id: &str| count(world, id, "begun") > 1;
        for id in ["program", "volume"] {
            let asked = person.asked.contains(&(id.to_owned(), Question::Again));
            assert!(!again(id) || asked, "{id} was done again and nobody was asked, {told}");
        }
        assert!(person.asked.contains(&("checked".to_owned(), Question::GoOn)), "{told}");
        most.set(most.get().max(world.most_at_once.borrow().1));
    });
    assert_eq!(most.get(), 2, "restores went on at once");
}

/// What undoes is carried out to its end, each once if that is known, and nothing else is begun.
#[test]
fn a_run_that_dies_while_it_undoes_goes_on_with_that() {
    let undo = |id: &str| Step { is_compensation: true, ..step(id, &[]) };
    let steps = [
        step("first", &[]),
        quiesce("hold", &["first"], None),
        Step { on_failure: OnFailure::Run(vec!["undo".into(), "also".into()]), ..step("bad", &["hold"]) },
        step("next", &["bad"]),
        undo("undo"),
        undo("also"),
    ];
    let world = || World { fails: BTreeMap::from([("bad", usize::MAX)]), ..World::default() };
    let within = std::cell::Cell::new(0);
    dies_everywhere(&steps, world, |taken| {
        let Taken { known_done, was_over, left, world, told, .. } = taken;
        assert_eq!(*left, (!was_over).then_some(Left::Ended(Outcome::Failed)), "{told}");
        for (id, before) in known_done {
            assert!(id == "hold" || count(world, id, "done") == *before, "{id} was done again, {told}");
            within.set(within.get() + usize::from(id == "undo"));
        }
        assert!(at(world, "also", "begun") > at(world, "undo", "done"), "{told}");
        assert!(count(world, "also", "done") >= 1 && count(world, "next", "begun") == 0, "{told}");
        assert!(at(world, "hold", "let go") != usize::MAX, "{told}");
    });
    assert!(within.get() > 3, "it died between what undoes, too");
}

fn object() -> Object {
    Object { namespace: Some("n".into()), resource: "deployments".into(), group: "apps".into(), name: "app".into() }
}

fn in_pod() -> InPod {
    InPod { object: object(), container: None, argv: vec!["true".into()] }
}

/// A step of every kind, and whether nobody sees afterwards that it came to its end.
fn every_kind() -> Vec<(Action, bool)> {
    let from = || crate::runbook::Origin { source: "s".into(), snapshot: "latest".into() };
    let check = || Check {
        probe: Probe::Tcp("a.example:1".into()),
        retries: None,
        deadline: None,
        every: Duration::from_secs(1),
    };
    let resources = crate::runbook::read(RESOURCES.as_bytes(), &JUDGES).runbook.expect("right");
    let resources = resources.sampled(&JUDGES).expect("right").remove(0).action;
    let claims = vec![Claim { namespace: "n".into(), name: "c".into() }];
    let all = vec![
        volume(false),
        volume(true),
        resources,
        files(),
        Action::RestoreDatastore { from: from(), data_dir: "/tmp/k3s".into() },
        Action::Gitops { pause: true, namespaces: Vec::new(), names: Vec::new() },
        Action::Gitops { pause: false, namespaces: Vec::new(), names: Vec::new() },
        Action::Scale { object: object(), replicas: 0 },
        Action::Quiesce { claims, how: Quiet::Scale, until: Some("last".into()) },
        Action::Pause(Duration::from_secs(5)),
        Action::WaitUntil { checks: vec![check()], every: Duration::from_secs(1) },
        Action::Check(vec![check()]),
        Action::Exec(in_pod()),
        Action::Run(vec!["true".into()]),
        Action::Notify("it is back".into()),
        Action::Manual("done".into()),
    ];
    // A kind that comes is missed here by the compiler.
    let unseen = |action: &Action| match action {
        Action::Run(_) | Action::Exec(_) => true,
        Action::RestoreVolume(volume) => volume.in_place,
        Action::RestoreResources(_)
        | Action::RestoreFiles(_)
        | Action::RestoreDatastore { .. }
        | Action::Gitops { .. }
        | Action::Scale { .. }
        | Action::Quiesce { .. }
        | Action::Pause(_)
        | Action::WaitUntil { .. }
        | Action::Check(_)
        | Action::Notify(_)
        | Action::Manual(_) => false,
    };
    let kinds: BTreeSet<String> = all.iter().map(|action| format!("{:?}", std::mem::discriminant(action))).collect();
    assert_eq!(kinds.len(), 14, "one of each kind");
    all.into_iter().map(|action| (unseen(&action), action)).map(|(unseen, action)| (action, unseen)).collect()
}

const RESOURCES: &str = "---\nid: t\ntitle: T\n---\nX.\n\n## A\n\nX.\n\n```yaml step\nid: all\nneeds: []\nrestore.resources: {source: cluster}\nverify: [ready: {namespace: n}]\n```\n";

/// Every kind of step, with each of what is to be done about its failure: it works, or fails whenever it is tried, and the machine dies at every record of it.
#[test]
fn a_run_that_dies_in_a_step_of_any_kind_goes_on_as_the_step_says() {
    let ways = [
        None,
        Some(OnFailure::Stop),
        Some(OnFailure::Continue),
        Some(OnFailure::Ask),
        Some(OnFailure::Run(vec!["undo".into()])),
    ];
    for ((action, unseen), way) in every_kind().into_iter().flat_map(|kind| ways.clone().map(|way| (kind.clone(), way)))
    {
        let is_hold = matches!(action, Action::Quiesce { .. });
        let steps = [
            step("first", &[]),
            Step { action, on_failure: way.clone().unwrap_or(OnFailure::Stop), ..step("it", &["first"]) },
            step("last", &["it"]),
            Step { is_compensation: true, ..step("undo", &[]) },
        ];
        let fails = if way.is_some() { usize::MAX } else { 0 };
        let world = || World { fails: BTreeMap::from([("it", fails)]), ..World::default() };
        dies_everywhere(&steps, world, |taken| {
            let Taken { known_done, was_over, left, world, person, told } = taken;
            let told = format!("{:?}, {way:?}, {told}", steps[1].action);
            let (expected, last) = match way {
                None => (Outcome::Recovered, 1),
                Some(OnFailure::Continue | OnFailure::Ask) => (Outcome::WithFailures, 1),
                Some(OnFailure::Stop | OnFailure::Run(_)) => (Outcome::Failed, 0),
            };
            let is_undone = matches!(way, Some(OnFailure::Run(_)));
            assert_eq!(*left, (!(*was_over && is_undone)).then_some(Left::Ended(expected)), "{told}");
            for (id, before) in known_done {
                assert!((is_hold && id == "it") || count(world, id, "done") == *before, "{id} was done again, {told}");
            }
            let done = |id: &str| count(world, id, "done");
            assert_eq!(
                (done("first") >= 1, done("last") >= 1, done("undo") >= 1),
                (true, last == 1, is_undone),
                "{told}"
            );
            assert_eq!(done("it") >= 1, way.is_none(), "{told}");
            // Tried again after a failure that was seen it is not asked about; after a death it is, if nobody sees what came of it.
            let asked = person.asked.iter().filter(|asked| **asked == ("it".to_owned(), Question::Again)).count();
            let ends = person.asked.iter().filter(|asked| **asked == ("it".to_owned(), Question::GoOn)).count();
            assert!(unseen || asked == 0, "{told}");
            assert!(way.is_some() || !unseen || count(world, "it", "begun") <= 1 + asked, "{told}");
            assert_eq!(ends > 0, way == Some(OnFailure::Ask), "{told}");
        });
    }
}
