//! `recover`: runbooks carried out by the real program, on this machine and in a cluster, with people, faults and deaths.

mod apart;
mod chosen;
mod cluster;
mod cut;
mod gone;
mod inside;
mod killed;
mod kinds;
mod lease;
mod machine;
mod person;
pub(crate) mod plan;

use std::path::Path;

/// A runbook of steps, each a heading, a sentence and its block.
pub(crate) fn runbook(dir: &Path, front: &str, steps: &[&str]) -> String {
    let mut text = format!("---\nid: t\ntitle: A test\n{front}---\nIntroduction.\n");
    for (number, step) in steps.iter().enumerate() {
        text += &format!("\n## {number}. A step\n\nWhat a person would do.\n\n```yaml step\n{step}\n```\n");
    }
    std::fs::write(dir.join("book.md"), text).unwrap();
    "book.md".to_owned()
}

/// Waits for something that is about to be, a minute at most.
pub(crate) fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..2400 {
        if is() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("it never came: {what}");
}

/// A plan with the digest of what is in it now: of its JSON in one line, without the digest.
pub(crate) fn sealed(plan: &str) -> String {
    let mut plan: serde_json::Value = serde_json::from_str(plan).unwrap();
    plan.as_object_mut().unwrap().remove("digest").unwrap();
    plan["digest"] = homelab_dr::runs::plan::digest(&plan.to_string()).into();
    plan.to_string()
}

/// The id of the run that a text names.
pub(crate) fn run_of(text: &str) -> String {
    let (_, rest) = text.split_once("run ").expect("a run is named");
    rest.chars().take_while(char::is_ascii_hexdigit).collect()
}
