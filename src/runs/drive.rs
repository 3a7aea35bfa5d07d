//! Carries a run out: asks the machine what is next, has it done, and writes down what came of it, before and after.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;

use super::event::{Event, Outcome, Question};
use super::journal::{JournalError, Log};
use super::machine::{Machine, Next};
use crate::base::cancel::Cancel;
use crate::base::units;
use crate::runbook::Step;

/// How long a step that was told to end has to do so, before it is dropped where it is.
const GRACE: Duration = Duration::from_mins(2);

/// Why a step is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It was told to end; it is carried out again when the run is taken up.
    Stopped,
    /// It failed.
    Failed {
        /// Why.
        why: String,
        /// What to do about it.
        help: String,
        /// It was begun, and nobody saw its end: something of it may go on.
        end_unseen: bool,
    },
}

/// What carries out steps, and looks at what they promise.
#[async_trait(?Send)]
pub trait Hands {
    /// Does what a step does. Returns what was done, line by line.
    async fn act(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone>;

    /// Looks at what a step promises. Returns what was seen, a line for each check.
    async fn verify(&self, step: &Step, cancel: &Cancel) -> Result<Vec<String>, Undone>;

    /// What was seen last of what a step waits for, while it is not as it should be.
    fn seen(&self, _step: &Step) -> Option<String> {
        None
    }

    /// What was seen of each check of a step since this was asked last, as the journal has it.
    fn checked(&self, step: &Step) -> Vec<Event>;

    /// Lets go on what a `quiesce` step holds. Returns what became of it, and whether nothing is held any more.
    async fn let_go(&self, step: &Step) -> (Vec<String>, bool);

    /// Looks whether the target is still this run's; before each step.
    async fn look(&self) {}

    /// Who has taken the target over, as far as that was seen.
    fn taken_by(&self) -> Option<String> {
        None
    }
}

/// What a person answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// They agree; what they typed.
    Yes(String),
    /// They do not; what they typed.
    No(String),
    /// There is nobody to ask.
    Nobody,
}

/// Who follows a run.
#[async_trait(?Send)]
pub trait Person {
    /// Asks, and waits for the answer; dropped when the run is to stop before there is one.
    async fn ask(&mut self, step: &Step, question: Question) -> Answer;
    /// Is told everything that is written down.
    fn told(&mut self, event: &Event);
    /// How the system calls whoever answers.
    fn name(&self) -> String;
}

/// Where a run is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// It is over.
    Ended(Outcome),
    /// It was asked to stop.
    Paused,
    /// Somebody else has the target.
    TakenOver {
        /// Who, and since when.
        by: String,
    },
    /// A person has to answer, and none is there.
    Waits {
        /// About which step.
        step: String,
        /// What.
        question: Question,
    },
    /// A person does not want it to go on.
    Declined {
        /// After which step.
        step: String,
    },
}

/// Everything that a run is given.
pub struct Driver<'a> {
    /// The steps.
    pub steps: &'a [Step],
    /// Where the run is.
    pub machine: Machine<'a>,
    /// The journal.
    pub log: &'a mut dyn Log,
    /// Who acts.
    pub hands: &'a dyn Hands,
    /// Who follows.
    pub person: &'a mut dyn Person,
    /// Whether to go on.
    pub cancel: &'a Cancel,
}

/// What of a step is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Act,
    Verify,
}

/// A part that is over: of which step, when that was begun, and what came of it.
type Over = (usize, Part, Instant, Result<Vec<String>, Undone>);

