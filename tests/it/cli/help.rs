//! Every help text is a golden file in `help/`, reviewed like code. `HOMELAB_DR_BLESS=1 cargo test help` writes them.

use super::program;

const COMMANDS: [&str; 50] = [
    "config",
    "config check",
    "config show",
    "config schema",
    "",
    "init",
    "keys",
    "keys new",
    "keys list",
    "keys add",
    "keys remove",
    "keys rotate-writer",
    "keys drill",
    "keys paper",
    "backup",
    "snapshots",
    "ls",
    "find",
    "cat",
    "diff",
    "restore",
    "recover",
    "drill",
    "drills",
    "check",
    "replicate",
    "stats",
    "status",
    "forget",
    "prune",
    "parity",
    "demo",
    "release",
    "gitops",
    "gitops pause",
    "gitops resume",
    "gitops status",
    "runbook",
    "runbook lint",
    "runbook new",
    "runbook show",
    "runbook check",
    "runbook schema",
    "report",
    "report show",
    "report verify",
    "report list",
    "preflight",
    "preflight backup",
    "preflight restore",
];

#[test]
fn help_texts_are_as_they_were_reviewed() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cli/help");
    let bless = std::env::var_os("HOMELAB_DR_BLESS").is_some();
    for command in COMMANDS {
        let output = program().args(command.split_whitespace()).arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}");
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let text = lines.join("\n") + "\n";
        let name = if command.is_empty() { "root".to_owned() } else { command.replace(' ', "-") };
        let golden = dir.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&golden, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(text, expected, "help of {name} changed; review it, then bless");
    }
}

#[test]
fn every_command_shows_examples_and_is_in_the_documentation() {
    let documented = include_str!("../../../docs/cli.md");
    for command in COMMANDS.iter().filter(|command| {
        !command.is_empty() && !["keys", "config", "gitops", "preflight", "runbook", "report"].contains(*command)
    }) {
        let output = program().args(command.split_whitespace()).arg("--help").output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("Examples:"), "{command}");
        assert!(documented.contains(&format!("`{command}`")), "docs/cli.md does not name {command}");
    }
}

#[test]
fn the_commands_of_the_recovery_kit_parse() {
    let home = super::Home::new();
    home.read(&["keys", "paper", "--out", "kit.html"]).exits(0);
    let kit = std::fs::read_to_string(home.path("kit.html")).unwrap();
    for command in ["keys drill", "snapshots", "restore --all --target restored", "check --read-data"] {
        assert!(kit.contains(&format!("./homelab-dr {command} --repo")), "{command}");
        let mut program = program();
        program.args(command.split_whitespace()).args([
            "--repo",
            "x",
            "--identity",
            "key.txt",
            "--fingerprint",
            "hdr1",
        ]);
        let output = program.arg("--help").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{command}");
    }
}
