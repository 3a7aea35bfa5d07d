//! After a command that read snapshots back: the record of it, which `forget` and `status` go by.

use std::sync::Arc;

use crate::base::causes::in_one_line;
use crate::base::id::ObjectId;
use crate::cli::context::{Context, host};
use crate::cli::failure::Failure;
use crate::cli::output::{count, was};
use crate::repo::Repository;
use crate::verified;

/// Records that all content of the snapshots `good` was read and found good, and that those of `damaged` are damaged. That the store takes no record is told and no
/// failure: what was read is good all the same, and a recovery from a copy that can only be read must not end in an error.
pub(crate) async fn record(
    context: &mut Context,
    repository: &Arc<Repository>,
    good: &[ObjectId],
    damaged: &[ObjectId],
) -> Result<(), Failure> {
    let number = good.len() as u64;
    let are = if number == 1 { "is" } else { "are" };
    let mut told = Vec::new();
    if number > 0 {
        told.push(format!("{} {} read whole and {are} good", count(number, "snapshot"), was(number)));
    }
    if !damaged.is_empty() {
        told.push(format!("{} not whole", count(damaged.len() as u64, "snapshot")));
    }
    let told = told.join(", ");
    match verified::record(repository, good, damaged, &host(), &*context.clock).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => context.say(&format!("{told}; recorded for `forget` and `status`")),
        Err(error) => {
            context.out.flush()?;
            let why = in_one_line(&error);
            context
                .talk
                .say(&format!("note: {told}; the record of it for `forget` and `status` could not be stored: {why}"));
            Ok(())
        }
    }
}
