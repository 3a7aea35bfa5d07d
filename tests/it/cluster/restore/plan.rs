//! The plan in words, reviewed like code. `HOMELAB_DR_BLESS=1` writes it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_names_every_object_and_why() {
    let (old, new) = (disaster::homelab().await, server().await);
    old.make("media", claim("data"));
    old.until("the claim is bound", |state| {
        state.object("persistentvolumeclaims", "media", "data").is_some_and(|claim| claim["status"]["phase"] == "Bound")
    })
    .await;
    new.make("", namespace("other"));
    old.make("", namespace("other"));
    old.make("other", secret("same", "x"));
    new.make("other", secret("same", "x"));
    old.make("other", secret("differs", "x"));
    new.make("other", secret("differs", "y"));
    for server in [&old, &new] {
        server.until("its account", |state| state.object("serviceaccounts", "other", "default").is_some()).await;
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let writes =
        |server: &KubeServer| server.seen().iter().filter(|s| !s.starts_with("GET") && !s.contains("dryRun")).count();
    let args = [
        "--include",
        "media/*/*",
        "--include",
        "other/*/*",
        "--include",
        "*.acme.example",
        "--include",
        "*.apiextensions.k8s.io",
        "--include",
        "persistentvolumes",
        "--plan",
    ];
    let ran = restore(&home, "new", &args).await.exits(0);
    assert_eq!(writes(&new), 0, "a plan writes nothing");
    let text = settled(&ran.out, &new);
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/cluster/restore/plan.txt");
    if std::env::var_os("HOMELAB_DR_BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&golden).unwrap_or_default(), "the plan changed; review it, then bless");
}

/// Without what is another in every run.
fn settled(text: &str, new: &KubeServer) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.replace(&new.url(), "SERVER").lines() {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| {
                let pod =
                    ["media/web-", "pvc-"].iter().any(|start| word.starts_with(start)) || word.starts_with("web-");
                if pod {
                    word.split('-').next().unwrap().to_owned() + "-RANDOM" + if word.ends_with(':') { ":" } else { "" }
                } else {
                    word.to_owned()
                }
            })
            .collect();
        lines.push(words.join(" "));
    }
    if let Some(first) = lines.first_mut() {
        *first = "plan: snapshot ID of cluster, TIME, into SERVER".to_owned();
    }
    lines.join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_and_yes_nothing_is_written() {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let args = ["restore", "latest:cluster", "--cluster", "--kubeconfig", "new"];
    let ran = run(&home, &args).await.exits(2).says(&["needs a confirmation"]);
    assert!(ran.err.contains("create    namespaces media\n"), "it showed what it would do: {}", ran.err);
    assert!(!ran.err.contains("--plan shows all"), "{}", ran.err);
    assert!(new.object("namespaces", "", "media").is_none());
    // Many objects, and a claim that would be empty: that one first.
    for number in 0..45 {
        old.make("media", map(&format!("m{number:02}"), &json!({"n": "1"})));
    }
    old.make("media", claim("data"));
    run(&home, &["backup"]).await.exits(0);
    let ran = run(&home, &[&args[..], &["--include", "media/*/*", "--empty-volumes"]].concat()).await.exits(2);
    let lines: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(lines[0].contains("persistentvolumeclaims media/data: EMPTY"), "{}", ran.err);
    assert!(lines[1].contains("create    namespaces media"), "{}", ran.err);
    assert_eq!(lines.iter().filter(|line| line.contains("create ")).count(), 40, "{}", ran.err);
    let planned = run(&home, &[&args[..], &["--include", "media/*/*", "--plan"]].concat()).await.exits(0).out;
    let all = planned.lines().filter(|line| line.starts_with("  create")).count();
    let more = format!("  … and {} more (--plan shows all)", all - 40);
    assert!(ran.err.contains(&more), "{more}: {}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_has_no_kind_for_is_a_conflict_and_its_definition_is_the_way_out() {
    let (old, new) = (disaster::homelab().await, server().await);
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let only = ["--include", "*.acme.example", "--plan"];
    let ran = restore(&home, "new", &only).await.exits(3);
    let why = "the cluster has no anvils.acme.example, and no chosen definition brings it";
    assert!(ran.out.contains(&format!("CONFLICT  anvils.acme.example media/big: {why}")), "{}", ran.out);
    let with = ["--include", "*.acme.example", "--include", "_cluster/customresourcedefinitions.*/anvils.*", "--plan"];
    restore(&home, "new", &with).await.exits(0);
}

/// A DNS service that the router of the house knows by its address.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_address_that_somebody_chose_is_told_as_lost() {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("dns"));
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let free = old.make("dns", service("free", json!({"ports": [{"port": 53}]})));
    let address = free["spec"]["clusterIP"].as_str().unwrap();
    let (start, _) = address.rsplit_once('.').unwrap();
    let chosen = format!("{start}.253");
    old.make("dns", service("resolver", json!({"clusterIP": chosen, "ports": [{"port": 53}]})));
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let planned = restore(&home, "new", &["--include", "dns/services/*", "--plan"]).await.exits(0).out;
    let told = format!("services dns/resolver: its cluster address {chosen}, which somebody chose, is given out anew");
    assert!(planned.contains(&told), "{planned}");
    assert_eq!(planned.matches("which somebody chose").count(), 1, "{planned}");
}
