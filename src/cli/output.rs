//! Results on standard output, talk on standard error. Names come from other people: they are escaped before a terminal
//! sees them.

use std::io::{self, BufWriter, IsTerminal as _, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::base::causes::causes;
pub(crate) use crate::base::shell::quoted;
use crate::cli::again::Again;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Told};
use crate::format::entry::escape;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Standard output: the result.
pub struct Out {
    stdout: BufWriter<Stdout>,
    /// Whether the result is JSON.
    pub json: bool,
}

impl Out {
    /// The process's standard output.
    pub fn new(json: bool) -> Self {
        Self { stdout: BufWriter::with_capacity(64 << 10, io::stdout()), json }
    }

    /// Raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(failed)
    }

    /// A line of text.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())?;
        self.bytes(b"\n")
    }

    /// A document, or one line of a stream of documents.
    pub fn document(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, value).map_err(|error| failed(error.into()))?;
        self.bytes(b"\n")
    }

    /// Everything out; what is still buffered when the program ends would be lost.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::OutputClosed;
    }
    let help = "the result is incomplete: see the disk or program that takes the output, and run the command again";
    Failure::because(Exit::Error, "cannot write to standard output", error, help)
}

/// Lines as wide as the terminal that they go to, where their words allow it; as they are where it is none.
pub(crate) fn fitted(lines: Vec<String>, terminal: impl std::os::fd::AsFd) -> Vec<String> {
    let columns = rustix::termios::tcgetwinsize(terminal).map_or(0, |size| usize::from(size.ws_col));
    if columns == 0 { lines } else { lines.iter().flat_map(|line| within(line, columns)).collect() }
}

/// A line in several, each but the first two blanks further in.
fn within(line: &str, columns: usize) -> Vec<String> {
    let text = line.trim_start_matches(' ');
    let indent = line.len() - text.len();
    let (mut lines, mut current) = (Vec::new(), " ".repeat(indent));
    let mut is_begun = false;
    for word in text.split(' ') {
        if is_begun && current.chars().count() + 1 + word.chars().count() > columns {
            lines.push(std::mem::replace(&mut current, " ".repeat(indent + 2)));
        } else if is_begun {
            current.push(' ');
        }
        current.push_str(word);
        is_begun = true;
    }
    lines.push(current);
    lines
}

/// Standard error: what is said to people.
pub struct Talk {
    quiet: bool,
    color: bool,
    bar: Mutex<Option<ProgressBar>>,
    again: Again,
}

impl Talk {
    /// The process's standard error.
    pub(crate) fn new(quiet: bool, color: Color, again: Again) -> Self {
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        };
        Self { quiet, color, bar: Mutex::new(None), again }
    }

    /// The places that commands to run next are for.
    pub(crate) const fn again(&self) -> &Again {
        &self.again
    }

    /// Something worth knowing; not with `--quiet`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.put(text);
        }
    }

    /// Something that has to be known.
    pub fn warn(&self, text: &str) {
        self.write(&format!("{} {}", self.painted("33;1", "warning:"), tame(&self.again.told(text))));
    }

    /// An error, its causes and what to do.
    pub fn error(&self, error: &(dyn std::error::Error + 'static), help: &str) {
        let mut text = format!("{} {}", self.painted("31;1", "error:"), tame(&self.again.told(&error.to_string())));
        for cause in causes(error) {
            text.push_str("\n  because: ");
            text.push_str(&tame(&self.again.told(&cause)));
        }
        if !help.is_empty() {
            text.push('\n');
            text.push_str(&self.painted("36;1", "help:"));
            text.push(' ');
            text.push_str(&tame(&self.again.told(help)));
        }
        self.write(&text);
    }

    /// Lines that are said go above this bar from now on.
    pub(crate) fn above(&self, bar: Option<ProgressBar>) {
        *self.bar() = bar;
    }

    /// Takes the bar away for good: nothing of it stays on the screen when the program is left.
    pub(crate) fn leave(&self) {
        if let Some(bar) = self.bar().take() {
            bar.finish_and_clear();
        }
    }

    /// Says it in any case.
    pub(crate) fn put(&self, text: &str) {
        self.write(&tame(&self.again.told(text)));
    }

    /// Writes even if a bar is shown. A standard error that is closed is nobody's loss.
    fn write(&self, text: &str) {
        let write = || {
            let _ = writeln!(io::stderr().lock(), "{text}");
        };
        match &*self.bar() {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn bar(&self) -> MutexGuard<'_, Option<ProgressBar>> {
        self.bar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Lines in which no sign means anything to a terminal: parts of them come from servers, webhooks and files of other people.
fn tame(text: &str) -> String {
    text.split('\n').map(|line| escape(line.as_bytes())).collect::<Vec<_>>().join("\n")
}

/// A failure as `--json` prints it.
#[derive(Serialize)]
pub(crate) struct ErrorDocument {
    error: String,
    causes: Vec<String>,
    help: String,
    exit: u8,
}

impl ErrorDocument {
    /// Of an error that is told.
    pub(crate) fn of(told: &Told, again: &Again) -> Self {
        Self {
            error: again.told(&told.error.to_string()),
            causes: causes(&*told.error).iter().map(|cause| again.told(cause)).collect(),
            help: again.told(&told.help),
            exit: told.exit.code(),
        }
    }
}

/// Tells a failure: on standard error for people, on standard output for programs that asked for JSON.
pub(crate) fn tell(failure: &Failure, out: &mut Out, talk: &Talk) {
    match failure {
        Failure::OutputClosed => {}
        Failure::Interrupted => {
            if out.json {
                let document = ErrorDocument {
                    error: "interrupted".into(),
                    causes: Vec::new(),
                    help: String::new(),
                    exit: Exit::Interrupted.code(),
                };
                let _ = out.document(&document);
            }
            talk.put("interrupted: what was stored is kept, and the next run goes on from there");
        }
        Failure::Told(told) if out.json => {
            let _ = out.document(&ErrorDocument::of(told, talk.again()));
        }
        Failure::Told(told) => talk.error(&*told.error, &told.help),
    }
    let _ = out.flush();
}

/// `1 file`, `2 files`; `1 entry`, `2 entries`.
pub(crate) fn count(number: u64, thing: &str) -> String {
    format!("{number} {}", things(number, thing))
}

/// The word alone, where it does not stand right behind its number: `file` for one, else `files`.
pub(crate) fn things(number: u64, thing: &str) -> String {
    match thing.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u'])) {
        _ if number == 1 => thing.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{thing}s"),
    }
}

/// What goes with a number of things: `was` for one, else `were`.
pub(crate) const fn was(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

/// Rows as a table whose columns are as wide as their widest cell; those of `right` are set to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(|cell| width(cell)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if let Some(widest) = widths.get_mut(column) {
                *widest = (*widest).max(width(cell));
            }
        }
    }
    let line = |cells: Vec<&str>| {
        let mut out = String::new();
        for (column, (cell, widest)) in cells.into_iter().zip(&widths).enumerate() {
            let space = " ".repeat(widest.saturating_sub(width(cell)));
            if column > 0 {
                out.push_str("  ");
            }
            if right.contains(&column) {
                out.push_str(&space);
                out.push_str(cell);
            } else {
                out.push_str(cell);
                out.push_str(&space);
            }
        }
        out.truncate(out.trim_end().len());
        out
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    lines
}

