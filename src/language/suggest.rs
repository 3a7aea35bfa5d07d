//! "Did you mean": the known name that is nearest to what was written.

use super::finding::short;

/// Longest name that is compared; nobody mistypes into a longer one.
const NAME_MAX: usize = 64;
/// Most known names that are compared; a file can have thousands of things, each with a name that is wrong somewhere else.
const KNOWN_MAX: usize = 100;
/// Most names that a sentence lists.
const LISTED_MAX: usize = 12;

/// Letters to insert, leave out, replace or swap with their neighbour, to get from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Three rows of the table are enough: a swap looks two rows back.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], column: usize| row.get(column).copied().unwrap_or(usize::MAX - 1);
            let mut least = (at(&above, j + 1) + 1).min(at(&row, j) + 1).min(at(&above, j) + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                least = least.min(at(&before, j - 1) + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

/// The known name that was probably meant.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    if given.chars().count() > NAME_MAX {
        return None;
    }
    // `keep_last`, `keepLast` and `keep-last` are the same to whoever typed it.
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let given = plain(given);
    let near = known.iter().take(KNOWN_MAX).filter(|name| name.len() <= NAME_MAX);
    let scored = near.map(|name| (distance(&given, &plain(name)), *name));
    let (far, name) = scored.min_by_key(|(far, _)| *far)?;
    (far <= (given.len() / 3).max(1)).then_some(name)
}

/// The sentence that helps with an unknown name.
pub(crate) fn help(given: &str, known: &[&str], all: &str) -> String {
    match nearest(given, known) {
        Some(name) => format!("did you mean {name:?}?"),
        None if known.is_empty() => all.to_owned(),
        None => {
            let listed: Vec<_> = known.iter().take(LISTED_MAX).map(|name| short(name)).collect();
            let more = if known.len() > LISTED_MAX { ", …" } else { "" };
            format!("{all}: {}{more}", listed.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_near_is_suggested_and_what_is_not_is_not() {
        let known = ["paths", "exclude", "one-file-system", "timeout"];
        for (given, meant) in [
            ("path", Some("paths")),
            ("pahts", Some("paths")),
            ("oneFileSystem", Some("one-file-system")),
            ("one_file_system", Some("one-file-system")),
            ("excludes", Some("exclude")),
            ("schedule", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &known), meant, "{given}");
        }
        assert_eq!(nearest(&"p".repeat(1 << 20), &known), None);
        assert_eq!(distance("abcd", "acbd"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
