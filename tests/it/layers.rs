//! The judge of the layers: reads every source file and names whatever breaks `docs/architecture.md`.
//!
//! A lower layer never names an upper one, and modules of one layer do not name each other in a circle; `tree`, `cluster` and what is built upon them know no store and no repository; some crates are fenced into one module. Comments and strings do not
//! count; `use` groups, `super` and inline modules do. The judge is a function of paths and texts, and is itself tested with planted breaches.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Which layer a module directly below `src` is in.
const LAYERS: [(u8, &[&str]); 8] = [
    (0, &["base"]),
    (1, &["format", "chunker", "crypto", "compress", "retention", "paper", "language", "config"]),
    (2, &["store"]),
    (3, &["repo"]),
    (4, &["tree", "cluster", "volumes", "gitops", "hooks", "datastore"]),
    (
        5,
        &[
            "backup",
            "recover",
            "prune",
            "forget",
            "check",
            "repair",
            "replicate",
            "parity",
            "stats",
            "status",
            "keys",
            "verified",
            "demo",
            "drill",
            "preflight",
            "propose",
            "runbook",
            "runs",
            "verify",
        ],
    ),
    (6, &["report", "simulation"]),
    (7, &["cli"]),
];

/// What stands beside the repositories. Beside itself and the one it is built upon each may name only layers up to [`SOURCES_MAY_NAME_UP_TO`]: it knows neither
/// stores nor repositories.
const SOURCES: [(&str, &[&str]); 6] = [
    ("tree", &[]),
    ("cluster", &[]),
    ("volumes", &["cluster"]),
    ("gitops", &["cluster"]),
    ("hooks", &["cluster"]),
    ("datastore", &[]),
];
const SOURCES_MAY_NAME_UP_TO: u8 = 1;

/// A name that only some places may use: a crate, a type, or a call.
struct Fence {
    /// `aws_*` stands for every name that begins so; `A::b` for two names in a row.
    what: &'static str,
    /// Beginnings of paths below `src`.
    places: &'static [&'static str],
}

const FENCES: [Fence; 21] = [
    Fence { what: "aws_*", places: &["store/s3/"] },
    Fence { what: "age", places: CRYPTO },
    Fence { what: "chacha20", places: CRYPTO },
    Fence { what: "chacha20poly1305", places: CRYPTO },
    Fence { what: "ring", places: CRYPTO },
    Fence { what: "x25519_dalek", places: CRYPTO },
    Fence { what: "ed25519_dalek", places: CRYPTO },
    Fence { what: "zstd", places: &["compress.rs"] },
    Fence { what: "granit_parser", places: &["language/"] },
    Fence { what: "pulldown_cmark", places: &["runbook/"] },
    Fence { what: "clap", places: CLI },
    Fence { what: "indicatif", places: CLI },
    Fence { what: "kube", places: &["cluster/"] },
    Fence { what: "rusqlite", places: &["tree/live/", "verify/sqlite.rs"] },
    Fence { what: "tokio_postgres", places: &["verify/"] },
    Fence { what: "hickory_proto", places: &["verify/dns.rs"] },
    Fence { what: "rustls", places: &["verify/"] },
    Fence { what: "SystemTime", places: &["base/clock.rs"] },
    Fence { what: "Utc::now", places: &["base/clock.rs"] },
    Fence { what: "Local::now", places: &["base/clock.rs"] },
    Fence {
        what: "Instant::now",
        places: &[
            "base/clock.rs",
            "store/retry.rs",    // how long it has been trying: tokio's clock, which tests pause
            "cluster/api",       // how long is tried, and when credentials were read
            "volumes/mover/",    // how long nobody spoke, and how long a mover was waited for
            "backup/volumes/",   // how long an application was held
            "hooks/",            // the same
            "store/throttle.rs", // when the next bytes may go: the same
            "store/s3/pages.rs", // how many rounds a listing takes: its tests, and the same
            "recover/cluster/",  // how long a cluster was waited for
            "volumes/wait.rs",   // the same
            "simulation/",       // of a runtime whose time is simulated
            "tree/live/",        // how long a lock was waited for
            "verify/",           // how long a check was tried
            "drill/cluster.rs",  // how long a cluster was waited for
            "runs/drive.rs",     // how long a step took
            "cli/",              // the rate of a progress bar
        ],
    },
];

const CRYPTO: &[&str] = &["crypto/", "crypto.rs"];
const CLI: &[&str] = &["cli/", "cli.rs", "main.rs"];

/// A file below `src` and its text.
type Source<'a> = (&'a str, &'a str);

fn layer(module: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, modules)| modules.contains(&module)).map(|(layer, _)| *layer)
}

