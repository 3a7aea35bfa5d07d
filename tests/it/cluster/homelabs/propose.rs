//! `runbook new` of each homelab: it is right, it is what was reviewed, and planned into an empty cluster nothing is in its way but what is true.

use std::path::Path;

use crate::cli::Home;
use crate::cluster::run;

fn is_reviewed(file: &Path, text: &str) {
    if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
        std::fs::write(file, text).unwrap();
    }
    let reviewed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(reviewed == text, "{}: review, then bless\n{text}", file.display());
}

/// Without what differs from run to run: the snapshot and its time.
fn masked(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("from snapshot ") {
        Some((before, _)) => format!("{before}from snapshot ID of cluster, TIME:"),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

pub(super) async fn is_as_reviewed(lab: &str, home: &Home) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cluster/homelabs/proposed");
    let made = run(home, &["runbook", "new", "--from", "latest:cluster", "--out", "mine.md"]).await.exits(0);
    assert!(made.out.contains("wrote mine.md"), "{}", made.out);
    run(home, &["runbook", "new", "--from", "latest:cluster", "--out", "mine.md"])
        .await
        .exits(7)
        .says(&["is there already"]);
    let text = std::fs::read_to_string(home.path("mine.md")).unwrap();
    for word in ["TODO", "FIXME", "TEST"] {
        assert!(!text.contains(word), "{word}");
    }
    is_reviewed(&golden.join(format!("{lab}.md")), &masked(&text));
    let linted = run(home, &["runbook", "lint", "mine.md"]).await.exits(0);
    assert_eq!(linted.out, "1 runbook: 0 errors, 0 warnings\n");
    // Claims without data are in the way, and nothing else.
    let plan =
        run(home, &["recover", "mine.md", "--plan", "--kubeconfig", "new", "--journals", "runs", "--json"]).await;
    let notices = plan.json()["notices"].clone();
    let blocks = notices.as_array().unwrap().iter().filter(|notice| notice["blocks"] == true);
    let mut lines: Vec<String> = blocks
        .map(|notice| format!("[{}] {}", notice["step"].as_str().unwrap_or("-"), notice["what"].as_str().unwrap()))
        .collect();
    lines.sort();
    is_reviewed(&golden.join(format!("{lab}.txt")), &(lines.join("\n") + "\n"));
    assert_eq!(plan.code, if lines.is_empty() { 0 } else { 7 });
}
