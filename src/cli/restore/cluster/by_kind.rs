//! The table of a report by kinds, as wide as the terminal: columns in which there is nothing go first, and a name of a kind that is too long gets a line of its own.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use crate::cli::output::table;

/// The columns.
const COLUMNS: [&str; 7] = ["KIND", "RESTORED", "EMPTY", "SAME", "KEPT", "PROBLEMS", "NOT REACHED"];
/// How many of them count objects.
pub(super) const COUNTS: usize = COLUMNS.len() - 1;

/// Columns of the terminal that standard output is; `None` for a file or a program, which take lines of any length.
pub(super) fn width() -> Option<usize> {
    let columns = || rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    std::io::stdout().is_terminal().then(columns).filter(|columns| *columns > 0)
}

fn rows(kinds: &BTreeMap<String, [usize; COUNTS]>, shown: &[usize]) -> Vec<Vec<String>> {
    let cell = |number: usize| if number == 0 { "-".to_owned() } else { number.to_string() };
    let row = |(kind, counts): (&String, &[usize; COUNTS])| {
        let numbers = shown.iter().map(|column| cell(counts.get(*column).copied().unwrap_or_default()));
        std::iter::once(kind.clone()).chain(numbers).collect()
    };
    kinds.iter().map(row).collect()
}

fn is_wider(lines: &[String], width: Option<usize>) -> bool {
    width.is_some_and(|width| lines.iter().any(|line| line.chars().count() > width))
}

/// Lines of it, no wider than `width` where that can be.
pub(super) fn lines(kinds: &BTreeMap<String, [usize; COUNTS]>, width: Option<usize>) -> Vec<String> {
    let drawn = |kinds: &[Vec<String>], shown: &[usize]| {
        let counts = shown.iter().filter_map(|column| COLUMNS.get(column + 1).copied());
        let head: Vec<&str> = std::iter::once("KIND").chain(counts).collect();
        table(&head, kinds, &(1..head.len()).collect::<Vec<_>>())
    };
    let all: Vec<usize> = (0..COUNTS).collect();
    let whole = drawn(&rows(kinds, &all), &all);
    if !is_wider(&whole, width) {
        return whole;
    }
    let is_used = |column: &usize| *column == 0 || kinds.values().any(|counts| counts.get(*column) > Some(&0));
    let used: Vec<usize> = all.into_iter().filter(is_used).collect();
    let fewer = drawn(&rows(kinds, &used), &used);
    let (true, Some(width)) = (is_wider(&fewer, width), width) else { return fewer };
    // What the numbers take is the same in every line.
    let numbers = fewer.first().map_or(0, |head| head.chars().count());
    let longest = kinds.keys().map(|kind| kind.chars().count()).max().unwrap_or(0);
    let room = width.saturating_sub(numbers.saturating_sub(longest)).max("KIND".len());
    let mut cells = rows(kinds, &used);
    let mut own: BTreeMap<usize, String> = BTreeMap::new();
    for (number, row) in cells.iter_mut().enumerate() {
        if let Some(kind) = row.first_mut().filter(|kind| kind.chars().count() > room) {
            own.insert(number, std::mem::take(kind));
        }
    }
    let mut lines = Vec::new();
    for (number, line) in drawn(&cells, &used).into_iter().enumerate() {
        lines.extend(number.checked_sub(1).and_then(|row| own.remove(&row)));
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds() -> BTreeMap<String, [usize; COUNTS]> {
        [
            ("configmaps", [3, 0, 0, 0, 0, 0]),
            ("validatingwebhookconfigurations.admissionregistration.k8s.io", [12, 0, 1, 0, 2, 0]),
            ("validatingadmissionpolicybindings.admissionregistration.k8s.io.example", [1, 0, 0, 0, 0, 0]),
        ]
        .map(|(kind, counts)| (kind.to_owned(), counts))
        .into()
    }

    #[test]
    fn what_is_no_terminal_gets_all_columns() {
        let lines = lines(&kinds(), None);
        assert!(lines[0].ends_with("RESTORED  EMPTY  SAME  KEPT  PROBLEMS  NOT REACHED"), "{lines:#?}");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        for width in [80, 60, 100] {
            let lines = lines(&kinds(), Some(width));
            let is_kind = |line: &String| kinds().contains_key(line);
            assert!(lines.iter().all(|line| line.chars().count() <= width || is_kind(line)), "{width}: {lines:#?}");
        }
        let lines = lines(&kinds(), Some(80));
        let expected = [
            "KIND        RESTORED  SAME  PROBLEMS",
            "configmaps         3     -         -",
            "validatingadmissionpolicybindings.admissionregistration.k8s.io.example",
            "                   1     -         -",
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "                  12     1         2",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn columns_with_nothing_in_them_go_only_where_there_is_no_room() {
        let few: BTreeMap<String, [usize; COUNTS]> = [("secrets".to_owned(), [1, 0, 0, 0, 0, 0])].into();
        assert!(lines(&few, Some(80))[0].ends_with("NOT REACHED"));
        let long = [("mutatingwebhookconfigurations.x.k8s.io".to_owned(), [1, 0, 0, 0, 0, 0])].into();
        assert_eq!(lines(&long, Some(60))[0].split_whitespace().collect::<Vec<_>>(), ["KIND", "RESTORED"]);
    }
}
