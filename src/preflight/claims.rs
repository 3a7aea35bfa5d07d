//! What becomes of each claim, and whether the cluster has what CSI snapshots take.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Check, Finding, Findings, Severity};
use crate::backup::volumes::claims::{Claim, Fate};
use crate::cluster::object::{at, items, name_of, namespace_of, text};
use crate::cluster::{Cluster, ClusterError};
use crate::volumes::choose::Way;
use crate::volumes::facts::{Facts, Snapshots, Source};
use crate::volumes::kinds;

const fn word(way: &Way) -> &'static str {
    match way {
        Way::Snapshot { .. } => "a snapshot",
        Way::Clone { .. } => "a clone",
        _ => "a live mount",
    }
}

/// A finding for each claim: its way, who leaves it out, or why it is not read.
pub(super) fn look(findings: &mut Findings, claims: &[Claim]) {
    for claim in claims {
        let on = claim.source();
        match &claim.fate {
            Fate::Read(read) => {
                let what = format!("read by {}, because {}", word(&read.choice.way), read.choice.reason);
                findings.add(
                    Finding::new(Severity::Fine, Check::Claims, on, what).because(read.choice.cautions.join("; ")),
                );
            }
            Fate::Excluded { by } => findings.fine(Check::Claims, on, format!("left out by {by}")),
            Fate::Refused { why, mend } => {
                let finding = Finding::new(Severity::Blocks, Check::Claims, on, "is in no snapshot");
                findings.add(finding.because(why).mended_by(mend));
            }
            Fate::Dumped { by } => {
                findings.fine(Check::Claims, on, format!("covered by the dump {by}, if that succeeds"));
            }
            Fate::Unselected => {}
        }
    }
    if claims.is_empty() {
        findings.fine(Check::Claims, "claims", "the cluster has none");
    }
}

/// The drivers of claims that are bound, with how many claims each has.
fn drivers(facts: &Facts) -> BTreeMap<&str, usize> {
    let mut found = BTreeMap::new();
    for claim in &facts.claims {
        let volume = claim.volume.as_ref().and_then(|name| facts.volumes.get(name));
        if let Some(Source::Csi(driver)) = volume.map(|volume| &volume.source) {
            *found.entry(driver.as_str()).or_insert(0) += 1;
        }
    }
    found
}

const INSTALL: &str = "install kubernetes-csi/external-snapshotter (k3s comes without it): \
                       kubectl kustomize https://github.com/kubernetes-csi/external-snapshotter/client/config/crd | kubectl create -f -, \
                       and its deploy/kubernetes/snapshot-controller in the same way";

/// Whether snapshots could be taken where volumes are of CSI drivers. Without them there are other ways: nothing here blocks.
pub(super) async fn snapshots(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    facts: &Facts,
    has_home: bool,
) -> Result<(), ClusterError> {
    let drivers = drivers(facts);
    if drivers.is_empty() {
        return Ok(());
    }
    let names = || drivers.keys().copied().collect::<Vec<_>>().join(", ");
    let doubtful = |on: String, what: &str| Finding::new(Severity::Doubtful, Check::Snapshots, on, what);
    if !has_home {
        let finding = doubtful(names(), "is not asked for snapshots: the source has no namespace of homelab-dr's own");
        let mend = "kubectl create namespace homelab-dr, and set the source's `namespace: homelab-dr`";
        findings.add(finding.because("every claim is read live, not as of one moment").mended_by(mend));
        return Ok(());
    }
    let classes = match &facts.snapshots {
        Snapshots::Classes(classes) => classes,
        Snapshots::Missing => {
            findings
                .add(doubtful(names(), "takes no snapshots: the cluster knows no VolumeSnapshots").mended_by(INSTALL));
            return Ok(());
        }
        Snapshots::Unknown(why) => {
            findings.add(doubtful(names(), "nobody knows whether it takes snapshots").because(why));
            return Ok(());
        }
    };
    let is_controller = |pod: Value| {
        let images = items(&pod, &["spec", "containers"])
            .iter()
            .any(|container| text(container, &["image"]).contains("snapshot-controller"));
        let ready = items(&pod, &["status", "conditions"])
            .iter()
            .any(|condition| text(condition, &["type"]) == "Ready" && text(condition, &["status"]) == "True");
        (images && at(&pod, &["metadata", "deletionTimestamp"]).is_null())
            .then(|| (format!("{}/{}", namespace_of(&pod).unwrap_or_default(), name_of(&pod)), ready))
    };
    let found = findings.read(cluster, Check::Snapshots, &kinds::pods(), is_controller).await?;
    match found.as_deref() {
        None => {}
        Some([]) => {
            let finding = doubtful("the snapshot controller".to_owned(), "no pod has an image of that name");
            let why = "if nothing acts on VolumeSnapshots they never become ready; it may be there under another name";
            findings.add(finding.because(why).mended_by(INSTALL));
        }
        Some(pods) if pods.iter().any(|(_, ready)| *ready) => {
            findings.fine(Check::Snapshots, "the snapshot controller", "runs");
        }
        Some(pods) => {
            let names: Vec<&str> = pods.iter().map(|(name, _)| name.as_str()).collect();
            let finding =
                doubtful("the snapshot controller".to_owned(), "is not ready: no VolumeSnapshot becomes ready");
            findings.add(finding.because(names.join(", ")).mended_by("see kubectl describe of that pod"));
        }
    }
    for (driver, number) in &drivers {
        let of_driver = |snapshot_class: &crate::volumes::facts::SnapshotClass| snapshot_class.driver == **driver;
        let Some((class, _)) = classes.iter().find(|(_, class)| of_driver(class)) else {
            let what = format!("has no VolumeSnapshotClass: its {number} claims are read in another way");
            let class = format!(
                "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshotClass\nmetadata: {{name: {}}}\ndriver: {driver}\ndeletionPolicy: Delete{}",
                driver.replace('.', "-"),
                // Anything else would be copied to Longhorn's own target first.
                if *driver == "driver.longhorn.io" { "\nparameters: {type: snap}" } else { "" },
            );
            let finding = doubtful((*driver).to_owned(), &what);
            findings.add(finding.mended_by(format!("if the driver takes snapshots (kubectl create -f -):\n{class}")));
            continue;
        };
        findings.fine(Check::Snapshots, *driver, format!("has the VolumeSnapshotClass {class}"));
    }
    Ok(())
}
