//! What the README shows works: its blocks marked `sh tour` are run in order, as one script, with this program on the PATH.

use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");

/// The blocks of `info`, without the prompts and the output that a block may show.
fn blocks<'a>(text: &'a str, info: &str) -> Vec<&'a str> {
    let open = format!("```{info}\n");
    text.split(&open).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// Runs a script in `dir`, with nothing of our own environment that it could find keys in.
fn run(script: &str, dir: &Path) -> (bool, String) {
    let program = Path::new(env!("CARGO_BIN_EXE_homelab-dr")).parent().expect("a folder");
    let path = std::env::join_paths(
        std::iter::once(program.to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )
    .expect("no colons");
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", script])
        .current_dir(dir)
        .env_clear()
        .env("PATH", path)
        .env("HOME", dir)
        .output()
        .expect("bash runs");
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), told)
}

#[test]
fn the_tour_of_the_readme_works() {
    let tour = blocks(README, "sh tour");
    assert!(tour.len() >= 5, "the README's tour has lost its marks");
    let dir = tempfile::tempdir().unwrap();
    let (done, told) = run(&tour.join("\n"), dir.path());
    assert!(done, "{told}");
    assert!(told.contains("needs a recovery identity"), "the writer key must not read: {told}");
    let photos = [dir.path().join("photos/summer.jpg"), dir.path().join("back/photos/summer.jpg")];
    let [before, after] = photos.map(|photo| std::fs::read(photo).expect("the tour makes and restores it"));
    assert!(before == after, "what came back differs");
}

#[test]
fn a_failing_command_in_the_tour_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let text = "```sh tour\ntrue\n```\ntext\n```sh tour\nhomelab-dr no-such-command\n```\n";
    assert_eq!(blocks(text, "sh tour").len(), 2);
    assert!(!run(&blocks(text, "sh tour").join("\n"), dir.path()).0);
    assert!(!run("homelab-dr snapshots | cat", dir.path()).0);
}
