//! Storage classes that restored claims want, and room for their volumes, as far as anybody says how much there is.

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
    claims: Vec<String>,
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

/// The classes of a cluster, its default one among them.
struct Classes {
    names: Vec<String>,
    default: Option<String>,
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
        entry.claims.push(step.object.to_string());
        entry.bytes = entry.bytes.saturating_add(bytes);
        entry.largest = entry.largest.max(bytes);
    }
    if asked.is_empty() {
        return Ok(());
    }
    let of = |class: Value| Some((name_of(&class).to_owned(), annotation(&class, DEFAULT) == "true"));
    let Some(there) = findings.read(cluster, Check::Classes, &kinds::storage_classes(), of).await? else {
        return Ok(());
    };
    let default = there.iter().find(|(_, is_default)| *is_default).map(|(name, _)| name.clone());
    let mut names: Vec<String> = there.into_iter().map(|(name, _)| name).collect();
    let brought = steps.iter().filter(|step| step.object.kind == "storageclasses.storage.k8s.io" && step.fate.acts());
    names.extend(brought.map(|step| step.object.name.clone()));
    let classes = Classes { names, default };
    let room = room(cluster, findings).await?;
    let on_nodes = on_nodes(cluster, findings).await?;
    for (class, asked) in &asked {
        judge(findings, class.as_deref(), asked, (&classes, &room, on_nodes));
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

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn judge(
    findings: &mut Findings,
    class: Option<&str>,
    asked: &Asked,
    (classes, room, on_nodes): (&Classes, &Room, u64),
) {
    let of_default = classes.default.as_deref();
    let class = match (class, of_default) {
        // Bound by hand.
        (Some(""), _) => return,
        (Some(class), _) => class,
        (None, Some(default)) => default,
        (None, None) => {
            let finding = Finding::new(
                Severity::Blocks,
                Check::Classes,
                listed(&asked.claims),
                "wants the default storage class, and there is none",
            );
            let mend = format!("kubectl annotate storageclass NAME {DEFAULT}=true");
            findings.add(finding.mended_by(mend));
            return;
        }
    };
    let on = format!("storage class {class}");
    if !classes.names.iter().any(|name| name == class) {
        let what = format!("is not there, and is wanted by {}", listed(&asked.claims));
        let (why, mend) = match of_default.or(classes.names.first().map(String::as_str)) {
            Some(other) => (
                format!(
                    "the cluster has {}{}",
                    listed(&classes.names),
                    of_default.map(|name| format!("; its default is {name}")).unwrap_or_default()
                ),
                format!(
                    "make one of this name like another: kubectl get storageclass {other} -o json | jq '.metadata = {{name: \"{class}\"}}' | kubectl create -f -"
                ),
            ),
            None => (
                "the cluster has none at all".to_owned(),
                "install storage first, such as local-path or a CSI driver".to_owned(),
            ),
        };
        findings.add(Finding::new(Severity::Blocks, Check::Classes, on, what).because(why).mended_by(mend));
        return;
    }
    let wanted = format!(
        "{} in {} claims, the largest {}",
        units::bytes(asked.bytes),
        asked.claims.len(),
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
        let asked = |bytes, largest| Asked { claims: vec!["persistentvolumeclaims media/a".into()], bytes, largest };
        let classes =
            |default: Option<&str>| Classes { names: vec!["fast".into()], default: default.map(str::to_owned) };
        let room = Room::from([("fast".to_owned(), (100, 60))]);
        let judged = |class: Option<&str>, asked: &Asked, classes: &Classes, room: &Room| {
            let mut findings = Findings::default();
            judge(&mut findings, class, asked, (classes, room, 0));
            findings.findings.first().map(|finding| (finding.check, finding.severity))
        };
        for (class, ask, default, known, expected) in [
            (Some("fast"), asked(50, 50), None, &room, Some((Check::Space, Severity::Fine))),
            (Some("fast"), asked(101, 50), None, &room, Some((Check::Space, Severity::Blocks))),
            (Some("fast"), asked(70, 70), None, &room, Some((Check::Space, Severity::Blocks))),
            (Some("fast"), asked(50, 50), None, &Room::new(), Some((Check::Space, Severity::Doubtful))),
            (Some("slow"), asked(1, 1), Some("fast"), &room, Some((Check::Classes, Severity::Blocks))),
            (None, asked(1, 1), Some("fast"), &room, Some((Check::Space, Severity::Fine))),
            (None, asked(1, 1), None, &room, Some((Check::Classes, Severity::Blocks))),
            (Some(""), asked(1, 1), None, &room, None),
        ] {
            assert_eq!(judged(class, &ask, &classes(default), known), expected, "{class:?} {}", ask.bytes);
        }
    }
}
