//! `runbook check`: the checks of a runbook from the command line.

use super::*;
use crate::cli::{Ran, program};

const BOOK: &str = "---
id: page
title: A page is away
parameters:
  port: {type: int, description: Where it is., example: 80}
  says: {type: string, description: What is in it., default: alive}
---

## The way in

From the outside.

```yaml step
id: way
check:
  - tcp: { address: \"127.0.0.1:${port}\" }
  - http: { url: \"http://127.0.0.1:${port}/\", contains: \"${says}\" }
```

## Something is done

Not by who only looks.

```yaml step
id: act
run: { argv: [touch, acted] }
verify: [tcp: { address: \"127.0.0.1:${port}\" }]
```

## The cluster

Inside.

```yaml step
id: inside
check: [ready: { namespace: media }]
timeout: 2m
```
";

struct Book {
    dir: tempfile::TempDir,
    port: String,
}

impl Book {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("page.md"), BOOK).unwrap();
        let alive = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nit \x1b alive".to_vec();
        let address = server(Does::Says(alive)).await;
        Self { dir, port: address.rsplit(':').next().unwrap().to_owned() }
    }

    async fn check(&self, args: &[&str]) -> Ran {
        let mut program = program();
        program.current_dir(self.dir.path()).args(["runbook", "check", "page.md"]).args(args);
        let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
        assert!(!self.dir.path().join("acted").exists(), "only checks are carried out");
        Ran::of(&output)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_are_carried_out_and_nothing_else() {
    let book = Book::new().await;
    let port = format!("port={}", book.port);
    let ran = book.check(&["--set", &port, "--only", "way"]).await.exits(0);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!((lines.len(), lines[4]), (5, "2 checks: 2 hold, 0 do not"), "{}", ran.out);
    assert!(
        lines[0].starts_with("holds ") && lines[0].ends_with(&format!("way  tcp: 127.0.0.1:{}", book.port)),
        "{}",
        ran.out
    );
    assert_eq!(lines[1].trim(), "it takes connections");
    assert!(lines[3].contains("it answers 200 OK with \"alive\" in it"), "{}", ran.out);

    let failed = book.check(&["--set", &port, "--set", "says=\u{1b}[31m"]).await.exits(7);
    assert!(failed.out.contains("DOES NOT HOLD  way  http:") && !failed.out.contains('\u{1b}'), "{}", failed.out);
    assert!(
        failed.out.contains("DOES NOT HOLD  inside  ready: namespace media\n"),
        "also what has no cluster: {}",
        failed.out
    );
    assert!(failed.out.ends_with("\n3 checks: 1 hold, 2 do not\n"), "{}", failed.out);

    let json = book.check(&["--set", &port, "--json"]).await.exits(7).json();
    assert_eq!((&json["runbook"], &json["holding"], &json["failing"]), (&"page".into(), &2.into(), &1.into()));
    let steps: Vec<_> = json["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["step"].as_str().unwrap(), row["holds"].as_bool().unwrap()))
        .collect();
    assert_eq!(steps, [("way", true), ("way", true), ("inside", false)]);
    assert!(json["checks"][0]["seen"].is_string() && json["checks"][0]["check"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_wrong_is_told_before_anything_is_looked_at() {
    let book = Book::new().await;
    // Clap says this, in a form of its own.
    let ran = book.check(&["--set", "port"]).await.exits(2);
    assert!(ran.err.contains("a name and a value are expected"), "{}", ran.err);
    for (args, parts) in [
        (&[][..], &["wants a value of port", "--set port=…"][..]),
        (&["--set", "port=x"], &["--set port"]),
        (&["--set", "port=0"], &["with these values"]),
        (&["--set", "prot=1"], &["no parameter prot", "port"]),
        (&["--set", "port=1", "--set", "port=2"], &["given twice"]),
        (&["--set", "port=1", "--only", "wya"], &["no step wya", "way"]),
        (&["--set", "port=1", "--only", "act"], &["the step act does not only look"]),
    ] {
        book.check(args).await.exits(2).says(parts);
    }
    std::fs::write(
        book.dir.path().join("page.md"),
        "---\nid: a\ntitle: A\n---\n# S\n\nText.\n\n```yaml step\nid: a\nmanual: {}\n```\n",
    )
    .unwrap();
    book.check(&[]).await.exits(2).says(&["no step that only looks"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_this_machine_ends_well_or_the_check_does_not_hold() {
    let run = |argv: &[&str], contains: Option<&str>| Probe::Run {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        contains: contains.map(str::to_owned),
    };
    let around = around();
    assert_eq!(holds(look(&run(&["true"], None), &around).await), "it ended well");
    let said = holds(look(&run(&["echo", "a  b"], Some("a  b")), &around).await);
    assert_eq!(said, "it ended well and printed \"a  b\"");
    not(look(&run(&["echo", "a"], Some("b")), &around).await, &["ended well", "no \"b\"", "\"a\""]);
    not(look(&run(&["ls", "/no/such"], None), &around).await, &["ended with exit code 2", "/no/such"]);
    not(look(&run(&["/no/such/program"], None), &around).await, &["cannot be started"]);
    // Nothing of it goes on behind a look that is over.
    let dir = tempfile::tempdir().unwrap();
    let (began, late) = (dir.path().join("began"), dir.path().join("late"));
    let script = format!("touch {}; sleep 2; touch {}", began.display(), late.display());
    let slow = Surroundings { limits: patient(Duration::from_millis(500)), ..around };
    not(look(&run(&["sh", "-c", &script], None), &slow).await, &["did not end within"]);
    assert!(began.exists());
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert!(!late.exists(), "it was ended");
}
