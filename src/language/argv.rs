//! The words of a command: a program and its arguments, no shell's text.

use super::finding::Finding;
use super::node::Node;
use super::password::holds_password;

/// Judges the words of a command that is called `at`.
pub(crate) fn judge_argv(at: &str, argv: &Node, findings: &mut Vec<Finding>) {
    if let Some(first) = argv.elements().first()
        && let Some(program) = first.text()
    {
        if program.is_empty() {
            findings.push(Finding::error(
                first.place,
                format!("{at}: the program has no name"),
                "the first word is the program",
            ));
        } else if program.contains('/') && !program.starts_with('/') {
            let what = format!("{at}: {program} is a relative path");
            findings.push(Finding::error(
                first.place,
                what,
                "write it from / on, or its name alone, which is looked for on the PATH",
            ));
        } else if program.contains(char::is_whitespace) && argv.elements().len() == 1 {
            let what = format!("{at}: {program:?} would be the name of one program");
            findings.push(Finding::error(
                first.place,
                what,
                "no shell takes it apart: make a list of it, one word each",
            ));
        }
    }
}

/// Warns of words of a command that look like passwords.
pub(crate) fn judge_passwords(at: &str, argv: &Node, findings: &mut Vec<Finding>) {
    for node in argv.elements() {
        if node.text().is_some_and(holds_password) {
            let what = format!(
                "{at}: this looks like a password, which everybody on the machine can see in the list of processes"
            );
            let help = "have the program read it from a file or a variable, such as PGPASSFILE";
            findings.push(Finding::warning(node.place, what, help));
        }
    }
}
