//! What a run does next, by what has happened. Pure: events in, the next thing to do out; the same events always lead to the same place.
//!
//! A step is carried out when all that it needs is done, was left out, or has failed and was allowed to. Questions wait until nothing else can go on, so that a person is
//! asked one thing at a time and nothing runs behind the question.

use std::collections::{BTreeSet, VecDeque};

use super::board::Standing as HowFar;
use super::event::{Event, Outcome, Question};
use crate::runbook::{Action, OnFailure, Step};

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not begun, or to be begun again.
    Waiting,
    /// Under way.
    Begun,
    /// Done and verified.
    Done,
    /// Failed.
    Failed,
    /// Left out as asked.
    Skipped,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Begin this step.
    Begin(usize),
    /// Ask about this step; nothing is under way.
    Ask(usize, Question),
    /// Let go what this `quiesce` step holds.
    LetGo(usize),
    /// Wait until something that is under way is over.
    Wait,
    /// There is nothing more to do.
    Over(Outcome),
}

/// Whether anything is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Going {
    On,
    /// What is under way comes to its end, and nothing more is begun.
    Stopping,
    /// The same, and then these.
    Compensating(VecDeque<usize>),
}

#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of the journal")]
struct Standing {
    state: State,
    /// What it was agreed to.
    agreed: Vec<Question>,
    /// It was under way when the run was cut off, or its end was not seen for another reason.
    cut_off: bool,
    /// What it does is done; what it promises has to be seen yet.
    acted: bool,
    /// A `quiesce` step that was begun, whatever became of it: it may hold something, until that was let go, or tried to be.
    holding: bool,
    /// Not all of what it held goes on.
    still_held: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    steps: &'a [Step],
    parallel: usize,
    standing: Vec<Standing>,
    going: Going,
    compensated: bool,
    ended: Option<Outcome>,
    /// Steps whose data is perhaps not all that was there, by their ids.
    doubtful: BTreeSet<String>,
}

impl<'a> Machine<'a> {
    /// A run of which nothing has happened; `parallel` steps are carried out at once.
    #[must_use]
    pub fn new(steps: &'a [Step], parallel: usize) -> Self {
        let standing = Standing {
            state: State::Waiting,
            agreed: Vec::new(),
            cut_off: false,
            acted: false,
            holding: false,
            still_held: false,
        };
        Self {
            steps,
            parallel: parallel.max(1),
            standing: vec![standing; steps.len()],
            going: Going::On,
            compensated: false,
            ended: None,
            doubtful: BTreeSet::new(),
        }
    }

    /// The same, where somebody is asked before these steps.
    #[must_use]
    pub fn doubting(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.doubtful.extend(ids);
        self
    }

    /// Where a step is.
    #[must_use]
    pub fn state(&self, step: usize) -> State {
        self.standing.get(step).map_or(State::Waiting, |standing| standing.state)
    }

    /// Whether steps that stand for others that failed were begun: what was undone is not gone on with.
    #[must_use]
    pub const fn is_compensated(&self) -> bool {
        self.compensated
    }

    /// What the run came to, if it is over.
    #[must_use]
    pub const fn ended(&self) -> Option<Outcome> {
        self.ended
    }

    /// Whether what a step does is done, so that only what it promises is looked at when it is begun again.
    #[must_use]
    pub fn has_acted(&self, step: usize) -> bool {
        self.standing.get(step).is_some_and(|standing| standing.acted)
    }

    fn standing_of(&mut self, id: &str) -> Option<&mut Standing> {
        self.index(id).and_then(|index| self.standing.get_mut(index))
    }

