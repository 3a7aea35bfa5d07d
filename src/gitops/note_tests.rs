//! Pausing and resuming single objects.

use serde_json::json;

use super::*;

const NOW: Time = Time(1_793_502_000_000);

fn note() -> Note {
    Note::new("5f0c1d2e", NOW)
}

fn paused(role: Role, before: &Value) -> Value {
    let mut object = before.clone();
    pause(role, &mut object, note(), Automated::Disabled);
    object
}

/// Every shape of the fields before.
fn shapes() -> Vec<(Role, Value)> {
    let app = |policy: Value| json!({"metadata": {"name": "x"}, "spec": {"project": "p", "syncPolicy": policy}});
    let noted = |note: Value| json!({"metadata": {"name": "x", "annotations": note}, "spec": {}});
    let with = |suspend: Value| json!({"metadata": {"name": "x"}, "spec": {"interval": "1m", "suspend": suspend}});
    let bare = json!({"metadata": {"name": "x"}});
    let set = |policy: Value| json!({"metadata": {"name": "x"}, "spec": {"syncPolicy": policy}});
    vec![
        (Role::Application, app(json!({"automated": {"prune": true, "selfHeal": true}}))),
        (Role::Application, app(json!({"automated": {"enabled": true}, "retry": {"limit": 2}}))),
        (Role::Application, app(json!({"automated": {}}))),
        (Role::Application, app(json!({"syncOptions": ["CreateNamespace=true"]}))),
        (Role::Application, bare.clone()),
        (Role::Application, noted(json!({"argocd.argoproj.io/skip-reconcile": "false", "a": "b"}))),
        (Role::ApplicationSet, bare.clone()),
        (Role::ApplicationSet, set(json!({"applicationsSync": "sync"}))),
        (Role::ApplicationSet, set(json!({"preserveResourcesOnDeletion": true}))),
        (Role::Suspended, with(json!(false))),
        (Role::Suspended, json!({"metadata": {"name": "x"}, "spec": {"interval": "1m"}})),
        (Role::Suspended, bare),
        (Role::Operated, noted(json!({"fluxcd.controlplane.io/reconcile": "enabled"}))),
        (Role::Operated, noted(json!({"fluxcd.controlplane.io/reconcileEvery": "1h"}))),
    ]
}

#[test]
fn what_was_paused_comes_back_exactly_in_every_shape() {
    for (role, before) in shapes() {
        assert_eq!(state_of(role, &before), State::Active, "{before}");
        let object = paused(role, &before);
        assert!(role.is_paused(&object), "{object}");
        assert_eq!(state_of(role, &object), State::Ours { since: NOW, run: "5f0c1d2e".into() }, "{object}");
        let mut again = object.clone();
        pause(role, &mut again, Note::new("another", Time(0)), Automated::Disabled);
        assert_eq!(again, object, "a second time changes nothing");
        assert_eq!(resume(&mut again), Ok(vec![]));
        assert_eq!(again, before);
        assert_eq!(resume(&mut again), Ok(vec![]), "a second time changes nothing");
        assert_eq!(again, before);
    }
}

#[test]
fn an_old_api_server_that_drops_enabled_has_the_automatic_sync_taken_out() {
    let before = json!({"metadata": {"name": "x"}, "spec": {"syncPolicy": {"automated": {"prune": true}}}});
    let mut object = paused(Role::Application, &before);
    object["spec"]["syncPolicy"]["automated"].as_object_mut().expect("there").remove("enabled");
    assert!(matches!(state_of(Role::Application, &object), State::Undone { .. }));
    let mut dropped = object.clone();
    assert_eq!(resume(&mut dropped), Ok(vec![]), "killed between the two writes");
    assert_eq!(dropped, before);
    pause(Role::Application, &mut object, note(), Automated::TakenOut);
    assert_eq!(object["spec"], json!({"syncPolicy": {}}));
    assert!(matches!(state_of(Role::Application, &object), State::Ours { .. }), "{object}");
    assert_eq!(resume(&mut object), Ok(vec![]));
    assert_eq!(object, before);
}

#[test]
fn what_somebody_paused_is_theirs() {
    for (role, object) in [
        (Role::Suspended, json!({"metadata": {}, "spec": {"suspend": true}})),
        (Role::Application, json!({"metadata": {"annotations": {"argocd.argoproj.io/skip-reconcile": "true"}}})),
        (Role::ApplicationSet, json!({"metadata": {}, "spec": {"syncPolicy": {"applicationsSync": "create-only"}}})),
        (Role::Operated, json!({"metadata": {"annotations": {"fluxcd.controlplane.io/reconcile": "disabled"}}})),
    ] {
        assert_eq!(state_of(role, &object), State::Others);
        let mut resumed = object.clone();
        assert_eq!(resume(&mut resumed), Ok(vec![]));
        assert_eq!(resumed, object);
    }
}

