//! Asking the person at the terminal: passphrases without echo, and whether to go on.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::crypto::recipients::{Prompt, SecretText};

/// Whether a plan is carried out: what every command takes that shows one first.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct PlanArgs {
    /// Show the plan in full, and change nothing
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

/// How the terminal was before its echo was switched off.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
/// Whether somebody is being asked something: Ctrl-C then ends the program at once, since nothing is under way.
static ASKING: AtomicBool = AtomicBool::new(false);

/// Whether a question is open.
pub(crate) fn is_asking() -> bool {
    ASKING.load(Ordering::SeqCst)
}

/// Switches the echo on again, if it is off; before the program ends in the middle of a question.
pub(crate) fn restore_terminal() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take()
        && let Ok(terminal) = File::open("/dev/tty")
    {
        let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    }
}

/// Asks on the terminal itself, whatever the standard streams are; `None` where there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TerminalPrompt;

fn ask(question: &str, secret: bool) -> Option<Zeroizing<String>> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    ASKING.store(true, Ordering::SeqCst);
    let answer = ask_on(&mut terminal, question, secret);
    restore_terminal();
    ASKING.store(false, Ordering::SeqCst);
    if secret {
        let _ = terminal.write_all(b"\n");
    }
    answer
}

fn ask_on(terminal: &mut File, question: &str, secret: bool) -> Option<Zeroizing<String>> {
    if secret {
        let mut mode = tcgetattr(&*terminal).ok()?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(mode.clone());
        mode.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&*terminal, OptionalActions::Flush, &mode).ok()?;
    }
    terminal.write_all(question.as_bytes()).ok()?;
    // Reserved at once: a string that grows leaves copies behind that nobody wipes.
    let mut line = Zeroizing::new(String::with_capacity(4096));
    let read = BufReader::new(terminal).read_line(&mut line).ok()?;
    (read > 0).then(|| Zeroizing::new(line.trim_end_matches(['\n', '\r']).to_owned()))
}

impl Prompt for TerminalPrompt {
    fn passphrase(&self, what: &str) -> Option<SecretText> {
        let answer = ask(&format!("Passphrase of {what}: "), true)?;
        Some(SecretText::new(answer.to_string()))
    }

    fn message(&self, message: &str) {
        let _ = writeln!(io::stderr(), "{message}");
    }

    fn confirm(&self, message: &str, yes: &str, no: Option<&str>) -> Option<bool> {
        let question = match no {
            Some(no) => format!("{message}\n  y: {yes}\n  n: {no}\n[y/n] "),
            None => format!("{message}\nPress Enter to continue: {yes} "),
        };
        let answer = ask(&question, false)?;
        Some(no.is_none() || is_yes(&answer))
    }

    fn public(&self, description: &str) -> Option<String> {
        ask(&format!("{description}: "), false).map(|answer| answer.to_string())
    }
}

/// Asks on the terminal for a line; `None` where there is no terminal, or it was closed. Other things go on meanwhile, such as a lease that is kept, and Ctrl-C asks the
/// operation to stop, as everywhere: whoever waits drops this then. The thread that reads stays behind until the program ends; nothing more is asked.
pub(crate) async fn line(question: String) -> Option<String> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let mut terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let line = ask_on(&mut terminal, &question, false);
        // Nobody waits for it any more when the operation was stopped.
        let _ = answer.send(line.map(|line| line.trim().to_owned()));
    });
    answered.await.ok().flatten()
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Asks whether to do what was just shown. `--yes` answers it; without a terminal nobody can, which is wrong usage.
pub(crate) fn confirm(yes: bool, question: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let nobody = || {
        Failure::usage(
            "this needs a confirmation, and there is no terminal to ask on",
            "look at what --dry-run shows where there is one, then give --yes",
        )
    };
    if !io::stdin().is_terminal() {
        return Err(nobody());
    }
    let answer = ask(&format!("{question} [y/N] "), false).ok_or_else(nobody)?;
    if is_yes(&answer) {
        Ok(())
    } else {
        Err(Failure::new(Exit::Refused, "not confirmed; nothing was changed", "answer y, or give --yes"))
    }
}
