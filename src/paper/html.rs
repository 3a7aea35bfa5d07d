//! The page, from top to bottom.

use zeroize::Zeroizing;

use super::{Identity, Kit, NamedRecipient, Step, qr, style};
use crate::base::html::escaped as shown;

/// Reserved for the page before it is written, so that growing leaves no copy of the secret behind. Real pages have
/// 20 to 80 KiB, most of it QR codes.
const PAGE_BYTES_RESERVED: usize = 512 * 1024;
/// Characters in a group that is typed in at one glance.
const GROUP_CHARS: usize = 4;
/// Beyond this the secret is set small, so that an RSA key does not fill pages.
const LONG_SECRET_CHARS: usize = 300;

/// Writes the page. It is wiped when dropped, since it may hold the secret.
pub fn render(kit: &Kit) -> Zeroizing<String> {
    let mut page = Zeroizing::new(String::with_capacity(PAGE_BYTES_RESERVED));
    let out = &mut *page;
    put(out, &["<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"]);
    put(out, &["<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"]);
    put(
        out,
        &["<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"],
    );
    put(
        out,
        &[
            "<title>Recovery kit ",
            &kit.repository.short(),
            "</title>\n<style>",
            style::CSS,
            "</style>\n</head>\n<body>\n",
        ],
    );
    head(out, kit);
    needed(out, kit);
    steps(out, &kit.steps);
    recipients(out, &kit.recipients);
    fill_in(out);
    // Says which kit this is when the sheets have been separated.
    let day = kit.created.utc().format("%Y-%m-%d").to_string();
    put(out, &["<footer>Recovery kit of repository ", &kit.repository.short(), "…, printed ", &day, "</footer>\n"]);
    put(out, &["</body>\n</html>\n"]);
    page
}

