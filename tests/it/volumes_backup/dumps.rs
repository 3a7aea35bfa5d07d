//! Dumps that are made in the container of the server: whole or not at all.

use std::time::Duration;

use serde_json::{Value, json};

use super::databases::postgres;
use super::preflight::{block, has, told};
use super::{World, row, row_of};
use crate::cli::Ran;
use crate::support::kube::server::KubeServer;

const PAGE: &str = include_str!("../../../docs/live-databases.md");
const HERE: &str = "namespace: media, labels: {app: db}";

/// The configuration with a program in a container, whose dump stands for the server of the claim.
fn configure(world: &World, argv: &[&str], place: &str, more: &str) {
    let dumps = ", postgres-dump: [{claims: ['media/*'], covered-by: pg/app}]";
    world.configure(dumps);
    let path = world.lab.path("homelab-dr.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let kubeconfig = world.lab.path("kubeconfig");
    let (argv, kubeconfig) = (json!(argv), kubeconfig.display());
    let source = format!(
        "sources:\n  pg/app: {{command: {{argv: {argv}, file: app.sql{more}, in: {{kubeconfig: '{kubeconfig}', {place}}}}}}}\n"
    );
    std::fs::write(path, text.replace("sources:\n", &source)).unwrap();
}

/// A database with its volume.
async fn world() -> World {
    let world = World::new("").await;
    world.application("media", "data", "true").await;
    postgres(&world.folder("media", "data"));
    label(&world, "app-data", json!({"app": "db"}));
    world
}

fn label(world: &World, pod: &str, labels: Value) {
    world.edit("pods", "media", pod, |pod| pod["metadata"]["labels"] = labels);
}

async fn is_ready(world: &World, pod: &str) {
    let ready = |state: &crate::support::kube::state::State| {
        let pod = state.object("pods", "media", pod);
        pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["ready"] == true)
    };
    world.kube.until("it is ready", ready).await;
}

async fn dump(world: &World) -> Ran {
    world.backup(&["--source", "pg/app"]).await
}

async fn dry_run(world: &World) -> Ran {
    world.backup(&["--source", "pg/app", "--dry-run"]).await
}

/// What is said of a wrong configuration.
async fn checked(world: &World) -> String {
    world.run(&["config", "check"]).await.exits(2).out
}

