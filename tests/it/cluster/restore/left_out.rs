//! Claims that somebody left out of the backup on purpose: a proposed runbook makes them, empty, and says so; a claim that merely has no data stops it.

use super::*;
use crate::support::kube::ops::delete::DeleteOptions;
use crate::support::kube::state::State;

async fn is_bound(server: &KubeServer, name: &str) {
    let is = |state: &State| {
        let claim = state.object("persistentvolumeclaims", "media", name);
        claim.is_some_and(|claim| claim["status"]["phase"] == "Bound")
    };
    server.until(&format!("{name} is bound"), is).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_left_out_comes_back_empty_by_its_name_and_no_other_does() {
    let (old, new) = (server().await, server().await);
    old.make("", namespace("media"));
    let mut cache = claim("cache");
    cache["metadata"]["annotations"] = json!({"homelab-dr.io/backup": "false"});
    old.make("media", cache);
    let photos = old.make("media", claim("photos"));
    // One that never had a volume has nothing to lose.
    for name in ["cache", "photos"] {
        is_bound(&old, name).await;
    }
    let home = between(&old, &new);
    let propose = ["runbook", "new", "--namespace", "media", "--from", "latest:cluster", "--out"];
    let recover = ["recover", "--kubeconfig", "new", "--journals", "runs", "--no-progress", "--skip", "identity"];
    run(&home, &["backup"]).await.exits(0);
    run(&home, &[&propose[..], &["both.md"]].concat()).await.exits(0);
    let ran = run(&home, &[&recover[..], &["both.md", "--plan"]].concat()).await.exits(7);
    let why = "claims would be made EMPTY, since there is no data of them: persistentvolumeclaims media/photos";
    let line = ran.out.lines().find(|line| line.contains(why)).unwrap_or_else(|| panic!("{}", ran.out));
    assert!(!line.contains("cache"), "{line}");
    assert!(ran.out.contains("name them under may_be_empty"), "{}", ran.out);

    old.shared.with(|state| state.remove("kubectl", &photos, &DeleteOptions::default()));
    old.until("it is gone", |state| state.object("persistentvolumeclaims", "media", "photos").is_none()).await;
    run(&home, &["backup"]).await.exits(0);
    run(&home, &[&propose[..], &["one.md"]].concat()).await.exits(0);
    let text = std::fs::read_to_string(home.path("one.md")).unwrap();
    assert!(
        text.contains("may_be_empty: [\"media/cache\"]") && text.contains("made EMPTY here: `media/cache`"),
        "{text}"
    );
    run(&home, &[&recover[..], &["one.md", "--yes"]].concat()).await.exits(0);
    is_bound(&new, "cache").await;
    // By hand all of that is asked for, as before.
    restore(&home, "new", &["--include", "media/*/*", "--namespace", "media=copy"]).await.exits(7);
}
