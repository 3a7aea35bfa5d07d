//! What a person sees and is asked: plans with values, questions at a terminal, what is left at the end.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde_json::json;

use super::{run_of, runbook};
use crate::cli::{Home, Ran};
use crate::gitops::world::{define, definition};
use crate::support::kube::server::KubeServer;

fn recover(home: &Home, args: &[&str]) -> Ran {
    let mut command = home.command(&[&["recover"][..], args].concat());
    command.env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_RUNS", "runs");
    Ran::of(&command.output().expect("it runs"))
}

#[test]
fn a_plan_has_values_and_no_variables() {
    let home = Home::new();
    home.backup();
    let front = "parameters:\n  to: {type: path, description: Where to., example: /tmp/there}\n  least: {type: int, description: How many., default: 3}\n";
    let step = "id: files\nneeds: []\nrestore.files: {source: files, target: \"${to}/${run}\"}\nverify: [no-empty: {at_least: \"${least}\"}]";
    let book = runbook(home.dir(), front, &[step]);
    let ran = recover(&home, &[&book, "--set", "to=/tmp/x\u{202e}y", "--plan"]).exits(0);
    assert!(!ran.out.contains("${"), "{}", ran.out);
    assert!(ran.out.contains(&format!("/{}", run_of(&ran.out))) && ran.out.contains("at_least: 3"), "{}", ran.out);
    assert!(!ran.out.contains('\u{202e}') && ran.out.contains("/tmp/x\\xe2\\x80\\xaey"), "{}", ran.out);
}

/// At a terminal: everything that is said there. Each text is waited for behind the one before it, and answered by its keys, or by a file
/// that is made if those begin with a zero.
fn at_a_terminal(home: &Home, line: &str, exchange: &[(&str, &[u8])]) -> (i32, String) {
    let mut script = Command::new("script");
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_homelab-dr"));
    script.args(["-qefc", &line, "/dev/null"]).current_dir(home.dir()).env("SHELL", "/bin/sh");
    script.env("HOMELAB_DR_RUNS", "runs").env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_REPO", "repo");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is there");
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut said, mut piece, mut seen, mut waits) = (String::new(), [0; 4096], 0, exchange.iter().peekable());
    while let Ok(read @ 1..) = output.read(&mut piece) {
        said.push_str(&String::from_utf8_lossy(&piece[..read]));
        while let Some((text, keys)) = waits.peek() {
            let Some(at) = said[seen..].find(text) else { break };
            seen += at + text.len();
            match keys.split_first() {
                Some((0, file)) => std::fs::write(home.path(std::str::from_utf8(file).unwrap()), "").unwrap(),
                _ => input.write_all(keys).unwrap(),
            }
            waits.next();
        }
    }
    assert!(waits.peek().is_none(), "it never came to {:?}: {said}", waits.peek());
    (child.wait().unwrap().code().unwrap(), said)
}

#[test]
fn ctrl_c_at_a_question_ends_the_run_in_good_order() {
    let home = Home::new();
    let book =
        runbook(home.dir(), "", &["id: look\nmanual: {confirm: looks right}", "id: last\nnotify: {message: end}"]);
    let line = format!("recover {book} --yes --no-progress");
    let question = "type `looks right`, or `stop` to stop here:";
    let (code, said) = at_a_terminal(&home, &line, &[(question, b"\x03")]);
    assert_eq!(code, 130, "{said}");
    let run = run_of(&said);
    assert!(said.contains(&format!("run {run} stopped; `homelab-dr recover --resume {run}` goes on")), "{said}");
    // The machine is free again, and the question is asked again.
    let line = format!("recover --resume {run} --no-progress");
    let (code, said) = at_a_terminal(&home, &line, &[(question, b"stop\n")]);
    assert_eq!(code, 7, "{said}");
    let (code, said) = at_a_terminal(&home, &line, &[(question, b"yes\n"), (question, b"looks right\n")]);
    assert!(code == 0 && said.contains("recovered by run"), "{said}");
}

