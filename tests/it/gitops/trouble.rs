//! Somebody else writes too, answers get lost, clocks jump, rights are missing.

use homelab_dr::gitops::GitopsError;
use homelab_dr::gitops::note::{NOTE, State};
use homelab_dr::gitops::plan::{Act, status};
use serde_json::{Value, json};

use super::world::{Around, all, define, definition, world};
use super::*;
use crate::support::kube::faults::Failure;
use crate::support::kube::server::{KubeServer, Options};

const KUSTOMIZATIONS: &str = "kustomizations.kustomize.toolkit.fluxcd.io";
const APPLICATIONS: &str = "applications.argoproj.io";

fn change(server: &KubeServer, table: &str, namespace: &str, name: &str, how: impl FnOnce(&mut Value)) {
    server.shared.with(|state| {
        let object = state.object(table, namespace, name).unwrap();
        state.edit(&object, how);
    });
}

fn state_of(status: &homelab_dr::gitops::plan::Status, name: &str) -> State {
    let standing = status.objects.iter().find(|standing| standing.object.to_string() == name);
    standing.unwrap_or_else(|| panic!("no {name}")).state.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_conflicts_is_waited_out() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    let storm = |path: &str, times: usize| {
        server.faults(|faults| {
            for _ in 0..times {
                faults.fail(Failure { method: "PATCH".into(), path: path.into(), nth: 1, status: 409 });
            }
        });
    };
    storm("", 12);
    let report = pause_all(&api).await;
    assert!(report.is_well() && server.faults(|faults| faults.waiting()) == 0, "{report:?}");
    storm("", 12);
    assert!(resume_all(&api).await.is_well());
    assert_eq!(all(&server), before);

    // Not for ever: then it is told of the one object, and the others are paused.
    storm("/kustomizations/m-apps", 200);
    let report = pause_all(&api).await;
    let Outcome::NotDone { why } = outcome(&report, "Kustomization flux-system/m-apps") else { panic!("{report:?}") };
    assert!(why.contains("kept changing"), "{why}");
    assert_eq!(report.count(|outcome| *outcome == Outcome::Paused), 11);
    server.faults(|faults| *faults = Default::default());
    assert!(resume_all(&api).await.is_well());
    assert_eq!(all(&server), before);
}

