//! What was captured while a run of ours held or paused it comes back as it was before, and what only that run had does not come back.

use homelab_dr::base::cancel::Cancel;
use homelab_dr::base::clock::SystemClock;
use homelab_dr::hooks::scale::{begin, plan as plan_scale};

use super::*;
use crate::gitops::world::{define, definition};
use crate::hooks::{RUN, SCALED, SETS, acting, api, database, journal, ready};

const KUSTOMIZATIONS: &str = "kustomizations.kustomize.toolkit.fluxcd.io";

/// A set at zero with all that goes with it, by a run that has not let go yet.
async fn hold(server: &KubeServer) -> Api {
    let (api, clock, cancel) = (api(server).await, SystemClock, Cancel::default());
    let acting = acting(&api, &api, &clock, &cancel);
    let made = plan_scale(&api, "media", &["data-db-0".to_owned()]).await.unwrap();
    begin(&acting, &made, &mut journal()).await.unwrap();
    api
}

/// The object without what nobody compares.
fn plain(server: &KubeServer, table: &str, name: &str) -> Value {
    let object = server.object(table, "media", name).unwrap_or_else(|| panic!("no {table} {name}"));
    json!({"annotations": object["metadata"]["annotations"], "labels": object["metadata"]["labels"], "spec": object["spec"]})
}

async fn flux(server: &KubeServer) {
    let suspend = json!({"suspend": {"type": "boolean"}});
    define(server, definition("kustomize.toolkit.fluxcd.io", "v1", "Kustomization", &suspend)).await;
    server.make("media", json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "apps"}, "spec": {"interval": "10m"},
    }));
}

