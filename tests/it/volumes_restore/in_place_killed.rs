//! A restore in place that is killed when all is written and nothing is let go yet, and one whose safety copy is just being made.

use super::in_place::{DEPLOYMENTS, Living, said};
use super::in_place_trouble::{SLOW, is_at_zero, kill, run_of};
use super::*;
use crate::volumes_backup::hooks::{journals, until_back};

/// Begins a restore, and kills it when its mover is done and it asks for this, which the server refuses from the time on when it is at work: what is held by such a request is held by then.
async fn killed_at(living: &Living, path: &str) {
    let world = &living.world;
    let run = living.begin(&SLOW);
    world.until_at_work(1).await;
    world.kube.faults(|faults| faults.refuse("PATCH", path, 503, "later"));
    let before = world.kube.seen().len();
    let came = async || {
        for _ in 0..1200 {
            let asks = world.kube.seen().iter().skip(before).any(|ask| ask.starts_with("PATCH") && ask.contains(path));
            if asks && world.movers().is_empty() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    };
    let came = came().await;
    kill(run);
    world.kube.faults(|faults| faults.permit_all());
    assert!(came, "it never came to {path}");
}

/// All is written, and nobody has written down that it is: what uses it stays at zero, and another run finds nothing to write.
#[tokio::test(flavor = "multi_thread")]
async fn killed_right_before_it_lets_go() {
    let living = Living::new().await;
    let world = &living.world;
    killed_at(&living, "/namespaces/media/persistentvolumeclaims/data").await;
    is_at_zero(&living);
    let run = run_of(&living);
    let release = ["release", "--run", &run, "--yes", "--kubeconfig", "kubeconfig"];
    let ran = world.run(&release).await.exits(3);
    assert!(ran.out.contains("STILL HELD"), "{}", ran.out);
    is_at_zero(&living);
    let told = living.restore(&[]).await.exits(0).json();
    assert_eq!(told["plan"]["goes_on"], run.as_str(), "{told:#}");
    assert_eq!(told["report"]["volume"]["restored"]["written"], 0, "{told:#}");
    living.is_back().await;

    // The note is gone, and the application is not back: what is left is like that of any run.
    std::fs::write(living.folder().join("a/b/hello"), "other").unwrap();
    killed_at(&living, "/namespaces/media/deployments/app").await;
    is_at_zero(&living);
    let claim = world.kube.object("persistentvolumeclaims", "media", "data").unwrap();
    assert!(claim["metadata"]["annotations"]["homelab-dr.io/filling-in-place"].is_null(), "{claim}");
    let run = run_of(&living);
    let ran = living.restore(&[]).await.exits(7);
    assert!(said(&ran).contains(&format!("homelab-dr release --run {run}")), "{}", said(&ran));
    world.run(&["release", "--run", &run, "--yes", "--kubeconfig", "kubeconfig"]).await.exits(0);
    living.is_back().await;
}

/// Nothing is written yet: whoever releases it starts what was there, and another run makes a copy of its own.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_the_safety_copy_is_read() {
    let living = Living::new().await;
    let world = &living.world;
    let first = living.begin(&["--limit-download", "40KiB/s"]);
    let movers = world.until_at_work(1).await;
    kill(first);
    assert!(world.log(&movers[0]).contains("\"accepted\""));
    is_at_zero(&living);
    let claim = world.kube.object("persistentvolumeclaims", "media", "data").unwrap();
    assert!(claim["metadata"]["annotations"]["homelab-dr.io/filling-in-place"].is_null(), "{claim}");
    assert!(in_place::picture(&living.folder()) == living.spoilt, "nothing is written");
    let run = run_of(&living);
    world.run(&["release", "--run", &run, "--yes", "--kubeconfig", "kubeconfig"]).await.exits(0);
    until_back(world, DEPLOYMENTS).await;
    assert_eq!(journals(world).len(), 0);
    let told = living.restore(&[]).await.exits(0).json();
    let copy = text(&told["report"]["safety_copy"]).to_owned();
    let extra = world.run(&["cat", &format!("{copy}:extra")]).await.exits(0);
    assert_eq!(extra.out, "made since", "{told:#}");
    living.is_back().await;
}
