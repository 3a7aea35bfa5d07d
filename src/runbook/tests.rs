//! Every finding is caused once, and its place, its words and its help are asserted.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, Probe, Read, Runbook, TEXT_BYTES_MAX, Type, Values, read};
use crate::language::{Finding, Judges, Severity};

fn judges() -> Judges<'static> {
    Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) }
}

fn reading(text: &str) -> Read {
    read(text.as_bytes(), &judges())
}

fn good(text: &str) -> Runbook {
    let read = reading(text);
    assert_eq!(read.findings, [], "{text}");
    read.runbook.expect("without findings there is one")
}

/// Findings as `line:column what | help`, warnings marked.
fn found(text: &str) -> Vec<String> {
    let read = reading(text);
    let has_errors = read.findings.iter().any(|finding| finding.severity == Severity::Error);
    assert_eq!(read.runbook.is_none(), has_errors, "{text}");
    let shown = |Finding { place, what, help, severity }: &Finding| {
        let mark = if *severity == Severity::Warning { "warning: " } else { "" };
        format!("{place} {mark}{what} | {help}")
    };
    read.findings.iter().map(shown).collect()
}

/// What is not found as it should be, all of it.
#[derive(Default)]
struct Missed(Vec<String>);

impl Missed {
    /// The one finding of a text begins with `says`, and holds `help`.
    fn finds(&mut self, text: &str, says: &str, help: &str) {
        let found = found(text);
        if found.len() != 1 || !found.iter().any(|found| found.starts_with(says) && found.contains(help)) {
            self.0.push(format!("{says} … {help} is not {found:#?} of\n{}", text.get(..2000).unwrap_or(text)));
        }
    }

    #[track_caller]
    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n\n"));
    }
}

const FRONT: &str = "---\nid: t\ntitle: T\n---\n";

/// A runbook of these steps, the first of which begins in line 8.
fn steps(blocks: &[&str]) -> String {
    let step = |block: &&str| format!("# Step\nWhy.\n```yaml step\n{block}\n```\n");
    format!("{FRONT}{}", blocks.iter().map(step).collect::<String>())
}

fn step(block: &str) -> String {
    steps(&[block])
}

const NOTE: &str = "id: a\nnotify: {message: hello}";

#[test]
fn a_whole_runbook_is_understood() {
    let text = "---\nid: media\ntitle: Media\nobjectives: {rto: 2h, rpo: 1d}\nparallel: 3\nparameters:\n  snapshot: {type: snapshot, description: Which., default: latest}\n  ns: {type: namespace, description: Where., example: media}\n  n: {type: int, description: How many., default: 2}\n---\nIntro.\n\n# One\nWhy.\n```yaml step\nid: vol\nrestore.volume: { source: \"pvc/${ns}/data\", snapshot: \"${snapshot}\" }\ntimeout: 30m\nverify:\n  - files: { sample: 5% }\n  - postgres: { datadir: true, query: select 1, at_least: 1 }\non_failure: { run: [undo] }\n```\n\n# Undo\nWhy.\n```yaml step\nid: undo\nnotify: { message: \"${run} failed\" }\n```\n\n# Two\nWhy.\n```yaml step\nid: up\nscale: { object: \"${ns}/deployments.apps/app\", replicas: \"${n}\" }\nverify: [ready: { namespace: \"${ns}\" }]\n```\n";
    let runbook = good(text);
    assert_eq!(
        (runbook.id.as_str(), runbook.parallel, runbook.objectives.rto),
        ("media", 3, Some(Duration::from_hours(2)))
    );
    assert_eq!(runbook.parameters[1].kind, Type::Namespace);
    let given = BTreeMap::from([("ns".to_owned(), "photos".to_owned()), ("n".to_owned(), "5".to_owned())]);
    let values = Values::of(&runbook.parameters, &given, "r1").expect("all given");
    let steps = runbook.steps(&values, &judges()).expect("right");
    let [vol, undo, up] = steps.as_slice() else { panic!("{steps:?}") };
    let Action::RestoreVolume(volume) = &vol.action else { panic!("{vol:?}") };
    assert_eq!(
        (volume.into.namespace.as_str(), volume.into.name.as_str(), volume.from.snapshot.as_str()),
        ("photos", "data", "latest")
    );
    assert_eq!((vol.needs.len(), up.needs.as_slice(), undo.is_compensation), (0, &["vol".to_owned()][..], true));
    assert!(matches!(vol.verify[0].probe, Probe::Files(5)) && vol.verify.len() == 2);
    assert!(matches!(&up.action, Action::Scale { replicas: 5, object } if object.group == "apps"));
    assert_eq!(undo.action, Action::Notify("r1 failed".into()));
    let bad = BTreeMap::from([("ns".to_owned(), "Photos!".to_owned())]);
    let values = Values::of(&runbook.parameters, &bad, "r1").expect("all given");
    let wrong = runbook.steps(&values, &judges()).expect_err("no namespace is called so");
    assert!(wrong[0].place.to_string() == "17:27" && !wrong[0].what.contains("(with"), "{wrong:?}");
    assert_eq!(Values::of(&runbook.parameters, &BTreeMap::new(), "r"), Err(vec!["ns".to_owned()]));
    assert!(
        runbook.parameters[2].accept("7", &judges()).is_ok() && runbook.parameters[2].accept("x", &judges()).is_err()
    );
}

