//! What becomes of claims and of what uses them by what became of their volumes: these are filled by one who says what he is told to say.

use std::collections::BTreeMap;

use async_trait::async_trait;
use homelab_dr::base::clock::Time;
use homelab_dr::base::id::{BlobId, ObjectId};
use homelab_dr::format::record::{Link, SnapshotRecord, Statistics, TreeRoot};
use homelab_dr::recover::cluster::Existing;
use homelab_dr::recover::cluster::data::{At, choose};
use homelab_dr::recover::cluster::volumes::{Filled, Filling, Outcome as VolumeOutcome, Volumes};
use homelab_dr::repo::snapshots::{Chain, Snapshot};
use homelab_dr::volumes::facts::Facts;

use super::*;

/// Fills nothing, and says that of it.
struct Says(VolumeOutcome);

#[async_trait]
impl Volumes for Says {
    async fn facts(&self) -> Result<Option<Facts>, String> {
        Ok(None)
    }

    async fn fill(&self, filling: &Filling) -> Filled {
        Filled::without(filling, self.0.clone())
    }

    fn at_once(&self) -> usize {
        1
    }
}

fn failed() -> Says {
    Says(VolumeOutcome::unknown("the disk is full", "make room"))
}

/// A snapshot of `media/data`, of so many files, made with so many problems.
fn snapshot(number: u8, files: u64, problems: u64) -> Snapshot {
    let started = Time(i64::from(number) * 3_600_000);
    let statistics = Statistics { files, directories: 1, bytes: files * 1000, problems, ..Statistics::default() };
    let record = SnapshotRecord {
        link: Link { sequence: number.into(), parents: Vec::new() },
        source: "pvc/media/data".into(),
        started,
        finished: started,
        paths: Vec::new(),
        root: TreeRoot { blob: BlobId::new([number; 32]), level: 0 },
        statistics,
        problems: Vec::new(),
        tags: BTreeMap::new(),
        program: String::new(),
        host: String::new(),
        based_on: None,
        device: None,
        run: None,
        blocks: None,
    };
    Snapshot { id: ObjectId::new([number; 32]), record }
}

/// Plans and carries out: `objects` with the volume of `media/data` from the nearest of `snapshots` to the ninth hour.
async fn restored(
    server: &KubeServer,
    (objects, existing): (&[(Option<Kind>, Value)], Existing),
    snapshots: Vec<Snapshot>,
    volumes: &Says,
) -> (ClusterPlan, Report) {
    let api = impatient(server).await;
    let chain = Chain { snapshots, ..Chain::default() };
    let data = choose(&chain, &snapshot(9, 1, 0).record, At::Objects);
    let options = Wanted { data, existing, ..Wanted::default() };
    let plan = make_plan(&api, manifests(objects.to_vec()), &options).await.unwrap();
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let (waits, volumes): (_, Option<&dyn Volumes>) = (Waits::default(), Some(volumes));
    let running = Running { cluster: &api, empty_volumes: false, volumes, waits, progress: &progress, cancel: &cancel };
    let report = run_plan(&plan, &running).await.unwrap();
    (plan, report)
}

/// The claim, and a deployment at zero that uses it, as another cluster has them.
async fn captured() -> Vec<(Option<Kind>, Value)> {
    let old = with_media().await;
    let mut app = deployment("app", 0);
    app["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    old.make("media", claim("data"));
    old.make("media", app);
    let of = |table: &str, name: &str| old.object(table, "media", name).unwrap();
    vec![
        (Some(kind("", "persistentvolumeclaims", "PersistentVolumeClaim")), of("persistentvolumeclaims", "data")),
        (Some(kind("apps", "deployments", "Deployment")), of("deployments.apps", "app")),
    ]
}

fn row<'a>(report: &'a Report, kind: &str) -> &'a Outcome {
    &report.rows.iter().find(|row| row.object.kind == kind).expect("a row").outcome
}

async fn with_media() -> KubeServer {
    let server = server().await;
    server.make("", namespace("media"));
    server
}

/// It is there, at zero, and would be scaled up by being replaced.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_replaced_is_held_back_too() {
    let server = with_media().await;
    let mut objects = captured().await;
    let api = impatient(&server).await;
    let first = make_plan(&api, manifests(objects[1..].to_vec()), &Wanted::default()).await.unwrap();
    carried_out(&api, &first, &Cancel::default()).await;
    objects[1].1["spec"]["replicas"] = 1.into();
    let (_, report) = restored(&server, (&objects, Existing::Update), vec![snapshot(1, 5, 0)], &failed()).await;
    assert!(matches!(row(&report, "persistentvolumeclaims"), Outcome::Unknown { .. }), "{:?}", report.rows);
    let Outcome::Held { why } = row(&report, "deployments.apps") else { panic!("{:?}", report.rows) };
    assert!(why.contains("media/data"), "{why}");
    let app = server.object("deployments.apps", "media", "app").unwrap();
    assert_eq!(app["spec"]["replicas"], 0, "{app}");
}

/// A run before was cut off, then somebody changed the claim: that it differs is not forgotten because its volume is full now.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_differs_is_told_although_its_volume_was_filled() {
    let server = with_media().await;
    let objects = captured().await;
    let wanted = (&objects[..], Existing::Skip);
    restored(&server, wanted, vec![snapshot(1, 5, 0)], &failed()).await;
    server.shared.with(|state| {
        let claim = state.object("persistentvolumeclaims", "media", "data").unwrap();
        assert!(claim["metadata"]["annotations"]["homelab-dr.io/filling"].is_string(), "{claim}");
        state.edit(&claim, |claim| claim["metadata"]["labels"] = json!({"changed": "since"}));
    });
    let filled = Says(VolumeOutcome::Restored);
    let (_, report) = restored(&server, wanted, vec![snapshot(1, 5, 0)], &filled).await;
    assert_eq!(report.volumes[0].outcome, VolumeOutcome::Restored);
    let Outcome::Kept { differs } = row(&report, "persistentvolumeclaims") else { panic!("{:?}", report.rows) };
    assert!(differs.join(" ").contains("labels"), "{differs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_of_a_snapshot_that_is_not_whole_is_no_success() {
    let objects = captured().await;
    for (snapshots, taken, well) in [
        (vec![snapshot(1, 5, 0), snapshot(2, 5, 0)], 2, true),
        (vec![snapshot(1, 5, 0), snapshot(2, 0, 0)], 1, false),
        (vec![snapshot(1, 5, 0), snapshot(2, 5, 3)], 1, false),
        (vec![snapshot(1, 0, 0), snapshot(2, 5, 3)], 2, false),
    ] {
        let server = with_media().await;
        let (plan, report) =
            restored(&server, (&objects, Existing::Skip), snapshots, &Says(VolumeOutcome::Restored)).await;
        let (_, data) = plan.fills().next().expect("data");
        assert_eq!((data.snapshot.as_bytes()[0], report.is_well()), (taken, well), "{data:?}");
        assert_eq!(report.volumes[0].outcome, VolumeOutcome::Restored, "what could be had is there");
    }
}
