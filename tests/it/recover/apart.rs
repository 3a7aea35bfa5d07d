//! Two recoveries at once: on one folder with journals in different places, and on one cluster that another takes over.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{run_of, runbook};
use crate::cli::config::configured;
use crate::cli::{Home, Ran, program};
use crate::support::kube::server::{KubeServer, Options};

const LEASES: &str = "leases.coordination.k8s.io";
const NAME: &str = "homelab-dr-recover";

/// A step that says that it has begun, and waits until it may go on.
fn waits(home: &Home, name: &str) -> String {
    let (began, go) = (home.path(&format!("began-{name}")), home.path(&format!("go-{name}")));
    format!(
        "id: wait\nneeds: []\nrun: {{argv: [sh, -c, 'touch {}; while [ ! -e {} ]; do sleep 0.05; done']}}",
        began.display(),
        go.display()
    )
}

fn until(path: &Path) {
    super::until(&path.display().to_string(), || path.exists());
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

fn end(child: Child) -> Ran {
    Ran::of(&child.wait_with_output().expect("it ended"))
}

fn kill(child: Child) -> String {
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(9));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn restores(to: &Path, after: &str) -> String {
    format!(
        "id: files\nneeds: [{after}]\nrestore.files: {{source: files, target: {}}}\nverify: [no-empty: {{}}]",
        to.display()
    )
}

#[test]
fn a_folder_is_one_runs_whatever_has_the_journal() {
    let home = Home::new();
    home.backup();
    let command = |book: &str, journals: &str| {
        let mut command = home.command(&["recover", book, "--yes", "--no-progress", "--journals", journals]);
        command.env("HOMELAB_DR_IDENTITY_FILE", "key");
        command
    };
    let restore = |to: &str, more: &[&str]| {
        let args = ["restore", "latest:files", "--target", to, "--identity", "key"];
        Ran::of(&home.command(&[&args[..], more].concat()).output().unwrap())
    };
    let back = home.path("back");
    std::fs::create_dir(&back).unwrap();
    // What a step starts works under the lock of its run.
    let inner = format!(
        "id: inner\nneeds: []\nrun: {{argv: [{}, restore, 'latest:files', --target, {}, --repo, {}, --identity, {}]}}",
        env!("CARGO_BIN_EXE_homelab-dr"),
        back.join("inner").display(),
        home.path("repo").display(),
        home.path("key").display()
    );
    let wait = waits(&home, "x").replace("needs: []", "needs: [inner]");
    let book = runbook(home.dir(), "", &[&inner, &wait, &restores(&back, "wait")]);
    let first = start(command(&book, "runs"));
    until(&home.path("began-x"));
    assert!(back.join("inner/a/b/hello.txt").exists());
    let taken = format!("{}, or something in it, is being recovered by another run", back.display());
    let who = format!("process {} (homelab-dr recover), since 20", first.id());
    Ran::of(&command(&book, "others").output().unwrap()).exits(7).says(&[&taken, &who]);
    restore("back/../back", &[]).exits(7).says(&["is being recovered by another run", &who, "wait for it or end it"]);
    restore("back/new", &[]).exits(7).says(&["back, in which back/new lies,", &who]);
    restore(".", &["--dry-run"]).exits(0);
    let ran = restore(".", &["--json"]).exits(7);
    let error = ran.json();
    assert_eq!(error["exit"], 7, "{error}");
    assert!(error["error"].as_str().unwrap().contains(&who), "{error}");
    restore("beside", &[]).exits(0);
    std::fs::write(home.path("go-x"), "").unwrap();
    end(first).exits(0);
    assert!(!back.join("new").exists(), "nothing was made by who was refused");
    assert!(back.join("a/b/hello.txt").exists() && !home.path("others").exists());
    let names: Vec<PathBuf> =
        std::fs::read_dir(&back).unwrap().map(|entry| entry.unwrap().file_name().into()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("lock")), "{names:?}");

    // One that is not there yet is of the run that makes it: another one fails there, before it writes.
    let later = home.path("later");
    let of = |name: &str, steps: &[&str]| {
        let book = runbook(home.dir(), "", steps);
        std::fs::rename(home.path(&book), home.path(name)).unwrap();
    };
    let end_waits = waits(&home, "c").replace("id: wait\nneeds: []", "id: last\nneeds: [files]");
    of("a.md", &[&waits(&home, "a"), &restores(&later, "wait"), &end_waits]);
    of("b.md", &[&waits(&home, "b"), &restores(&later, "wait")]);
    let (first, second) = (start(command("a.md", "runs")), start(command("b.md", "others")));
    for (began, go) in [("began-a", "both"), ("began-b", "go-a"), ("began-c", "go-b")] {
        until(&home.path(began));
        std::fs::write(home.path(go), "").unwrap();
    }
    let ran = end(second).exits(1);
    assert!(ran.err.contains("[files] FAILED") && ran.err.contains("is being recovered by another run"), "{}", ran.err);
    std::fs::write(home.path("go-c"), "").unwrap();
    end(first).exits(0);
    let mut resumed = home.command(&["recover", "--resume", &run_of(&ran.out), "--journals", "others"]);
    Ran::of(&resumed.env("HOMELAB_DR_IDENTITY_FILE", "key").output().unwrap()).exits(0);
}