#[test]
fn faults_of_the_file() {
    let mut missed = Missed::default();
    missed.finds("", "1:1 the front matter is missing", "begin the file with a line ---");
    missed.finds("# A\n", "1:1 the front matter is missing", "---");
    missed.finds("---\nid: a\n", "1:1 the front matter has no end", "---");
    missed.finds(FRONT, "1:1 the runbook has no step", "yaml step");
    missed.finds(&format!("{FRONT}# A\nText.\n"), "1:1 the runbook has no step", "");
    let long = " ".repeat(10 << 20);
    missed.finds(&long, "1:1 the file is longer than 256 KiB", "right file");
    assert!(TEXT_BYTES_MAX < long.len());
    let read = read(b"---\nid: t\xff\n---\n", &judges());
    assert_eq!((read.findings[0].place.to_string(), read.findings.len()), ("2:6".into(), 1));
    let many: Vec<String> = (0..501).map(|n| format!("id: s{n}\nnotify: {{message: x}}")).collect();
    missed.finds(
        &steps(&many.iter().map(String::as_str).collect::<Vec<_>>()),
        "1:1 the runbook has more than 500 steps",
        "several",
    );
    missed.none();
}

#[test]
fn places_are_those_of_the_file() {
    let mut missed = Missed::default();
    let fault = "id: a\nnotify:\n  mesage: x";
    let expected = "10:3 unknown field \"mesage\" in notify";
    let plain = step(fault);
    for text in
        [plain.clone(), plain.replace('\n', "\r\n"), format!("\u{feff}{plain}"), plain.replace("Why.", "\tü\u{1F600}")]
    {
        let found = found(&text);
        assert!(found[0].starts_with(expected) && found[0].ends_with("did you mean \"message\"?"), "{found:?}");
        assert!(found.len() == 2 && found[1].starts_with("10:3 notify lacks message"), "{found:?}");
    }
    // The fence may be indented, and signs of several bytes count as one.
    let indented = format!("{FRONT}# S\nWhy.\n  ```yaml step\n  id: a\n  notify: {{message: ü, x: 1}}\n  ```\n");
    missed.finds(&indented, "9:24 unknown field \"x\" in notify", "message");
    missed.finds(&step("id: a\nnotify: {\tmessage: [x]}"), "9:20 notify.message: text on one line is expected", "");
    missed.finds(
        "---\nid: t\ntitle: T\nwhat: x\n---\n# A\nWhy.\n```yaml step\nid: a\nmanual: {}\n```\n",
        "4:1 unknown field \"what\"",
        "fields here are",
    );
    missed.none();
}

