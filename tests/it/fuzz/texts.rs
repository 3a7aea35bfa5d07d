//! What people type and what lies in configuration files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use chrono::FixedOffset;
use homelab_dr::base::units;
use homelab_dr::base::when::{Selector, SnapshotPath};
use homelab_dr::config::Config;
use homelab_dr::crypto::fingerprint::Fingerprint;
use homelab_dr::crypto::recipients::{IdentitySource, Recipient, generate_identity, parse_recipients_file};
use homelab_dr::crypto::sign::RootPublic;
use homelab_dr::crypto::writer_key::WriterKey;
use homelab_dr::format::entry::TreePath;
use homelab_dr::language::Severity;
use homelab_dr::store::Key;
use homelab_dr::store::url::StoreUrl;
use homelab_dr::tree::exclude::Excludes;

use crate::fuzz::mutate::{self, Shape};
use crate::fuzz::samples::{REPOSITORY, path, secret};
use crate::fuzz::{IN_PROPORTION, Memory, fuzz};

/// Text alone is given to a parser of text.
pub(super) fn text(name: &str, words: &[&str], corpus: &[&str], memory: Memory, run: impl Fn(&str) -> bool) {
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    fuzz(name, Shape::Text(words), &corpus, memory, |bytes| std::str::from_utf8(bytes).is_ok_and(&run));
}

#[test]
fn writer_key() {
    let key = WriterKey {
        repository: REPOSITORY,
        root: RootPublic::of(&secret(1)),
        epoch: 3,
        metadata_key: secret(2),
        chunk_id_key: secret(3),
        chunker_key: secret(4),
    };
    let line = key.to_text();
    text("writer_key", &["homelab-dr-writer-1-", "a", "=", " "], &[&line], IN_PROPORTION, |text| {
        let Ok(key) = WriterKey::parse(text) else { return false };
        // Case and space around it are a person's own; nothing else may differ.
        assert_eq!(text.trim().to_ascii_lowercase(), *line, "another key passes the checksum");
        assert_eq!(*key.to_text(), *line);
        true
    });
}

#[test]
fn fingerprint() {
    let print = Fingerprint::of(&REPOSITORY, &RootPublic::of(&secret(1))).to_string();
    text("fingerprint", &["hdr1", "-", "HDR1-", "ß", " "], &[&print], IN_PROPORTION, |text| {
        let Ok(print) = text.parse::<Fingerprint>() else { return false };
        assert_eq!(print.to_string().parse(), Ok(print));
        true
    });
}

#[test]
fn store_url() {
    let corpus = [
        "/mnt/backup",
        "file:///mnt/a%20b",
        "s3://bucket/prefix?endpoint=https://s3.example:9000&region=us-east-1&path-style=true",
        "b2://bucket/a/b?region=us-west-004",
    ];
    let words = [
        "://",
        "?",
        "&",
        "%00",
        "%ff",
        "user:secret@",
        "//user:secret@",
        "..",
        "endpoint=",
        "[::1]",
        ":99999",
        "#",
        "region=x&region=y",
    ];
    text("store_url", &words, &corpus, Memory { fixed: 64 << 10, each: 64 }, |text| {
        let Ok(url) = StoreUrl::parse(text) else { return false };
        if let StoreUrl::S3(config) = url {
            let endpoint = config.endpoint.as_ref().map(|endpoint| url::Url::parse(endpoint).expect("checked"));
            assert!(
                endpoint.is_none_or(|url| url.username().is_empty() && url.password().is_none()),
                "keeps a password"
            );
            let host = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
            assert!(!host.contains("user:secret@"), "takes a password");
        }
        true
    });
}

