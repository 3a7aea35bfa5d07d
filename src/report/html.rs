//! The report as one page of HTML: no script runs, nothing is fetched (a content security policy in the page forbids it), and the signed JSON lies in it.

use super::document::{Because, Document, Looked, State, Step, Try, Verdict};
use super::envelope::{Signed, page_signature};
use super::page::Page;
use super::standing::Standing;
use super::style::CSS;
use super::tables::{facts, left_out, objects_in_words, origins, processes, remarks, title};
use super::timeline::{Scale, WHOLE, has_bars, percent};
use super::words::{self, answer, ended, first, headline, looked, rows, seen, sentence, span, standing_of, when};
use crate::crypto::report_key::ReportKey;

/// Narrowest bar, of [`WHOLE`]: what took no time is seen all the same.
const BAR_MIN: i64 = 40;

/// The page, signed.
#[must_use]
pub fn html(document: &Document, signed: &Signed, key: &ReportKey) -> String {
    let mut page = Page::default();
    head(&mut page, document);
    objectives(&mut page, document);
    timeline(&mut page, document);
    page.raw("<section><h2>Steps</h2>\n");
    document.steps.iter().for_each(|step| article(&mut page, step));
    page.raw("</section>\n");
    snapshots(&mut page, document);
    not_rehearsed(&mut page, document);
    carried_out(&mut page, document);
    proof(&mut page, document, signed);
    page.raw("</main>\n").data(signed).raw("\n</body>\n</html>\n");
    let page = page.finish();
    let line = page_signature(&page, key);
    page + &line
}

const fn tone(standing: Standing) -> &'static str {
    match standing {
        Standing::Recovered => "good",
        Standing::Failed | Standing::WithFailures => "bad",
        _ => "open",
    }
}

const fn tone_of(state: State) -> &'static str {
    match state {
        State::Done => "good",
        State::Failed => "bad",
        State::NotNeeded | State::LeftOut => "none",
        _ => "open",
    }
}

fn head(page: &mut Page, document: &Document) {
    page.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n")
        .raw(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
        )
        .raw("<title>Recovery report ")
        .text(&document.run)
        .raw(": ")
        .text(&document.runbook.title)
        .raw("</title>\n<style>")
        .raw(CSS)
        .raw("</style>\n</head>\n<body>\n<main>\n<header><p class=\"kicker\">Report of recovery run ")
        .text(&document.run)
        .raw("</p>\n<h1>")
        .text(&document.runbook.title)
        .raw("</h1>\n<div class=\"came ")
        .raw(tone(document.stand.standing))
        .raw("\"><strong>")
        .text(&headline(document))
        .raw("</strong>")
        .text(&sentence(document));
    if let Some(next) = words::next(document) {
        page.raw("<p class=\"note\">It goes on with</p><code class=\"command\">").text(&next).raw("</code>");
    }
    page.raw("</div>\n<dl>");
    for (name, value) in facts(document) {
        page.raw("<dt>").raw(name).raw("</dt><dd>").text(&value).raw("</dd>\n");
    }
    for (name, value) in &document.values {
        page.raw("<dt>Parameter ").text(name).raw("</dt><dd>").text(value).raw("</dd>\n");
    }
    page.raw("</dl></header>\n");
}

