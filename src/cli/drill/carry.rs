//! A drill from its first line in the journal to its record. Whatever happens in between, what was made is taken away.

use std::future::Future;
use std::path::Path;

use serde::Serialize;

use crate::base::causes::in_one_line;
use crate::base::clock::Clock;
use crate::base::id::ObjectId;
use crate::cli::context::{Context, host};
use crate::cli::drill::ready::Ready;
use crate::cli::drill::scratch::{Made, Unmade};
use crate::cli::drill::{Args, clean, show};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::count;
use crate::cli::recover::person::Following;
use crate::cli::recover::place::{Opened, PlaceArgs};
use crate::cli::recover::{Had, drive, first_events};
use crate::cli::report;
use crate::drill::part::LeftOut;
use crate::drill::record;
use crate::format::record::{REMARKS_MAX, RehearsalRecord, Rehearsed};
use crate::repo::Repository;
use crate::runs::drive::{Driver, Left, Person as _};
use crate::runs::event::{Event, Outcome};
use crate::runs::hands::drill::DrillHands;
use crate::runs::journal::{Journal, Log as _};
use crate::runs::lease::Lease;
use crate::runs::machine::Machine;
use crate::runs::verdict::{Holder, verdict};

#[derive(Serialize)]
struct Document<'a> {
    drill: show::Held<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_recorded: Option<String>,
    left_out: &'a [LeftOut],
}