/// ArgoCD writes the status of an Application, which has no status of its own to the API server, all the time.
#[tokio::test(flavor = "multi_thread")]
async fn real_changes_between_reading_and_writing_are_kept() {
    let server = world().await;
    let api = api(&server).await;
    let shared = std::sync::Arc::clone(&server.shared);
    let writer = tokio::spawn(async move {
        for number in 0.. {
            shared.with(|state| {
                let object = state.object(APPLICATIONS, "argocd", "z-root").unwrap();
                state.edit(&object, |object| object["status"] = json!({"count": number}));
            });
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    });
    for _ in 0..5 {
        assert!(pause_all(&api).await.is_well());
        assert!(resume_all(&api).await.is_well());
    }
    writer.abort();
    let _ = writer.await;
    let root = server.object(APPLICATIONS, "argocd", "z-root").unwrap();
    assert!(root["status"]["count"].as_u64() > Some(5), "nobody's write was lost: {root}");
    assert_eq!(root["spec"]["syncPolicy"], json!({"automated": {"prune": true, "selfHeal": true}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_got_lost_is_found_done() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    let lose = || {
        server.faults(|faults| {
            for nth in [2, 4] {
                faults.lose(Failure { method: "PATCH".into(), path: String::new(), nth, status: 503 });
            }
        });
    };
    lose();
    let report = pause_all(&api).await;
    assert!(report.is_well() && report.count(|outcome| *outcome == Outcome::Paused) == 12, "{report:?}");
    lose();
    let report = resume_all(&api).await;
    assert!(report.is_well() && report.count(|outcome| *outcome == Outcome::Resumed) == 12, "{report:?}");
    assert_eq!(server.faults(|faults| faults.waiting()), 0);
    assert_eq!(all(&server), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_meanwhile_is_left_and_told() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    assert!(pause_all(&api).await.is_well());
    change(&server, KUSTOMIZATIONS, "flux-system", "z-root", |object| object["spec"]["suspend"] = json!(false));
    change(&server, APPLICATIONS, "argocd", "a-child", |object| {
        object["spec"]["syncPolicy"]["retry"] = json!({"limit": 9})
    });
    change(&server, APPLICATIONS, "argocd", "z-root", |object| {
        object["spec"]["syncPolicy"]["automated"]["enabled"] = json!(true)
    });
    let seen = status(&api, &Selection::default()).await.unwrap();
    let undone = State::Undone { since: NOW, run: "0badcafe".into(), fields: vec!["spec.suspend".into()] };
    assert_eq!(state_of(&seen, "Kustomization flux-system/z-root"), undone);
    let report = resume_all(&api).await;
    assert!(!report.is_well());
    // It was absent, and somebody has written `false`: that is what it stays.
    let Outcome::ResumedExcept { kept } = outcome(&report, "Kustomization flux-system/z-root") else {
        panic!("{report:?}")
    };
    assert_eq!((kept[0].field.as_str(), &kept[0].now, &kept[0].was), ("spec.suspend", &json!(false), &Value::Null));
    assert!(matches!(outcome(&report, "Application argocd/z-root"), Outcome::ResumedExcept { .. }));
    assert_eq!(outcome(&report, "Application argocd/a-child"), &Outcome::Resumed, "nobody touched what was ours");
    assert_eq!(server.object(APPLICATIONS, "argocd", "a-child").unwrap()["spec"]["syncPolicy"]["retry"]["limit"], 9);
    let mut expected = before;
    expected.get_mut(&format!("{KUSTOMIZATIONS} flux-system/z-root")).unwrap()["spec"]["suspend"] = json!(false);
    expected.get_mut(&format!("{APPLICATIONS} argocd/a-child")).unwrap()["spec"]["syncPolicy"]["retry"]["limit"] =
        json!(9);
    expected.get_mut(&format!("{APPLICATIONS} argocd/z-root")).unwrap()["spec"]["syncPolicy"]["automated"]["enabled"] =
        json!(true);
    assert_eq!(all(&server), expected);
    assert!(resume_all(&api).await.is_well(), "it is told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_meanwhile_is_no_problem_and_what_is_being_deleted_is_left() {
    let server = world().await;
    let api = api(&server).await;
    let made = planned(&api, Action::Pause).await;
    let kind = api.kinds().await.unwrap().kinds.into_iter().find(|kind| kind.name == "HelmRelease").unwrap();
    let delete = async |name: &str| {
        let object = api.get(&kind, Some("media"), name).await.unwrap().unwrap();
        api.delete(&kind, Some("media"), name, object["metadata"]["uid"].as_str().unwrap()).await.unwrap()
    };
    delete("jellyfin").await;
    change(&server, "helmreleases.helm.toolkit.fluxcd.io", "media", "a-tenant", |object| {
        object["metadata"]["finalizers"] = json!(["finalizers.fluxcd.io"]);
    });
    delete("a-tenant").await;
    let report = ran(&api, &made).await;
    assert_eq!(outcome(&report, "HelmRelease media/jellyfin"), &Outcome::Gone);
    let Outcome::NotDone { why } = outcome(&report, "HelmRelease media/a-tenant") else { panic!("{report:?}") };
    assert!(why.contains("being deleted"), "{why}");
    let again = planned(&api, Action::Pause).await;
    let dying = again.steps.iter().find(|step| step.object.name == "a-tenant").unwrap();
    assert!(matches!(dying.act, Act::Cannot { .. }), "the plan says so too");
}

/// A clock that was wrong when it was paused, or is now: only people are told the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumped_changes_nothing() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    for time in [i64::MIN, 0, 253_402_300_799_000, i64::MAX] {
        let (progress, cancel, clock) = (Progress::default(), Cancel::default(), ManualClock::at(Time(time)));
        let running =
            Running { cluster: &api, clock: &clock, settle: Duration::ZERO, progress: &progress, cancel: &cancel };
        let report = run(&planned(&api, Action::Pause).await, &running).await;
        assert!(report.is_well(), "{time}: {report:?}");
        assert!(pause_all(&api).await.rows.iter().all(|row| row.outcome != Outcome::Paused), "{time}: paused already");
        assert!(resume_all(&api).await.is_well());
        assert_eq!(all(&server), before, "{time}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_cannot_be_understood_is_left_and_told() {
    let server = world().await;
    let api = api(&server).await;
    for text in ["", "{", r#"{"version":7,"run":"x","time":"2026-11-01T03:00:00Z","fields":[]}"#] {
        change(&server, KUSTOMIZATIONS, "flux-system", "z-root", |object| {
            object["metadata"]["annotations"][NOTE] = json!(text)
        });
        let before = all(&server);
        for action in [Action::Pause, Action::Resume] {
            let made = planned(&api, action).await;
            let step = made
                .steps
                .iter()
                .find(|step| step.object.name == "z-root" && step.object.kind == "Kustomization")
                .unwrap();
            assert!(matches!(&step.act, Act::Cannot { why } if why.contains(NOTE)), "{text}: {step:?}");
            let report = ran(&api, &made).await;
            assert!(matches!(outcome(&report, "Kustomization flux-system/z-root"), Outcome::NotDone { .. }));
        }
        assert_eq!(all(&server), before);
    }
}

/// ArgoCD before 3.1: its definition lists all fields, and `automated.enabled` is none of them.
#[tokio::test(flavor = "multi_thread")]
async fn an_argocd_that_does_not_know_enabled() {
    let server = KubeServer::start(Options::default()).await;
    let mut definition = definition("argoproj.io", "v1alpha1", "Application", &json!({}));
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = json!({"type": "object", "properties": {
        "project": {"type": "string"},
        "syncPolicy": {"type": "object", "properties": {"automated": {"type": "object", "properties": {"prune": {"type": "boolean"}}}}},
    }});
    define(&server, definition).await;
    let app = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "metadata": {"name": "old"},
        "spec": {"project": "default", "syncPolicy": {"automated": {"prune": true}}},
    });
    server.make("default", app);
    let (api, before) = (api(&server).await, all(&server));
    // Also cut off between the two writes.
    for writes in [1, usize::MAX] {
        pause_all(&Around::dying(&api, writes, true)).await;
        if writes > 1 {
            let paused = server.object(APPLICATIONS, "default", "old").unwrap();
            assert_eq!(paused["spec"], json!({"project": "default", "syncPolicy": {}}));
            assert_eq!(paused["metadata"]["annotations"]["argocd.argoproj.io/skip-reconcile"], "true");
        }
        assert!(resume_all(&api).await.is_well());
        assert_eq!(all(&server), before, "{writes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_written_is_told_and_the_rest_is_paused() {
    let server = world().await;
    let api = api(&server).await;
    server.faults(|faults| {
        for _ in 0..2 {
            faults.fail(Failure { method: "PATCH".into(), path: "/media/".into(), nth: 1, status: 403 });
        }
    });
    let report = pause_all(&api).await;
    assert!(matches!(outcome(&report, "HelmRelease media/jellyfin"), Outcome::NotDone { why } if why.contains("403")));
    assert_eq!(report.count(|outcome| *outcome == Outcome::Paused), 10);
    // An expired token is nobody's own problem.
    server.faults(|faults| faults.fail(Failure { method: "PATCH".into(), path: String::new(), nth: 1, status: 401 }));
    let report = resume_all(&api).await;
    assert!(
        report.stopped.is_some() && report.rows.iter().all(|row| !matches!(row.outcome, Outcome::Resumed)),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_does_not_answer_is_an_error() {
    let server = world().await;
    let api = api(&server).await;
    server.faults(|faults| {
        faults.fail(Failure {
            method: "GET".into(),
            path: "/apis/helm.toolkit.fluxcd.io/v2".into(),
            nth: 1,
            status: 404,
        });
    });
    let error = plan(&api, Action::Pause, &Selection::default(), "x").await.expect_err("not known");
    assert!(matches!(&error, GitopsError::Silent { group, .. } if group == "helm.toolkit.fluxcd.io/v2"), "{error:?}");
}
