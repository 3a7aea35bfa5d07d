//! What runs leave behind and are taken up with: plans that were kept, journals, signed reports.

use homelab_dr::report;
use homelab_dr::runbook;
use homelab_dr::runs::journal::Journal;
use homelab_dr::runs::plan::{RunPlan, digest};

use crate::fuzz::mutate::Shape;
use crate::fuzz::texts::text;
use crate::fuzz::{Memory, fuzz};

const JUDGES: homelab_dr::language::Judges<'_> =
    homelab_dr::language::Judges { url: &|_| Ok(()), pattern: &|_| Ok(()) };
/// A plan has a runbook in it, which is read as such; see the target of runbooks.
const MEMORY: Memory = Memory { fixed: 2 << 20, each: 4096 };
const WORDS: [&str; 26] = [
    "\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\n",
    "\\u0000",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551616",
    "\"event\":\"begun\"",
    "\"event\":\"done\"",
    "\"step\":\"all\"",
    "\"homelab_dr_plan\":1",
    "\"run\":\"../x\"",
    "\"digest\":",
    "\"skipped\":[\"all\"]",
    "```yaml step",
    "restore.files",
    "${run}",
    "\u{202e}",
];

/// The runbooks of this repository with samples of their values, as plans.
fn plans() -> Vec<RunPlan> {
    let books = crate::runbook::all().into_iter().map(|file| std::fs::read_to_string(file).expect("read"));
    let plans = books.map(|text| {
        let book = runbook::read(text.as_bytes(), &JUDGES).runbook.expect("right");
        let values = book.parameters.iter().map(|one| (one.name.clone(), one.sample().to_owned())).collect();
        RunPlan::new("5f0c1d2e".into(), "2026-11-01T03:00:00Z".into(), &book, &text, values)
    });
    plans.collect()
}

/// Whatever was read: its steps are those of the runbook whose digest it has, and of no other.
fn is_covered(plan: &RunPlan) -> bool {
    let Ok((book, steps)) = plan.steps(&JUDGES) else { return false };
    assert_eq!(digest(&plan.runbook.text), plan.runbook.digest);
    let own = runbook::read(plan.runbook.text.as_bytes(), &JUDGES).runbook.expect("it was right");
    assert_eq!(own.id, book.id);
    let known = own.sampled(&JUDGES).expect("it was right");
    let ids = |steps: &[runbook::Step]| steps.iter().map(|step| step.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&steps), ids(&known), "steps that the runbook does not have");
    true
}

/// With the digest of what is in it, if it is an object.
fn sealed(text: &str) -> String {
    let Ok(serde_json::Value::Object(mut fields)) = serde_json::from_str(text) else { return String::new() };
    fields.remove("digest");
    let content = serde_json::Value::Object(fields.clone()).to_string();
    fields.insert("digest".to_owned(), digest(&content).into());
    serde_json::Value::Object(fields).to_string()
}

#[test]
fn plan() {
    let corpus: Vec<String> = plans().iter().map(|plan| plan.kept().expect("JSON")).collect();
    let corpus: Vec<&str> = corpus.iter().map(String::as_str).collect();
    text("plan", &WORDS, &corpus, MEMORY, |text| {
        // Whoever changes a plan can make its digest anew: what comes behind that is to hold, too.
        let Ok(plan) = RunPlan::read(text).or_else(|_| RunPlan::read(&sealed(text))) else { return false };
        assert!(homelab_dr::base::id::is_run(&plan.run) && plan.drill.is_none());
        is_covered(&plan)
    });
}

#[test]
fn journal() {
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder");
    let file = dir.path().join("5f0c1d2e/journal.jsonl");
    std::fs::create_dir(dir.path().join("5f0c1d2e")).expect("made");
    let events = [
        r#"{"at":"2026-11-01T03:00:00Z","event":"taken-up","host":"h","by":"b","version":"1"}"#,
        r#"{"at":"2026-11-01T03:00:00Z","event":"begun","step":"all"}"#,
        r#"{"at":"2026-11-01T03:00:00Z","event":"asked","step":"all","question":"destructive"}"#,
        r#"{"at":"2026-11-01T03:00:00Z","event":"checked","step":"all","check":0,"held":true,"said":"s","seen":"2026-11-01T03:00:00Z","took":1}"#,
        r#"{"at":"2026-11-01T03:00:00Z","event":"done","step":"all","said":["s"],"took":7}"#,
        r#"{"at":"2026-11-01T03:00:00Z","event":"ended","outcome":"recovered"}"#,
    ];
    let corpus: Vec<String> = plans()
        .iter()
        .map(|plan| format!("{}\n{}\n", serde_json::to_string(plan).expect("JSON"), events.join("\n")))
        .collect();
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(String::into_bytes).collect();
    // Bytes as they are: a torn line may end within a sign.
    fuzz("journal", Shape::Text(&WORDS), &corpus, MEMORY, |bytes| {
        std::fs::write(&file, bytes).expect("written");
        let Ok(found) = Journal::look(dir.path(), "5f0c1d2e") else { return false };
        let whole = bytes.iter().filter(|byte| **byte == b'\n').count();
        assert!(found.records.len() < whole.max(1), "a line without its end counts");
        let covered = found.plan.drill.is_some() || is_covered(&found.plan);
        let Ok((_, steps)) = found.plan.steps(&JUDGES) else { return false };
        let mut machine = homelab_dr::runs::machine::Machine::new(&steps, found.plan.parallel);
        found.records.iter().for_each(|record| machine.apply(&record.event));
        let _ = (machine.next(), machine.standing());
        covered
    });
}

#[test]
fn signed_report() {
    let place = crate::report::Place::with_all();
    let corpus: Vec<String> =
        ["json", "html", "markdown"].map(|format| place.shown("5f0c1d2e", format)).into_iter().collect();
    let words = [
        "{\"report\":",
        ",\"signature\":",
        "{\"key\":\"",
        "\"value\":\"",
        "<!-- homelab-dr report page, signed: ",
        " -->",
        "</script>",
        "\n",
        "}",
        "AAAA",
        "==",
        "\u{202e}",
    ];
    let genuine: Vec<String> = corpus.iter().map(|file| trimmed(file)).collect();
    let corpus: Vec<&str> = corpus.iter().map(String::as_str).collect();
    text("signed_report", &words, &corpus, Memory { fixed: 1 << 20, each: 64 }, |text| {
        let Ok(verified) = report::verify(text.as_bytes()) else { return false };
        // Nobody has the key: what is signed is what was signed, but for ends of lines behind it.
        assert!(genuine.contains(&trimmed(text)), "signed by {} and by nobody", verified.key);
        true
    });
}

fn trimmed(file: &str) -> String {
    file.trim_end_matches(['\n', '\r']).to_owned()
}