#[test]
fn selector() {
    let zones =
        [0, 14 * 3600, -12 * 3600, 86_399, -86_399].map(|seconds| FixedOffset::east_opt(seconds).expect("a zone"));
    let corpus: Vec<Vec<u8>> = [
        "latest",
        "latest:photos",
        "latest:photos:/a/b",
        "abcd1234",
        "abcd1234:a",
        "2026-11-01",
        "2026-11-01T03:00",
        "2026-11-01T03:00:00Z:a/b",
        "2026-11-01T03:00:00.123456789+01:00",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    let words =
        [":", "latest", "-", "T24:00", "9999-12-31", "0000-01-01", "+99999-01-01", "T23:59:60Z", "+24:00", "２", "\0"];
    fuzz("selector", Shape::Text(&words), &corpus, IN_PROPORTION, |bytes| {
        let given = OsStr::from_bytes(bytes);
        let parsed = zones.map(|zone| SnapshotPath::parse(given, zone).is_ok());
        if let Some(text) = given.to_str() {
            for (zone, parsed) in zones.iter().zip(parsed) {
                assert!(parsed || Selector::parse(text, *zone).is_err(), "a selector, but no selector with a path");
            }
        }
        parsed[0]
    });
}

const SSH_PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@example.com";
const AGE_PUBLIC: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const AGE_SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

#[test]
fn recipient() {
    let fresh = generate_identity().recipient.to_string();
    let words =
        ["age1", "ssh-ed25519 ", "ssh-rsa AAAAB3NzaC1yc2E", "AAAA", "/////w", "age1yubikey1", "#", "\n", "1", "="];
    text("recipient", &words, &[AGE_PUBLIC, SSH_PUBLIC, &fresh], IN_PROPORTION, |text| {
        let Ok(recipient) = Recipient::parse(text) else { return false };
        assert!(!recipient.kind().is_empty() && !recipient.short().is_empty());
        let again = Recipient::parse(recipient.as_str()).expect("its own text");
        assert!(again == recipient);
        true
    });
    let file = format!("# mine\n{AGE_PUBLIC}\n\n{SSH_PUBLIC}\n");
    text("recipients_file", &words, &[&file], IN_PROPORTION, |text| parse_recipients_file(text).is_ok());
}

/// An unencrypted OpenSSH key that opens nothing anywhere.
const SSH_SECRET: &str = "-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW
QyNTUxOQAAACDyxywyi9yW0nuOuUM/l/F4a/Zc1kSG1xzv2pjohhylRQAAAIixTzrRsU86
0QAAAAtzc2gtZWQyNTUxOQAAACDyxywyi9yW0nuOuUM/l/F4a/Zc1kSG1xzv2pjohhylRQ
AAAEBAMqscVC4rchb/clu2pq3kXYJJmUFu+orKjv5/SHznH/LHLDKL3JbSe465Qz+X8Xhr
9lzWRIbXHO/amOiGHKVFAAAABHRlc3QB
-----END OPENSSH PRIVATE KEY-----
";

#[test]
fn identity() {
    let file = format!("# created: 2026-11-01T03:00:00Z\n# public key: {AGE_PUBLIC}\n{AGE_SECRET}\n");
    let locked = "-----BEGIN AGE ENCRYPTED FILE-----\n";
    let words = [
        "AGE-SECRET-KEY-1",
        "AGE-PLUGIN-YUBIKEY-1",
        "#",
        "\n",
        "-----BEGIN",
        "b3BlbnNzaC1rZXktdjE",
        "/////",
        "AAAAAA",
        locked,
    ];
    text("identity", &words, &[AGE_SECRET, &file, SSH_SECRET], Memory { fixed: 1 << 20, each: 128 }, |text| {
        let Ok(source) = IdentitySource::parse("test", text.as_bytes()) else { return false };
        let _ = (source.is_locked(), format!("{source:?}"));
        for recipient in source.recipients() {
            assert!(Recipient::parse(recipient.as_str()).expect("its own text") == recipient);
        }
        true
    });
}

#[test]
fn excludes() {
    // A person's own patterns: a regular expression may cost, but within bounds.
    const PATTERN_BYTES_MAX: usize = 2000;
    let paths = [TreePath::root(), path("a"), path("a/cache/x.jpg"), TreePath::new(vec![b'a'; 255]).expect("plain")];
    let words =
        ["*", "**", "/", "?", "[", "]", "{a,b}", "{", "}", "!", "\\", "[!a-z]", "[z-a]", "**/", "{**,**/a}", ","];
    let corpus = ["*.jpg\n!keep.jpg\n/cache/\n", "a/**/b\n[a-c]?\n{x,y}.tmp\n"];
    text("excludes", &words, &corpus, Memory { fixed: 64 << 20, each: 1 << 16 }, |text| {
        let globs: Vec<String> = text.lines().map(str::to_owned).collect();
        if text.len() > PATTERN_BYTES_MAX {
            return false;
        }
        let Ok(excludes) = Excludes::new(&globs) else { return false };
        for path in &paths {
            let _ = (excludes.excludes(path, true), excludes.excludes(path, false));
        }
        true
    });
}

#[test]
fn keys_and_units() {
    text(
        "key",
        &["/", "..", ".", "\0", "//", "a"],
        &["format.json", "packs/aa/bbcc", "access/11.age"],
        IN_PROPORTION,
        |text| {
            let Ok(key) = Key::new(text) else { return false };
            assert_eq!(key.as_str(), text);
            assert!(text.split('/').all(|name| !matches!(name, "" | "." | "..")), "could climb");
            true
        },
    );
    let words = ["s", "m", "h", "d", "w", "mo", "y", "KiB", "TiB", "18446744073709551615", "-", ".", "٣", " "];
    text("units", &words, &["90s", "6mo", "1y", "20MiB", "1048576"], IN_PROPORTION, |text| {
        let duration = units::parse_duration(text).map(units::duration);
        duration.is_ok() || units::parse_size(text).map(units::bytes).is_ok()
    });
}

#[test]
fn configuration() {
    // A value takes some hundred bytes, and a finding a sentence or two with its path.
    let memory = Memory { fixed: 1 << 20, each: 4096 };
    let words = [
        "\n", "\n  ", "\n    ", ": ", "- ", "{", "}", "[", "]", ", ", "&a ", "*a", "<<: *a", "!!str ", "'", "\"",
        "|\n", "#", "---\n", "paths", "path", "command", "argv", "daily", "0", "null", "~", "true", "/", "1h", "10%",
        "\\u0000", "\t", "\u{feff}",
    ];
    let long = format!("sources:\n{}", "  a: {path: {paths: [/x]}}\n".replace("a:", "b/c:"));
    let example = crate::configuration::example();
    let validator = crate::configuration::validator();
    text("configuration", &words, &[&example, &long], memory, |text| {
        let read = crate::configuration::read(text.as_bytes());
        let errors = read.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        assert_eq!(read.config.is_none(), errors > 0, "a configuration or an error");
        let Some(config) = read.config else { return false };
        if read.findings.is_empty() {
            let again = crate::configuration::read(config.yaml().as_bytes());
            assert_eq!(
                again.config.as_ref().map(Config::json),
                Some(config.json()),
                "what is shown reads back: {}",
                config.yaml()
            );
        }
        true
    });
    // What the program takes, the schema takes (apart from memory: the validator holds more).
    for seed in 0..300 {
        let input = mutate::mutation(&mut mutate::Random(seed), Shape::Text(&words), &[example.clone().into_bytes()]);
        if let Some(config) = crate::configuration::read(&input).config {
            let errors: Vec<String> = validator.iter_errors(&config.json()).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "seed {seed}: {}", String::from_utf8_lossy(&input));
        }
    }
}

