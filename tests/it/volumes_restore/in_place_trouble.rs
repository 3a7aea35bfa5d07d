//! What goes wrong while a volume is restored in place: nothing starts on half of something, and the next run goes on.

use super::in_place::{DEPLOYMENTS, Living, said};
use super::*;
use crate::volumes_backup::hooks::{journals, pods_of_app, until_back, until_held};
use crate::volumes_backup::hooks_trouble::age;

/// The mover reads metadata at this speed before its first byte of content: seconds in which it can be met.
pub(super) const SLOW: [&str; 3] = ["--limit-download", "80KiB/s", "--no-safety-copy"];

pub(super) fn run_of(living: &Living) -> String {
    let all = journals(&living.world);
    assert_eq!(all.len(), 1, "{all:?}");
    text(&all[0]["metadata"]["labels"]["homelab-dr.io/run"]).to_owned()
}

pub(super) fn kill(mut child: std::process::Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

pub(super) fn is_at_zero(living: &Living) {
    let app = living.world.kube.object(DEPLOYMENTS, "media", "app").unwrap();
    assert_eq!(app["spec"]["replicas"], 0, "{app}");
    assert_eq!(living.world.kube.shared.with(|state| pods_of_app(state)), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_safety_copy_nothing_is_written_and_it_is_let_go() {
    let living = Living::new().await;
    let world = &living.world;
    let ran = living.restore(&["--mover-image", "absent:1"]).await.exits(1);
    assert!(said(&ran).contains("its safety copy was not made"), "{}", said(&ran));
    assert!(said(&ran).contains("--no-safety-copy goes without"), "{}", said(&ran));
    let seen = &ran.json()["report"]["not_written"]["mover"];
    assert!(seen["events"].to_string().contains("absent:1"), "{seen:#}");
    living.is_untouched().await;
    assert_eq!(world.snapshots().await.len(), 1);

    // Killed while it is made: whoever releases starts what was there.
    world.kube.faults(|faults| faults.hold_pods("media/homelab-dr-"));
    let first = living.begin(&[]);
    until_held(world).await;
    world.kube.until("its mover is made", |state| state.objects("pods").iter().any(|pod| is_ours(pod))).await;
    kill(first);
    let ran = living.restore(&[]).await.exits(7);
    let run = run_of(&living);
    assert!(said(&ran).contains(&format!("homelab-dr release --run {run}")), "{}", said(&ran));
    world.kube.faults(|faults| faults.release_pods("media/homelab-dr-"));
    world.run(&["release", "--run", &run, "--yes", "--kubeconfig", "kubeconfig"]).await.exits(0);
    until_back(world, DEPLOYMENTS).await;
    assert!(in_place::picture(&living.folder()) == living.spoilt);
    living.restore(&[]).await.exits(0);
    living.is_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_writes_nothing_starts_and_the_next_run_goes_on() {
    let living = Living::new().await;
    let world = &living.world;
    let first = living.begin(&SLOW);
    world.until_at_work(1).await;
    kill(first);
    is_at_zero(&living);
    let run = run_of(&living);
    let release = async |more: &[&str]| {
        let args = ["release", "--run", &run, "--yes", "--kubeconfig", "kubeconfig"];
        world.run(&[&args[..], more].concat()).await
    };
    let ran = release(&[]).await.exits(3);
    assert!(ran.out.contains("STILL HELD") && ran.out.contains("--in-place"), "{}", ran.out);
    is_at_zero(&living);
    // Also when that run is surely dead, a backup neither lets it go nor takes half of something.
    age(world);
    let ran = world.backup(&[]).await.exits(1);
    assert!(ran.err.contains("a restore has begun to fill it and has not ended"), "{}", ran.err);
    assert!(ran.err.contains("STILL HELD"), "{}", ran.err);
    is_at_zero(&living);
    let told = living.restore(&[]).await.exits(0).json();
    assert_eq!(told["plan"]["goes_on"], run.as_str(), "{told:#}");
    living.is_back().await;

    // Killed again, and somebody wants it to start all the same.
    std::fs::write(living.folder().join("extra"), "again").unwrap();
    let second = living.begin(&SLOW);
    world.until_at_work(1).await;
    kill(second);
    let run = run_of(&living);
    let args = ["release", "--run", &run, "--unfinished", "--yes", "--kubeconfig", "kubeconfig"];
    world.run(&args).await.exits(0);
    until_back(world, DEPLOYMENTS).await;
    assert_eq!(journals(world).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_repository_keeps_it_at_zero_until_it_is_mended_or_gone_back_from() {
    let living = Living::new().await;
    let world = &living.world;
    let sizes = world.lab.sizes();
    let packs: Vec<&String> =
        sizes.keys().filter(|name| name.starts_with("packs/") && sizes[*name] > 500_000).collect();
    assert!(!packs.is_empty());
    let path = |name: &String| world.s3.bucket_dir().join("home").join(name);
    let good: Vec<Vec<u8>> = packs.iter().map(|name| std::fs::read(path(name)).unwrap()).collect();
    for (name, bytes) in packs.iter().zip(&good) {
        let mut bytes = bytes.clone();
        for at in (2000..bytes.len()).step_by(1000) {
            bytes[at] ^= 0xff;
        }
        std::fs::write(path(name), bytes).unwrap();
    }
    // As people see it: what became of the volume, in what state its workload is, and what to run.
    let mut args = Living::args("latest:pvc/media/data", &[]);
    args.retain(|arg| *arg != "--json");
    let ran = world.run(&args).await.exits(4);
    let run = run_of(&living);
    let goes_back = ran.out.lines().find_map(|line| line.strip_prefix("what was in it before: snapshot "));
    let copy = goes_back.and_then(|line| line.split(';').next()).unwrap_or_else(|| panic!("{}", ran.out)).to_owned();
    assert!(ran.out.contains("media/data: UNKNOWN: "), "{}", ran.out);
    let command =
        format!("`homelab-dr restore {copy} --into-claim media/data --in-place --kubeconfig kubeconfig` goes back");
    assert!(ran.out.contains(&command), "{}", ran.out);
    for part in [
        "Deployment media/app STAYS AT ZERO, since the volume is half of something: `homelab-dr restore ",
        " --into-claim media/data --in-place --kubeconfig kubeconfig` goes on",
        &format!(
            "`homelab-dr release --run {run} --unfinished --kubeconfig kubeconfig` starts what uses it all the same"
        ),
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    is_at_zero(&living);
    for (name, bytes) in packs.iter().zip(&good) {
        std::fs::write(path(name), bytes).unwrap();
    }
    // Back to what was there, by the command that the refusal names; then to the snapshot after all.
    let told = world.run(&Living::args(&copy, &[])).await.exits(0).json();
    assert!(text(&told["plan"]["safety_copy"]).starts_with(&copy), "{copy}: {told:#}");
    living.is_untouched().await;
    living.restore(&["--no-safety-copy"]).await.exits(0);
    living.is_back().await;
}

/// Somebody starts it in the middle: that is told, and it is not taken for restored.
#[tokio::test(flavor = "multi_thread")]
async fn what_starts_in_the_middle_is_seen() {
    let living = Living::new().await;
    let world = &living.world;
    let first = living.begin(&SLOW);
    world.until_at_work(1).await;
    let scale = |replicas: u64| {
        world.kube.shared.with(|state| {
            let app = state.object(DEPLOYMENTS, "media", "app").unwrap();
            state.edit(&app, |app| app["spec"]["replicas"] = replicas.into());
        });
    };
    scale(1);
    let ran = world.end(first).await.exits(3);
    assert!(ran.json()["report"]["volume"]["why"].to_string().contains("did not rest"), "{}", ran.out);
    let ran = living.restore(&[]).await.exits(7);
    assert!(said(&ran).contains("uses it, although a restore of it has not ended"), "{}", said(&ran));
    scale(0);
    until_held(world).await;
    living.restore(&[]).await.exits(0);
    living.is_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_restored_in_place_is_refused_before_anything_is_held() {
    let living = Living::new().await;
    let world = &living.world;
    let into = async |claim: &str| {
        let args = ["restore", "latest:pvc/media/data", "--into-claim", claim, "--in-place", "--yes"];
        world.run(&[&args[..], &["--kubeconfig", "kubeconfig"]].concat()).await
    };
    let ran = into("media/none").await.exits(7);
    assert!(ran.err.contains("there is no such claim"), "{}", ran.err);
    world.kube.make("media", claim_of("waits", "local-path"));
    let ran = into("media/waits").await.exits(7);
    assert!(ran.err.contains("it has no volume"), "{}", ran.err);
    world.application("media", "alone", "true").await;
    let ran = into("media/alone").await.exits(7);
    assert!(ran.err.contains("nobody would start this pod again"), "{}", ran.err);
    assert_eq!(journals(world).len(), 0);
    living.is_untouched().await;
}
