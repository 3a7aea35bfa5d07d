//! What the documents show works: the README's blocks marked `sh tour` are run in order, as one script, with this program on the PATH; so are the
//! procedures of docs/operations.md, with a bucket and folders of the test in place of the person's; and every other command is one that the program takes.

use std::path::Path;
use std::process::Command;

use crate::support::s3::{KEY_ID, Rules, S3Server, SECRET};

const README: &str = include_str!("../../README.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// The blocks of `info`, without the prompts and the output that a block may show.
fn blocks<'a>(text: &'a str, info: &str) -> Vec<&'a str> {
    let open = format!("```{info}\n");
    text.split(&open).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
}

/// Runs a script in `dir`, with nothing of our own environment that it could find keys in.
fn run(script: &str, dir: &Path) -> (bool, String) {
    let (code, told) = run_with(script, dir, &[]);
    (code == Some(0), told)
}

/// The same with some variables set; the exit code and what was printed.
fn run_with(script: &str, dir: &Path, variables: &[(&str, &str)]) -> (Option<i32>, String) {
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
        .envs(variables.iter().copied())
        .output()
        .expect("bash runs");
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), told)
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
    assert!(told.contains("recovered by run") && told.contains("Time to recover (RTO)"), "{told}");
    let [lost, again] =
        ["cluster", "again"].map(|at| dir.path().join("demo").join(at).join("volumes/vaultwarden/data/db.sqlite3"));
    assert_eq!(std::fs::read(lost).unwrap(), std::fs::read(again).unwrap(), "by the runbook, too");
}

#[test]
fn a_failing_command_in_the_tour_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let text = "```sh tour\ntrue\n```\ntext\n```sh tour\nhomelab-dr no-such-command\n```\n";
    assert_eq!(blocks(text, "sh tour").len(), 2);
    assert!(!run(&blocks(text, "sh tour").join("\n"), dir.path()).0);
    assert!(!run("homelab-dr snapshots | cat", dir.path()).0);
}