#[test]
fn runbook() {
    // As of a configuration; a section has a heading and prose of its own.
    let memory = Memory { fixed: 2 << 20, each: 4096 };
    let words = [
        "\n",
        "\r\n",
        "\n  ",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        "${",
        "}",
        "$${run}",
        "```",
        "```yaml step\n",
        "~~~",
        "# ",
        "> ",
        "---\n",
        "&a ",
        "*a",
        "!!str ",
        "\"",
        "needs: [",
        "id: a\n",
        "verify:\n",
        "check: ",
        "run",
        "1h",
        "\t",
        "\u{feff}",
        "\u{1F600}",
        "<!--",
        "    ",
    ];
    let corpus: Vec<String> =
        crate::runbook::all().iter().map(|file| std::fs::read_to_string(file).expect("read")).collect();
    let corpus: Vec<&str> = corpus.iter().map(String::as_str).collect();
    let validator = crate::runbook::validator();
    let judges = homelab_dr::language::Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) };
    text("runbook", &words, &corpus, memory, |text| {
        let read = crate::runbook::read(text.as_bytes());
        let errors = read.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        assert_eq!(read.runbook.is_none(), errors > 0, "a runbook or an error");
        let lines = text.split(['\n', '\r']).count();
        assert!(
            read.findings.iter().all(|finding| (1..=lines + 1).contains(&finding.place.line)),
            "{:?}",
            read.findings
        );
        let Some(runbook) = read.runbook else { return false };
        assert!(runbook.sampled(&judges).is_ok(), "what was right stays right");
        true
    });
    // What the program takes, the schema takes (apart from memory: the validator holds more).
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|text| text.as_bytes().to_vec()).collect();
    for seed in 0..150 {
        let input = mutate::mutation(&mut mutate::Random(seed), Shape::Text(&words), &corpus);
        if let Some(runbook) = crate::runbook::read(&input).runbook {
            let errors: Vec<String> = validator.iter_errors(&runbook.json()).map(|error| error.to_string()).collect();
            assert_eq!(errors, Vec::<String>::new(), "seed {seed}: {}", String::from_utf8_lossy(&input));
        }
    }
}

#[test]
fn an_alias_bomb_takes_no_memory() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let uses = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
    }
    let used = allocation_counter::measure(|| assert!(crate::configuration::read(bomb.as_bytes()).config.is_none()));
    assert!(used.bytes_max < 1 << 20, "{} bytes for {} of input", used.bytes_max, bomb.len());
}