fn put(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

fn head(out: &mut String, kit: &Kit) {
    let day = kit.created.utc().format("%Y-%m-%d").to_string();
    put(out, &["<header><h1>Recovery kit</h1>\n<dl><dt>Printed</dt><dd>", &day]);
    put(out, &["</dd><dt>homelab-dr</dt><dd>", &shown(&kit.program_version)]);
    put(out, &["</dd><dt>Repository format</dt><dd>", &kit.format_version.to_string(), "</dd></dl></header>\n"]);
    put(
        out,
        &[
            "<p>With this sheet, the program <b>homelab-dr</b> and the secret identity the backups can be read again on ",
        ],
    );
    put(out, &["any Linux computer, also when everything else is gone. Version ", &shown(&kit.program_version)]);
    put(out, &[" or any later one reads them.</p>\n"]);
    if matches!(kit.identity, Identity::Printed(_)) {
        put(
            out,
            &["<p class=\"warning\">The secret identity is printed on this sheet. Whoever holds it and reaches the "],
        );
        put(
            out,
            &[
                "repository can read every backup. Keep it like a passport; do not photograph or scan it into a cloud.</p>\n",
            ],
        );
    }
}

fn needed(out: &mut String, kit: &Kit) {
    put(out, &["<h2>What you need</h2>\n"]);
    for (index, address) in kit.addresses.iter().enumerate() {
        let title = if index == 0 { "Address of the repository" } else { "Address of a copy" };
        // An address is words; groups would make it harder to type.
        item(out, "", title, address, &format!("<div class=\"typed\">{}</div>", shown(address)), "");
    }
    let fingerprint = format!("<div class=\"typed\">{}</div>", at_dashes(&kit.fingerprint));
    let note = "Opening the repository must show exactly this. If it does not, it is not yours: stop.";
    item(out, "", "Fingerprint", &kit.fingerprint, &fingerprint, note);
    match &kit.identity {
        Identity::Printed(secret) => printed(out, secret.expose().trim()),
        Identity::Elsewhere(place) => {
            put(out, &["<div class=\"item\"><div><h3>Secret identity</h3>\nIt is not on this sheet. Where it is: "]);
            let place = place.trim();
            if place.is_empty() {
                put(out, &["<span class=\"blank\"></span>"]);
            } else {
                put(out, &["<b>", &shown(place), "</b>"]);
            }
            put(out, &["</div></div>\n"]);
        }
    }
    let id = format!("<div class=\"typed\">{}</div>", grouped(&kit.repository.hex()));
    put(out, &["<div class=\"item\"><div><h3>Repository id</h3>", &id, "</div></div>\n"]);
}

fn printed(out: &mut String, secret: &str) {
    let lines: Zeroizing<Vec<String>> =
        Zeroizing::new(secret.lines().map(|line| format!("<span class=\"line\">{}</span>", grouped(line))).collect());
    let typed = Zeroizing::new(format!("<div class=\"typed\">{}</div>", lines.concat()));
    let bech32 = secret.lines().any(|line| line.starts_with("AGE-"));
    let note = if bech32 {
        "Save it as key.txt, in one line; the gaps are for the eye, leave them out. After its first 1 there is never \
         a B, an I, an O or another 1: what looks like an O is a zero."
    } else {
        "Save it as key.txt, line by line; the gaps in the lines of letters are for the eye, leave them out."
    };
    let long = if secret.chars().count() > LONG_SECRET_CHARS { "secret long" } else { "secret" };
    item(out, long, "Secret identity", secret, &typed, note);
}

/// A thing to scan or to type: code on the right, text on the left.
fn item(out: &mut String, class: &str, title: &str, raw: &str, typed: &str, note: &str) {
    put(out, &["<div class=\"item ", class, "\"><div><h3>", title, "</h3>\n", typed]);
    let code = qr::svg(raw);
    if !note.is_empty() {
        put(out, &["\n<p class=\"note\">", note, "</p>"]);
    }
    match code {
        Some(svg) => put(out, &["</div>", &Zeroizing::new(svg), "</div>\n"]),
        None => put(out, &["<p class=\"note\">Too long for a QR code.</p></div></div>\n"]),
    }
}

fn steps(out: &mut String, steps: &[Step]) {
    put(out, &["<h2>What to do, in this order</h2>\n<ol>\n"]);
    for step in steps {
        put(out, &["<li>", &shown(&step.what), "<pre><code>", &shown_lines(&step.command), "</code></pre></li>\n"]);
    }
    put(out, &["</ol>\n"]);
}

fn recipients(out: &mut String, recipients: &[NamedRecipient]) {
    put(
        out,
        &["<section class=\"keep\"><h2>Who can read it</h2>\n<table class=\"names\"><tr><th>Name</th><th>Kind</th>"],
    );
    put(out, &["<th>Public key</th></tr>\n"]);
    for NamedRecipient { name, recipient } in recipients {
        // A repository keeps keys and no names: where nobody gave one there is room to write it.
        let name = if name.trim().is_empty() { recipient.comment().unwrap_or_default() } else { name };
        put(out, &["<tr><td class=\"name\">", &shown(name), "</td><td class=\"kind\">", &shown(&recipient.kind())]);
        put(out, &["</td><td><code class=\"typed\">", &grouped(recipient.as_str()), "</code></td></tr>\n"]);
    }
    put(out, &["</table></section>\n"]);
}

fn fill_in(out: &mut String) {
    let tables = [
        ("Who holds copies of this sheet", ["Name", "Place", "Since"], 3),
        ("Drills: the identity opened the repository and a file came back", ["Date", "By", "Result"], 4),
    ];
    for (title, columns, rows) in tables {
        put(out, &["<section class=\"keep\"><h2>", title, "</h2>\n<table class=\"fill\"><tr>"]);
        for column in columns {
            put(out, &["<th>", column, "</th>"]);
        }
        put(out, &["</tr>\n", &"<tr><td></td><td></td><td></td></tr>\n".repeat(rows), "</table></section>\n"]);
    }
}

fn shown_lines(text: &str) -> String {
    text.lines().map(shown).collect::<Vec<_>>().join("\n")
}

/// A key in groups, set apart without spaces between them; a comment line stays whole.
///
/// What all keys of a kind begin with is a group of its own: `AGE-SECRET-KEY-1`, `age1`, `ssh-ed25519`. The groups after
/// it are then the same wherever the key is printed, and can be compared one by one.
fn grouped(text: &str) -> String {
    if text.starts_with('#') || text.starts_with("-----") {
        return shown(text);
    }
    let (head, rest) = text.split_at(head_bytes(text));
    let mut out = String::with_capacity(text.len() * 6);
    if !head.is_empty() {
        // A space of the text itself stays one, or a copy would lack it.
        let (word, space) = head.strip_suffix(' ').map_or((head, ""), |word| (word, " "));
        put(&mut out, &["<span>", &shown(word), "</span>", space]);
    }
    let chars: Zeroizing<Vec<char>> = Zeroizing::new(rest.chars().collect());
    for group in chars.chunks(GROUP_CHARS) {
        put(&mut out, &["<span>", &Zeroizing::new(shown(&group.iter().collect::<String>())), "</span>"]);
    }
    out
}

/// How many bytes of a key are the same for its kind: of Bech32 all to its last 1, of an SSH key its type.
fn head_bytes(text: &str) -> usize {
    if text.starts_with("age1") || text.starts_with("AGE-") {
        text.rfind('1').map_or(0, |at| at + 1)
    } else {
        text.find(' ').map_or(0, |at| at + 1)
    }
}

/// A text that has groups of its own, which may go into the next line only after a dash.
fn at_dashes(text: &str) -> String {
    text.split_inclusive('-').fold(String::new(), |mut out, group| {
        put(&mut out, &["<span class=\"own\">", &shown(group), "</span>"]);
        out
    })
}