#[test]
fn what_could_blow_up_or_mislead_is_refused() {
    let mut missed = Missed::default();
    missed.finds(&step("id: a\nnotify: {message: !!str x}"), "9:25 a tag (!name) is not understood", "leave it out");
    missed.finds(&step("id: a\nnotify: {message: &x y}"), "9:22 an anchor (&name) is not understood", "");
    let found = found(&step("id: &x a\nnotify: {message: *x}"));
    assert!(found.iter().any(|found| found.starts_with("9:19 an alias (*name)")), "{found:?}");
    let deep = format!("id: a\nnotify: {}{}", "[".repeat(40), "]".repeat(40));
    missed.finds(&step(&deep), "9:24 this is nested too deeply", "");
    missed.finds(&step("id: a\nnotify: {message: x"), "", "no YAML");
    missed.finds(&step("id: a\nnotify: {message: ${run}}"), "", "stands in quotes");
    missed.finds(&step("id: a\n---\nid: b"), "9:1 a second document begins", "");
    missed.finds(&step("# nothing"), "7:1 the step is empty", "one kind");
    let deep_quote = format!("{}{}", step(NOTE), "> ".repeat(5000));
    assert!(reading(&deep_quote).runbook.is_some());
    missed.none();
}

/// A block, where and how its one finding begins, and what its help holds.
const FAULTS_OF_A_STEP: &[(&str, &str, &str)] = &[
    ("notify: {message: x}", "8:1 the step lacks id", "add id"),
    ("id: a", "8:1 the step has no kind", "restore.volume"),
    ("id: a\nmanual: {}\nnotify: {message: x}", "8:1 the step is notify and manual at once", ""),
    ("id: A!\nmanual: {}", "8:5 id: \"A!\" is not a short name", ""),
    (
        "id: a\nrun: {argv: ls -l /tmp}\nverify: [tcp: {address: 'a:1'}]",
        "9:13 run.argv: a list is expected here",
        "[ls, -l, /tmp]",
    ),
    (
        "id: a\nrun: {argv: ['ls -l']}\nverify: [tcp: {address: 'a:1'}]",
        "9:14 run.argv: \"ls -l\" would be",
        "one word each",
    ),
    ("id: a\nrun: {argv: [bin/x]}\nverify: [tcp: {address: 'a:1'}]", "9:14 run.argv: bin/x is a relative", "from / on"),
    (
        "id: a\nexec: {object: a/pods/b, argv: [/bin/sh, -c, ls | wc]}\nverify: [tcp: {address: 'a:1'}]",
        "9:32 warning: exec.argv gives a text to a shell",
        "",
    ),
    ("id: a\nrun: {argv: [ls]}", "8:1 warning: nothing verifies what run does", "verify:"),
    ("id: a\nrestore.files: {source: x, target: /t}", "8:1 nothing verifies what restore.files brings back", "files:"),
    (
        "id: a\nrestore.volume: {source: photos}\nverify: [files: {}]",
        "9:26 restore.volume: \"photos\" names no claim",
        "add into",
    ),
    (
        "id: a\nrestore.volume: {source: pvc/a/b, in_place: true, size: 1GiB}\nverify: [files: {}]",
        "9:57 restore.volume.size means nothing in place",
        "",
    ),
    (
        "id: a\nrestore.volume: {source: pvc/a/b, in_place: true}\ndestructive: false\nverify: [files: {}]",
        "10:14 destructive: false",
        "asked first",
    ),
    (
        "id: a\nrestore.files: {source: x, target: /t, snapshot: 'latest:x'}\nverify: [no-empty: {}]",
        "9:50 restore.files.snapshot: \"latest:x\"",
        "field of its own",
    ),
    ("id: a\nwait: {time: 10m}", "9:14 it waits for 10m and has failed after 10m", "longer timeout"),
    ("id: a\ncheck: []", "9:8 check is empty", "at least one check"),
    ("id: a\ncheck: [files: {}]", "9:16 files: nothing was restored here", "verify"),
    ("id: a\ncheck: [sqlite: {file: a.db}]", "9:24 sqlite.file is a relative path", ""),
    ("id: a\ncheck: [sqlite: {claim: a/b, file: a.db}]", "9:25 sqlite.claim: no claims come back", "restore.resources"),
    (
        "id: a\nrestore.volume: {source: pvc/a/b}\nverify: [sqlite: {claim: a/b, file: a.db}]",
        "10:26 sqlite.claim: no claims come back",
        "restore.resources",
    ),
    (
        "id: a\nrestore.resources: {source: cluster}\nverify: [sqlite: {claim: a/b, file: ../a.db}]",
        "10:37 sqlite.file is outside",
        "",
    ),
    (
        "id: a\nrestore.files: {source: x, target: /t}\nverify: [sqlite: {file: ../a.db}]",
        "10:25 sqlite.file is outside",
        "",
    ),
    ("id: a\ncheck: [sqlite: {file: /a.db, at_least: 1}]", "9:41 sqlite: there is an answer and no query", ""),
    ("id: a\ncheck: [postgres: {datadir: true, query: q}]", "9:29 postgres.datadir: no directory was restored", ""),
    (
        "id: a\ncheck: [postgres: {address: 'db:5432', query: q, at_least: 1, equals: 2}]",
        "9:71 postgres: the answer is at_least and equals",
        "",
    ),
    ("id: a\ncheck: [tcp: {address: db}]", "9:24 check.tcp.address: \"db\" is not a host and a port", "HOST:PORT"),
    ("id: a\ncheck: [http: {url: example.org}]", "9:21 check.http.url: \"example.org\"", "https://"),
    ("id: a\ncheck: [http: {url: 'http://x', status: 99}]", "9:41 http.status is no status", ""),
    ("id: a\ncheck: [dns: {name: x, addresses: [here]}]", "9:36 dns.addresses: \"here\" is no address", ""),
    (
        "id: a\ncheck: [{tcp: {address: 'a:1'}, deadline: 1h}]",
        "9:43 warning: the check may take 1h and the step 10m",
        "",
    ),
    ("id: a\ncheck: [ready: {objects: [a/b]}]", "9:27 check.ready.objects: \"a/b\" is not an object", "_cluster"),
    (
        "id: a\nscale: {object: a/deployments.apps/b, replicas: two}\nverify: [tcp: {address: 'a:1'}]",
        "9:49 scale.replicas: a whole number is expected",
        "",
    ),
    (
        "id: a\nmanual: {}\non_failure: contnue",
        "10:13 on_failure: \"contnue\" is not stop, continue or ask",
        "\"continue\"?",
    ),
    (
        "id: a\nrun: {argv: [x, '--password=hunter2']}\nverify: [tcp: {address: 'a:1'}]",
        "9:17 argv: a password stands here in clear",
        "PGPASSFILE",
    ),
];

