//! Showing how far an operation is: a line that moves on a terminal, plain lines at intervals everywhere else.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::progress::Progress;
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::output::Talk;

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a log gets a line.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The rate shown is that of the time since about this long ago.
const RATE_OVER: Duration = Duration::from_secs(10);

/// A display that runs until it is dropped or finished.
pub(crate) struct Display {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to show the context's progress, if it is to be shown.
pub(crate) fn show(context: &Context) -> Display {
    let globals = &context.globals;
    if globals.quiet || globals.no_progress {
        return Display { stop: None, thread: None };
    }
    let (stop, stopped) = channel();
    let (progress, talk) = (context.progress.clone(), context.talk.clone());
    let terminal = std::io::stderr().is_terminal();
    let thread = std::thread::Builder::new().name("progress".into()).spawn(move || {
        let bar = terminal.then(|| bar(&talk));
        let mut rate = Rate::default();
        let mut told = Instant::now();
        let every = if terminal { REDRAW } else { LINE_EVERY };
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let text = line(&progress, rate.measure(&progress));
            match &bar {
                Some(bar) => bar.set_message(text),
                None if told.elapsed() >= LINE_EVERY => {
                    talk.put(&text);
                    told = Instant::now();
                }
                None => {}
            }
        }
        if let Some(bar) = bar {
            talk.above(None);
            bar.finish_and_clear();
        }
    });
    Display { stop: Some(stop), thread: thread.ok() }
}

fn bar(talk: &Arc<Talk>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(REDRAW);
    talk.above(Some(bar.clone()));
    bar
}

impl Display {
    /// Takes the line away; what is said next stands alone.
    pub(crate) fn finish(self) {
        drop(self);
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes a second of the last seconds.
struct Rate {
    since: Instant,
    bytes: u64,
    shown: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Self { since: Instant::now(), bytes: 0, shown: 0 }
    }
}

impl Rate {
    fn measure(&mut self, progress: &Progress) -> u64 {
        let now = progress.bytes_done.load(Ordering::Relaxed);
        let elapsed = self.since.elapsed();
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let current = now.saturating_sub(self.bytes).saturating_mul(1000) / millis;
        if elapsed >= RATE_OVER {
            (self.since, self.bytes, self.shown) = (Instant::now(), now, current);
        }
        if elapsed >= Duration::from_secs(1) || self.shown == 0 { current } else { self.shown }
    }
}

/// `backing up  1234 files  1.2 GiB of 3.4 GiB (35%)  45.0 MiB/s  2m left`.
fn line(progress: &Progress, rate: u64) -> String {
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let (files, bytes) = (load(&progress.files_done), load(&progress.bytes_done));
    let (files_total, bytes_total) = (load(&progress.files_total), load(&progress.bytes_total));
    let mut parts = vec![progress.phase().to_owned()];
    parts.push(if files_total > 0 { format!("{files} of {files_total} files") } else { format!("{files} files") });
    if bytes_total > 0 {
        let percent = bytes.saturating_mul(100) / bytes_total.max(1);
        parts.push(format!("{} of {} ({}%)", units::bytes(bytes), units::bytes(bytes_total), percent.min(100)));
    } else {
        parts.push(units::bytes(bytes));
    }
    parts.push(format!("{}/s", units::bytes(rate)));
    let stored = load(&progress.bytes_stored);
    if stored > 0 {
        parts.push(format!("{} stored", units::bytes(stored)));
    }
    if bytes_total > bytes && rate > 0 {
        parts.push(format!("{} left", left(Duration::from_secs((bytes_total - bytes) / rate))));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

/// `45s`, `3m10s`, `2h05m`.
pub(crate) fn left(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h{minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_is_known_and_no_more() {
        let progress = Progress::default();
        progress.enter("backing up");
        progress.add_file(1 << 20);
        assert_eq!(line(&progress, 0), "backing up  1 files  1.0 MiB  0 B/s");
        progress.bytes_total.store(4 << 20, Ordering::Relaxed);
        progress.files_total.store(9, Ordering::Relaxed);
        assert_eq!(line(&progress, 1 << 20), "backing up  1 of 9 files  1.0 MiB of 4.0 MiB (25%)  1.0 MiB/s  3s left");
    }

    #[test]
    fn times_left_are_short() {
        assert_eq!(left(Duration::from_secs(45)), "45s");
        assert_eq!(left(Duration::from_secs(190)), "3m10s");
        assert_eq!(left(Duration::from_secs(7500)), "2h05m");
    }
}
