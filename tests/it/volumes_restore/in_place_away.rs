//! A restore in place that loses its cluster: the node of its mover goes away, or its own account is worth nothing any more. What uses the volume stays at zero as long as that is half of
//! something, what was in it is kept, and the next run puts it right.

use homelab_dr::format::entry::TreePath;
use homelab_dr::hooks::{Acting, Waits};
use homelab_dr::recover::cluster::in_place::{InPlace, Report, plan};
use homelab_dr::recover::cluster::volumes::Outcome;

use super::impatient::Impatient;
use super::in_place::{DEPLOYMENTS, Living, said};
use super::in_place_trouble::{is_at_zero, run_of};
use super::*;
use crate::volumes_backup::hooks::{journals, until_back};

/// A restore by an impatient client, struck when its mover waits for an answer to a read of this object, which nobody gets until it is over.
async fn struck(living: &Living, object: &str, strike: impl FnOnce()) -> Report {
    let (world, s3) = (&living.world, &living.world.s3);
    let hands = Impatient::new(world, "kubeconfig", None).await;
    let planned = plan(&hands.cluster, Impatient::claim(), hands.data.clone(), &TreePath::root()).await.unwrap();
    let (cluster, clock, cancel) = (&hands.cluster, &hands.clock, &*hands.cancel);
    let acting = Acting { cluster, exec: cluster, clock, waits: Waits::default(), cancel };
    let (movers, host) = (hands.movers(), "lab");
    let run = InPlace { acting, movers, id: None, namespace: "backup", host, safety_copy: true };
    let before = s3.hung();
    s3.hang_reads_of(object);
    let cut = async {
        for _ in 0..1200 {
            if s3.hung() > before {
                return strike();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no mover reads {object}: {:?}", world.movers());
    };
    let report = tokio::join!(run.run(&planned), cut).0;
    s3.hang_reads_of("");
    report
}

/// The object with the content of the snapshot, which a mover reads only when it fills.
fn content(living: &Living) -> String {
    let sizes = living.world.lab.sizes();
    let mut packs = sizes.iter().filter(|(name, size)| name.starts_with("packs/") && **size > 1_000_000);
    let (Some((name, _)), None) = (packs.next(), packs.next()) else { panic!("one such pack: {sizes:?}") };
    name.clone()
}

/// From now on the account of whoever asks is worth nothing.
fn die(kube: &KubeServer) {
    kube.faults(|faults| faults.expire_token(true));
    kube.restart();
}

/// The volume is half of something, and what used it is not let go; gives why, and what is left of the mover.
#[track_caller]
fn half(living: &Living, report: &Report) -> (String, Vec<String>) {
    let filled = report.volume.as_ref().unwrap_or_else(|| panic!("{report:?}"));
    let Outcome::Unknown { why, .. } = &filled.outcome else { panic!("{report:?}") };
    assert!(report.released.is_none() && report.not_written.is_none(), "{report:?}");
    is_at_zero(living);
    assert_eq!(run_of(living), report.run);
    let claim = living.world.kube.object("persistentvolumeclaims", "media", "data").unwrap();
    assert!(claim["metadata"]["annotations"]["homelab-dr.io/filling-in-place"].is_string(), "{claim}");
    (why.clone(), filled.left.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_written_when_its_node_or_its_account_goes_stays_at_zero_and_is_gone_on_with() {
    let living = Living::new().await;
    let (world, kube) = (&living.world, &living.world.kube);
    let content = content(&living);
    let first = struck(&living, &content, || kube.power_off("lab-node")).await;
    let (why, left) = half(&living, &first);
    assert!(why.contains("node lab-node does not answer"), "{why}");
    assert!(left.len() == 1 && left[0].contains("Pod media/homelab-dr-"), "{left:?}");
    let copy = first.safety_copy.clone().expect("it was made before anything was written");
    kube.power_on("lab-node");
    kube.until("its mover is gone", |state| !state.objects("pods").iter().any(|pod| is_ours(pod))).await;

    // It is gone on with in its place, with the copy that there is; and it is cut off once more.
    let second = struck(&living, &content, || die(kube)).await;
    kube.faults(|faults| faults.expire_token(false));
    let (why, left) = half(&living, &second);
    assert!(why.contains("cannot be reached") && why.contains("(401)"), "{why}");
    assert_eq!(left.len(), 2, "pod and policy: {left:?}");
    assert_eq!((&second.run, second.safety_copy.as_ref()), (&first.run, Some(&copy)));

    let told = living.restore(&[]).await.exits(0).json();
    assert_eq!(told["plan"]["goes_on"], first.run.as_str(), "{told:#}");
    living.is_back().await;
    // Nothing of what was there before is lost: not what the snapshot did not have either.
    let extra = world.run(&["cat", &format!("{copy}:extra")]).await.exits(0);
    assert_eq!(extra.out, "made since");
    // The mover that was left is gone, since it had the volume. Its policy, which was named, goes when its time is over.
    assert!(world.movers().is_empty(), "{:?}", world.movers());
    let policies = kube.shared.with(|state| state.objects("networkpolicies.networking.k8s.io"));
    let names: Vec<&str> = policies.iter().map(|policy| text(&policy["metadata"]["name"])).collect();
    assert!(names.iter().all(|name| left.iter().any(|left| left.contains(name))), "{names:?} {left:?}");
}

/// Nothing is written yet, and nothing can be let go: the next run says by what command it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_worth_nothing_while_the_safety_copy_is_made_leaves_a_command() {
    let living = Living::new().await;
    let (world, kube) = (&living.world, &living.world.kube);
    let report = struck(&living, "format.json", || die(kube)).await;
    kube.faults(|faults| faults.expire_token(false));
    let not = report.not_written.as_ref().unwrap_or_else(|| panic!("{report:?}"));
    assert!(not.why.contains("its safety copy was not made") && not.why.contains("(401)"), "{not:?}");
    assert!(report.volume.is_none() && report.safety_copy.is_none(), "{report:?}");
    let released = report.released.as_ref().expect("it was tried");
    assert!(!released.is_well(), "{released:?}");
    assert!(!report.left.is_empty(), "its mover: {report:?}");
    is_at_zero(&living);
    let run = run_of(&living);
    assert_eq!(run, report.run);
    let ran = living.restore(&[]).await.exits(7);
    assert!(said(&ran).contains(&format!("homelab-dr release --run {run}")), "{}", said(&ran));
    world.run(&["release", "--run", &run, "--yes", "--kubeconfig", "kubeconfig"]).await.exits(0);
    until_back(world, DEPLOYMENTS).await;
    assert_eq!(journals(world).len(), 0);
    assert!(in_place::picture(&living.folder()) == living.spoilt, "nothing was written");
    living.restore(&[]).await.exits(0);
    living.is_back().await;
}
