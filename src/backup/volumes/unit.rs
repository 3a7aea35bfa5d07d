//! Claims that are dealt with together, from the hold of their application to a row for each.

use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore, SemaphorePermit};

use super::claims::{Claim, Fate};
use super::hold::{Ended, Held, Member, pauses};
use super::{MoverError, Movers, Outcome, Row, one};
use crate::hooks::HookError;
use crate::volumes::RunId;
use crate::volumes::choose::Way;
use crate::volumes::mover::evidence::Evidence;

/// How many movers run at once.
pub(super) struct Slots(Semaphore);

impl Slots {
    pub(super) fn new(number: usize) -> Self {
        Self(Semaphore::new(number.max(1)))
    }

    /// Waits for one.
    pub(super) async fn one(&self) -> Option<SemaphorePermit<'_>> {
        self.0.acquire().await.ok()
    }

    /// Waits for as many as can be had of `wanted` and keeps them, so that they are free when they are needed.
    async fn keep(&self, wanted: usize, most: usize) -> Kept<'_> {
        let number = wanted.min(most).max(1);
        let permit = self.0.acquire_many(u32::try_from(number).unwrap_or(1)).await.ok();
        Kept { _permit: permit, own: Self::new(number) }
    }
}

/// Slots that nobody else gets.
struct Kept<'a> {
    _permit: Option<SemaphorePermit<'a>>,
    own: Slots,
}

/// All claims of a unit: alone, or held together.
pub(super) async fn rows(
    movers: &Movers<'_>,
    run: &RunId,
    (slots, turns): (&Slots, &Arc<Mutex<()>>),
    mut unit: Vec<(usize, Claim)>,
) -> Vec<(usize, Row)> {
    let is_live =
        |claim: &Claim| matches!(&claim.fate, Fate::Read(read) if matches!(read.choice.way, Way::Live { .. }));
    let is_held = |claim: &Claim| matches!(&claim.fate, Fate::Read(read) if read.held.is_some());
    // Before any slot: whoever waits for its turn keeps none from whoever has it.
    let turn = if unit.iter().any(|(_, claim)| pauses(claim)) { Some(turns.clone().lock_owned().await) } else { None };
    let live = unit.iter().filter(|(_, claim)| is_live(claim)).count();
    // What is read while its application stands still does not wait for others then.
    let kept = if live > 0 && unit.iter().any(|(_, claim)| is_held(claim)) {
        Some(slots.keep(live, movers.source.movers).await)
    } else {
        None
    };
    let begun = match unit.first() {
        Some((number, claim)) if is_held(claim) && !movers.cancel.is_cancelled() => {
            // Letters and digits, as labels have them; one journal for each.
            Held::begin(movers, &format!("{run}-{number}"), &unit, turn).await
        }
        _ => Ok(None),
    };
    let held = match begun {
        Ok(held) => held,
        Err((error, ended)) => return refused(unit, &Arc::new(error), &ended),
    };
    if held.is_none() && !movers.cancel.is_cancelled() {
        // It was to be held, and by now there is nobody: that is said where somebody looks for it.
        for (_, claim) in &mut unit {
            if let Fate::Read(read) = &mut claim.fate
                && read.held.take().is_some()
            {
                read.choice.cautions.push("no pod that uses it ran, so no command was executed".to_owned());
            }
        }
    }
    let own = kept.as_ref().map(|kept| &kept.own);
    let all = unit.into_iter().map(|(number, claim)| {
        // Those that are read live come first: the others wait for their copies before they ask.
        let slots = own.unwrap_or(slots);
        let member = Member::of(held.as_ref());
        async move { (number, row(movers, run, slots, number, claim, &member).await) }
    });
    let keep = async {
        match &held {
            Some(held) => held.keep().await,
            None => std::future::pending().await,
        }
    };
    let mut rows = tokio::select! {
        rows = futures::future::join_all(all) => rows,
        () = keep => Vec::new(),
    };
    if let Some(held) = &held {
        let ended = held.ended();
        for (_, row) in &mut rows {
            row.held = Some(held.record());
        }
        if let Some((_, row)) = rows.first_mut() {
            row.still_held = ended.still_held;
            row.except = ended.except;
        }
    }
    rows
}

/// Rows of claims whose application was not made to hold still.
fn refused(unit: Vec<(usize, Claim)>, error: &Arc<HookError>, ended: &Ended) -> Vec<(usize, Row)> {
    let mut rows: Vec<(usize, Row)> = unit
        .into_iter()
        .map(|(number, claim)| {
            let error = match **error {
                HookError::Cancelled => MoverError::Cancelled,
                _ => MoverError::Hook(error.clone()),
            };
            (number, Row::of(claim, Outcome::Failed(error)))
        })
        .collect();
    if let Some((_, row)) = rows.first_mut() {
        row.still_held.clone_from(&ended.still_held);
        row.except.clone_from(&ended.except);
    }
    rows
}

impl Row {
    fn of(claim: Claim, outcome: Outcome) -> Self {
        let source = claim.source();
        let choice = match claim.fate {
            Fate::Read(read) => Some(read.choice),
            _ => None,
        };
        Self::new(source, choice, outcome)
    }
}

async fn row(movers: &Movers<'_>, run: &RunId, slots: &Slots, number: usize, claim: Claim, member: &Member<'_>) -> Row {
    let begun = movers.clock.now();
    let (outcome, left, evidence) = match (&claim.fate, Outcome::of(&claim.fate, movers.succeeded)) {
        (_, Some(outcome)) => (outcome, Vec::new(), Evidence::default()),
        (Fate::Read(read), None) if !movers.cancel.is_cancelled() => {
            let one::Ended { result, left, evidence } =
                one::capture(movers, run, slots, number, &claim, read, member).await;
            let outcome = match result {
                Ok((summary, problems)) => Outcome::Captured { summary, problems },
                Err(error) => Outcome::Failed(error),
            };
            (outcome, left, evidence)
        }
        (_, None) => (Outcome::Failed(MoverError::Cancelled), Vec::new(), Evidence::default()),
    };
    // Whatever became of it: nobody waits for it any more.
    member.done().await;
    Row { took: movers.clock.now().since(begun), left, evidence, ..Row::of(claim, outcome) }
}
