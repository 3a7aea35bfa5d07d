//! Every rule as a row: what is changed of an ordinary claim, and what becomes of it.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::volumes::facts::{AccessMode, Node, Owner, Pod, SnapshotClass, Snapshots, Source, StorageClass, Wishes};

const CSI: &str = "hostpath.csi.k8s.io";
const LONGHORN: &str = "driver.longhorn.io";
const OTHER: &str = "csi.example.org";

fn node(name: &str) -> Node {
    let labels = [("kubernetes.io/hostname".to_owned(), format!("host-{name}"))];
    Node { name: name.into(), labels: labels.into(), ready: true, cordoned: false, taints: Vec::new() }
}

fn class_of(driver: &str) -> SnapshotClass {
    SnapshotClass { driver: driver.into(), default: false, parameters: BTreeMap::new() }
}

/// Pod `web` on node `a` uses claim `data` in `media`, a CSI volume whose driver takes snapshots and clones.
fn ordinary() -> Facts {
    let claim = Claim {
        namespace: "media".into(),
        name: "data".into(),
        uid: "u".into(),
        phase: Phase::Bound,
        volume: Some("pv".into()),
        storage_class: Some("fast".into()),
        access: [AccessMode::ReadWriteOnce].into(),
        bytes: 1 << 30,
        ..Claim::default()
    };
    let volume = Volume { source: Source::Csi(CSI.into()), claim_uid: Some("u".into()), nodes: None };
    let storage = StorageClass { provisioner: CSI.into(), waits_for_consumer: true };
    Facts {
        claims: vec![claim],
        volumes: [("pv".to_owned(), volume)].into(),
        storage_classes: [("fast".to_owned(), storage)].into(),
        drivers: [CSI, LONGHORN, OTHER].map(str::to_owned).into(),
        snapshots: Snapshots::Classes([("snaps".to_owned(), class_of(CSI))].into()),
        pods: vec![pod("web", "a")],
        namespaces: [("media".to_owned(), Namespace::default())].into(),
        nodes: ["a", "b"].map(|name| (name.to_owned(), node(name))).into(),
    }
}

fn pod(name: &str, on: &str) -> Pod {
    Pod {
        namespace: "media".into(),
        name: name.into(),
        node: Some(on.to_owned()).filter(|node| !node.is_empty()),
        running: !on.is_empty(),
        claims: ["data".to_owned()].into(),
        ephemeral: std::collections::BTreeSet::new(),
        runtime_class: None,
        tolerations: Vec::new(),
    }
}

fn claim(facts: &mut Facts) -> &mut Claim {
    facts.claims.first_mut().expect("one claim")
}

fn volume(facts: &mut Facts) -> &mut Volume {
    facts.volumes.get_mut("pv").expect("one volume")
}

fn space(facts: &mut Facts) -> &mut Namespace {
    facts.namespaces.get_mut("media").expect("one namespace")
}

fn node_a(facts: &mut Facts) -> &mut Node {
    facts.nodes.get_mut("a").expect("node a")
}

/// The claim is made for its pod and goes with it.
fn is_ephemeral(facts: &mut Facts) {
    facts.pods.iter_mut().for_each(|pod| drop(pod.ephemeral.replace("data".into())));
}

/// The volume and its class are of another driver, which nobody knows.
fn of_driver(facts: &mut Facts, driver: &str) {
    volume(facts).source = Source::Csi(driver.into());
    facts.storage_classes.insert("fast".into(), StorageClass { provisioner: driver.into(), waits_for_consumer: false });
}

/// The volume is a directory of node `a`, as local-path makes it.
fn local_path(facts: &mut Facts) {
    volume(facts).source = Source::HostPath("/opt/local-path-provisioner/pvc-1_media_data".into());
    volume(facts).nodes = Some(json!({"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-a"]},
    ]}]}));
}