#[test]
fn what_somebody_changed_while_it_was_paused_stays_and_is_told() {
    let before = json!({"metadata": {"name": "x"}, "spec": {"syncPolicy": {"automated": {"enabled": true}}}});
    let mut object = paused(Role::Application, &before);
    object["spec"]["syncPolicy"]["automated"]["enabled"] = json!("whatever");
    let State::Undone { fields, .. } = state_of(Role::Application, &object) else { panic!("{object}") };
    assert_eq!(fields, ["spec.syncPolicy.automated.enabled"]);
    let kept = resume(&mut object).expect("a note");
    assert_eq!(kept, [Kept { field: fields[0].clone(), now: json!("whatever"), was: json!(true) }]);
    assert_eq!(object["metadata"], before["metadata"], "what was ours is back");
    assert_eq!(object["spec"]["syncPolicy"]["automated"]["enabled"], "whatever");
}

#[test]
fn what_somebody_set_between_two_pauses_is_what_comes_back() {
    let before = json!({"metadata": {"name": "x"}, "spec": {"interval": "1m"}});
    let mut object = paused(Role::Suspended, &before);
    object["spec"]["suspend"] = json!(false);
    assert!(matches!(state_of(Role::Suspended, &object), State::Undone { .. }));
    pause(Role::Suspended, &mut object, note(), Automated::Disabled);
    assert_eq!(object["spec"]["suspend"], true);
    resume(&mut object).expect("a note");
    assert_eq!(object["spec"], json!({"interval": "1m", "suspend": false}));

    // The automatic sync is gone for good: nothing is left to be paused of it, and it does not come back.
    let mut app = paused(Role::Application, &json!({"metadata": {}, "spec": {"syncPolicy": {"automated": {}}}}));
    app["spec"]["syncPolicy"] = json!({});
    pause(Role::Application, &mut app, note(), Automated::Disabled);
    assert!(matches!(state_of(Role::Application, &app), State::Ours { .. }), "{app}");
    assert_eq!(resume(&mut app), Ok(vec![]));
    assert_eq!(app["spec"], json!({"syncPolicy": {}}));
}

#[test]
fn a_mark_that_cannot_be_understood_is_left_alone() {
    let good = paused(Role::Suspended, &json!({"metadata": {}, "spec": {}}));
    let text = good["metadata"]["annotations"][NOTE].as_str().expect("text").to_owned();
    let cut = &text[..text.len() - 1];
    let other = text.replace("\"version\":1", "\"version\":2");
    let time = text.replace("2026-", "2026/");
    let elsewhere = text.replace("suspend", "replicas");
    let deeper = text.replace("\"made\":0", "").replace("\"set\":true", "\"set\":true,\"made\":9");
    let unknown = text.replace("\"run\"", "\"ran\"");
    for bad in ["", "{}", "x", cut, &other, &time, &elsewhere, &deeper, &unknown] {
        let mut object = good.clone();
        object["metadata"]["annotations"][NOTE] = json!(bad);
        assert_ne!(bad, text);
        assert!(matches!(state_of(Role::Suspended, &object), State::Unreadable { .. }), "{bad}");
        let before = object.clone();
        assert!(resume(&mut object).is_err());
        assert_eq!(object, before);
    }
}

/// What takes the place of something paused is paused by the same run, and resumed it is as it would have been.
#[test]
fn what_replaces_something_paused_stays_paused_and_resumes_to_itself() {
    let stays = Replaced::Stays { run: "5f0c1d2e".into() };
    for way in [Automated::Disabled, Automated::TakenOut] {
        for (role, before) in shapes() {
            for (of, wanted) in shapes().into_iter().filter(|(of, _)| *of == role) {
                let mut live = before.clone();
                pause(role, &mut live, note(), way);
                let mut object = wanted.clone();
                assert_eq!(replace(of, &mut object, &live), stays, "{live} {wanted}");
                assert_eq!(state_of(role, &object), State::Ours { since: NOW, run: "5f0c1d2e".into() }, "{object}");
                assert_eq!((resume(&mut object), object), (Ok(vec![]), wanted));
            }
            let mut object = before.clone();
            assert_eq!((replace(role, &mut object, &before), object), (Replaced::Active, before));
        }
    }
    let object = |suspend: bool| json!({"metadata": {"name": "x"}, "spec": {"suspend": suspend}});
    let replaced = |wanted: bool, live: &Value| {
        let mut wanted = object(wanted);
        let replaced = replace(Role::Suspended, &mut wanted, live);
        (replaced, wanted)
    };
    // By somebody else, and what the snapshot has is paused by itself.
    assert_eq!(replaced(false, &object(true)), (Replaced::Ends, object(false)));
    assert_eq!(replaced(true, &object(true)), (Replaced::Active, object(true)));
    let mut live = paused(Role::Suspended, &object(false));
    assert_eq!(replaced(true, &live), (Replaced::Active, object(true)));
    // Changed since, or by a note that nobody can read.
    live["spec"]["suspend"] = false.into();
    assert!(matches!(replaced(false, &live).0, Replaced::Unclear { why } if why.contains("spec.suspend")));
    live["metadata"]["annotations"][NOTE] = "{".into();
    assert!(matches!(replaced(false, &live), (Replaced::Unclear { .. }, wanted) if wanted == object(false)));
}