#[test]
fn who_leaves_at_once_finds_no_line_of_progress_on_the_screen() {
    let home = Home::new();
    let go = home.path("go");
    let step = format!(
        "id: wait\nneeds: []\nrun: {{argv: [sh, -c, 'trap \"\" TERM; while [ ! -e {} ]; do sleep 0.05; done']}}",
        go.display()
    );
    let book = runbook(home.dir(), "", &[&step]);
    let exchange: [(&str, &[u8]); 3] =
        [("[wait] begins", b""), ("running a program", b"\x03"), ("once more stops at once", b"\x03")];
    let (code, said) = at_a_terminal(&home, &format!("recover {book} --yes"), &exchange);
    std::fs::write(&go, "").unwrap();
    assert_eq!(code, 130, "{said}");
    let (_, behind) = said.rsplit_once("running a program").expect("it was shown");
    assert!(behind.contains("\u{1b}[2K"), "the line was wiped: {behind:?}");
    let folder = home.path("runs").join(run_of(&said));
    super::until("the end of the program", || homelab_dr::runs::hands::outlived::all(&folder).is_empty());
}

#[test]
fn what_replaces_something_is_shown_and_has_to_be_typed() {
    let home = Home::new();
    home.backup();
    let back = home.path("back");
    std::fs::create_dir(&back).unwrap();
    std::fs::write(back.join("newer"), "newer").unwrap();
    let look = "id: look\nneeds: []\nmanual: {confirm: looks right}";
    let files = format!(
        "id: files\nneeds: [look]\nrestore.files: {{source: files, target: {}, delete: true}}\nverify: [no-empty: {{}}]",
        back.display()
    );
    let book = runbook(home.dir(), "", &[look, &files]);
    let line = format!("recover {book} --no-progress");
    let (begin, manual, replace): (&str, &str, &str) =
        ("Carry it out? [y/N]", "type `looks right`, or `stop` to stop here:", "type `files`, or `stop` to stop here:");
    let (code, said) = at_a_terminal(&home, &line, &[(begin, b"n\n")]);
    assert!(code == 7 && said.contains("nothing was changed") && !home.path("runs").exists(), "{said}");
    // What a person would do is shown at the question, and what is about to be lost.
    let prose = "## 0. A step\r\nWhat a person would do.\r\n";
    let exchange: [(&str, &[u8]); 6] = [
        (begin, b"y\n"),
        ("What a person would do.", b""),
        (manual, b"looks right\n"),
        ("This step replaces or removes what is there.", b""),
        (replace, b"y\n"),
        (replace, b"stop\n"),
    ];
    let (code, said) = at_a_terminal(&home, &line, &exchange);
    assert_eq!(code, 7, "{said}");
    assert!(said.contains(prose) && said.contains("\r\nfrom snapshot "), "{said}");
    assert!(said.contains("\r\nrestore.files source: files, target: ") && !said.contains("\\x"), "{said}");
    assert!(back.join("newer").exists() && !back.join("a").exists(), "nothing was done without it");
    let run = run_of(&said);
    let line = format!("recover --resume {run} --no-progress");
    let (code, said) = at_a_terminal(&home, &line, &[(replace, b"files\n")]);
    assert!(code == 0 && !said.contains("looks right"), "what was agreed to is not asked again: {said}");
    assert!(!back.join("newer").exists() && back.join("a/b/hello.txt").exists());
    let journal = std::fs::read_to_string(home.path("runs").join(&run).join("journal.jsonl")).unwrap();
    for typed in [
        "\"question\":\"manual\",\"said\":\"looks right\"",
        "\"question\":\"destructive\",\"said\":\"files\"",
        "\"said\":\"stop\"",
    ] {
        assert!(journal.contains(typed), "{typed}: {journal}");
    }
}

