//! What of a cluster no source takes is named, unless somebody leaves it out on purpose.

use serde_json::{Value, json};

use super::{map, namespace, run};
use crate::cli::Home;
use crate::cli::config::write;
use crate::folder::row;
use crate::support::kube::server::{KubeServer, Options};
use crate::volumes_backup::claim_of;

/// A source of all objects, and `more` among its fields.
fn configure(home: &Home, more: &str) {
    write(home, &format!("sources:\n  cluster: {{resources: {{kubeconfig: DIR/kubeconfig{more}}}}}\n"));
}

/// An application with a claim, a namespace of which nothing is wanted, with a claim that is, and one whose data is of no use.
async fn cluster() -> (KubeServer, Home) {
    let server = KubeServer::start(Options::default()).await;
    let home = Home::new();
    std::fs::write(home.path("kubeconfig"), server.kubeconfig()).unwrap();
    let mut scratch = namespace("scratch");
    scratch["metadata"]["annotations"] = json!({"homelab-dr.io/backup": "false"});
    for space in [namespace("media"), scratch, namespace("tools")] {
        server.make("", space);
    }
    server.make("media", claim_of("data", "local-path"));
    server.make("scratch", map("app", &json!({})));
    for (claim, wish) in [("wanted", "true"), ("other", "")] {
        let mut claim = claim_of(claim, "local-path");
        if !wish.is_empty() {
            claim["metadata"]["annotations"] = json!({"homelab-dr.io/backup": wish});
        }
        server.make("scratch", claim);
    }
    let mut cache = claim_of("cache", "local-path");
    cache["metadata"]["annotations"] = json!({"homelab-dr.io/backup": "false"});
    server.make("tools", cache);
    (server, home)
}

fn left_out_by(document: &Value, source: &str) -> String {
    row(document, source)["left_out_by"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_no_source_takes_are_named_and_so_does_preflight() {
    let (_server, home) = cluster().await;
    configure(&home, "");
    let ran = run(&home, &["backup"]).await.exits(3);
    let missing = "NOT COVERED: pvc/media/data, pvc/scratch/wanted: no source of the configuration takes the volumes";
    assert!(ran.err.contains(missing) && ran.err.contains("help: add a source of the kind volumes"), "{}", ran.err);
    let line = ran.out.lines().find(|line| line.starts_with("pvc/media/data")).expect("a row");
    assert!(line.contains("pvc") && line.ends_with("NOT COVERED"), "{line}");

    for args in [&["backup", "--json"][..], &["backup", "--json", "--dry-run"]] {
        let document = run(&home, args).await.exits(3).json();
        for claim in ["pvc/media/data", "pvc/scratch/wanted"] {
            let row = row(&document, claim);
            assert_eq!((&row["result"], &row["kind"]), (&json!("not_covered"), &json!("pvc")), "{args:?} {row}");
            assert!(row["error"]["help"].to_string().contains("volumes-elsewhere: true"), "{row}");
        }
        assert_eq!(left_out_by(&document, "pvc/tools/cache"), "annotation homelab-dr.io/backup of the claim");
        for of_space in ["pvc/scratch/other", "namespace/scratch"] {
            assert_eq!(left_out_by(&document, of_space), "annotation homelab-dr.io/backup of namespace scratch");
        }
        assert_eq!(document["sources"].as_array().unwrap().len(), 6, "what is taken has no row here: {document:#}");
    }
    // Its objects are left out with it, and the snapshot says so.
    let listed = run(&home, &["ls", "-R", "latest:cluster"]).await.exits(0).out;
    assert!(listed.contains("/media/data.yaml") && !listed.contains("scratch"), "{listed}");
    let about = run(&home, &["cat", "latest:cluster:cluster.yaml"]).await.exits(0).out;
    let about: Value = serde_saphyr::from_str(&about).unwrap();
    let left_out = json!({"scratch": "annotation homelab-dr.io/backup of namespace scratch"});
    assert_eq!(about["leftOutNamespaces"], left_out);

    let findings = run(&home, &["preflight", "backup", "--json"]).await.exits(7).json();
    let of = |severity: &str| -> Vec<String> {
        let all = findings["findings"].as_array().unwrap().iter();
        let of = all.filter(|finding| finding["check"] == "coverage" && finding["severity"] == severity);
        of.map(|finding| finding["on"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("blocks"), ["pvc/media/data", "pvc/scratch/wanted"]);
    assert_eq!(of("fine"), ["namespace/scratch", "pvc/scratch/other", "pvc/tools/cache"]);

    // A part is not expected to be all.
    run(&home, &["backup", "--source", "cluster"]).await.exits(0);
    run(&home, &["preflight", "backup", "--source", "cluster"]).await.exits(0);
    configure(&home, ", volumes-elsewhere: true");
    let ran = run(&home, &["backup"]).await.exits(0);
    assert!(ran.err.contains("2 volumes were left out by the configuration: volumes-elsewhere"), "{}", ran.err);
    let document = run(&home, &["backup", "--json"]).await.exits(0).json();
    assert_eq!(document["left_out"][0]["names"], json!(["pvc/media/data", "pvc/scratch/wanted"]), "{document:#}");
    run(&home, &["preflight", "backup"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_excluded_by_somebody_or_have_objects_in_the_snapshot() {
    let (server, home) = cluster().await;
    configure(&home, ", volumes-elsewhere: true, exclude-namespaces: [tools, media]");
    let edit = |name: &str, wish: &str| {
        server.shared.with(|state| {
            let space = state.object("namespaces", "", name).unwrap();
            state.edit(&space, |space| space["metadata"]["annotations"]["homelab-dr.io/backup"] = wish.into());
        });
    };
    // The nearest counts, and a wish that nobody can read is none.
    edit("media", "true");
    edit("scratch", "off");
    let ran = run(&home, &["backup", "--json"]).await.exits(3);
    let document = ran.json();
    assert_eq!(left_out_by(&document, "namespace/tools"), "the configuration: exclude-namespaces");
    let scratch = row(&document, "namespace/scratch");
    assert_eq!((&scratch["result"], &scratch["kind"]), (&json!("not_covered"), &json!("namespace")), "{scratch}");
    assert!(scratch["error"]["error"].to_string().contains("of namespace scratch is \\\"off\\\""), "{scratch}");
    let listed = run(&home, &["ls", "-R", "latest:cluster"]).await.exits(0).out;
    assert!(listed.contains("/media/data.yaml") && listed.contains("scratch") && !listed.contains("tools"), "{listed}");

    // Of a cluster whose namespaces nobody may list, nobody knows.
    edit("scratch", "true");
    run(&home, &["backup"]).await.exits(0);
    server.faults(|faults| faults.refuse("GET", "/api/v1/namespaces?", 403, "namespaces are forbidden"));
    let ran = run(&home, &["backup", "--json"]).await.exits(3);
    let all = row(&ran.json(), "all namespaces and claims");
    assert_eq!(all["result"], "not_covered", "{all}");
    assert!(ran.err.contains("nobody knows whether all of http"), "{}", ran.err);
}