/// A table whose cells say on a telephone which column they are of.
fn table(page: &mut Page, head: &[&'static str], rows: &[Vec<String>]) {
    page.raw("<table><thead><tr>");
    for name in head {
        page.raw("<th scope=\"col\">").raw(name).raw("</th>");
    }
    page.raw("</tr></thead>\n<tbody>");
    for row in rows {
        page.raw("<tr>");
        for (name, cell) in head.iter().zip(row) {
            page.raw("<td data-label=\"").raw(name).raw("\">").text(cell).raw("</td>");
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table>\n");
}

fn objectives(page: &mut Page, document: &Document) {
    page.raw(
        "<section><h2>Objectives</h2>\n<table><thead><tr><th scope=\"col\">Objective</th><th scope=\"col\">Wanted</th>",
    )
    .raw("<th scope=\"col\">Measured</th><th scope=\"col\">Verdict</th></tr></thead>\n<tbody>");
    for row in rows(document) {
        let tone = match row.verdict {
            Some(Verdict::Met) => "good",
            Some(Verdict::Missed | Verdict::NotReached) => "bad",
            Some(Verdict::Open | Verdict::NotKnown) => "open",
            None => "none",
        };
        page.raw("<tr><td data-label=\"Objective\">").text(&row.what);
        page.raw("</td><td data-label=\"Wanted\">").text(&row.wanted);
        page.raw("</td><td data-label=\"Measured\">").text(&row.came);
        page.raw("</td><td data-label=\"Verdict\"><span class=\"word ").raw(tone).raw("\">");
        page.text(&row.word).raw("</span></td></tr>\n");
    }
    page.raw("</tbody></table>\n</section>\n");
}

fn timeline(page: &mut Page, document: &Document) {
    let (time, scale) = (&document.time, Scale::of(&document.time, &document.idle));
    let Some((begun, last)) = time.begun.zip(time.last).filter(|_| has_bars(&document.steps)) else { return };
    page.raw("<section><h2>Timeline</h2>\n<svg class=\"defs\" aria-hidden=\"true\"><defs>")
        .raw("<pattern id=\"stripes\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">")
        .raw("<rect class=\"under\" width=\"6\" height=\"6\"/><line class=\"stripes\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"6\"/></pattern>")
        .raw("<pattern id=\"dots\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">")
        .raw("<circle class=\"dots\" cx=\"2.5\" cy=\"2.5\" r=\"1\"/></pattern></defs></svg>\n<ol class=\"timeline\">\n");
    for step in document.steps.iter().filter(|step| step.state != State::NotNeeded) {
        page.raw("<li><div class=\"row\"><a href=\"#step-")
            .text(&step.id)
            .raw("\">")
            .text(&title(step))
            .raw("</a><span>");
        page.text(&standing_of(step)).raw("</span></div>");
        page.raw("<svg role=\"img\" aria-label=\"").text(&bars_in_words(step, document)).raw("\">");
        page.raw("<rect class=\"track\" width=\"100%\" height=\"12\"/>");
        for idle in &document.idle {
            let from = scale.at(idle.from);
            rect(page, "idle", "", from, scale.at(idle.to) - from);
        }
        for one in &step.tries {
            let (from, width) = scale.bar(one);
            let width = width.max(BAR_MIN);
            rect(page, "bar", tone_of(one.state), from.min(WHOLE - width), width);
        }
        page.raw("</svg></li>\n");
    }
    page.raw("</ol>\n<p class=\"ends\"><span>").text(&when(begun)).raw("</span><span>").text(&span(time.gross_seconds));
    page.raw(" later: ").text(&when(last)).raw("</span></p>\n<ul class=\"key\">");
    for (class, tone, name) in
        [("bar", "good", "done"), ("bar", "bad", "failed"), ("bar", "open", "stopped, cut off or under way")]
    {
        page.raw("<li><svg aria-hidden=\"true\"><rect class=\"").raw(class).raw(" ").raw(tone);
        page.raw("\" width=\"28\" height=\"10\"/></svg>").raw(name).raw("</li>");
    }
    if !document.idle.is_empty() {
        page.raw(
            "<li><svg aria-hidden=\"true\"><rect class=\"idle\" width=\"28\" height=\"10\"/></svg>nothing was done: ",
        );
        page.text(&idle_in_words(document)).raw("</li>");
    }
    page.raw("</ul>\n</section>\n");
}

fn idle_in_words(document: &Document) -> String {
    let has = |why| document.idle.iter().any(|idle| idle.why == why);
    let time = &document.time;
    let mut parts = Vec::new();
    if has(Because::Person) {
        parts.push(format!("waited {} for a person", span(time.waited_seconds)));
    }
    if has(Because::Away) {
        parts.push(format!("for {} nobody carried it out", span(time.away_seconds)));
    }
    let scale = Scale::of(time, &document.idle);
    let shortened = if scale.is_shortened { " (drawn shorter than it was)" } else { "" };
    format!("{}{shortened}", parts.join(", "))
}

fn bars_in_words(step: &Step, document: &Document) -> String {
    let one = |one: &Try| {
        let after = document.time.begun.map(|begun| one.begun.since(begun).as_secs()).unwrap_or_default();
        format!("begun {} after the start, {}", span(after), ended(one))
    };
    let tries: Vec<String> = step.tries.iter().map(one).collect();
    if tries.is_empty() { words::state(step.state).to_owned() } else { tries.join("; ") }
}

fn rect(page: &mut Page, class: &'static str, tone: &'static str, from: i64, width: i64) {
    page.raw("<rect class=\"").raw(class).raw(" ").raw(tone).raw("\" x=\"").text(&percent(from));
    page.raw("\" width=\"").text(&percent(width)).raw("\" height=\"12\"/>");
}

fn article(page: &mut Page, step: &Step) {
    page.raw("<article id=\"step-")
        .text(&step.id)
        .raw("\"><header><h3>")
        .text(&title(step))
        .raw("</h3><span class=\"word ");
    page.raw(tone_of(step.state)).raw("\">").text(&standing_of(step)).raw("</span></header>\n");
    page.raw("<p class=\"meta\"><code>").text(&step.id).raw("</code>");
    for word in remarks(step) {
        page.raw(" · ").text(&word);
    }
    page.raw("</p>\n<p><code>").text(&step.does).raw("</code></p>\n");
    if let Some(objects) = &step.objects {
        page.raw("<p>").text(&objects_in_words(objects)).raw("</p>\n");
    }
    for one in &step.tries {
        page.raw("<h4>").text(&when(one.begun)).raw(": ").text(&ended(one)).raw("</h4>\n");
        lines(page, &one.said);
        if !one.why.is_empty() {
            page.raw("<p>").text(&one.why).raw("</p>\n");
        }
        if !one.help.is_empty() {
            page.raw("<p class=\"note\">What to do: ").text(&one.help).raw("</p>\n");
        }
    }
    if !step.checks.is_empty() {
        page.raw("<h4>Checks</h4>\n<ul class=\"checks\">");
        for check in &step.checks {
            let tone = match check.outcome {
                Looked::Held => "good",
                Looked::NotHeld => "bad",
                Looked::NotLookedAt | Looked::NotKnown => "open",
            };
            page.raw("<li><span class=\"word ")
                .raw(tone)
                .raw("\">")
                .raw(looked(check.outcome))
                .raw("</span> <code>")
                .text(&check.asked);
            page.raw("</code>");
            if let Some(seen) = seen(check) {
                page.raw("<br>").text(&seen);
            }
            page.raw("</li>\n");
        }
        page.raw("</ul>\n");
    }
    if !step.answers.is_empty() {
        page.raw("<h4>People</h4>\n");
        for said in &step.answers {
            page.raw("<p>").text(&when(said.at)).raw(": ").text(&answer(said)).raw("</p>\n");
        }
    }
    for let_go in &step.let_go {
        let word = if let_go.is_well { ": let go what it held" } else { ": could NOT let go everything that it held" };
        page.raw("<h4>").text(&when(let_go.at)).raw(word).raw("</h4>\n");
        lines(page, &let_go.said);
    }
    page.raw("</article>\n");
}

fn lines(page: &mut Page, all: &[String]) {
    let (shown, more) = first(all);
    if shown.is_empty() {
        return;
    }
    page.raw("<ul class=\"lines\">");
    for line in shown {
        page.raw("<li>").text(line).raw("</li>");
    }
    if more > 0 {
        page.raw("<li>… and ").text(&more.to_string()).raw(" more, which the JSON in this page has</li>");
    }
    page.raw("</ul>\n");
}

fn snapshots(page: &mut Page, document: &Document) {
    if document.snapshots.is_empty() && document.volumes.is_empty() {
        return;
    }
    page.raw("<section><h2>What came from where</h2>\n");
    let (head, rows) = origins(document);
    table(page, &head, &rows);
    page.raw("</section>\n");
}

fn not_rehearsed(page: &mut Page, document: &Document) {
    let (head, rows) = left_out(document);
    if rows.is_empty() {
        return;
    }
    page.raw("<section><h2>Not rehearsed</h2>\n");
    table(page, &head, &rows);
    page.raw("</section>\n");
}

fn carried_out(page: &mut Page, document: &Document) {
    page.raw("<section><h2>Who carried it out</h2>\n");
    let (head, rows) = processes(document);
    table(page, &head, &rows);
    page.raw("</section>\n");
}

fn proof(page: &mut Page, document: &Document, signed: &Signed) {
    page.raw("<section><h2>How to verify this page</h2>\n<p>It is signed, every byte of it, and has the signed JSON of the report in it. ")
        .raw("Save it as a file, and have it compared with the key of the machine that made it, which that machine shows with <code>homelab-dr report list</code>:</p>\n")
        .raw("<code class=\"command\">homelab-dr report verify FILE --key ")
        .text(&document.key)
        .raw("</code>\n<dl><dt>Key</dt><dd><code>")
        .text(&document.key)
        .raw("</code></dd>\n<dt>BLAKE3 of the JSON</dt><dd><code>")
        .text(signed.digest())
        .raw("</code></dd>\n<dt>Runbook, BLAKE3</dt><dd><code>")
        .text(&document.runbook.digest)
        .raw("</code></dd></dl>\n</section>\n<footer>Written by homelab-dr ")
        .text(&document.version)
        .raw(" from the journal of run ")
        .text(&document.run)
        .raw(".</footer>\n");
}
