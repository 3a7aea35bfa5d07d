//! Runbooks that are about this machine: what they would do to it is done below the drill's folder, or not at all.

use super::folder::{drill, drills, left, run};
use crate::cli::Home;
use crate::recover::runbook;

#[test]
fn a_runbook_touches_nothing_that_is_in_use() {
    let home = Home::new();
    rusqlite::Connection::open(home.path("source/app.db")).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    home.backup();
    let (there, mark) = (home.path("there"), home.path("mark"));
    std::fs::create_dir(&there).unwrap();
    std::fs::write(there.join("mine"), "mine").unwrap();
    let (there_at, mark_at) = (there.display(), mark.display());
    let files = format!(
        "id: files\nneeds: [stop]\nrestore.files: {{source: files, target: {there_at}, delete: true}}\nverify:\n  - sqlite: {{file: app.db}}\n  - tcp: {{address: \"127.0.0.1:1\"}}\non_failure: {{run: [undo]}}"
    );
    let check =
        format!("id: check\ncheck:\n  - sqlite: {{file: {there_at}/app.db}}\n  - sqlite: {{file: /etc/other.db}}");
    let book = runbook(
        home.dir(),
        "",
        &[
            "id: look\nneeds: []\nmanual: {}",
            &format!("id: stop\nrun: {{argv: [touch, {mark_at}]}}"),
            &files,
            &check,
            "id: tell\nnotify: {message: it is back}",
            "id: undo\nnotify: {message: it is not}",
        ],
    );
    let plan = run(&home, &["drill", &book, "--into-folder", "scratch", "--plan", "--json"]).exits(0).json();
    let left_out: Vec<String> =
        plan["left_out"].as_array().unwrap().iter().map(|one| format!("{}: {}", one["step"], one["what"])).collect();
    assert_eq!(left_out.len(), 6, "{left_out:#?}");
    for part in ["look", "stop", "tell", "undo", "/etc/other.db", "127.0.0.1:1"] {
        assert!(left_out.iter().any(|line| line.contains(part)), "{part}: {left_out:#?}");
    }
    assert_eq!(plan["steps"].as_array().unwrap().len(), 2, "{plan:#}");
    // A program that knows nothing of drills finds no plan.
    assert!(plan["plan"]["homelab_dr_plan"].is_null() && plan["plan"]["homelab_dr_drill_plan"] == 1);
    let ran = drill(&home, &[&book]).exits(0);
    assert!(ran.err.contains("holds: sqlite: ") && ran.err.contains("holds: files: "), "{}", ran.err);
    assert!(!mark.exists() && left(&home).is_empty());
    assert_eq!(std::fs::read_dir(&there).unwrap().count(), 1, "what is in use is as it was");
    let record = &drills(&home)[0];
    assert_eq!((&record["runbook"]["id"], &record["left_out"], &record["checks"]), (&"t".into(), &6.into(), &3.into()));
}

#[test]
fn a_runbook_of_which_nothing_can_be_rehearsed_is_refused() {
    let home = Home::new();
    home.backup();
    let book = runbook(home.dir(), "", &["id: tell\nneeds: []\nnotify: {message: hello}"]);
    drill(&home, &[&book]).exits(2).says(&["nothing to rehearse"]);
    let step = "id: files\nneeds: []\nrestore.files: {source: files, target: /srv/there}\nverify: [no-empty: {}]";
    let book = runbook(home.dir(), "", &[step, "id: last\ncheck: [tcp: {address: \"127.0.0.1:1\"}]"]);
    drill(&home, &[&book, "--skip", "files"]).exits(2).says(&["nothing to rehearse"]);
    drill(&home, &[&book, "--skip", "filse"]).exits(2).says(&["no step", "files"]);
    drill(&home, &[&book]).exits(0);
    drill(&home, &["nowhere.md"]).exits(2);
}

#[test]
fn objects_and_volumes_go_into_a_folder_and_every_volume_is_compared() {
    let home = Home::new();
    let lab = home.path("lab");
    std::fs::create_dir_all(lab.join("volumes/media/data")).unwrap();
    std::fs::create_dir(lab.join("manifests")).unwrap();
    std::fs::write(lab.join("volumes/media/data/hello"), "hello\n").unwrap();
    let manifests = "apiVersion: v1\nkind: Namespace\nmetadata: {name: media}\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: media}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: media}\ndata: {a: b}\n";
    std::fs::write(lab.join("manifests/all.yaml"), manifests).unwrap();
    let at = lab.display();
    let config =
        format!("sources:\n  cluster: {{resources: {{folder: {at}}}}}\n  volumes: {{volumes: {{folder: {at}}}}}\n");
    std::fs::write(home.path("homelab-dr.yaml"), config).unwrap();
    home.write(&["backup"]).exits(0);
    let before = crate::support::files::picture(&lab);
    let step = |include: &str| {
        format!(
            "id: all\nneeds: []\nrestore.resources: {{source: cluster, include: [\"{include}\"]}}\nverify: [ready: {{namespace: media}}]"
        )
    };
    let book = runbook(home.dir(), "", &[&step("media/*/*")]);
    let ran = drill(&home, &[&book]).exits(0);
    assert!(
        ran.err.contains("holds: files: as in the snapshot") && ran.err.contains("in a folder nothing runs"),
        "{}",
        ran.err
    );
    let record = &drills(&home)[0];
    assert_eq!(
        (record["sources"].as_array().map(Vec::len), &record["outcome"]),
        (Some(2), &"passed".into()),
        "{record:#}"
    );
    // Without a volume nothing can be seen of objects there.
    let book = runbook(home.dir(), "", &[&step("media/configmaps/*")]);
    drill(&home, &[&book]).exits(2).says(&["no check is left that would look at it", "in a folder nothing runs"]);
    assert_eq!(drills(&home).len(), 1, "it was not begun, and nothing has failed");
    assert!(left(&home).is_empty() && crate::support::files::picture(&lab) == before);
}