#[test]
fn steps_that_are_under_way_are_shown_with_what_comes_next_until_somebody_is_asked() {
    let home = Home::new();
    let wait = |id: &str| {
        let go = home.path(id);
        format!("id: {id}\nneeds: []\nrun: {{argv: [sh, -c, 'while [ ! -e {} ]; do sleep 0.05; done']}}", go.display())
    };
    let steps = [
        &wait("left"),
        &wait("right"),
        "id: look\nneeds: [left, right]\nmanual: {}",
        "id: last\nnotify: {message: end}",
    ];
    let book = runbook(home.dir(), "parallel: 2\n", &steps);
    let exchange: [(&str, &[u8]); 8] = [
        ("[left] ", b""),
        ("running a program", b""),
        ("[right] ", b""),
        ("running a program", b""),
        ("0 of 4 steps over; next: look", b"\0left"),
        ("[left] done", b""),
        ("1 of 4 steps over; next: look", b"\0right"),
        ("type `done`, or `stop` to stop here:", b"done\n"),
    ];
    let (code, said) = at_a_terminal(&home, &format!("recover {book} --yes"), &exchange);
    assert_eq!(code, 0, "{said}");
    let question = said.split("type `done`").nth(1).unwrap();
    let (answer, _) = question.split_once("[look] begins").unwrap();
    assert!(!answer.contains("steps over"), "nothing moves while somebody types: {answer:?}");
}

#[test]
fn a_runbook_that_promises_too_much_can_be_read_and_is_not_right() {
    let home = Home::new();
    let book = runbook(home.dir(), "objectives: {rto: 5m}\n", &["id: look\nmanual: {}"]);
    let ran = home.run(&["runbook", "show", &book]).exits(0);
    assert!(ran.out.contains("[look] manual"), "{}", ran.out);
    assert!(ran.err.contains("warning:") && ran.err.contains("add up to 10m, and rto is 5m"), "{}", ran.err);
    home.run(&["runbook", "lint", &book]).exits(2);
    recover(&home, &[&book, "--yes"]).exits(2).says(&["has 1 error", "rto is 5m"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_paused_and_at_zero_is_told_at_the_end() {
    let server = crate::hooks::bare().await;
    let suspend = json!({"suspend": {"type": "boolean"}});
    define(&server, definition("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", &suspend)).await;
    let flux = |name: &str| json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": name}, "spec": {}});
    server.make("media", flux("apps"));
    let mut web = crate::hooks::workload("Deployment", "web", None);
    web["spec"]["template"]["spec"]["containers"][0] =
        json!({"name": "c", "image": "web:1", "command": ["sleep", "600"]});
    server.make("media", web);
    let home = Home::new();
    std::fs::write(home.path("kubeconfig"), server.kubeconfig()).unwrap();
    let pause = "id: pause\nneeds: []\ngitops.pause: {}";
    let down = "id: down\nscale: {object: media/deployments.apps/web, replicas: 0}\nverify: [condition: {object: media/deployments.apps/web, type: Available}]";
    let stop = "id: stop\nrun: {argv: [\"false\"]}";
    let up = "id: up\nscale: {object: media/deployments.apps/web, replicas: 1}";
    let book = runbook(home.dir(), "", &[pause, down, stop, up, "id: resume\ngitops.resume: {}"]);
    let place = ["--kubeconfig", "kubeconfig", "--yes", "--no-progress"];
    let run = |args: Vec<String>| {
        let mut command =
            home.command(&[&["recover"][..], &args.iter().map(String::as_str).collect::<Vec<_>>(), &place].concat());
        command.env("HOMELAB_DR_RUNS", "runs");
        async move { Ran::of(&tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()) }
    };
    let ran = run(vec![book.clone()]).await.exits(1);
    assert!(
        ran.out.contains(
            "STILL PAUSED: Kustomization media/apps; `homelab-dr gitops resume --kubeconfig kubeconfig` lets them go on"
        ),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("STILL AT ZERO, by step down: media/deployments.apps/web; `kubectl --kubeconfig kubeconfig -n media scale deployments.apps/web --replicas=N`"), "{}", ran.out);
    let run_id = run_of(&ran.out);
    let ran = run(vec!["--resume".into(), run_id.clone(), "--json".into()]).await.exits(1);
    assert_eq!(ran.json()["left"].as_array().map(Vec::len), Some(2), "{}", ran.out);
    let ran = run(vec!["--resume".into(), run_id, "--confirm".into(), "stop".into()]).await.exits(3);
    assert!(!ran.out.contains("STILL"), "{}", ran.out);
    drop::<KubeServer>(server);
}
