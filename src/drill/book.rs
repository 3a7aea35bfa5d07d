//! The runbook that the program writes where sources alone are drilled: each is restored as files and looked at.

use std::fmt::Write as _;

/// The id of such a runbook.
pub const ID: &str = "drill-of-sources";

/// A text within a block of a step: quoted, and no variable.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

/// Where a source goes: a folder of its own that people recognise.
fn target(number: usize, source: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/') { c } else { '_' };
    let name: String = source.chars().map(plain).collect();
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    format!("/{number}-{}", parts.join("/"))
}

/// The text. Each source is taken as it was at `snapshot`; every one of its files is compared, and there has to be one. Objectives are not in it: a step that comes too late is to be
/// measured, not stopped.
#[must_use]
pub fn of_sources(sources: &[String], snapshot: &str) -> String {
    let mut text = format!("---\nid: {ID}\ntitle: Drill of {}\n---\n", names(sources));
    text += "Written by homelab-dr: each source is restored as files, compared with its snapshot, and thrown away.\n";
    for (index, source) in sources.iter().enumerate() {
        let number = index + 1;
        let step = format!(
            "id: source-{number}\nneeds: []\nrestore.files: {{source: {}, snapshot: {}, target: {}, overwrite: never}}\ntimeout: 24h\nverify:\n  - no-empty: {{at_least: 1}}\n  - files: {{sample: 100%}}",
            quoted(source),
            quoted(snapshot),
            quoted(&target(number, source)),
        );
        let _ =
            write!(text, "\n## Source {number}\n\nEverything that its snapshot has.\n\n```yaml step\n{step}\n```\n");
    }
    text
}

/// The title has no sign that means something to YAML or Markdown.
fn names(sources: &[String]) -> String {
    match sources {
        [_] => "1 source".to_owned(),
        several => format!("{} sources", several.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_go_into_folders_of_their_own() {
        assert_eq!(target(1, "photos"), "/1-photos");
        assert_eq!(target(2, "pvc/media/data"), "/2-pvc/media/data");
        assert_eq!(target(3, "../../etc"), "/3-__/__/etc", "and none leads out");
        assert_eq!(quoted("a\"${b}"), "\"a\\\"$${b}\"");
    }
}