/// A way in one line: `snapshot snaps`, `clone`, `live a beside web`, `refused`, …
fn line(way: &Way) -> String {
    match way {
        Way::Snapshot { class, copy } => format!("snapshot {class} into {}", copy.storage_class),
        Way::Clone { copy } => format!("clone into {}", copy.storage_class),
        Way::Live { node, beside } => {
            let node = node.as_deref().unwrap_or("anywhere");
            beside.as_ref().map_or_else(|| format!("live {node}"), |pod| format!("live {node} beside {pod}"))
        }
        Way::Empty => "empty".into(),
        Way::Excluded { by } => format!("excluded by {by}"),
        Way::Refused { why, .. } => format!("refused: {why}"),
    }
}

fn chosen(facts: &Facts, policy: &Policy) -> Choice {
    let mut choices = choose(facts, policy);
    assert_eq!(choices.len(), 1, "one claim, one choice");
    let choice = choices.remove(0);
    assert!(!choice.reason.is_empty(), "{choice:?}");
    if let Way::Refused { why, mend } = &choice.way {
        assert!(!mend.is_empty() && why == &choice.reason, "{choice:?}");
    }
    let text = serde_json::to_string(&choice).expect("plain data");
    assert_eq!(serde_json::from_str::<Choice>(&text).expect("read back"), choice);
    choice
}

type Row<'a> = (&'a str, &'a dyn Fn(&mut Facts, &mut Policy), &'a str);

