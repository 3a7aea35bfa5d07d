//! Titles, messages, names and values of somebody who wishes us ill: they are text in every rendering.

use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::{Value, json};

use super::Place;

/// What breaks out of HTML, of attributes, of the block of JSON, of Markdown, of tables, and of a terminal.
const EVIL: [&str; 12] = [
    "</title><script>alert(1)</script>",
    "\" onmouseover=\"alert(1)\" x=\"",
    "' style='position:fixed' '",
    "</script><img src=x onerror=alert(1)>",
    "<!-- homelab-dr report page, signed: x y -->",
    "]]></style>&lt;b&gt;&#60;",
    "[click](https://evil.example) ![x](https://evil.example/x.png) https://evil.example www.evil.example <https://evil.example>",
    "| a | b |\n| --- | --- |\n# heading\n```\ncode\n",
    "`` ` ``` *bold* _em_ ~~gone~~ <b>x</b> &amp; \\",
    "\u{1b}[2J\u{9b}31m\u{202e}gnp.exe\u{200b}",
    "1. one\n- two\n+ three",
    "{\"report\":{},\"signature\":{\"key\":\"x\"}}",
];

/// A journal in which everything that is not ours is evil.
fn journal(evil: &str) -> String {
    let text = "---\nid: evil\ntitle: T\n---\nX.\n\n## TITLE\n\nX.\n\n```yaml step\nid: a\nrun: {argv: [echo, WORD]}\nverify: [tcp: {address: \"127.0.0.1:1\"}]\n```\n\n## B\n\nX.\n\n```yaml step\nid: b\nmanual: {}\n```\n";
    let heading: String = evil.chars().map(|c| if c == '\n' { ' ' } else { c }).filter(|c| !c.is_control()).collect();
    let text = text.replace("TITLE", &heading.replace('\\', "")).replace("WORD", &json!(heading).to_string());
    let plan = json!({
        "homelab_dr_plan": 1, "run": "0e0e0e0e", "made": "2026-11-21T09:00:00Z",
        "runbook": {"id": evil, "title": evil, "digest": homelab_dr::runs::plan::digest(&text), "text": text},
        "values": {evil: evil}, "repository": evil, "cluster": {"uid": evil, "shown": evil, "version": evil},
        "chosen": {"a": {"snapshot": evil, "source": evil, "started": "2026-11-21T08:00:00Z", "age": 1, "files": 1, "bytes": 1}},
        "fates": {"a": {"create": [], "replace": [], "keep": [], "same": 0, "conflict": [], "skipped": 0,
            "fill": [{"claim": evil, "snapshot": evil, "bytes": 1}]}},
        "skipped": [],
    });
    let at = |second: u32| format!("2026-11-21T09:00:{second:02}Z");
    let records = [
        json!({"at": at(1), "event": "taken-up", "host": evil, "by": evil, "version": evil}),
        json!({"at": at(1), "event": "opened", "recipient": evil}),
        json!({"at": at(2), "event": "begun", "step": "a"}),
        json!({"at": at(3), "event": "failed", "step": "a", "why": evil, "help": evil, "took": 1}),
        json!({"at": at(4), "event": "taken-up", "host": evil, "by": evil, "version": evil}),
        json!({"at": at(5), "event": "begun", "step": "a"}),
        json!({"at": at(6), "event": "checked", "step": "a", "check": 0, "held": true, "said": evil, "seen": evil, "took": 1}),
        json!({"at": at(6), "event": "done", "step": "a", "said": [evil, evil], "took": 1}),
        json!({"at": at(7), "event": "let-go", "step": "a", "said": [evil], "is_well": false}),
        json!({"at": at(8), "event": "asked", "step": "b", "question": "manual"}),
        json!({"at": at(9), "event": "declined", "step": "b", "said": evil, "by": evil}),
        json!({"at": at(9), "event": "paused", "why": evil}),
    ];
    std::iter::once(plan).chain(records).map(|line| format!("{line}\n")).collect()
}

/// The tags of a page, with the names of their attributes; a page that is not formed like ours is a failure.
fn tags(page: &str) -> Vec<(String, Vec<String>)> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "/!-".contains(*c)).collect();
        rest = &rest[name.len()..];
        let mut attributes = Vec::new();
        while !rest.starts_with('>') {
            rest = rest.trim_start_matches([' ', '\n']);
            let attribute: String = rest.chars().take_while(|c| !"=> ".contains(*c)).collect();
            rest = &rest[attribute.len()..];
            if let Some(value) = rest.strip_prefix("=\"") {
                let end = value.find('"').expect("the value of an attribute ends");
                assert!(!value[..end].contains(['<', '>']), "{}", &value[..end]);
                rest = &value[end + 1..];
            }
            attributes.push(attribute);
        }
        if name == "script" {
            let end = rest.find("</script>").expect("the block ends");
            rest = &rest[end..];
        }
        tags.push((name, attributes));
    }
    tags
}