#[test]
fn faults_of_a_step() {
    let mut missed = Missed::default();
    let unknown = found(&step("id: a\nrestore.volum: {source: pvc/a/b}"));
    assert!(
        unknown[1].starts_with("9:1 unknown field \"restore.volum\"") && unknown[1].contains("\"restore.volume\"?"),
        "{unknown:?}"
    );
    assert!(unknown.len() == 2 && unknown[0].starts_with("8:1 the step has no kind"), "{unknown:?}");
    for (block, says, help) in FAULTS_OF_A_STEP {
        missed.finds(&step(block), says, help);
    }
    missed.none();
}

#[test]
fn an_unknown_kind_of_check_is_told_with_the_one_that_is_meant() {
    for block in [
        "id: a\ncheck: [{htp: {url: https://photos.example.org/}}]",
        "id: a\nnotify: {message: x}\nverify: [{htp: {url: https://photos.example.org/}}]",
        "id: a\nwait: {until: [{htp: {url: https://photos.example.org/}}]}",
    ] {
        let unknown = found(&step(block));
        assert!(
            unknown.iter().any(|one| one.contains("unknown field \"htp\"") && one.contains("\"http\"?")),
            "{unknown:?}"
        );
        assert!(unknown.iter().any(|one| one.contains("has no kind")), "{unknown:?}");
    }
}

#[test]
fn a_datastore_and_objects_of_it_are_told_apart() {
    let datastore = "id: store\nneeds: []\ndatastore.restore: {source: k3s, k3s: {}}\nverify: [tcp: {address: 'a:1'}]";
    let objects = "id: objects\nrestore.resources: {source: cluster}\nverify: [ready: {namespace: a}]";
    for (one, other) in [(datastore, objects), (objects, datastore)] {
        let both = steps(&[one, other]);
        let read = reading(&both);
        assert!(read.runbook.is_some(), "it can be meant: {:?}", read.findings);
        let told: Vec<String> = found(&both);
        assert!(told.iter().any(|one| one.contains("restores the datastore of a cluster")), "{told:?}");
        assert!(!found(&step(one)).iter().any(|one| one.contains("restores the datastore of a cluster")));
    }
}

