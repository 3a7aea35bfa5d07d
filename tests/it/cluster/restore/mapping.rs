//! A copy beside the original, in a namespace of another name.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_comes_up_beside_the_original_and_refers_to_itself() {
    let cluster = disaster::homelab().await;
    let home = between(&cluster, &cluster);
    run(&home, &["backup"]).await.exits(0);
    cluster.faults(|faults| {
        faults.answer_for_webhook("maps.acme.example", Webhook::Allows);
    });
    let original = cluster.object("secrets", "media", "login").unwrap();
    // The node port of its own is taken by the original.
    let options = ["--include", "media/*/*", "--namespace", "media=copy", "--exclude", "media/services/own", "--json"];
    let document = restore(&home, "new", &options).await.exits(0).json();
    assert_eq!(outcome(&document, "/namespaces/copy"), "restored");
    assert_eq!(document["plan"]["steps"][0]["needed"], true, "the namespace comes with what is in it");
    for (table, name) in [
        ("secrets", "login"),
        ("configmaps", "made-by-the-anvil"),
        ("deployments.apps", "web"),
        ("anvils.acme.example", "big"),
    ] {
        let (of, copy) = (cluster.object(table, "media", name).unwrap(), cluster.object(table, "copy", name));
        let copy = copy.unwrap_or_else(|| panic!("{table} {name}"));
        assert_eq!((&copy["data"], &copy["spec"]), (&of["data"], &of["spec"]), "{table} {name}");
    }
    let labels = &cluster.object("namespaces", "", "copy").unwrap()["metadata"]["labels"];
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
    assert_eq!(labels["kubernetes.io/metadata.name"], "copy");
    let binding = cluster.object("rolebindings.rbac.authorization.k8s.io", "copy", "acme:reader").unwrap();
    assert_eq!(binding["subjects"][0]["namespace"], "copy");
    // Its owners are those of the copy, or the original would take it along when it goes.
    let anvil = cluster.object("anvils.acme.example", "copy", "big").unwrap();
    let made = cluster.object("configmaps", "copy", "made-by-the-anvil").unwrap();
    assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], anvil["metadata"]["uid"]);
    assert_eq!(cluster.object("secrets", "media", "login").unwrap(), original);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_mappings_and_patterns_are_told() {
    let cluster = server().await;
    let home = between(&cluster, &cluster);
    run(&home, &["backup"]).await.exits(0);
    for (options, says) in [
        (["--namespace", "media"], "media=media-copy"),
        (["--namespace", "=x"], "media=media-copy"),
        (["--include", "media/secrets"], "namespace/kind/name"),
        (["--include", "nothing/*/*"], "was chosen"),
    ] {
        let ran = restore(&home, "new", &options).await.exits(2);
        assert!(ran.err.contains(says), "{options:?}: {}", ran.err);
    }
    let both = run(&home, &["restore", "latest:cluster", "--cluster", "--target", "x"]).await.exits(2);
    assert!(both.err.contains("cannot be used with"), "{}", both.err);
    let neither = run(&home, &["restore", "latest:cluster"]).await.exits(2);
    assert!(neither.err.contains("--target"), "{}", neither.err);
    home.backup();
    let files = restore(&home, "new", &[]).await;
    files.exits(0);
    let args = ["restore", "latest:files", "--cluster", "--kubeconfig", "new", "--yes"];
    run(&home, &args).await.exits(2).says(&["holds no objects of a cluster"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mappings_that_mean_nothing_or_make_one_of_two_are_refused() {
    let (old, new) = (server().await, server().await);
    for name in ["media", "other"] {
        old.make("", namespace(name));
        old.make(name, map("app", &json!({"of": name})));
    }
    let home = between(&old, &new);
    run(&home, &["backup"]).await.exits(0);
    let before = new.seen().iter().filter(|seen| seen.starts_with("POST")).count();
    for (options, says) in [
        (&["--namespace", "medla=copy"][..], &["medla", "no object"][..]),
        (&["--namespace", "media=copy", "--include", "other/*/*"], &["media", "no object"]),
        (&["--namespace", "media=x", "--namespace", "other=x"], &["media and other", "x"]),
        (&["--namespace", "media=x", "--namespace", "media=y"], &["media", "x and y"]),
        (&["--namespace", "media=other", "--include", "*/configmaps/app"], &["media/app", "other/app"]),
    ] {
        let ran = restore(&home, "new", options).await.exits(2).says(says);
        assert!(ran.err.contains("nothing was written"), "{options:?}: {}", ran.err);
    }
    let after = new.seen().iter().filter(|seen| seen.starts_with("POST")).count();
    assert_eq!(before, after, "not even a trial");
    // One namespace into another, where nothing of one is something of the other.
    let options = ["--namespace", "media=other", "--include", "media/configmaps/app", "--yes"];
    new.make("", namespace("other"));
    restore(&home, "new", &options[..4]).await.exits(0);
    assert_eq!(new.object("configmaps", "other", "app").unwrap()["data"]["of"], "media");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_cluster_are_for_a_cluster() {
    let cluster = server().await;
    let home = between(&cluster, &cluster);
    home.backup();
    for option in [
        &["--into-folder", "folder"][..],
        &["--namespace", "a=b"],
        &["--existing", "update"],
        &["--empty-volumes"],
        &["--kubeconfig", "new"],
        &["--context", "x"],
    ] {
        for into in [
            &["latest", "--target", "out"][..],
            &["--all", "--target", "out"],
            &["latest", "--target", "out", "--sparse"],
        ] {
            let ran = run(&home, &[&["restore"], into, option].concat()).await.exits(2);
            assert!(ran.err.contains(option[0]) && ran.err.contains("--cluster"), "{option:?}: {}", ran.err);
        }
    }
    assert!(!home.path("out").exists() && !home.path("folder").exists());
}
