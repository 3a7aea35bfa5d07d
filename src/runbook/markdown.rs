//! The Markdown of a runbook: front matter, sections by their headings, prose, and the blocks that are steps, which know where their text stands in the file.
//!
//! `CommonMark` as `pulldown-cmark` reads it. A step is a fenced block at the left margin (not in a list or a quote) whose info string is `yaml step`; every other
//! block is prose.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

use super::lines::Lines;
use crate::language::{Finding, Place, short};

/// The info string of a step.
const STEP: [&str; 2] = ["yaml", "step"];
/// Deepest nesting of lists and quotes that is prose; what lies deeper is shown as if it lay there.
const DEPTH_MAX: usize = 8;

/// A piece of prose, its lines joined where Markdown joins them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prose {
    /// Text.
    Paragraph(String),
    /// An element of a list.
    Item {
        /// How deep, from 0.
        depth: usize,
        /// `-`, or its number and a dot; empty for a further paragraph of the same element.
        mark: String,
        /// What it says.
        text: String,
    },
    /// Lines that are kept as they are.
    Code(Vec<String>),
}

/// YAML within the file.
#[derive(Debug)]
pub(super) struct Block {
    /// Its text.
    pub text: String,
    /// Where in the file the parts of the text come from: offset in the text, offset in the file.
    pieces: Vec<(usize, usize)>,
    /// Where it begins, its fence.
    pub place: Place,
}

impl Block {
    /// The place in the file of a place in the text.
    pub fn place(&self, lines: &Lines<'_>, own: &Lines<'_>, place: Place) -> Place {
        let offset = own.offset(place);
        let piece = self.pieces.partition_point(|(at, _)| *at <= offset).saturating_sub(1);
        match self.pieces.get(piece) {
            Some((at, source)) => lines.place(source + offset.saturating_sub(*at)),
            None => self.place,
        }
    }
}

/// What stands below a heading, or before the first.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// The heading's text; `None` before the first.
    pub title: Option<String>,
    /// Prose before the step, or all of it.
    pub before: Vec<Prose>,
    /// The step.
    pub step: Option<Block>,
    /// Prose after it.
    pub after: Vec<Prose>,
}

/// A file, taken apart.
#[derive(Debug)]
pub(super) struct Page {
    /// The YAML between the first two lines `---`.
    pub front: Option<Block>,
    /// In the order of the file; the first has no title.
    pub sections: Vec<Section>,
}

/// Takes a file apart. `text` has no byte order mark.
pub(super) fn page(text: &str, lines: &Lines<'_>, findings: &mut Vec<Finding>) -> Page {
    let (front, rest) = front(text, lines, findings);
    let body = text.get(rest..).unwrap_or_default();
    let mut reading = Reading {
        lines,
        text,
        findings,
        done: Vec::new(),
        section: Section::default(),
        open: Vec::new(),
        inline: String::new(),
        code: None,
    };
    for (event, range) in Parser::new(body).into_offset_iter() {
        reading.take(event, &(range.start + rest..range.end + rest));
    }
    reading.done.push(reading.section);
    Page { front, sections: reading.done }
}

/// The front matter, and where what follows it begins.
fn front(text: &str, lines: &Lines<'_>, findings: &mut Vec<Finding>) -> (Option<Block>, usize) {
    let mut numbered = lines.numbered();
    let begins = numbered.next().is_some_and(|(_, line)| line.trim_end() == "---");
    let help = "begin the file with a line ---, the fields id: and title:, and a line ---";
    if !begins {
        findings.push(Finding::error(Place::START, "the front matter is missing", help));
        return (None, 0);
    }
    let Some((end, _)) = numbered.find(|(_, line)| line.trim_end() == "---") else {
        findings.push(Finding::error(Place::START, "the front matter has no end", "put a line --- behind it"));
        return (None, text.len());
    };
    let [first, last, rest] = [2, end, end + 1].map(|line| lines.offset(Place { line, column: 1 }));
    let inner = text.get(first..last).unwrap_or_default().to_owned();
    (Some(Block { text: inner, pieces: vec![(0, first)], place: Place::START }), rest)
}

/// A list or a quote that is not closed yet.
enum Open {
    List(Option<u64>),
    /// The mark that its next paragraph gets.
    Item(String),
    Quote,
}

/// A block of code that is not closed yet.
struct Code {
    is_step: bool,
    text: String,
    pieces: Vec<(usize, usize)>,
    range: Range<usize>,
}

struct Reading<'a, 'l> {
    lines: &'a Lines<'l>,
    text: &'a str,
    findings: &'a mut Vec<Finding>,
    /// Sections whose end was read.
    done: Vec<Section>,
    /// The one that is being read.
    section: Section,
    open: Vec<Open>,
    inline: String,
    code: Option<Code>,
}

