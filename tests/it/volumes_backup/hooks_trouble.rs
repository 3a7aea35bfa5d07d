//! What goes wrong while an application stands still: afterwards it goes on, whatever it was.

use std::time::Duration;

use homelab_dr::backup::volumes::{Limits, MoverError, Outcome};
use homelab_dr::hooks::HookError;
use serde_json::{Value, json};

use super::hooks::{
    APP, Asked, CSI, SCALE, answers, command, deployed, deployed_of, is_let_go, journals, nothing_is_held, pods_of_app,
    until_back, until_held, until_let_go,
};
use super::trouble::{block, within};
use super::{World, claim_of, is_ours, row};
use crate::support::kube::faults::Failure;
use crate::support::kube::state::{State, text};

const LOCAL: &str = "local-path";
const DEPLOYMENTS: &str = "deployments.apps";

/// A backup that has the application at zero and a mover that waits for a node.
async fn held(world: &World) -> std::process::Child {
    world.kube.faults(|faults| faults.hold_pods("media/homelab-dr-"));
    let backup = world.begin(&[]);
    until_held(world).await;
    world.kube.until("its mover is made", |state| state.objects("pods").iter().any(|pod| is_ours(pod))).await;
    backup
}

/// The run that wrote the journals said an hour ago for the last time that it lives.
pub(crate) fn age(world: &World) {
    for journal in journals(world) {
        world.kube.shared.with(|state| {
            state.edit(&journal, |map| {
                let mut fields: Value = serde_json::from_str(text(&map["data"]["journal"])).unwrap();
                fields["renewed"] = "2026-01-01T00:00:00Z".into();
                map["data"]["journal"] = fields.to_string().into();
            });
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_backup_held_the_next_one_lets_go() {
    let world = World::new(SCALE).await;
    deployed(&world, LOCAL, &["data"]).await;
    let mut backup = held(&world).await;
    backup.kill().unwrap();
    backup.wait().unwrap();
    world.kube.faults(|faults| faults.release_pods("media/homelab-dr-"));
    assert_eq!(journals(&world).len(), 1);
    // As long as that run may live nobody touches what it holds; the claim is read as what nobody uses.
    let ran = world.backup(&["--json"]).await.exits(3);
    let told = ran.json();
    assert_eq!(row(&told, "media/data")["kind"], "pvc, live, unused", "{told}");
    // But it is told, with what lets it go.
    let run = text(&journals(&world)[0]["metadata"]["labels"]["homelab-dr.io/run"]).to_owned();
    let held = told["sources"].as_array().unwrap().iter().find_map(|row| row["still_held"][0].as_str());
    for said in [ran.err.as_str(), held.expect("what is held")] {
        assert!(said.contains("Deployment media/app"), "{said}");
        let kubeconfig = world.lab.path("kubeconfig");
        let command = format!("`homelab-dr release --run {run} --kubeconfig {}`", kubeconfig.display());
        assert!(said.contains(&command), "{said}");
    }
    assert!(ran.err.contains("STILL HELD: run "), "{}", ran.err);
    assert_eq!((world.kube.shared.with(|state| pods_of_app(state)), journals(&world).len()), (0, 1));
    age(&world);
    let ran = world.backup(&["--json"]).await.exits(0);
    assert!(ran.err.contains("an earlier run was cut off and left Deployment media/app held: released"), "{}", ran.err);
    assert_eq!(
        row(&ran.json(), "media/data")["kind"],
        "pvc, live, scaled to zero",
        "it was there again, and held anew"
    );
    until_back(&world, DEPLOYMENTS).await;
    assert_eq!(journals(&world).len(), 0);
}

/// Killed with a command's work done, and killed while somebody holds still who was asked to: `release` undoes both by what is written down.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_backup_held_by_a_command_or_a_handshake_is_released() {
    let world = World::new(&command("media/*", "[touch, /data/held]", "[rm, /data/held]", "")).await;
    deployed(&world, LOCAL, &["data"]).await;
    let mark = world.folder("media", "data").join("held");
    let claim = || world.kube.object("persistentvolumeclaims", "media", "data").unwrap();
    let asked_of = |claim: &Value| claim["metadata"]["annotations"]["homelab-dr.io/quiesce"].clone();
    world.kube.faults(|faults| faults.hold_pods("media/homelab-dr-"));
    // Its mover waits for a node: what is held is held, and nothing is read yet.
    let killed = async |movers: usize| {
        let mut backup = world.begin(&[]);
        let made = move |state: &State| state.objects("pods").iter().filter(|pod| is_ours(pod)).count() == movers;
        world.kube.until("its mover is made", made).await;
        backup.kill().unwrap();
        backup.wait().unwrap();
        assert_eq!(journals(&world).len(), 1);
        text(&journals(&world)[0]["metadata"]["labels"]["homelab-dr.io/run"]).to_owned()
    };
    let release = async |run: &str| {
        let ran = world.run(&["release", "--run", run, "--yes", "--kubeconfig", "kubeconfig"]).await.exits(0);
        assert!(ran.out.contains(&format!("run {run}: 1 thing released")), "{}", ran.out);
        nothing_is_held(&world);
    };
    let run = killed(1).await;
    assert!(mark.exists(), "the command was executed, and what undoes it was not");
    release(&run).await;
    assert!(!mark.exists());

    world.configure(", namespace: backup, hooks: [{claims: ['media/*'], handshake: {}}]");
    let answering = answers(&world);
    let run = killed(2).await;
    let held = claim();
    assert_eq!(asked_of(&held), run.as_str(), "{held}");
    assert_eq!(held["metadata"]["annotations"]["homelab-dr.io/quiesced"], run.as_str(), "{held}");
    release(&run).await;
    assert!(asked_of(&claim()).is_null(), "nobody asks any more");
    let taken_away = |state: &State| {
        let claim = state.object("persistentvolumeclaims", "media", "data").unwrap();
        claim["metadata"]["annotations"]["homelab-dr.io/quiesced"].is_null()
    };
    world.kube.until("the answer is taken away", taken_away).await;
    answering.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stopped_or_loses_its_mover_lets_it_go() {
    let world = World::new(&format!("{SCALE}, start-timeout: 2s")).await;
    deployed(&world, LOCAL, &["data"]).await;
    let backup = held(&world).await;
    let pid = rustix::process::Pid::from_child(&backup);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    world.end(backup).await.exits(130);
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;

    // A mover that never starts, and an API server that refuses to let go at first.
    let before = Asked::of(&world).all("PATCH", APP).len();
    let failure = |nth| Failure { method: "PATCH".into(), path: "/deployments/app".into(), nth, status: 500 };
    world.kube.faults(|faults| faults.fail(failure(2)));
    let ran = world.begin(&[]);
    let ran = world.end(ran).await.exits(1);
    assert!(ran.err.contains("did not start within 2s") && !ran.err.contains("STILL HELD"), "{}", ran.err);
    assert_eq!(world.kube.faults(|faults| faults.waiting()), 0, "it met the fault");
    assert!(Asked::of(&world).all("PATCH", APP).len() > before + 2);
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;

    // The server restarts while it is held and read.
    world.kube.faults(|faults| faults.release_pods("media/homelab-dr-"));
    let backup = held(&world).await;
    for _ in 0..3 {
        world.kube.restart();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    world.kube.faults(|faults| faults.release_pods("media/homelab-dr-"));
    world.end(backup).await;
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
}

/// Somebody starts it again while it is read: what was read is not taken for what stood still.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_while_it_is_read_is_not_covered() {
    let world = World::new(SCALE).await;
    deployed(&world, LOCAL, &["data"]).await;
    world.kube.faults(|faults| faults.hold_pods("media/homelab-dr-"));
    let key = std::fs::read_to_string(world.lab.path("writer")).unwrap();
    let limits = Limits { still: Duration::from_millis(200), poll: Duration::from_millis(100), ..Limits::default() };
    let somebody = async {
        until_held(&world).await;
        world.kube.until("its mover is made", |state| state.objects("pods").iter().any(|pod| is_ours(pod))).await;
        world.kube.shared.with(|state| {
            let app = state.object(DEPLOYMENTS, "media", "app").unwrap();
            state.edit(&app, |app| app["spec"]["replicas"] = 1.into());
        });
    };
    let ((rows, _), ()) = tokio::join!(within(&world, None, &key, limits), somebody);
    let Outcome::Failed(MoverError::Stirred(error)) = &rows[0].outcome else { panic!("{rows:?}") };
    assert!(matches!(error.downcast_ref(), Some(HookError::Stirred { .. })), "{error}");
    assert!(rows[0].still_held.is_empty(), "{rows:?}");
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
}

/// What one claim has at zero, no command of another can hold; what an operator looks after is not scaled.
#[tokio::test(flavor = "multi_thread")]
async fn hooks_that_cannot_work_are_refused_before_anything_is_held() {
    let hooks = "{claims: [media/one, media/snapped, media/bare], scale: {}}, {claims: [media/two], command: {before: ['true']}}";
    let world = World::new(&format!(", namespace: backup, movers: 1, hooks: [{hooks}]")).await;
    deployed_of(&world, &[(LOCAL, "one"), (LOCAL, "two"), (CSI, "snapped")]).await;
    world.application("media", "bare", "true").await;
    let ran = world.backup(&["--json"]).await.exits(1);
    let told = ran.json();
    // One mover at a time for both ways of one workload, which is held once.
    assert_eq!(row(&told, "media/one")["kind"], "pvc, live, scaled to zero");
    assert_eq!(row(&told, "media/snapped")["kind"], "pvc, snapshot, scaled to zero");
    let error = |claim: &str| row(&told, claim)["error"].to_string();
    assert!(error("media/two").contains("the same hook"), "{told}");
    assert!(error("media/bare").contains("nobody would start this pod again"), "{told}");
    until_back(&world, DEPLOYMENTS).await;
    is_let_go(&world).await;
}

/// A volume of CloudNativePG is covered by a dump, if that succeeds in the same run.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_stands_for_the_volumes_of_its_cluster() {
    let cnpg = ", cnpg: [{clusters: [media/pg], covered-by: dump}]";
    let world = World::new("").await;
    world.namespace("media").await;
    let with_dump = |argv: &str| {
        world.configure(cnpg);
        let text = std::fs::read_to_string(world.lab.path("homelab-dr.yaml")).unwrap();
        let dump = format!("sources:\n  dump: {{command: {{argv: {argv}, file: pg.sql}}}}\n");
        std::fs::write(world.lab.path("homelab-dr.yaml"), text.replace("sources:\n", &dump)).unwrap();
    };
    for (name, cluster) in [("pg-1", "pg"), ("other-1", "other")] {
        let mut claim = claim_of(name, LOCAL);
        claim["metadata"]["labels"] = json!({"cnpg.io/cluster": cluster});
        world.kube.make("media", claim);
    }
    with_dump("[echo, rows]");
    let told = world.backup(&["--json"]).await.exits(1).json();
    let covered = row(&told, "media/pg-1");
    assert_eq!((&covered["result"], &covered["covered_by"]), (&json!("covered"), &json!("dump")), "{covered}");
    assert_eq!(row(&told, "media/other-1")["result"], "failed", "no dump of that one");
    let ran = world.backup(&["--source", "all"]).await.exits(1);
    assert!(ran.err.contains("dump, whose dump is to stand for it, made no snapshot in this run"), "{}", ran.err);
    with_dump("['false']");
    let told = world.backup(&["--json"]).await.exits(1).json();
    assert_eq!(row(&told, "media/pg-1")["result"], "failed");
}

/// With each of the rules taken away something fails and says so; with all of them it succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_rights_of_hooks_is_needed() {
    let hooks = "{claims: [media/data], scale: {}}, {claims: [media/host], command: {before: [touch, /data/x], after: [rm, -f, /data/x]}}";
    let world = World::new(&format!(", namespace: backup, movers: 4, hooks: [{hooks}]")).await;
    deployed(&world, LOCAL, &["data"]).await;
    world.application("media", "host", "true").await;
    let mut role: Value = serde_saphyr::from_str(&block("```yaml rights\n")).expect("a manifest");
    let of_hooks: Value = serde_saphyr::from_str(&block("```yaml rights of hooks\n")).expect("a manifest");
    let (base, hooks) = (role["rules"].as_array().unwrap().clone(), of_hooks["rules"].as_array().unwrap().clone());
    let name = text(&role["metadata"]["name"]).to_owned();
    role["rules"] = [base.clone(), hooks.clone()].concat().into();
    std::fs::copy(world.lab.path("kubeconfig"), world.lab.path("admin")).unwrap();
    let config = crate::cluster::capture::kubeconfig_of(&world.kube, role).await;
    std::fs::write(world.lab.path("kubeconfig"), config).unwrap();
    world.backup(&[]).await.exits(0);
    for number in 0..hooks.len() {
        let mut fewer = hooks.clone();
        let rule = fewer.remove(number);
        // This cluster has none of these.
        let is_there = |group: &str| !["keda.sh", "argoproj.io"].contains(&group) && !group.contains("fluxcd");
        if rule["apiGroups"].as_array().unwrap().iter().any(|group| !is_there(text(group)))
            || rule["resources"] == json!(["replicationcontrollers"])
        {
            continue;
        }
        world.kube.shared.with(|state| {
            let role = state.object("clusterroles.rbac.authorization.k8s.io", "", &name).unwrap();
            state.edit(&role, |object| object["rules"] = [base.clone(), fewer.clone()].concat().into());
        });
        let ran = world.backup(&[]).await;
        let says = ran.err.contains("cannot ") || ran.err.contains("403") || ran.err.contains("STILL HELD");
        assert!(says && (ran.code != 0 || ran.err.contains("could not be looked for")), "{rule}: {}", ran.err);
        // What a run of less rights leaves held is let go by hand, as its message says.
        age(&world);
        world.run(&["release", "--yes", "--kubeconfig", "admin"]).await.exits(0);
        until_let_go(&world).await;
        until_back(&world, DEPLOYMENTS).await;
    }
}