#[test]
fn secrets_are_found_and_not_repeated() {
    let mut missed = Missed::default();
    let key = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
    let text = step(NOTE).replace("Why.", &format!("The key: {key}"));
    missed.finds(&text, "6:10 a secret stands here in clear", "make another");
    assert!(!format!("{:?}", found(&text)).contains("GQ9778"));
    good(&step(NOTE).replace("Why.", "The private key lies in AGE-SECRET-KEY-1… form in a drawer."));
    let found = found(&step(&format!("id: a\nnotify: {{message: {key}}}")));
    assert!(!format!("{found:?}").contains("GQ9778") && !found.is_empty(), "{found:?}");
    missed.none();
}

#[test]
fn faults_of_the_order() {
    let mut missed = Missed::default();
    let note = |id: &str, more: &str| format!("id: {id}\n{more}\nnotify: {{message: x}}");
    let of = |all: &[(&str, &str)]| {
        let blocks: Vec<String> = all.iter().map(|(id, more)| note(id, more)).collect();
        steps(&blocks.iter().map(String::as_str).collect::<Vec<_>>())
    };
    missed.finds(&of(&[("a", ""), ("a", "")]), "15:5 two steps are called \"a\"", "line 8");
    missed.finds(
        &of(&[("namespaces", ""), ("b", "needs: [namespace]")]),
        "16:9 there is no step \"namespace\"",
        "\"namespaces\"?",
    );
    missed.finds(
        &of(&[("a", "needs: [c]"), ("b", "needs: []"), ("c", "needs: [b]")]),
        "9:9 a needs c, which stands below it",
        "move",
    );
    missed.finds(&of(&[("a", "needs: [c]"), ("b", ""), ("c", "")]), "9:9 a needs itself: a → c → b → a", "leave out");
    missed.finds(&of(&[("a", "needs: [a]")]), "9:9 a needs itself: a → a", "");
    missed.finds(
        &of(&[("a", "on_failure: {run: [b]}"), ("b", ""), ("c", "needs: [b]")]),
        "23:9 \"b\" is carried out only when",
        "",
    );
    missed.finds(
        &of(&[("a", "on_failure: {run: [b]}"), ("b", "needs: [a]")]),
        "16:8 \"b\" is carried out when another step fails, and is",
        "",
    );
    missed.finds(&of(&[("a", "on_failure: {run: [a]}")]), "9:20 \"a\" would be carried out because", "");
    missed.finds(&of(&[("a", "on_failure: {run: [x]}")]), "9:20 there is no step \"x\"", "");
    missed.finds(
        &of(&[("a", "on_failure: {run: [b]}"), ("b", "on_failure: {run: [c]}"), ("c", "")]),
        "16:20 \"b\" is carried out when",
        "",
    );
    let quiet = "id: q\nquiesce: {claims: [a/b], scale: {}, until: a}";
    missed.finds(&steps(&[NOTE, quiet]), "15:44 what holds still would go on after \"a\"", "at the end");
    missed.finds(&steps(&[quiet]), "9:44 there is no step \"a\"", "");
    good(&steps(&[quiet, NOTE]));
    missed.none();
}