impl Reading<'_, '_> {
    fn take(&mut self, event: Event<'_>, range: &Range<usize>) {
        match event {
            Event::End(TagEnd::Heading(_)) => self.end_heading(),
            Event::Start(Tag::CodeBlock(kind)) => self.begin_code(&kind, range),
            Event::End(TagEnd::CodeBlock) => self.end_code(),
            Event::Start(Tag::List(first)) => {
                self.paragraph();
                self.open.push(Open::List(first));
            }
            Event::Start(Tag::Item) => {
                let mark = match self.open.last_mut() {
                    Some(Open::List(Some(number))) => {
                        *number = number.saturating_add(1);
                        format!("{}.", *number - 1)
                    }
                    _ => "-".to_owned(),
                };
                self.open.push(Open::Item(mark));
            }
            Event::Start(Tag::BlockQuote(_)) => {
                self.paragraph();
                self.open.push(Open::Quote);
            }
            Event::End(TagEnd::List(_) | TagEnd::Item | TagEnd::BlockQuote(_)) => {
                self.paragraph();
                self.open.pop();
            }
            Event::Start(Tag::Heading { .. }) | Event::End(TagEnd::Paragraph) => self.paragraph(),
            Event::Text(text) => match &mut self.code {
                None => self.inline.push_str(&text),
                Some(code) => {
                    code.pieces.push((code.text.len(), range.start));
                    code.text.push_str(&text);
                }
            },
            Event::Code(text) => {
                self.inline.push('`');
                self.inline.push_str(&text);
                self.inline.push('`');
            }
            Event::SoftBreak => self.inline.push(' '),
            Event::HardBreak => self.inline.push('\n'),
            // Comments and markup are nobody's prose.
            _ => {}
        }
    }

    fn add(&mut self, prose: Prose) {
        let Section { before, after, step, .. } = &mut self.section;
        if step.is_some() { after.push(prose) } else { before.push(prose) }
    }

    /// Ends a paragraph, if there is one.
    fn paragraph(&mut self) {
        let text = std::mem::take(&mut self.inline).trim().to_owned();
        if text.is_empty() {
            return;
        }
        let lists = self.open.iter().filter(|open| matches!(open, Open::List(_))).count();
        let item = self.open.iter_mut().rev().find_map(|open| match open {
            Open::Item(mark) => Some(std::mem::take(mark)),
            _ => None,
        });
        self.add(match item {
            Some(mark) => Prose::Item { depth: lists.saturating_sub(1).min(DEPTH_MAX), mark, text },
            None => Prose::Paragraph(text),
        });
    }

    fn end_heading(&mut self) {
        if self.open.is_empty() {
            let title = std::mem::take(&mut self.inline).trim().replace('\n', " ");
            let next = Section { title: Some(title), ..Section::default() };
            self.done.push(std::mem::replace(&mut self.section, next));
        } else {
            self.paragraph();
        }
    }

    fn begin_code(&mut self, kind: &CodeBlockKind<'_>, range: &Range<usize>) {
        self.paragraph();
        let info = match kind {
            CodeBlockKind::Fenced(info) => info.as_ref(),
            CodeBlockKind::Indented => "",
        };
        let words: Vec<&str> = info.split_whitespace().collect();
        let is_step = words == STEP;
        let place = self.lines.place(range.start);
        let likely = words.iter().take(2).any(|word| word.trim_end_matches('s').eq_ignore_ascii_case("step"));
        if !is_step && likely {
            let what = format!("this block is marked `{}`, and is prose", short(info));
            self.findings.push(Finding::error(place, what, "did you mean `yaml step`?"));
        } else if is_step && !self.open.is_empty() {
            let what = "a step stands in a list or a quote";
            self.findings.push(Finding::error(place, what, "move its block to the left margin, below a heading"));
        }
        let is_step = is_step && self.open.is_empty();
        self.code = Some(Code { is_step, text: String::new(), pieces: Vec::new(), range: range.clone() });
    }