/// The beginning of the line is compared, and after ` … ` a part of the rest.
fn check(rows: &[Row<'_>]) {
    for (what, change, expected) in rows {
        let (mut facts, mut policy) = (ordinary(), Policy::default());
        change(&mut facts, &mut policy);
        let choice = chosen(&facts, &policy);
        let line = line(&choice.way);
        let (start, part) = expected.split_once(" … ").unwrap_or((expected, ""));
        assert!(line.starts_with(start) && line.contains(part), "{what}: {line:?} and not {expected:?} ({choice:?})");
    }
}

#[test]
fn the_best_way_that_the_storage_can_is_taken() {
    check(&[
        ("a class for the driver", &|_, _| {}, "snapshot snaps into fast"),
        ("no definitions", &|f, _| f.snapshots = Snapshots::Missing, "clone into fast"),
        (
            "the API of snapshots does not answer",
            &|f, _| f.snapshots = Snapshots::Unknown("503".into()),
            "clone into fast",
        ),
        ("no class", &|f, _| f.snapshots = Snapshots::Classes(BTreeMap::new()), "clone into fast"),
        ("a class for another driver only", &|f, _| of_driver(f, LONGHORN), "clone into fast"),
        ("a driver that may not be able to clone", &|f, _| of_driver(f, OTHER), "live a beside web"),
        (
            "a driver with a prefix, as Rook names it",
            &|f, _| {
                of_driver(f, "rook-ceph.rbd.csi.ceph.com");
                f.drivers.insert("rook-ceph.rbd.csi.ceph.com".into());
            },
            "clone into fast",
        ),
        ("a driver that is gone", &|f, _| f.drivers.clear(), "live a beside web"),
        (
            "the claim has no StorageClass, another fits",
            &|f, _| claim(f).storage_class = None,
            "snapshot snaps into fast",
        ),
        (
            "a clone needs the same class",
            &|f, _| {
                claim(f).storage_class = None;
                f.snapshots = Snapshots::Missing;
            },
            "live a beside web",
        ),
        ("no StorageClass of the driver", &|f, _| f.storage_classes.clear(), "live a beside web"),
        ("a raw block device", &|f, _| claim(f).block = true, "snapshot snaps"),
        ("ReadWriteOncePod", &|f, _| claim(f).access = [AccessMode::ReadWriteOncePod].into(), "snapshot snaps"),
        ("ReadWriteMany", &|f, _| claim(f).access = [AccessMode::ReadWriteMany].into(), "snapshot snaps"),
        ("nobody uses it", &|f, _| f.pods.clear(), "snapshot snaps"),
        ("local-path", &|f, _| local_path(f), "live a beside web"),
        ("NFS", &|f, _| volume(f).source = Source::Nfs("nas:/x".into()), "live anywhere beside web"),
        ("iSCSI", &|f, _| volume(f).source = Source::Other("iscsi".into()), "live a beside web"),
    ]);
}

#[test]
fn the_class_of_snapshots_is_the_wanted_the_default_or_the_first_that_is_fit() {
    let classes = |f: &mut Facts, list: &[(&str, SnapshotClass)]| {
        f.snapshots =
            Snapshots::Classes(list.iter().map(|(name, class)| ((*name).to_owned(), class.clone())).collect());
    };
    let longhorn =
        |kind: &str| SnapshotClass { parameters: [("type".to_owned(), kind.to_owned())].into(), ..class_of(LONGHORN) };
    let default = || SnapshotClass { default: true, ..class_of(CSI) };
    check(&[
        ("the first by name", &|f, _| classes(f, &[("b", class_of(CSI)), ("a", class_of(CSI))]), "snapshot a"),
        ("the default", &|f, _| classes(f, &[("b", default()), ("a", class_of(CSI))]), "snapshot b"),
        (
            "the wanted",
            &|f, p| {
                classes(f, &[("b", default()), ("a", class_of(CSI))]);
                p.snapshot_classes.insert(CSI.into(), "a".into());
            },
            "snapshot a",
        ),
        ("the wanted is not there", &|_, p| drop(p.snapshot_classes.insert(CSI.into(), "x".into())), "clone"),
        (
            "the wanted is for another driver",
            &|f, p| {
                classes(f, &[("a", class_of(OTHER)), ("b", class_of(CSI))]);
                p.snapshot_classes.insert(CSI.into(), "a".into());
            },
            "clone",
        ),
        (
            "Longhorn's class for snapshots, not the default for backups",
            &|f, _| {
                of_driver(f, LONGHORN);
                classes(
                    f,
                    &[
                        ("a", SnapshotClass { default: true, ..longhorn("bak") }),
                        ("b", longhorn("bi")),
                        ("c", longhorn("snap")),
                    ],
                );
            },
            "snapshot c",
        ),
        (
            "a class of Longhorn without a type is for backups",
            &|f, _| {
                of_driver(f, LONGHORN);
                classes(f, &[("a", class_of(LONGHORN))]);
            },
            "clone",
        ),
    ]);
}

#[test]
fn what_is_left_out_is_left_out_by_the_nearest_wish() {
    let wish = |text: &str| Wishes { backup: Some(text.to_owned()), ..Wishes::default() };
    let mine = "excluded by annotation homelab-dr.io/backup of the claim";
    let far = "excluded by annotation homelab-dr.io/backup of namespace media";
    check(&[
        ("the claim", &|f, _| claim(f).wishes = wish("false"), mine),
        ("the namespace", &|f, _| space(f).wishes = wish("false"), far),
        (
            "the claim goes before its namespace",
            &|f, _| {
                space(f).wishes = wish("false");
                claim(f).wishes = wish("true");
            },
            "snapshot",
        ),
        (
            "the configuration, by name",
            &|_, p| p.exclude.push("media/data".into()),
            "excluded by the configuration: exclude media/data",
        ),
        ("the configuration, by namespace", &|_, p| p.exclude.push("media/*".into()), "excluded by the configuration"),
        (
            "the configuration, another",
            &|_, p| p.exclude = vec!["media/dat".into(), "data".into(), "med/*".into()],
            "snapshot",
        ),
        (
            "an annotation goes before the configuration",
            &|f, p| {
                p.exclude.push("media/*".into());
                space(f).wishes = wish("true");
            },
            "snapshot",
        ),
        (
            "a wish that nobody can read",
            &|f, _| claim(f).wishes = wish("no"),
            "refused: annotation homelab-dr.io/backup of the claim is \"no\"",
        ),
        (
            "an empty one",
            &|f, _| space(f).wishes = wish(""),
            "refused: annotation homelab-dr.io/backup of namespace media is \"\"",
        ),
        (
            "our own",
            &|f, _| claim(f).run = Some(super::super::RunId::new([1; 8])),
            "excluded by homelab-dr: run 0101010101010101",
        ),
        ("an ephemeral volume", &|f, _| is_ephemeral(f), "excluded by pod web"),
        (
            "an ephemeral volume that is wanted",
            &|f, _| {
                is_ephemeral(f);
                claim(f).wishes = wish("true");
            },
            "snapshot",
        ),
        (
            "what is left out need not work",
            &|f, _| {
                claim(f).wishes = wish("false");
                claim(f).phase = Phase::Lost;
            },
            mine,
        ),
    ]);
}

#[test]
fn a_claim_without_data_is_empty_only_if_it_never_had_any() {
    let pending = |f: &mut Facts| {
        claim(f).phase = Phase::Pending;
        claim(f).volume = None;
    };
    check(&[
        ("never consumed", &|f, _| pending(f), "empty"),
        (
            "to be filled from a snapshot",
            &|f, _| {
                pending(f);
                claim(f).filled_from = Some("VolumeSnapshot old".into());
            },
            "refused: it is still to be filled from VolumeSnapshot old",
        ),
        ("waits for a certain volume", &|f, _| claim(f).phase = Phase::Pending, "refused: it waits for the volume pv"),
        ("lost", &|f, _| claim(f).phase = Phase::Lost, "refused: it lost its data: pv is gone"),
        ("its volume is not listed", &|f, _| f.volumes.clear(), "refused: its volume \"pv\" is not there"),
        (
            "its volume is another's",
            &|f, _| volume(f).claim_uid = Some("x".into()),
            "refused: its volume pv belongs to another claim",
        ),
        ("it is being deleted", &|f, _| claim(f).dying = true, "refused: it is being deleted"),
        ("its namespace is being deleted", &|f, _| space(f).dying = true, "refused: its namespace is being deleted"),
        ("filled long ago", &|f, _| claim(f).filled_from = Some("VolumeSnapshot old".into()), "snapshot"),
    ]);
}

#[test]
fn a_way_that_is_asked_for_is_the_only_one() {
    let wish = |text: &str| Wishes { mode: Some(text.to_owned()), ..Wishes::default() };
    check(&[
        ("live by the claim", &|f, _| claim(f).wishes = wish("live"), "live a beside web"),
        ("clone by the namespace", &|f, _| space(f).wishes = wish("clone"), "clone"),
        (
            "the claim before the namespace",
            &|f, _| {
                space(f).wishes = wish("live");
                claim(f).wishes = wish("snapshot");
            },
            "snapshot",
        ),
        (
            "no other way in its place",
            &|f, _| {
                local_path(f);
                claim(f).wishes = wish("snapshot");
            },
            "refused: it is a directory of a node, not a CSI volume (the only way that annotation homelab-dr.io/mode of the claim allows)",
        ),
        (
            "no such way",
            &|f, _| claim(f).wishes = wish("Live"),
            "refused: annotation homelab-dr.io/mode of the claim is \"Live\"",
        ),
    ]);
}

#[test]
fn a_database_of_cloudnativepg_is_not_taken_raw() {
    let owned = |f: &mut Facts, group: &str, kind: &str| {
        claim(f).owners = vec![Owner { group: group.into(), kind: kind.into(), name: "pg".into() }];
    };
    check(&[
        (
            "by its owner",
            &|f, _| owned(f, "postgresql.cnpg.io", "Cluster"),
            "refused: it belongs to the PostgreSQL cluster pg",
        ),
        (
            "by its label",
            &|f, _| drop(claim(f).labels.insert("cnpg.io/cluster".into(), "pg".into())),
            "refused: it belongs to the PostgreSQL cluster pg",
        ),
        ("another kind of cluster", &|f, _| owned(f, "cluster.x-k8s.io", "Cluster"), "snapshot"),
    ]);
}

/// From here on the storage can do nothing but be mounted.
fn only_live(facts: &mut Facts) {
    of_driver(facts, OTHER);
}

#[test]
fn a_live_mount_is_beside_the_pod_that_uses_the_volume() {
    check(&[
        ("it runs", &|f, _| only_live(f), "live a beside web"),
        (
            "one that runs before one that ends",
            &|f, _| {
                local_path(f);
                f.pods = vec![Pod { running: false, ..pod("old", "a") }, pod("web", "a")];
            },
            "live a beside web",
        ),
        (
            "one that is not placed yet is nowhere",
            &|f, _| {
                local_path(f);
                f.pods = vec![pod("web", "")];
            },
            "live a",
        ),
        (
            "a pod of another namespace",
            &|f, _| {
                only_live(f);
                f.pods = vec![Pod { namespace: "other".into(), ..pod("web", "b") }];
            },
            "live anywhere",
        ),
        (
            "many may mount it, so any node will do",
            &|f, _| {
                only_live(f);
                claim(f).access = [AccessMode::ReadWriteMany].into();
            },
            "live anywhere beside web",
        ),
        (
            "the node is not ready",
            &|f, _| {
                only_live(f);
                node_a(f).ready = false;
            },
            "refused: no snapshot: no VolumeSnapshotClass is for csi.example.org; no clone: nobody knows whether csi.example.org can clone; no live mount: its node a is not ready",
        ),
        (
            "the node is cordoned",
            &|f, _| {
                local_path(f);
                node_a(f).cordoned = true;
            },
            "refused: no snapshot: it is a directory of a node, not a CSI volume; no clone: it is a directory of a node, not a CSI volume; no live mount: its node a is cordoned",
        ),
    ]);
}

#[test]
fn what_is_doubtful_or_stops_the_application_is_done_only_if_it_is_asked_for() {
    let asked = |f: &mut Facts| claim(f).wishes.mode = Some("live".into());
    check(&[
        (
            "a block device in use",
            &|f, _| {
                only_live(f);
                claim(f).block = true;
            },
            "refused: no snapshot … no live mount: it is a raw block device in use",
        ),
        (
            "a block device in use, accepted",
            &|f, _| {
                only_live(f);
                claim(f).block = true;
                asked(f);
            },
            "live a beside web",
        ),
        (
            "a block device that nobody uses",
            &|f, _| {
                only_live(f);
                claim(f).block = true;
                f.pods.clear();
            },
            "live anywhere",
        ),
        (
            "ReadWriteOncePod in use",
            &|f, _| {
                only_live(f);
                claim(f).access = [AccessMode::ReadWriteOncePod].into();
                asked(f);
            },
            "refused: it is ReadWriteOncePod, and pod web has it",
        ),
        (
            "ReadWriteOncePod in use, at zero while it is read",
            &|f, p| {
                only_live(f);
                claim(f).access = [AccessMode::ReadWriteOncePod].into();
                p.stopped = [("media".to_owned(), "data".to_owned())].into();
            },
            "live a beside web",
        ),
        (
            "ReadWriteOncePod that nobody uses",
            &|f, _| {
                only_live(f);
                claim(f).access = [AccessMode::ReadWriteOncePod].into();
                f.pods.clear();
            },
            "refused: no snapshot … no live mount: it is ReadWriteOncePod: while it is read",
        ),
        (
            "ReadWriteOncePod that nobody uses, asked for",
            &|f, _| {
                only_live(f);
                claim(f).access = [AccessMode::ReadWriteOncePod].into();
                f.pods.clear();
                asked(f);
            },
            "live anywhere",
        ),
    ]);
}

#[test]
fn a_directory_of_a_node_is_read_on_that_node() {
    let bare = |f: &mut Facts| volume(f).source = Source::HostPath("/srv/data".into());
    check(&[
        (
            "unused, by the affinity of its volume and not by the name of the node",
            &|f, _| {
                local_path(f);
                f.pods.clear();
            },
            "live a",
        ),
        (
            "unused, and its node is gone",
            &|f, _| {
                local_path(f);
                f.pods.clear();
                f.nodes.remove("a");
            },
            "refused: no snapshot … no live mount: no node is there",
        ),
        (
            "unused, and its node is not ready",
            &|f, _| {
                local_path(f);
                f.pods.clear();
                node_a(f).ready = false;
            },
            "refused: no snapshot … no live mount: its node a is not ready",
        ),
        (
            "unused, two nodes fit: the scheduler chooses",
            &|f, _| {
                volume(f).source = Source::Local("/mnt/x".into());
                volume(f).nodes = Some(
                    json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}]}),
                );
                f.pods.clear();
            },
            "live anywhere",
        ),
        ("a hostPath without affinity, in use", &|f, _| bare(f), "live a beside web"),
        (
            "a hostPath without affinity, unused, two nodes",
            &|f, _| {
                bare(f);
                f.pods.clear();
            },
            "refused: no snapshot … neither the PersistentVolume nor a pod says of which",
        ),
        (
            "a hostPath without affinity, unused, one node",
            &|f, _| {
                bare(f);
                f.pods.clear();
                f.nodes.remove("b");
            },
            "live a",
        ),
        (
            "a hostPath without affinity, used on two nodes",
            &|f, _| {
                bare(f);
                claim(f).access = [AccessMode::ReadWriteMany].into();
                f.pods.push(pod("web-2", "b"));
            },
            "refused: no snapshot … pods on a, b do",
        ),
        (
            "the same, and its owner says that it is shared",
            &|f, _| {
                bare(f);
                claim(f).access = [AccessMode::ReadWriteMany].into();
                claim(f).wishes.mode = Some("live".into());
                f.pods.push(pod("web-2", "b"));
            },
            "live a beside web",
        ),
        (
            "NFS, unused",
            &|f, _| {
                volume(f).source = Source::Nfs("nas:/x".into());
                f.pods.clear();
            },
            "live anywhere",
        ),
    ]);
}