/// Bytes that a shell writes, many more than anybody holds in memory.
const MUCH: &str = "seq 1 1500000; echo of $HOSTNAME >&2";

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_made_beside_its_server_is_whole_and_stands_for_its_volume() {
    let world = world().await;
    let config = crate::cluster::capture::kubeconfig_of(&world.kube, {
        let mut role = block(PAGE, "```yaml rights\n");
        role["kind"] = "ClusterRole".into();
        role
    });
    let (config, admin) = (config.await, std::fs::read_to_string(world.lab.path("kubeconfig")).unwrap());

    // With the documented rights and no more.
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    configure(&world, &["sh", "-c", MUCH], &format!("{HERE}, container: app"), "");
    let looked = world.run(&["preflight", "backup", "--json", "--source", "pg/app"]).await.exits(0).json();
    let bad: Vec<String> =
        told(&looked).into_iter().filter(|finding| !finding.contains("could not be looked at")).collect();
    assert_eq!(bad, Vec::<String>::new(), "webhooks and namespaces it need not see");
    let said = looked["findings"].to_string();
    assert!(said.contains("its program will run in media/app-data, container app"), "{said}");
    dump(&world).await.exits(0);
    let stored = world.run(&["cat", "latest:pg/app:app.sql"]).await.exits(0).out;
    let expected: usize = (1..=1_500_000_usize).map(|number| number.to_string().len() + 1).sum();
    assert!(stored.len() == expected && stored.ends_with("\n1499999\n1500000\n"), "{}", stored.len());

    // It stands for the volume, and the record says so.
    std::fs::write(world.lab.path("kubeconfig"), admin).unwrap();
    let all = world.backup(&["--json"]).await.exits(0).json();
    assert_eq!(
        (&row_of(&all, "pg/app")["kind"], &row(&all, "media/data")["problems"]),
        (&json!("command"), &json!([]))
    );
    let entries = world.run(&["ls", "-R", "--json", "latest:pvc/media/data"]).await.exits(0).out;
    assert!(entries.contains(r#""live":"postgres-left-out","dump":"pg/app""#), "{entries}");

    // The pod's name will do as well, and its only container.
    configure(&world, &["echo", "by name"], "namespace: media, pod: app-data", "");
    dump(&world).await.exits(0);
    assert_eq!(world.run(&["cat", "latest:pg/app:app.sql"]).await.exits(0).out, "by name\n");
    world.is_clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_to_have_ended_well_leaves_no_snapshot() {
    let world = world().await;
    let fails = async |argv: &[&str], place: &str, more: &str, says: &[&str]| {
        configure(&world, argv, place, more);
        dump(&world).await.exits(1).says(says);
        assert_eq!(world.snapshots().await, Vec::<String>::new(), "{argv:?} {place}");
    };
    let shell = |script| ["sh", "-c", script];
    fails(&shell("seq 1 100000; echo no such table >&2; exit 3"), HERE, "", &["exit code 3", "| no such table"]).await;
    fails(&["true"], HERE, "", &["wrote nothing", "an empty dump is no backup"]).await;
    fails(&shell("echo half; kill -9 $$"), HERE, "", &["exit code 137"]).await;
    fails(
        &shell("echo half; sleep 600"),
        HERE,
        ", timeout: 2s",
        &["or its output not stored, after 2s; it was let go of"],
    )
    .await;
    for (program, why) in [("/no/such/program", "no such file or directory"), ("pg_dumpp", "not found in $PATH")] {
        fails(&[program], HERE, "", &["with app=db cannot run", "nothing was begun", why, "the first word of argv"])
            .await;
    }
    fails(&["true"], &format!("{HERE}, container: sidecar"), "", &["no container sidecar, but app"]).await;
    fails(&["true"], "namespace: media, pod: db-0", "", &["there is no pod media/db-0"]).await;
    fails(&["true"], "namespace: media, labels: {app: db, role: primary}", "", &["there is none", "--show-labels"])
        .await;
    fails(&["true"], "namespace: nowhere, labels: {app: db}", "", &["there is none"]).await;

    // A second one that has the labels: nobody knows which has the data.
    let mut twin = super::application("data", "sleep 600");
    (twin["metadata"]["name"], twin["metadata"]["labels"]) = ("twin".into(), json!({"app": "db"}));
    world.kube.make("media", twin);
    is_ready(&world, "twin").await;
    fails(&["echo", "x"], HERE, "", &["2 of them run, app-data, twin among them"]).await;
    label(&world, "twin", json!({}));

    // Not whole, as it says itself.
    let text = ", ends-with: dump complete";
    fails(&shell("echo half"), HERE, text, &["the end of what it wrote has no \"dump complete\"", "not whole"]).await;

    // The way there is lost in the middle: that to the API server, and that from there to the node, of which some of them say that it went well.
    for (number, lose) in [KubeServer::restart, KubeServer::restart_kubelet].into_iter().enumerate() {
        let script = format!("echo half; touch /data/begun{number}; sleep 600");
        configure(&world, &["sh", "-c", &script], HERE, "");
        let child = world.begin(&["--source", "pg/app"]);
        let begun = world.folder("media", "data").join(format!("begun{number}"));
        for _ in 0..2400 {
            if begun.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        assert!(begun.exists(), "it runs");
        lose(&world.kube);
        world
            .end(child)
            .await
            .exits(1)
            .says(&["sh in a pod of media with app=db is not known to have ended well", "the connection broke"]);
        assert_eq!(world.snapshots().await, Vec::<String>::new());
    }

    configure(&world, &shell("echo all; echo -- dump complete"), HERE, text);
    dump(&world).await.exits(0);

    // What it cannot do is told before.
    configure(&world, &["true"], "namespace: media, labels: {app: gone}", "");
    let looked = world.run(&["preflight", "backup", "--json", "--source", "pg/app"]).await.exits(7).json();
    has(&told(&looked), "blocks commands pg/app: no pod is there", &["there is none", "--show-labels"]);
    dry_run(&world).await.exits(1).says(&["true in a pod of media with app=gone cannot run: there is none"]);
    configure(&world, &["true"], &format!("{HERE}, container: sidecar"), "");
    dry_run(&world).await.exits(1).says(&["no container sidecar, but app"]);
    let looked = world.run(&["preflight", "backup", "--json", "--source", "pg/app"]).await.exits(7).json();
    has(
        &told(&looked),
        "blocks commands pg/app: no container is there",
        &["it has no container sidecar, but app", "name one of them"],
    );
    configure(&world, &["false"], HERE, "");
    assert!(dry_run(&world).await.exits(0).out.contains("would run"));
    let config = world.lab.path("kubeconfig");
    let admin = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, admin.replace("\"token\":\"", "\"token\":\"no")).unwrap();
    dry_run(&world).await.exits(1).says(&["the credentials of the kubeconfig are wrong"]);
    std::fs::write(&config, admin).unwrap();
    configure(&world, &["true"], "namespace: media, labels: {}", "");
    let told = checked(&world).await;
    assert!(
        told.contains("sources.pg/app.command.in.labels is empty") && told.contains("at least one label"),
        "{told}"
    );
    configure(&world, &["true"], "namespace: media", "");
    let told = checked(&world).await;
    assert!(told.contains("give it one of: pod, labels"), "{told}");
    world.is_clean().await;
}
