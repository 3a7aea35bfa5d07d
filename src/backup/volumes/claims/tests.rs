use serde_json::{Value, json};

use super::*;
use crate::cluster::{ClusterError, Created, Deleted, How, Kind, Kinds, Page};
use crate::volumes::labels::{BACKUP, MANAGED_BY, MANAGER, MODE, RUN};

/// The name of a run.
const OURS: &str = "0123456789abcdef";

/// A cluster of objects that only gives lists.
struct Given(Vec<Value>);

#[async_trait::async_trait]
impl Cluster for Given {
    fn name(&self) -> String {
        "given".into()
    }
    async fn version(&self) -> Result<String, ClusterError> {
        unreachable!("not asked")
    }
    async fn kinds(&self) -> Result<Kinds, ClusterError> {
        unreachable!("not asked")
    }
    async fn list(&self, kind: &Kind, _: Option<&str>) -> Result<Page, ClusterError> {
        let objects = self.0.iter().filter(|object| object["kind"] == kind.name.as_str()).cloned().collect();
        Ok(Page { objects, next: None, held: None })
    }
    async fn serves(&self, _: &Kind) -> Result<bool, ClusterError> {
        unreachable!("not asked")
    }
    async fn get(&self, _: &Kind, _: Option<&str>, _: &str) -> Result<Option<Value>, ClusterError> {
        unreachable!("not asked")
    }
    async fn create(&self, _: &Kind, _: &Value, _: How) -> Result<Created, ClusterError> {
        unreachable!("nothing is changed")
    }
    async fn replace(&self, _: &Kind, _: &Value, _: How) -> Result<Value, ClusterError> {
        unreachable!("nothing is changed")
    }
    async fn patch(&self, _: &Kind, _: Option<&str>, _: &str, _: &Value) -> Result<Value, ClusterError> {
        unreachable!("nothing is changed")
    }
    async fn delete(&self, _: &Kind, _: Option<&str>, _: &str, _: &str) -> Result<Deleted, ClusterError> {
        unreachable!("nothing is changed")
    }
}

fn source() -> VolumesSource {
    VolumesSource {
        kubeconfig: None,
        context: None,
        image: "x".into(),
        namespace: None,
        choice: ClaimsChoice::default(),
        snapshot_classes: BTreeMap::new(),
        movers: 2,
        mode: MoverMode::App,
        timeout: std::time::Duration::from_secs(1),
        start_timeout: std::time::Duration::from_secs(1),
        hooks: Vec::new(),
        resources_elsewhere: true,
    }
}

fn choosing(choice: ClaimsChoice) -> VolumesSource {
    VolumesSource { choice, ..source() }
}

/// The fate of `media/data` in a small cluster, after `change` was made to claim, pod and namespace.
async fn fate(source: &VolumesSource, change: impl Fn(&mut Value, &mut Value, &mut Value)) -> Fate {
    let mut claim = json!({
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "media", "uid": "u", "labels": {}, "annotations": {}},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem", "volumeName": "pv", "storageClassName": "local-path"},
        "status": {"phase": "Bound"},
    });
    let mut pod = json!({
        "kind": "Pod", "metadata": {"name": "app", "namespace": "media"},
        "spec": {
            "nodeName": "n1", "securityContext": {"fsGroup": 2000, "runAsUser": 7},
            "containers": [
                {"name": "proxy", "securityContext": {"runAsUser": 1}},
                {"name": "app", "securityContext": {"runAsUser": 1000, "runAsGroup": 1001}, "volumeMounts": [{"name": "v", "mountPath": "/d"}]},
            ],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
            "tolerations": [{"key": "k"}], "imagePullSecrets": [{"name": "s"}],
        },
        "status": {"phase": "Running"},
    });
    let mut namespace = json!({"kind": "Namespace", "metadata": {"name": "media", "labels": {}, "annotations": {}}});
    change(&mut claim, &mut pod, &mut namespace);
    let mut objects = vec![claim, pod, namespace];
    for name in ["n1", "n2"] {
        let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        objects.push(json!({"kind": "Node", "metadata": {"name": name}, "status": ready}));
    }
    let here = json!({"key": "metadata.name", "operator": "In", "values": ["n1"]});
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchFields": [here]}]}});
    let csi = "hostpath.csi.k8s.io";
    objects.push(json!({"kind": "PersistentVolume", "metadata": {"name": "csi"}, "spec": {"csi": {"driver": csi}}}));
    objects.push(json!({"kind": "CSIDriver", "metadata": {"name": csi}}));
    objects.push(json!({"kind": "StorageClass", "metadata": {"name": "fast"}, "provisioner": csi}));
    objects.push(json!({"kind": "VolumeSnapshotClass", "metadata": {"name": "snaps"}, "driver": csi}));
    objects.push(json!({"kind": "PersistentVolume", "metadata": {"name": "pv"}, "spec": {"hostPath": {"path": "/p"}, "nodeAffinity": affinity}}));
    objects.push(
        json!({"kind": "PersistentVolume", "metadata": {"name": "homeless"}, "spec": {"hostPath": {"path": "/p"}}}),
    );
    let found = look(&Given(objects), source).await.expect("it gives lists");
    found.into_iter().next().map_or(Fate::Unselected, |claim| claim.fate)
}