struct Stage {
    home: Home,
    server: KubeServer,
}

impl Stage {
    /// A cluster with a backup of its objects, and a runbook that waits in the middle.
    async fn new() -> (Self, String) {
        let server = KubeServer::start(Options::default()).await;
        server.make("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "media"}}));
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}});
        server.make("media", map);
        let home =
            configured("sources:\n  cluster: {resources: {kubeconfig: DIR/kubeconfig, volumes-elsewhere: true}}\n");
        std::fs::write(home.path("kubeconfig"), server.kubeconfig()).unwrap();
        let stage = Self { home, server };
        stage.run(&["backup"]).await.exits(0);
        let wait = waits(&stage.home, "x");
        let more = waits(&stage.home, "y").replace("id: wait\nneeds: []", "id: more\nneeds: [wait]");
        let next = "id: next\nneeds: [more]\ncheck: [{ready: {objects: [media/configmaps/one]}}]";
        let book = runbook(stage.home.dir(), "", &[&wait, &more, next]);
        (stage, book)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program();
        command.current_dir(self.home.dir()).args(args).env("HOMELAB_DR_RUNS", "runs");
        if args[0] != "backup" {
            command.env("HOMELAB_DR_IDENTITY_FILE", "key");
        }
        command
    }

    async fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        Ran::of(&tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap())
    }

    async fn begin(&self, args: &[&str], wait: &str) -> Child {
        let child = start(self.command(args));
        let began = self.home.path(&format!("began-{wait}"));
        tokio::task::spawn_blocking(move || until(&began)).await.unwrap();
        child
    }

    fn lease(&self) -> Option<Value> {
        self.server.object(LEASES, "default", NAME)
    }

    fn removes_the_lease(&self) {
        let lease = self.lease().unwrap();
        let options = crate::support::kube::ops::delete::DeleteOptions::default();
        self.server.shared.with(|state| state.remove("kubectl", &lease, &options));
    }

    fn goes(&self, on: bool) {
        let go = self.home.path("go-x");
        if on { std::fs::write(go, "").unwrap() } else { std::fs::remove_file(go).unwrap() }
    }
}