/// Every breach, as `path:line: what`.
fn judge(sources: &[Source<'_>]) -> Vec<String> {
    let mut breaches: Vec<String> = sources.iter().flat_map(|(path, text)| judge_file(path, &tokens(text))).collect();
    breaches.extend(circles(sources));
    breaches
}

/// The path of a file as modules: `store/s3/mod.rs` is `store`, `s3`.
fn modules(path: &str) -> Vec<&str> {
    path.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect()
}

/// Modules of one layer may name each other, but in one direction alone.
fn circles(sources: &[Source<'_>]) -> Vec<String> {
    let mut names: BTreeMap<(String, String), String> = BTreeMap::new();
    // What tests name is no part of the house.
    for (path, text) in sources.iter().filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/")) {
        let own = modules(path);
        for (line, named) in named_modules(&own, &tokens(text)) {
            if named != own[0] && layer(&named).is_some() && layer(&named) == layer(own[0]) {
                names.entry((own[0].to_owned(), named)).or_insert_with(|| format!("{path}:{line}"));
            }
        }
    }
    let leads = |from: &str, to: &str| {
        let (mut open, mut seen) = (vec![from.to_owned()], BTreeSet::new());
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            if seen.insert(at.clone()) {
                open.extend(names.keys().filter(|(from, _)| *from == at).map(|(_, to)| to.clone()));
            }
        }
        false
    };
    let circle = |((from, to), place): (&(String, String), &String)| {
        leads(to, from).then(|| format!("{place}: {from} names {to}, and {to} leads to {from} again"))
    };
    names.iter().filter_map(circle).collect()
}

fn judge_file(path: &str, tokens: &[Token]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut breach = |line: usize, what: String| breaches.push(format!("{path}:{line}: {what}"));
    let own = modules(path);
    let module = own[0];
    let is_root = ["lib", "main"].contains(&module);
    if !is_root && layer(module).is_none() {
        breach(1, format!("module {module} has no layer; give it one in tests/it/layers.rs and docs/architecture.md"));
    }
    for (line, named) in named_modules(if is_root { &[] } else { &own }, tokens) {
        let (Some(from), Some(to)) = (layer(module), layer(&named)) else { continue };
        if to > from {
            breach(line, format!("{module} (layer {from}) names {named} (layer {to})"));
        } else if let Some((_, upon)) = SOURCES.iter().find(|(source, _)| *source == module)
            && named != module
            && !upon.contains(&named.as_str())
            && to > SOURCES_MAY_NAME_UP_TO
        {
            breach(line, format!("{module} names {named}; it may name only layers 0 to {SOURCES_MAY_NAME_UP_TO}"));
        }
    }
    for fence in FENCES {
        if !fence.places.iter().any(|place| path.starts_with(place)) {
            for line in mentions(fence.what, tokens) {
                breach(line, format!("{} is fenced into {:?}", fence.what, fence.places));
            }
        }
    }
    breaches
}

/// A word or a sign (`::` is one) and the line it stands in.
#[derive(Debug, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

/// The words and signs of Rust code without comments, strings and characters.
fn tokens(code: &str) -> Vec<Token> {
    let bytes = code.as_bytes();
    let is_word = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80);
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if rest[0] == b'"' {
            quoted(rest, b'"')
        } else if rest[0] == b'\'' && (rest.get(1) == Some(&b'\\') || character(rest)) {
            quoted(rest, b'\'')
        } else {
            let length = if rest.starts_with(b"::") {
                2
            } else if is_word(at) {
                (at..).take_while(|at| is_word(*at)).count()
            } else {
                1
            };
            if !rest[0].is_ascii_whitespace() {
                out.push(Token { text: String::from_utf8_lossy(&rest[..length]).into_owned(), line });
            }
            length
        };
        line += rest[..end].iter().filter(|b| **b == b'\n').count();
        at += end;
    }
    out
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of `r"…"`, `r#"…"#`, `br"…"` and so on, if one begins here.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = [&b"r"[..], b"br", b"cr"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix) && matches!(rest.get(prefix.len()), Some(b'"' | b'#')))?;
    let hashes = rest[prefix.len()..].iter().take_while(|b| **b == b'#').count();
    let start = prefix.len() + hashes;
    if rest.get(start) != Some(&b'"') {
        return None; // r#word
    }
    let close = [b"\"".to_vec(), vec![b'#'; hashes]].concat();
    let body = &rest[start + 1..];
    let length = body.windows(close.len()).position(|window| window == close).unwrap_or(body.len());
    Some((start + 1 + length + close.len()).min(rest.len()))
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Whether a character literal begins here, and not a lifetime.
fn character(rest: &[u8]) -> bool {
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let valid = text.unwrap_or_else(|error| std::str::from_utf8(&rest[1..=error.valid_up_to()]).unwrap());
    valid.chars().nth(1) == Some('\'')
}

