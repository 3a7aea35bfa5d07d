//! Ctrl-C and SIGTERM: the first asks the operation to stop, the second ends the program at once. Neither loses anything
//! that was stored.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::cancel::Cancel;
use crate::cli::exit::Exit;
use crate::cli::output::Talk;
use crate::cli::prompt;

/// Watches for signals until the runtime ends. Needs a runtime.
pub(crate) fn watch(cancel: Arc<Cancel>, talk: Arc<Talk>) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Then signals end the program as they always did, which loses nothing either.
        return;
    };
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        // Before a store was opened there is nothing to end well, and reading a key from a pipe may never end.
        if prompt::is_asking() || !cancel.has_begun() {
            leave(&talk);
        }
        cancel.cancel();
        talk.put("stopping as soon as what is under way is safe; once more stops at once");
        next(&mut interrupt, &mut terminate).await;
        leave(&talk);
    });
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn leave(talk: &Talk) -> ! {
    talk.leave();
    prompt::restore_terminal();
    std::process::exit(i32::from(Exit::Interrupted.code()));
}
