//! `homelab-dr release`.

use homelab_dr::base::clock::SystemClock;
use homelab_dr::hooks::scale::{begin, plan};

use super::*;
use crate::cli::{Ran, program};

async fn run(folder: &std::path::Path, args: &[&str]) -> Ran {
    let mut command = program();
    command.current_dir(folder).arg("release").args(args).args(["--kubeconfig", "kubeconfig"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    Ran::of(&output.expect("it runs"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_run_left_is_listed_asked_about_and_released() {
    let server = database().await;
    let (api, before) = (api(&server).await, all(&server));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).unwrap();
    let nothing = run(folder.path(), &[]).await.exits(0);
    assert!(nothing.out.contains("nothing is held by any run\n"), "{}", nothing.out);
    run(folder.path(), &["--run", "nobody"]).await.exits(2).says(&["no run nobody has left anything"]);

    let (clock, cancel) = (SystemClock, Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let made = plan(&api, "media", &["data-db-0".to_owned()]).await.unwrap();
    let mut held = Journal::new("homelab-dr", RUN, "lap\x1btop", NOW);
    begin(&acting, &made, &mut held).await.unwrap();
    let during = all(&server);
    let alive = run(folder.path(), &["--yes"]).await.exits(0);
    assert!(alive.err.contains("run 0badcafe of lap\\x1btop may be alive: left alone"), "{}", alive.err);
    assert_eq!(all(&server), during);

    // The machine whose clock said so was years behind, or it is long ago.
    let old = Time(NOW.0 - 400 * 86_400_000);
    held.renew(&api, old).await.unwrap();
    let shown = run(folder.path(), &["--plan"]).await.exits(0);
    for part in [
        "run 0badcafe of lap\\x1btop, last seen 2025-09-27 03:00, journal in homelab-dr\n",
        "\n  release StatefulSet media/db\n",
    ] {
        assert!(shown.out.contains(part), "{part:?}: {}", shown.out);
    }
    run(folder.path(), &[]).await.exits(2).says(&["needs a confirmation"]);
    assert_eq!(all(&server), during, "nothing is released yet");
    let document = run(folder.path(), &["--yes", "--json"]).await.exits(0).json();
    let outcomes: Vec<&Value> =
        document["released"][0]["rows"].as_array().unwrap().iter().map(|row| &row["outcome"]).collect();
    assert_eq!(outcomes, ["done"; 4]);
    ready(&server, "db", 2).await;
    assert_eq!(all(&server), before);
    assert_eq!(journals(&server), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_understood_is_told_and_one_that_may_live_is_released_by_name() {
    let server = database().await;
    let (api, before) = (api(&server).await, all(&server));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kubeconfig"), server.kubeconfig()).unwrap();
    let labels = json!({"homelab-dr.io/kind": "hooks", "homelab-dr.io/run": "x"});
    for (name, text) in [
        ("homelab-dr-hooks-x", "{"),
        ("homelab-dr-hooks-y", r#"{"version":9,"run":"y","host":"h","renewed":"x","entries":[]}"#),
    ] {
        server.make("homelab-dr", json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {"journal": text},
        }));
    }
    let (clock, cancel) = (SystemClock, Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let made = plan(&api, "media", &["data-db-0".to_owned()]).await.unwrap();
    begin(&acting, &made, &mut journal()).await.unwrap();
    let ran = run(folder.path(), &["--run", RUN, "--yes"]).await.exits(3);
    assert!(ran.out.contains("run 0badcafe: 4 things released\n"), "{}", ran.out);
    assert!(
        ran.err.contains("homelab-dr-hooks-x cannot be understood") && ran.err.contains("version 9"),
        "{}",
        ran.err
    );
    ready(&server, "db", 2).await;
    assert_eq!(all(&server), before);
}