/// The first indented block after `heading`.
fn indented(text: &str, heading: &str) -> String {
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("no {heading:?}"));
    let lines = rest.lines().skip_while(|line| !line.starts_with("    "));
    let block = lines.take_while(|line| line.starts_with("    ") || line.is_empty());
    block.map(|line| line.strip_prefix("    ").unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Puts the test's own in place of what a person puts in; each must be there.
fn with(mut text: String, own: &[(&str, &str)]) -> String {
    for (theirs, ours) in own {
        assert!(text.contains(theirs), "the document no longer says {theirs:?}");
        text = text.replace(theirs, ours);
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_procedures_of_the_operations_page_work() {
    let server = S3Server::start(Rules::PLAIN).await;
    let (home, address) = (tempfile::tempdir().unwrap(), server.address("home"));
    let dir = home.path();
    for (name, content) in [("volumes/pvc-1/db", "a volume"), ("photos/a.jpg", "a photo"), ("photos/b.tmp", "x")] {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), content).unwrap();
    }
    std::fs::write(dir.join("s3"), format!("[default]\naws_access_key_id={KEY_ID}\naws_secret_access_key={SECRET}\n"))
        .unwrap();
    let access = [("AWS_SHARED_CREDENTIALS_FILE", dir.join("s3").to_str().unwrap().to_owned())];
    let access: Vec<(&str, &str)> = access.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let do_it = |script: String| {
        let dir = dir.to_owned();
        let access: Vec<(String, String)> = access.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        async move {
            let access: Vec<(&str, &str)> = access.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            tokio::task::block_in_place(|| run_with(&script, &dir, &access))
        }
    };

    let url = format!("'{address}'");
    let made = "homelab-dr keys new --out ~/homelab-dr.key            # prints the recipient, age1…";
    let setting_up = with(
        indented(OPERATIONS, "## Setting up"),
        &[
            (made, "mine=$(homelab-dr keys new --out ~/homelab-dr.key 2>&1 | grep -o 'age1[0-9a-z]*' | tail -1)"),
            ("--recipient age1… --recipient age1…", "--recipient $mine"),
            ("URL", &url),
        ],
    );
    let (code, told) = do_it(setting_up).await;
    assert_eq!(code, Some(0), "{told}");
    let fingerprint = told.split_whitespace().find(|word| word.starts_with("hdr1-")).expect("init shows it").to_owned();

    let bucket = "'s3://bucket/home?endpoint=https://nas:9000&region=garage'";
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let configuration = |photos: &str| {
        with(
            blocks(OPERATIONS, "yaml night").join("\n"),
            &[
                (bucket.trim_matches('\''), &address),
                ("/etc/homelab-dr/writer.key", &path("writer.key")),
                ("[pg_dump, --host, db, app]", "[echo, a dump]"),
                ("/var/lib/rancher/k3s/storage", &path("volumes")),
                ("/srv/photos", &path(photos)),
            ],
        )
    };
    let night = with(indented(OPERATIONS, "whatever starts it:"), &[("/etc/homelab-dr/s3-credentials", "~/s3")]);
    // A folder that is not there is told, and the others are backed up.
    for (photos, expected) in [("photos", 0), ("no-such-folder", 1), ("photos", 0)] {
        std::fs::write(dir.join("homelab-dr.yaml"), configuration(photos)).unwrap();
        let (code, told) = do_it(night.clone()).await;
        assert_eq!(code, Some(expected), "{told}");
        assert!(told.contains("no damage found") && told.contains("pg/app"), "{told}");
        assert_eq!(told.contains("FAILED"), expected == 1, "{told}");
        assert_eq!(told.contains("+ run forget"), expected == 0, "{told}");
    }
    // With the options of the cron line the program itself says nothing.
    let (code, told) = do_it(format!("set +x; set -- --quiet; {night}")).await;
    assert_eq!((code, told.trim_end().ends_with("set +x"), told.lines().count()), (Some(0), true, 1), "{told}");
    // A dump that fails, one that writes nothing, and a mount that is away.
    std::fs::create_dir(dir.join("no-photos")).unwrap();
    for (whole, broken, expected, says) in [
        ("[echo, a dump]".to_owned(), "[sh, -c, 'echo half; exit 4']".to_owned(), 1, "no new snapshot"),
        ("[echo, a dump]".to_owned(), "['true']".to_owned(), 1, "wrote nothing"),
        (path("photos"), path("no-photos"), 3, "NOTHING WAS BACKED UP: photos"),
    ] {
        let text = configuration("photos");
        assert!(text.contains(&whole), "{text}");
        std::fs::write(dir.join("homelab-dr.yaml"), text.replace(&whole, &broken)).unwrap();
        let (code, told) = do_it(night.clone()).await;
        assert_eq!(code, Some(expected), "{told}");
        assert!(told.contains(says) && told.contains("+ run check") && !told.contains("+ run forget"), "{told}");
    }
    std::fs::write(dir.join("homelab-dr.yaml"), configuration("photos")).unwrap();
    // The gravest of two exit codes is not the greater number.
    for (of_backup, of_check, gravest) in
        [(0, 0, 0), (4, 5, 4), (5, 4, 4), (1, 3, 1), (3, 1, 1), (6, 5, 6), (0, 7, 7), (7, 4, 4), (1, 2, 1), (3, 2, 2)]
    {
        let program = format!(
            "homelab-dr() {{ case \"$*\" in *backup) return {of_backup} ;; *check) return {of_check} ;; esac; }}"
        );
        let (code, told) = do_it(format!("{program}\n{night}")).await;
        assert_eq!(code, Some(gravest), "{of_backup} and {of_check}: {told}");
    }
    // Not found, killed, or broken down: whatever it was, nothing is let go of.
    for code in [127, 137, 101] {
        let (ended, told) = do_it(format!("homelab-dr() {{ return {code}; }}\n{night}")).await;
        assert_eq!((ended, told.contains("+ run forget")), (Some(code), false), "{told}");
    }
    let (code, told) = do_it(night).await;
    assert_eq!(code, Some(0), "{told}");
    std::fs::remove_file(dir.join("homelab-dr.yaml")).unwrap();

    let elsewhere = with(
        indented(OPERATIONS, "## On another machine"),
        &[(bucket, &url), ("hdr1-…", &fingerprint), ("/srv/photos", "back")],
    );
    let (code, told) = do_it(elsewhere).await;
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(std::fs::read(dir.join("back/a.jpg")).unwrap(), b"a photo");
    assert!(!dir.join("back/b.tmp").exists());
}

#[test]
fn the_example_of_the_configuration_page_runs() {
    const PAGE: &str = include_str!("../../docs/configuration.md");
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    for name in ["storage/pvc-1/db", "photos/a.jpg", "photos/b.tmp", "photos/cache/c"] {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join(name), name).unwrap();
    }
    let made = "mine=$(homelab-dr keys new --out key 2>/dev/null); homelab-dr init --repo ./repo --recipient $mine --writer-key writer.key --json";
    let (done, told) = run(made, dir);
    assert!(done, "{told}");
    let fingerprint = told.split('"').find(|word| word.starts_with("hdr1-")).expect("init shows it");
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let text = with(
        blocks(PAGE, "yaml example").join("\n"),
        &[
            ("s3://bucket/home?endpoint=https://nas:9000&region=garage", &path("repo")),
            ("hdr1-7ur2-q3gs-2kbi-7xui-k5g6-q3yi-sjpn-65j4", fingerprint),
            ("/etc/homelab-dr/writer.key", &path("writer.key")),
            ("[pg_dump, --host, db, app]", "[echo, a dump]"),
            ("/var/lib/rancher/k3s/storage", &path("storage")),
            ("/srv/photos", &path("photos")),
            ("/mnt/elsewhere", &path("elsewhere")),
        ],
    );
    std::fs::write(dir.join("homelab-dr.yaml"), text).unwrap();
    let night = indented(PAGE, "With it, a night is four commands:");
    assert_eq!(night.lines().filter(|line| line.starts_with("homelab-dr ")).count(), 4, "{night}");
    let (done, told) =
        run(&format!("homelab-dr config check\n{night}\nhomelab-dr replicate --create\nhomelab-dr replicate"), dir);
    assert!(done, "{told}");
    let (done, told) =
        run("homelab-dr ls -R latest:photos; homelab-dr snapshots --repo elsewhere/ --identity key", dir);
    assert!(done && told.contains("a.jpg") && !told.contains("b.tmp") && !told.contains("cache/c"), "{told}");
}