#[test]
fn nothing_from_outside_is_markup_in_a_page() {
    const TAGS: &[&str] = &[
        "!", "html", "head", "meta", "title", "style", "body", "main", "header", "p", "h1", "h2", "h3", "h4", "div",
        "strong", "code", "dl", "dt", "dd", "section", "table", "thead", "tbody", "tr", "th", "td", "span", "svg",
        "defs", "pattern", "rect", "line", "circle", "ol", "ul", "li", "a", "article", "br", "footer", "script",
        "!DOCTYPE", "!--",
    ];
    const ATTRIBUTES: &[&str] = &[
        "html",
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "class",
        "scope",
        "data-label",
        "id",
        "type",
        "href",
        "role",
        "aria-hidden",
        "aria-label",
        "width",
        "height",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "cx",
        "cy",
        "r",
        "patternUnits",
        "patternTransform",
        "/",
    ];
    for evil in EVIL {
        let place = Place::new();
        place.add("0e0e0e0e", &journal(evil));
        let page = place.shown("0e0e0e0e", "html");
        // The last line is ours: the signature, whose form is checked by `verify`.
        let (page, line) = page.trim_end().rsplit_once('\n').unwrap();
        assert!(line.starts_with("<!-- homelab-dr report page, signed: hdr-report1-"), "{line}");
        let tags = tags(page);
        assert!(tags.len() > 100, "{}", tags.len());
        for (tag, attributes) in &tags {
            let name = tag.trim_start_matches('/');
            assert!(TAGS.contains(&name) && name != "!--", "{evil}: <{tag}>");
            assert!(
                attributes.iter().all(|name| ATTRIBUTES.contains(&name.as_str())),
                "{evil}: <{tag} {attributes:?}>"
            );
        }
        assert_eq!(tags.iter().filter(|(tag, _)| tag == "script").count(), 1, "{evil}");
        for hidden in ['\u{1b}', '\u{9b}', '\u{202e}', '\u{200b}'] {
            assert!(!page.contains(hidden), "{hidden:?}");
        }
        for (format, file) in [("json", "r.json"), ("html", "r.html"), ("markdown", "r.md")] {
            place.verified(file, place.shown("0e0e0e0e", format)).exits(0);
        }
        let json: Value = serde_json::from_str(&place.shown("0e0e0e0e", "json")).unwrap();
        assert_eq!(json["report"]["runbook"]["title"], evil, "the JSON has it as it was");
    }
}

#[test]
fn nothing_from_outside_is_markup_in_markdown() {
    for evil in EVIL {
        let place = Place::new();
        place.add("0e0e0e0e", &journal(evil));
        let page = place.shown("0e0e0e0e", "markdown");
        let (page, _) = page.trim_end().rsplit_once('\n').unwrap();
        let mut titles = 0;
        let mut text = String::new();
        for event in Parser::new_ext(page, Options::all()) {
            match event {
                Event::Start(
                    Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock | Tag::CodeBlock(_) | Tag::Strikethrough,
                ) => {
                    panic!("{evil}: {event:?}\n{page}")
                }
                Event::Html(_) | Event::InlineHtml(_) | Event::Rule | Event::FootnoteReference(_) => {
                    panic!("{evil}: {event:?}\n{page}")
                }
                Event::Start(Tag::Heading { .. }) => titles += 1,
                Event::Text(part) | Event::Code(part) => text += &part,
                _ => {}
            }
        }
        assert_eq!(titles, 8, "{evil}\n{page}");
        // Only what has no hidden signs stands there letter by letter.
        if !evil.contains(|c: char| c.is_control() || c == '\u{202e}')
            && !evil.contains("--")
            && !evil.contains(['"', '\''])
        {
            assert!(text.matches(evil).count() >= 8, "{evil}\n{text}\n{page}");
        }
    }
}

#[test]
fn nothing_from_outside_moves_a_terminal() {
    let place = Place::new();
    place.add("0e0e0e0e", &journal("\u{1b}[2J\u{9b}31m\r\nred"));
    for ran in [place.ran(&["report", "show", "0e0e0e0e"]).exits(0), place.ran(&["report", "list"]).exits(0)] {
        let all = ran.out + &ran.err;
        assert!(all.chars().all(|c| c == '\n' || !c.is_control()) && all.contains("\\x1b[2J"), "{all}");
    }
}