async fn ended(child: Child) -> Ran {
    tokio::task::spawn_blocking(move || end(child)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_one_runs_until_it_ends_dies_or_loses_it() {
    let (stage, book) = Stage::new().await;
    let place = ["--kubeconfig", "kubeconfig", "--yes", "--no-progress"];
    let recover = [&["recover", book.as_str()][..], &place].concat();
    let restore =
        [&["restore", "latest:cluster", "--cluster", "--include", "media/configmaps/one"][..], &place].concat();
    let first = stage.begin(&recover, "x").await;
    stage.server.shared.with(|state| {
        let map = state.object("configmaps", "media", "one").unwrap();
        state.remove("kubectl", &map, &crate::support::kube::ops::delete::DeleteOptions::default());
    });
    // It lives: whoever else comes sees it renewed, or is told that by the test in its place.
    let shared = stage.server.shared.clone();
    let renews = tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            shared.with(|state| {
                let Some(lease) = state.object(LEASES, "default", NAME) else { return };
                let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
                state.edit(&lease, |lease| lease["spec"]["renewTime"] = json!(now));
            });
        }
    });
    let who = format!("(process {}, ", first.id());
    stage.run(&restore).await.exits(7).says(&["is being recovered by another run: run ", &who, ", since 20"]);
    stage.run(&[&recover[..], &["--journals", "others"]].concat()).await.exits(7).says(&[&who]);
    renews.abort();
    assert!(stage.server.object("configmaps", "media", "one").is_none(), "nothing was restored");

    // Killed on this machine it is known to be dead, and nobody waits for that.
    let run = run_of(&tokio::task::spawn_blocking(move || kill(first)).await.unwrap());
    assert!(stage.lease().is_some(), "its lease is left");
    let ran = stage.run(&restore).await.exits(0);
    assert!(!ran.err.contains("waiting up to half a minute"), "{}", ran.err);
    assert!(stage.server.object("configmaps", "media", "one").is_some());
    assert!(stage.lease().is_none(), "a restore gives it free");

    // While it slept, another has taken the cluster: the step that was under way ends, and no other begins.
    stage.goes(true);
    let folder = stage.home.path("runs").join(&run);
    let outlived = move || !homelab_dr::runs::hands::outlived::all(&folder).is_empty();
    tokio::task::spawn_blocking(move || super::until("the end of the program", || !outlived())).await.unwrap();
    stage.goes(false);
    std::fs::remove_file(stage.home.path("began-x")).unwrap();
    let resume =
        ["recover", "--resume", run.as_str(), "--confirm", "wait", "--kubeconfig", "kubeconfig", "--no-progress"];
    let second = stage.begin(&resume, "x").await;
    let other = "run 00000000 on other";
    stage.server.shared.with(|state| {
        let lease = state.object(LEASES, "default", NAME).unwrap();
        state.edit(&lease, |lease| {
            lease["spec"]["holderIdentity"] = json!(other);
            lease["spec"]["acquireTime"] = json!("2026-01-01T00:00:00.000000Z");
            lease["metadata"]["annotations"] = json!({});
        });
    });
    stage.goes(true);
    let ran = ended(second).await.exits(7);
    let told = format!("taken over by {other}, since 2026-01-01T00:00:00Z");
    assert!(ran.err.contains(&told), "{}", ran.err);
    assert!(ran.out.contains("has taken the cluster over") && ran.out.contains("--resume"), "{}", ran.out);
    let journal = std::fs::read_to_string(stage.home.path("runs").join(&run).join("journal.jsonl")).unwrap();
    assert!(journal.contains(&told) && !journal.contains("\"step\":\"more\""), "{journal}");
    assert_eq!(stage.lease().unwrap()["spec"]["holderIdentity"], other, "what is another's stays");
    stage.removes_the_lease();

    // The other one came and is gone again: nothing that it has left says so, but that our own Lease is not there.
    // Whether what was under way came to its end before that was seen is the clock's affair.
    let settled = ["--confirm", "wait", "--confirm", "more", "--kubeconfig", "kubeconfig", "--no-progress"];
    let resume = &[&resume[..3], &settled[..]].concat();
    let third = stage.begin(resume, "y").await;
    stage.removes_the_lease();
    std::fs::write(stage.home.path("go-y"), "").unwrap();
    let ran = ended(third).await.exits(7);
    let told = "taken over by somebody who has ended by now (the Lease of this run is gone)";
    assert!(ran.err.contains(told) && ran.out.contains("--resume"), "{}{}", ran.out, ran.err);
    let journal = std::fs::read_to_string(stage.home.path("runs").join(&run).join("journal.jsonl")).unwrap();
    assert!(journal.contains(told) && !journal.contains("\"step\":\"next\""), "{journal}");
    assert!(stage.lease().is_none(), "it is not taken back unseen");
    stage.run(resume).await.exits(0);
}
