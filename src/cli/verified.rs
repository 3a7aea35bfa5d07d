//! After a command that read snapshots back: the record of it, which `forget` goes by.

use std::sync::Arc;

use crate::base::id::ObjectId;
use crate::cli::context::{Context, host};
use crate::cli::failure::{Failure, in_one_line};
use crate::cli::output::{count, was};
use crate::repo::Repository;
use crate::verified;

/// Records that all content of these snapshots was read and found good. That the store takes no record is told and no failure: what was read is good all the
/// same, and a recovery from a copy that can only be read must not end in an error.
pub(crate) async fn record(
    context: &mut Context,
    repository: &Arc<Repository>,
    snapshots: &[ObjectId],
) -> Result<(), Failure> {
    let number = snapshots.len() as u64;
    let are = if number == 1 { "is" } else { "are" };
    let good = format!("{} {} read whole and {are} good", count(number, "snapshot"), was(number));
    match verified::record(repository, snapshots, &host(), &*context.clock).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => context.say(&format!("{good}; recorded for `forget`")),
        Err(error) => {
            context.out.flush()?;
            let why = in_one_line(&error);
            context.talk.say(&format!("note: {good}; the record of it for `forget` could not be stored: {why}"));
            Ok(())
        }
    }
}