/// The modules directly below `src` that are named, with their lines. `own` is the module path of the file.
fn named_modules(own: &[&str], tokens: &[Token]) -> Vec<(usize, String)> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut named = Vec::new();
    let mut inline: Vec<usize> = Vec::new(); // brace depths at which `mod x {` was opened
    let mut depth = 0;
    for at in 0..tokens.len() {
        match text(at) {
            "{" => {
                if at >= 2 && text(at - 2) == "mod" {
                    inline.push(depth);
                }
                depth += 1;
            }
            "}" => {
                depth -= 1;
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "crate" | "homelab_dr" if text(at + 1) == "::" => named.extend(first_names(tokens, at + 2)),
            "super" if text(at.wrapping_sub(1)) != "::" => {
                let supers = (at..).step_by(2).take_while(|at| text(*at) == "super").count();
                if supers == own.len() + inline.len() {
                    named.extend(first_names(tokens, at + 2 * supers));
                }
            }
            _ => {}
        }
    }
    named
}

/// The name at `at`, or the first names of every part of the `{…}` there.
fn first_names(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    let one = |token: &Token| (token.line, token.text.clone());
    if tokens.get(at).is_none_or(|token| token.text != "{") {
        return tokens.get(at).map(one).into_iter().collect();
    }
    let mut depth = 0;
    let mut names = Vec::new();
    for pair in tokens[at..].windows(2) {
        match pair[0].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(pair[0].text.as_str(), "{" | ",") {
            names.push(one(&pair[1]));
        }
    }
    names
}

/// The lines in which a fenced name stands at the beginning of a path (crates), or anywhere (types and calls).
fn mentions(what: &str, tokens: &[Token]) -> Vec<usize> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let is_crate = what.starts_with(char::is_lowercase);
    let hit = |at: usize| match (what.strip_suffix('*'), what.split_once("::")) {
        (Some(start), _) => text(at).starts_with(start),
        (_, Some((first, second))) => text(at) == first && text(at + 1) == "::" && text(at + 2) == second,
        _ => text(at) == what,
    };
    let begins_path = |at: usize| {
        let before = if at == 0 { "" } else { text(at - 1) };
        let continues = before == "::" && at >= 2 && is_name(text(at - 2));
        ["use", "crate"].contains(&before) || (text(at + 1) == "::" && !continues)
    };
    (0..tokens.len()).filter(|at| hit(*at) && (!is_crate || begins_path(*at))).map(|at| tokens[at].line).collect()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text != "use"
}