/// See the module.
pub(super) async fn carry_out(
    args: &Args,
    ready: &Ready,
    opened: Opened,
    place: &PlaceArgs,
    journals: &Path,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let Ready { plan, runbook, steps, .. } = ready;
    let mut world = opened.world(plan, steps, place, context).await?;
    world.confined = Some(ready.part().folder.clone());
    let repository = world.source.as_ref().map(|source| source.repository.clone());
    let clock = context.clock.clone();
    // In this order: whoever has the target knows that what others left is nobody's.
    let had = Had::take(&world.target, &format!("drill {}", plan.run), journals, context).await?;
    let lease = had.lease.as_ref();
    clean::sweep((&args.parent(), journals), world.target.cluster().filter(|cluster| cluster.lives()), context).await;
    let mut journal = match Journal::begin(journals, plan, &*clock) {
        Ok(journal) => journal,
        Err(error) => {
            had.end(context).await;
            return Err(error.into());
        }
    };
    context.cancel.begin();
    let shown = (Machine::new(steps, runbook.parallel), world.board.clone());
    let mut following = Following::new((runbook, plan), (true, &[]), shown, context);
    let mut made = Made::default();
    let left = {
        let cancel = context.cancel.clone();
        let hands = DrillHands { world: &world };
        let machine = Machine::new(steps, runbook.parallel);
        let mut driver =
            Driver { steps, machine, log: &mut journal, hands: &hands, person: &mut following, cancel: &cancel };
        let begun = match first_events(&world).iter().try_for_each(|event| driver.happened(event)) {
            Ok(()) => {
                let making = made.make(ready, place, &world, context);
                Ok(held(lease, &*clock, making).await)
            }
            Err(error) => Err(error),
        };
        let begun = begun.and_then(|made| {
            let (event, is_made) = match made {
                Ok(said) => (Event::Prepared { said }, true),
                Err(Unmade::Stopped(why)) => (Event::Paused { why }, false),
                Err(Unmade::Refused { why, help }) => (Event::Refused { why, help }, false),
            };
            driver.happened(&event).map(|()| is_made)
        });
        match begun {
            Ok(true) => drive(driver, (lease, &world), &*clock, (&context.talk, &cancel)).await.map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let is_well = matches!(left, Ok(Some(Left::Ended(Outcome::Recovered) | Left::Paused)));
    let keeps = args.keep_on_failure && !is_well;
    if let Some(what) = made.shown().filter(|_| !keeps) {
        following.clears(what);
    }
    let clearing = made.clear(keeps, &plan.run, &world, context);
    let cleared = held(lease, &*clock, clearing).await;
    following.told(&cleared);
    let written = journal.write(&cleared);
    following.finish();
    drop(journal);
    had.end(context).await;
    // Without its journal nobody knows what it came to, but that it did not pass: that is recorded, and the error told.
    let (refused, broken) = match (left, written) {
        (Err(error), _) | (_, Err(error)) => (false, Some(error)),
        (Ok(left), Ok(())) => (left.is_none() && !context.cancel.is_cancelled(), None),
    };
    let records = match (Journal::look(journals, &plan.run), &broken) {
        (Ok(found), _) => found.records,
        (Err(_), Some(_)) => Vec::new(),
        (Err(error), None) => return Err(error.into()),
    };
    let holder = Holder {
        recipient: repository.as_ref().and_then(|repository| repository.opened_by.clone()).unwrap_or_default(),
        host: host(),
    };
    let left_out = ready.left_out.len() as u64;
    let mut record = verdict(plan, steps, plan.objectives(runbook), left_out, &records, holder);
    if let Some(error) = &broken {
        (record.outcome, record.why) = (Rehearsed::Failed, in_one_line(error));
        // Which the journal does not have.
        if let Event::Cleared { left, .. } = &cleared {
            record.left_behind = left.iter().take(REMARKS_MAX).cloned().collect();
        }
    }
    let stored = store(repository.as_deref(), &record, context).await;
    if let Some(error) = broken {
        if let Err(why) = stored {
            context.talk.warn(&format!("the drill could NOT be recorded in the repository: {why}"));
        }
        return Err(error.into());
    }
    let exit = tell(ready, &record, &stored, context)?;
    report::point(&plan.run, journals, context)?;
    Ok(if refused { Exit::Refused } else { exit })
}

/// Says meanwhile that the cluster is taken. Also when somebody else has taken it over, what was begun comes to its end.
async fn held<T>(lease: Option<&Lease<'_>>, clock: &dyn Clock, work: impl Future<Output = T>) -> T {
    let Some(lease) = lease else { return work.await };
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        _ = lease.keep(clock) => {}
    }
    work.await
}

/// Records it; why not is told with the result.
async fn store(
    repository: Option<&Repository>,
    record: &RehearsalRecord,
    context: &Context,
) -> Result<ObjectId, String> {
    let repository = repository.ok_or_else(|| "no repository was opened".to_owned())?;
    record::store(repository, record, context.clock.now()).await.map_err(|error| in_one_line(&error))
}

fn tell(
    ready: &Ready,
    record: &RehearsalRecord,
    stored: &Result<ObjectId, String>,
    context: &mut Context,
) -> Result<Exit, Failure> {
    let to_look_at = stored.is_err() || !record.remarks.is_empty() || !record.left_behind.is_empty();
    let exit = match record.outcome {
        Rehearsed::Passed if !to_look_at => Exit::Done,
        Rehearsed::Passed | Rehearsed::Missed => Exit::Problems,
        Rehearsed::Failed => Exit::Error,
        Rehearsed::Stopped => Exit::Interrupted,
    };
    if context.out.json {
        let held = show::Held { id: stored.as_ref().ok().copied(), record };
        let not_recorded = stored.as_ref().err().cloned();
        context.out.document(&Document { drill: held, not_recorded, left_out: &ready.left_out })?;
        return Ok(exit);
    }
    for line in show::result(record) {
        context.out.line(&line)?;
    }
    match stored {
        Ok(id) => {
            context.say(&format!("recorded in the repository as {}; `homelab-dr drills` lists all", id.short()))?;
        }
        Err(why) => {
            context.out.flush()?;
            context.talk.warn(&format!("the drill could NOT be recorded in the repository: {why}"));
        }
    }
    let steps = count(ready.steps.len() as u64, "step");
    let line = format!("drill {} of {steps}: {}", record.run, show::came_to(record.outcome));
    context.summary(exit != Exit::Done, &line)?;
    Ok(exit)
}