#[test]
fn faults_of_variables_and_parameters() {
    let mut missed = Missed::default();
    let with = |parameters: &str, block: &str| {
        format!("---\nid: t\ntitle: T\nparameters:\n  {parameters}\n---\n# S\nWhy.\n```yaml step\n{block}\n```\n")
    };
    let snapshot = "snapshot: {type: snapshot, description: d, default: latest}";
    let uses = "id: a\nnotify: {message: \"of ${snapshot} $${x}\"}";
    good(&with(snapshot, uses));
    missed.finds(
        &with(snapshot, "id: a\nnotify: {message: \"$${x} ü ${snapshot} ${snapshto}\"}"),
        "11:40 there is no parameter \"snapshto\"",
        "\"snapshot\"?",
    );
    missed.finds(&with(snapshot, "id: a\nnotify: {message: '${snapshot} ${oh'}"), "11:32 a ${ has no }", "$${");
    missed.finds(&with(snapshot, NOTE), "5:3 warning: no step uses the parameter \"snapshot\"", "");
    let n = "n: {type: int, description: d, default: 3}";
    missed.finds(&with(n, "id: a\nwait: {time: \"${n}\"}"), "11:14 wait.time: a time", "(with ${n} = 3)");
    missed.finds(&with(n, "id: a\nneeds: ['${n}']\nwait: {time: \"${n}s\"}"), "11:9 ", "");
    missed.finds(
        &with("run: {type: int, description: d}", "id: a\nnotify: {message: '${run}'}"),
        "5:3 parameters.run: ${run} is always there",
        "",
    );
    let of = |fields: &str| with(&format!("x: {{description: d, {fields}}}"), "id: a\nnotify: {message: '${x}'}");
    missed.finds(&of("type: strin"), "5:29 parameters.x.type: \"strin\" is not", "\"string\"?");
    missed.finds(&of("type: enum"), "5:6 parameters.x is an enum without values", "values:");
    missed.finds(
        &of("type: enum, values: [one, two], default: twoo"),
        "5:64 parameters.x.default: \"twoo\" is none",
        "\"two\"?",
    );
    missed.finds(&of("type: int, values: [one]"), "5:42 parameters.x: a int has no list", "enum");
    missed.finds(&of("type: duration, default: 10"), "5:48 parameters.x.default: a time", "");
    missed.finds(&of("type: path, example: relative"), "5:44 parameters.x.example: \"relative\"", "");
    missed.finds(&with("x: {type: int}", "id: a\nnotify: {message: '${x}'}"), "5:6 parameters.x lacks description", "");
    missed.none();
}

#[test]
fn promises_that_the_time_limits_break() {
    let mut missed = Missed::default();
    let front = "---\nid: t\ntitle: T\nobjectives: {rto: 25m}\n---\n";
    let text = steps(&[NOTE, "id: b\nmanual: {}\nneeds: []\ntimeout: 20m", "id: c\nneeds: [b, a]\nmanual: {}"])
        .replace(FRONT, front);
    missed.finds(&text, "4:19 the time limits along b → c add up to 30m, and rto is 25m", "needs");
    let read = reading(&text);
    assert!(read.runbook.is_none() && read.overdue.is_some(), "it can be shown");
    assert!(reading(&text.replace("id: b", "id: a")).overdue.is_none(), "not where more is wrong");
    good(&text.replace("25m", "30m"));
    for word in ["stop", "No", "'false'"] {
        let at = format!("9:19 manual.confirm: {:?} reads like a refusal", word.trim_matches('\''));
        missed.finds(&step(&format!("id: a\nmanual: {{confirm: {word}}}")), &at, "done");
    }
    good(&step("id: a\nmanual: {confirm: nothing is in the way}"));
    missed.finds(&step(NOTE).replace("Why.\n", ""), "6:1 warning: nothing is said about this step", "by hand");
    missed.none();
}

#[test]
fn the_line_of_a_step_says_what_it_does() {
    let runbook = good(&step(
        "id: a\nrestore.files: {source: x, target: /t, include: [a, '*.b']}\nverify:\n  - no-empty: {}\n  - sqlite: {file: a.db}\n    retries: 2",
    ));
    let (does, verify) = runbook.line(0);
    assert_eq!(does, "restore.files source: x, target: /t, include: [a, *.b]");
    assert_eq!(verify, ["no-empty", "sqlite file: a.db, retries 2"]);
    assert_eq!(
        good(&step("id: a\nwait: {until: [tcp: {address: 'a:1'}]}")).line(0).0,
        "wait until: [{tcp: {address: a:1}}]"
    );
    assert_eq!(good(&step("id: a\ncheck: [tcp: {address: 'a:1'}]")).line(0).0, "check tcp address: a:1");
    assert_eq!(runbook.line(9), (String::new(), Vec::new()));
}