fn read_sources(directory: &Path, below: &str, out: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{below}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_sources(&entry.path(), &format!("{name}/"), out);
        } else if name.ends_with(".rs") {
            out.push((name, fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

#[test]
fn no_layer_names_one_above_it_and_crates_stay_in_their_fences() {
    let mut sources = Vec::new();
    read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    assert!(sources.len() > 50, "the judge found only {} files", sources.len());
    let sources: Vec<Source<'_>> = sources.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let breaches = judge(&sources).iter().fold(String::new(), |mut all, breach| {
        let _ = write!(all, "\n  src/{breach}");
        all
    });
    assert!(breaches.is_empty(), "the layers of docs/architecture.md are broken:{breaches}");
}

#[test]
fn planted_breaches_are_found() {
    for (path, text) in [
        ("base/id.rs", "use crate::store::Key;"),
        ("format/pack.rs", "\n\nfn f() { crate::repo::open() }"),
        ("store/file/disk.rs", "use crate::{base::id, repo::{self, open}};"),
        ("store/mod.rs", "use super::repo::Repository;"),
        ("store/file/disk.rs", "use super::super::super::cli;"),
        ("store/file/mod.rs", "mod tests { use super::super::super::cli::run; }"),
        ("chunker.rs", "use super::repo;"),
        ("tree/walk.rs", "use crate::store::Store;"),
        ("tree/restore/write.rs", "pub(crate) use crate::repo::Reader;"),
        ("cluster/capture.rs", "use crate::tree::problem::Problem;"),
        ("cluster/capture.rs", "use crate::volumes::facts::Facts;"),
        ("volumes/facts.rs", "use crate::tree::walk;"),
        ("volumes/facts.rs", "use crate::repo::open;"),
        ("cluster/capture.rs", "use crate::volumes::pod;"),
        ("volumes/pod.rs", "use crate::tree::walk;"),
        ("volumes/pod.rs", "use crate::store::Store;"),
        ("cluster/api.rs", "use crate::gitops::note::NOTE;"),
        ("gitops/run.rs", "use crate::tree::walk;"),
        ("gitops/run.rs", "use kube::Client;"),
        ("hooks/scale.rs", "use crate::gitops::note::Note;"),
        ("gitops/run.rs", "use crate::store::Store;"),
        ("backup/cluster.rs", "use kube::Client;"),
        ("tree/walk.rs", "use rusqlite::Connection;"),
        ("repo/open.rs", "/* not /* here */ */ use crate::backup;"),
        ("repo/open.rs", "const Q: char = '\"'; use crate::cli;"),
        ("repo/open.rs", "fn f<'a>(x: &'a str) { crate::check::all(\"//\") }"),
        ("prune/mod.rs", "use homelab_dr::cli::run;"),
        ("telepathy/mod.rs", ""),
        ("store/mod.rs", "use aws_sdk_s3::Client;"),
        ("repo/mod.rs", "use age;"),
        ("repo/mod.rs", "let key = age::x25519::Identity::generate();"),
        ("repo/mod.rs", "use ::chacha20poly1305::Nonce;"),
        ("cli/keys.rs", "use x25519_dalek::PublicKey; "),
        ("cli/keys.rs", "extern crate ed25519_dalek;"),
        ("repo/write.rs", "use {zstd::bulk, std::fmt};"),
        ("backup/mod.rs", "#[derive(clap::Args)] struct Options;"),
        ("backup/mod.rs", "use indicatif::ProgressBar;"),
        ("store/file/disk.rs", "let now = std::time::SystemTime::now();"),
        ("backup/mod.rs", "let begun = Instant::now();"),
        ("repo/mod.rs", "let now = chrono::Utc::now();"),
    ] {
        let found = judge(&[(path, text)]);
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].starts_with(path), "{found:?}");
    }
    let circle = [
        ("backup/mod.rs", "use crate::recover::fill;"),
        ("recover/mod.rs", "use crate::verify::files;"),
        ("verify/files.rs", "\nuse crate::backup::Context;"),
        ("prune/mod.rs", "use crate::backup::Context;"),
    ];
    assert_eq!(judge(&circle).len(), 3);
    assert_eq!(judge(&circle)[2], "verify/files.rs:2: verify names backup, and backup leads to verify again");
    assert_eq!(judge(&[circle[0], circle[1], circle[3]]), [""; 0]);
    assert_eq!(
        judge(&[("format/pack.rs", "\n\nfn f() { crate::repo::open() }")]),
        ["format/pack.rs:3: format (layer 1) names repo (layer 3)"]
    );
}

#[test]
fn what_is_allowed_is_no_breach() {
    for (path, text) in [
        ("lib.rs", "pub mod cli; pub mod base;"),
        ("main.rs", "fn main() { homelab_dr::cli::main() } use clap::Parser;"),
        ("cli/mod.rs", "use crate::repo::Repository; use crate::{base, tree, prune}; use clap::Args;"),
        ("tree/walk.rs", "use crate::format::entry; use crate::base::clock; use super::found; use crate::tree::read;"),
        ("tree/restore/write.rs", "use super::super::beneath; mod tests { use super::super::super::found; }"),
        ("cluster/api.rs", "use kube::Client; use super::Kind; use crate::format::entry;"),
        ("volumes/facts/read.rs", "use crate::cluster::Cluster; use crate::base::clock; use super::super::labels;"),
        ("gitops/run.rs", "use crate::cluster::Cluster; use crate::base::clock::Clock; use super::note;"),
        ("chunker.rs", "mod tests { use super::repo; }"),
        ("store/mod.rs", "//! use crate::repo;\n/// crate::cli::run\nconst A: &str = \"crate::cli\"; /* age::x */"),
        ("store/mod.rs", "const A: &str = r#\"a \" use crate::repo; \"#; const B: &[u8] = b\"\\\" crate::cli\";"),
        ("store/s3/mod.rs", "use aws_sdk_s3::Client;"),
        ("crypto/recipients/wrap.rs", "use age::Encryptor;"),
        ("compress.rs", "use zstd::bulk;"),
        ("check/age_of.rs", "let age = now - then; if age > limit { self.age() } Self { age }"),
        ("check/mod.rs", "use crate::repo::age::Of; match x { Unit::zstd::Y => 1 }"),
        ("base/clock.rs", "use std::time::SystemTime;"),
        ("store/retry.rs", "let begun = Instant::now();"),
        ("cli/progress.rs", "let begun = Instant::now();"),
    ] {
        assert_eq!(judge(&[(path, text)]), Vec::<String>::new(), "{path}: {text}");
    }
}
