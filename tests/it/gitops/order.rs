//! That the order matters, and that ours is right.

use homelab_dr::gitops::note::{NOTE, State};
use homelab_dr::gitops::plan::status;

use super::world::{Around, Controllers, all, watched, world};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn parents_first_nothing_is_undone_and_children_first_it_would_be() {
    let server = world().await;
    let (api, controllers, before) = (api(&server).await, Controllers::of(&server), all(&server));
    controllers.step();
    assert_eq!(controllers.reverted(), 0, "everything is as in Git");

    let around = watched(&api, &controllers);
    let report = pause_all(&around).await;
    assert!(report.is_well(), "{report:?}");
    assert_eq!(controllers.reverted(), 0);
    let status = status(&api, &Selection::default()).await.unwrap();
    let active: Vec<_> = status.objects.iter().filter(|standing| standing.state == State::Active).collect();
    assert!(active.is_empty() && status.objects.len() == 13, "{active:?}");
    assert_eq!(outcome(&report, "HelmRelease media/held"), &Outcome::PausedByOthers);
    assert_eq!(report.count(|outcome| *outcome == Outcome::Paused), 12);

    let report = resume_all(&api).await;
    assert!(report.is_well(), "{report:?}");
    assert_eq!(all(&server), before);

    let mut wrong = planned(&api, Action::Pause).await;
    wrong.steps.reverse();
    ran(&around, &wrong).await;
    assert!(controllers.reverted() > 5, "only {} were set right by their parents", controllers.reverted());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_is_parents_first_and_the_reverse_to_resume() {
    let server = world().await;
    let api = api(&server).await;
    let names = |plan: &GitopsPlan| plan.steps.iter().map(|step| step.object.to_string()).collect::<Vec<_>>();
    let pausing = planned(&api, Action::Pause).await;
    for step in &pausing.steps {
        let at = |name: &dyn ToString| names(&pausing).iter().position(|other| *other == name.to_string()).unwrap();
        for parent in &step.parents {
            assert!(at(parent) < at(&step.object), "{} after {parent}", step.object);
        }
    }
    let depth = |name: &str| pausing.steps.iter().find(|step| step.object.to_string() == name).unwrap().depth;
    assert_eq!(depth("HelmRelease media/jellyfin"), 4);
    assert_eq!(depth("HelmRelease media/a-tenant"), 4);
    assert_eq!(depth("Application argocd/a-generated"), 2);
    assert!(pausing.steps.iter().all(|step| step.object.kind != "GitRepository"), "sources only fetch");
    let mut back = names(&planned(&api, Action::Resume).await);
    back.reverse();
    assert_eq!(back, names(&pausing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_goes_on_is_told_and_what_it_undoes_is_not_paused() {
    let server = world().await;
    let (api, controllers) = (api(&server).await, Controllers::of(&server));
    let selection = Selection { namespaces: vec!["media".into()], names: vec!["jellyfin".into()] };
    let made = plan(&api, Action::Pause, &selection, "0badcafe").await.unwrap();
    assert_eq!(made.steps.len(), 1);
    assert_eq!(made.steps[0].may_be_undone_by[0].to_string(), "Kustomization flux-system/a-media");
    let report = ran(&watched(&api, &controllers), &made).await;
    let Outcome::NotDone { why } = outcome(&report, "HelmRelease media/jellyfin") else { panic!("{report:?}") };
    assert!(why.contains("made by Kustomization flux-system/a-media"), "{why}");
    assert_eq!(controllers.reverted(), 2, "it is tried once more");
}

/// A parent that was at work when it was paused sets its child right once more.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_parent_undoes_once_is_paused_again() {
    let server = world().await;
    let (api, before) = (api(&server).await, all(&server));
    let once = std::sync::atomic::AtomicUsize::new(0);
    let mut around = Around::dying(&api, usize::MAX, true);
    around.after = Box::new(|| {
        let ordering = std::sync::atomic::Ordering::Relaxed;
        let child = server.object("helmreleases.helm.toolkit.fluxcd.io", "media", "jellyfin").unwrap();
        if child["spec"]["suspend"] == true && once.fetch_add(1, ordering) == 0 {
            server.shared.with(|state| {
                let child = state.object("helmreleases.helm.toolkit.fluxcd.io", "media", "jellyfin").unwrap();
                state.edit(&child, |child| {
                    child["spec"].as_object_mut().unwrap().remove("suspend");
                    child["metadata"].as_object_mut().unwrap().remove("annotations");
                });
            });
        }
    });
    let report = pause_all(&around).await;
    assert!(report.is_well(), "{report:?}");
    let child = server.object("helmreleases.helm.toolkit.fluxcd.io", "media", "jellyfin").unwrap();
    assert_eq!(child["spec"]["suspend"], true);
    assert!(child["metadata"]["annotations"][NOTE].is_string());
    assert!(resume_all(&api).await.is_well());
    assert_eq!(all(&server), before);
}

/// What an ApplicationSet makes after it was paused is paused as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_be_meanwhile_is_paused_too() {
    let server = world().await;
    let api = api(&server).await;
    let made = std::sync::Once::new();
    let mut around = Around::dying(&api, usize::MAX, true);
    around.after = Box::new(|| {
        made.call_once(|| {
            let mut new = server.object("applications.argoproj.io", "argocd", "a-generated").unwrap();
            new["metadata"] = serde_json::json!({"name": "new", "ownerReferences": new["metadata"]["ownerReferences"]});
            server.make("argocd", new);
        });
    });
    let report = pause_all(&around).await;
    assert_eq!(outcome(&report, "Application argocd/new"), &Outcome::Paused);
    assert!(report.is_well(), "{report:?}");
}