async fn live(change: impl Fn(&mut Value, &mut Value, &mut Value)) -> Read {
    match fate(&source(), change).await {
        Fate::Read(read) => *read,
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn a_mover_is_beside_the_application_with_its_rights() {
    let app = Rights::Application { user: 1000, group: Some(1001), groups: vec![2000] };
    let found = live(|_, _, _| {}).await;
    assert_eq!((found.node(), &found.rights), (Some("n1"), &app));
    assert_eq!((found.tolerations, found.pull_secrets), (vec![json!({"key": "k"})], vec![json!({"name": "s"})]));
    // What any node may mount needs no certain one, unless it is a folder of one.
    let many = |claim: &mut Value| claim["spec"]["accessModes"] = json!(["ReadWriteMany"]);
    let anywhere = live(|claim, _, _| {
        many(claim);
        claim["spec"]["volumeName"] = "csi".into();
    });
    assert_eq!(anywhere.await.node(), None);
    let folder = live(|claim, _, _| {
        many(claim);
        claim["spec"]["volumeName"] = "homeless".into();
    });
    assert_eq!(folder.await.node(), Some("n1"));
    // A pod that has ended, or one of ours, says nothing.
    let ended = live(|_, pod, _| pod["status"]["phase"] = "Succeeded".into()).await;
    assert_eq!((ended.node(), &ended.rights), (Some("n1"), &Rights::Root), "where its volume is");
    let ours = live(|_, pod, _| pod["metadata"]["labels"] = json!({MANAGED_BY: MANAGER, RUN: OURS})).await;
    assert!(matches!(ours.choice.way, Way::Live { beside: None, .. }), "{ours:?}");
}

#[tokio::test]
async fn the_rights_are_the_least_that_read_everything() {
    let unknown = |pod: &mut Value| {
        pod["spec"]["securityContext"] = json!({});
        pod["spec"]["containers"][1]["securityContext"] = json!({});
    };
    let restricted = |namespace: &mut Value| namespace["metadata"]["labels"] = json!({ENFORCE: "restricted"});
    let nobody = Rights::Application { user: NOBODY, group: None, groups: vec![] };
    assert_eq!(live(|_, pod, _| unknown(pod)).await.rights, Rights::Root);
    assert_eq!(
        live(|_, pod, _| pod["spec"]["containers"][1]["securityContext"]["runAsUser"] = 0.into()).await.rights,
        Rights::Root
    );
    let in_restricted = live(|_, pod, namespace| {
        unknown(pod);
        restricted(namespace);
    });
    assert_eq!(in_restricted.await.rights, nobody);
    let said_non_root = live(|_, pod, _| {
        unknown(pod);
        pod["spec"]["securityContext"]["runAsNonRoot"] = true.into();
    });
    assert_eq!(said_non_root.await.rights, nobody);
    let annotated = live(|claim, pod, namespace| {
        unknown(pod);
        restricted(namespace);
        claim["metadata"]["annotations"][MOVER_USER] = "33:34".into();
    });
    assert_eq!(annotated.await.rights, Rights::Application { user: 33, group: Some(34), groups: vec![] });
    // What is no number would be root by a guess.
    for said in ["app", "1000 ", "1000:x", "1000:", ":1000", "+1000", "1000:1000:1000", "-1"] {
        let source = source();
        let fate = fate(&source, |claim, pod, _| {
            unknown(pod);
            claim["metadata"]["annotations"][MOVER_USER] = said.into();
        });
        let fate = fate.await;
        let told = format!("{MOVER_USER} is {said:?}");
        assert!(matches!(&fate, Fate::Refused { why, .. } if why.contains(&told)), "{said}: {fate:?}");
    }
    let root = live(|claim, _, _| claim["metadata"]["annotations"][MOVER_MODE] = "root".into()).await;
    assert_eq!(root.rights, Rights::Root);
    // A namespace speaks for the claims that say nothing themselves.
    let says = |claim: &'static str| {
        live(move |object, _, namespace| {
            namespace["metadata"]["annotations"] = json!({MOVER_USER: "44:45"});
            object["metadata"]["annotations"] = if claim.is_empty() { Value::Null } else { json!({MOVER_USER: claim}) };
        })
    };
    assert!(matches!(says("").await.rights, Rights::Application { user: 44, group: Some(45), .. }));
    assert!(matches!(says("33").await.rights, Rights::Application { user: 33, .. }));
    let mode = |claim: &'static str| {
        live(move |object, _, namespace| {
            namespace["metadata"]["annotations"] = json!({MOVER_MODE: "root"});
            object["metadata"]["annotations"] = if claim.is_empty() { Value::Null } else { json!({MOVER_MODE: claim}) };
        })
    };
    assert_eq!(mode("").await.rights, Rights::Root);
    assert!(matches!(mode("app").await.rights, Rights::Application { .. }));
    // Privilege takes two: who asks, and who owns the namespace.
    let ask = |claim: &mut Value| claim["metadata"]["annotations"][MOVER_MODE] = "privileged".into();
    assert!(matches!(fate(&source(), |claim, _, _| ask(claim)).await, Fate::Refused { .. }));
    let granted = live(|claim, _, namespace| {
        ask(claim);
        namespace["metadata"]["annotations"][PRIVILEGED_MOVERS] = "true".into();
    });
    assert_eq!(granted.await.rights, Rights::Privileged);
    let wrong = fate(&source(), |claim, _, _| claim["metadata"]["annotations"][MOVER_MODE] = "god".into()).await;
    assert!(matches!(wrong, Fate::Refused { .. }));
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_reason() {
    type Change = fn(&mut Value, &mut Value);
    let cases: [(&str, Change); 8] = [
        ("no volume yet", |claim, _| {
            claim["status"]["phase"] = "Pending".into();
            claim["spec"]["volumeName"].take();
        }),
        ("it waits for the volume pv", |claim, _| claim["status"]["phase"] = "Pending".into()),
        ("pv is gone", |claim, _| claim["status"]["phase"] = "Lost".into()),
        ("being deleted", |claim, _| claim["metadata"]["deletionTimestamp"] = "2026-11-01T00:00:00Z".into()),
        ("block device", |claim, _| claim["spec"]["volumeMode"] = "Block".into()),
        ("ReadWriteOncePod", |claim, _| claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"])),
        ("CloudNativePG", |claim, _| claim["metadata"]["labels"][CNPG] = "db".into()),
        ("says of which", |claim, pod| {
            claim["spec"]["volumeName"] = "homeless".into();
            pod["status"]["phase"] = "Succeeded".into();
        }),
    ];
    for (says, change) in cases {
        match fate(&source(), |claim, pod, _| change(claim, pod)).await {
            Fate::Refused { why, mend } => assert!(why.contains(says) && !mend.is_empty(), "{says}: {why}"),
            other => unreachable!("{says}: {other:?}"),
        }
    }
    let alone = live(|claim, pod, _| {
        claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
        claim["metadata"]["annotations"][MODE] = "live".into();
        pod["status"]["phase"] = "Failed".into();
    });
    assert!(
        matches!(alone.await.choice.way, Way::Live { beside: None, .. }),
        "nobody else has it, and it is asked for"
    );
}

#[tokio::test]
async fn what_is_left_out_is_left_out_by_somebody() {
    let by = |fate: Fate| match fate {
        Fate::Excluded { by } => by,
        other => unreachable!("{other:?}"),
    };
    let no = |object: &mut Value| object["metadata"]["annotations"][BACKUP] = "false".into();
    let of_claim = "annotation homelab-dr.io/backup of the claim";
    assert_eq!(by(fate(&source(), |claim, _, _| no(claim)).await), of_claim);
    let of_space = "annotation homelab-dr.io/backup of namespace media";
    assert_eq!(by(fate(&source(), |_, _, namespace| no(namespace)).await), of_space);
    let stays = live(|claim, _, namespace| {
        no(namespace);
        claim["metadata"]["annotations"][BACKUP] = "true".into();
    });
    assert!(stays.await.node().is_some(), "the claim knows better");
    let excluding = choosing(ClaimsChoice { exclude: vec!["media/*".into()], ..ClaimsChoice::default() });
    let yes = |object: &mut Value| object["metadata"]["annotations"][BACKUP] = "true".into();
    let asked = fate(&excluding, |claim, _, _| yes(claim)).await;
    assert!(matches!(asked, Fate::Read(_)), "and better than the configuration: {asked:?}");
    let asked = fate(&excluding, |_, _, namespace| yes(namespace)).await;
    assert!(matches!(asked, Fate::Read(_)), "so does its namespace: {asked:?}");
    assert_eq!(by(fate(&excluding, |_, _, _| {}).await), "the configuration: exclude media/*");
    let unreadable = fate(&excluding, |claim, _, _| claim["metadata"]["annotations"][BACKUP] = "yes".into()).await;
    assert!(matches!(&unreadable, Fate::Refused { why, .. } if why.contains("\"yes\"")), "no guess: {unreadable:?}");
    let unreadable = fate(&excluding, |_, _, space| space["metadata"]["annotations"][BACKUP] = "yes".into()).await;
    assert!(matches!(&unreadable, Fate::Refused { why, .. } if why.contains("namespace media")), "{unreadable:?}");
    let unclear = fate(&source(), |claim, _, _| claim["metadata"]["annotations"][BACKUP] = "no".into()).await;
    assert!(matches!(&unclear, Fate::Refused { mend, .. } if mend.contains("\"true\" or \"false\"")), "{unclear:?}");
    for (pattern, out) in
        [("media/data", true), ("*/d*a", true), ("media/*", true), ("media/dat", false), ("m/*", false)]
    {
        let source = choosing(ClaimsChoice { exclude: vec![pattern.into()], ..ClaimsChoice::default() });
        assert_eq!(matches!(fate(&source, |_, _, _| {}).await, Fate::Excluded { .. }), out, "{pattern}");
    }
}

#[tokio::test]
async fn selectors_take_what_has_all_of_them() {
    let with = |change: fn(&mut ClaimsChoice)| {
        let mut choice = ClaimsChoice::default();
        change(&mut choice);
        choosing(choice)
    };
    for (taken, source) in [
        (true, with(|choice| choice.namespaces = vec!["other".into(), "media".into()])),
        (false, with(|choice| choice.namespaces = vec!["other".into()])),
        (true, with(|choice| choice.names = vec!["media/d*".into()])),
        (false, with(|choice| choice.names = vec!["media/x*".into()])),
        (true, with(|choice| choice.storage_classes = vec!["local-path".into()])),
        (false, with(|choice| choice.storage_classes = vec!["longhorn".into()])),
        (true, with(|choice| drop(choice.labels.insert("app".into(), "x".into())))),
        (false, with(|choice| drop(choice.labels.insert("app".into(), "y".into())))),
    ] {
        let fate = fate(&source, |claim, _, _| claim["metadata"]["labels"]["app"] = "x".into()).await;
        assert_eq!(fate != Fate::Unselected, taken, "{source:?}");
    }
}

#[tokio::test]
async fn what_we_made_ourselves_is_no_claim() {
    let with = async |run: Option<&str>| {
        let labels = |claim: &mut Value| {
            claim["metadata"]["labels"] = json!({MANAGED_BY: MANAGER});
            if let Some(run) = run {
                claim["metadata"]["labels"][RUN] = run.into();
            }
        };
        fate(&source(), |claim, _, _| labels(claim)).await
    };
    assert_eq!(with(Some(OURS)).await, Fate::Unselected);
    // A label that people write too does not take a claim out of what is covered.
    for run in [None, Some(""), Some("nightly")] {
        let found = with(run).await;
        assert!(matches!(found, Fate::Read(_)), "{run:?}: {found:?}");
    }
    // Nor does it make an application ours.
    let used = live(|_, pod, _| pod["metadata"]["labels"] = json!({MANAGED_BY: MANAGER})).await;
    assert!(matches!(&used.choice.way, Way::Live { beside: Some(pod), .. } if pod == "app"), "{used:?}");
}

/// A claim of CSI storage: what is read depends on whether there is a namespace of ours, and the rights on where it is read.
#[tokio::test]
async fn csi_claims_are_read_at_a_copy_if_there_is_a_place_for_it() {
    let csi = |claim: &mut Value| {
        claim["spec"]["volumeName"] = "csi".into();
        claim["spec"]["storageClassName"] = "fast".into();
    };
    let with_home = VolumesSource { namespace: Some("backup".into()), ..source() };
    let Fate::Read(read) = fate(&with_home, |claim, _, _| csi(claim)).await else { unreachable!("it can be read") };
    assert!(matches!(&read.choice.way, Way::Snapshot { class, .. } if class == "snaps"), "{read:?}");
    assert_eq!((read.node(), read.pull_secrets.len()), (None, 0), "nothing of the application's namespace");
    let named = |class: &str| VolumesSource {
        snapshot_classes: [("hostpath.csi.k8s.io".to_owned(), class.to_owned())].into(),
        ..with_home.clone()
    };
    let Fate::Read(read) = fate(&named("snaps"), |claim, _, _| csi(claim)).await else {
        unreachable!("it can be read")
    };
    assert!(matches!(&read.choice.way, Way::Snapshot { class, .. } if class == "snaps"), "{read:?}");
    let wrong = named("snap");
    let misnamed = fate(&wrong, |claim, _, _| {
        csi(claim);
        claim["metadata"]["annotations"][MODE] = "snapshot".into();
    });
    let Fate::Refused { why, mend } = misnamed.await else { unreachable!("there is no such class") };
    assert!(why.contains("no VolumeSnapshotClass snap ") && mend.contains("`snapshot-class`"), "{why}: {mend}");
    let Fate::Read(read) = fate(&source(), |claim, _, _| csi(claim)).await else { unreachable!("it can be read") };
    assert!(matches!(read.choice.way, Way::Live { .. }), "{read:?}");
    assert!(read.choice.reason.contains("no snapshot: no namespace of homelab-dr's own"), "{}", read.choice.reason);
    let without = source();
    let asked = fate(&without, |claim, _, _| {
        csi(claim);
        claim["metadata"]["annotations"][MODE] = "snapshot".into();
    });
    let Fate::Refused { why, mend } = asked.await else { unreachable!("another way was not asked for") };
    assert!(why.contains("the only way that annotation") && mend.contains("`namespace`"), "{why}: {mend}");
    // A privileged mover has to be permitted where it runs: in our namespace, which says nothing here.
    let privileged = fate(&with_home, |claim, _, namespace| {
        csi(claim);
        claim["metadata"]["annotations"][MOVER_MODE] = "privileged".into();
        namespace["metadata"]["annotations"][PRIVILEGED_MOVERS] = "true".into();
    });
    assert!(matches!(&privileged.await, Fate::Refused { why, .. } if why.contains("namespace backup")));
}

#[tokio::test]
async fn a_hook_is_for_the_claims_that_it_means_and_zero_makes_one_pod_claims_readable() {
    let hook = |claims: &str, way: HookWay| crate::config::Hook {
        claims: vec![claims.to_owned()],
        labels: [("app".to_owned(), "db".to_owned())].into(),
        way,
        timeout: std::time::Duration::from_secs(7),
    };
    let hooks = vec![hook("home/*", HookWay::Handshake), hook("media/*", HookWay::Scale)];
    let source = VolumesSource { namespace: Some("backup".into()), hooks, ..source() };
    let one_pod = |claim: &mut Value| claim["spec"]["accessModes"] = json!(["ReadWriteOncePod"]);
    let Fate::Refused { why, .. } = fate(&source, |claim, _, _| one_pod(claim)).await else { unreachable!("no label") };
    assert!(why.contains("ReadWriteOncePod"), "{why}");
    let labelled = |claim: &mut Value, _: &mut Value, _: &mut Value| {
        one_pod(claim);
        claim["metadata"]["labels"]["app"] = "db".into();
    };
    let Fate::Read(read) = fate(&source, labelled).await else { unreachable!("at zero it can be read") };
    let limit = std::time::Duration::from_secs(7);
    assert_eq!(read.hook, Some(Wanted { way: HookWay::Scale, limit }));
    assert!(matches!(read.choice.way, Way::Live { .. }) && read.choice.cautions.is_empty(), "{:?}", read.choice);
    let none = fate(&source, |claim, pod, space| {
        labelled(claim, pod, space);
        claim["metadata"]["annotations"]["homelab-dr.io/hook"] = "none".into();
    });
    assert!(matches!(none.await, Fate::Refused { .. }), "then its pod has it");
}

#[tokio::test]
async fn a_dump_stands_for_the_clusters_that_it_names() {
    let cnpg = vec![Cnpg { clusters: vec!["media/pg-*".into()], covered_by: "dump".into() }];
    let source = choosing(ClaimsChoice { cnpg, ..ClaimsChoice::default() });
    let of =
        async |cluster: &str| fate(&source, |claim, _, _| claim["metadata"]["labels"][CNPG] = cluster.into()).await;
    assert_eq!(of("pg-app").await, Fate::Dumped { by: "dump".into() });
    assert!(matches!(of("other").await, Fate::Refused { .. }));
    assert!(matches!(fate(&source, |_, _, _| {}).await, Fate::Read(_)), "it is of no cluster");
}
