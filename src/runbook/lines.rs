//! From offsets in a text to places in it and back. Lines end as `CommonMark` and YAML have them: `\n`, `\r\n` or `\r` alone.

use crate::language::Place;

/// Where the lines of a text begin.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Of a text.
    pub fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let ends = |at: &usize| match bytes.get(*at) {
            Some(b'\n') => true,
            Some(b'\r') => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let starts = std::iter::once(0).chain((0..bytes.len()).filter(ends).map(|at| at + 1)).collect();
        Self { text, starts }
    }

    /// The place of an offset.
    pub fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default();
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        Place { line, column: before.chars().count() + 1 }
    }

    /// The offset of a place; of one behind its line's end, the text's end at most.
    pub fn offset(&self, place: Place) -> usize {
        let start = self.starts.get(place.line.saturating_sub(1)).copied().unwrap_or(self.text.len());
        let rest = self.text.get(start..).unwrap_or_default();
        rest.char_indices().nth(place.column.saturating_sub(1)).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// The lines with their numbers, without their ends.
    pub fn numbered(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let text = self.text;
        let ends = self.starts.iter().skip(1).copied().chain([text.len()]);
        let lines = self.starts.iter().copied().zip(ends).map(move |(start, end)| text.get(start..end));
        lines.enumerate().map(|(number, line)| (number + 1, line.unwrap_or_default().trim_end_matches(['\r', '\n'])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_offsets_are_the_same_thing() {
        let text = "aü\r\nb\rc\n\nend";
        let lines = Lines::of(text);
        let all: Vec<String> = text.char_indices().map(|(at, _)| lines.place(at).to_string()).collect();
        assert_eq!(
            all,
            ["1:1", "1:2", "1:3", "1:4", "2:1", "2:2", "3:1", "3:2", "4:1", "5:1", "5:2", "5:3"].map(String::from)
        );
        for (at, _) in text.char_indices() {
            assert_eq!(lines.offset(lines.place(at)), at);
        }
        assert_eq!(lines.offset(Place { line: 99, column: 1 }), text.len());
        assert_eq!(lines.numbered().collect::<Vec<_>>(), [(1, "aü"), (2, "b"), (3, "c"), (4, ""), (5, "end")]);
    }
}