#[test]
fn a_live_read_says_that_it_is_not_of_one_moment_and_a_snapshot_does_not() {
    let mut facts = ordinary();
    assert_eq!(chosen(&facts, &Policy::default()).cautions, Vec::<String>::new());
    local_path(&mut facts);
    let choice = chosen(&facts, &Policy::default());
    assert!(choice.cautions.iter().any(|caution| caution.contains("not of one moment")), "{choice:?}");
    assert!(choice.reason.starts_with("pod web uses it on node a; no snapshot: "), "{}", choice.reason);
    facts.pods.iter_mut().for_each(|pod| pod.runtime_class = Some("gvisor".into()));
    let choice = chosen(&facts, &Policy::default());
    assert!(choice.cautions.iter().any(|caution| caution.contains("runtime class gvisor")), "{choice:?}");
    let apart = |choice: &Choice| choice.cautions.iter().any(|caution| caution == live::APART);
    assert!(apart(&choice), "{choice:?}");
    let mut asked = facts.clone();
    claim(&mut asked).wishes.mode = Some("live".into());
    let choice = chosen(&asked, &Policy::default());
    assert!(!apart(&choice) && choice.cautions.iter().any(|caution| caution.contains("gvisor")), "{choice:?}");
    // A class for a graphics card changes nothing about the kernel.
    facts.pods.iter_mut().for_each(|pod| pod.runtime_class = Some("nvidia-cdi".into()));
    let choice = chosen(&facts, &Policy::default());
    assert!(!apart(&choice) && !choice.cautions.iter().any(|caution| caution.contains("nvidia")), "{choice:?}");
    facts.pods.clear();
    assert_eq!(chosen(&facts, &Policy::default()).cautions, Vec::<String>::new(), "nobody writes");
}

#[test]
fn every_claim_gets_an_answer_in_the_order_of_the_facts() {
    let mut facts = ordinary();
    let mut second = claim(&mut facts).clone();
    second.name = "other".into();
    second.volume = Some("gone".into());
    facts.claims.push(second);
    let choices = choose(&facts, &Policy::default());
    let names: Vec<&str> = choices.iter().map(|choice| choice.claim.as_str()).collect();
    assert_eq!(names, ["data", "other"]);
    assert!(matches!(choices.last().map(|choice| &choice.way), Some(Way::Refused { .. })));
}