    fn end_code(&mut self) {
        let Some(code) = self.code.take() else { return };
        if !code.is_step {
            let lines = code.text.lines().map(str::to_owned).collect();
            return self.add(Prose::Code(lines));
        }
        let place = self.lines.place(code.range.start);
        let whole = self.text.get(code.range.clone()).unwrap_or_default().trim_end();
        let last = whole.lines().skip(1).last().unwrap_or_default().trim();
        if last.len() < 3 || last.chars().any(|c| c != '`' && c != '~') {
            let help = "put a line ``` behind the last field";
            self.findings.push(Finding::error(place, "the block of this step is not closed", help));
        }
        let block = Block { text: code.text, pieces: code.pieces, place };
        let section = &mut self.section;
        if section.title.is_none() {
            let what = "a step has no heading";
            self.findings.push(Finding::error(place, what, "put a heading above it that says what it does"));
            return;
        }
        if let Some(first) = &section.step {
            let help = format!("the first is in line {}: give each a heading of its own", first.place.line);
            self.findings.push(Finding::error(place, "there are two steps below one heading", help));
            return;
        }
        section.step = Some(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Page, Vec<String>) {
        let mut findings = Vec::new();
        let page = page(text, &Lines::of(text), &mut findings);
        (page, findings.iter().map(|finding| format!("{} {}", finding.place, finding.what)).collect())
    }

    #[test]
    fn a_page_is_taken_apart() {
        let text = "---\nid: a\n---\nBefore\nall.\n\n# One *thing*\n\nText with `code`,\nand a [link](x).\n\n1. first\n   - inner\n2. second\n\n   more\n\n> quoted\n\n```yaml step\nid: x\n```\n\nAfter.\n\n```sh\nls -l\n```\n\n## Two\n";
        let (page, findings) = read(text);
        assert_eq!(findings, Vec::<String>::new());
        assert_eq!(page.front.expect("there").text, "id: a\n");
        let [first, one, two] = page.sections.as_slice() else { panic!("{:?}", page.sections) };
        assert_eq!(first.before, [Prose::Paragraph("Before all.".into())]);
        assert_eq!((one.title.as_deref(), two.title.as_deref()), (Some("One thing"), Some("Two")));
        let item = |depth, mark: &str, text: &str| Prose::Item { depth, mark: mark.into(), text: text.into() };
        assert_eq!(
            one.before,
            [
                Prose::Paragraph("Text with `code`, and a link.".into()),
                item(0, "1.", "first"),
                item(1, "-", "inner"),
                item(0, "2.", "second"),
                item(0, "", "more"),
                Prose::Paragraph("quoted".into())
            ]
        );
        assert_eq!(one.step.as_ref().expect("there").text, "id: x\n");
        assert_eq!(one.after, [Prose::Paragraph("After.".into()), Prose::Code(vec!["ls -l".into()])]);
    }

    #[test]
    fn what_is_no_step_and_looks_like_one_is_told() {
        let front = "---\nid: a\n---\n";
        for (body, says) in [
            ("# A\n```yaml steps\nid: x\n```\n", "5:1 this block is marked `yaml steps`, and is prose"),
            ("# A\n```step\nid: x\n```\n", "5:1 this block is marked `step`, and is prose"),
            ("# A\n- b\n\n  ```yaml step\n  id: x\n  ```\n", "7:3 a step stands in a list or a quote"),
            ("# A\n> ```yaml step\n> id: x\n> ```\n", "5:3 a step stands in a list or a quote"),
            ("```yaml step\nid: x\n```\n", "4:1 a step has no heading"),
            ("# A\n```yaml step\nid: x\n```\n```yaml step\nid: y\n```\n", "8:1 there are two steps below one heading"),
            ("# A\n```yaml step\nid: x\n", "5:1 the block of this step is not closed"),
        ] {
            assert_eq!(read(&format!("{front}{body}")).1, [says], "{body}");
        }
        assert_eq!(read("# A\n").1, ["1:1 the front matter is missing"]);
        assert_eq!(read("").1, ["1:1 the front matter is missing"]);
        assert_eq!(read("---\nid: a\n").1, ["1:1 the front matter has no end"]);
    }

    #[test]
    fn a_block_knows_where_every_sign_of_it_stands() {
        for end in ["\n", "\r\n"] {
            for indent in ["", " ", "   "] {
                let text = format!("---\nid: a\n---\n\n# ü\n{indent}```yaml step\n{indent}id: ü\n\n{indent}  b:\tx\n{indent}~~~\n{indent}```\n")
                    .replace('\n', end);
                let (page, findings) = read(&text);
                assert_eq!(findings, Vec::<String>::new());
                let block = page.sections[1].step.as_ref().expect("there");
                let (lines, own) = (Lines::of(&text), Lines::of(&block.text));
                assert_eq!(block.text.replace(end, "\n"), "id: ü\n\n  b:\tx\n~~~\n", "{text:?}");
                for (at, sign) in block.text.char_indices().filter(|(_, sign)| !sign.is_whitespace()) {
                    let source = lines.offset(block.place(&lines, &own, own.place(at)));
                    assert_eq!(text[source..].chars().next(), Some(sign), "{at} of {:?}", block.text);
                }
            }
        }
    }
}
