//! After a command that read snapshots back: the record of it, which `forget` goes by.

use std::sync::Arc;

use crate::base::id::ObjectId;
use crate::cli::context::{Context, host};
use crate::cli::failure::{Failure, in_one_line};
use crate::cli::output::count;
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
    match verified::record(repository, snapshots, &host(), &*context.clock).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => {
            context.say(&format!("all of {} was read and is good; recorded for `forget`", count(number, "snapshot")))
        }
        Err(error) => {
            context.out.flush()?;
            let why = in_one_line(&error);
            context.talk.say(&format!(
                "note: all of {} was read and is good; the record of it for `forget` could not be stored: {why}",
                count(number, "snapshot")
            ));
            Ok(())
        }
    }
}