/// The same within the columns of a terminal: the columns of `may_go` are left out, one after another, until it fits or none is left. Elsewhere it has all.
pub(crate) fn table_within(
    width: Option<usize>,
    head: &[&str],
    rows: &[Vec<String>],
    right: &[usize],
    may_go: &[usize],
) -> Vec<String> {
    let mut gone: Vec<usize> = Vec::new();
    loop {
        let kept: Vec<usize> = (0..head.len()).filter(|column| !gone.contains(column)).collect();
        let pick = |row: &Vec<String>| -> Vec<String> { kept.iter().filter_map(|at| row.get(*at).cloned()).collect() };
        let heads: Vec<&str> = kept.iter().filter_map(|at| head.get(*at).copied()).collect();
        let rows: Vec<Vec<String>> = rows.iter().map(pick).collect();
        let to_right = kept.iter().enumerate().filter(|(_, at)| right.contains(at)).map(|(place, _)| place);
        let lines = table(&heads, &rows, &to_right.collect::<Vec<_>>());
        let widest = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
        match may_go.get(gone.len()) {
            Some(next) if width.is_some_and(|width| widest > width) => gone.push(*next),
            _ => return lines,
        }
    }
}

/// The columns of the terminal that standard output is; `None` if it is none.
pub(crate) fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sign_means_anything_to_a_terminal() {
        assert_eq!(tame("a\n  b\x1b[2J\u{9b}31mc"), "a\n  b\\x1b[2J\\xc2\\x9b31mc");
        assert_eq!(tame("C:\\x and ü"), "C:\\x and ü", "what is harmless stays as it is");
    }

    #[test]
    fn lines_are_as_wide_as_the_terminal_and_lose_no_word() {
        let line = "         creates 5 persistentvolumeclaims, 3 certificates.cert-manager.io, 4 networkpolicies.networking.k8s.io";
        let lines = within(line, 60);
        assert_eq!(lines.first().map(String::as_str), Some("         creates 5 persistentvolumeclaims, 3"));
        assert!(lines.iter().all(|line| line.chars().count() <= 60), "{lines:?}");
        assert!(lines.iter().skip(1).all(|line| line.starts_with("           ") && !line.starts_with("            ")));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines.join(" ")), words(line));
        assert_eq!(within("  a  b", 60), ["  a  b"], "what fits stays as it is");
        assert_eq!(within("averylongword", 5), ["averylongword"]);
        assert_eq!(within("", 5), [""]);
    }

    #[test]
    fn one_thing_is_not_many() {
        let said = [count(0, "file"), count(1, "file"), count(2, "new pack"), count(1, "entry"), count(3, "entry")];
        assert_eq!(said, ["0 files", "1 file", "2 new packs", "1 entry", "3 entries"]);
        assert_eq!(
            (count(2, "key"), things(1, "copy"), things(0, "copy")),
            ("2 keys".into(), "copy".into(), "copies".into())
        );
        assert_eq!([was(0), was(1), was(2)], ["were", "was", "were"]);
    }

    #[test]
    fn columns_go_in_order_until_the_rest_fits() {
        let rows = [vec!["a".to_owned(), "12345".to_owned(), "x".to_owned()]];
        let within = |width| table_within(width, &["NAME", "BYTES", "DONE"], &rows, &[1], &[1, 2]);
        assert_eq!(within(None), ["NAME  BYTES  DONE", "a     12345  x"]);
        assert_eq!(within(Some(17)), within(None));
        assert_eq!(within(Some(16)), ["NAME  DONE", "a     x"]);
        assert_eq!(within(Some(3)), ["NAME", "a"], "what has to be told is told, however narrow");
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [vec!["a".to_owned(), "10 B".to_owned()], vec!["länger".to_owned(), "7 B".to_owned()]];
        assert_eq!(table(&["NAME", "SIZE"], &rows, &[1]), ["NAME    SIZE", "a       10 B", "länger   7 B"]);
    }
}