    fn index(&self, id: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.id == id)
    }

    fn set(&mut self, id: &str, state: State) {
        if let Some(standing) = self.standing_of(id) {
            standing.state = state;
        }
    }

    /// Moves on by what happened. Names that are of no step change nothing: a journal is read with its own plan.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::TakenUp { .. } => self.take_up(),
            Event::Begun { step } => {
                self.set(step, State::Begun);
                let is_compensation =
                    self.index(step).and_then(|index| self.steps.get(index)).is_some_and(|step| step.is_compensation);
                self.compensated |= is_compensation;
                let of = self.index(step).and_then(|index| self.steps.get(index));
                if of.is_some_and(|step| matches!(step.action, Action::Quiesce { .. }))
                    && let Some(standing) = self.standing_of(step)
                {
                    standing.holding = true;
                }
            }
            Event::Acted { step, .. } => {
                if let Some(standing) = self.standing_of(step) {
                    standing.acted = true;
                }
            }
            Event::Done { step, .. } => self.set(step, State::Done),
            Event::Skipped { step } => self.set(step, State::Skipped),
            Event::CutOff { step } => self.cut_off(step),
            Event::Failed { step, end_unseen, .. } => self.failed(step, *end_unseen),
            Event::Agreed { step, question, .. } => {
                if let Some(standing) = self.standing_of(step) {
                    let has_acted = standing.acted && standing.state != State::Skipped;
                    if *question == Question::Again && (standing.state == State::Done || has_acted) {
                        // What it had done is not there any more, or somebody wants it anew: that is another try, with its own questions.
                        (standing.state, standing.acted) = (State::Waiting, false);
                        standing.agreed.clear();
                    }
                    standing.agreed.push(*question);
                }
            }
            Event::Declined { .. } => self.stop(),
            Event::Ended { outcome } => self.ended = Some(*outcome),
            Event::LetGo { step, is_well, .. } => {
                if let Some(standing) = self.standing_of(step) {
                    (standing.holding, standing.still_held) = (false, !is_well);
                }
            }
            Event::Opened { .. }
            | Event::Checked { .. }
            | Event::LettingGo { .. }
            | Event::Asked { .. }
            | Event::Paused { .. }
            | Event::Prepared { .. }
            | Event::Refused { .. }
            | Event::Cleared { .. } => {}
        }
    }

    /// What was under way has to be done again. What stopped the run is tried again, but for what was undone since.
    fn take_up(&mut self) {
        let cut: Vec<String> = self.ids(State::Begun);
        for id in cut {
            self.cut_off(&id);
        }
        if matches!(self.going, Going::Compensating(_)) {
            return;
        }
        self.going = Going::On;
        if self.compensated {
            return;
        }
        self.ended = None;
        for id in self.ids(State::Failed) {
            let Some(index) = self.index(&id) else { continue };
            if !self.may_have_failed(index) {
                self.set(&id, State::Waiting);
                // It was agreed to one try: what is there now may be worth more.
                if let Some(standing) = self.standing_of(&id) {
                    standing.agreed.clear();
                }
            }
        }
        self.hold_again();
    }

    /// Nobody knows what has held still in between: what has to is held once more.
    fn hold_again(&mut self) {
        for (standing, step) in self.standing.iter_mut().zip(self.steps) {
            if standing.state == State::Waiting && matches!(step.action, Action::Quiesce { .. }) {
                standing.acted = false;
            }
        }
        let waits = self.standing.iter().zip(self.steps).any(|(standing, step)| {
            standing.state == State::Waiting && !step.is_compensation && !matches!(step.action, Action::Quiesce { .. })
        });
        let needed = |step: &Step| match &step.action {
            Action::Quiesce { until: Some(until), .. } => !self.is_over(until),
            Action::Quiesce { until: None, .. } => waits,
            _ => false,
        };
        let again: Vec<usize> = (0..self.steps.len())
            .filter(|index| self.state(*index) == State::Done && self.steps.get(*index).is_some_and(needed))
            .collect();
        for index in again {
            if let Some(standing) = self.standing.get_mut(index) {
                (standing.state, standing.acted) = (State::Waiting, false);
                standing.still_held = false;
            }
        }
    }

    fn is_over(&self, id: &str) -> bool {
        let state = self.index(id).map(|index| self.state(index));
        matches!(state, Some(State::Done | State::Skipped | State::Failed))
    }

    fn ids(&self, state: State) -> Vec<String> {
        let all = self.steps.iter().zip(&self.standing);
        all.filter(|(_, standing)| standing.state == state).map(|(step, _)| step.id.clone()).collect()
    }

    fn cut_off(&mut self, id: &str) {
        self.set(id, State::Waiting);
        if let Some(standing) = self.standing_of(id) {
            standing.cut_off = true;
            // It was agreed to one try.
            standing.agreed.retain(|question| *question != Question::Again);
        }
    }

    fn stop(&mut self) {
        if self.going == Going::On {
            self.going = Going::Stopping;
        }
    }

    fn failed(&mut self, id: &str, end_unseen: bool) {
        self.set(id, State::Failed);
        if let Some(standing) = self.standing_of(id) {
            standing.cut_off |= end_unseen;
        }
        let Some(step) = self.index(id).and_then(|index| self.steps.get(index)) else { return };
        if step.is_compensation {
            return; // the others of its kind are tried all the same
        }
        match &step.on_failure {
            OnFailure::Continue | OnFailure::Ask => {}
            OnFailure::Stop => self.stop(),
            OnFailure::Run(ids) => {
                let more: Vec<usize> = ids.iter().filter_map(|id| self.index(id)).collect();
                match &mut self.going {
                    Going::Compensating(queue) => queue.extend(more),
                    Going::On | Going::Stopping => self.going = Going::Compensating(more.into()),
                }
            }
        }
    }

    fn has_agreed(&self, index: usize, question: Question) -> bool {
        self.standing.get(index).is_some_and(|standing| standing.agreed.contains(&question))
    }

    /// Whether somebody has let a step pass that had failed, or of which nothing is there any more.
    #[must_use]
    pub fn is_let_pass(&self, index: usize) -> bool {
        self.has_agreed(index, Question::GoOn)
    }

    /// Whether a step that failed keeps nothing back.
    fn may_have_failed(&self, index: usize) -> bool {
        let is_allowed = self.steps.get(index).is_some_and(|step| step.on_failure == OnFailure::Continue);
        is_allowed || self.has_agreed(index, Question::GoOn)
    }

    fn is_met(&self, need: &str) -> bool {
        let Some(index) = self.index(need) else { return false };
        match self.state(index) {
            State::Done | State::Skipped => true,
            State::Failed => self.may_have_failed(index),
            State::Waiting | State::Begun => false,
        }
    }

    /// What has to be asked before a step is begun.
    fn question(&self, index: usize) -> Option<Question> {
        let step = self.steps.get(index)?;
        if self.has_acted(index) {
            return None;
        }
        let is_cut_off = self.standing.get(index).is_some_and(|standing| standing.cut_off);
        let manual = matches!(step.action, Action::Manual(_)).then_some(Question::Manual);
        let destructive = step.is_destructive.then_some(Question::Destructive);
        // Of these nobody sees afterwards whether they came to their end; and what was restored may have been changed since.
        let unseen = match &step.action {
            Action::Run(_) | Action::Exec(_) => true,
            Action::RestoreVolume(volume) => volume.in_place,
            _ => false,
        };
        let again = (is_cut_off && unseen).then_some(Question::Again);
        let doubtful = self.doubtful.contains(&step.id).then_some(Question::Doubtful);
        [manual, doubtful, destructive, again].into_iter().flatten().find(|question| !self.has_agreed(index, *question))
    }

    /// A step that holds something still, if any does.
    #[must_use]
    pub fn holding(&self) -> Option<usize> {
        self.held(true)
    }

    /// What holds still though what it holds still for is over. `at_the_end`: whatever it holds still for.
    fn held(&self, at_the_end: bool) -> Option<usize> {
        self.steps.iter().enumerate().position(|(index, step)| {
            let Action::Quiesce { until, .. } = &step.action else { return false };
            let holds = self.standing.get(index).is_some_and(|standing| standing.holding);
            holds
                && self.state(index) != State::Begun
                && (at_the_end || until.as_ref().is_some_and(|until| self.is_over(until)))
        })
    }

    /// How far it is: what is over, and what is begun as soon as what is under way is done.
    #[must_use]
    pub fn standing(&self) -> HowFar {
        let counted = || self.steps.iter().enumerate().filter(|(_, step)| !step.is_compensation);
        let is_over = |index: usize| matches!(self.state(index), State::Done | State::Failed | State::Skipped);
        let is_met_then = |need: &String| {
            self.is_met(need) || self.index(need).is_some_and(|index| self.state(index) == State::Begun)
        };
        let upcoming =
            |(index, step): &(usize, &Step)| self.state(*index) == State::Waiting && step.needs.iter().all(is_met_then);
        let next = if self.going == Going::On {
            counted().filter(upcoming).map(|(_, step)| step.id.clone()).collect()
        } else {
            Vec::new()
        };
        HowFar { over: counted().filter(|(index, _)| is_over(*index)).count(), all: counted().count(), next }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Next {
        if let Some(index) = self.held(false) {
            return Next::LetGo(index);
        }
        match (self.next_step(), self.held(true)) {
            (Next::Over(_), Some(index)) => Next::LetGo(index),
            (next, _) => next,
        }
    }

    fn next_step(&self) -> Next {
        let under_way = self.standing.iter().filter(|standing| standing.state == State::Begun).count();
        match &self.going {
            Going::On => self.next_of_all(under_way),
            _ if under_way > 0 => Next::Wait,
            Going::Stopping => Next::Over(Outcome::Failed),
            Going::Compensating(queue) => {
                let next = queue.iter().find(|index| self.state(**index) == State::Waiting);
                match next {
                    None => Next::Over(Outcome::Failed),
                    Some(index) => self.question(*index).map_or(Next::Begin(*index), |ask| Next::Ask(*index, ask)),
                }
            }
        }
    }

    fn next_of_all(&self, under_way: usize) -> Next {
        let unsettled = (0..self.steps.len()).find(|index| {
            let asks = self.steps.get(*index).is_some_and(|step| step.on_failure == OnFailure::Ask);
            asks && self.state(*index) == State::Failed && !self.may_have_failed(*index)
        });
        if let Some(index) = unsettled {
            return if under_way > 0 { Next::Wait } else { Next::Ask(index, Question::GoOn) };
        }
        let can_begin = |(index, step): &(usize, &Step)| {
            self.state(*index) == State::Waiting
                && !step.is_compensation
                && step.needs.iter().all(|need| self.is_met(need))
        };
        let ready: Vec<usize> = self.steps.iter().enumerate().filter(can_begin).map(|(index, _)| index).collect();
        let free = ready.iter().find(|index| self.question(**index).is_none());
        match (free, ready.first()) {
            (Some(index), _) if under_way < self.parallel => Next::Begin(*index),
            _ if under_way > 0 => Next::Wait,
            (_, Some(index)) => self.question(*index).map_or(Next::Begin(*index), |ask| Next::Ask(*index, ask)),
            (_, None) => Next::Over(self.outcome()),
        }
    }

    fn outcome(&self) -> Outcome {
        let all = || self.steps.iter().zip(&self.standing).filter(|(step, _)| !step.is_compensation);
        let held = self.standing.iter().any(|standing| standing.still_held);
        if held || all().any(|(_, standing)| matches!(standing.state, State::Waiting | State::Begun)) {
            return Outcome::Failed;
        }
        if all().any(|(_, standing)| standing.state == State::Failed) {
            Outcome::WithFailures
        } else {
            Outcome::Recovered
        }
    }
}
