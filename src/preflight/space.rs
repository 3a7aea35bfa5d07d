//! Room for the volumes of restored claims, as far as anybody says how much there is. That a class is missing, the plan says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Check, Finding, Findings, Severity, is_final};
use crate::base::units;
use crate::cluster::object::{annotation, name_of, text};
use crate::cluster::{Cluster, ClusterError, Kind};
use crate::recover::cluster::plan::Step;
use crate::recover::cluster::volumes::Filling;
use crate::volumes::{kinds, quantity};

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

/// What kubelets say is free on their own disks, of the nodes that volumes are made on.
type Free = BTreeMap<String, u64>;

/// Only a kubelet knows what is free on its disk, and only who may talk to it is told: a right that nobody is advised to give for this.
async fn free(cluster: &dyn Cluster, fillings: &[Filling]) -> Result<Free, ClusterError> {
    let mut free = Free::new();
    let nodes: BTreeSet<&String> = fillings.iter().filter_map(|filling| filling.node.as_ref()).collect();
    for node in nodes {
        match cluster.free_on_node(node).await {
            Ok(bytes) => free.extend(bytes.map(|bytes| (node.clone(), bytes))),
            // A kubelet that is away, or a right that is missing: nobody says it.
            Err(ClusterError::Refused { .. }) => {}
            Err(error) if is_final(&error) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(free)
}

/// What volumes of a class that are made on nodes need there, by node.
fn on_node(fillings: &[Filling], class: &str) -> BTreeMap<String, u64> {
    let mut asked = BTreeMap::new();
    for filling in fillings.iter().filter(|filling| text(&filling.object, &["spec", "storageClassName"]) == class) {
        if let Some(node) = &filling.node {
            let bytes: &mut u64 = asked.entry(node.clone()).or_default();
            *bytes = bytes.saturating_add(filling.data.needs());
        }
    }
    asked
}

/// What is known of the disks of the nodes that a class's volumes go to: whether they lie on the kubelet's disk is not.
fn told(asked: &BTreeMap<String, u64>, free: &Free) -> Option<(bool, String)> {
    let known: Vec<(&String, u64, u64)> =
        asked.iter().filter_map(|(node, bytes)| Some((node, *bytes, *free.get(node)?))).collect();
    let short = known.iter().any(|(_, bytes, free)| bytes > free);
    let one = |(node, bytes, free): &(&String, u64, u64)| {
        format!("{node} gets {} and has {} free on its kubelet's disk", units::bytes(*bytes), units::bytes(*free))
    };
    (!known.is_empty()).then(|| (short, known.iter().map(one).collect::<Vec<_>>().join("; ")))
}

/// What all nodes have for pods on their own disks, free or not.
async fn on_nodes(cluster: &dyn Cluster, findings: &mut Findings) -> Result<u64, ClusterError> {
    let of = |node: Value| quantity::bytes(text(&node, &["status", "allocatable", "ephemeral-storage"]));
    let found = findings.read(cluster, Check::Space, &kinds::nodes(), of).await?;
    Ok(found.into_iter().flatten().fold(0, u64::saturating_add))
}

/// Judges the claims among the steps that are created, and where they are filled.
pub(super) async fn look(
    cluster: &dyn Cluster,
    findings: &mut Findings,
    steps: &[Step],
    fillings: &[Filling],
) -> Result<(), ClusterError> {
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
    let of = |class: Value| (annotation(&class, kinds::DEFAULT_CLASS) == "true").then(|| name_of(&class).to_owned());
    let default = findings.read(cluster, Check::Space, &kinds::storage_classes(), of).await?.unwrap_or_default();
    let room = room(cluster, findings).await?;
    let disks = Disks { all: on_nodes(cluster, findings).await?, free: free(cluster, fillings).await? };
    for (class, asked) in &asked {
        // Without a default the plan has a conflict; a claim that wants no class ("") is bound by hand.
        let class = class.as_deref().or(default.first().map(String::as_str)).filter(|class| !class.is_empty());
        if let Some(class) = class {
            let of_nodes = told(&on_node(fillings, class), &disks.free);
            judge(findings, class, asked, &room, of_nodes, disks.all);
        }
    }
    Ok(())
}

/// The disks of nodes.
struct Disks {
    /// Of all of them for pods, used and free.
    all: u64,
    free: Free,
}

/// What is known of the disks of nodes.
fn disks(on_nodes: u64) -> String {
    if on_nodes == 0 {
        return "local volumes never have one".to_owned();
    }
    let all = units::bytes(on_nodes);
    format!("if its volumes lie on the nodes' own disks: those have {all} for pods in all, used and free")
}

fn judge(
    findings: &mut Findings,
    class: &str,
    asked: &Asked,
    room: &Room,
    told: Option<(bool, String)>,
    on_nodes: u64,
) {
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
            let what = match &told {
                Some((true, _)) => {
                    format!("is asked for {wanted}: too much, if its volumes lie on the disks of the kubelets")
                }
                _ => format!("is asked for {wanted}, and nobody says how much it has"),
            };
            let known = told.map_or_else(|| disks(on_nodes), |(_, told)| told);
            let finding = Finding::new(Severity::Doubtful, Check::Space, on, what);
            findings.add(
                finding
                    .because(format!("there is no CSIStorageCapacity for it; {known}"))
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
            judge(&mut findings, "fast", &Asked { claims: 1, bytes, largest }, known, None, 0);
            let found: Vec<Severity> = findings.findings.iter().map(|finding| finding.severity).collect();
            assert_eq!(found, [expected], "{bytes}");
        }
    }

    #[test]
    fn the_disk_of_a_node_is_told_where_its_kubelet_says_it() {
        let nodes = |pairs: &[(&str, u64)]| pairs.iter().map(|(node, bytes)| ((*node).to_owned(), *bytes)).collect();
        let free: Free = nodes(&[("a", 100), ("b", 10)]);
        assert_eq!(told(&nodes(&[("c", 1)]), &free), None, "nobody says it");
        let (short, text) = told(&nodes(&[("a", 100)]), &free).expect("a says it");
        assert!(!short && text == "a gets 100 B and has 100 B free on its kubelet's disk", "{text}");
        assert!(told(&nodes(&[("a", 1), ("b", 11)]), &free).expect("b says it").0);
    }
}