impl Driver<'_> {
    /// Writes an event down, and moves on by it.
    pub fn happened(&mut self, event: &Event) -> Result<(), JournalError> {
        self.log.write(event)?;
        self.machine.apply(event);
        self.person.told(event);
        Ok(())
    }

    /// Goes on until the run is over or stops. After an error of the journal nothing more is begun, and what is under way is waited for.
    pub async fn run(mut self) -> Result<Left, JournalError> {
        let (steps, hands) = (self.steps, self.hands);
        let dropped = Cancel::default();
        let mut under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Over> + '_>>> = FuturesUnordered::new();
        loop {
            let next = self.machine.next();
            if matches!(next, Next::Begin(_)) && !self.cancel.is_cancelled() {
                hands.look().await;
                if hands.taken_by().is_some() {
                    self.cancel.cancel();
                }
            }
            let stopping = self.cancel.is_cancelled();
            let acted = match next {
                Next::LetGo(index) => self.let_go(index).await.map(|()| None),
                Next::Begin(index) if !stopping => match steps.get(index) {
                    Some(one_more) => {
                        let begun = self.happened(&Event::Begun { step: one_more.id.clone() });
                        if begun.is_ok() {
                            let part = if self.machine.has_acted(index) { Part::Verify } else { Part::Act };
                            let part = (part, Instant::now());
                            under_way.push(Box::pin(one((index, one_more), part, hands, self.cancel, &dropped)));
                        }
                        begun.map(|()| None)
                    }
                    None => Ok(None),
                },
                Next::Ask(index, question) if !stopping => self.ask(index, question).await,
                Next::Over(outcome) => self.happened(&Event::Ended { outcome }).map(|()| Some(Left::Ended(outcome))),
                Next::Wait | Next::Begin(_) | Next::Ask(..) => match self.looked_at(under_way.next().await) {
                    Err(error) => Err(error),
                    Ok(Some((index, Part::Act, begun, Ok(said)))) => match steps.get(index) {
                        Some(of) => {
                            let acted = self.happened(&Event::Acted { step: of.id.clone(), said });
                            if acted.is_ok() {
                                let part = (Part::Verify, begun);
                                under_way.push(Box::pin(one((index, of), part, hands, self.cancel, &dropped)));
                            }
                            acted.map(|()| None)
                        }
                        None => Ok(None),
                    },
                    Ok(Some(over)) => self.over(over).map(|()| None),
                    Ok(None) => self.stop("").await.map(Some),
                },
            };
            match acted {
                Ok(None) => {}
                Ok(Some(left)) => return Ok(left),
                Err(error) => {
                    dropped.cancel();
                    while under_way.next().await.is_some() {}
                    drop(under_way);
                    self.let_all_go().await;
                    return Err(error);
                }
            }
        }
    }

    /// Without a journal, too, nothing stays held: what it takes is in the cluster as well.
    async fn let_all_go(&mut self) {
        while let Some(index) = self.machine.holding() {
            let Some(step) = self.steps.get(index) else { return };
            let (said, is_well) = self.hands.let_go(step).await;
            let event = Event::LetGo { step: step.id.clone(), said, is_well };
            self.machine.apply(&event);
            self.person.told(&event);
        }
    }

    /// Nothing is held while nobody carries the run out: it is held again when it is taken up.
    async fn pause(&mut self, why: String) -> Result<(), JournalError> {
        while let Some(index) = self.machine.holding() {
            self.let_go(index).await?;
        }
        self.happened(&Event::Paused { why })
    }

    /// Somebody asked for it, or has taken the target over.
    async fn stop(&mut self, when: &str) -> Result<Left, JournalError> {
        match self.hands.taken_by() {
            Some(by) => {
                self.pause(format!("the target was taken over by {by}")).await?;
                Ok(Left::TakenOver { by })
            }
            None => self.pause(format!("it was asked to stop{when}")).await.map(|()| Left::Paused),
        }
    }

    async fn ask(&mut self, index: usize, question: Question) -> Result<Option<Left>, JournalError> {
        let Some(step) = self.steps.get(index) else { return Ok(None) };
        let id = || step.id.clone();
        self.happened(&Event::Asked { step: id(), question })?;
        let by = self.person.name();
        let cancel = self.cancel;
        // The lease is kept and a wish to stop is heard meanwhile: people take their time.
        let answer = tokio::select! {
            answer = self.person.ask(step, question) => answer,
            () = cancel.cancelled() => {
                return self.stop(&format!(" at the question about step {}", step.id)).await.map(Some);
            }
        };
        match answer {
            Answer::Yes(said) => self.happened(&Event::Agreed { step: id(), question, said, by }).map(|()| None),
            Answer::No(said) if question == Question::GoOn => {
                self.happened(&Event::Declined { step: id(), said, by }).map(|()| None)
            }
            Answer::No(said) => {
                self.happened(&Event::Declined { step: id(), said, by })?;
                self.pause(format!("step {} was not agreed to", step.id)).await?;
                Ok(Some(Left::Declined { step: id() }))
            }
            Answer::Nobody => {
                self.pause(format!("step {} waits for a person", step.id)).await?;
                Ok(Some(Left::Waits { step: id(), question }))
            }
        }
    }

    /// Also when the run is to stop: what holds still for a step that is over holds still for nothing.
    async fn let_go(&mut self, index: usize) -> Result<(), JournalError> {
        let Some(step) = self.steps.get(index) else { return Ok(()) };
        self.happened(&Event::LettingGo { step: step.id.clone() })?;
        let (said, is_well) = self.hands.let_go(step).await;
        self.happened(&Event::LetGo { step: step.id.clone(), said, is_well })
    }

    /// Which checks held stands in the journal before what that made of the step.
    fn looked_at(&mut self, over: Option<Over>) -> Result<Option<Over>, JournalError> {
        if let Some(step) = over.as_ref().and_then(|(index, ..)| self.steps.get(*index)) {
            for event in self.hands.checked(step) {
                self.happened(&event)?;
            }
        }
        Ok(over)
    }

    fn over(&mut self, (index, _, begun, result): Over) -> Result<(), JournalError> {
        let Some(step) = self.steps.get(index) else { return Ok(()) };
        let (step, took) = (step.id.clone(), u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.happened(&match result {
            Ok(said) => Event::Done { step, said, took },
            Err(Undone::Failed { why, help, end_unseen }) => Event::Failed { step, why, help, took, end_unseen },
            Err(Undone::Stopped) => Event::CutOff { step },
        })
    }
}

/// A part of a step, within the time that the step has left.
async fn one(
    (index, step): (usize, &Step),
    (part, begun): (Part, Instant),
    hands: &dyn Hands,
    cancel: &Cancel,
    dropped: &Cancel,
) -> Over {
    let own = Cancel::default();
    let carried = match part {
        Part::Act => hands.act(step, &own),
        Part::Verify => hands.verify(step, &own),
    };
    tokio::pin!(carried);
    let late = tokio::select! {
        result = &mut carried => return (index, part, begun, result),
        () = cancel.cancelled() => false,
        () = dropped.cancelled() => false,
        () = tokio::time::sleep_until(begun + step.timeout) => true,
    };
    own.cancel();
    let result = tokio::time::timeout(GRACE, carried).await;
    let seen = hands.seen(step).map(|seen| format!("; seen last: {seen}")).unwrap_or_default();
    let too_late = || Undone::Failed {
        why: format!("it was not done after {} and was stopped{seen}", units::duration(step.timeout)),
        help: "see what it waited for; `timeout` of the step is how long it may take".to_owned(),
        // What is only looked at has come to its end.
        end_unseen: part == Part::Act,
    };
    let result = match result {
        // It came to its end all the same.
        Ok(Ok(said)) => Ok(said),
        Ok(Err(Undone::Stopped)) | Err(_) if late => Err(too_late()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Undone::Stopped),
    };
    (index, part, begun, result)
}
