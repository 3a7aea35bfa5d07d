//! A raw volume that an application has is brought back where it is: at zero, with a copy of what was on it, and by the pieces that differ.

use super::device::{BYTES, MIB, disk, write};
use super::in_place::{DEPLOYMENTS, said};
use super::in_place_trouble::{SLOW, kill};
use super::*;
use crate::volumes_backup::hooks::{journals, nothing_is_held, until_back, until_held, workload};

const BACK: [&str; 9] = [
    "restore",
    "latest:pvc/media/disk",
    "--into-claim",
    "media/disk",
    "--in-place",
    "--kubeconfig",
    "kubeconfig",
    "--yes",
    "--json",
];

/// What somebody did to it: here and there, where there were zeros, and at the end.
fn spoilt() -> Vec<u8> {
    let mut bytes = disk();
    for at in [MIB / 2, 3 * MIB, BYTES - 1] {
        bytes[at] ^= 1;
    }
    bytes
}

/// With a Deployment that has the device, a snapshot of it, and what was done to it since.
async fn living() -> Disaster {
    let disaster = Disaster::with_device().await;
    let world = &disaster.world;
    world.delete("/api/v1/namespaces/media/pods/app-disk?gracePeriodSeconds=0").await;
    let mut deployment = workload("Deployment", &["disk"]);
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    container.as_object_mut().unwrap().remove("volumeMounts");
    container["command"] = json!(["sleep", "600"]);
    container["volumeDevices"] = json!([{"name": "disk", "devicePath": "/dev/data"}]);
    world.kube.make("media", deployment);
    until_back(world, DEPLOYMENTS).await;
    world.backup(&[]).await.exits(0);
    write(&world.folder("media", "disk"), &spoilt());
    disaster
}

async fn is_back(world: &World) {
    until_back(world, DEPLOYMENTS).await;
    nothing_is_held(world);
    assert!(std::fs::read(world.folder("media", "disk")).unwrap() == disk());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_written_and_what_was_there_can_be_gone_back_to() {
    let disaster = living().await;
    let world = &disaster.world;
    let told = world.run(&BACK).await.exits(0).json();
    is_back(world).await;
    let volume = &told["report"]["volume"];
    assert_eq!(volume["outcome"], "restored", "{told:#}");
    let written = volume["restored"]["written"].as_u64().unwrap();
    assert!((1..=3 * (512 << 10)).contains(&written), "{written} bytes of {BYTES} were written: {told:#}");

    let copy = text(&told["report"]["safety_copy"]).to_owned();
    let mut back = BACK;
    back[1] = &copy;
    let told = world.run(&[&back[..], &["--no-safety-copy"]].concat()).await.exits(0).json();
    assert_eq!(told["report"]["volume"]["outcome"], "restored", "{told:#}");
    until_back(world, DEPLOYMENTS).await;
    assert!(std::fs::read(world.folder("media", "disk")).unwrap() == spoilt(), "as it was before");
}

/// Neither of the two states is on it then, so nothing starts on it, until another run has gone on to the end.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_writes_nothing_starts_and_the_next_run_goes_on() {
    let disaster = living().await;
    let world = &disaster.world;
    let mut command = world.lab.command(&[&BACK[..], &SLOW].concat());
    let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    world.until_at_work(1).await;
    let device = world.folder("media", "disk");
    for _ in 0..1200 {
        if std::fs::read(&device).unwrap() != spoilt() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    kill(child);
    until_held(world).await;
    let told = world.run(&BACK).await.exits(0).json();
    assert!(told["plan"]["goes_on"].is_string(), "{told:#}");
    is_back(world).await;
    assert_eq!(journals(world).len(), 0);
}

/// The snapshot is of a longer one: nothing is written, and what uses it is not left at zero.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_too_short_is_let_go_as_it_was() {
    let disaster = living().await;
    let world = &disaster.world;
    let device = world.folder("media", "disk");
    std::fs::File::options().write(true).open(&device).unwrap().set_len(BYTES as u64 / 2).unwrap();
    let short = std::fs::read(&device).unwrap();
    let ran = world.run(&BACK).await;
    assert!(ran.code != 0 && said(&ran).contains("has 4194304 bytes, and the snapshot 8388608"), "{}", said(&ran));
    until_back(world, DEPLOYMENTS).await;
    nothing_is_held(world);
    assert_eq!(journals(world).len(), 0);
    assert!(std::fs::read(&device).unwrap() == short, "nothing was written");
    let claim = world.kube.object("persistentvolumeclaims", "media", "disk").unwrap();
    assert!(claim["metadata"]["annotations"]["homelab-dr.io/filling-in-place"].is_null(), "{claim}");
    let mut part = BACK;
    part[1] = "latest:pvc/media/disk:device";
    assert!(said(&world.run(&part).await).contains("has 4194304 bytes"), "all of it, by its name");
}
