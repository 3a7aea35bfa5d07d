//! Runbooks as they are published: the schema and the tables are the program's, everything in `runbooks/` is right and looks as it was reviewed, and what is
//! wrong is told as it was reviewed. `HOMELAB_DR_BLESS=1 cargo test --test it runbook` writes schema, tables and goldens.

use std::path::{Path, PathBuf};

use homelab_dr::language::Judges;
use homelab_dr::runbook;
use jsonschema::Validator;

use crate::cli::{Ran, program};

const HOME: &str = env!("CARGO_MANIFEST_DIR");

pub fn read(bytes: &[u8]) -> runbook::Read {
    runbook::read(bytes, &Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) })
}

pub fn validator() -> Validator {
    jsonschema::draft202012::new(&runbook::schema()).expect("the schema is one")
}

/// The runbooks of this repository.
pub fn all() -> Vec<PathBuf> {
    let files = std::fs::read_dir(Path::new(HOME).join("runbooks")).expect("the folder");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("listed").path()).collect();
    files.retain(|file| !file.ends_with("README.md"));
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

/// The example of docs/runbook-format.md.
fn example() -> String {
    let page = std::fs::read_to_string(Path::new(HOME).join("docs/runbook-format.md")).expect("the page");
    let (_, rest) = page.split_once("````markdown example\n").expect("the example has lost its mark");
    rest.split_once("\n````").expect("closed").0.to_owned() + "\n"
}

fn is_reviewed(file: &Path, text: &str) {
    if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
        std::fs::write(file, text).unwrap();
    }
    let reviewed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(reviewed == text, "{}: review, then bless\n{text}", file.display());
}

fn ran(args: &[&str]) -> Ran {
    Ran::of(&program().current_dir(HOME).args(args).output().expect("it runs"))
}

#[test]
fn the_published_schema_is_the_programs() {
    is_reviewed(&Path::new(HOME).join("docs/runbook.schema.json"), &format!("{:#}\n", runbook::schema()));
    jsonschema::meta::validate(&runbook::schema()).expect("a schema by the rules of schemas");
    let printed: serde_json::Value = ran(&["runbook", "schema"]).exits(0).json();
    assert_eq!(printed, runbook::schema());
}

#[test]
fn the_tables_of_fields_are_the_programs() {
    let file = Path::new(HOME).join("docs/runbook-format.md");
    let mut page = std::fs::read_to_string(&file).expect("the page");
    for (name, table) in runbook::tables() {
        let (before, rest) = page.split_once(&format!("<!-- {name}: ")).expect("marked");
        let (note, rest) = rest.split_once(" -->\n").expect("marked");
        let (_, after) = rest.split_once(&format!("<!-- end of {name} -->")).expect("marked");
        page = format!("{before}<!-- {name}: {note} -->\n{table}<!-- end of {name} -->{after}");
    }
    is_reviewed(&file, &page);
}

#[test]
fn the_example_and_every_runbook_here_are_right_by_the_program_and_by_the_schema() {
    let mut texts = vec![example(), include_str!("../../src/cli/demo/recover.md").to_owned()];
    texts.extend(all().iter().map(|file| std::fs::read_to_string(file).expect("read")));
    for text in texts {
        let read = read(text.as_bytes());
        assert!(read.findings.is_empty(), "{:#?}", read.findings);
        let json = read.runbook.expect("without findings").json();
        let errors: Vec<String> = validator().iter_errors(&json).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new());
    }
    let linted = ran(&["runbook", "lint", "runbooks"]).exits(0);
    assert!(linted.out.ends_with("runbooks: 0 errors, 0 warnings\n"), "{}", linted.out);
}

#[test]
fn the_schema_refuses_what_is_written_wrong() {
    let front = serde_json::json!({ "id": "a", "title": "A" });
    for step in [
        r#"{"id": "a"}"#,
        r#"{"notify": {"message": "x"}}"#,
        r#"{"id": "A!", "notify": {"message": "x"}}"#,
        r#"{"id": "a", "notify": {"message": "x"}, "manual": {}}"#,
        r#"{"id": "a", "notify": {"mesage": "x"}}"#,
        r#"{"id": "a", "run": {"argv": "ls"}}"#,
        r#"{"id": "a", "check": []}"#,
        r#"{"id": "a", "check": [{"tcp": {"address": "db"}}]}"#,
        r#"{"id": "a", "check": [{"tcp": {"address": "a:1"}, "http": {"url": "http://x"}}]}"#,
        r#"{"id": "a", "manual": {}, "on_failure": "never"}"#,
        r#"{"id": "a", "manual": {}, "needs": ["${x}"]}"#,
    ] {
        let step: serde_json::Value = serde_json::from_str(step).unwrap();
        assert!(!validator().is_valid(&serde_json::json!({ "front": front, "steps": [step] })), "{step}");
    }
    let step = serde_json::json!({ "id": "a", "scale": { "object": "a/b/c", "replicas": "${n}" } });
    assert!(validator().is_valid(&serde_json::json!({ "front": front, "steps": [step] })));
}

#[test]
fn every_runbook_is_shown_as_it_was_reviewed() {
    for file in all() {
        let name = file.file_stem().expect("named").to_string_lossy().into_owned();
        let shown = ran(&["runbook", "show", file.to_str().expect("UTF-8")]).exits(0);
        assert!(shown.out.lines().all(|line| line.chars().count() <= 80), "{}", shown.out);
        is_reviewed(&Path::new(HOME).join(format!("tests/it/runbook/{name}.txt")), &shown.out);
        let json = ran(&["runbook", "show", "--json", file.to_str().expect("UTF-8")]).exits(0).json();
        assert_eq!(json["front"]["id"], serde_json::json!(name));
    }
}

#[test]
fn what_is_wrong_is_told_as_it_was_reviewed() {
    let told = ran(&["runbook", "lint", "tests/it/runbook/broken.md"]).exits(2);
    is_reviewed(&Path::new(HOME).join("tests/it/runbook/broken.txt"), &told.out);
    let json = ran(&["runbook", "lint", "--json", "tests/it/runbook/broken.md", "runbooks"]).exits(2).json();
    assert_eq!(json["files"].as_array().map(Vec::len), Some(1 + all().len()));
    let first = &json["files"][0];
    assert_eq!(
        (first["errors"].as_u64(), json["errors"].as_u64()),
        (
            first["findings"]
                .as_array()
                .map(|all| all.iter().filter(|finding| finding["severity"] == "error").count() as u64),
            first["errors"].as_u64()
        )
    );
    assert!(first["findings"][0]["line"].is_u64() && first["findings"][0]["column"].is_u64());
    ran(&["runbook", "show", "tests/it/runbook/broken.md"])
        .exits(2)
        .says(&["the runbook tests/it/runbook/broken.md has", "no step \"pasue\""]);
}

#[test]
fn what_cannot_be_read_is_told() {
    ran(&["runbook", "lint", "no-such-file.md"]).exits(2).says(&["cannot read no-such-file.md"]);
    ran(&["runbook", "lint", "src"]).exits(2).says(&["src has no runbook"]);
    ran(&["runbook", "lint", "runbooks/README.md"]).exits(2);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("warns.md"),
        "---\nid: a\ntitle: A\n---\n# S\n```yaml step\nid: a\nmanual: {}\n```\n",
    )
    .unwrap();
    let warned = ran(&["runbook", "lint", dir.path().to_str().unwrap()]).exits(0);
    assert!(
        warned.out.contains("warns.md:6:1: warning: nothing is said")
            && warned.out.ends_with("1 runbook: 0 errors, 1 warning\n"),
        "{}",
        warned.out
    );
}
