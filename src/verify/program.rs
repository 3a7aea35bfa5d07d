//! `run`: a program on this machine ends well. It is meant to be one that only looks.

use std::sync::Arc;

use super::{Look, STOPPED, Surroundings};
use crate::base::cancel::Cancel;
use crate::base::units;

/// Lines of what it printed that are told.
const TOLD_MAX: usize = 3;

pub(super) async fn look(argv: &[String], contains: Option<&str>, around: &Surroundings) -> Look {
    let own = Arc::new(Cancel::default());
    let ran = around.programs.run(argv, &own);
    tokio::pin!(ran);
    // It is ended and waited for, whatever ends the wait: nothing of a look goes on behind it.
    let printed = tokio::select! {
        ran = &mut ran => ran?,
        () = around.cancel.cancelled() => {
            own.cancel();
            let _ = ran.await;
            return Err(STOPPED.to_owned());
        }
        () = tokio::time::sleep(around.limits.query) => {
            own.cancel();
            let _ = ran.await;
            return Err(format!("it did not end within {}", units::duration(around.limits.query)));
        }
    };
    let last = printed.len().saturating_sub(TOLD_MAX);
    let told = printed.get(last..).unwrap_or_default().join("; ");
    match contains {
        Some(wanted) if !printed.iter().any(|line| line.contains(wanted)) => {
            Err(format!("it ended well, and what it printed has no {wanted:?}: {told:?}"))
        }
        _ if told.is_empty() => Ok("it ended well".to_owned()),
        _ => Ok(format!("it ended well and printed {told:?}")),
    }
}