/// Every command in backticks or in a block, with what stands for a person's own left as it is.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let parts: Vec<&str> =
            if line.starts_with("    ") { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for part in parts {
            for (at, _) in part.match_indices("homelab-dr ") {
                let begins = at == 0 || part[..at].ends_with([' ', '(']);
                let rest = part[at..].split([';', '|', '#', ')', '\\']).next().unwrap_or_default();
                let words: Vec<String> =
                    rest.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
                let is_command =
                    words.get(1).is_some_and(|word| word.starts_with(|c: char| c.is_ascii_lowercase() || c == '-'));
                if begins && is_command {
                    found.push(words);
                }
            }
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_is_one_that_the_program_takes() {
    let mut seen = 0;
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = std::fs::read_dir(home.join("docs")).unwrap().map(|page| page.unwrap().path());
    let runbooks = std::fs::read_dir(home.join("runbooks")).unwrap().map(|page| page.unwrap().path());
    for page in pages.chain(runbooks).chain([home.join("README.md")]) {
        // format.md names contexts of keys that begin with the program's name.
        if page.extension().is_none_or(|extension| extension != "md") || page.ends_with("format.md") {
            continue;
        }
        for command in commands(&std::fs::read_to_string(&page).unwrap()) {
            let refused = homelab_dr::cli::refusal(&command);
            assert_eq!(refused, None, "{}: {}", page.display(), command.join(" "));
            seen += 1;
        }
    }
    assert!(seen >= 20, "{seen} commands found");
    assert!(homelab_dr::cli::refusal(&["homelab-dr".to_owned(), "chek".to_owned()]).is_some());
}
