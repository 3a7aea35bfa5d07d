//! `--delete` takes what the snapshot does not have, and never what was only not chosen.

use std::fs;
use std::path::Path;

use homelab_dr::format::entry::TreePath;
use homelab_dr::recover::select::Selection;
use homelab_dr::recover::{RestoreError, RestorePlan, run_restore};

use super::{Scene, globs};
use crate::support::files::scratch;

fn put(dir: &Path, names: &[&str]) {
    for name in names {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
}

const SNAPSHOT: [&str; 5] = ["a/x.jpg", "a/y.txt", "cache/deep/one", "photos/b.jpg", "photos/b.txt"];
const THERE: [&str; 7] =
    ["a/more.jpg", "a/more.txt", "cache/deep/two", "cache/three", "photos/c.jpg", "photos/c.txt", "new/d.txt"];

/// What is deleted from a target that holds the snapshot and more.
async fn deleted(change: impl FnOnce(&mut RestorePlan)) -> Result<Vec<String>, RestoreError> {
    let dir = scratch();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    put(&source, &SNAPSHOT);
    put(&target, &SNAPSHOT);
    put(&target, &THERE);
    let scene = Scene::of(&source).await;
    let mut plan = scene.plan(&target);
    plan.delete = true;
    change(&mut plan);
    let context = scene.repository.context(scene.reader.repository.clone());
    let report = run_restore(&context, &scene.reader, &plan).await?;
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let deleted: Vec<String> = report.deleted.iter().map(TreePath::display).collect();
    for name in SNAPSHOT.iter().chain(&THERE) {
        let gone = deleted.iter().any(|path| *name == path || name.starts_with(&format!("{path}/")));
        assert_eq!(target.join(name).exists(), !gone, "{name}");
    }
    Ok(deleted)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_snapshot_lacks_goes() {
    let all = deleted(|_| ()).await.unwrap();
    assert_eq!(
        all,
        ["a/more.jpg", "a/more.txt", "cache/deep/two", "cache/three", "new", "photos/c.jpg", "photos/c.txt"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_out_stays_with_all_below_it() {
    let select =
        |include: Option<&[&str]>, exclude: &[&str]| Selection { include: include.map(globs), exclude: globs(exclude) };
    let kept = deleted(|plan| plan.selection = select(None, &["cache"])).await.unwrap();
    assert_eq!(kept, ["a/more.jpg", "a/more.txt", "new", "photos/c.jpg", "photos/c.txt"]);
    let kept = deleted(|plan| plan.selection = select(Some(&["*.jpg"]), &[])).await.unwrap();
    assert_eq!(kept, ["a/more.jpg", "photos/c.jpg"]);
    let kept = deleted(|plan| plan.selection = select(Some(&["photos"]), &["*.txt"])).await.unwrap();
    assert_eq!(kept, ["photos/c.jpg"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_not_restored_with_delete_and_a_directory_is() {
    let error = deleted(|plan| plan.within = TreePath::new("a/x.jpg").unwrap()).await.unwrap_err();
    assert!(matches!(error, RestoreError::DeleteBesideFile(_)), "{error}");

    let dir = scratch();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    put(&source, &SNAPSHOT);
    put(&target, &["x.jpg", "z.jpg", "z.txt"]);
    let scene = Scene::of(&source).await;
    let mut plan = scene.plan(&target);
    plan.delete = true;
    plan.within = TreePath::new("a").unwrap();
    plan.selection.include = Some(globs(&["a/*.jpg"]));
    let context = scene.repository.context(scene.reader.repository.clone());
    let report = run_restore(&context, &scene.reader, &plan).await.unwrap();
    assert_eq!(report.deleted.iter().map(TreePath::display).collect::<Vec<_>>(), ["z.jpg"]);
}
