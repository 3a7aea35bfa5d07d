//! Room for the volumes of restored claims, as far as anybody says how much there is. That a class is missing, the plan says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Check, Finding, Findings, Severity};
use crate::base::units;
use crate::cluster::object::{annotation, name_of, text};
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::recover::cluster::plan::Step;
use crate::volumes::{kinds, quantity};

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// What the claims of a class ask for.
#[derive(Default)]
struct Asked {
    claims: usize,
    bytes: u64,
    largest: u64,
}

/// What the storage of a class says that it has: in all, and for one volume.
type Room = BTreeMap<String, (u64, u64)>;

async fn room(cluster: &dyn Cluster, findings: &mut Findings) -> Result<Room, ClusterError> {
    let kind = Kind::known("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity", true);
    let of = |said: Value| {
        let bytes = |field: &str| quantity::bytes(text(&said, &[field]));
        // Without one it is not known, which is not zero.
        let capacity = bytes("capacity")?;
        Some((text(&said, &["storageClassName"]).to_owned(), capacity, bytes("maximumVolumeSize").unwrap_or(capacity)))
    };
    let mut room = Room::new();
    for (class, capacity, most) in findings.read(cluster, Check::Space, &kind, of).await?.into_iter().flatten() {
        let entry = room.entry(class).or_default();
        *entry = (entry.0.saturating_add(capacity), entry.1.max(most.min(capacity)));
    }
    Ok(room)
}

/// What all nodes have for pods on their own disks, free or not.
async fn on_nodes(cluster: &dyn Cluster, findings: &mut Findings) -> Result<u64, ClusterError> {
    let of = |node: Value| quantity::bytes(text(&node, &["status", "allocatable", "ephemeral-storage"]));
    let found = findings.read(cluster, Check::Space, &kinds::nodes(), of).await?;
    Ok(found.into_iter().flatten().fold(0, u64::saturating_add))
}

/// Judges the claims among the steps that are created.
pub(super) async fn look(cluster: &dyn Cluster, findings: &mut Findings, steps: &[Step]) -> Result<(), ClusterError> {
    let mut asked: BTreeMap<Option<String>, Asked> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.object.kind == "persistentvolumeclaims" && step.fate.creates()) {
        let claim = step.manifest();
        let class = claim.pointer("/spec/storageClassName").and_then(Value::as_str).map(str::to_owned);
        // A claim that names its volume, or wants none made (""), waits for one.
        let bytes = quantity::bytes(text(claim, &["spec", "resources", "requests", "storage"])).unwrap_or(0);
        let entry = asked.entry(class).or_default();
        entry.claims += 1;
        entry.bytes = entry.bytes.saturating_add(bytes);
        entry.largest = entry.largest.max(bytes);
    }
    if asked.is_empty() {
        return Ok(());
    }
    let of = |class: Value| (annotation(&class, DEFAULT) == "true").then(|| name_of(&class).to_owned());
    let default = findings.read(cluster, Check::Space, &kinds::storage_classes(), of).await?.unwrap_or_default();
    let room = room(cluster, findings).await?;
    let on_nodes = on_nodes(cluster, findings).await?;
    for (class, asked) in &asked {
        // Without a default the plan has a conflict; a claim that wants no class ("") is bound by hand.
        let class = class.as_deref().or(default.first().map(String::as_str)).filter(|class| !class.is_empty());
        if let Some(class) = class {
            judge(findings, class, asked, (&room, on_nodes));
        }
    }
    Ok(())
}

/// What is known of the disks of nodes.
fn disks(on_nodes: u64) -> String {
    if on_nodes == 0 {
        return "local volumes never have one".to_owned();
    }
    let all = units::bytes(on_nodes);
    format!("if its volumes lie on the nodes' own disks: those have {all} for pods in all, used and free")
}

fn judge(findings: &mut Findings, class: &str, asked: &Asked, (room, on_nodes): (&Room, u64)) {
    let on = format!("storage class {class}");
    let wanted = format!(
        "{} in {} {}, the largest {}",
        units::bytes(asked.bytes),
        asked.claims,
        if asked.claims == 1 { "claim" } else { "claims" },
        units::bytes(asked.largest)
    );
    match room.get(class) {
        None => {
            let finding = Finding::new(
                Severity::Doubtful,
                Check::Space,
                on,
                format!("is asked for {wanted}, and nobody says how much it has"),
            );
            findings.add(
                finding
                    .because(format!("there is no CSIStorageCapacity for it; {}", disks(on_nodes)))
                    .mended_by("see df on the nodes, or the storage's own console"),
            );
        }
        Some((all, most)) if asked.bytes > *all || asked.largest > *most => {
            let what = format!(
                "is asked for {wanted}, and has {} in all, {} for one volume",
                units::bytes(*all),
                units::bytes(*most)
            );
            let finding = Finding::new(Severity::Blocks, Check::Space, on, what).because("CSIStorageCapacity says so");
            findings.add(
                finding.mended_by("add disks, or leave claims out: --exclude 'NAMESPACE/persistentvolumeclaims/NAME'"),
            );
        }
        Some((all, _)) => {
            findings.fine(Check::Space, on, format!("is asked for {wanted}, and has {}", units::bytes(*all)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_judged_where_somebody_says_it_and_never_guessed() {
        let room = Room::from([("fast".to_owned(), (100, 60))]);
        for (bytes, largest, known, expected) in [
            (50, 50, &room, Severity::Fine),
            (101, 50, &room, Severity::Blocks),
            (70, 70, &room, Severity::Blocks),
            (50, 50, &Room::new(), Severity::Doubtful),
        ] {
            let mut findings = Findings::default();
            judge(&mut findings, "fast", &Asked { claims: 1, bytes, largest }, (known, 0));
            let found: Vec<Severity> = findings.findings.iter().map(|finding| finding.severity).collect();
            assert_eq!(found, [expected], "{bytes}");
        }
    }
}
