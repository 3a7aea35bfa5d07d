//! Kinds of steps that no runbook of the library has, carried out for real: three ways to hold still, waits, a program in a container, a volume into a folder.

use super::{run_of, runbook};
use crate::support::kube::state::text;
use crate::volumes_backup::World;
use crate::volumes_backup::hooks::{answers, deployed, is_let_go, journals, until_held};

#[tokio::test(flavor = "multi_thread")]
async fn applications_hold_still_in_three_ways_and_go_on_when_their_step_is_over() {
    let world = World::new(", namespace: backup").await;
    deployed(&world, "local-path", &["data"]).await;
    let (folder, go) = (world.folder("media", "data"), world.lab.path("go"));
    let app = "media/deployments.apps/app";
    let steps = [
        "id: zero\nneeds: []\nquiesce: {claims: [media/data], until: still, scale: {}}".to_owned(),
        format!("id: still\nneeds: [zero]\nrun: {{argv: [sh, -c, 'while [ ! -e {} ]; do sleep 0.05; done']}}", go.display()),
        format!("id: back\nneeds: [still]\nwait: {{until: [{{ready: {{objects: [{app}]}}}}], every: 1s}}\ntimeout: 1m"),
        "id: moment\nneeds: [back]\nwait: {time: 1s}".to_owned(),
        format!("id: inside\nneeds: [moment]\nexec: {{object: {app}, argv: [touch, /data/by-exec]}}"),
        "id: words\nneeds: [inside]\nquiesce: {claims: [media/data], until: seen, command: {before: [touch, /data/held], after: [rm, /data/held]}}".to_owned(),
        format!("id: seen\nneeds: [words]\nrun: {{argv: [test, -e, {}]}}", folder.join("held").display()),
        "id: shake\nneeds: [seen]\nquiesce: {claims: [media/data], until: asked, handshake: {}}".to_owned(),
        "id: asked\nneeds: [shake]\nrun: {argv: [\"true\"]}".to_owned(),
    ];
    let book = runbook(&world.lab.path(""), "", &steps.each_ref().map(String::as_str));
    let answering = answers(&world);
    let args =
        ["recover", &book, "--yes", "--json", "--no-progress", "--kubeconfig", "kubeconfig", "--journals", "runs"];
    let (ran, ()) = tokio::join!(world.run(&args), async {
        until_held(&world).await;
        assert_eq!(journals(&world).len(), 1, "what it takes to let go is in the cluster");
        std::fs::write(&go, "").unwrap();
    });
    answering.abort();
    let document = ran.exits(0).json();
    let events: Vec<(String, String)> = document["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (text(&event["event"]).to_owned(), text(&event["step"]).to_owned()))
        .collect();
    let at = |event: &str, step: &str| {
        let is = |(what, of): &(String, String)| what == event && of == step;
        events.iter().position(is).unwrap_or_else(|| panic!("no {event} {step}: {events:?}"))
    };
    for (holds, until, next) in [("zero", "still", "back"), ("words", "seen", "shake"), ("shake", "asked", "asked")] {
        assert!(
            at("done", until) < at("letting-go", holds) && at("letting-go", holds) < at("let-go", holds),
            "{events:?}"
        );
        assert!(next == until || at("let-go", holds) < at("begun", next), "{events:?}");
    }
    assert!(!folder.join("held").exists() && folder.join("by-exec").exists());
    assert_eq!(std::fs::read_to_string(folder.join("starts")).unwrap(), "start\n".repeat(2), "it was stopped once");
    is_let_go(&world).await;

    // Nobody saw its end: it may go on in its container, and somebody is asked before it is begun beside itself.
    let slow = format!("id: slow\nneeds: []\nexec: {{object: {app}, argv: [sleep, '20']}}\ntimeout: 1s");
    let book = runbook(&world.lab.path(""), "", &[&slow]);
    let place = ["--yes", "--no-progress", "--kubeconfig", "kubeconfig", "--journals", "runs"];
    let ran = world.run(&[&["recover", &book][..], &place].concat()).await.exits(1);
    assert!(ran.err.contains("it was not done after 1s"), "{}", ran.err);
    let run = run_of(&ran.out);
    let ran = world.run(&[&["recover", "--resume", &run][..], &place].concat()).await.exits(8);
    assert!(ran.out.contains("--confirm slow") && !ran.err.contains("[slow] begins"), "{}{}", ran.out, ran.err);

    // The volume alone, into a folder that stands for a cluster: first there is none, then it is put right.
    world.backup(&[]).await.exits(0);
    let step = |in_place: &str| {
        format!("id: volume\nneeds: []\nrestore.volume: {{source: pvc/media/data{in_place}}}\nverify: [no-empty: {{}}]")
    };
    let into = async |step: &str, code: i32| {
        let book = runbook(&world.lab.path(""), "", &[step]);
        let args = ["recover", &book, "--yes", "--no-progress", "--into-folder", "out", "--journals", "runs"];
        world.run(&args).await.exits(code)
    };
    into(&step(""), 0).await;
    let out = world.lab.path("out/volumes/media/data");
    assert_eq!(std::fs::read_to_string(out.join("starts")).unwrap(), "start\n".repeat(2));
    std::fs::write(out.join("starts"), "spoilt").unwrap();
    std::fs::write(out.join("newer"), "newer").unwrap();
    let ran = into(&step(""), 1).await;
    assert!(ran.err.contains("is not empty"), "{}", ran.err);
    into(&step(", in_place: true"), 0).await;
    assert_eq!(std::fs::read_to_string(out.join("starts")).unwrap(), "start\n".repeat(2));
    assert!(!out.join("newer").exists());
}