fn named(server: &KubeServer, table: &str) -> Vec<String> {
    let objects = server.shared.with(|state| state.objects(table));
    objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_held_and_paused_comes_back_as_it_was_before() {
    let (old, new) = (database().await, server().await);
    flux(&old).await;
    let tables = [(SETS, "db"), (SCALED, "db"), (KUSTOMIZATIONS, "apps")];
    let before: Vec<Value> = tables.iter().map(|(table, name)| plain(&old, table, name)).collect();
    hold(&old).await;
    // What other runs have made for themselves.
    let labels = json!({"app.kubernetes.io/managed-by": "homelab-dr", "homelab-dr.io/run": "0badcafe0badcafe"});
    old.make("media", json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "mover", "labels": labels}, "spec": {"podSelector": {}},
    }));
    let mut volumes = map("homelab-dr-volumes", &json!({}));
    volumes["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "homelab-dr"});
    old.make("homelab-dr", volumes);
    let home = between(&old, &new);
    run(&home, &["gitops", "pause", "--yes", "--wait", "0s", "--kubeconfig", "kubeconfig"]).await.exits(0);
    assert_eq!(plain(&old, SETS, "db")["spec"]["replicas"], 0);
    assert_eq!(plain(&old, KUSTOMIZATIONS, "apps")["spec"]["suspend"], true);

    run(&home, &["backup"]).await.exits(0);
    let listed = run(&home, &["ls", "--recursive", "latest:cluster"]).await.exits(0).out;
    assert!(listed.contains("StatefulSet/media/db.yaml"), "{listed}");
    for ours in ["homelab-dr-hooks-", "homelab-dr-volumes", "media/mover.yaml"] {
        assert!(!listed.contains(ours), "{listed}");
    }
    let shown = restore(&home, "new", &["--plan"]).await.exits(0).out;
    assert!(shown.contains(&format!("statefulsets.apps media/db: as it was before run {RUN} held it")), "{shown}");
    restore(&home, "new", &["--empty-volumes"]).await.exits(0);
    let after: Vec<Value> = tables.iter().map(|(table, name)| plain(&new, table, name)).collect();
    assert_eq!(after, before);
    for (table, name) in tables {
        let object = new.object(table, "media", name).unwrap();
        let managed = object["metadata"]["managedFields"].to_string();
        assert!(!managed.contains("\"manager\":\"homelab-dr\""), "{managed}");
    }
    assert!(!named(&new, "configmaps").iter().any(|name| name.starts_with("homelab-dr")));

    // A run holds it where it is restored: nobody lets it go in the middle of that.
    ready(&new, "db", 2).await;
    hold(&new).await;
    let ran = restore(&home, "new", &["--include", "media/statefulsets.apps/*", "--existing", "update"]).await.exits(3);
    let said = format!(
        "run {RUN} holds it: wait for its end, or let it go (`homelab-dr release --run {RUN} --kubeconfig new`)"
    );
    assert!(ran.out.contains(&said), "{}", ran.out);
    assert_eq!(plain(&new, SETS, "db")["spec"]["replicas"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_which_nobody_knows_what_it_was_is_a_problem() {
    let (old, new) = (database().await, server().await);
    let api = hold(&old).await;
    let none = json!({"metadata": {"annotations": {"homelab-dr.io/held": null}}});
    let sets = Kind { version: "v1".into(), ..kind("apps", "statefulsets", "StatefulSet") };
    api.patch(&sets, Some("media"), "db", &none).await.unwrap();
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let said = format!(
        "statefulsets.apps media/db: run {RUN} held it when it was captured, and nobody knows what it was before"
    );
    let ran = restore(&home, "new", &["--plan"]).await.exits(3);
    assert!(ran.out.contains("nobody knows what it was before") && ran.err.contains(&said), "{}{}", ran.out, ran.err);
    let document = restore(&home, "new", &["--empty-volumes", "--json"]).await.exits(3).json();
    assert!(document["report"]["unknown_before"][0].as_str().unwrap().starts_with(&said), "{document:#}");
    let set = plain(&new, SETS, "db");
    assert_eq!((&set["spec"]["replicas"], &set["annotations"]), (&json!(0), &Value::Null), "{set}");
    assert_eq!(plain(&new, SCALED, "db")["annotations"], Value::Null, "of this it is known");
}

/// Whoever pauses before a restore does not want it undone by the restore.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_paused_where_it_is_restored_stays_paused_and_resumes_to_what_the_snapshot_has() {
    let (old, new) = (server().await, server().await);
    for server in [&old, &new] {
        server.make("", namespace("media"));
        flux(server).await;
        for name in ["by-hand", "changed"] {
            server.make("media", json!({
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": name}, "spec": {"interval": "10m"},
            }));
        }
    }
    let edit = |server: &KubeServer, name: &str, field: &str, value: Value| {
        server.shared.with(|state| {
            let object = state.object(KUSTOMIZATIONS, "media", name).unwrap();
            state.edit(&object, |object| object["spec"][field] = value);
        });
    };
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    for name in ["apps", "by-hand", "changed"] {
        edit(&new, name, "interval", "1h".into());
    }
    edit(&new, "by-hand", "suspend", true.into());
    run(&home, &["gitops", "pause", "--yes", "--wait", "0s", "--kubeconfig", "new"]).await.exits(0);
    edit(&new, "changed", "suspend", false.into());

    let options = ["--include", "*.kustomize.toolkit.fluxcd.io", "--existing", "update"];
    let ran = restore(&home, "new", &[&options[..], &["--plan"]].concat()).await;
    let line = |name: &str| {
        let name = format!("media/{name}");
        ran.out.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("no {name}: {}", ran.out))
    };
    assert!(line("apps").contains("stays paused, `homelab-dr gitops resume"), "{}", ran.out);
    assert!(line("by-hand").contains("is paused, not by homelab-dr, and will not be any more"), "{}", ran.out);
    assert!(line("changed").contains("somebody has changed spec.suspend since"), "{}", ran.out);
    restore(&home, "new", &options).await.exits(3);
    let spec = |name: &str| plain(&new, KUSTOMIZATIONS, name)["spec"].clone();
    assert_eq!(spec("apps"), json!({"interval": "10m", "suspend": true}));
    assert_eq!(spec("by-hand"), json!({"interval": "10m"}));
    assert_eq!(spec("changed"), json!({"interval": "1h", "suspend": false}), "left as it was");
    run(&home, &["gitops", "resume", "--yes", "--kubeconfig", "new"]).await;
    assert_eq!(plain(&new, KUSTOMIZATIONS, "apps"), plain(&old, KUSTOMIZATIONS, "apps"));
}
