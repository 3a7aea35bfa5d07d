//! The transform: nothing of a drill is in use, whatever the runbook says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::part::{Brings, Into, Part};
use super::transform::{Scene, TransformError, Transformed, transform};
use crate::runbook::{
    Action, Answer, Check, Claim, InPod, Object, OnFailure, Origin, Overwrite, Probe, Query, Quiet, RestoreFiles,
    RestoreResources, RestoreVolume, Step,
};

const RUN: &str = "5f0c1d2e";

fn step(id: &str, needs: &[&str], action: Action, probes: &[Probe]) -> Step {
    let check = |probe: &Probe| Check { probe: probe.clone(), retries: None, deadline: None, every: Duration::ZERO };
    Step {
        id: id.to_owned(),
        title: String::new(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        timeout: Duration::from_mins(1),
        is_destructive: action.is_destructive(),
        action,
        verify: probes.iter().map(check).collect(),
        on_failure: OnFailure::Ask,
        is_compensation: false,
    }
}

fn origin(source: &str) -> Origin {
    Origin { source: source.to_owned(), snapshot: "latest".to_owned() }
}

fn files(target: &str) -> Action {
    Action::RestoreFiles(RestoreFiles {
        from: origin("photos"),
        path: None,
        target: PathBuf::from(target),
        include: Vec::new(),
        exclude: Vec::new(),
        overwrite: Overwrite::Always,
        delete: true,
        no_owner: false,
    })
}

fn volume(namespace: &str, name: &str) -> Action {
    Action::RestoreVolume(RestoreVolume {
        from: origin("pvc/media/data"),
        into: Claim { namespace: namespace.to_owned(), name: name.to_owned() },
        in_place: true,
        storage_class: None,
        size: None,
    })
}

fn resources() -> Action {
    Action::RestoreResources(RestoreResources {
        from: origin("cluster"),
        include: Vec::new(),
        exclude: Vec::new(),
        namespaces: BTreeMap::from([("media".to_owned(), "copy".to_owned())]),
        nodes: BTreeMap::new(),
        storage_classes: BTreeMap::new(),
        update: true,
        latest_volumes: false,
        empty_volumes: false,
        may_be_empty: BTreeSet::new(),
        with_derived_secrets: false,
        drill: None,
    })
}

fn object(namespace: Option<&str>, resource: &str, group: &str) -> Object {
    let [resource, group, name] = [resource, group, "web"].map(str::to_owned);
    Object { namespace: namespace.map(str::to_owned), resource, group, name }
}

fn query(address: Option<&str>) -> Query {
    Query {
        address: address.map(str::to_owned),
        database: None,
        user: None,
        password_file: None,
        query: "select 1".to_owned(),
        answer: Answer::Any,
    }
}

fn sqlite(file: &str) -> Probe {
    Probe::Sqlite { claim: None, file: PathBuf::from(file), query: None, answer: Answer::Any }
}

fn part(into: Into) -> Part {
    Part::new(into, PathBuf::from("/scratch/d"), false)
}

fn transformed(steps: &[Step], part: &Part) -> Result<Transformed, TransformError> {
    transform(steps, &Scene { run: RUN, part, skipped: &BTreeSet::from(["skipped".to_owned()]) })
}

#[test]
fn what_is_restored_goes_below_the_folder_of_the_drill_whatever_its_path() {
    for (target, below) in [
        ("/srv/photos", "/scratch/d/files/srv/photos"),
        ("/", "/scratch/d/files"),
        ("/srv/../../etc", "/scratch/d/files/srv/etc"),
        ("relative/./x", "/scratch/d/files/relative/x"),
    ] {
        let done = transformed(&[step("files", &[], files(target), &[Probe::NoEmpty(1)])], &part(Into::Machine));
        let step = done.expect("a drill").steps.remove(0);
        let Action::RestoreFiles(files) = &step.action else { panic!("{step:?}") };
        assert_eq!(files.target, Path::new(below), "{target}");
        assert_eq!((step.is_destructive, &step.on_failure), (false, &OnFailure::Stop));
        assert_eq!(step.verify.len(), 2, "the comparison is added");
    }
    let action = Action::RestoreDatastore { from: origin("k3s"), data_dir: "/var/lib/rancher/k3s".into() };
    let done = transformed(&[step("datastore", &[], action, &[])], &part(Into::Machine)).expect("a drill");
    let Action::RestoreFiles(files) = &done.steps[0].action else { panic!("{done:?}") };
    assert_eq!(files.target, Path::new("/scratch/d/files/var/lib/rancher/k3s/server"));
}

#[test]
fn checks_look_at_the_drill_alone() {
    let inside = sqlite("/srv/photos/app.db");
    let kept = [Probe::NoEmpty(1), Probe::Files(5), sqlite("app.db"), inside, Probe::Postgres(query(None))];
    let http = Probe::Http { url: "http://x".to_owned(), status: 200, contains: None };
    let dns = Probe::Dns { name: "x".to_owned(), addresses: Vec::new(), server: None };
    let tls = Probe::Tls { address: "x:443".to_owned(), name: None, valid_for: Duration::ZERO };
    let left = [
        http,
        dns,
        tls,
        Probe::Tcp("x:1".to_owned()),
        Probe::Postgres(query(Some("x:5432"))),
        Probe::Mysql(query(Some("x:3306"))),
        sqlite("/etc/other.db"),
        sqlite("/srv/photos/../other.db"),
        sqlite("/srv/photos2/app.db"),
        Probe::NamespaceReady("media".to_owned()),
        Probe::Ready(vec![object(Some("media"), "deployments", "apps")]),
    ];
    let probes = [&kept[..], &left[..]].concat();
    let done =
        transformed(&[step("files", &[], files("/srv/photos"), &probes)], &part(Into::Machine)).expect("a drill");
    let checks: Vec<&Probe> = done.steps[0].verify.iter().map(|check| &check.probe).collect();
    assert_eq!(checks.len(), kept.len(), "{checks:?}");
    assert_eq!(checks[3], &sqlite("/scratch/d/files/srv/photos/app.db"));
    assert_eq!(done.left_out.len(), left.len(), "{:?}", done.left_out);
}

#[test]
fn in_a_cluster_everything_is_of_the_drills_namespaces_and_volumes_come_first() {
    let exec = Action::Exec(InPod {
        object: object(Some("media"), "pods", ""),
        container: None,
        argv: vec!["true".to_owned()],
    });
    let ready = |namespace: &str| Probe::NamespaceReady(namespace.to_owned());
    let steps = [
        step("pause", &[], Action::Gitops { pause: true, namespaces: Vec::new(), names: Vec::new() }, &[]),
        step("objects", &["pause"], resources(), &[ready("copy")]),
        step("data", &["objects"], volume("copy", "data"), &[Probe::Files(5), ready("copy")]),
        step("exec", &["data"], exec, &[]),
        step(
            "scale",
            &["exec"],
            Action::Scale { object: object(Some("media"), "deployments", "apps"), replicas: 1 },
            &[],
        ),
    ];
    let done = transformed(&steps, &part(Into::Cluster)).expect("a drill");
    let of = |id: &str| done.steps.iter().find(|step| step.id == id).expect("rehearsed");
    let Action::RestoreVolume(data) = &of("data").action else { panic!("a volume") };
    assert_eq!((data.into.namespace.as_str(), data.in_place), ("drill-5f0c1d2e-copy", false));
    assert_eq!((of("data").needs.len(), of("objects").needs.as_slice()), (0, &["data".to_owned()][..]));
    let Action::RestoreResources(objects) = &of("objects").action else { panic!("objects") };
    assert_eq!((objects.update, objects.drill.as_deref()), (false, Some(RUN)));
    assert_eq!(objects.exclude, ["media/persistentvolumeclaims/data", "copy/persistentvolumeclaims/data"]);
    assert_eq!(of("objects").verify[0].probe, ready("drill-5f0c1d2e-copy"));
    let Action::Exec(what) = &of("exec").action else { panic!("exec") };
    assert_eq!(what.object.namespace.as_deref(), Some("drill-5f0c1d2e-media"));
    assert!(
        matches!(&of("scale").action, Action::Scale { object, .. } if object.namespace.as_deref() == Some("drill-5f0c1d2e-media"))
    );
    let left_out: Vec<&str> = done.left_out.iter().map(|one| one.step.as_str()).collect();
    assert_eq!(left_out, ["pause"]);
    assert_eq!(of("data").verify[0].probe, Probe::Files(5), "by a mover, in the claim");
}

#[test]
fn what_acts_on_production_or_asks_a_person_is_left_out_and_what_needs_it_goes_on() {
    let claims = vec![Claim { namespace: "media".to_owned(), name: "data".to_owned() }];
    let mut undo = step("undo", &[], Action::Notify("x".to_owned()), &[]);
    undo.is_compensation = true;
    let steps = [
        step("look", &[], Action::Manual("done".to_owned()), &[]),
        step("run", &["look"], Action::Run(vec!["rm".to_owned()]), &[]),
        step("still", &["run"], Action::Quiesce { claims, how: Quiet::Scale, until: None }, &[]),
        step("skipped", &["still"], files("/srv/a"), &[]),
        step("files", &["skipped"], files("/srv/b"), &[]),
        step("cluster", &["files"], Action::Scale { object: object(None, "nodes", ""), replicas: 0 }, &[]),
        step("tell", &["cluster"], Action::Notify("x".to_owned()), &[]),
        step("wait", &["tell"], Action::Pause(Duration::ZERO), &[]),
        undo,
    ];
    let done = transformed(&steps, &part(Into::Machine)).expect("a drill");
    let rehearsed: Vec<(&str, Vec<String>)> =
        done.steps.iter().map(|step| (step.id.as_str(), step.needs.clone())).collect();
    assert_eq!(rehearsed, [("files", Vec::new()), ("wait", vec!["files".to_owned()])]);
    let left_out: Vec<&str> = done.left_out.iter().map(|one| one.step.as_str()).collect();
    assert_eq!(left_out, ["look", "run", "still", "skipped", "cluster", "tell", "undo"]);
}

#[test]
fn a_recovery_that_nobody_would_look_at_is_refused() {
    let nothing = [step("tell", &[], Action::Notify("x".to_owned()), &[])];
    assert_eq!(transformed(&nothing, &part(Into::Machine)), Err(TransformError::Nothing));
    let tcp = [Probe::Tcp("x:1".to_owned())];
    let unverified = |step: Step, part: &Part| {
        let refused = transformed(&[step], part);
        assert!(matches!(&refused, Err(TransformError::Unverified { .. })), "{refused:?}");
    };
    // The files of volumes are compared, in a folder and by movers.
    for (action, into) in
        [(volume("media", "data"), Into::Folder), (resources(), Into::Folder), (volume("media", "data"), Into::Cluster)]
    {
        let done = transformed(&[step("data", &[], action, &tcp)], &part(into)).expect("ours is added");
        assert!(matches!(done.steps[0].verify[..], [Check { probe: Probe::Files(_), .. }]), "{done:?}");
    }
    // Objects that bring no volume nobody can look at there: with another step it is told, alone it is refused.
    let mut alone = part(Into::Folder);
    alone.objects_alone.insert("objects".to_owned());
    let both = [step("objects", &[], resources(), &[]), step("data", &[], volume("media", "data"), &[])];
    let done = transformed(&both, &alone).expect("a drill");
    assert_eq!((done.steps[0].verify.len(), done.steps[1].verify.len()), (0, 1), "{done:?}");
    assert!(matches!(&done.left_out[..], [one] if one.step == "objects" && one.why.contains("no volume")), "{done:?}");
    unverified(step("objects", &[], resources(), &[]), &alone);
    // What objects there are is known when the snapshot was looked at.
    let objects = || step("objects", &[], resources(), &tcp);
    let mut looked = part(Into::Cluster);
    assert!(transformed(&[objects()], &looked).is_ok());
    looked.brings.insert("objects".to_owned(), Brings::default());
    unverified(objects(), &looked);
    let brings = Brings {
        living: BTreeSet::from(["drill-5f0c1d2e-media".to_owned()]),
        objects: vec![
            "drill-5f0c1d2e-media/deployments.apps/web".to_owned(),
            "drill-5f0c1d2e-media/secrets/a".to_owned(),
        ],
    };
    looked.brings.insert("objects".to_owned(), brings);
    let done = transformed(&[objects()], &looked).expect("ours are added");
    assert_eq!(done.steps[0].verify.len(), 2, "{:?}", done.steps[0].verify);
}

#[test]
fn two_steps_do_not_fill_one_claim_and_what_is_absent_is_not_waited_for() {
    let ready = Probe::NamespaceReady("media".to_owned());
    let fill = |id: &str| step(id, &[], volume("media", "data"), std::slice::from_ref(&ready));
    let refused = transformed(&[fill("one"), fill("other")], &part(Into::Cluster));
    assert!(matches!(refused, Err(TransformError::OneClaimOfTwo { .. })), "{refused:?}");
    let mut part = part(Into::Cluster);
    part.absent.insert("drill-5f0c1d2e-media/deployments.apps/web".to_owned());
    let certificate = object(Some("media"), "certificates", "cert-manager.io");
    let probe =
        Probe::Ready(vec![object(Some("media"), "deployments", "apps"), certificate, object(None, "nodes", "")]);
    let done = transformed(&[step("data", &[], volume("media", "data"), &[probe, ready])], &part).expect("a drill");
    assert_eq!((done.steps[0].verify.len(), done.left_out.len()), (2, 3), "{:?}", done.left_out);
}
