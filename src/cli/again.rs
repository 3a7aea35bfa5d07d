//! Commands that people are told to run next, with the options that say where, as they were given to this one: whoever has two clusters would otherwise go on with the wrong one.
//!
//! Texts of all layers name commands between backquotes and without a place: `` `homelab-dr release --run 5f0c1d2e` ``. On their way to a person, or into a document, each gets
//! the options of [`PLACES`] that it takes and that were given. What came from the environment is still there for the next command.

use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _};

use super::Cli;
use super::output::quoted;

/// The options that say where something is, by the names that clap has for them, in the order in which they are written.
const PLACES: [&str; 7] = ["kubeconfig", "context", "into_folder", "mover_image", "journals", "config", "repo"];
/// Commands that have no use for a repository and its configuration, although they take the options.
const WITHOUT_REPOSITORY: [&str; 7] = ["config", "demo", "gitops", "mover", "release", "report", "runbook"];
/// How a command begins in a text.
const BEGINS: &str = "`homelab-dr ";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Again {
    /// Names of [`PLACES`] and what was given.
    given: Vec<(&'static str, String)>,
}

impl Again {
    /// What was given on the command line.
    pub(super) fn of(matches: &ArgMatches) -> Self {
        let mut deepest = matches;
        while let Some((_, below)) = deepest.subcommand() {
            deepest = below;
        }
        let given = |name: &'static str| {
            let is_there = deepest.try_contains_id(name).unwrap_or(false);
            let mut values = deepest.try_get_raw(name).ok().flatten()?;
            let is_given = is_there && deepest.value_source(name) == Some(ValueSource::CommandLine);
            let value = values.next_back().filter(|_| is_given)?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        Self { given: PLACES.into_iter().filter_map(given).collect() }
    }

    /// The cluster that a configuration names.
    pub(crate) fn cluster(kubeconfig: Option<&Path>, context: Option<&str>) -> Self {
        let kubeconfig = kubeconfig.map(|path| ("kubeconfig", path.to_string_lossy().into_owned()));
        let context = context.map(|name| ("context", name.to_owned()));
        Self { given: kubeconfig.into_iter().chain(context).collect() }
    }

    /// The options that `kubectl` takes too, each with a space before it.
    pub(crate) fn for_kubectl(&self) -> String {
        self.options(|name| ["kubeconfig", "context"].contains(&name))
    }

    fn options(&self, takes: impl Fn(&str) -> bool) -> String {
        let given = self.given.iter().filter(|(name, _)| takes(name));
        given.fold(String::new(), |options, (name, value)| {
            format!("{options} --{} {}", name.replace('_', "-"), quoted(value))
        })
    }

    /// A command, completed.
    pub(crate) fn command(&self, words: &str) -> String {
        if self.given.is_empty() {
            return words.to_owned();
        }
        let options = self.options(|name| takes(words, name));
        // What a shell does with its output or input stays behind it.
        let end = [" | ", " < ", " > "].into_iter().filter_map(|sign| words.find(sign)).min().unwrap_or(words.len());
        let (command, rest) = words.split_at(end);
        format!("{command}{options}{rest}")
    }

    /// A text with every command of this program between backquotes completed.
    pub(crate) fn told(&self, text: &str) -> String {
        let (mut told, mut rest) = (String::with_capacity(text.len()), text);
        while let Some((before, from)) = rest.split_once(BEGINS).filter(|_| !self.given.is_empty()) {
            let Some((words, after)) = from.split_once('`') else { break };
            told.push_str(before);
            told.push('`');
            told.push_str(&self.command(&format!("homelab-dr {words}")));
            told.push('`');
            rest = after;
        }
        told.push_str(rest);
        told
    }
}

/// Whether a command takes a place, and has none yet.
fn takes(words: &str, name: &str) -> bool {
    let has = |option: &str| words.split(' ').any(|word| word == option);
    let option = format!("--{}", name.replace('_', "-"));
    let mut names = words.split(' ').skip(1);
    let (first, program) = (names.next().unwrap_or_default(), Cli::command());
    let Some(command) = program.find_subcommand(first) else { return false };
    if has(&option) || (["kubeconfig", "context"].contains(&name) && has("--into-folder")) {
        return false;
    }
    match (first, name) {
        (_, "config" | "repo") => !WITHOUT_REPOSITORY.contains(&first),
        // Without either it restores files, and has nothing to do with a cluster.
        ("restore", "into_folder") => has("--cluster"),
        ("restore", _) => has("--cluster") || has("--into-claim"),
        _ => {
            let below = names.next().and_then(|word| command.find_subcommand(word));
            below.unwrap_or(command).get_arguments().any(|argument| argument.get_id() == name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Again {
        Again::of(&Cli::command().try_get_matches_from(words).expect("words"))
    }

    #[test]
    fn what_was_given_is_given_again_where_it_has_a_meaning() {
        let again = given(&[
            "homelab-dr",
            "--config",
            "my conf.yaml",
            "restore",
            "latest:pvc/a/b",
            "--into-claim",
            "a/b",
            "--in-place",
            "--kubeconfig",
            "/k/old one",
            "--context=it's",
            "--repo",
            "s3://b/p?region=x",
            "--mover-image",
            "r/i:1",
        ]);
        let cluster = r"--kubeconfig '/k/old one' --context 'it'\''s'";
        let repository = "--config 'my conf.yaml' --repo 's3://b/p?region=x'";
        for (words, expected) in [
            ("release --run x", format!("release --run x {cluster}")),
            ("gitops resume", format!("gitops resume {cluster}")),
            (
                "restore x --into-claim a/b --in-place",
                format!("restore x --into-claim a/b --in-place {cluster} --mover-image r/i:1 {repository}"),
            ),
            ("restore x --target DIR", format!("restore x --target DIR {repository}")),
            ("check --read-data", format!("check --read-data {repository}")),
            ("release --kubeconfig other", r"release --kubeconfig other --context 'it'\''s'".to_owned()),
            ("backup --stdin < DEVICE", format!("backup --stdin {repository} < DEVICE")),
            ("config check", "config check".to_owned()),
            ("nothing of the kind", "nothing of the kind".to_owned()),
        ] {
            assert_eq!(again.command(&format!("homelab-dr {words}")), format!("homelab-dr {expected}"));
        }
    }

    #[test]
    fn a_run_is_taken_up_where_it_was_begun() {
        let again = given(&["homelab-dr", "recover", "a.md", "--journals", "/j", "--into-folder", "/f"]);
        let resume = again.command("homelab-dr recover --resume x");
        assert_eq!(resume, "homelab-dr recover --resume x --into-folder /f --journals /j");
        assert_eq!(again.command("homelab-dr report show x"), "homelab-dr report show x --journals /j");
        assert_eq!(again.command("homelab-dr release"), "homelab-dr release");
    }

    #[test]
    fn only_commands_between_backquotes_are_changed_and_only_once() {
        let again = Again::cluster(Some(Path::new("/k")), None);
        let text = "homelab-dr release: `homelab-dr release --run x`, then `kubectl get pods`, `homelab-dr-x` or `homelab-dr gitops status`";
        let told = again.told(text);
        let expected = "homelab-dr release: `homelab-dr release --run x --kubeconfig /k`, then `kubectl get pods`, `homelab-dr-x` or \
                        `homelab-dr gitops status --kubeconfig /k`";
        assert_eq!(told, expected);
        assert_eq!(again.told(&told), told);
        assert_eq!(Again::default().told(text), text);
        assert_eq!(again.for_kubectl(), " --kubeconfig /k");
    }

    #[test]
    fn what_comes_from_the_environment_is_not_repeated() {
        let matches = Cli::command()
            .mut_arg("repo", |argument| argument.default_value("/default"))
            .try_get_matches_from(["homelab-dr", "snapshots"])
            .expect("words");
        assert_eq!(Again::of(&matches), Again::default());
    }
}
