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

/// At a terminal: everything that is said there, once the question was answered by these keys.
fn at_a_terminal(home: &Home, line: &str, question: &str, keys: &[u8]) -> (i32, String) {
    let mut script = Command::new("script");
    let line = format!("{} {line}", env!("CARGO_BIN_EXE_homelab-dr"));
    script.args(["-qefc", &line, "/dev/null"]).current_dir(home.dir()).env("SHELL", "/bin/sh");
    script.env("HOMELAB_DR_RUNS", "runs").env("HOMELAB_DR_IDENTITY_FILE", "key").env("HOMELAB_DR_REPO", "repo");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is there");
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (mut said, mut piece, mut answered) = (String::new(), [0; 4096], false);
    while let Ok(read @ 1..) = output.read(&mut piece) {
        said.push_str(&String::from_utf8_lossy(&piece[..read]));
        if !answered && said.contains(question) {
            input.write_all(keys).unwrap();
            answered = true;
        }
    }
    (child.wait().unwrap().code().unwrap(), said)
}

#[test]
fn ctrl_c_at_a_question_ends_the_run_in_good_order() {
    let home = Home::new();
    let book =
        runbook(home.dir(), "", &["id: look\nmanual: {confirm: looks right}", "id: last\nnotify: {message: end}"]);
    let line = format!("recover {book} --yes --no-progress");
    let question = "type `looks right`, or `stop` to stop here:";
    let (code, said) = at_a_terminal(&home, &line, question, b"\x03");
    assert_eq!(code, 130, "{said}");
    let run = run_of(&said);
    assert!(said.contains(&format!("run {run} stopped; `homelab-dr recover --resume {run}` goes on")), "{said}");
    // The machine is free again, and the question is asked again.
    let line = format!("recover --resume {run} --no-progress");
    let (code, said) = at_a_terminal(&home, &line, question, b"stop\n");
    assert_eq!(code, 7, "{said}");
    let (code, said) = at_a_terminal(&home, &line, question, b"yes\nlooks right\n");
    assert!(code == 0 && said.contains("recovered by run"), "{said}");
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
        ran.out.contains("STILL PAUSED: Kustomization media/apps; `homelab-dr gitops resume` lets them go on"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("STILL AT ZERO, by step down: media/deployments.apps/web; `kubectl -n media scale deployments.apps/web --replicas=N`"), "{}", ran.out);
    let run_id = run_of(&ran.out);
    let ran = run(vec!["--resume".into(), run_id.clone(), "--json".into()]).await.exits(1);
    assert_eq!(ran.json()["left"].as_array().map(Vec::len), Some(2), "{}", ran.out);
    let ran = run(vec!["--resume".into(), run_id, "--confirm".into(), "stop".into()]).await.exits(3);
    assert!(!ran.out.contains("STILL"), "{}", ran.out);
    drop::<KubeServer>(server);
}
