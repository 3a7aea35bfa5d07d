//! Showing how far an operation is: a line that moves on a terminal, plain lines at intervals everywhere else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::base::progress::{Phase, Progress};
use crate::base::units;
use crate::cli::context::Context;
use crate::cli::output::{Talk, count};
use crate::format::entry::escape;
use crate::runs::board::{Board, Standing, UnderWay};

/// How often a terminal is redrawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often a log gets a line.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// The rate shown is that of so long a time, always the last; shorter, and a pack that is being sent looks like a standstill.
const RATE_OVER: Duration = Duration::from_secs(10);
/// How often the count is noted for it.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Steps that come next and are named.
const NEXT_MAX: usize = 4;
/// How wide a terminal is that does not say it.
const COLUMNS_UNKNOWN: usize = 80;

/// A display that runs until it is dropped or finished.
pub(crate) struct Display {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to show the context's progress, if it is to be shown.
pub(crate) fn show(context: &Context) -> Display {
    let (progress, mut rate) = (context.progress.clone(), Rate::default());
    follow(context, move |width| (vec![line(&progress, rate.measure(&progress), width)], progress.waiting()))
}

/// Begins to show the steps of a run that are under way, each with its own progress, and what comes next.
pub(crate) fn show_steps(context: &Context, board: &Arc<Board>) -> Display {
    let (board, mut shown) = (board.clone(), Shown::default());
    follow(context, move |width| shown.look(&board, width))
}

/// Shows what a look gives within a number of columns, and once each what it says is waited for.
fn follow(context: &Context, mut look: impl FnMut(usize) -> (Vec<String>, Vec<String>) + Send + 'static) -> Display {
    let globals = &context.globals;
    if globals.quiet || globals.no_progress {
        return Display { stop: None, thread: None };
    }
    let (stop, stopped) = channel();
    let talk = context.talk.clone();
    let terminal = std::io::stderr().is_terminal();
    let thread = std::thread::Builder::new().name("progress".into()).spawn(move || {
        let bar = terminal.then(|| bar(&talk));
        let mut told = Instant::now();
        let mut waits_told = BTreeSet::new();
        let every = if terminal { REDRAW } else { LINE_EVERY };
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let (lines, waiting) = look(if bar.is_some() { width() } else { usize::MAX });
            for waiting in waiting {
                if waits_told.insert(waiting.clone()) {
                    talk.put(&format!("still waiting for {}", escape(waiting.as_bytes())));
                }
            }
            match &bar {
                // The sign that turns stands before the first.
                Some(bar) => bar.set_message(lines.join("\n  ")),
                None if told.elapsed() >= LINE_EVERY => {
                    for line in &lines {
                        talk.put(line);
                    }
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
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
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
#[derive(Default)]
struct Rate {
    /// When there were how many bytes, the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn measure(&mut self, progress: &Progress) -> u64 {
        let (now, bytes) = (Instant::now(), progress.bytes_done.load(Ordering::Relaxed));
        if self.samples.back().is_some_and(|(_, before)| bytes < *before) {
            self.samples.clear(); // another phase counts from 0
        }
        if self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= SAMPLE_EVERY) {
            self.samples.push_back((now, bytes));
        }
        while self.samples.len() > 1 && self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= RATE_OVER)
        {
            self.samples.pop_front();
        }
        let Some((since, before)) = self.samples.front() else { return 0 };
        let millis = u64::try_from(now.duration_since(*since).as_millis()).unwrap_or(u64::MAX).max(1);
        (bytes - before).saturating_mul(1000) / millis
    }
}

/// What is shown of the steps of a run.
#[derive(Default)]
struct Shown {
    /// How fast each is.
    steps: BTreeMap<String, Rate>,
}

impl Shown {
    /// A line for each step that is under way, and one for the others.
    fn look(&mut self, board: &Board, width: usize) -> (Vec<String>, Vec<String>) {
        let under_way = board.under_way();
        self.steps.retain(|step, _| under_way.iter().any(|one| one.step == *step));
        let (mut lines, mut waits) = (Vec::new(), Vec::new());
        for UnderWay { step, since, progress } in &under_way {
            let rate = self.steps.entry(step.clone()).or_default();
            let took = left(since.elapsed());
            lines.push(step_line(step, &took, (progress, rate.measure(progress)), width));
            waits.extend(progress.waiting().into_iter().map(|what| format!("{what} [{step}]")));
        }
        lines.push(match board.clearing() {
            Some(what) => cut(&format!("removing {}", escape(what.as_bytes())), width),
            None => others_line(&board.standing(), width),
        });
        (lines, waits)
    }
}

/// `[photos] 3m10s  restoring  12 of 90 files  …`
fn step_line(step: &str, took: &str, (progress, rate): (&Progress, u64), width: usize) -> String {
    let head = format!("[{step}] {took}");
    let rest = line(progress, rate, width.saturating_sub(head.chars().count() + 2));
    cut(format!("{head}  {rest}").trim_end(), width)
}

/// `2 of 9 steps are over; next: photos, web`
fn others_line(standing: &Standing, width: usize) -> String {
    let over = format!("{} of {} over", standing.over, count(standing.all as u64, "step"));
    if standing.next.is_empty() {
        return cut(&over, width);
    }
    let named = |number: usize| {
        let more = standing.next.len().saturating_sub(number);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{over}; next: {}{more}", standing.next.iter().take(number).cloned().collect::<Vec<_>>().join(", "))
    };
    let most = standing.next.len().min(NEXT_MAX);
    let fits = (1..=most).rev().map(named).find(|text| text.chars().count() <= width);
    cut(&fits.unwrap_or(over), width)
}

/// As much of it as there is room for: a line that goes on in the next one cannot be taken away again.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// `backing up  1234 of 5678 files  1.2 of 3.4 GiB (35%)  about 2m10s left  45.0 MiB/s  0.9 GiB stored`, as much of it as `width` columns hold.
fn line(progress: &Progress, rate: u64, width: usize) -> String {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let Phase { name, thing } = progress.phase();
    let (files, bytes) = (load(&progress.files_done), load(&progress.bytes_done));
    // A guess that was passed says nothing any more.
    let guess = progress.estimated.load(Ordering::Relaxed);
    let total =
        |done: u64, total: &AtomicU64| Some(load(total)).filter(|total| *total > 0 && (!guess || done < *total));
    let (files_total, bytes_total) = (total(files, &progress.files_total), total(bytes, &progress.bytes_total));
    // A sign and no word: the line has to fit into 80 columns.
    let of = if guess { "of ~" } else { "of " };
    // Each with its rank: the highest goes first where there is no room.
    let mut parts = vec![(0, name.to_owned())];
    match files_total {
        _ if thing.is_empty() => {}
        Some(all) => parts.push((4, format!("{files} {of}{}", count(all, thing)))),
        None => parts.push((4, count(files, thing))),
    }
    match bytes_total {
        Some(all) => {
            let percent = (bytes.saturating_mul(100) / all).min(100);
            parts.push((1, format!("{} {of}{} ({percent}%)", units::bytes(bytes), units::bytes(all))));
        }
        None if bytes > 0 => parts.push((1, units::bytes(bytes))),
        None => {}
    }
    // Before a hundredth is done the rate is chance; and 0 s would be no promise to make, with more phases to come.
    if let Some(all) = bytes_total.filter(|all| *all > bytes && rate > 0 && bytes.saturating_mul(100) >= *all)
        && let seconds @ 1.. = (all - bytes) / rate
    {
        parts.push((2, format!("about {} left", left(Duration::from_secs(seconds)))));
    }
    if bytes > 0 {
        parts.push((3, format!("{}/s", units::bytes(rate))));
    }
    if let Some(seen) = progress.seen() {
        let limit =
            if seen.limit < Duration::MAX { format!("up to {}: ", units::duration(seen.limit)) } else { String::new() };
        parts.push((0, format!("{limit}{}", escape(seen.what.as_bytes()))));
    }
    let stored = load(&progress.bytes_stored);
    if stored > 0 {
        parts.push((5, format!("{} stored", units::bytes(stored))));
    }
    loop {
        let text = parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join("  ");
        let least = parts.iter().enumerate().max_by_key(|(_, (rank, _))| *rank).map(|(at, _)| at);
        match least {
            Some(at) if text.chars().count() > width && parts.len() > 1 => drop(parts.remove(at)),
            _ => return text,
        }
    }
}

/// Columns for the text on a terminal: what is left beside the spinner.
fn width() -> usize {
    let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    (if columns == 0 { COLUMNS_UNKNOWN } else { columns }).saturating_sub(3)
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
    use crate::base::progress::Seen;
    use crate::runs::machine::Machine;

    #[test]
    fn a_line_shows_what_is_known_and_no_more() {
        let progress = Progress::default();
        progress.begin("looking", "");
        assert_eq!(line(&progress, 0, 80), "looking");
        progress.begin("backing up", "file");
        assert_eq!(line(&progress, 0, 80), "backing up  0 files");
        progress.add_file(1 << 20);
        assert_eq!(line(&progress, 0, 80), "backing up  1 file  1.0 MiB  0 B/s");
        progress.expect(9, 4 << 20, false);
        let known = "backing up  1 of 9 files  1.0 MiB of 4.0 MiB (25%)  about 3s left  1.0 MiB/s";
        assert_eq!(line(&progress, 1 << 20, 80), known);
        progress.expect(9, 4 << 20, true);
        let guessed = "backing up  1 of ~9 files  1.0 MiB of ~4.0 MiB (25%)  about 3s left  1.0 MiB/s";
        assert_eq!(line(&progress, 1 << 20, 100), guessed);
        let nearly = line(&progress, 4 << 20, 100);
        assert!(!nearly.contains("left"), "{nearly}");
        progress.add_file(3 << 20);
        assert_eq!(line(&progress, 0, 80), "backing up  2 of ~9 files  4.0 MiB  0 B/s", "the guess was too low");
        progress.begin("reading packs", "pack");
        assert_eq!(line(&progress, 0, 80), "reading packs  0 packs", "nothing is left of the phase before");
    }

    #[test]
    fn where_there_is_no_room_the_least_goes_first() {
        let progress = Progress::default();
        progress.begin("backing up", "file");
        progress.expect(2_345_678, 345 << 30, true);
        progress.files_done.store(1_234_567, Ordering::Relaxed);
        progress.bytes_done.store(123 << 30, Ordering::Relaxed);
        progress.bytes_stored.store(45 << 30, Ordering::Relaxed);
        let whole = line(&progress, 45 << 20, usize::MAX);
        assert!(whole.ends_with("left  45.0 MiB/s  45.0 GiB stored"), "{whole}");
        for width in 10..whole.chars().count() {
            let text = line(&progress, 45 << 20, width);
            assert!(text.chars().count() <= width, "{width}: {text}");
        }
        let narrow = line(&progress, 45 << 20, 77);
        assert_eq!(narrow, "backing up  123.0 GiB of ~345.0 GiB (35%)  about 1h24m left  45.0 MiB/s");
    }

    #[test]
    fn steps_are_shown_each_by_itself_and_what_comes_next_as_far_as_there_is_room() {
        let (board, mut shown) = (Board::default(), Shown::default());
        board.begins("photos", Instant::now());
        board.begins("look", Instant::now());
        let photos = board.of("photos");
        photos.begin("filling", "file");
        photos.expect(9, 4 << 20, false);
        photos.add_file(1 << 20);
        photos.waits_for("pod media/mover", Some("no node takes it".to_owned()));
        let (lines, waits) = shown.look(&board, 100);
        assert_eq!(
            lines,
            ["[photos] 0s  filling  1 of 9 files  1.0 MiB of 4.0 MiB (25%)  0 B/s", "[look] 0s", "0 of 0 steps over"]
        );
        assert_eq!(waits, ["pod media/mover: no node takes it [photos]"]);
        board.of("look").enter("verifying");
        board.of("look").sees(Some(Seen { what: "replicas 0/1".to_owned(), limit: Duration::from_mins(15) }));
        assert_eq!(shown.look(&board, 100).0[1], "[look] 0s  verifying  up to 15m: replicas 0/1");
        assert_eq!(shown.look(&board, 46).0[0], "[photos] 0s  filling  1.0 MiB of 4.0 MiB (25%)");
        assert!(shown.look(&board, 9).0.iter().all(|line| line.chars().count() <= 9));
        board.ends("photos");
        assert_eq!(shown.look(&board, 100).0.len(), 2);
        assert_eq!(shown.steps.len(), 1, "what is over is forgotten");
        // Seen for the first time after a while, as in a log: it is told since when it is under way.
        board.begins("slow", Instant::now().checked_sub(Duration::from_mins(10)).expect("a machine that is up"));
        assert!(Shown::default().look(&board, 100).0[1].starts_with("[slow] 10m0"));
        board.ends("slow");
        board.ends("look");
        board.stands(&Machine::new(&[], 1));
        board.clears("/tmp/homelab-dr-drill-5f0c1d2e".to_owned());
        assert_eq!(shown.look(&board, 100).0, ["removing /tmp/homelab-dr-drill-5f0c1d2e"]);
        let next = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
        let standing = Standing { over: 2, all: 9, next };
        assert_eq!(others_line(&standing, 100), "2 of 9 steps over; next: a, b, c, d and 2 more");
        assert_eq!(others_line(&standing, 40), "2 of 9 steps over; next: a, b and 4 more");
        assert_eq!(others_line(&standing, 20), "2 of 9 steps over");
    }

    #[test]
    fn times_left_are_short() {
        assert_eq!(left(Duration::from_secs(45)), "45s");
        assert_eq!(left(Duration::from_secs(190)), "3m10s");
        assert_eq!(left(Duration::from_mins(125)), "2h05m");
    }
}
